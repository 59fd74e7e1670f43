"""What a strategy keeps its hands off: test data, global generators, files, the view."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from harness.api.dataset import Split
from harness.api.execution import ImageSet
from harness.api.strategy import ModelView, ParameterInfo
from harness.testing.promise import Broken
from harness.testing.toys import toy_images
from harness.testing.trial import StrategyCase, Watcher, difference, same
from harness.testing.watch import generators, moved, unseeded, watching

if TYPE_CHECKING:
    from harness.engine import StrategyView


class _Sealed(Mapping[Split, Any]):
    """Arrays by split, of which that of the test split is under lock."""

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
    """Opens when the strategy is done."""

    shut = True

    def ended(self) -> None:
        self.shut = False


def no_test_data(case: StrategyCase) -> None:
    case.needs_repeatable()
    lock, other = _Lock(), _other_test(toy_images())
    sealed = replace(
        other,
        images=_Sealed(other.images, "images", lock),
        labels=_Sealed(other.labels, "labels", lock),
    )
    if name := difference(case.plain, case.run(lock, images=sealed)):
        raise Broken(f"{name} depends on the images and labels of the test split")


def _other_test(images: ImageSet) -> ImageSet:
    import numpy as np

    pixels, labels = images.images["test"], images.labels["test"]
    other = (labels + 1) % len(images.classes)
    return replace(
        images,
        images={**images.images, "test": np.ascontiguousarray(255 - pixels)},
        labels={**images.labels, "test": other},
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
    @contextmanager
    def working(self, view: StrategyView) -> Iterator[None]:
        with watching(files=True) as noticed:
            try:
                yield
            finally:
                if noticed:
                    raise Broken(f"{noticed[0]} in phases()")


def nothing_opened(case: StrategyCase) -> None:
    _ = case.plain
    case.run(_Opened())


class _Trespass(Broken, AttributeError):  # noqa: N818 - as its base
    """An AttributeError too, so that `hasattr` answers as it would elsewhere."""


class _ReadOnly(dict[str, ParameterInfo]):
    def __setitem__(self, name: str, info: ParameterInfo) -> None:
        raise Broken(f"it writes into `parameters[{name!r}]` of the view")

    def __delitem__(self, name: str) -> None:
        raise Broken(f"it deletes `parameters[{name!r}]` of the view")


OFFERED = frozenset(name for name in vars(ModelView) if not name.startswith("_"))


class _OnlyView:
    """What `ModelView` has and nothing else, to be read and not written."""

    def __init__(self, view: StrategyView) -> None:
        object.__setattr__(self, "_kept", view)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the view has there
        if name not in OFFERED:
            raise _Trespass(f"it reads `{name}` of the view, which ModelView does not have")
        found = getattr(self._kept, name)
        return _ReadOnly(found) if name == "parameters" else found

    def __setattr__(self, name: str, value: object) -> None:
        raise Broken(f"it sets `{name}` of the view")


class _HandsOff(Watcher):
    def view(self, view: StrategyView) -> ModelView:
        only: Any = _OnlyView(view)
        shown: ModelView = only
        return shown

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
