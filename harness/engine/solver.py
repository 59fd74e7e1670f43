"""Choices on validation without a step: a fitted head, and weights mixed of two phases.

The head is fitted on frozen features by logistic regression (Kumar et al. 2022, arXiv 2202.10054).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from harness.api.records import EpochRecord, PhaseRecord
from harness.api.strategy import Interpolate, PhaseReport, SolveHead
from harness.engine.batches import Batches
from harness.engine.evaluate import estimate_norms, predict, source_at
from harness.engine.state import RunState, SplitData
from harness.errors import PhaseError
from harness.utils.names import did_you_mean

MOST_ITERATIONS = 1000


@dataclass(frozen=True)
class _Fit:
    c: float
    weight: Tensor
    bias: Tensor
    score: float | None
    logits: Tensor  # of validation
    loss: float


def solve_head(state: RunState, directive: SolveHead) -> PhaseReport:
    """Fit for every C, keep the one that is best on validation, put it into the last layer."""
    started = state.clock.now()
    layer = _head_linear(state, directive)
    stage = state.network.last_stage
    x, cached = _features(state, state.data.train, stage)
    watched, _ = _features(state, state.data.validation, stage)
    with state.clock.measure("train"):
        fits = _fits(state, (x, watched), directive.C)
        best = next(fits)
        for fit in fits:
            if state.selection.better(fit.score, best.score):
                best = fit
    with torch.no_grad():
        layer.weight.copy_(best.weight)
        layer.bias.copy_(best.bias)
    state.network.touched = min(state.network.touched, stage)
    state.budget.charge(directive.epochs)
    seconds = round(state.clock.now() - started, 6)
    return _record(state, directive, best, (stage if cached else 0, seconds))


def _head_linear(state: RunState, directive: SolveHead) -> nn.Linear:
    layer = state.network.model.get_submodule(state.network.head_layer)
    rest = state.network.cut(state.network.last_stage)[1]
    if not isinstance(layer, nn.Linear) or len(rest) != 1:
        raise PhaseError(
            f"directive {directive.name!r} needs a head that ends in one linear layer and has no "
            f"other weights; train the head by a Phase instead"
        )
    return layer


def _features(state: RunState, split: SplitData, stage: int) -> tuple[Tensor, bool]:
    """Inputs of the last layer, [N, D] on the CPU, and whether they were cached."""
    source, cached = source_at(state, split, stage)
    if not cached:
        with state.clock.measure("features"):
            return predict(state, state.network.cut(stage)[0], source, ("prefix", stage)), False
    return source.inputs(torch.arange(len(source))).float().cpu(), True


def _fits(
    state: RunState, features: tuple[Tensor, Tensor], strengths: tuple[float, ...]
) -> Iterator[_Fit]:
    """A fit for each C in rising order, each started from the last."""
    from sklearn.linear_model import LogisticRegression

    x, watched = features
    labels = torch.from_numpy(np.array(state.resources.images.labels["train"]))
    model = LogisticRegression(max_iter=MOST_ITERATIONS, warm_start=True)
    for c in sorted(strengths):
        model.set_params(C=c).fit(x.numpy(), labels.numpy())
        weight, bias = torch.from_numpy(model.coef_), torch.from_numpy(model.intercept_)
        if len(weight) == 1:  # two classes: one row holds the difference of their logits
            weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
        weight, bias = weight.float(), bias.float()
        loss = float(F.cross_entropy(x @ weight.T + bias, labels))
        logits = watched @ weight.T + bias
        yield _Fit(c, weight, bias, state.selection.score(logits), logits, loss)


def _record(
    state: RunState, directive: SolveHead, fit: _Fit, rest: tuple[int, float]
) -> PhaseReport:
    cached, seconds = rest
    epoch = state.budget.epochs
    state.selection.remember(fit.score, fit.logits, directive.name, epoch)
    state.log.history.append(
        EpochRecord(
            phase=directive.name, epoch=epoch, train_loss=fit.loss, score=fit.score, lr=0.0,
            seconds=seconds,
        )
    )  # fmt: skip
    trainable = fit.weight.numel() + fit.bias.numel()
    state.log.phases.append(
        PhaseRecord(
            name=directive.name, kind="solve-head", epochs_planned=directive.epochs,
            epochs=directive.epochs, steps=0, trainable=trainable, cached_stages=cached,
            rates={"head": 1.0}, notes=(f"C = {fit.c:.6g}, chosen on validation",), seconds=seconds,
        )
    )  # fmt: skip
    return PhaseReport(
        phase=directive.name, epochs=directive.epochs, steps=0, score=fit.score,
        best=state.selection.best.score if state.selection.best else None, history=(fit.score,), stopped=False,
        train_loss=fit.loss, trainable=trainable, cached_stages=cached, seconds=seconds,
    )  # fmt: skip


def interpolate(state: RunState, directive: Interpolate) -> PhaseReport:
    """Mix the weights of two phases at every share, and go on as the best on validation."""
    started = state.clock.now()
    first, second = (_kept(state, directive, name) for name in directive.between)
    state.budget.charge(directive.epochs)
    tried, scores = state.selection.afresh(), []
    with state.clock.measure("evaluate"):
        norms = _moved_norms(state.network.model, first, second)
        for share in directive.shares:
            state.network.load(mixed(first, second, share))
            logits = _measured_again(state, norms)
            score = state.selection.score(logits)
            for selection in (tried, state.selection):
                selection.remember(score, logits, directive.name, state.budget.epochs)
            scores.append(score)
        if tried.best is not None:
            state.network.load(tried.best.tensors)
    chosen = len(scores) - 1 if tried.best is None else scores.index(tried.best.score)
    seconds = round(state.clock.now() - started, 6)
    state.log.phases.append(
        PhaseRecord(
            name=directive.name, kind="interpolate", epochs_planned=directive.epochs,
            epochs=directive.epochs, steps=0, trainable=0, cached_stages=0, rates={},
            notes=(f"share {directive.shares[chosen]:g}, chosen on validation",), seconds=seconds,
            shares=tuple(directive.shares), scores=tuple(scores), share=directive.shares[chosen],
        )
    )  # fmt: skip
    best = state.selection.best
    return PhaseReport(
        phase=directive.name, epochs=directive.epochs, steps=0, score=scores[chosen],
        best=best.score if best else None, history=tuple(scores), stopped=False,
        train_loss=float("nan"), trainable=0, cached_stages=0, seconds=seconds,
    )  # fmt: skip


def mixed(
    first: Mapping[str, Tensor], second: Mapping[str, Tensor], share: float
) -> dict[str, Tensor]:
    """(1 - share) first + share second, tensor by tensor; whole numbers (counters) are the second's."""
    return {
        name: torch.lerp(first[name], tensor, share) if tensor.is_floating_point() else tensor
        for name, tensor in second.items()
    }


def _kept(state: RunState, directive: Interpolate, name: str) -> dict[str, Tensor]:
    found = state.kept.get(name)
    if found is not None:
        return found
    where = f"directive {directive.name!r} mixes the weights of phase {name!r}"
    if name in {phase.name for phase in state.log.phases}:
        raise PhaseError(f"{where}, which were not kept; give it keep=True: Phase({name!r}, ...)")
    there = ", ".join(state.kept) or "none"
    raise PhaseError(
        f"{where}, and no such phase was carried out{did_you_mean(name, state.kept)}; phases that "
        f"were kept: {there}"
    )


def _moved_norms(
    model: nn.Module, first: Mapping[str, Tensor], second: Mapping[str, Tensor]
) -> list[nn.Module]:
    """The batch norms whose running statistics are not the same in both."""
    return [
        module
        for name, module in model.named_modules()
        if isinstance(module, _NormBase)
        and any(
            not torch.equal(first[f"{name}.{buffer}"], second[f"{name}.{buffer}"])
            for buffer in ("running_mean", "running_var")
            if f"{name}.{buffer}" in second
        )
    ]


def _measured_again(state: RunState, norms: list[nn.Module]) -> Tensor:
    """Logits on validation [N, C] of the network as it is, the statistics of `norms` measured first."""
    network, data = state.network, state.data
    stage = min(network.touched, network.last_stage)
    if norms:
        source, cached = source_at(state, data.train, stage)
        network.model.eval()
        for norm in norms:
            norm.train()
        batches = Batches(len(data.train), state.protocol.batch_size, state.spec)
        with state.numerics.autocast():
            estimate_norms(network.cut(stage)[1] if cached else network.model, source, batches)
    source, cached = source_at(state, data.validation, stage)
    watched = network.cut(stage)[1] if cached else network.model
    return predict(state, watched, source, ("from", stage if cached else 0))
