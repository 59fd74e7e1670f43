"""The content of a leaderboard: everything every renderer shows, and nothing rounded."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from harness.api.records import (
    Cost,
    Extended,
    Failure,
    Json,
    MetricValue,
    NumericMode,
    Protocol,
    Record,
)


class Gap(Extended):
    """A run that a row lacks: no result yet, a run that failed, or a metric without a value.

    `split`: `split_seed` of its protocol.
    """

    _later: ClassVar[tuple[str, ...]] = ("split",)

    kind: Literal["missing", "failed", "undefined"]
    block: str
    seed: int
    reason: str = ""
    split: int = 0


class BlockFigure(Record):
    """A row in one block, averaged over the seeds.  Only blocks with every seed are listed.

    Attributes:
        rank: among the ranked rows, 1 is best, ties share the average; None: the row is not ranked.
        difference: to the control, in points (hundredths of the metric); None: no control here.
    """

    block: str
    value: float
    rank: float | None = None
    difference: float | None = None


class GroupFigure(Record):
    """A row over the blocks of one modality, backbone or starting point; nulls: it lacks some of them."""

    group: str
    value: float | None = None
    rank: float | None = None


class Spend(Record):
    """The cost of the finished runs of a row, each as if it had been alone.

    Attributes:
        runs: how many they are, those without a defined figure among them.
        seconds, median_seconds: in all, and a run; None: packed runs, whose time is not their own.
        trainable: least and most learning parameters of a run.
        epochs: mean number of epochs that were trained, of `planned`; None: nothing is recorded.
        stopped: runs in which patience ran out.
    """

    runs: int = 0
    seconds: float | None = None
    median_seconds: float | None = None
    trainable: tuple[int, int] | None = None
    epochs: float | None = None
    planned: float | None = None
    stopped: int = 0


class Contrast(Record):
    """A row against the control.

    Attributes:
        difference: mean over blocks, in points, row minus control.
        better, equal, worse: blocks that differ by more than a point in the metric's direction, by
            no more than a point, or by more than a point against it.
    """

    difference: float
    better: int
    equal: int
    worse: int


class TunedRow(Record):
    """The trials of a row, and what was chosen among them, for each (block, split, seed).

    Attributes:
        trials: how many each run was chosen among.
        metric: by which, on validation.
        chosen: multiple of the protocol's rate -> how often it was chosen.
        knob: the other setting that was searched; empty: none was.
        edge: share of the choices that fell on the lowest or highest rate that was tried.
        last_epoch: share of the chosen runs whose best epoch was the last: they still learned.
        diverged: trials whose loss was not finite, which cannot be chosen.
        seconds: of all trials, as if each had been alone; None: packed runs.
        best_so_far: expected value of `metric` on validation, in points, of the best of 1, 2, ...
            trials drawn at random (Dodge et al. 2019, equation 6), mean over all choices.
    """

    trials: int
    metric: str = ""
    chosen: dict[str, int]
    knob: str = ""
    edge: float
    last_epoch: float
    diverged: int = 0
    seconds: float | None = None
    best_so_far: tuple[float, ...] = ()


class ExternalFigure(Record):
    """A row on a further test set of one dataset, beside the test split; no part of any rank.

    Attributes:
        name: of the set; with a fingerprint where several of one name are on the board.
        data: its fingerprint.
        runs, wanted: n of N runs have it.
        value: mean over seeds and backbones; None: some run lacks it, or it is undefined there.
        internal: the same of the test split.
    """

    dataset: str
    name: str
    data: str
    runs: int
    wanted: int
    value: float | None = None
    internal: float | None = None


class Row(Extended):
    """A strategy with its settings.

    Attributes:
        label: the strategy, with what tells it from other rows of the same strategy.
        source: sha256 of the strategy's code; empty: none of its runs is there.
        ranked: every run that was asked for is there, with the metric defined.
        position: place by mean rank, 1 is best, equal mean ranks share it.
        runs, wanted: n of N.
        value: mean over blocks of the mean over seeds.
        contrast: None for the control itself, and unless both are ranked.
        gaps: what is missing, failed or undefined.
        not_asked: runs that were asked for of other rows only.
        tuning: None: the row's settings are those of the suite.
        external: further test sets.
        starts: over the blocks of each starting point, where there are several.
    """

    _later: ClassVar[tuple[str, ...]] = ("tuning", "external", "starts")

    label: str
    strategy: str
    settings: dict[str, Json]
    source: str
    ranked: bool
    position: int | None = None
    runs: int
    wanted: int
    seeds: tuple[int, ...] = ()
    mean_rank: float | None = None
    value: float | None = None
    contrast: Contrast | None = None
    blocks: tuple[BlockFigure, ...] = ()
    modalities: tuple[GroupFigure, ...] = ()
    backbones: tuple[GroupFigure, ...] = ()
    spend: Spend = Spend()
    gaps: tuple[Gap, ...] = ()
    not_asked: int = 0
    tuning: TunedRow | None = None
    external: tuple[ExternalFigure, ...] = ()
    starts: tuple[GroupFigure, ...] = ()


class Block(Extended):
    """A (dataset, backbone) pair with one state of data, starting weights and backbone code.

    Attributes:
        seeds: every seed once.
        labels: the label budget; None: all labels.
        pairs: (split, seed) of each of a row's runs; empty: one split, of number 0, with each seed.
        start: name of the starting point, where they are an axis; else None.
    """

    _later: ClassVar[tuple[str, ...]] = ("labels", "pairs", "start")

    label: str
    dataset: str
    backbone: str
    modality: str
    data: str
    weights: str
    source: str
    seeds: tuple[int, ...]
    labels: str | None = None
    pairs: tuple[tuple[int, int], ...] = ()
    start: str | None = None


class Track(Extended):
    """Rows that may be compared.

    Attributes:
        id: 12 hex digits, the same for the same protocol, limit, precision, weights and engine.
        protocol_digest: sha256 of the protocol; empty, as is `protocol`: no run is there yet.
        control: label of the row that differences refer to; None: there is none that is complete.
        seeds: every seed of any block.
        notes: footnotes.
        tuned: each run was chosen, on validation, among the trials of its row.
        question: the units that its rows were asked for, in words, where calls asked different rows
            of the same protocol for different ones; empty: there is one question.
    """

    _later: ClassVar[tuple[str, ...]] = ("tuned", "question")

    id: str
    title: str
    protocol: Protocol | None
    protocol_digest: str
    epochs: float
    limit: int | None
    shortened: bool
    precision: str
    weights: Literal["pretrained", "none"]
    engine: int | None
    control: str | None
    seeds: tuple[int, ...]
    wanted: int
    banners: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    blocks: tuple[Block, ...] = ()
    rows: tuple[Row, ...] = ()
    tuned: bool = False
    question: str = ""


class DataNote(Extended):
    """A dataset as the runs saw it.

    Attributes:
        images: split -> how many.
        contradicting: images that have a copy with another label.
        lacking: split -> classes it has no image of, where figures are over the others.
    """

    _later: ClassVar[tuple[str, ...]] = ("contradicting", "lacking")

    label: str
    dataset: str
    modality: str
    classes: int
    images: dict[str, int]
    rule: str
    fingerprint: str
    split_sha256: str
    skipped: int = 0
    licence: str = "unknown"
    source: str = ""
    revision: str | None = None
    procedural: bool = False
    problems: tuple[str, ...] = ()
    contradicting: int = 0
    lacking: dict[str, tuple[str, ...]] = Field(default_factory=dict)


class WeightsNote(Record):
    """A starting point.  `new`: how many tensors the file did not hold, least and most."""

    backbone: str
    name: str
    sha256: str
    new: tuple[int, int]
    source: str = ""
    licence: str = ""
    miniature: bool = False


class AssumedValue(Record):
    """A field of a suite's protocol that its study does not state, and where it was taken from."""

    suite: str
    field: str
    source: str


class ExternalRun(Record):
    """A further test set, as one run predicted it; `data`: its fingerprint."""

    data: str
    split_sha256: str
    images: int
    metrics: dict[str, MetricValue]


class BoardRun(Extended):
    """One run: its identity, figures and cost.  `cost.alone` is what rows add up.

    Attributes:
        split: `split_seed` of its protocol.
        labels: its label budget; None: all labels.
        trial: number of the trial that was chosen for its row; None: the row is not tuned.
        plugins: by role, whose code it was: `conv-lora 0.3.1`, with `(changed)` where it is an
            editable or loose file, or a tree with changes.
        external: name -> a further test set.
        start: name of its starting point, where they are an axis; else None.
    """

    _later: ClassVar[tuple[str, ...]] = ("split", "labels", "trial", "external", "start")

    run_id: str
    suite: str
    status: str
    track: str
    row: str
    ranked: bool
    block: str
    dataset: str
    modality: str
    backbone: str
    strategy: str
    settings: dict[str, Json]
    seed: int
    protocol: str
    protocol_digest: str
    epochs: float
    epochs_used: float | None
    stopped: bool
    limit: int | None
    shortened: bool
    data: str
    split_sha256: str
    weights: str
    weights_name: str
    sources: dict[str, str]
    plugins: dict[str, str]
    engine: int
    numeric: NumericMode
    tested: str
    metrics: dict[str, MetricValue]
    validation: dict[str, MetricValue]
    cost: Cost
    harness: str
    commit: str | None
    dirty: bool | None
    device: str
    finished: str
    error: Failure | None
    split: int = 0
    labels: str | None = None
    trial: int | None = None
    external: dict[str, ExternalRun] = Field(default_factory=dict)
    start: str | None = None

    @property
    def name(self) -> str:
        """For people: dataset / backbone / strategy, seed."""
        split = f", split {self.split}" if self.split else ""
        return f"{self.block} / {self.row}, seed {self.seed}{split}"


class ClaimAnswer(Extended):
    """The answer of the results to a claim of the study.

    Attributes:
        reason: why it is undecided, in short; may be empty.
        unit: of effect and interval: `points`, `share of cells`.
        effect: as measured on seeds that did not choose it; None: not known.
        low, high: bounds, 2.5 % each.
        cells, of: n of N blocks that speak.
        seeds: paired seeds a block.
        track: title of the track it was answered on; empty where there is one only.
        average, average_low, average_high: the average gain beside it in points, with its 95 %
            interval, of `average_of`.
        basis: what the intervals hold: `images and seeds`, `images, seeds and splits`, or
            `test images only`.
    """

    _later: ClassVar[tuple[str, ...]] = (
        "average", "average_low", "average_high", "average_of", "basis",
    )  # fmt: skip

    claim: str
    text: str
    verdict: Literal["supported", "contradicted", "undecided"]
    reason: str = ""
    unit: str
    effect: float | None
    low: float | None
    high: float | None
    cells: int
    of: int
    seeds: int
    detail: str = ""
    track: str = ""
    average: float | None = None
    average_low: float | None = None
    average_high: float | None = None
    average_of: str = ""
    basis: str = ""


class Leaderboard(Extended):
    """Strategies ranked over the blocks they share, a track at a time.

    Attributes:
        control: the strategy that differences refer to.
        banners: what must be read before any number.
        notes: footnotes about the whole board.
        superseded: runs in the folder that the plan no longer asks for.
        duplicates: runs that another run of the same row, block and seed stands for.
        runs: every run that counts, failed ones included; the csv's rows.
        statistics: track id -> what was tested on the stored predictions, by the rules whose number
            is `rules` there; None: nothing was.
        claims: None: none was answered, for no predictions were read.
        conclusion: sentences made from the statistics by rule (docs/conclusions.md).
    """

    _later: ClassVar[tuple[str, ...]] = ("conclusion",)

    schema_version: Literal[1] = 1
    title: str
    suites: tuple[str, ...]
    metric: str
    higher_is_better: bool
    control: str
    banners: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    tracks: tuple[Track, ...] = ()
    data: tuple[DataNote, ...] = ()
    weights: tuple[WeightsNote, ...] = ()
    assumed: tuple[AssumedValue, ...] = ()
    superseded: int = 0
    duplicates: int = 0
    runs: tuple[BoardRun, ...] = ()
    statistics: dict[str, Json] | None = None
    claims: tuple[ClaimAnswer, ...] | None = None
    conclusion: tuple[str, ...] = ()

    @property
    def failed(self) -> tuple[BoardRun, ...]:
        """The runs that have no result."""
        return tuple(run for run in self.runs if run.status != "ok")
