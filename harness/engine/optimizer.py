"""The parameters that learn and at which rate; the optimizer; penalties towards the start."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from harness.api.records import Protocol, Schedule
from harness.api.strategy import Distance, Penalty, Phase
from harness.errors import PhaseError

State = dict[str, dict[str, Any]]  # of an optimizer, by parameter name


def multipliers(phase: Phase, names: Iterable[str]) -> dict[str, float]:
    """Learning-rate multiplier of each learning parameter; a frozen one is absent.

    Raises:
        PhaseError: a pattern names no parameter, or nothing learns.
    """
    names = list(names)
    _check_patterns(phase.train, names, f"phase {phase.name!r} trains")
    chosen = {name: value for name, value in first_match(phase.train, names).items() if value}
    if not chosen:
        raise PhaseError(f"phase {phase.name!r} trains nothing; give a stage a rate above 0")
    return chosen


def decays(phase: Phase, names: Iterable[str], default: float) -> dict[str, float]:
    """Weight decay of every parameter: the phase's word, else the protocol's."""
    names = list(names)
    _check_patterns(phase.decay, names, f"phase {phase.name!r} sets the decay of")
    return dict.fromkeys(names, default) | first_match(phase.decay, names)


def first_match(values: Mapping[str, float], names: Iterable[str]) -> dict[str, float]:
    """The value of the first pattern that matches; a name that nothing matches is absent."""
    names = list(names)
    known = set(names)
    # A pattern that is a parameter's whole name matches that one only: no need to try it on all.
    place = {pattern: number for number, pattern in enumerate(values)}
    broad = [(number, pattern) for pattern, number in place.items() if pattern not in known]
    matched: dict[str, float] = {}
    for name in names:
        own = place.get(name, len(place))
        earlier = (pattern for number, pattern in broad if number < own and matches(pattern, name))
        pattern = next(earlier, name if name in values else None)
        if pattern is not None:
            matched[name] = values[pattern]
    return matched


def matches(pattern: str, name: str) -> bool:
    """A stage name matches all that is in it; anything else is a glob over the whole name."""
    return name == pattern or name.startswith(f"{pattern}.") or fnmatchcase(name, pattern)


def _check_patterns(values: Mapping[str, float], names: list[str], where: str) -> None:
    for pattern in values:
        if pattern in names or any(matches(pattern, name) for name in names):
            continue
        stages = list(dict.fromkeys(name.split(".")[0] for name in names))
        near = get_close_matches(pattern, [*stages, *names], n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"the stages are {', '.join(stages)}"
        raise PhaseError(f"{where} {pattern!r}, which is no parameter; {hint}")


def rate_factor(schedule: Schedule, elapsed: float, span: float) -> float:
    """Share of the peak rate after `elapsed` epochs of a decay over `span` epochs (or the horizon).

    Cosine: floor + (1 - floor) (1 + cos(pi p)) / 2 with p the share of the span after warm-up.
    """
    span = schedule.horizon or span
    if elapsed < schedule.warmup:
        return elapsed / schedule.warmup
    progress = min(1.0, (elapsed - schedule.warmup) / max(span - schedule.warmup, 1e-12))
    shape = {
        "constant": 1.0,
        "linear": 1.0 - progress,
        "cosine": 0.5 * (1.0 + math.cos(math.pi * progress)),
    }[schedule.kind]
    return schedule.floor + (1.0 - schedule.floor) * shape


@dataclass(frozen=True)
class PhaseSchedule:
    """The steps of a phase, from number `first` to before `last` of the run, and their rates."""

    phase: Phase
    protocol: Protocol
    steps_per_epoch: int
    first: int
    last: int

    def factor(self, step: int) -> float:
        """The schedule's share of the peak rate at a step."""
        over_run = self.phase.anneal == "run"
        begun = step if over_run else step - self.first
        span = self.protocol.epochs if over_run else self.phase.epochs
        return rate_factor(self.protocol.schedule, begun / self.steps_per_epoch, span)

    def progress(self, step: int) -> float:
        """Share of the run's budget that is spent before a step."""
        return step / max(1, round(self.protocol.epochs * self.steps_per_epoch))


class Optimizer:
    """The protocol's optimizer over named parameters with a rate multiplier and a decay each.

    `lr`: the rate that the multipliers multiply.
    `scaler`: what the loss was scaled by is taken from the gradients, and a step of which one is not
    finite is left out.
    """

    def __init__(
        self,
        protocol: Protocol,
        learning: Mapping[str, nn.Parameter],
        rates: Mapping[str, float],
        decays: Mapping[str, float],
        scaler: torch.amp.GradScaler,
        lr: float,
    ) -> None:
        self.learning, self.lr, self.scaler = learning, lr, scaler
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in learning.items():
            groups.setdefault((rates[name], decays[name]), []).append(parameter)
        self.group_of = {name: list(groups).index((rates[name], decays[name])) for name in learning}
        self.inner = _build(
            protocol,
            [
                {"params": members, "multiplier": rate, "lr": 0.0, "weight_decay": decay}
                for (rate, decay), members in groups.items()
            ],
        )
        self.rates: Tensor | None = None
        self.left_out = LeftOut.by(self.inner) if scaler.is_enabled() else None
        if protocol.optimizer == "sgd" and protocol.momentum:
            # The fused step refuses parameters with a momentum beside others without.
            self._start_momentum(list(learning.values()))

    def restore(self, state: State) -> None:
        """Go on with the state of parameters that already learned."""
        for name, parameter in self.learning.items():
            if name in state:
                self.inner.state[parameter] = state[name]

    def state(self) -> State:
        """State by parameter name."""
        return {n: self.inner.state[p] for n, p in self.learning.items() if p in self.inner.state}

    def set_rate(self, factor: float) -> None:
        """`factor` is the schedule's share of the peak rate."""
        for group, rate in zip(self.inner.param_groups, self.group_rates(factor), strict=True):
            group["lr"] = rate

    def group_rates(self, factor: float) -> list[float]:
        """The rate of each group of parameters (those of one multiplier and decay)."""
        return [self.lr * group["multiplier"] * factor for group in self.inner.param_groups]

    def rates_on(self, device: torch.device) -> None:
        """From now on rates are read from the device's memory: a recorded update can follow them."""
        self.rates = torch.zeros(len(self.inner.param_groups), device=device)
        for number, group in enumerate(self.inner.param_groups):
            group["lr"], group["capturable"] = self.rates[number], device.type == "cuda"
            group["fused"] = True
            if isinstance(self.inner, torch.optim.SGD) and group["momentum"]:
                self._start_momentum(group["params"])

    def put_rates(self, rates: Tensor) -> None:
        """This step's rates [groups], float32 on the device."""
        if self.rates is None:
            raise PhaseError("rates_on() comes before put_rates()")
        self.rates.copy_(rates)

    def rate(self, name: str) -> float | Tensor:
        """The rate a parameter has in this step."""
        rate: float | Tensor = self.inner.param_groups[self.group_of[name]]["lr"]
        return rate

    def _start_momentum(self, parameters: list[nn.Parameter]) -> None:
        """Zero is what SGD starts from, too; made here, its first step is like all others."""
        for parameter in parameters:
            state = self.inner.state[parameter]
            if state.get("momentum_buffer") is None:
                state["momentum_buffer"] = torch.zeros_like(parameter)

    def unscale(self) -> None:
        """The gradients as they are without the scale of the loss."""
        self.scaler.unscale_(self.inner)

    def notes(self) -> tuple[str, ...]:
        """Remarks on its steps for the record of the phase."""
        count = 0 if self.left_out is None else int(self.left_out.count)
        steps = "step" if count == 1 else "steps"
        return (f"{count} {steps} left out: a gradient was not finite in fp16",) if count else ()

    def reach(self, name: str) -> float | Tensor:
        """The rate that a parameter was moved at in the step just made: 0 where it was left out."""
        rate = self.rate(name)
        return rate if self.left_out is None else rate * (1 - self.left_out.last)

    def step(self) -> None:
        self.scaler.step(self.inner)
        self.scaler.update()


@dataclass(frozen=True)
class LeftOut:
    """Steps that the scaler makes an optimizer leave out: how many, and (0 or 1) the last; on its device."""

    count: Tensor
    last: Tensor

    @classmethod
    def by(cls, inner: torch.optim.Optimizer) -> Self:
        count, last = torch.zeros(2, device=inner.param_groups[0]["params"][0].device)

        def note(own: Any, _: object, __: object) -> None:  # noqa: ANN401 - what a scaler gives it
            last.copy_(own.found_inf)
            count.add_(last)

        inner.register_step_pre_hook(note)
        return cls(count, last)


def _build(protocol: Protocol, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    if protocol.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=protocol.lr, momentum=protocol.momentum, fused=True)
    kind = torch.optim.AdamW if protocol.optimizer == "adamw" else torch.optim.Adam
    # Fused: 3 to 6 times faster than the loop on a CPU, one kernel on a GPU.
    return kind(groups, lr=protocol.lr, fused=True)


class Penalties:
    """The penalties of a phase: distances in closed form, others as terms of the loss."""

    def __init__(
        self,
        penalties: Iterable[Penalty],
        learning: Mapping[str, nn.Parameter],
        start: Mapping[str, Tensor],
    ) -> None:
        self.learning, self.start, penalties = learning, start, tuple(penalties)
        distances = [penalty for penalty in penalties if isinstance(penalty, Distance)]
        self.closed = ClosedForm(distances, learning, start)
        self.others = [penalty for penalty in penalties if not isinstance(penalty, Distance)]

    def added_to(self, loss: Tensor) -> Tensor:
        """The loss with the penalties that have no closed form."""
        for penalty in self.others:
            loss = loss + penalty(self.learning, self.start)
        return loss

    def step(self, optimizer: Optimizer) -> None:
        """One step of the optimizer, with the penalties in closed form before and after it."""
        optimizer.unscale()
        self.closed.add_gradients()
        optimizer.step()
        self.closed.shrink(optimizer)


@dataclass(frozen=True)
class _Term:
    distance: Distance
    names: list[str]
    now: list[Tensor]
    origin: list[Tensor]


class ClosedForm:
    """The gradients of `Distance` penalties, added after the backward pass.

    d/dw strength |w - w0| = strength sign(w - w0);  d/dw strength/2 (w - w0)^2 = strength (w - w0).
    """

    def __init__(
        self,
        distances: Iterable[Distance],
        learning: Mapping[str, nn.Parameter],
        start: Mapping[str, Tensor],
    ) -> None:
        terms = [_term(distance, learning, start) for distance in distances]
        self.smooth = [t for t in terms if t.names and not t.distance.proximal]
        self.proximal = [t for t in terms if t.names and t.distance.proximal]

    @torch.no_grad()
    def add_gradients(self) -> None:
        for term in self.smooth:
            moved = list(torch._foreach_sub(term.now, term.origin))  # noqa: SLF001 - public in docs
            if term.distance.kind == "l1":
                torch._foreach_sign_(moved)
            gradients = [cast("Tensor", w.grad) for w in term.now]
            torch._foreach_add_(gradients, moved, alpha=term.distance.strength)

    @torch.no_grad()
    def shrink(self, optimizer: Optimizer) -> None:
        """Proximal step of 'l1': move towards the origin by at most rate * strength."""
        for term in self.proximal:
            for name, w, w0 in zip(term.names, term.now, term.origin, strict=True):
                moved = w - w0
                reach = optimizer.reach(name) * term.distance.strength
                w.copy_(w0 + moved.sign() * (moved.abs() - reach).clamp_(min=0))


def _term(
    distance: Distance, learning: Mapping[str, nn.Parameter], start: Mapping[str, Tensor]
) -> _Term:
    names = [name for name in distance.parameters if name in learning]
    if distance.towards == "start" and (new := [name for name in names if name not in start]):
        raise PhaseError(
            f"a penalty ties {new[0]!r} to the starting point, but it is new for this dataset; "
            "list only parameters whose `pretrained` is true"
        )
    now: list[Tensor] = [learning[name] for name in names]
    origin = (
        [start[name] for name in names]
        if distance.towards == "start"
        else [torch.zeros_like(w) for w in now]
    )
    return _Term(distance, names, now, origin)
