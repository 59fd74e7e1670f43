"""A network as a strategy may know it before there is one: its directives are asked for in advance."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

from harness.api.strategy import (
    DIRECTIVES,
    Directive,
    ParameterInfo,
    Params,
    Phase,
    PhaseReport,
    Strategy,
)
from harness.errors import HarnessError

MOST = 1000  # directives that are asked for
# Parameters that each stage is said to have: one of every kind that a strategy may choose by.
_KINDS: Mapping[str, tuple[Literal["kernel", "bias", "norm"], tuple[int, ...]]] = {
    "layer.weight": ("kernel", (2, 2)),
    "layer.bias": ("bias", (2,)),
    "norm.weight": ("norm", (2,)),
}


@dataclass
class Outline:
    """A `ModelView` of stages that hold a layer and a norm each; gradients are ones.

    Attributes:
        added: parameters that the strategy puts on top, see `added_by`.
        looks: training batches whose gradients were asked for so far.
    """

    stages: tuple[str, ...] = ("stem", "body", "head")
    classifier: tuple[str, ...] = ("head",)
    steps_per_epoch: int = 10
    epochs_left: float = 1.0
    class_counts: tuple[int, ...] = (10, 10)
    added: Mapping[str, ParameterInfo] = field(default_factory=dict)
    looks: int = field(default=0, init=False)

    @property
    def head(self) -> tuple[str, ...]:
        return self.stages[-1:]

    @property
    def parameters(self) -> Mapping[str, ParameterInfo]:
        plain = {
            f"{stage}.{name}": ParameterInfo(
                stage,
                kind,
                shape,
                pretrained=stage not in self.head,
                norm=1.0,
                module=f"{stage}.{name.rpartition('.')[0]}",
            )
            for stage in self.stages
            for name, (kind, shape) in _KINDS.items()
        }
        return {**plain, **self.added}

    @property
    def last_gradient(self) -> Params:
        import torch  # a strategy that looks has imported it

        return {name: torch.ones(info.shape) for name, info in self.parameters.items()}

    def gradients(
        self, batches: int, norm_mode: Literal["train", "eval"] = "eval"
    ) -> Iterator[Params]:
        for _ in range(batches):
            self.looks += 1
            yield self.last_gradient

    def learning(self, phase: Phase) -> list[str]:
        """The stages in which something learns in a phase, in forward order.

        All of them where its patterns name parameters that only the real network has.
        """
        found = {name.split(".")[0] for name in self.parameters if _rate(phase, name)}
        return [stage for stage in self.stages if stage in found] or list(self.stages)


def added_by(strategy: Strategy, stages: tuple[str, ...]) -> dict[str, ParameterInfo]:
    """Parameters that a strategy's `adapt` puts on stages of a convolution, a linear layer and a norm each.

    Raises:
        HarnessError: it cannot adapt such stages.
    """
    if type(strategy).adapt is Strategy.adapt:
        return {}
    import torch
    from torch import nn

    def sketch() -> nn.Sequential:
        layers = {"conv": nn.Conv2d(2, 2, 3), "layer": nn.Linear(2, 2), "norm": nn.BatchNorm2d(2)}
        return nn.Sequential(OrderedDict[str, nn.Module](layers))

    with torch.random.fork_rng(devices=[]):
        model = nn.Sequential(OrderedDict((name, sketch()) for name in stages))
        before = {name for name, _ in model.named_parameters()}
        try:
            named = dict(strategy.adapt(model, torch.Generator()).named_parameters())
        except Exception as error:
            raise HarnessError(f"{strategy.name} wants other stages: {error}") from error
    return {
        name: ParameterInfo(
            name.split(".")[0], "other", tuple(one.shape), pretrained=False, norm=1.0,
            module=name.rpartition(".")[0],
        )
        for name, one in named.items()
        if name not in before and not name.endswith(".original")
    }  # fmt: skip


def directives(
    strategy: Strategy, outline: Outline, epochs: float
) -> Iterator[tuple[Directive, int]]:
    """The directives of a run in which patience never runs out, each with the looks before it.

    Raises:
        HarnessError: the strategy wants more of a network than an outline has, or does not end.
    """
    outline.epochs_left = epochs
    plan, report = None, None
    for _ in range(MOST):
        before = outline.looks
        try:
            if plan is None:  # no generator function raises here; any other may
                plan = strategy.phases(outline, epochs)
            directive = next(plan) if report is None else plan.send(report)
        except StopIteration:
            return
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            why = type(error).__name__
            with contextlib.suppress(Exception):  # its text may raise, too; the run will tell
                why = str(error)
            raise HarnessError(f"{strategy.name} cannot be asked for its phases: {why}") from error
        if not isinstance(directive, Directive):
            raise HarnessError(f"{strategy.name} yields what is none of {DIRECTIVES}")
        yield directive, outline.looks - before
        outline.epochs_left = max(0.0, outline.epochs_left - directive.epochs)
        report = report_of(directive.name, directive.epochs, outline.steps_per_epoch)
    raise HarnessError(f"{strategy.name} has yielded {MOST} directives and goes on")


def further_copies(strategy: Strategy, outline: Outline, epochs: float) -> int:
    """Copies of the weights that a strategy's phases hold at one time, beside those of any run.

    At most: the frozen copy for an objective, an average and the network's own weights while it
    stands in for them, and what is kept to be mixed.

    Raises:
        HarnessError: as `directives`.
    """
    most = kept = 0
    for directive, _ in directives(strategy, outline, epochs):
        if isinstance(directive, Phase):
            kept += directive.keep
            most = max(
                most,
                kept + (directive.reference != "none") + 2 * (directive.average != "none"),
            )
    return most


def _rate(phase: Phase, name: str) -> float:
    """The multiplier of a parameter: that of the first pattern that matches it, else 0."""
    for pattern, rate in phase.train.items():
        if name.startswith(f"{pattern}.") or fnmatchcase(name, pattern):
            return rate
    return 0.0


def report_of(name: str, epochs: float, steps_per_epoch: int) -> PhaseReport:
    """A report of a phase that went to its end: its figures are made up."""
    return PhaseReport(
        phase=name, epochs=epochs, steps=round(epochs * steps_per_epoch), score=0.5, best=0.5,
        history=(0.5,), stopped=False, train_loss=1.0, trainable=2, cached_stages=2, seconds=0.0,
    )  # fmt: skip
