"""Promises of a strategy that show in its toy runs: budget, results, frozen stages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.api.records import NumericMode
from harness.api.strategy import Directive, Interpolate, Phase, SolveHead
from harness.testing.promise import Broken, Unchecked
from harness.testing.toys import FLOAT32, FLOAT64, ToyVgg
from harness.testing.trial import StrategyCase, Watcher, blamed, difference, far, same

if TYPE_CHECKING:
    from torch import Tensor

    from harness.engine import StrategyView

# Another order of the same sums: what float64 and float32 may differ by after twelve steps.
TOLERANCES: tuple[tuple[NumericMode, float], ...] = ((FLOAT64, 1e-8), (FLOAT32, 1e-5))
BUDGETS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("a budget of 1 epoch", {"epochs": 1.0}),
    ("a budget of 2.5 epochs", {"epochs": 2.5}),
    ("early stopping after one epoch", {"patience": 1}),
)


def runs(case: StrategyCase) -> None:
    _settle(case, "runs")
    vgg = ToyVgg()
    try:
        case.run(backbone=vgg)
    except Exception as error:
        stages = ", ".join(vgg.stages)
        raise Broken(f"on a network with the stages {stages}: {case.fault_line(error)}") from error


def within_budget(case: StrategyCase) -> None:
    _settle(case, "within-budget")


def _settle(case: StrategyCase, promise: str) -> None:
    """Blame one promise for a run that ends early."""
    if case.fault is None:
        return
    if blamed(case.fault) == promise:
        raise Broken(case.fault_line(case.fault)) from case.fault
    raise Unchecked("the toy run ends early", blamed(case.fault))


def any_budget(case: StrategyCase) -> None:
    _ = case.plain
    for what, protocol in BUDGETS:
        try:
            case.run(**protocol)
        except Exception as error:
            raise Broken(f"with {what}: {case.fault_line(error)}") from error


def finite_loss(case: StrategyCase) -> None:
    import numpy as np

    _settle(case, "finite-loss")
    predictions = case.plain.predictions
    if predictions is not None:
        for split, logits in predictions.logits.items():
            bad = int((~np.isfinite(logits)).sum())
            if bad:
                raise Broken(f"{bad} logits on {split} are not finite")


def keeps_nothing(case: StrategyCase) -> None:
    if case.kept:
        raise Broken(case.kept)
    if case.unstable:
        raise Unchecked("two equal runs differ anyway", "deterministic")


def deterministic(case: StrategyCase) -> None:
    if case.kept:
        raise Unchecked("what one run leaves moves the next", "keeps-nothing")
    if case.unstable:
        raise Broken(f"{case.unstable} differs between two runs of the same spec")


class _Frozen(Watcher):
    """A comparison, before and after each phase, of what does not learn in it."""

    def __init__(self) -> None:
        self.before: dict[str, Tensor] = {}

    def yielded(self, view: StrategyView, directive: Directive) -> None:
        from harness.engine import initial_tensors

        start = initial_tensors(view, directive)
        learning = self._learning(view, directive)
        solved = isinstance(directive, SolveHead)  # its stage's buffers stay as they are
        stages = () if solved else {name.split(".")[0] for name in learning}
        parameters = view.parameters
        self.before = {
            name: tensor.detach().clone()
            for name, tensor in start.items()
            if name not in learning and (name in parameters or name.split(".")[0] not in stages)
        }

    def reported(self, view: StrategyView, directive: Directive) -> None:
        from harness.engine import network_tensors

        now = network_tensors(view)
        for name, tensor in self.before.items():
            if not same(tensor, now[name]):
                raise Broken(f"{name} does not learn in phase {directive.name!r}, but has changed")

    @staticmethod
    def _learning(view: StrategyView, directive: Directive) -> set[str]:
        from harness.engine import head_layer, multipliers

        if isinstance(directive, Interpolate):
            return set(view.parameters)
        if isinstance(directive, Phase):
            return set(multipliers(directive, view.parameters))
        last = head_layer(view)
        return {f"{last}.weight", f"{last}.bias"}


def frozen_stays(case: StrategyCase) -> None:
    _ = case.plain
    case.run(_Frozen())


class _Looking(Watcher):
    """A look at all that the view offers, before every phase."""

    def yielded(self, view: StrategyView, directive: Directive) -> None:
        from harness.engine import free_looks

        with free_looks(view):
            for mode in ("eval", "train"):
                list(view.gradients(1, mode))
        _ = view.parameters, view.class_counts, view.epochs_left


def looking(case: StrategyCase) -> None:
    if name := difference(case.plain, case.run(_Looking())):
        raise Broken(f"{name} is another one if somebody looks at gradients before each phase")


def caching(case: StrategyCase) -> None:
    from harness.engine import recomputed_features

    for numeric, tolerance in TOLERANCES:
        # Step by step both times: the fast path of a probe needs what is computed once.
        cached = case.run(numeric=numeric, engine="reference")
        with recomputed_features():
            computed = case.run(numeric=numeric, engine="reference")
        distance, name = far(cached, computed)
        if distance > tolerance:
            raise Broken(
                f"{name} is {distance:.1e} off in {numeric.precision} (at most {tolerance:g}) if "
                "frozen stages are computed once"
            )
