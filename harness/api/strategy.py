"""The vocabulary strategies are written in.

A strategy is a sequence of phases.  A phase says which parameters learn, how fast, towards what
and for how long.  Batches, devices, precision, caching, timing and evaluation are the engine's.
"""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Protocol, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from harness.api import checks
from harness.api.records import Json
from harness.errors import PhaseError
from harness.utils.names import did_you_mean

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Params: TypeAlias = "Mapping[str, Tensor]"


@dataclass(frozen=True)
class Search:
    """The range to search for a hyperparameter: stands beside its field in `Annotated`."""

    low: float
    high: float
    log: bool = False


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy of logits [B, C] and class numbers [B], mean over the batch: a scalar."""
    import torch.nn.functional as F

    return F.cross_entropy(logits, targets)


@dataclass(frozen=True)
class Batch:
    """The part of one step that an objective may use.

    Attributes:
        inputs: what the learning part of the network takes, [B, ...] (images or cached features).
        targets: class numbers, int64 [B].
        index: row of each sample in the training split, int64 [B].
        rng: the generator for any random draw of the objective.
        progress: share of the run's budget already spent, 0 to 1.
        reference: the frozen copy the phase asked for, taking the same inputs, or None.
        loss: the protocol's own, of logits [B, C] and targets: class weights and label smoothing
            are in it.
    """

    inputs: Tensor
    targets: Tensor
    index: Tensor
    rng: torch.Generator
    progress: float
    reference: nn.Module | None = None
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy


class Objective(Protocol):
    """A loss: scalar tensor, mean over the batch.  `capturable`: no host work, fixed shapes."""

    capturable: bool

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor: ...


class Penalty(Protocol):
    """A term added to the loss: learning parameters `now`, the same ones at the `start`."""

    def __call__(self, now: Params, start: Params) -> Tensor: ...


@checks.known_fields
@dataclass(frozen=True)
class Distance:
    """strength * sum |w - w0| ('l1') or strength / 2 * sum (w - w0)^2 ('l2') over `parameters`.

    The engine adds its gradient in closed form: strength * sign(w - w0) or strength * (w - w0).
    A parameter that is listed but does not learn in the phase costs nothing.

    Attributes:
        towards: 'start' (w0 is the pre-trained value) or 'zero' (w0 = 0).
        proximal: 'l1' only: no gradient; after each step w moves towards w0 by at most
            rate * strength (soft thresholding).

    Raises:
        PhaseError: a field is unknown or holds what it cannot.
    """

    kind: Literal["l1", "l2"]
    strength: float
    parameters: tuple[str, ...]
    towards: Literal["start", "zero"] = "start"
    proximal: bool = False

    def __post_init__(self) -> None:
        where = "a Distance"
        checks.check_choices(where, self)
        checks.check_strength(where, "strength", self.strength)
        checks.check_names(where, "parameters", self.parameters)
        if self.proximal and self.kind != "l1":
            raise PhaseError(f"{where}: proximal is for kind 'l1', not {self.kind!r}")

    def __call__(self, now: Params, start: Params) -> Tensor:
        """The term itself, scalar."""
        import torch

        moved = [
            now[name] - start[name] if self.towards == "start" else now[name]
            for name in self.parameters
            if name in now
        ]
        if not moved:
            return torch.zeros(())
        if self.kind == "l1":
            return self.strength * torch.stack([m.abs().sum() for m in moved]).sum()
        return self.strength / 2 * torch.stack([m.square().sum() for m in moved]).sum()


@checks.known_fields
@dataclass(frozen=True)
class Phase:
    """A stretch of training during which the rules do not change.

    Attributes:
        name: shown on the plan and in the history.
        epochs: how long, in passes over the training split; fractions end between epochs.
        train: stage name, or glob over parameter names -> learning-rate multiplier.  First match
            wins; what nothing matches is frozen, and so is a multiplier of zero.
        objective: None takes the protocol's loss.
        penalties: terms added to the loss.
        decay: as `train`, -> weight decay; what nothing matches takes the protocol's.
        anneal: the schedule spans this phase, or the run.
        begin: go on from here, from the best checkpoint so far, or from the starting point.
        keep_optimizer: keep the optimizer's state of what already learned.
        norm: 'eval' uses running statistics in every normalisation layer, 'train' batch statistics
            in every stage that learns, 'auto' what the protocol says (train, as a rule).
        continues: patience goes on counting from the phase before.
        patience: False: the protocol's early stopping does not end this phase.
        select: checkpoints of this phase may be the one that is tested.
        share: share of the training split that is used, drawn once a run, stratified.
        average: test the exponential ('ema') or the epoch-end ('swa') average of the weights.
        reference: keep a frozen copy for the objective.
        step: the step rule; 'plain' is the only one in version 1.
        keep: keep the weights of this phase's best validation (of its end, where none has a
            figure) for an `Interpolate` after it.  Takes a copy of what has learned.

    Raises:
        PhaseError: a field is unknown or holds what it cannot; names of stages and parameters are
            looked up when the phase begins.
    """

    name: str
    epochs: float
    train: Mapping[str, float]
    objective: Objective | None = None
    penalties: tuple[Penalty, ...] = ()
    decay: Mapping[str, float] = field(default_factory=dict)
    anneal: Literal["phase", "run"] = "phase"
    begin: Literal["here", "best", "pretrained"] = "here"
    keep_optimizer: bool = False
    norm: Literal["train", "eval", "auto"] = "auto"
    continues: bool = False
    patience: bool = True
    select: bool = True
    share: float = 1.0
    average: Literal["none", "ema", "swa"] = "none"
    reference: Literal["none", "pretrained", "phase-start"] = "none"
    step: Literal["plain"] = "plain"
    keep: bool = False

    def __post_init__(self) -> None:
        checks.check_name("phase", self.name)
        where = f"phase {self.name!r}"
        checks.check_epochs(where, self.epochs)
        checks.check_values(f"{where} trains", "train", self.train)
        checks.check_values(f"{where} sets the decay of", "decay", self.decay)
        checks.check_choices(where, self)
        checks.check_callables(where, "penalties", self.penalties)
        if self.objective is not None:
            checks.check_callable(where, "objective", self.objective)
            if not isinstance(getattr(self.objective, "capturable", None), bool):
                raise PhaseError(
                    f"{where}: its objective does not say whether it is `capturable`: set the "
                    "attribute to False, or to True if it does no work on the host and all its "
                    "shapes are fixed"
                )
        if not (checks.is_number(self.share) and 0 < self.share <= 1):
            raise PhaseError(
                f"{where} uses a share of {checks.short(self.share)} of the training split; it must "
                "be above 0 and at most 1"
            )


def refers_to(phase: Phase) -> Literal["none", "pretrained", "phase-start"]:
    """The frozen copy that sees every batch of a phase beside the network; none without an objective."""
    return "none" if phase.objective is None else phase.reference


@checks.known_fields
@dataclass(frozen=True)
class SolveHead:
    """Fit the last linear layer by logistic regression on frozen features (Kumar et al. 2022).

    Attributes:
        C: inverse strengths of the L2 penalty to try; the best on validation is kept.
        epochs: what the directive is charged on the budget.

    Raises:
        PhaseError: a field is unknown or holds what it cannot.
    """

    name: str
    C: tuple[float, ...]
    epochs: float = 0.0

    def __post_init__(self) -> None:
        checks.check_name("directive", self.name)
        where = f"directive {self.name!r}"
        checks.check_epochs(where, self.epochs)
        checks.check_numbers(where, "C", self.C)


@checks.known_fields
@dataclass(frozen=True)
class Interpolate:
    """Mix the weights that two phases left: w = (1 - a) w_first + a w_second, a from `shares`.

    Every tensor of the network is mixed, or taken from the second where it holds no fractions.
    Statistics of batch-norm layers that differ between the two are measured again for every share,
    in one pass over the training split, without augmentation.  The network goes on as the share that
    is best on validation, the first of equals; where none has a figure, as the last share.

    Attributes:
        between: names of two phases before it with `keep=True`.
        shares: of the second, from 0 to 1; each is a look at validation.
        epochs: what the directive is charged on the budget.

    Raises:
        PhaseError: a field is unknown or holds what it cannot; phases are looked up when it begins.
    """

    name: str
    between: tuple[str, str]
    shares: tuple[float, ...]
    epochs: float = 0.0

    def __post_init__(self) -> None:
        checks.check_name("directive", self.name)
        where = f"directive {self.name!r}"
        checks.check_epochs(where, self.epochs)
        checks.check_names(where, "between", self.between)
        if len(set(self.between)) != 2 or len(self.between) != 2:  # noqa: PLR2004 - two phases
            raise PhaseError(
                f"{where}: between is {checks.short(self.between)}; name two different phases"
            )
        checks.check_shares(where, "shares", self.shares)


@dataclass(frozen=True)
class PhaseReport:
    """The outcome of a phase.  Validation only: a strategy never sees the test split.

    Attributes:
        epochs: passes actually made; steps: optimizer steps actually taken.
        score: the protocol's metric on validation after the last epoch; None where undefined.
        best: the best score of the run so far.
        history: score after each epoch of the phase.
        stopped: patience ran out.
        train_loss: mean over the last epoch.
        trainable: parameters that learned.
        cached_stages: leading stages that were computed once.
    """

    phase: str
    epochs: float
    steps: int
    score: float | None
    best: float | None
    history: tuple[float | None, ...]
    stopped: bool
    train_loss: float
    trainable: int
    cached_stages: int
    seconds: float


Directive: TypeAlias = Phase | SolveHead | Interpolate
DIRECTIVES = "Phase, SolveHead and Interpolate"
Phases: TypeAlias = Generator[Directive, PhaseReport, None]


def advance(plan: object, report: PhaseReport | None) -> Directive | None:
    """The next directive of what `phases()` returned; None: there is no more.

    Args:
        plan: what it returned.
        report: of the directive before; None: there was none.

    Raises:
        PhaseError: it is no generator, or yields something else.
    """
    if not isinstance(plan, Generator):
        raise PhaseError(f"phases() returns {type(plan).__name__}; write it with `yield`")
    try:
        directive: object = next(plan) if report is None else plan.send(report)
    except StopIteration:
        return None
    if not isinstance(directive, Directive):
        raise PhaseError(f"phases() yields {directive!r}, which is none of {DIRECTIVES}")
    return directive


@dataclass(frozen=True)
class ParameterInfo:
    """One parameter tensor as a strategy may know it.

    Attributes:
        stage: the stage it belongs to.
        kind: 'kernel' (convolution or linear weight), 'bias' (of one of those), 'norm' (scale or
            shift of a normalisation layer, found by type, not by name) or 'other'.
        shape: as in the model.
        pretrained: it belongs to the starting point; False: it is new for this dataset.
        norm: its Euclidean norm now.
        module: name of the module that holds it.
    """

    stage: str
    kind: Literal["kernel", "bias", "norm", "other"]
    shape: tuple[int, ...]
    pretrained: bool
    norm: float
    module: str


class ModelView(Protocol):
    """A model as strategies see it between phases.  Read-only: looking leaves no trace."""

    @property
    def stages(self) -> tuple[str, ...]:
        """All stages in forward order; the last is 'head'."""

    @property
    def head(self) -> tuple[str, ...]:
        """The head and every stage that is new in the loaded file, in forward order."""

    @property
    def classifier(self) -> tuple[str, ...]:
        """The stages of the network's classifier (VGG: the three linear layers) and `head`."""

    @property
    def parameters(self) -> Mapping[str, ParameterInfo]:
        """Every parameter by name, in forward order."""

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one pass over the training split."""

    @property
    def epochs_left(self) -> float:
        """Budget that is not yet spent."""

    @property
    def class_counts(self) -> tuple[int, ...]:
        """Training samples of each class."""

    @property
    def last_gradient(self) -> Params:
        """The gradient that the last step was made with, for every parameter that learned in it.

        It is that of the step's own batch, before the step, with distances in closed form added;
        to ask for it costs nothing.  Empty before the first step.
        """

    def gradients(
        self, batches: int, norm_mode: Literal["train", "eval"] = "eval"
    ) -> Iterator[Params]:
        """The loss's gradient for every parameter, one mapping a training batch.

        Dropout is off; `norm_mode` says which statistics normalisation layers use.
        """


class Strategy(BaseModel):
    """A way to fine-tune a pretrained model.

    Subclasses are final; their fields are hyperparameters with defaults, each with a search space
    (`Search`) beside it where one makes sense.

    Raises:
        pydantic.ValidationError: a setting is unknown (with the nearest one), or its value does not
            fit; no number may be infinite.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    name: ClassVar[str]
    paper: ClassVar[str] = ""
    rate: Annotated[
        float,
        Field(
            gt=0,
            repr=False,
            description="multiplier of the protocol's learning rate, in every phase",
        ),
        Search(0.01, 30.0, log=True),
    ] = 1.0

    @model_validator(mode="before")
    @classmethod
    def _known_settings(cls, given: object) -> object:
        if isinstance(given, dict) and cls.model_config.get("extra") == "forbid":
            fields = cls.model_fields
            known = {*fields, *(f.alias for f in fields.values() if f.alias)}
            for name in given:
                if name not in known:
                    raise PydanticCustomError(
                        "unknown_setting",
                        "{text}",
                        {
                            "text": f"{cls.name} has no setting {name!r}{did_you_mean(name, known)}; "
                            f"its settings: {', '.join(fields)}"
                        },
                    )
        return given

    def adapt(self, model: nn.Sequential, rng: torch.Generator) -> nn.Sequential:
        """Change the architecture before training (adapters, LoRA).  The default changes nothing.

        Draw new values from `rng`.  Stage names and the head must stay.
        """
        return model

    @abstractmethod
    def phases(self, model: ModelView, epochs: float) -> Phases:
        """Yield directives that together use at most `epochs`; each `yield` returns its report."""


def shares_rate(kind: type[Strategy]) -> bool:
    """True if `rate` is the multiplier that all strategies have, not a setting of the plugin's own."""
    own = (base for base in kind.__mro__ if issubclass(base, Strategy) and base is not Strategy)
    return not any("rate" in inspect.get_annotations(base) for base in own)


def rate_of(strategy: Strategy) -> float:
    """The multiplier of the protocol's learning rate; 1 where `rate` is the plugin's own setting."""
    return strategy.rate if shares_rate(type(strategy)) else 1.0


def settings_of(strategy: Strategy) -> dict[str, Json]:
    """Every hyperparameter as a record holds it; the shared `rate` is left out at its default, 1.

    Runs of before it came have none, and are the same runs.
    """
    found: dict[str, Json] = strategy.model_dump(mode="json")
    if shares_rate(type(strategy)) and found["rate"] == 1.0:
        del found["rate"]
    return found
