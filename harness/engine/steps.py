"""The steps of a phase as recorded work: one graph for forward and backward, one for the update.

The steps of a phase one after another, as they are written in a textbook: the oracle.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from harness.api.strategy import Batch
from harness.engine.batches import Batches, Source, draw, send
from harness.engine.graphs import CapturableWork
from harness.engine.model import fixed_norms
from harness.engine.state import RunState

if TYPE_CHECKING:
    from harness.engine.phase import PhaseRun


class StepGraphs:
    """Forward and backward passes of one network with one set of learning parameters.

    Passes of several batch sizes leave their gradients in the same memory (that of the first one
    recorded), since the recorded update reads it there.
    """

    def __init__(self) -> None:
        self.gradients: list[Tensor] = []
        self.by_size: dict[int, StepGraph] = {}

    def bytes(self) -> int:
        return sum(g.numel() * g.element_size() for g in self.gradients)


class StepGraph:
    """One pass over a batch of fixed size: inputs lie in fixed memory, gradients in `.grad`."""

    def __init__(self, steps: CapturedSteps, size: int) -> None:
        state, phase = steps.state, steps.phase
        self.passes, self.objective = steps.passes, phase.objective
        self.network = steps.network
        if steps.compiles:
            self.network = cast("nn.Module", torch.compile(steps.network, dynamic=False))
        self.learning = list(steps.learning.values())
        self.criterion, self.autocast = state.numerics.loss, state.numerics.autocast
        self.reference, self.rng = steps.reference, state.objective_rng
        self.means = steps.source.means
        device = state.data.train.labels.device
        self.room = steps.source.room(size)
        self.rows = torch.empty(size, dtype=torch.int64, device=device)
        self.targets = torch.empty(size, dtype=torch.int64, device=device)
        self.drawn = torch.empty(size, 6, device=device) if steps.source.augmentations else None
        self.progress = torch.zeros((), device=device)
        self.loss = torch.zeros((), dtype=state.numerics.dtype, device=device)
        whole = size == state.protocol.batch_size
        self.once = CapturableWork(self._work, state.network.graphs, tune=whole)

    def __call__(self, state: RunState) -> None:
        """Afterwards `.grad` of every learning parameter holds this batch's gradient."""
        recorded = self.once.graph is not None
        self.once(state.clock)
        if self.once.graph is not None and not recorded and not self.passes.gradients:
            self.passes.gradients = gradients(self.learning)
        elif self.passes.gradients:
            attach(self.learning, self.passes.gradients)

    def _work(self) -> None:
        for parameter in self.learning:
            parameter.grad = None
        inputs = self.means(self.room, self.drawn)
        with self.autocast(), fixed_norms(self.network):
            loss = self._loss(inputs)
        loss.backward()  # type: ignore[no-untyped-call]
        self.loss.copy_(loss.detach())
        fill_missing(self.learning)
        if self.passes.gradients:
            torch._foreach_copy_(self.passes.gradients, gradients(self.learning))

    def _loss(self, inputs: Tensor) -> Tensor:
        if self.objective is None:
            return self.criterion(self.network(inputs), self.targets)
        progress = cast(
            "float", self.progress
        )  # a 0-dim tensor: a number would be recorded as it is
        batch = Batch(inputs, self.targets, self.rows, self.rng, progress, self.reference)
        return self.objective(self.network, batch)


class CapturedSteps:
    """What `PhaseRun` does in a step, for phases whose work can be recorded.

    Between two validations the host only starts work: it never waits for the device.
    """

    def __init__(
        self,
        run: PhaseRun,
        network: nn.Module,
        source: Source,
        batches: Batches,
        reference: nn.Module | None,
    ) -> None:
        self.state, self.phase, self.run = run.state, run.phase, run
        self.network, self.source, self.batches = network, source, batches
        self.reference, self.learning = reference, run.learning
        self.device = self.state.data.train.labels.device
        # Compiling pays for the step that most runs share: the one in which everything learns.
        everything = len(self.learning) == sum(1 for _ in self.state.network.model.parameters())
        self.compiles = self.state.spec.numeric.compile == "compile" and everything
        self.passes = self._passes()
        if self.passes.gradients:
            attach(list(self.learning.values()), self.passes.gradients)
        # A rate that lies on the device is a float32 there: float64 takes it from the host.
        self.records_update = self.state.spec.numeric.precision != "float64"
        if self.records_update:
            run.optimizer.rates_on(self.device)
        self.update = CapturableWork(self._update, self.state.network.graphs)
        self.table: tuple[int, int, Tensor] = (-1, 0, torch.empty(0))

    def step(self, number: int) -> None:
        """One optimizer step on batch `number`."""
        state, size = self.state, len(self.batches.at(number))
        if size not in self.passes.by_size:
            self.passes.by_size[size] = StepGraph(self, size)
        one = self.passes.by_size[size]
        self._feed(one, number)
        steady = one.once.steady
        one(state)
        self.run.losses.append(one.loss.clone())
        self._apply(number)
        if steady:  # the others are counted as compiling
            state.log.trained_samples += size

    def _passes(self) -> StepGraphs:
        """Kept for other strategies and seeds, unless the loss is this phase's own."""
        state, phase, protocol = self.state, self.phase, self.state.protocol
        if phase.objective is not None:
            return StepGraphs()
        key: tuple[Hashable, ...] = (
            "passes", self.run.begins, tuple(self.learning), self.run.norm, protocol.augment,
            protocol.mean, protocol.std, protocol.class_weights, protocol.label_smoothing,
        )  # fmt: skip
        return state.network.graphs.keep(key, StepGraphs)

    def _feed(self, one: StepGraph, number: int) -> None:
        state = self.state
        self.source.fill(one.room, self.batches, number)
        rows = self.batches.on(self.device, number)
        torch.index_select(state.data.train.labels, 0, rows, out=one.targets)
        if self.phase.objective is not None:
            one.rows.copy_(rows)
            one.progress.fill_(self.run.progress(number))
        if one.drawn is not None:
            drawn = draw(len(rows), self.source.augmentations, state.augment_rng)
            one.drawn.copy_(send(drawn, self.device), non_blocking=True)

    def _apply(self, number: int) -> None:
        optimizer = self.run.optimizer
        if not self.records_update:
            optimizer.set_rate(self.run.factor(number))
            self._update()
            return
        optimizer.put_rates(self._rates(number))
        if self.passes.gradients or not self.state.network.graphs.records:
            self.update(self.state.clock)
        else:  # gradients that are not in their place yet
            self._update()

    def _rates(self, number: int) -> Tensor:
        """Every group's rate at this step; a pass's rates go to the device together."""
        run, length = self.run, self.state.data.steps_per_epoch
        epoch = number // length
        if self.table[0] != epoch:
            first = max(run.first, epoch * length)
            steps = range(first, min(run.last, (epoch + 1) * length))
            rows = [run.optimizer.group_rates(run.factor(step)) for step in steps]
            self.table = (epoch, first, send(torch.tensor(rows, dtype=torch.float32), self.device))
        return self.table[2][number - self.table[1]]

    def _update(self) -> None:
        self.run.closed.add_gradients()
        self.run.optimizer.step()
        self.run.closed.shrink(self.run.optimizer)


def gradients(learning: list[nn.Parameter]) -> list[Tensor]:
    return [p.grad for p in learning if p.grad is not None]


def attach(learning: list[nn.Parameter], found: list[Tensor]) -> None:
    for parameter, gradient in zip(learning, found, strict=True):
        parameter.grad = gradient


def fill_missing(learning: list[nn.Parameter]) -> None:
    """A learning parameter the loss does not reach still feels its penalty and decay."""
    for parameter in learning:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)


def recordable(run: PhaseRun) -> bool:
    """Whether the numeric mode asks for recorded steps and the phase allows them."""
    objective = run.phase.objective
    return (
        run.state.spec.numeric.compile != "none"
        and not run.other_penalties
        and (objective is None or objective.capturable)
    )


class ReferenceSteps:
    """What `PhaseRun` does in a step."""

    def __init__(
        self,
        run: PhaseRun,
        network: nn.Module,
        source: Source,
        batches: Batches,
        reference: nn.Module | None,
    ) -> None:
        self.state, self.phase, self.run = run.state, run.phase, run
        self.network, self.source, self.batches = network, source, batches
        self.reference = reference

    def step(self, number: int) -> None:
        """One optimizer step on batch `number`."""
        state, run = self.state, self.run
        index = self.batches.at(number)
        run.optimizer.set_rate(run.factor(number))
        inputs, targets = (
            self.source.inputs(index, state.augment_rng),
            state.data.train.targets(index),
        )
        with state.numerics.autocast():
            if self.phase.objective is None:
                loss = state.numerics.loss(self.network(inputs), targets)
            else:
                batch = Batch(
                    inputs,
                    targets,
                    index,
                    state.objective_rng,
                    run.progress(number),
                    self.reference,
                )
                loss = self.phase.objective(self.network, batch)
        run.losses.append(loss.detach())
        for penalty in run.other_penalties:
            loss = loss + penalty(run.learning, state.network.start)
        for parameter in run.learning.values():
            parameter.grad = None
        loss.backward()  # type: ignore[no-untyped-call]
        fill_missing(list(run.learning.values()))
        run.closed.add_gradients()
        run.optimizer.step()
        run.closed.shrink(run.optimizer)
        state.log.trained_samples += len(index)
