"""What is told and recorded of a phase when it is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from harness.errors import TrainingError
from harness.records import PhaseRecord
from harness.strategy import PhaseReport

if TYPE_CHECKING:
    from harness.engine.phase import PhaseRun


def reported(run: PhaseRun, cached: int, seconds: float) -> PhaseReport:
    """The strategy's report; the record is kept.  `cached`: leading stages that were."""
    state, phase = run.state, run.phase
    steps = state.steps - run.first
    trainable = sum(p.numel() for p in run.learning.values())
    epochs = steps / state.steps_per_epoch
    state.phases.append(
        PhaseRecord(
            name=phase.name, epochs_planned=phase.epochs, epochs=epochs, steps=steps,
            trainable=trainable, cached_stages=cached, rates=_stage_rates(run),
            stopped=run.stopped, skipped=run.last == run.first, notes=_notes(run),
            seconds=round(seconds, 6),
        )
    )  # fmt: skip
    return PhaseReport(
        phase=phase.name, epochs=epochs, steps=steps,
        score=run.scores[-1] if run.scores else None,
        best=state.best.score if state.best else None,
        history=tuple(run.scores), stopped=run.stopped,
        train_loss=state.history[-1].train_loss if run.scores else float("nan"),
        trainable=trainable, cached_stages=cached, seconds=seconds,
    )  # fmt: skip


def _stage_rates(run: PhaseRun) -> dict[str, float]:
    """Median multiplier of each stage's tensors; frozen tensors count as 0."""
    by_stage: dict[str, list[float]] = {}
    for name, _ in run.state.model.named_parameters():
        by_stage.setdefault(name.split(".")[0], []).append(run.rates.get(name, 0.0))
    return {s: float(f"{sorted(r)[len(r) // 2]:.6g}") for s, r in by_stage.items()}


def _notes(run: PhaseRun) -> tuple[str, ...]:
    if len(set(run.rates.values())) <= len(run.learning_stages):
        return ()
    fastest = max(run.rates, key=run.rates.__getitem__)
    return (f"fastest tensor: {fastest}",)


def finite_mean(losses: Tensor, phase: str, steps: int) -> float:
    """The mean of an epoch's losses [T], of which the last was made at step number `steps`.

    Raises:
        TrainingError: one of them is not finite.
    """
    bad = torch.nonzero(~torch.isfinite(losses))
    if len(bad):
        step = steps - len(losses) + int(bad[0]) + 1
        raise TrainingError(
            f"the loss of phase {phase!r} is {losses[bad[0]].item()} at step {step}; "
            f"a smaller rate (--set protocol.lr=...) usually helps",
            phase=phase,
            step=step,
        )
    return float(losses.mean())
