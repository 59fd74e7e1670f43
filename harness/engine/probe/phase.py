"""A first phase in which only a linear head learns: trained beside its siblings, and remembered.

All that such a phase needs of the backbone is the head's inputs, computed once.  The run trains
its own head together with those of the runs that differ from it in seed and rate only; each of
them finds its epochs done when its turn comes.

Whatever is done for others is charged to them: `clock.shared` of the run that does it falls by as
much as theirs will rise when their turn comes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from harness.api.execution import family
from harness.api.records import RunSpec
from harness.api.strategy import Distance, Phase
from harness.engine.batches import Batches, Source
from harness.engine.evaluate import Place, keeps
from harness.engine.memo import MEMO_BYTES, HeadMemo, HeadTrajectory, Snapshot, head_key
from harness.engine.optimizer import PhaseSchedule, multipliers
from harness.engine.phase import PhaseRun, finite_mean
from harness.engine.probe.head import Head
from harness.engine.probe.lanes import AHEAD, BLOCK, HeadBatch, HeadLane
from harness.engine.shared import SharedWork, seed_below_head
from harness.engine.state import Patience, RunState

# A head or a batch of inputs above this fills a GPU by itself.
HEAD, BATCH = 1_000_000, 4_000_000


def phase_run(state: RunState, phase: Phase) -> PhaseRun:
    """The way to carry a phase out: in lanes where that is possible."""
    fast = state.resources.engine == "fast"
    return ProbeRun(state, phase) if fast and is_probe(state, phase) else PhaseRun(state, phase)


def is_probe(state: RunState, phase: Phase) -> bool:
    """True if this is the run's first training and exactly one linear layer learns, plainly."""
    last = state.network.last_stage
    fresh = state.budget.steps == 0 and state.budget.spent == 0 and not state.log.history
    usual = phase.objective is None and phase.average == "none" and phase.reference == "none"
    whole = phase.share >= 1 and not state.protocol.augment and state.network.as_built
    pulled = all(isinstance(penalty, Distance) for penalty in phase.penalties)
    if not (fresh and usual and whole and pulled and _only_head(state, phase)):
        return False
    return all(keeps(state, split, last) for split in (state.data.train, state.data.validation))


def _only_head(state: RunState, phase: Phase) -> bool:
    path, named = state.network.head_layer, dict(state.network.model.named_parameters())
    layer = state.network.model.get_submodule(path)
    rest = list(state.network.cut(state.network.last_stage)[1])
    if type(layer) is not nn.Linear or len(rest) != 1 or rest[0] is not layer:
        return False
    if layer.weight.numel() > HEAD or layer.in_features * state.protocol.batch_size > BATCH:
        return False
    own = {f"{path}.{name}" for name, _ in layer.named_parameters()}
    return set(multipliers(phase, named)) == own


class ProbeRun(PhaseRun):
    """A phase of one linear head from its first step: served from memory, or trained in lanes."""

    def __init__(self, state: RunState, phase: Phase) -> None:
        super().__init__(state, phase)
        self.head, self.memo = Head(state, phase), SharedWork.of(state.resources.shared).heads
        self.siblings = Siblings(state, self.head, self.memo, self.schedule)
        self.ends = self.siblings.own.trajectory.ends

    def _train(self) -> int:
        state, budget, last = self.state, self.state.budget, self.schedule.last
        self._restart_patience()
        mark = state.clock.now()
        while budget.steps < last and not self.stopped:
            start, end = budget.steps, min(budget.steps + budget.steps_per_epoch, last)
            if end not in self.ends:
                self.siblings.train(start)
            budget.steps = end
            self._take(self.ends[end])
            self.stopped = self._validate(
                state.network.model, state.data.validation, ("from", 0), mark
            )
            mark = state.clock.now()
        moments = self.ends[budget.steps].reading.rows[1:]
        self.optimizer.restore(self.head.optimizer_state(moments, budget.steps))
        for what, seconds in self.siblings.own.trajectory.inputs.items():
            state.clock.borrow("features", seconds, what)
        self.memo.trim(spare=self.siblings.size)
        return self.frontier

    def _take(self, snapshot: Snapshot) -> None:
        """Stand where the head stood after an epoch, and charge what others paid for it."""
        state = self.state
        self.head.put(snapshot.reading.rows[0])
        state.log.trained_samples += snapshot.samples
        for payer, kind, seconds in snapshot.costs:
            if payer != state.spec.run_id:
                state.clock.shared[kind] += seconds

    def _train_mode(self) -> None:
        """The network takes no step: there is nothing to prepare it for."""

    def _score(
        self, network: nn.Module, source: Source, place: Place
    ) -> tuple[float | None, Tensor]:
        end = self.ends[self.state.budget.steps]
        return judge(self.state, end), end.reading.logits

    def _mean_loss(self) -> float:
        losses = self.ends[self.state.budget.steps].reading.losses
        return finite_mean(losses, self.phase.name, self.state.budget.steps)


@dataclass
class SiblingHead:
    """A head in training: this run's, or a sibling's."""

    spec: RunSpec
    trajectory: HeadTrajectory


class Siblings:
    """A run's head and those of its siblings, trained together an epoch at a time."""

    def __init__(
        self, state: RunState, head: Head, memo: HeadMemo, schedule: PhaseSchedule
    ) -> None:
        self.state, self.head, self.memo, self.schedule = state, head, memo, schedule
        self.own = self._runner(state.spec)
        self._blocks: list[tuple[HeadBatch, list[SiblingHead]]] = []

    @property
    def size(self) -> int:
        """Heads whose trajectory was asked for."""
        return max(1, sum(len(runners) for _, runners in self._blocks))

    def train(self, start: int) -> None:
        """The run's next epochs from step `start` on, and those of whoever has to make the same."""
        spans = self._spans(start)
        if not self._blocks:
            self._blocks = list(self._gather(*spans[0]))
        for number, (block, runners) in enumerate(self._blocks):
            if number == 0 or not all(self._done(one.trajectory) for one in runners):
                self._round(block, runners, spans, others=number > 0)

    def _spans(self, start: int) -> list[tuple[int, int]]:
        """First and last step of the epochs that are trained before anybody looks."""
        found: list[tuple[int, int]] = []
        most = AHEAD[self.head.layer.weight.device.type]
        while start < self.schedule.last and len(found) < most:
            found.append((start, min(start + self.state.data.steps_per_epoch, self.schedule.last)))
            start = found[-1][1]
        return found

    def _round(
        self,
        block: HeadBatch,
        runners: list[SiblingHead],
        spans: list[tuple[int, int]],
        *,
        others: bool,
    ) -> None:
        """Some epochs of a block; `others`: this run's head is not in it."""
        clock, held = self.state.clock, []
        before, begun = dict(clock.seconds), clock.now()
        for start, end in spans:
            block.train(start, [self.schedule.factor(step) for step in range(start, end)], clock)
            held.append(block.hold())
        with clock.measure("evaluate"):
            readings = [one.read() for one in held]
        spent = {kind: s - before.get(kind, 0.0) for kind, s in clock.seconds.items()}
        spent["train"] = clock.now() - begun - sum(spent.values())
        for kind, seconds in spent.items():
            clock.shared[kind] -= seconds if others else 0.0
        for (start, end), found in zip(spans, readings, strict=True):
            samples = len(block.lanes[0].batches.span(start, end - start))
            for runner, reading in zip(runners, found, strict=True):
                costs = [(self.state.spec.run_id, k, s / len(spans)) for k, s in spent.items()]
                runner.trajectory.ends.setdefault(end, Snapshot(reading, samples, costs))

    # -- who comes along -----------------------------------------------------------------

    def _gather(self, start: int, end: int) -> Iterator[tuple[HeadBatch, list[SiblingHead]]]:
        """Everyone who stands at `start` and has to go on, this run first, in blocks."""
        runners, task = [self.own, *self._beside(start, end)], self.head.task
        for one in runners:
            one.trajectory.inputs = self.head.costs
        width = BLOCK[task.features.device.type]
        for first in range(0, len(runners), width):
            chosen = runners[first : first + width]
            yield (
                HeadBatch(
                    task, [self._lane(one, start) for one in chosen], self.state.network.graphs
                ),
                chosen,
            )

    def _beside(self, start: int, end: int) -> Iterator[SiblingHead]:
        for spec in self._siblings()[: self._room() - 1]:
            one = self._runner(spec)
            here = start == 0 or start in one.trajectory.ends
            if here and end not in one.trajectory.ends and not self._done(one.trajectory):
                yield one

    def _siblings(self) -> list[RunSpec]:
        """Runs still to come that have the same inputs of the head."""
        resources, own = self.state.resources, self.state.spec
        seed = seed_below_head(own, resources.start)
        return [
            spec
            for spec in resources.siblings
            if family(spec) == family(own)
            and seed_below_head(spec, resources.start) == seed
            and spec.run_id != own.run_id
        ]

    def _room(self) -> int:
        """Number of heads that can be remembered to the end of the phase."""
        head, state = self.head, self.state
        rows = head.shape.row * (1 + head.rule.moments) * head.layer.weight.element_size()
        logits = len(state.data.validation) * head.shape.classes * 4
        epochs = -(-self.schedule.last // state.data.steps_per_epoch)
        return max(1, MEMO_BYTES // (epochs * (rows + logits)))

    def _done(self, trajectory: HeadTrajectory) -> bool:
        """A sibling has failed, or its patience has run out."""
        state, last = self.state, next(reversed(trajectory.ends.values()), None)
        if last is None or not last.finite:
            return last is not None
        patience = Patience(state.selection, state.protocol.patience)
        if not self.head.phase.patience or patience.limit is None:
            return False
        with state.clock.measure("evaluate"):
            before = state.clock.now()
            for score in _scores(state, trajectory):
                patience.count(score)
            state.clock.shared["evaluate"] -= state.clock.now() - before
        return patience.exhausted

    def _runner(self, spec: RunSpec) -> SiblingHead:
        head = self.head
        return SiblingHead(spec, self.memo.at(head_key(spec, head.phase, head.rates, head.decays)))

    def _lane(self, one: SiblingHead, start: int) -> HeadLane:
        batches = Batches(len(self.state.data.train), one.spec.protocol.batch_size, one.spec)
        rows = one.trajectory.ends[start].reading.rows if start else self.head.drawn(one.spec)
        return HeadLane(rows, one.spec.protocol.lr, batches)


def _scores(state: RunState, trajectory: HeadTrajectory) -> Iterator[float | None]:
    """Validation scores of the whole epochs from the first on."""
    end = state.data.steps_per_epoch
    while end in trajectory.ends:
        yield judge(state, trajectory.ends[end])
        end += state.data.steps_per_epoch


def judge(state: RunState, snapshot: Snapshot) -> float | None:
    """The protocol's metric on validation, computed once."""
    if not snapshot.judged:
        before = state.clock.now()
        snapshot.score, snapshot.judged = state.selection.score(snapshot.reading.logits), True
        seconds = state.clock.now() - before
        snapshot.costs.append((state.spec.run_id, "evaluate", seconds))
    return snapshot.score
