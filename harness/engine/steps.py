"""The steps of a phase: recorded, or one after another as a textbook writes them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import NamedTuple, cast
from typing import Protocol as Interface

import torch
from torch import Tensor, nn

from harness.api.strategy import Batch, Objective, Phase
from harness.engine.batches import Batches, Source, draw, send
from harness.engine.devices import RunClock
from harness.engine.graphs import CapturableWork
from harness.engine.model import fixed_norms
from harness.engine.optimizer import Optimizer, Penalties, PhaseSchedule
from harness.engine.recovery.splitting import checked_masks, refuse_batch_layers
from harness.engine.state import RunState
from harness.errors import CannotSplitError, PhaseError


class Rows(NamedTuple):
    """A batch: rows of the training split [B], what the network takes [B, ...], class numbers [B]."""

    numbers: Tensor
    inputs: Tensor
    targets: Tensor


@dataclass(frozen=True)
class StepInputs:
    """All that the steps of one phase work on, beside the state of the run.

    Attributes:
        network: from stage number `begins` on, where `source` gives the inputs.
        reference: a frozen copy for the objective; objective: None takes the protocol's loss.
        norm: 'eval' where norm layers use running statistics.
    """

    network: nn.Module
    begins: int
    source: Source
    batches: Batches
    reference: nn.Module | None
    objective: Objective | None
    learning: Mapping[str, nn.Parameter]
    norm: str
    optimizer: Optimizer
    penalties: Penalties
    schedule: PhaseSchedule


def make_steps(state: RunState, inputs: StepInputs) -> Steps:
    """Recorded steps where the numeric mode asks for them and the phase allows them.

    Raises:
        CannotSplitError: batches are to be carried out in parts, which would not give the same.
    """
    if state.parts > 1:
        return SplitSteps(state, inputs)
    asked, objective = state.spec.numeric.compile != "none", inputs.objective
    allowed = not inputs.penalties.others and (objective is None or objective.capturable)
    return CapturedSteps(state, inputs) if asked and allowed else ReferenceSteps(state, inputs)


class Steps(Interface):
    """Carries the steps of a phase out, one at a time.

    Attributes:
        losses: of each step since they were cleared last, without penalties.
    """

    losses: list[Tensor]

    def step(self, number: int) -> None:
        """One optimizer step on batch `number`."""


class ReferenceSteps:
    """Steps as they are written in a textbook: the oracle.

    Attributes:
        losses: of each step since they were cleared last, without penalties.
    """

    def __init__(self, state: RunState, inputs: StepInputs) -> None:
        self.state, self.inputs = state, inputs
        self.losses: list[Tensor] = []

    def step(self, number: int) -> None:
        """One optimizer step on batch `number`."""
        state, given = self.state, self.inputs
        index = given.batches.at(number)
        given.optimizer.set_rate(given.schedule.factor(number))
        inputs = given.source.inputs(index, state.augment_rng)
        targets = state.data.train.targets(index)
        self.losses.append(self._backward(number, Rows(index, inputs, targets)))
        fill_missing(list(given.learning.values()))
        given.penalties.step(given.optimizer)
        state.log.trained_samples += len(index)

    def _backward(self, number: int, rows: Rows) -> Tensor:
        """The batch's gradients, left with the parameters; returns its loss without penalties."""
        state, given = self.state, self.inputs
        index, inputs, targets = rows
        with state.numerics.autocast():
            if given.objective is None:
                loss = state.numerics.loss(given.network(inputs), targets)
            else:
                progress = given.schedule.progress(number)
                batch = Batch(
                    inputs, targets, index, state.objective_rng, progress, given.reference,
                    state.numerics.loss,
                )  # fmt: skip
                loss = scalar(given.objective(given.network, batch), given.schedule.phase)
        found = loss.detach()
        loss = given.penalties.added_to(loss)
        for parameter in given.learning.values():
            parameter.grad = None
        given.optimizer.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        return found


class SplitSteps(ReferenceSteps):
    """The same steps in less memory: a batch in parts whose gradients are added up.

    A part counts as its samples do in the mean over the batch, class weights included.  Masks of
    dropout are drawn for the batch as a whole.

    Raises:
        CannotSplitError: parts would not give the same.
    """

    def __init__(self, state: RunState, inputs: StepInputs) -> None:
        super().__init__(state, inputs)
        if inputs.objective is not None:
            raise CannotSplitError(
                f"the objective of phase {inputs.schedule.phase.name!r} sees the batch as a whole"
            )
        self.size = -(-state.protocol.batch_size // state.parts)
        refuse_batch_layers(state.network.model)
        self.masks = checked_masks(
            inputs.network, inputs.source.inputs(torch.arange(min(2, len(inputs.source)))),
            state.numerics.autocast,
        )  # fmt: skip

    def _backward(self, number: int, rows: Rows) -> Tensor:
        state, given = self.state, self.inputs
        criterion, scaler = state.numerics.loss, given.optimizer.scaler
        for parameter in given.learning.values():
            parameter.grad = None
        whole = criterion.mass(rows.targets)
        found = torch.zeros((), dtype=state.numerics.dtype, device=rows.targets.device)
        with self.masks.drawn(len(rows.numbers)):
            for first in range(0, len(rows.numbers), self.size):
                part = slice(first, first + self.size)
                targets = rows.targets[part]
                with state.numerics.autocast(), self.masks.of(part):
                    loss = criterion(given.network(rows.inputs[part]), targets)
                loss = loss * (criterion.mass(targets) / whole)
                found += loss.detach()
                scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        penalty = given.penalties.added_to(torch.zeros_like(found))
        if penalty.requires_grad:
            scaler.scale(penalty).backward()  # type: ignore[no-untyped-call]
        return found


class CapturedSteps:
    """Steps as recorded work: one graph for forward and backward, one for the update.

    Between two validations the host only starts work: it never waits for the device.

    Attributes:
        losses: of each step since they were cleared last, without penalties.
    """

    def __init__(self, state: RunState, inputs: StepInputs) -> None:
        self.state, self.inputs = state, inputs
        self.losses: list[Tensor] = []
        self.device = state.data.train.labels.device
        # Compiling pays for the one step that most runs share: everything learns, from a whole batch.
        everything = len(inputs.learning) == sum(1 for _ in state.network.model.parameters())
        usual = everything and inputs.norm == state.protocol.norm and inputs.objective is None
        self.compiles = state.spec.numeric.compile == "compile" and usual
        self.passes = self._passes()
        if self.passes.gradients:
            attach(list(inputs.learning.values()), self.passes.gradients)
        # A rate that lies on the device is a float32 there: float64 takes it from the host.
        self.records_update = state.spec.numeric.precision != "float64"
        if self.records_update:
            inputs.optimizer.rates_on(self.device)
        self.update = CapturableWork(state.network.graphs.pool)
        self.table: tuple[int, int, Tensor] = (-1, 0, torch.empty(0))

    def step(self, number: int) -> None:
        """One optimizer step on batch `number`."""
        state, size = self.state, len(self.inputs.batches.at(number))
        if size not in self.passes.by_size:
            compiles = self.compiles and size == state.protocol.batch_size
            self.passes.by_size[size] = StepGraph(state, self.inputs, size, compiles=compiles)
        graph = self.passes.by_size[size]
        self._feed(graph, number)
        steady = graph.once.steady
        graph(state.clock, self.passes)
        self.losses.append(graph.loss.clone())
        self._apply(number)
        if steady:  # the others are counted as compiling
            state.log.trained_samples += size

    def _passes(self) -> StepGraphs:
        """Kept for other strategies and seeds, unless the loss is this phase's own."""
        inputs, protocol = self.inputs, self.state.protocol
        if inputs.objective is not None:
            return StepGraphs()
        key: tuple[Hashable, ...] = (
            "passes", inputs.begins, tuple(inputs.learning), inputs.norm,
            tuple(inputs.source.augmentations), protocol.mean, protocol.std, protocol.class_weights, protocol.label_smoothing,
        )  # fmt: skip
        return self.state.network.graphs.keep(key, StepGraphs)

    def _feed(self, graph: StepGraph, number: int) -> None:
        state, inputs = self.state, self.inputs
        inputs.source.fill(graph.room, inputs.batches, number)
        rows = inputs.batches.on(self.device, number)
        torch.index_select(state.data.train.labels, 0, rows, out=graph.targets)
        if inputs.objective is not None:
            graph.rows.copy_(rows)
            graph.progress.fill_(inputs.schedule.progress(number))
        if graph.drawn is not None:
            drawn = draw(len(rows), inputs.source.augmentations, state.augment_rng)
            graph.drawn.copy_(send(drawn, self.device), non_blocking=True)

    def _apply(self, number: int) -> None:
        optimizer = self.inputs.optimizer
        if not self.records_update:
            optimizer.set_rate(self.inputs.schedule.factor(number))
            self._update()
            return
        optimizer.put_rates(self._rates(number))
        if self.passes.gradients or not self.state.network.graphs.pool.records:
            self.update(self._update, self.state.clock)
        else:  # gradients that are not in their place yet
            self._update()

    def _rates(self, number: int) -> Tensor:
        """Every group's rate at this step; a pass's rates go to the device together."""
        schedule, optimizer = self.inputs.schedule, self.inputs.optimizer
        length = schedule.steps_per_epoch
        epoch = number // length
        if self.table[0] != epoch:
            first = max(schedule.first, epoch * length)
            steps = range(first, min(schedule.last, (epoch + 1) * length))
            rows = [optimizer.group_rates(schedule.factor(step)) for step in steps]
            self.table = (epoch, first, send(torch.tensor(rows, dtype=torch.float32), self.device))
        return self.table[2][number - self.table[1]]

    def _update(self) -> None:
        self.inputs.penalties.step(self.inputs.optimizer)


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

    def __init__(self, state: RunState, inputs: StepInputs, size: int, *, compiles: bool) -> None:
        self.network, self.objective = inputs.network, inputs.objective
        self.phase = inputs.schedule.phase
        self.forward = compiled(inputs.network) if compiles else inputs.network
        self.learning = list(inputs.learning.values())
        self.criterion, self.autocast = state.numerics.loss, state.numerics.autocast
        self.scaler = state.network.scaler
        self.reference, self.rng = inputs.reference, state.objective_rng
        self.means = inputs.source.means
        device = state.data.train.labels.device
        self.room = inputs.source.room(size)
        self.rows = torch.empty(size, dtype=torch.int64, device=device)
        self.targets = torch.empty(size, dtype=torch.int64, device=device)
        self.drawn = torch.empty(size, 6, device=device) if inputs.source.augmentations else None
        self.progress = torch.zeros((), device=device)
        self.loss = torch.zeros((), dtype=state.numerics.dtype, device=device)
        whole = size == state.protocol.batch_size
        self.once = CapturableWork(state.network.graphs.pool, tune=whole)

    def __call__(self, clock: RunClock, passes: StepGraphs) -> None:
        """Afterwards `.grad` of every learning parameter holds this batch's gradient.

        `passes`: whose gradients' memory this pass shares.
        """
        recorded = self.once.graph is not None
        self.once(partial(self._work, passes), clock)
        if self.once.graph is not None and not recorded and not passes.gradients:
            passes.gradients = gradients(self.learning)
        elif passes.gradients:
            attach(self.learning, passes.gradients)

    def _work(self, passes: StepGraphs) -> None:
        for parameter in self.learning:
            parameter.grad = None
        inputs = self.means(self.room, self.drawn)
        with self.autocast(), fixed_norms(self.network):
            loss = self._loss(inputs)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.loss.copy_(loss.detach())
        fill_missing(self.learning)
        if passes.gradients:
            torch._foreach_copy_(passes.gradients, gradients(self.learning))

    def _loss(self, inputs: Tensor) -> Tensor:
        if self.objective is None:
            return self.criterion(self.forward(inputs), self.targets)
        progress = cast(
            "float", self.progress
        )  # a 0-dim tensor: a number would be recorded as it is
        batch = Batch(
            inputs, self.targets, self.rows, self.rng, progress, self.reference, self.criterion
        )
        return scalar(self.objective(self.network, batch), self.phase)


def scalar(loss: object, phase: Phase) -> Tensor:
    """The value of an objective, if it is one number.

    Raises:
        PhaseError: it is none.
    """
    if isinstance(loss, Tensor) and loss.numel() == 1:
        return loss
    what = f"a tensor {list(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
    raise PhaseError(
        f"phase {phase.name!r}: its objective gives {what}; it must give a scalar tensor, the mean "
        "over the batch"
    )


_numbers = count()


def compiled(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """The network's forward pass by `torch.compile`, under a code object of its own.

    What torch has compiled it keeps with the code that was called, eight times a code at most, and
    the ninth network would be carried out plainly without a word: all chains of stages share one.
    """

    def forward(inputs: Tensor) -> Tensor:
        outputs: Tensor = network(inputs)
        return outputs

    forward.__code__ = forward.__code__.replace(co_name=f"forward_{next(_numbers)}")
    return torch.compile(forward, dynamic=False)


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
