"""Who learns beside a run: heads that differ from its own in seed and rate only.

Whatever is done for others is charged to them: `clock.shared` of the run that does it falls by as
much as theirs will rise when their turn comes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from harness.engine.batches import Batches
from harness.engine.block import AHEAD, BLOCK, Block, Lane
from harness.engine.head import Head
from harness.engine.memo import MEMO_BYTES, Memo, Snapshot, Trajectory, key
from harness.engine.model import drawn_below_head
from harness.engine.state import RunState
from harness.execution import family
from harness.records import RunSpec


@dataclass
class Runner:
    """A head on its way: this run's, or a sibling's."""

    spec: RunSpec
    way: Trajectory


class Company:
    """A run's head and those of its siblings, trained together an epoch at a time."""

    def __init__(self, head: Head, memo: Memo, factor: Callable[[int], float], steps: int) -> None:
        self.head, self.memo, self.factor, self.steps = head, memo, factor, steps
        self.state: RunState = head.state
        self.own = self._runner(head.state.spec)
        self._blocks: list[tuple[Block, list[Runner]]] = []

    @property
    def size(self) -> int:
        """Heads whose way was asked for."""
        return max(1, sum(len(runners) for _, runners in self._blocks))

    def train(self, start: int) -> None:
        """The run's next epochs from step `start` on, and those of whoever has to make the same."""
        spans = self._spans(start)
        if not self._blocks:
            self._blocks = list(self._gather(*spans[0]))
        for number, (block, runners) in enumerate(self._blocks):
            if number == 0 or not all(self._done(one.way) for one in runners):
                self._round(block, runners, spans, others=number > 0)

    def _spans(self, start: int) -> list[tuple[int, int]]:
        """First and last step of the epochs that are trained before anybody looks."""
        found: list[tuple[int, int]] = []
        most = AHEAD[self.head.layer.weight.device.type]
        while start < self.steps and len(found) < most:
            found.append((start, min(start + self.state.steps_per_epoch, self.steps)))
            start = found[-1][1]
        return found

    def _round(
        self,
        block: Block,
        runners: list[Runner],
        spans: list[tuple[int, int]],
        *,
        others: bool,
    ) -> None:
        """Some epochs of a block; `others`: this run's head is not in it."""
        clock, held = self.state.clock, []
        before, begun = dict(clock.seconds), clock.now()
        for start, end in spans:
            block.train(start, [self.factor(step) for step in range(start, end)], clock)
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
                runner.way.ends.setdefault(end, Snapshot(reading, samples, costs))

    # -- who comes along -----------------------------------------------------------------

    def _gather(self, start: int, end: int) -> Iterator[tuple[Block, list[Runner]]]:
        """Everyone who stands at `start` and has to go on, this run first, in blocks."""
        runners, task = [self.own, *self._beside(start, end)], self.head.task
        for one in runners:
            one.way.inputs = self.head.costs
        width = BLOCK[task.features.device.type]
        for first in range(0, len(runners), width):
            chosen = runners[first : first + width]
            yield (
                Block(task, [self._lane(one, start) for one in chosen], self.state.library),
                chosen,
            )

    def _beside(self, start: int, end: int) -> Iterator[Runner]:
        for spec in self._siblings()[: self._room() - 1]:
            one = self._runner(spec)
            here = start == 0 or start in one.way.ends
            if here and end not in one.way.ends and not self._done(one.way):
                yield one

    def _siblings(self) -> list[RunSpec]:
        """Runs still to come that have the same inputs of the head."""
        resources, own = self.state.resources, self.state.spec
        alike = [one for one in resources.siblings if family(one) == family(own)]
        if drawn_below_head(resources.start):
            alike = [one for one in alike if one.seed == own.seed]
        return [one for one in alike if one.run_id != own.run_id]

    def _room(self) -> int:
        """How many heads can be remembered to the end of the phase."""
        head, state = self.head, self.state
        rows = head.shape.row * (1 + head.rule.moments) * head.layer.weight.element_size()
        logits = len(state.validation) * head.shape.classes * 4
        epochs = -(-self.steps // state.steps_per_epoch)
        return max(1, MEMO_BYTES // (epochs * (rows + logits)))

    def _done(self, way: Trajectory) -> bool:
        """A sibling has failed, or its patience has run out."""
        state, last = self.state, next(reversed(way.ends.values()), None)
        if last is None or not last.finite:
            return last is not None
        patience = state.protocol.patience
        if not self.head.phase.patience or patience is None:
            return False
        with state.clock.measure("evaluate"):
            before = state.clock.now()
            waited = _waited(state, way.scores(state, state.steps_per_epoch))
            state.clock.shared["evaluate"] -= state.clock.now() - before
        return waited >= patience

    def _runner(self, spec: RunSpec) -> Runner:
        head = self.head
        return Runner(spec, self.memo.at(key(spec, head.phase, head.rates, head.decays)))

    def _lane(self, one: Runner, start: int) -> Lane:
        batches = Batches(len(self.state.train), one.spec.protocol.batch_size, one.spec)
        rows = one.way.ends[start].reading.rows if start else self.head.drawn(one.spec)
        return Lane(rows, one.spec.protocol.lr, batches)


def _waited(state: RunState, scores: Iterable[float | None]) -> int:
    """Epochs since the best score, as patience counts them."""
    waited, best = 0, None
    for score in scores:
        better = state.better(score, best)
        waited, best = (0, score) if better else (waited + 1, best)
    return waited
