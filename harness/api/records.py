"""Records of what goes in and what comes out: plain, frozen, serialisable.

Everything that is written to disk is one of these; `schema_version` tells old files from new.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    SerializerFunctionWrapHandler,
    StringConstraints,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

Json = Annotated[Any, "a JSON value"]
_WORD = r"[a-z0-9]+([._-][a-z0-9]+)*"
Name = Annotated[str, StringConstraints(pattern=f"^{_WORD}$")]
START_NAME = _WORD
StartText = Annotated[str, StringConstraints(pattern=f"^{_WORD}(=hf://.+)?$")]
Augmentation = Literal["flip-horizontal", "flip-vertical", "flip-where-allowed", "affine"]
Precision = Literal["float64", "float32", "bf16", "fp16"]
Interpolation = Literal["bilinear", "bicubic"]


def _budget(text: str) -> str:
    """'10%' or '200', written in one way."""
    share = text.endswith("%")
    value = float(text.rstrip("%"))
    if not (0 < value <= 100 if share else value >= 1):  # noqa: PLR2004 - per cent
        raise ValueError("a label budget is a share of the training images (10%) or a count (200)")
    return f"{value:g}%" if share else str(int(value))


Labels = Annotated[
    str, StringConstraints(pattern=r"^([0-9]+|[0-9]+(\.[0-9]+)?%)$"), AfterValidator(_budget)
]
CLOSED = ConfigDict(extra="forbid")


class Record(BaseModel):
    """Immutable, and closed to unknown fields."""

    model_config = ConfigDict(frozen=True, **CLOSED)


class Extended(Record):
    """A record some of whose fields came later: they are left out while they hold their default.

    So what was written before, and every identity over it, stays as it was.
    """

    _later: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _without_later(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        found: dict[str, Any] = dump(self)
        for name in self._left_out():
            found.pop(name, None)
        return found

    def _left_out(self) -> list[str]:
        return [name for name, default in self._defaults() if getattr(self, name) == default]

    @classmethod
    @lru_cache
    def _defaults(cls) -> list[tuple[str, Any]]:
        """The later fields with their defaults: asked for with every record that is written."""
        fields = cls.model_fields
        return [(one, fields[one].get_default(call_default_factory=True)) for one in cls._later]

    def written_fields(self) -> list[str]:
        """The names of the fields that are written."""
        left_out = self._left_out()
        return [name for name in type(self).model_fields if name not in left_out]


def canonical(value: BaseModel | Mapping[str, Json]) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)


def compact(value: Json) -> str:
    """JSON of records and plain values in their own order; numbers that are not finite are null."""
    try:
        return to_json(value, inf_nan_mode="null").decode()
    except PydanticSerializationError:  # half a surrogate pair, which UTF-8 does not have
        return json.dumps(to_jsonable_python(value, inf_nan_mode="null"), separators=(",", ":"))


def digest(value: BaseModel | Mapping[str, Json]) -> str:
    """sha256 (hex) of the canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def started(backbone: str, start: str | None) -> str:
    """A backbone with what it starts from, in folders and messages: `resnet50@radimagenet`."""
    return f"{backbone}@{start}" if start else backbone


class Schedule(Record):
    """Learning rate over time: warm-up from 0, then `kind` down to `floor` times the peak.

    `horizon` (epochs) is what the decay spans; None: the phase, or the run where the phase says so.
    """

    kind: Literal["constant", "cosine", "linear"] = "cosine"
    horizon: PositiveFloat | None = None
    warmup: NonNegativeFloat = 0.0
    floor: NonNegativeFloat = 0.0


class Preprocessing(Record):
    """Images as a network was trained to see them.  What is None is as the protocol says.

    Attributes:
        mean, std: of each channel, of values from 0 to 1.
        size: side of the square that is cut from the centre.  None: the protocol's, moved to the
            nearest one that `multiple` and `bounds` allow.
        resize: the shorter side before the cut, with `size`.  None: in the protocol's proportion.
        multiple, bounds: what other sides the network takes: multiples, from the least to the
            greatest (None: no end).  Without bounds it takes `size` and no other, and where that is
            None, too, any multiple.
        interpolation: of the resize, with antialiasing.
        grey: colours become grey, in three equal channels.
    """

    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    size: PositiveInt | None = None
    resize: PositiveInt | None = None
    multiple: PositiveInt = 1
    bounds: tuple[PositiveInt, PositiveInt | None] | None = None
    interpolation: Interpolation | None = None
    grey: bool | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.resize is not None and (self.size is None or self.resize < self.size):
            raise ValueError("resize is a length before the cut: it needs a size that is no longer")
        if self.bounds is not None and self._multiples()[1] < self._multiples()[0]:
            raise ValueError(f"no multiple of {self.multiple} lies within the bounds {self.bounds}")
        return self

    def takes(self, side: int) -> bool:
        """True if the network takes squares of this side."""
        return side == self.size or self.nearest(side) == side

    def nearest(self, side: int) -> int:
        """The side nearest to this one that the network takes."""
        if self.size is not None and self.bounds is None:
            return self.size
        least, greatest = self._multiples()
        times = round(side / self.multiple)
        return self.multiple * int(min(max(times, least), greatest))

    def _multiples(self) -> tuple[int, float]:
        """The least and the greatest number of times that `multiple` may be taken."""
        least, greatest = self.bounds or (1, None)
        last = float("inf") if greatest is None else greatest // self.multiple
        return -(-least // self.multiple), last


class Protocol(Extended):
    """Settings that every strategy of a suite shares.  All are part of a run's identity.

    `preprocessing` says whose mean, std, size and so on count: the protocol's for all networks or,
    where a backbone declares its own, the backbone's.
    """

    _later: ClassVar[tuple[str, ...]] = ("preprocessing", "interpolation", "grey")

    name: str
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    lr: PositiveFloat = 1e-3
    weight_decay: NonNegativeFloat = 0.0
    momentum: NonNegativeFloat = 0.9
    batch_size: PositiveInt = 32
    eval_batch_size: PositiveInt = 64
    epochs: PositiveFloat = 15.0
    patience: PositiveInt | None = 3
    schedule: Schedule = Schedule()
    metric: str = "balanced-accuracy"
    checkpoint: Literal["best", "last"] = "best"
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    class_weights: Literal["none", "balanced"] = "none"
    norm: Literal["train", "eval"] = "train"
    charge_looks: bool = False
    resize: PositiveInt = 232
    crop: PositiveInt = 224
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    augment: tuple[Augmentation, ...] = ()
    validation_share: Annotated[float, Field(gt=0, lt=1)] = 0.15
    test_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    split_seed: int = 0
    preprocessing: Literal["protocol", "backbone"] = "protocol"
    interpolation: Interpolation = "bilinear"
    grey: bool = False

    def resolve(self, declared: Preprocessing | None) -> Preprocessing | None:
        """The preprocessing of a backbone, whole; None: the protocol's own counts."""
        if self.preprocessing == "protocol" or declared is None:
            return None
        size = declared.size or declared.nearest(self.crop)
        return Preprocessing(
            mean=declared.mean or self.mean,
            std=declared.std or self.std,
            size=size,
            resize=declared.resize or max(size, round(self.resize * size / self.crop)),
            interpolation=declared.interpolation or self.interpolation,
            grey=self.grey if declared.grey is None else declared.grey,
        )

    def seen_through(self, own: Preprocessing | None) -> Protocol:
        """The same protocol with another preprocessing, as `resolve` gives it; None: as it is."""
        if own is None:
            return self
        fields = own.model_dump(include={"mean", "std", "resize", "interpolation", "grey"})
        return self.model_copy(update={"crop": own.size, **fields})


class NumericMode(Record):
    """Precision and kernels, where they can move the result."""

    precision: Literal["float64", "float32", "bf16", "fp16"] = "float32"
    layout: Literal["contiguous", "channels-last"] = "contiguous"
    compile: Literal["none", "graph", "compile"] = "none"
    deterministic: bool = True


class RunSpec(Extended):
    """The identity of a run: equal specs are the same run.

    Attributes:
        settings: every hyperparameter of the strategy, defaults written out.
        limit: images a split at most, or None.
        data: fingerprint of the prepared dataset (samples, labels, groups, splits).
        weights: sha256 of the starting weights, or 'none'.
        sources: sha256 of the code of the plugins that make the result, by role.
        engine: the engine's result version.
        present_only: validation or test lacks a class, and figures are over the classes there.
        labels: training images that keep their label, '10%' or '200'; None: all.
        mirrored: images are flipped as the protocol asks where a dataset allows it, and this does.
        preprocessing: the backbone's, with nothing left to the protocol; None: the protocol's own.
        start: name of the starting point, where a suite compares several; None: it names none.
    """

    # Asked for dozens of times a run.  A slot: copies with other values, and pickles, begin without.
    __slots__ = ("_run_id",)

    _later: ClassVar[tuple[str, ...]] = (
        "present_only", "labels", "mirrored", "preprocessing", "start",
    )  # fmt: skip

    dataset: str
    backbone: str
    strategy: str
    settings: dict[str, Json] = {}
    protocol: Protocol
    seed: int
    limit: PositiveInt | None = None
    data: str
    weights: str
    sources: dict[str, str] = {}
    engine: int
    numeric: NumericMode = NumericMode()
    present_only: bool = False
    labels: Labels | None = None
    mirrored: bool = False
    preprocessing: Preprocessing | None = None
    start: Name | None = None

    @property
    def started(self) -> str:
        """The backbone, with its start where it names one: `resnet50@radimagenet`."""
        return started(self.backbone, self.start)

    @property
    def seen(self) -> Protocol:
        """The protocol with the preprocessing that this run's images go through."""
        return self.protocol.seen_through(self.preprocessing)

    @property
    def run_id(self) -> str:
        """16 hex digits of the sha256 over everything in the spec."""
        found: str = getattr(self, "_run_id", "")
        if not found:
            found = digest(self)[:16]
            object.__setattr__(self, "_run_id", found)
        return found

    @property
    def cell(self) -> str:
        """For people: dataset / backbone / strategy."""
        return f"{self.dataset} / {self.started} / {self.strategy}"


# A large board holds 200,000 figures and 300,000 epochs: as `Record` they were most of its memory.
@dataclass(frozen=True, slots=True, kw_only=True, config=CLOSED)
class MetricValue:
    """A figure, or null with the reason."""

    value: float | None
    reason: str | None = None
    by_class: dict[str, float | None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=CLOSED)
class EpochRecord:
    """One epoch of one phase: `epoch` counts over the run, `lr` is the protocol's rate at its end."""

    phase: str
    epoch: float
    train_loss: float
    score: float | None
    lr: float
    seconds: float


class PhaseRecord(Extended):
    """One directive as it was carried out; `stopped`: patience ran out.

    Attributes:
        shares: of the second of two weights that were mixed.
        scores: of each share, on validation.
        share: the one that the network went on as.
        reference: the frozen copy that every batch went through as well, for the objective.
    """

    _later: ClassVar[tuple[str, ...]] = ("shares", "scores", "share", "reference")

    name: str
    kind: Literal["phase", "solve-head", "interpolate"] = "phase"
    epochs_planned: float
    epochs: float
    steps: int
    trainable: int
    cached_stages: int
    rates: dict[str, float]
    stopped: bool = False
    skipped: bool = False
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    shares: tuple[float, ...] = ()
    scores: tuple[float | None, ...] = ()
    share: float | None = None
    reference: Literal["none", "pretrained", "phase-start"] = "none"


class CostFigures(Record):
    """Seconds by kind of work.

    Attributes:
        train: steps.
        evaluate: predictions and figures.
        load: the network put together, data laid ready.
        features: what frozen stages make of a split.
        compile: steps compiled or recorded, their first uses included.
        total: from the run's start in the engine to its end: the kinds above and what lies between.
        decode: the dataset made ready before the first run: read, decoded, searched for near
            duplicates, split.  All its runs share it.
        write: the run's predictions packed and written, its record put into text; without the last
            step, which moves the finished record to its place.
    """

    train: float = 0.0
    evaluate: float = 0.0
    load: float = 0.0
    features: float = 0.0
    compile: float = 0.0
    total: float = 0.0
    decode: float = 0.0
    write: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, config=CLOSED)
class StageWork:
    """The work of one stage of a network on one image, by which times are estimated.

    Attributes:
        operations: multiply-adds of a forward pass, and elements written in the same unit.
        calls: modules that a forward pass calls, whatever the batch.
        parameters: numbers that the stage may learn.
        handed: numbers that it is handed by what lies below: what is kept where that is frozen.
    """

    operations: float
    calls: int
    parameters: int
    handed: int


class Cost(Extended):
    """Seconds, memory and work of a run.

    Attributes:
        alone: as if the run had been alone, shared parts in full.
        incurred: what it took here.
        peak_bytes: of the device's memory.
        trainable: parameters that learn in the phase that trains most.
        images_per_second: trained on, per second of training.
        looks: batches whose gradient a strategy looked at without a step.
        packed: it shared its device with other runs, and has no seconds of its own.
        network: the work of its stages, in forward order; empty: not recorded.
        jobs: runs side by side in the call that made it; None: not recorded.
        resumed: how often it went on from a checkpoint; what was computed again for that is counted.
    """

    _later: ClassVar[tuple[str, ...]] = ("network", "jobs", "resumed")

    alone: CostFigures = CostFigures()
    incurred: CostFigures = CostFigures()
    peak_bytes: int | None = None
    trainable: int = 0
    images_per_second: float | None = None
    looks: int = 0
    packed: bool = False
    network: tuple[StageWork, ...] = ()
    jobs: int | None = None
    resumed: int = 0


class DataRecord(Extended):
    """The data a run saw.

    Attributes:
        contradicting: images that have a copy with another label.
        samples: sha256 over the samples whatever split they are in: the same for every division of
            a dataset; empty: not recorded.
        ranges: of files of more than eight bits, what became black and white, by their kind of
            numbers ('whole', 'whole-signed', 'float'); empty: there are none, or not recorded.
        window: that DICOM files were read by; empty: their own.
    """

    _later: ClassVar[tuple[str, ...]] = ("contradicting", "samples", "ranges", "window")

    modality: str
    classes: tuple[str, ...]
    counts: dict[str, dict[str, int]]
    fingerprint: str
    split_file: str
    split_sha256: str
    rule: str
    skipped: tuple[str, ...] = ()
    licence: str = "unknown"
    source: str = ""
    revision: str | None = None
    procedural: bool = False
    problems: tuple[str, ...] = ()
    contradicting: int = 0
    samples: str = ""
    ranges: dict[str, tuple[float, float]] = {}
    window: str = ""


class WeightsRecord(Record):
    """The starting point: name and sha256 of the file, and which tensors it did not hold."""

    name: str
    sha256: str
    new: tuple[str, ...] = ()
    source: str = ""
    licence: str = ""
    miniature: bool = False


class PluginRecord(Extended):
    """The code of a plugin; `dirty`: an editable or loose file, or a tree with changes.

    `others`: other code that makes a backbone, name -> version or sha256; `source` is over it, too.
    """

    _later: ClassVar[tuple[str, ...]] = ("others",)

    plugin: str
    distribution: str | None = None
    version: str | None = None
    source: str
    dirty: bool | None = None
    others: dict[str, str] = {}


class Environment(Extended):
    """The place where a run was made.  Recorded, never part of its identity.

    Attributes:
        processor: the instruction set that torch chose kernels for ('AVX2', 'AVX512', ...).
        engine: 'reference' carried every step out plainly; empty: not recorded, then it was 'fast'.
        machine: model of the processor and how many of its cores may be used; empty: not recorded.
    """

    _later: ClassVar[tuple[str, ...]] = ("machine",)

    harness: str
    python: str
    libraries: dict[str, str] = {}
    commit: str | None = None
    dirty: bool | None = None
    device: str
    threads: int | None = None
    platform: str = ""
    processor: str = ""
    engine: Literal["", "fast", "reference"] = ""
    machine: str = ""


class Failure(Record):
    """The reason that a run has no result."""

    kind: str
    message: str
    traceback: str = ""
    phase: str | None = None
    step: int | None = None

    @property
    def headline(self) -> str:
        """The first line of the message that says anything; its kind where none does."""
        lines = (line.strip() for line in self.message.splitlines())
        return next(filter(None, lines), f"{self.kind} without a message")


class PredictionsRecord(Record):
    """The file beside the result that holds logits, targets and row numbers."""

    file: str
    sha256: str


class ExternalRecord(DataRecord):
    """A further test set and what a run made of it; `counts` has it under `test`.

    Attributes:
        metrics: figures over the classes that have an image there.
        predictions: `<run_id>.external-NAME.safetensors`, with logits, targets and rows of `test`.
        from_weights: predicted later, from the weights that the run kept.
    """

    _later: ClassVar[tuple[str, ...]] = ("contradicting", "samples", "from_weights")

    metrics: dict[str, MetricValue] = {}
    predictions: PredictionsRecord | None = None
    from_weights: bool = False

    @property
    def present_only(self) -> bool:
        """True if a class has no image there."""
        return not all(self.counts["test"].values())


class RunResult(Extended):
    """The result of a run.  Every figure can be computed again from the predictions file.

    Attributes:
        external: name -> a further test set; no figure of it is among those of the test split.
        parts: in which every batch was carried out, for lack of memory: the same up to rounding.
        attempts: what was tried, one after the other, where memory ran out before.
    """

    _later: ClassVar[tuple[str, ...]] = ("external", "parts", "attempts")

    schema_version: Literal[1] = 1
    run_id: str
    suite: str
    spec: RunSpec
    status: Literal["ok", "failed", "oom", "timeout"]
    shortened: bool = False
    error: Failure | None = None
    metrics: dict[str, MetricValue] = {}
    validation: dict[str, MetricValue] = {}
    history: tuple[EpochRecord, ...] = ()
    phases: tuple[PhaseRecord, ...] = ()
    tested: str = ""
    cost: Cost = Cost()
    data: DataRecord | None = None
    weights: WeightsRecord | None = None
    plugins: dict[str, PluginRecord] = {}
    environment: Environment | None = None
    predictions: PredictionsRecord | None = None
    finished: str = ""
    external: dict[Name, ExternalRecord] = {}
    parts: int = 1
    attempts: tuple[str, ...] = ()

    @property
    def limited(self) -> bool:
        """True if only some images of each split were used."""
        return self.spec.limit is not None


class Tuning(Record):
    """Trials that every strategy of a suite is given, in each block, seed and split.

    Attributes:
        grid: multiples of the protocol's rate, 1 among them.
        knobs: strategy -> a second setting that is searched with the rate.
        sampler: 'grid' tries every rate, with knobs at values of a Sobol sequence; 'sobol' draws
            the rates, too, between the ends of the grid.
        selection: the metric on validation that chooses; None: the suite's primary one.
    """

    grid: tuple[PositiveFloat, ...]
    knobs: dict[str, str] = {}
    sampler: Literal["grid", "sobol"] = "grid"
    selection: str | None = None

    @field_validator("grid")
    @classmethod
    def _with_one(cls, grid: tuple[float, ...]) -> tuple[float, ...]:
        if 1.0 not in grid or len(set(grid)) < len(grid):
            raise ValueError(
                "a grid holds each multiple once, and 1 (the protocol's rate) among them"
            )
        return tuple(sorted(grid))


class Suite(Extended):
    """A benchmark to run: axes, settings, seeds and protocol.

    Attributes:
        settings: strategy -> hyperparameter -> value, where it is not the default.
        notes: banners: stand on the face of every board of the suite.
        assumed: field of the protocol -> where the value was taken from.
        weights: 'default' or 'none'.
        primary: the metric the board ranks by.
        claims: ids of the claims the board answers.
        tolerances: cell glob -> margin of the regression gate, in points of the primary metric;
            `cost` -> share by which seconds may grow.
        rates: backbone -> images a second that full fine-tuning was measured to train on one GPU;
            for the plan's estimate.
        rates_source: where, on what, by whom.
        tuning: trials of every strategy; None: each runs as its settings say.
        splits: random splits, numbered from the protocol's `split_seed` on, each with every seed;
            'paired': one a seed, of the seed's number.
        labels: budgets of labelled training images; empty: all of them.
        starts: starting points of every backbone, `none`, `imagenet`, NAME or NAME=hf://...; empty:
            one, as `weights` says.
    """

    _later: ClassVar[tuple[str, ...]] = ("tuning", "splits", "labels", "starts")

    name: str
    title: str = ""
    description: str = ""
    datasets: tuple[str, ...] = ()
    backbones: tuple[str, ...] = ()
    strategies: tuple[str, ...] = ()
    settings: dict[str, dict[str, Json]] = {}
    seeds: tuple[int, ...] = (0,)
    protocol: Protocol
    weights: Literal["default", "none"] = "default"
    primary: str = "balanced-accuracy"
    notes: tuple[str, ...] = ()
    assumed: dict[str, str] = {}
    claims: tuple[str, ...] = ()
    tolerances: dict[str, float] = {}
    rates: dict[str, PositiveFloat] = {}
    rates_source: str = ""
    tuning: Tuning | None = None
    splits: PositiveInt | Literal["paired"] = 1
    labels: tuple[Labels, ...] = ()
    starts: tuple[StartText, ...] = ()


class PlannedRun(Extended):
    """One line of a plan: what was asked for and the run that answers it.

    Attributes:
        protocol: its name.
        weights: 'none', or what names the starting point.
        split: `split_seed` of its protocol.
        labels, start: as in `RunSpec`.
        trial: number of the trial that it is, 0 for the untuned one; None: it is no trial.
        tuned: settings that trials of its strategy differ in.
        call: the number of the call that asked for it first, of those that added to the plan.
        shard: the part of the plan that it is in, as I/N; '': the call was no shard.
    """

    _later: ClassVar[tuple[str, ...]] = (
        "split", "labels", "trial", "tuned", "call", "shard", "start",
    )  # fmt: skip

    run_id: str
    dataset: str
    modality: str
    backbone: str
    strategy: str
    settings: dict[str, Json] = {}
    protocol: str
    seed: int
    limit: int | None = None
    epochs: float
    weights: str
    precision: Precision = "float32"
    split: int = 0
    labels: Labels | None = None
    trial: int | None = None
    tuned: tuple[str, ...] = ()
    call: int = 0
    shard: str = ""
    start: Name | None = None

    @classmethod
    def of(
        cls, spec: RunSpec, modality: str, trial: int | None = None, tuned: tuple[str, ...] = ()
    ) -> Self:
        """The line that a run answers."""
        return cls(
            run_id=spec.run_id,
            dataset=spec.dataset,
            modality=modality,
            backbone=spec.backbone,
            strategy=spec.strategy,
            settings=spec.settings,
            protocol=spec.protocol.name,
            seed=spec.seed,
            limit=spec.limit,
            epochs=spec.protocol.epochs,
            weights="none" if spec.weights == "none" else "loaded",
            precision=spec.numeric.precision,
            split=spec.protocol.split_seed,
            labels=spec.labels,
            trial=trial,
            tuned=tuned,
            start=spec.start,
        )

    @property
    def started(self) -> str:
        """As of `RunSpec`."""
        return started(self.backbone, self.start)

    @property
    def key(self) -> str:
        """Identity of what was asked for, without the code and data that answered it."""
        return digest(self.model_dump(mode="json", exclude={"run_id", "call", "shard"}))[:16]


class Plan(Extended):
    """Everything ever asked for in one results folder: the N of 'n of N'.

    Attributes:
        precision: what `--precision auto` was settled to mean there; None: nobody has asked.
    """

    _later: ClassVar[tuple[str, ...]] = ("precision",)

    schema_version: Literal[1] = 1
    suites: dict[str, Suite] = {}
    runs: tuple[PlannedRun, ...] = ()
    precision: Precision | None = None
