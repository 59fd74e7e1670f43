"""The steps of a phase one after another, as they are written in a textbook: the oracle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from harness.engine.batches import Batches, Source
from harness.engine.captured import fill_missing
from harness.strategy import Batch

if TYPE_CHECKING:
    from harness.engine.phase import PhaseRun


class PlainSteps:
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
        inputs, targets = self.source.inputs(index, state.augment_rng), state.train.targets(index)
        with state.autocast():
            if self.phase.objective is None:
                loss = state.loss(self.network(inputs), targets)
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
            loss = loss + penalty(run.learning, state.start)
        for parameter in run.learning.values():
            parameter.grad = None
        loss.backward()  # type: ignore[no-untyped-call]
        fill_missing(list(run.learning.values()))
        run.closed.add_gradients()
        run.optimizer.step()
        run.closed.shrink(run.optimizer)
        state.trained_samples += len(index)
