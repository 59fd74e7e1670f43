"""A first phase in which only a linear head learns: lanes for it and its siblings, remembered.

All that such a phase needs of the backbone is the head's inputs, computed once.  The run trains
its own head together with those of the runs that differ from it in seed and rate only; each of
them finds its epochs done when its turn comes.
"""

from __future__ import annotations

from torch import Tensor, nn

from harness.engine.batches import Source
from harness.engine.company import Company
from harness.engine.evaluate import Place
from harness.engine.features import keeps
from harness.engine.head import Head
from harness.engine.memo import Snapshot, memo
from harness.engine.model import cut
from harness.engine.phase import PhaseRun
from harness.engine.report import finite_mean
from harness.engine.selection import multipliers
from harness.engine.state import RunState
from harness.strategy import Distance, Phase

# A head or a batch of inputs above this fills a GPU by itself.
HEAD, BATCH = 1_000_000, 4_000_000


def phase_run(state: RunState, phase: Phase) -> PhaseRun:
    """How to carry a phase out."""
    fast = state.resources.engine == "fast"
    return ProbeRun(state, phase) if fast and is_probe(state, phase) else PhaseRun(state, phase)


def is_probe(state: RunState, phase: Phase) -> bool:
    """Whether this is the run's first training and exactly one linear layer learns, plainly."""
    last = len(state.resources.backbone.stages) - 1
    fresh = state.steps == 0 and state.spent == 0 and not state.history
    usual = phase.objective is None and phase.average == "none" and phase.reference == "none"
    whole = phase.share >= 1 and not state.protocol.augment and state.plain
    pulled = all(isinstance(penalty, Distance) for penalty in phase.penalties)
    if not (fresh and usual and whole and pulled and _only_head(state, phase)):
        return False
    return all(keeps(state, split, last) for split in (state.train, state.validation))


def _only_head(state: RunState, phase: Phase) -> bool:
    path, named = state.head_layer, dict(state.model.named_parameters())
    layer = state.model.get_submodule(path)
    rest = list(cut(state.model, len(state.resources.backbone.stages) - 1)[1])
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
        self.head, self.memo = Head(state, phase), memo(state.resources.shared)
        self.company = Company(self.head, self.memo, self.factor, self.last)
        self.ends = self.company.own.way.ends

    def _train(self) -> int:
        state = self.state
        self._restart_patience()
        mark = state.clock.now()
        while state.steps < self.last and not self.stopped:
            start, end = state.steps, min(state.steps + state.steps_per_epoch, self.last)
            if end not in self.ends:
                self.company.train(start)
            state.steps = end
            self._take(self.ends[end])
            self.stopped = self._validate(state.model, state.validation, ("from", 0), mark)
            mark = state.clock.now()
        moments = self.ends[state.steps].reading.rows[1:]
        self.optimizer.restore(self.head.optimizer_state(moments, state.steps))
        for what, seconds in self.company.own.way.inputs.items():
            state.clock.borrow("features", seconds, what)
        self.memo.trim(spare=self.company.size)
        return self.frontier

    def _take(self, snapshot: Snapshot) -> None:
        """Stand where the head stood after an epoch, and charge what others paid for it."""
        state = self.state
        self.head.put(snapshot.reading.rows[0])
        state.trained_samples += snapshot.samples
        for payer, kind, seconds in snapshot.costs:
            if payer != state.spec.run_id:
                state.clock.shared[kind] += seconds

    def _train_mode(self) -> None:
        """The network takes no step: there is nothing to prepare it for."""

    def _score(
        self, network: nn.Module, source: Source, place: Place
    ) -> tuple[float | None, Tensor]:
        end = self.ends[self.state.steps]
        return end.judge(self.state), end.reading.logits

    def _mean_loss(self) -> float:
        losses = self.ends[self.state.steps].reading.losses
        return finite_mean(losses, self.phase.name, self.state.steps)
