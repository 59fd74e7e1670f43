"""Promises of a strategy: its settings, its toy runs (`training`), and what it leaves alone.

It leaves alone the test data, the global generators, files and sockets, and the view.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from harness.api.dataset import Split
from harness.api.execution import ImageSet
from harness.api.strategy import ModelView, ParameterInfo, Search
from harness.testing import training
from harness.testing.promise import Broken, Rule, listed, opens_nothing
from harness.testing.trial import StrategyCase, Watcher, difference, same
from harness.testing.watch import generators, moved, unseeded
from harness.utils.faults import explain

if TYPE_CHECKING:
    from harness.engine import StrategyView

OFFERED = frozenset(name for name in vars(ModelView) if not name.startswith("_"))


def defaults(case: StrategyCase) -> None:
    if required := [key for key, field in case.kind.model_fields.items() if field.is_required()]:
        raise Broken(f"{listed(required)} has no default")
    case.kind()


def settings_json(case: StrategyCase) -> None:
    strategy = case.strategy
    settings = strategy.model_dump(mode="json")
    try:
        again = case.kind.model_validate(json.loads(json.dumps(settings, allow_nan=False)))
    except (TypeError, ValueError) as error:
        raise Broken(f"the settings {settings!r} do not survive JSON: {error}") from error
    for key in case.kind.model_fields:
        before, after = getattr(strategy, key), getattr(again, key)
        if before != after:
            raise Broken(f"{key} = {before!r} comes back from JSON as {after!r}")


def search_space(case: StrategyCase) -> None:
    for key, field in case.kind.model_fields.items():
        searches = [space for space in field.metadata if isinstance(space, Search)]
        if len(searches) > 1:
            raise Broken(f"{key} has {len(searches)} search spaces")
        for search in searches:
            _check_search(case, key, field, search)


def _check_search(case: StrategyCase, key: str, field: FieldInfo, search: Search) -> None:
    low, high = search.low, search.high
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise Broken(f"{key} is searched from {low!r} to {high!r}")
    if search.log and low <= 0:
        raise Broken(f"{key} is searched on a log scale from {low!r}, which has no logarithm")
    default = field.get_default(call_default_factory=True)
    if isinstance(default, bool) or not isinstance(default, (int, float)):
        raise Broken(f"{key} is searched from {low!r} to {high!r}, but its default is {default!r}")
    if not low <= default <= high:
        raise Broken(f"the default {key} = {default!r} lies outside {low!r} to {high!r}")
    for end in (low, high):
        try:
            case.kind.model_validate({key: end})
        except ValidationError as error:
            raise Broken(
                f"{explain(error, case.kind.name)}, though the search goes from {low!r} to {high!r}"
            ) from error


class _Sealed(Mapping[Split, Any]):
    """Arrays by split; those of the test split are under lock."""

    def __init__(self, arrays: Mapping[Split, Any], what: str, lock: _Lock) -> None:
        self.arrays, self.what, self.lock = arrays, what, lock

    def __getitem__(self, split: Split) -> Any:  # noqa: ANN401 - arrays
        if split == "test" and self.lock.shut:
            raise Broken(f"it reads the {self.what} of the test split during training")
        return self.arrays[split]

    def __iter__(self) -> Iterator[Split]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)


class _Lock(Watcher):
    """A lock that opens when the strategy is done."""

    shut = True

    def ended(self) -> None:
        self.shut = False


def no_test_data(case: StrategyCase) -> None:
    lock, images = _Lock(), _with_other_test(case.images)
    sealed = replace(
        images,
        images=_Sealed(images.images, "images", lock),
        labels=_Sealed(images.labels, "labels", lock),
    )
    if name := difference(case.plain, case.run(lock, images=sealed)):
        raise Broken(f"{name} depends on the images and labels of the test split")


def _with_other_test(images: ImageSet) -> ImageSet:
    """Invert the pixels of the test split, and give each sample the next class."""
    import numpy as np

    pixels, labels = images.images["test"], images.labels["test"]
    return replace(
        images,
        images={**images.images, "test": np.ascontiguousarray(255 - pixels)},
        labels={**images.labels, "test": (labels + 1) % len(images.classes)},
    )


class _Generators(Watcher):
    @contextmanager
    def working(self, view: StrategyView) -> Iterator[None]:
        before = generators()
        yield
        if names := moved(before, generators()):
            raise Broken(f"phases() draws from or seeds {' and '.join(names)}")


def global_randomness(case: StrategyCase) -> None:
    _ = case.plain
    with unseeded() as moved_since:
        case.run(_Generators())
        names = moved_since()
    if names:
        raise Broken(f"a run leaves {' and '.join(names)} in another state")


class _Opened(Watcher):
    def working(self, view: StrategyView) -> AbstractContextManager[None]:
        return opens_nothing(" in phases()", files=True)


def nothing_opened(case: StrategyCase) -> None:
    _ = case.plain
    case.run(_Opened())


class _Trespass(Broken, AttributeError):  # noqa: N818 - as its base
    """A broken promise that is an AttributeError too: `hasattr` answers as it would elsewhere."""


class _ReadOnly(dict[str, ParameterInfo]):
    def __setitem__(self, name: str, info: ParameterInfo) -> None:
        raise Broken(f"it writes into `parameters[{name!r}]` of the view")

    def __delitem__(self, name: str) -> None:
        raise Broken(f"it deletes `parameters[{name!r}]` of the view")


class _OnlyView:
    """The part of a view that `ModelView` has, to be read and not written."""

    def __init__(self, view: StrategyView) -> None:
        object.__setattr__(self, "_kept", view)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the view has there
        if name not in OFFERED:
            raise _Trespass(f"it reads `{name}` of the view, which ModelView does not have")
        value = getattr(self._kept, name)
        return _ReadOnly(value) if name == "parameters" else value

    def __setattr__(self, name: str, value: object) -> None:
        raise Broken(f"it sets `{name}` of the view")


class _HandsOff(Watcher):
    def view(self, view: StrategyView) -> ModelView:
        only: Any = _OnlyView(view)
        offered: ModelView = only
        return offered

    @contextmanager
    def working(self, view: StrategyView) -> Iterator[None]:
        from harness.engine import network_tensors

        before = {name: tensor.clone() for name, tensor in network_tensors(view).items()}
        yield
        for name, tensor in network_tensors(view).items():
            if not same(before[name], tensor):
                raise Broken(f"phases() changes {name} itself, outside of any phase")


def read_only_view(case: StrategyCase) -> None:
    _ = case.plain
    case.run(_HandsOff())


RULES: tuple[Rule[StrategyCase], ...] = (
    Rule("defaults", "every setting has a default, and the defaults fit together", defaults),
    Rule(
        "settings-json",
        "settings are part of a run's identity, so they come back from JSON as they were",
        settings_json,
    ),
    Rule(
        "search-space",
        "a `Search` runs upwards, holds the default, and every value in it is allowed",
        search_space,
    ),
    Rule(
        "runs",
        "a strategy runs on every backbone: it takes names of stages and parameters from the view",
        training.runs,
    ),
    Rule(
        "within-budget",
        "all phases together use at most the epochs given",
        training.within_budget,
    ),
    Rule(
        "any-budget",
        "one epoch, a fraction of one and early stopping are budgets",
        training.any_budget,
    ),
    Rule(
        "finite-loss",
        "the loss and the logits of the toy run are finite numbers",
        training.finite_loss,
    ),
    Rule(
        "keeps-nothing",
        "a strategy keeps nothing from one run for the next, in `self` or its class: what changes "
        "lives in local variables of phases()",
        training.keeps_nothing,
    ),
    Rule(
        "deterministic", "the same spec gives the same weights to the bit", training.deterministic
    ),
    Rule(
        "frozen-stays",
        "what a phase does not train is the same to the bit after it, and so are the buffers of "
        "stages in which nothing learns",
        training.frozen_stays,
    ),
    Rule(
        "looking-leaves-no-trace",
        "a network computes the same however often it ran",
        training.looking,
        needs=("deterministic",),
    ),
    Rule(
        "caching-changes-nothing",
        "frozen leading stages may be computed once: an objective takes its inputs as they come, "
        "images or features, and a frozen stage always computes the same",
        training.caching,
        needs=("deterministic",),
    ),
    Rule(
        "no-test-data",
        "a strategy never sees the test split",
        no_test_data,
        needs=("deterministic",),
    ),
    Rule(
        "global-randomness",
        "draw from `rng` in adapt() and from `batch.rng` in an objective, never from a global "
        "generator: other draws would move with it",
        global_randomness,
    ),
    Rule(
        "nothing-opened",
        "phases() opens no file and no socket and starts no program: a result depends on its spec "
        "alone",
        nothing_opened,
    ),
    Rule(
        "read-only-view",
        "phases() reads what ModelView offers and writes nothing: weights change in phases only",
        read_only_view,
    ),
)
