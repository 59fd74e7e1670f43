"""One phase of a run: freeze, step, validate, stop."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from typing import Any, Literal
from typing import Protocol as Interface

import torch
from torch import Tensor, nn

from harness.api.records import EpochRecord, PhaseRecord
from harness.api.strategy import Phase, PhaseReport, refers_to
from harness.engine.batches import Batches, Source
from harness.engine.evaluate import Place, estimate_norms, predict, source_at
from harness.engine.isolation import isolation
from harness.engine.model import NORMS
from harness.engine.optimizer import Optimizer, Penalties, PhaseSchedule, decays, multipliers
from harness.engine.recovery import snapshot
from harness.engine.state import RunState
from harness.engine.steps import StepInputs, Steps, make_steps
from harness.errors import TrainingError

EMA_DECAY = 0.99


class CheckpointKeeper(Interface):
    """Keeps a run in the middle of a phase, now and then."""

    def taken(self) -> Mapping[str, Any] | None:
        """The kept state of the phase that begins now; None: it begins anew."""

    @property
    def due(self) -> bool: ...

    def keep(self, phase: Mapping[str, Any]) -> None: ...


class PhaseRun:
    """A phase on its way: the parameters that learn, their optimizer, the steps to make.

    To make one puts the network into the state that the phase begins with.

    Attributes:
        rates: multiplier of each parameter that learns.
        frontier: number of the first stage in which anything learns.
        scores: of its validations.
        stopped: patience has run out.
    """

    def __init__(
        self, state: RunState, phase: Phase, keeper: CheckpointKeeper | None = None
    ) -> None:
        self.state, self.phase, self.keeper = state, phase, keeper
        # What an interrupted phase was kept as: the network is as it was then.
        self.kept = None if keeper is None else keeper.taken()
        if self.kept is None and (tensors := state.beginning(phase)) is not None:
            state.network.load(tensors)
        network, budget, protocol = state.network, state.budget, state.protocol
        named = dict(network.model.named_parameters())
        self.rates = multipliers(phase, named)
        self.learning = {name: p for name, p in named.items() if name in self.rates}
        self.learning_stages = {name.split(".")[0] for name in self.rates}
        stages = [name for name, _ in network.model.named_children()]
        self.frontier = min(stages.index(stage) for stage in self.learning_stages)
        decay = decays(phase, named, protocol.weight_decay)
        self.optimizer = Optimizer(
            protocol, self.learning, self.rates, decay, network.scaler, state.lr
        )
        if phase.keep_optimizer:
            self.optimizer.restore(state.optimizer_state)
        self.penalties = Penalties(phase.penalties, self.learning, network.start)
        self.norm = protocol.norm if phase.norm == "auto" else phase.norm
        length, planned = state.data.steps_per_epoch, budget.spent + phase.epochs
        first = budget.steps if self.kept is None else self.kept["first"]
        last = max(first, round(planned * length))
        self.schedule = PhaseSchedule(phase, protocol, length, first, last)
        self.losses: list[Tensor] = []
        self.scores: list[float | None] = []
        self.stopped = False
        self.own = state.selection.afresh() if phase.keep else None

    def run(self) -> PhaseReport:
        """Train until the phase's last step or until patience runs out."""
        state, budget = self.state, self.state.budget
        empty, cached = self.schedule.last == self.schedule.first, 0
        self.started = state.clock.now() - (0.0 if self.kept is None else self.kept["seconds"])
        if not empty:
            state.network.touched = min(state.network.touched, self.frontier)
            with state.clock.measure("train"):
                cached = self._train()
        budget.spent = budget.epochs if self.stopped else budget.spent + self.phase.epochs
        if not empty:
            state.optimizer_state = self.optimizer.state()
        if self.own is not None:
            state.kept[self.phase.name] = self.own.kept()
        return self._report(cached, state.clock.now() - self.started)

    def _report(self, cached: int, seconds: float) -> PhaseReport:
        """The strategy's report; the record is kept.  `cached`: leading stages that were."""
        state, phase, schedule = self.state, self.phase, self.schedule
        steps = state.budget.steps - schedule.first
        trainable = sum(p.numel() for p in self.learning.values())
        epochs = steps / schedule.steps_per_epoch
        state.log.phases.append(
            PhaseRecord(
                name=phase.name, epochs_planned=phase.epochs, epochs=epochs, steps=steps,
                trainable=trainable, cached_stages=cached, rates=self._stage_rates(),
                stopped=self.stopped, skipped=schedule.last == schedule.first,
                notes=self._notes(), seconds=round(seconds, 6), reference=refers_to(phase),
            )
        )  # fmt: skip
        best = state.selection.best
        return PhaseReport(
            phase=phase.name, epochs=epochs, steps=steps,
            score=self.scores[-1] if self.scores else None, best=best.score if best else None,
            history=tuple(self.scores), stopped=self.stopped,
            train_loss=state.log.history[-1].train_loss if self.scores else float("nan"),
            trainable=trainable, cached_stages=cached, seconds=seconds,
        )  # fmt: skip

    def _stage_rates(self) -> dict[str, float]:
        """Median multiplier of each stage's tensors; frozen tensors count as 0.

        Where that would hide that a few of many learn, it is the median of these alone.
        """
        by_stage: dict[str, list[float]] = {}
        for name, _ in self.state.network.model.named_parameters():
            by_stage.setdefault(name.split(".")[0], []).append(self.rates.get(name, 0.0))
        for stage, rates in by_stage.items():
            if not sorted(rates)[len(rates) // 2]:
                by_stage[stage] = [rate for rate in rates if rate] or rates
        return {s: float(f"{sorted(r)[len(r) // 2]:.6g}") for s, r in by_stage.items()}

    def _notes(self) -> tuple[str, ...]:
        notes = self.optimizer.notes()
        if self.state.parts > 1 and self.schedule.last > self.schedule.first:
            notes += (f"batches in {self.state.parts} parts, for lack of memory",)
        if len(set(self.rates.values())) > len(self.learning_stages):
            fastest = max(self.rates, key=self.rates.__getitem__)
            notes += (f"fastest tensor: {fastest}",)
        return notes

    # -- training ------------------------------------------------------------------------

    def _train(self) -> int:
        """All steps of the phase; returns how many leading stages came from the cache."""
        state, phase, budget, data = self.state, self.phase, self.state.budget, self.state.data
        model = state.network.model
        stage = self.frontier if phase.reference != "pretrained" else 0
        source, cached = source_at(state, data.train, stage, augmented=True)
        seen, seen_cached = source_at(state, data.validation, stage)
        network = state.network.cut(stage)[1] if cached else model
        watched = state.network.cut(stage)[1] if seen_cached else model
        place = ("from", stage if seen_cached else 0)
        reference = self._reference(network)
        self._set_modes()
        if not phase.continues:
            state.patience.restart()
        average = None if phase.average == "none" else Average(phase.average, self.learning)
        batches = Batches(
            len(data.train), state.protocol.batch_size, state.spec, subset=self._subset()
        )
        inputs = StepInputs(
            network=network, begins=stage if cached else 0, source=source, batches=batches,
            reference=reference, objective=phase.objective, learning=self.learning,
            norm=self.norm, optimizer=self.optimizer, penalties=self.penalties,
            schedule=self.schedule,
        )  # fmt: skip
        steps = make_steps(state, inputs)
        self.losses = steps.losses
        self.mark = state.clock.now()
        if self.kept is not None:
            self._go_on(self.kept, average, reference)

        for _ in self._steps_made(steps, average, reference):
            if budget.steps % data.steps_per_epoch == 0 or budget.steps == self.schedule.last:
                with self._averaged(average, network, source, batches):
                    self.stopped = self._validate(watched, seen, place, self.mark)
                self.mark = state.clock.now()
                if self.stopped:
                    break
        if average is not None:
            average.put(average.values)
        return self.frontier if cached else 0

    def _steps_made(
        self, steps: Steps, average: Average | None, reference: nn.Module | None
    ) -> Iterator[None]:
        """Stops after every step; what is done there is in the checkpoint that may follow."""
        budget, observer = self.state.budget, self.state.resources.observer
        for number in range(self._begun(), self.schedule.last):
            steps.step(number)
            if average is not None:
                average.after_step()
            budget.steps = number + 1
            observer.working("train", budget.steps, budget.most)
            yield
            if self.keeper is not None and self.keeper.due:
                self.keeper.keep(self._so_far(average, reference))

    def _begun(self) -> int:
        """Number of the first step to make."""
        return self.schedule.first if self.kept is None else self.state.budget.steps

    def _so_far(self, average: Average | None, reference: nn.Module | None) -> dict[str, Any]:
        """The phase in the middle of it, as `_go_on` takes it."""
        now, optimizer = self.state.clock.now(), self.optimizer
        moved = reference is not None and self.phase.reference == "phase-start"
        return {
            "first": self.schedule.first,
            "seconds": now - self.started,
            "since": now - self.mark,
            "optimizer": optimizer.state(),
            "left_out": None if optimizer.left_out is None else vars(optimizer.left_out),
            "patience": (self.state.patience.waited, self.state.patience.waiting_for),
            "losses": list(self.losses),
            "scores": list(self.scores),
            "own": None if self.own is None else snapshot.of_selection(self.own),
            "average": None if average is None else (average.count, average.values),
            "reference": dict(reference.state_dict()) if moved and reference is not None else None,
        }

    def _go_on(
        self, kept: Mapping[str, Any], average: Average | None, reference: nn.Module | None
    ) -> None:
        """Put everything as it was when the phase was kept; the generators last."""
        device = self.state.resources.device
        self.mark -= kept["since"]
        self.optimizer.restore(snapshot.to_device(kept["optimizer"], device))
        if self.optimizer.left_out is not None:
            for name, tensor in vars(self.optimizer.left_out).items():
                tensor.copy_(kept["left_out"][name])
        self.losses.extend(loss.to(device) for loss in kept["losses"])
        self.scores.extend(kept["scores"])
        if self.own is not None:
            snapshot.put_selection(self.own, kept["own"])
        if average is not None:
            average.count = kept["average"][0]
            average.values = {n: t.to(device) for n, t in kept["average"][1].items()}
        if reference is not None and kept["reference"] is not None:
            reference.load_state_dict(kept["reference"])
        patience = self.state.patience  # a phase that begins had restarted it
        patience.waited, patience.waiting_for = kept["patience"]
        snapshot.put_generators(self.state, kept["generators"])

    def _set_modes(self) -> None:
        """Frozen means frozen: a stage in which nothing learns stays in eval mode."""
        state = self.state
        for name, parameter in state.network.model.named_parameters():
            parameter.requires_grad_(name in self.rates)
            parameter.grad = None
        self._train_mode()

    def _train_mode(self) -> None:
        for name, stage in self.state.network.model.named_children():
            stage.train(name in self.learning_stages)
            if self.norm == "eval":
                for module in stage.modules():
                    if isinstance(module, NORMS):
                        module.eval()

    def _reference(self, network: nn.Module) -> nn.Module | None:
        if self.phase.reference == "none":
            return None
        frozen = copy.deepcopy(network)
        if self.phase.reference == "pretrained":
            frozen.load_state_dict(self.state.network.initial)
        return frozen.eval().requires_grad_(requires_grad=False)

    def _subset(self) -> Tensor | None:
        """The phase's share of the training split: the same for all, stratified."""
        if self.phase.share >= 1:
            return None
        state = self.state
        order = Batches(len(state.data.train), len(state.data.train), state.spec, "share").at(0)
        labels = state.data.train.labels.cpu()[order]
        kept = [
            order[labels == c][: max(1, round(self.phase.share * count))]
            for c, count in enumerate(state.data.class_counts)
        ]
        return torch.cat(kept).sort().values

    # -- validation ----------------------------------------------------------------------

    @contextlib.contextmanager
    def _averaged(
        self, average: Average | None, network: nn.Module, source: Source, batches: Batches
    ) -> Iterator[None]:
        """Around the validation that ends an epoch: of the average, where the phase asks for one."""
        if average is None:
            yield
            return
        average.after_epoch()
        with average.in_place():
            with self.state.numerics.autocast():  # features may be as narrow as it makes them
                estimate_norms(network, source, batches)
            yield

    def _validate(self, network: nn.Module, source: Source, place: Place, mark: float) -> bool:
        """Close an epoch: check the loss, score, remember the best.  True: patience ran out."""
        state, phase = self.state, self.phase
        train_loss = self._mean_loss()
        with state.clock.measure("evaluate"):
            logits = predict(state, network, source, place)
            score = state.selection.score(logits)
        self._train_mode()
        self.scores.append(score)
        epoch = state.budget.epochs
        if phase.select:
            state.selection.remember(score, logits, phase.name, epoch)
        if self.own is not None:
            self.own.remember(score, logits, phase.name, epoch)
        lr = state.lr * self.schedule.factor(state.budget.steps - 1)
        record = EpochRecord(
            phase=phase.name, epoch=epoch, train_loss=train_loss, score=score, lr=lr,
            seconds=round(state.clock.now() - mark, 6),
        )  # fmt: skip
        state.log.history.append(record)
        with isolation.aside():
            state.resources.observer.epoch_end(record)
        state.patience.count(score)
        return phase.patience and state.patience.exhausted

    def _mean_loss(self) -> float:
        """The mean of the epoch's losses.

        Raises:
            TrainingError: one of them is not finite.
        """
        losses = torch.stack(self.losses).double().cpu()
        self.losses.clear()
        bad, phase = torch.nonzero(~torch.isfinite(losses)), self.phase.name
        if len(bad):
            step = self.state.budget.steps - len(losses) + int(bad[0]) + 1
            raise TrainingError(
                f"the loss of phase {phase!r} is {losses[bad[0]].item()} at step {step}; "
                f"a smaller rate (--set protocol.lr=...) usually helps",
                phase=phase,
                step=step,
            )
        return float(losses.mean())


class Average:
    """'ema': exponential over steps (decay 0.99); 'swa': plain mean over epoch ends."""

    def __init__(self, kind: Literal["ema", "swa"], learning: Mapping[str, nn.Parameter]) -> None:
        self.kind, self.learning, self.count = kind, learning, 0
        self.values = {name: p.detach().clone() for name, p in learning.items()}

    @torch.no_grad()
    def after_step(self) -> None:
        if self.kind == "ema":
            self._towards_now(1 - EMA_DECAY)

    @torch.no_grad()
    def after_epoch(self) -> None:
        if self.kind == "swa":
            self.count += 1
            self._towards_now(1 / self.count)

    def _towards_now(self, share: float) -> None:
        torch._foreach_lerp_(list(self.values.values()), list(self.learning.values()), share)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """The network holds the average inside the block and its own weights after it."""
        own = {name: p.detach().clone() for name, p in self.learning.items()}
        self.put(self.values)
        try:
            yield
        finally:
            self.put(own)

    @torch.no_grad()
    def put(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self.learning.items():
            parameter.copy_(values[name])
