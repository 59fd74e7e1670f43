"""Toy runs of a strategy under watch, and how far apart two of them are."""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from harness.api.backbone import Backbone
from harness.api.execution import Engine, ImageSet, Outcome
from harness.api.records import NumericMode
from harness.api.strategy import (
    Directive,
    ModelView,
    Phase,
    PhaseReport,
    Phases,
    SolveHead,
    Strategy,
)
from harness.errors import TrainingError
from harness.testing.promise import Broken, Unchecked, fault_line
from harness.testing.toys import FLOAT64, one_thread, toy_run

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
    """Put a strategy under watch: as a subclass, so that the engine sees the same `adapt`."""
    kind = type(strategy)

    def phases(self: Strategy, model: StrategyView, epochs: float) -> Phases:
        view = watcher.view(model)
        plan: object = None
        report: PhaseReport | None = None
        while True:
            with watcher.working(model):
                plan = plan if plan is not None else kind.phases(self, view, epochs)
                directive = _advance(plan, report)
            if directive is None:
                watcher.ended()
                return
            _check_directive(directive, model)
            watcher.yielded(model, directive)
            report = yield directive
            watcher.reported(model, directive)

    subclass = type(kind.__name__, (kind,), {"phases": phases, "__module__": kind.__module__})
    # Not made anew: a validator might give other settings.
    copy = strategy.model_copy()
    object.__setattr__(copy, "__class__", subclass)
    return copy


def _advance(plan: object, report: PhaseReport | None) -> Directive | None:
    if not isinstance(plan, Generator):
        raise Broken(f"phases() returns {type(plan).__name__}; write it with `yield`")
    try:
        directive: object = next(plan) if report is None else plan.send(report)
    except StopIteration:
        return None
    if not isinstance(directive, (Phase, SolveHead)):
        raise Broken(f"phases() yields {directive!r}, which is neither Phase nor SolveHead")
    return directive


def _check_directive(directive: Directive, view: StrategyView) -> None:
    asked, left = directive.epochs, view.epochs_left
    if not 0 <= asked <= left + ROUNDING:
        raise OverBudget(
            f"phase {directive.name!r} asks for {asked:g} epochs and {left:g} are left"
        )


class StrategyCase:
    """A strategy class or a strategy with its settings, and the toy runs the promises share."""

    def __init__(self, given: type[Strategy] | Strategy) -> None:
        self.kind = given if isinstance(given, type) else type(given)
        self._given = given
        self.module = self.kind.__module__

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
            raise Unchecked("it cannot be made without settings, see 'defaults'") from error

    def run(
        self,
        watcher: Watcher | None = None,
        *,
        backbone: Backbone | None = None,
        images: ImageSet | None = None,
        numeric: NumericMode = FLOAT64,
        engine: Engine = "fast",
        **protocol: Any,  # noqa: ANN401 - fields of Protocol
    ) -> Outcome:
        """Do one toy run; whatever happens in it gets through."""
        from harness.engine import run

        spec, resources = toy_run(
            watched(self.strategy, watcher or Watcher()),
            backbone=backbone, images=images, numeric=numeric, **protocol,
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
            raise Unchecked(f"the toy run ends early, see {blamed(self._plain)!r}")
        return self._plain

    @cached_property
    def unstable(self) -> str:
        """The first tensor in which a second plain run differs; empty if none does."""
        return difference(self.plain, self.run())

    def needs_repeatable(self) -> None:
        """Raise `Unchecked` where comparing two runs would say nothing."""
        if self.unstable:
            raise Unchecked("two equal runs differ anyway, see 'deterministic'")

    def fault_line(self, error: BaseException) -> str:
        """An exception of a run in one line."""
        return str(error) if isinstance(error, Broken) else fault_line(error, self.module)


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
