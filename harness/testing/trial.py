"""Toy runs of a strategy under watch, and how far apart two of them are."""

from __future__ import annotations

import math
import pickle
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from harness.api.backbone import Backbone
from harness.api.execution import Engine, ImageSet, Outcome
from harness.api.records import NumericMode
from harness.api.strategy import (
    Directive,
    ModelView,
    PhaseReport,
    Phases,
    Strategy,
    advance,
)
from harness.errors import TrainingError
from harness.testing.promise import Broken, Unchecked, fault_line
from harness.testing.toys import FLOAT64, ToyVgg, one_thread, toy_images, toy_run

if TYPE_CHECKING:
    from torch import Tensor

    from harness.engine import StrategyView

ROUNDING = 1e-6


class OverBudget(Broken):
    """The strategy asks for more than there is."""


class Watcher:
    """A listener to what a strategy does in a run; the default lets it work."""

    def view(self, view: StrategyView) -> ModelView:
        """Return the view that the strategy gets to see."""
        return view

    def working(self, view: StrategyView) -> AbstractContextManager[None]:
        """Surround the strategy's own code, from one directive to the next."""
        return nullcontext()

    def yielded(self, view: StrategyView, directive: Directive) -> None:
        """Take note of a directive before the engine carries it out."""

    def reported(self, view: StrategyView, directive: Directive) -> None:
        """Take note of a directive that was carried out."""

    def ended(self) -> None:
        """Take note that there are no more directives; the engine is about to test."""


def watched(strategy: Strategy, watcher: Watcher) -> Strategy:
    """Put this very strategy under watch: as a subclass, so that the engine sees the same `adapt`."""
    kind = type(strategy)

    def phases(self: Strategy, model: StrategyView, epochs: float) -> Phases:
        view = watcher.view(model)
        plan: object = None
        report: PhaseReport | None = None
        while True:
            with watcher.working(model):
                plan = plan if plan is not None else kind.phases(self, view, epochs)
                directive = advance(plan, report)
            if directive is None:
                watcher.ended()
                return
            _check_directive(directive, model)
            watcher.yielded(model, directive)
            report = yield directive
            watcher.reported(model, directive)

    subclass = type(kind.__name__, (kind,), {"phases": phases, "__module__": kind.__module__})
    # Not made anew: a validator might give other settings.
    object.__setattr__(strategy, "__class__", subclass)
    return strategy


def _check_directive(directive: Directive, view: StrategyView) -> None:
    asked, left = directive.epochs, view.epochs_left
    if asked > left + ROUNDING:
        raise OverBudget(
            f"phase {directive.name!r} asks for {asked:g} epochs and {left:g} are left"
        )


class StrategyCase:
    """A strategy class or a strategy with its settings, and the toy runs the promises share.

    `images`: those of its toy runs, 8 x 8 pixels; None: drawn ones.
    """

    def __init__(self, given: type[Strategy] | Strategy, images: ImageSet | None = None) -> None:
        self.kind = given if isinstance(given, type) else type(given)
        self._given = given
        self._images = images
        self.module = self.kind.__module__

    @property
    def images(self) -> ImageSet:
        """The images of its toy runs."""
        return self._images or toy_images()

    @cached_property
    def strategy(self) -> Strategy:
        """The strategy with its settings; the defaults where a class was given.

        Raises:
            Unchecked: there are no defaults.
        """
        if not isinstance(self._given, type):
            return self._given
        try:
            return self._given()
        except ValueError as error:
            raise Unchecked("it cannot be made without settings", "defaults") from error

    def run(
        self,
        watcher: Watcher | None = None,
        *,
        strategy: Strategy | None = None,
        backbone: Backbone | None = None,
        images: ImageSet | None = None,
        numeric: NumericMode = FLOAT64,
        engine: Engine = "fast",
        **protocol: Any,  # noqa: ANN401 - fields of Protocol
    ) -> Outcome:
        """Do one toy run; whatever happens in it gets through.

        `strategy`: the very object to use; None: a copy that nothing else uses.
        """
        from harness.engine import run

        used = strategy or self.strategy.model_copy(deep=True)
        spec, resources = toy_run(
            watched(used, watcher or Watcher()),
            backbone=backbone, images=images or self.images, numeric=numeric, **protocol,
        )  # fmt: skip
        with one_thread():
            return run(spec, replace(resources, engine=engine))

    @cached_property
    def _plain(self) -> Outcome | Exception:
        try:
            return self.run()
        except Unchecked:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, one promise is blamed for it
            return error

    @cached_property
    def fault(self) -> Exception | None:
        """The exception that ends the plain run early; None if it ends in time."""
        return self._plain if isinstance(self._plain, Exception) else None

    @property
    def plain(self) -> Outcome:
        """The plain run.

        Raises:
            Unchecked: it ends early.
        """
        if isinstance(self._plain, Exception):
            raise Unchecked("the toy run ends early", blamed(self._plain))
        return self._plain

    @cached_property
    def unstable(self) -> str:
        """The first tensor in which a second plain run differs; empty if none does."""
        return difference(self.plain, self.run())

    @cached_property
    def kept(self) -> str:
        """Traces of the first run in a second one with the same object; empty: none."""
        plain, used = self.plain, self.strategy.model_copy(deep=True)
        before = _state(used)
        with suppress(Exception):  # 'runs' is blamed for it
            self.run(strategy=used, backbone=ToyVgg())
        names = [name for name, value in _state(used).items() if before.get(name) != value]
        try:
            found = difference(plain, self.run(strategy=used))
            differs = f"differs in {found}" if found else ""
        except Exception as error:  # noqa: BLE001 - the plain run did not end so
            differs = f"ends early: {self.fault_line(error)}"
        if not differs or (self.unstable and not names):
            return ""
        left = f"; the first left {' and '.join(map(repr, names))} behind" if names else ""
        return f"a second run with the same object {differs}{left}"

    def fault_line(self, error: BaseException) -> str:
        """An exception of a run in one line."""
        return str(error) if isinstance(error, Broken) else fault_line(error, self.module)


def _state(strategy: Strategy) -> dict[str, bytes | str]:
    """State of an object and its classes, comparable: attribute -> its bytes."""
    found = {**(strategy.__pydantic_private__ or {}), **vars(strategy)}
    for kind in type(strategy).__mro__:
        if issubclass(kind, Strategy) and kind is not Strategy:
            own = {
                n: v for n, v in vars(kind).items() if not n.startswith(("__", "_abc", "model_"))
            }
            found = {n: v for n, v in own.items() if not callable(v)} | found
    return {name: _bytes(value) for name, value in found.items()}


def _bytes(value: object) -> bytes | str:
    try:
        return pickle.dumps(value)
    except Exception:  # noqa: BLE001 - whatever a __reduce__ raises
        return repr(value)


def blamed(error: Exception) -> str:
    """The promise that a run which ended early broke."""
    if isinstance(error, OverBudget):
        return "within-budget"
    return "finite-loss" if isinstance(error, TrainingError) else "runs"


def difference(first: Outcome, second: Outcome) -> str:
    """The first tensor in which two runs are not the same to the bit; empty if there is none."""
    theirs = tensors(second)
    return next((n for n, tensor in tensors(first).items() if not same(tensor, theirs[n])), "")


def same(a: Tensor, b: Tensor) -> bool:
    """True if equal values stand in equal places, where NaN equals NaN."""
    import torch

    return torch.equal(a, b) or torch.allclose(a, b, rtol=0, atol=0, equal_nan=True)


def tensors(outcome: Outcome) -> dict[str, Tensor]:
    """Tensors that a run ends with, by name: its tested weights, its logits on validation."""
    import torch

    weights = {f"weights {name}": tensor for name, tensor in (outcome.state or {}).items()}
    if outcome.predictions is None:
        return weights
    logits = outcome.predictions.logits["validation"]
    return weights | {"validation logits": torch.from_numpy(logits)}


def far(first: Outcome, second: Outcome) -> tuple[float, str]:
    """The largest distance of two runs' tensors, relative to their norm, and where it is."""
    theirs = tensors(second)
    return max((_distance(tensor, theirs[name]), name) for name, tensor in tensors(first).items())


def _distance(a: Tensor, b: Tensor) -> float:
    if same(a, b):
        return 0.0
    a, b = a.double(), b.double()
    distance = float((a - b).norm() / (b.norm() + 1e-6))
    return distance if math.isfinite(distance) else math.inf
