"""Work of runs in one unit: steps x pixels x network, with evaluation; before them, and while they go on.

The unit is the operation: what takes as long as one multiply-add of a convolution.  It compares runs,
and what is done of one with what is left; seconds come of it by what this machine did (`speed`).

What a run will do is what its strategy says to the outline of a network, to the end of its budget.
What it did is what its record holds of its phases.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Literal, get_args

from harness.api.dataset import Split
from harness.api.records import RunResult, RunSpec, StageWork
from harness.api.strategy import Directive, Interpolate, Phase, Strategy, refers_to
from harness.benchmark.forecast.outline import Outline, added_by, directives
from harness.data.division.split import Division
from harness.data.preparation.info import DatasetInfo
from harness.errors import HarnessError
from harness.plugins.registry import PluginRegistry

# In operations; all assumed, fitted by eye to forward passes and steps on one thread of a CPU:
CALL = 2.5e5  # a module called, whatever the batch: 20 microseconds
UPDATE = 100.0  # a parameter moved by the optimizer: its gradient and averages are read and written
STRENGTHS = (
    100  # of a fitted head whose record says nothing of them: as the built-in strategies have
)
FITTING = 60  # passes over the features for each strength of a fitted head

FEATURE_BYTES = 2 * 1024**3  # as in `harness.engine.evaluate`, which takes seconds to import
BYTES = {"float64": 8, "bf16": 2, "fp16": 2}

Counts = Mapping[Split, int]
Basis = Literal["runs", "probe", "other networks", "assumed"]
BASES: tuple[Basis, ...] = get_args(Basis)  # the surest first


@dataclass(frozen=True)
class Pace:
    """Seconds an operation, and seconds of a run beside its work; `basis`: where it comes from."""

    seconds: float
    beside: float
    basis: Basis

    @property
    def measured(self) -> bool:
        """True if it was seen of the same network on this machine."""
        return self.basis in {"runs", "probe"}


@dataclass(frozen=True)
class PhaseWork:
    """Operations of a phase.

    Attributes:
        first, last: it makes the steps from number `first` to before `last` of the run.
        features: before its first step, what frozen stages make of the images.
        looks: before its first step, gradients that the strategy looks at; a fitted head; weights
            that are mixed, with their validations.
        step: each step; check: each validation, after an epoch and after the last step.
        frontier: number of the first stage that learns.
    """

    name: str
    first: int
    last: int
    features: float
    looks: float
    step: float
    check: float
    frontier: int

    def after(self, steps: int, steps_per_epoch: int) -> float:
        """The part of it that is done once the run has made so many steps."""
        made = min(steps, self.last) - self.first
        if made < 0 or (made == 0 and self.last > self.first):
            return 0.0
        ends = min(steps, self.last) // steps_per_epoch - self.first // steps_per_epoch
        ends += steps >= self.last and self.last % steps_per_epoch > 0
        return self.features + self.looks + made * self.step + ends * self.check


@dataclass(frozen=True)
class RunWork:
    """Operations of a run: its phases in order, then the test.

    `features` of phases are 0 where another run of the same plan makes them.
    """

    phases: tuple[PhaseWork, ...]
    steps_per_epoch: int
    test: float

    @property
    def steps(self) -> int:
        """Optimizer steps, if patience does not run out."""
        return max((phase.last for phase in self.phases), default=0)

    @property
    def total(self) -> float:
        """All of it."""
        return self.after(self.steps) + self.test

    def after(self, steps: int) -> float:
        """Work that is done once so many steps of the run are made, and the validations after them.

        At the last step that is everything but the test.
        """
        return sum(phase.after(steps, self.steps_per_epoch) for phase in self.phases)


def run_work(
    spec: RunSpec,
    strategy: Strategy,
    network: Sequence[StageWork],
    counts: Counts,
    stages: tuple[str, ...],
    classifier: tuple[str, ...] = (),
) -> RunWork:
    """The work of a run to the end of its budget, alone.

    Args:
        spec: the run.
        strategy: with the settings of the run.
        network: the work of its stages, at the protocol's pixels (`harness.engine.count_stages`).
        counts: images of each split; those of further test sets may be added under `test`.
        stages: names of the backbone's stages.
        classifier: those of its own classifier; empty: the head.

    Raises:
        HarnessError: the strategy cannot be asked for its phases before it runs.
    """
    count = OperationCounter(spec, network, counts)
    outline = Outline(stages, classifier or stages[-1:], count.per_epoch)
    outline.added = added_by(strategy, stages)
    outline.class_counts = (max(1, counts["train"] // 2),) * 2
    found: list[PhaseWork] = []
    spent, first = 0.0, 0
    for directive, looks in directives(strategy, outline, spec.protocol.epochs):
        spent += directive.epochs
        last = max(first, count.steps(spent))
        found.append(count.directive(directive, outline, (first, last), looks))
        first = last
    return RunWork(_once(found), count.per_epoch, count.test())


def work_done(result: RunResult) -> RunWork | None:
    """The work that a finished run did, alone, as its record tells; None: it does not tell enough."""
    data, network = result.data, result.cost.network
    if data is None or not network or result.status != "ok":
        return None
    counts: dict[Split, int] = {
        split: sum(data.counts[split].values()) for split in ("train", "validation", "test")
    }
    counts["test"] += sum(sum(one.counts["test"].values()) for one in result.external.values())
    count = OperationCounter(result.spec, network, counts)
    found: list[PhaseWork] = []
    first = 0
    for phase in result.phases:
        made = PhaseWork(phase.name, first, first + phase.steps, 0.0, 0.0, 0.0, 0.0, 0)
        if phase.kind == "solve-head":
            made = count.fitted(replace(made, last=first + count.steps(phase.epochs)), STRENGTHS)
        elif phase.kind == "interpolate":
            made = count.mixed(replace(made, last=first + count.steps(phase.epochs)), phase.shares)
        elif phase.steps:
            learns = [number for number, rate in enumerate(phase.rates.values()) if rate]
            made = count.phase(
                made, learns, cached=phase.cached_stages > 0, reference=phase.reference != "none"
            )
        found.append(made)
        first = made.last
    if found:
        looks = result.cost.looks * count.step(range(len(network)), 0)
        found[0] = replace(found[0], looks=found[0].looks + looks)
    return RunWork(_once(found), count.per_epoch, count.test())


def plan_work(
    specs: Sequence[RunSpec],
    datasets: Mapping[str, DatasetInfo],
    loaded: PluginRegistry,
    networks: Networks | Iterable[RunResult] = (),
) -> dict[str, RunWork]:
    """Run id -> work of the runs of a plan, in the order in which they are carried out.

    A run is left out where its dataset is not here, its network's work is not known
    (`harness.engine.count_stages`) or its strategy cannot be asked for its phases.

    Args:
        specs: the runs that are to be made, and no others.
        datasets: what is known of those that are here.
        loaded: the plugins.
        networks: the work of their stages, or finished runs whose records may hold it.
    """
    if not isinstance(networks, Networks):
        networks = Networks(networks)
    found: list[tuple[RunSpec, RunWork]] = []
    for spec in specs:
        network = networks.get(spec) if spec.dataset in datasets else ()
        if not network:
            continue
        info = datasets[spec.dataset].divided(Division.of(spec))
        further = sum(one.images for one in info.external.values())
        counts = {**info.counts, "test": info.counts["test"] + further}
        backbone = loaded.backbones[spec.backbone]
        strategy = loaded.strategies[spec.strategy].model_validate(spec.settings)
        with contextlib.suppress(HarnessError):  # left out, as said above
            work = run_work(spec, strategy, network, counts, backbone.stages, backbone.classifier)
            found.append((spec, work))
    return shared_once(found)


class Networks:
    """The work of the stages of networks that is known."""

    def __init__(self, results: Iterable[RunResult] = ()) -> None:
        self.known: dict[tuple[str, str, int], tuple[StageWork, ...]] = {}
        for result in results:
            if result.cost.network:
                self.add(result.spec, result.cost.network)

    def add(self, spec: RunSpec, network: tuple[StageWork, ...]) -> None:
        """The network of a run, at its pixels."""
        self.known[self._key(spec)] = network

    def knows(self, spec: RunSpec) -> bool:
        """True if the network of a run need not be counted."""
        return self._key(spec) in self.known

    def get(self, spec: RunSpec) -> tuple[StageWork, ...]:
        """Of a run's network at its pixels; empty: it is not known, or cannot be counted."""
        return self.known.get(self._key(spec), ())

    def _key(self, spec: RunSpec) -> tuple[str, str, int]:
        return spec.backbone, spec.sources.get("backbone", ""), spec.seen.crop


def shared_once(works: Iterable[tuple[RunSpec, RunWork]]) -> dict[str, RunWork]:
    """Run id -> work, where runs follow one another and features are made by the first that needs them.

    As in one process; of several each makes its own.
    """
    made: set[tuple[object, ...]] = set()
    found: dict[str, RunWork] = {}
    for spec, work in works:
        phases, touched = [], len(work.phases) and max(one.frontier for one in work.phases)
        for phase in work.phases:
            touched = min(touched, phase.frontier)
            key = (
                spec.dataset, spec.started, spec.protocol.split_seed, spec.labels, spec.limit,
                spec.numeric.precision, spec.seed if spec.weights == "none" else None, phase.frontier,
            )  # fmt: skip
            again = phase.frontier <= touched and key in made
            if phase.features and phase.frontier <= touched:
                made.add(key)
            phases.append(replace(phase, features=0.0) if again else phase)
        found[spec.run_id] = replace(work, phases=tuple(phases))
    return found


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Batches in a pass; a last batch of one image is left out, as in the engine."""
    full, rest = divmod(images, batch_size)
    return max(1, full + (rest > 1))


def _once(phases: Sequence[PhaseWork]) -> tuple[PhaseWork, ...]:
    """Features of a stage are made once while nothing below it has learned."""
    made: set[int] = set()
    found = []
    for phase in phases:
        again = phase.frontier in made
        made = {stage for stage in made if stage <= phase.frontier}
        if phase.features:
            made.add(phase.frontier)
        found.append(replace(phase, features=0.0) if again else phase)
    return tuple(found)


class OperationCounter:
    """Operations of one run's network on one run's images."""

    def __init__(self, spec: RunSpec, network: Sequence[StageWork], counts: Counts) -> None:
        self.spec, self.network, self.counts = spec, network, counts
        self.per_epoch = steps_per_epoch(counts["train"], spec.protocol.batch_size)
        # The mean over an epoch, whose last batch may be smaller.
        self.batch = min(spec.protocol.batch_size, counts["train"] / self.per_epoch)

    def steps(self, epochs: float) -> int:
        """Steps of so many epochs."""
        return round(epochs * self.per_epoch)

    def directive(
        self, directive: Directive, outline: Outline, steps: tuple[int, int], looks: int
    ) -> PhaseWork:
        """A directive of a strategy; `looks`: batches whose gradients come before it."""
        first, last = steps
        looked = looks * self.step(range(len(self.network)), 0)
        made = PhaseWork(directive.name, first, last, 0.0, looked, 0.0, 0.0, 0)
        if isinstance(directive, Interpolate):
            return self.mixed(made, directive.shares)
        if not isinstance(directive, Phase):
            return self.fitted(made, len(directive.C))
        if first == last:
            return made
        learns = [outline.stages.index(stage) for stage in outline.learning(directive)]
        # The frozen start is wanted from the pixels on, so that no features are kept.
        cached = directive.reference != "pretrained" and self._keeps(learns[0])
        return self.phase(made, learns, cached=cached, reference=refers_to(directive) != "none")

    def phase(
        self, phase: PhaseWork, learns: Sequence[int], *, cached: bool, reference: bool = False
    ) -> PhaseWork:
        """With its operations.

        Args:
            phase: its place in the run.
            learns: numbers of the stages that do, in order.
            cached: what the stages below them make is kept.
            reference: its objective sees every batch through a frozen copy as well.
        """
        frontier, size = learns[0], self.spec.protocol.eval_batch_size
        begins = frontier if cached else 0
        seen = self.sides * self.counts["train"] + self.counts["validation"]
        return replace(
            phase,
            frontier=frontier,
            features=self.forward(range(begins), seen, size),
            step=self.step(learns, begins, reference=reference),
            check=self.forward(range(begins, len(self.network)), self.counts["validation"], size),
        )

    def fitted(self, phase: PhaseWork, strengths: int) -> PhaseWork:
        """With the operations of a head that is fitted at once, for so many strengths."""
        head = len(self.network) - 1
        made = self.phase(phase, [head], cached=True)
        fits = strengths * FITTING * self.counts["train"] * self.network[head].parameters
        return replace(made, looks=phase.looks + fits + made.check, step=0.0, check=0.0)

    def mixed(self, phase: PhaseWork, shares: Sequence[float]) -> PhaseWork:
        """With the operations of weights that are mixed, for every share.

        Norms are measured and validation is predicted, each through the whole network.
        """
        images = self.counts["train"] + self.counts["validation"]
        passes = self.forward(range(len(self.network)), images, self.spec.protocol.eval_batch_size)
        return replace(phase, looks=phase.looks + len(shares) * passes)

    def forward(self, stages: range, images: float, batch: float) -> float:
        """Operations of a forward pass of images through stages, in batches."""
        chosen = [self.network[number] for number in stages]
        calls = CALL * sum(stage.calls for stage in chosen) * ceil(images / batch)
        return calls + images * sum(stage.operations for stage in chosen)

    def step(self, learns: Sequence[int], begins: int, *, reference: bool = False) -> float:
        """Operations of a step on the stages from `begins` on, of which some learn.

        With a `reference` there is a second forward pass, through the frozen copy.
        """
        last, batch = len(self.network), self.batch
        ahead = (1 + reference) * self.forward(range(begins, last), batch, batch)
        # The way back: a gradient of the inputs where something below learns, one of the weights.
        inputs = self.forward(range(min(learns) + 1, last), batch, batch)
        weights = sum(self.forward(range(number, number + 1), batch, batch) for number in learns)
        moved = sum(self.network[number].parameters for number in learns)
        return ahead + inputs + weights + UPDATE * moved

    def test(self) -> float:
        """Operations of the test, and of validation once more where the last checkpoint is tested."""
        images = self.counts["test"]
        if self.spec.protocol.checkpoint == "last":
            images += self.counts["validation"]
        return self.forward(range(len(self.network)), images, self.spec.protocol.eval_batch_size)

    @property
    def sides(self) -> int:
        """Ways that a training image is seen: two where it may be mirrored; 0: without end."""
        kinds = {
            "flip-horizontal" if kind == "flip-where-allowed" else kind
            for kind in self.spec.protocol.augment
            if kind != "flip-where-allowed" or self.spec.mirrored
        }
        return 1 if not kinds else 2 if kinds == {"flip-horizontal"} else 0

    def _keeps(self, stage: int) -> bool:
        """True if what the stages below one make is kept: it has an end, and fits."""
        if stage == 0 or not self.sides:
            return False
        each = BYTES.get(self.spec.numeric.precision, 4) * self.network[stage].handed
        return self.sides * each * self.counts["train"] <= FEATURE_BYTES
