"""Linear heads that learn side by side: on a GPU one batched product a step instead of one a head.

A lane is a head with an initialisation, an order of samples and a rate of its own.  Lanes are
always computed `BLOCK` at a time, a block that is not full being filled up by copies, and every
sum over a lane is a slice of its own: which lanes share a block changes no bit of any of them.

The optimizers' arithmetic is torch.optim's, over rows of parameters with a rate each, written in
additions, products, quotients and roots that round each on its own: a number then does not depend
on where in a row, or in which row, it stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.api.records import Protocol
from harness.engine.batches import Batches, send
from harness.engine.devices import RunClock
from harness.engine.graphs import CapturableWork, GraphCache
from harness.engine.memo import HeadReading

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # torch's defaults for Adam and AdamW

Coefficients = Tensor | float


@dataclass(frozen=True)
class Rule:
    """A step of the optimizer over rows [P].  A coefficient is a number, or one for each column [P].

    Attributes:
        rate: multiplies the lane's rate.
        decay: weight decay.
        l2: pulls towards zero by l2 * w; l1: by l1 * sign(w); reach: by rate * reach at most,
            after the step (soft thresholding).
    """

    protocol: Protocol
    rate: Coefficients = 1.0
    decay: Coefficients = 0.0
    l2: Coefficients = 0.0
    l1: Coefficients = 0.0
    reach: Coefficients = 0.0

    @property
    def moments(self) -> int:
        """Rows of optimizer state beside each row of parameters."""
        if self.protocol.optimizer == "sgd":
            return 1 if self.protocol.momentum else 0
        return 2

    def table(self, rates: Tensor, factors: Sequence[float], first: int) -> Tensor:
        """Numbers that change from step to step, float64 [T, 2 S + 1] for lanes of `rates` [S].

        The rate and the step's size for each lane, and the root of Adam's second correction.
        `first`: steps made before.
        """
        made = torch.arange(first + 1, first + 1 + len(factors), dtype=torch.float64)
        plain = torch.tensor(factors, dtype=torch.float64)[:, None] * rates
        if not isinstance(self.rate, Tensor):
            plain = plain * self.rate
        if self.protocol.optimizer == "sgd":
            return torch.cat([plain, plain, torch.ones_like(made)[:, None]], 1)
        size = plain / (1 - BETA1**made)[:, None]
        return torch.cat([plain, size, (1 - BETA2**made).sqrt()[:, None]], 1)

    def apply(
        self, rows: Tensor, gradient: Tensor, moments: Sequence[Tensor], table: Tensor
    ) -> None:
        """One step in place, rows [S, P]; the gradient is overwritten."""
        count = len(rows)
        plain, size = table[:count, None], table[count : 2 * count, None]
        if isinstance(self.rate, Tensor):
            plain, size = plain * self.rate, size * self.rate
        self._pull(rows, gradient, plain)
        if self.protocol.optimizer == "sgd":
            moved = _momentum(gradient, moments, self.protocol.momentum)
        else:
            moved = _adam(gradient, moments, table[2 * count])
        rows.sub_(moved * size)
        if _any(self.reach):
            reach = plain * self.reach
            rows.copy_(rows.sign() * (rows.abs() - reach).clamp_(min=0))

    def _pull(self, rows: Tensor, gradient: Tensor, rate: Tensor) -> None:
        """Penalties and weight decay."""
        if _any(self.l2):
            gradient.add_(rows * self.l2)
        if _any(self.l1):
            gradient.add_(rows.sign() * self.l1)
        if _any(self.decay) and self.protocol.optimizer == "adamw":
            rows.sub_(rows * (rate * self.decay))
        elif _any(self.decay):
            gradient.add_(rows * self.decay)


def _any(coefficients: Coefficients) -> bool:
    return isinstance(coefficients, Tensor) or coefficients != 0


def _momentum(gradient: Tensor, moments: Sequence[Tensor], momentum: float) -> Tensor:
    if not moments:
        return gradient
    (held,) = moments
    return held.mul_(momentum).add_(gradient)


def _adam(gradient: Tensor, moments: Sequence[Tensor], root: Tensor) -> Tensor:
    mean, square = moments
    mean.mul_(BETA1).add_(gradient * (1 - BETA1))
    square.mul_(BETA2).add_((gradient * gradient).mul_(1 - BETA2))
    scale = square.sqrt().div_(root).add_(EPSILON)
    return torch.div(mean, scale, out=scale)


# Lanes of a block.  A GPU is idle with fewer.  On a CPU a lane is a block of its own: there a
# product is rounded by where in memory its matrices begin (the kernels look at the alignment), which
# is the same for all only if each is allocated for itself; and blocks save little (2048 features,
# batch 96, one core: 16 lanes take 4.9 ms a step in blocks of 4, 6.6 ms alone, 6.6 ms in one).
BLOCK = {"cuda": 16, "cpu": 1}
# Epochs that are trained before their scores are looked at: a GPU need not wait for the host after
# each, and what is trained after patience has run out is seldom lost: others may need it.
AHEAD = {"cuda": 5, "cpu": 1}
ALIGNED = 64


@dataclass(frozen=True)
class Shape:
    """A head as one row of numbers: weight [C, D], bias [C], zeros up to a multiple of 64."""

    classes: int
    inputs: int
    bias: bool

    @property
    def weights(self) -> int:
        return self.classes * self.inputs

    @property
    def row(self) -> int:
        used = self.weights + (self.classes if self.bias else 0)
        return -(-used // ALIGNED) * ALIGNED

    def weight(self, rows: Tensor) -> Tensor:
        """The weights in rows [..., P]: a view [..., C, D]."""
        return rows[..., : self.weights].view(*rows.shape[:-1], self.classes, self.inputs)

    def columns(self, weight: float, bias: float, like: Tensor) -> Coefficients:
        """A coefficient for rows: `weight` where the weights stand, `bias` where the biases do."""
        if weight == bias or not self.bias:
            return weight
        found = like.new_full((self.row,), bias)
        found[: self.weights] = weight
        return found

    def biases(self, rows: Tensor) -> Tensor:
        """The biases in rows [..., P]: a view [..., C]; zeros where the head has none."""
        return rows[..., self.weights : self.weights + self.classes]


@dataclass(frozen=True)
class Task:
    """The problem that all lanes share.

    Attributes:
        features: inputs of the head on the training split [N, D], in the dtype of the products.
        watched: the same on validation [M, D].
        goals: what a sample's log probabilities are weighed by in the loss, [N, C].
        mass: each sample's weight in the mean over a batch, float64 [N] on the CPU.
        even: all goals sum to one.
    """

    features: Tensor
    watched: Tensor
    goals: Tensor
    mass: Tensor
    even: bool
    shape: Shape
    rule: Rule


def goals(
    labels: Tensor, classes: int, class_weights: Tensor | None, smoothing: float
) -> tuple[Tensor, Tensor]:
    """Weights that make cross entropy, mean over a batch, -sum(goals * log p) / sum(mass).

    Goals [N, C] and mass [N], float64 on the CPU.
    """
    weights = torch.ones(classes) if class_weights is None else class_weights
    weights = weights.double().cpu()
    table = weights * (torch.eye(classes).double() * (1 - smoothing) + smoothing / classes)
    labels = labels.cpu()
    return table[labels], weights[labels]


@dataclass(frozen=True)
class HeadLane:
    """One head: where it stands (rows [P]), its rate, and the order it sees the samples in."""

    rows: tuple[Tensor, ...]
    lr: float
    batches: Batches


@dataclass(frozen=True)
class HeldHeads:
    """The same of all lanes of a block, on the device: rows [L, P], losses [L, T], logits [L, M, C]."""

    rows: tuple[Tensor, ...]
    losses: Tensor
    logits: Tensor

    def read(self) -> list[HeadReading]:
        """A reading for each lane; waits for the device."""
        losses, logits = self.losses.double().cpu(), self.logits.cpu()
        return [
            HeadReading(tuple(rows[lane] for rows in self.rows), losses[lane], logits[lane])
            for lane in range(len(losses))
        ]


class HeadBatch:
    """Lanes that stand at the same step, trained together."""

    def __init__(self, task: Task, lanes: Sequence[HeadLane], graphs: GraphCache) -> None:
        self.task, self.count = task, len(lanes)
        self.device = task.features.device
        self.width = BLOCK[self.device.type]
        self.lanes = [*lanes, *[lanes[0]] * (self.width - len(lanes))]
        stacked = [
            torch.stack(rows) for rows in zip(*(lane.rows for lane in self.lanes), strict=True)
        ]
        self.rows, self.moments = stacked[0], stacked[1:]
        self.gradient = torch.zeros_like(self.rows)
        self.order = self.table = self.losses = torch.empty(0, device=self.device)
        self._sizes: tuple[int, ...] = ()
        self._once = CapturableWork(self._steps, graphs)

    def train(self, first: int, factors: Sequence[float], clock: RunClock) -> None:
        """One epoch or a part of it, from step number `first`; `factors` of the rate, one a step."""
        self._load(first, factors)
        if self._once.used:
            self._once(clock)
            return
        self._steps()
        self._once.used = True  # its first round has warmed it up; the next is recorded

    @torch.no_grad()
    def hold(self) -> HeldHeads:
        """The lanes as they stand, with their logits on validation; the host goes on."""
        watched = self.task.watched
        logits = self._product(watched.expand(self.width, *watched.shape)).float()
        losses = self.losses * -self.table[:, -self.width :]
        kept = [rows[: self.count].clone() for rows in (self.rows, *self.moments)]
        return HeldHeads(tuple(kept), losses.T[: self.count], logits[: self.count])

    # -- one epoch -----------------------------------------------------------------------

    def _load(self, first: int, factors: Sequence[float]) -> None:
        """Everything the steps need from the host, in two uploads."""
        rows = [lane.batches.span(first, len(factors)) for lane in self.lanes[: self.count]]
        rows += [rows[0]] * (self.width - self.count)
        by_step = torch.split(torch.stack(rows), self.lanes[0].batches.size, dim=1)
        mass = torch.stack([self.task.mass[batch].sum(1) for batch in by_step])
        rates = torch.tensor([lane.lr for lane in self.lanes], dtype=torch.float64)
        table = self.task.rule.table(rates, factors, first)
        table = torch.cat([table, 1 / mass], 1).to(self.rows.dtype)
        sizes = tuple(batch.shape[1] for batch in by_step)
        order = torch.cat([batch.flatten() for batch in by_step])
        if sizes != self._sizes:
            self._sizes, self._once = sizes, CapturableWork(self._steps, self._once.graphs)
            self.order, self.table = send(order, self.device), send(table, self.device)
            self.losses = self.rows.new_zeros(len(sizes), self.width)
        else:  # recorded steps read where they read before
            self.order.copy_(send(order, self.device))
            self.table.copy_(send(table, self.device))

    @torch.no_grad()
    def _steps(self) -> None:
        first = 0
        for step, size in enumerate(self._sizes):
            index = self.order[first : first + size * self.width]
            first += size * self.width
            self._gradients(step, size, index)
            self.task.rule.apply(self.rows, self.gradient, self.moments, self.table[step])

    def _gradients(self, step: int, size: int, index: Tensor) -> None:
        """The gradient of cross entropy in closed form: (softmax - goal) times the inputs."""
        task = self.task
        inputs = task.features.index_select(0, index).view(self.width, size, -1)
        goal = task.goals.index_select(0, index).view(self.width, size, -1)
        share = self.table[step, -self.width :].view(-1, 1, 1)
        logits = self._product(inputs).to(self.rows.dtype)
        torch.sum(goal * logits.log_softmax(-1), (1, 2), out=self.losses[step])
        slope = logits.softmax(-1)
        if not task.even:
            slope = slope * goal.sum(-1, keepdim=True)
        slope = (slope - goal).mul_(share)
        turned = slope.to(inputs.dtype).transpose(1, 2)
        task.shape.weight(self.gradient).copy_(torch.bmm(turned, inputs))
        if task.shape.bias:
            torch.sum(slope, 1, out=task.shape.biases(self.gradient))

    def _product(self, inputs: Tensor) -> Tensor:
        """Logits [S, B, C] of inputs [S, B, D], in the inputs' dtype."""
        weight = self.task.shape.weight(self.rows).to(inputs.dtype)
        if not self.task.shape.bias:
            return torch.bmm(inputs, weight.transpose(1, 2))
        bias = self.task.shape.biases(self.rows).to(inputs.dtype)
        return torch.baddbmm(bias.unsqueeze(1), inputs, weight.transpose(1, 2))
