"""The state of one run: network, data, budget, best checkpoint, records."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from harness.api.dataset import Split
from harness.api.execution import ImageSet, Resources
from harness.api.metric import Metric, figure
from harness.api.records import Augmentation, EpochRecord, PhaseRecord, Protocol, RunSpec
from harness.api.strategy import Phase, rate_of
from harness.engine.batches import DTYPES, steps_per_epoch
from harness.engine.devices import RunClock
from harness.engine.isolation import isolation
from harness.engine.model import Network, copy_all
from harness.engine.optimizer import State
from harness.engine.seeds import generator
from harness.engine.shared import build_network, split_pixels
from harness.engine.storage import Numbered


@dataclass(frozen=True)
class Checkpoint:
    """A full state of the network, with its logits on validation [N, C] and their score."""

    score: float
    logits: Tensor
    tensors: dict[str, Tensor]
    phase: str
    epoch: float


@dataclass(frozen=True)
class Criterion:
    """The protocol's loss: cross entropy, mean over the batch."""

    class_weights: Tensor | None
    label_smoothing: float

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        weights, share = self.class_weights, self.label_smoothing
        if weights is None or not share:
            return F.cross_entropy(logits, targets, weight=weights, label_smoothing=share)
        # Torch's own formula for both; its code waits for the device and cannot be recorded.
        found = F.log_softmax(logits, dim=1)
        mass = weights[targets].sum()
        likelihood = F.nll_loss(found, targets, weight=weights, reduction="sum")
        spread = -(found * weights).sum()
        return ((1 - share) * likelihood + share / len(weights) * spread) / mass

    def mass(self, targets: Tensor) -> Tensor | int:
        """The divisor of the mean over these samples, a scalar: parts of a batch are weighed by it."""
        if self.class_weights is None:
            return len(targets)
        return self.class_weights[targets].sum()


@dataclass(frozen=True)
class Numerics:
    """The arithmetic of a run.  Apart from the run: recorded work of later runs uses it, too."""

    loss: Criterion
    precision: str
    device: torch.device

    @classmethod
    def of(cls, spec: RunSpec, class_counts: Sequence[int], device: str) -> Numerics:
        """As protocol and numeric mode say."""
        protocol, precision = spec.protocol, spec.numeric.precision
        balanced = protocol.class_weights != "none"
        weights = balanced_weights(class_counts, DTYPES[precision]).to(device) if balanced else None
        loss = Criterion(weights, protocol.label_smoothing)
        return cls(loss, precision, torch.device(device))

    @property
    def dtype(self) -> torch.dtype:
        """Of weights and losses."""
        return DTYPES[self.precision]

    def autocast(self) -> AbstractContextManager[object]:
        """Around forward passes: where bf16 and fp16 act."""
        narrow = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.precision)
        if narrow is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, narrow)


def balanced_weights(class_counts: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Weights [C] under which every class counts the same, mean one over the samples."""
    counts = torch.tensor(class_counts, dtype=dtype)
    return counts.sum() / (len(counts) * counts)


class SplitData:
    """One split: pixels, labels and which samples they are.

    `external`: name of a further test set, which is taken for a test split; empty: the dataset's.
    """

    def __init__(
        self, resources: Resources, spec: RunSpec, split: Split, external: str = ""
    ) -> None:
        self.name: Split = split
        self.external = external
        self.pixels = split_pixels(spec, resources, split, external)
        images = resources.images
        labels = images.external[external].labels if external else images.labels[split]
        self.labels = torch.from_numpy(np.array(labels)).to(resources.device)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def augmentations(self) -> Sequence[Augmentation]:
        return self.pixels.augmentations

    def inputs(self, index: Tensor, rng: torch.Generator | None = None) -> Tensor:
        return self.pixels.inputs(index, rng)

    def room(self, size: int) -> Tensor:
        return self.pixels.room(size)

    def fill(self, room: Tensor, batches: Numbered, number: int) -> None:
        self.pixels.fill(room, batches, number)

    def means(self, room: Tensor, drawn: Tensor | None = None) -> Tensor:
        return self.pixels.means(room, drawn)

    def targets(self, index: Tensor) -> Tensor:
        return self.labels[index.to(self.labels.device)]


class RunData:
    """The splits that a run trains and validates on.

    Attributes:
        class_counts: training images of each class.
    """

    def __init__(self, spec: RunSpec, resources: Resources) -> None:
        self.train = SplitData(resources, spec, "train")
        self.validation = SplitData(resources, spec, "validation")
        self.steps_per_epoch = steps_per_epoch(len(self.train), spec.protocol.batch_size)
        labels, classes = resources.images.labels["train"], resources.images.classes
        self.class_counts: tuple[int, ...] = tuple(
            np.bincount(labels, minlength=len(classes)).tolist()
        )


class Budget:
    """The part of the protocol's epochs that is spent.

    Attributes:
        steps: made so far, in whole; spent: epochs, a phase that ended early by its steps.
        looks: batches that the strategy has looked at the gradients of.
    """

    def __init__(self, protocol: Protocol, steps_per_epoch: int) -> None:
        self.protocol, self.steps_per_epoch = protocol, steps_per_epoch
        self.steps, self.spent, self.looks = 0, 0.0, 0

    @property
    def most(self) -> int:
        """Steps that the whole budget comes to."""
        return round(self.protocol.epochs * self.steps_per_epoch)

    @property
    def epochs(self) -> float:
        """Epochs that the steps so far come to."""
        return self.steps / self.steps_per_epoch

    @property
    def epochs_left(self) -> float:
        return max(0.0, self.protocol.epochs - self.spent)

    def charge(self, epochs: float) -> None:
        """Spend epochs without a step; what is annealed over the run goes on from their end."""
        self.spent += epochs
        self.steps = max(self.steps, round(self.spent * self.steps_per_epoch))

    def charge_looks(self, batches: int) -> None:
        """Count looks; they cost budget only where the protocol says so."""
        self.looks += batches
        if self.protocol.charge_looks:
            self.spent += batches / self.steps_per_epoch
            self.steps = round(self.spent * self.steps_per_epoch)


class Selection:
    """The best state of the network on validation so far."""

    def __init__(
        self, metric: Metric, images: ImageSet, network: Network, *, present_only: bool = False
    ) -> None:
        self.metric, self.images, self.network = metric, images, network
        self.present_only = present_only
        self.best: Checkpoint | None = None

    def afresh(self) -> Selection:
        """Another of the same metric and network, which has seen nothing."""
        return Selection(self.metric, self.images, self.network, present_only=self.present_only)

    def score(self, logits: Tensor) -> float | None:
        """The protocol's metric on validation logits [N, C]; None where it is undefined, or raises."""
        targets = np.asarray(self.images.labels["validation"])
        with isolation.aside():
            return figure(
                self.metric,
                logits.numpy(),
                targets,
                self.images.classes,
                present_only=self.present_only,
            ).value

    def better(self, score: float | None, than: float | None) -> bool:
        """True if strictly better; any figure beats none."""
        if score is None or than is None:
            return score is not None
        return score > than if self.metric.higher_is_better else score < than

    def remember(self, score: float | None, logits: Tensor, phase: str, epoch: float) -> None:
        """Keep the network as it is if it is the best on validation so far."""
        if score is not None and self.better(score, self.best.score if self.best else None):
            own, initial = self.network.model.state_dict(), self.network.initial
            tensors = {name: self._room(name, tensor) for name, tensor in own.items()}
            moved = [name for name in own if tensors[name] is not initial[name]]
            copy_all([tensors[name] for name in moved], [own[name] for name in moved])
            self.best = Checkpoint(score, logits, tensors, phase, epoch)

    def kept(self) -> dict[str, Tensor]:
        """The best state so far; a copy of the network as it is where none has a score."""
        if self.best is not None:
            return self.best.tensors
        return {name: tensor.clone() for name, tensor in self.network.model.state_dict().items()}

    def _room(self, name: str, tensor: Tensor) -> Tensor:
        """Memory for a remembered tensor; what has never learned is as it was at the start."""
        network, initial = self.network, self.network.initial[name]
        if network.stages.index(name.split(".", maxsplit=1)[0]) < network.touched:
            return initial
        kept = self.best.tensors[name] if self.best else initial
        return torch.empty_like(tensor) if kept is initial else kept


class Patience:
    """Validations since the best one, as early stopping counts them; `limit` None: endless."""

    def __init__(self, selection: Selection, limit: int | None) -> None:
        self.selection, self.limit = selection, limit
        self.restart()

    def restart(self) -> None:
        """Forget all scores so far."""
        self.waited = 0
        self.waiting_for: float | None = None

    def count(self, score: float | None) -> None:
        """Take note of a validation."""
        if self.selection.better(score, self.waiting_for):
            self.waited, self.waiting_for = 0, score
        else:
            self.waited += 1

    @property
    def exhausted(self) -> bool:
        return self.limit is not None and self.waited >= self.limit


@dataclass
class RunLog:
    """Records of what was done; `trained_samples`: in steps whose seconds count as training."""

    history: list[EpochRecord] = field(default_factory=list)
    phases: list[PhaseRecord] = field(default_factory=list)
    trained_samples: int = 0


class RunState:
    """All that changes during a run, in seven parts.

    Attributes:
        lr: the protocol's rate, multiplied as the strategy's setting says.
        kept: weights and buffers that phases left to be mixed, by the phase's name.
        parts: in which every batch is carried out.
        resumed: how often it went on from a checkpoint.
    """

    def __init__(self, spec: RunSpec, resources: Resources) -> None:
        self.spec, self.resources, self.protocol = spec, resources, spec.seen
        self.lr = spec.protocol.lr * rate_of(resources.strategy)
        self.parts, self.resumed = resources.parts, 0
        self.clock = RunClock(resources.device)
        with self.clock.measure("load"):
            self.network = build_network(spec, resources)
            self.data = RunData(spec, resources)
        self.numerics = Numerics.of(spec, self.data.class_counts, resources.device)
        self.budget = Budget(self.protocol, self.data.steps_per_epoch)
        metric = resources.metrics[self.protocol.metric]
        self.selection = Selection(
            metric, resources.images, self.network, present_only=spec.present_only
        )
        self.patience = Patience(self.selection, self.protocol.patience)
        self.log = RunLog()
        self.recordings = self.network.graphs.pool.recordings  # when it began
        self.optimizer_state: State = {}
        self.kept: dict[str, dict[str, Tensor]] = {}
        self.augment_rng = generator(spec, "augment")
        self.objective_rng = generator(spec, "objective")

    def beginning(self, phase: Phase) -> dict[str, Tensor] | None:
        """The state that a phase goes back to before its first step; None: it goes on from here."""
        if phase.begin == "pretrained":
            return self.network.initial
        best = self.selection.best
        return best.tensors if phase.begin == "best" and best is not None else None
