"""The plan of a call as text, before anything is fetched, decoded or trained."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from harness.api.dataset import Split
from harness.api.records import RunSpec, Suite
from harness.benchmark.numerics import describe_gain, describe_modes
from harness.benchmark.plan import BenchPlan
from harness.benchmark.preview.outlook import DryRun
from harness.data.preparation.info import DatasetInfo
from harness.data.requirements import expected_images
from harness.leaderboard.questions import describe_change
from harness.results.store import extended
from harness.utils.text import duration, plural

FORWARD = 1 / 3  # of a training step, in operations: the backward pass costs twice the forward one


def describe_plan(dry: DryRun) -> str:
    """The plan as text: cells, data, weights, what is done, and what the time is known to be."""
    specs = dry.plan.specs
    ids = [spec.run_id for spec in specs]
    done = set(ids) - set(dry.store.missing(ids, retry_failed=True))
    lines = [
        f"suite {dry.suite.name}: {plural(len(specs), 'run')} = {_product(dry.suite)}",
        f"results in {dry.store.folder}: {len(done)} runs done, {len(specs) - len(done)} to do",
        *_change(dry),
        *dry.unfinished,
        *_tuning(dry.plan),
        f"on {dry.plan.device}, {dry.plan.jobs} side by side; {_protocol(dry.suite)}",
        *_own_preprocessing(specs),
        *describe_modes(dry.plan.numeric),
        *describe_gain(dry.plan.numeric, dry.plan.device, dry.suite.protocol.crop),
        *([dry.plan.memory] if dry.plan.memory else []),
        "",
        *_datasets(dry),
        *dry.external.describe(retrain=dry.retrain),
        "",
        *_weights(dry),
        "",
        *_downloads(dry),
        *_cells(specs, done),
        "",
        *(dry.outlook.lines() or ["nothing to run"]),
        *_gpu_time(dry, done),
    ]
    return "\n".join(lines)


def _change(dry: DryRun) -> list[str]:
    before = dry.store.plan()
    change = describe_change(before, extended(before, dry.plan.record()))
    return [f"{dry.store.folder} {change}"] if change else []


def _product(suite: Suite) -> str:
    strategies = len(suite.strategies)
    factors = (
        plural(len(suite.datasets), "dataset"),
        plural(len(suite.backbones), "backbone"),
        f"{strategies} {'strategy' if strategies == 1 else 'strategies'}",
        plural(len(suite.seeds), "seed"),
    )
    return " x ".join(factors) + _divided(suite)


def _divided(suite: Suite) -> str:
    """Starting points, splits and label budgets, where there is more than one of them."""
    text = ""
    if suite.starts:
        names = ", ".join(start.partition("=")[0] for start in suite.starts)
        text += f" x {len(suite.starts)} starting points ({names})"
    if suite.splits == "paired":
        text += ", each on a random split of its own"
    elif suite.splits > 1:
        text += f" x {suite.splits} random splits"
    if len(suite.labels) == 1:
        text += f", {suite.labels[0]} labels"
    elif suite.labels:
        text += f" x {len(suite.labels)} label budgets ({', '.join(suite.labels)})"
    return text


def _tuning(plan: BenchPlan) -> list[str]:
    """Lines on what is tuned, and how many runs that makes of a cell."""
    tuning = plan.resolved.suite.tuning
    if tuning is None:
        return []
    trials: dict[str, set[int | None]] = defaultdict(set)
    tuned: dict[str, tuple[str, ...]] = {}
    for spec in plan.specs:
        trial = plan.trials[spec.run_id]
        trials[spec.strategy].add(trial.number)
        tuned[spec.strategy] = trial.tuned
    most = max(map(len, trials.values()), default=0)
    pairs = len({(spec.seed, spec.protocol.split_seed) for spec in plan.specs})
    grid = " ".join(f"x{rate:g}" for rate in tuning.grid)
    tried = (
        f"tuned on validation, anew for every seed and split: {most} trials of the rates {grid}; "
        f"a cell (dataset, network, strategy) takes {most * pairs} runs"
    )
    lines = [tried]
    knobs = [f"{name}.{knob}" for name, knob in tuning.knobs.items() if name in trials]
    if knobs:
        lines.append(f"  searched with the rate: {', '.join(knobs)}")
    single = [name for name, numbers in trials.items() if not tuned[name] and len(numbers) == 1]
    if single and most > 1:
        lines.append(f"  one trial, for it has no rate: {', '.join(single)}")
    return lines


def _protocol(suite: Suite) -> str:
    p = suite.protocol
    patience = "no early stop" if p.patience is None else f"patience {p.patience}"
    own = "" if p.preprocessing == "protocol" else " or as each network declares"
    return (
        f"protocol {p.name}: {p.optimizer} {p.lr:g}, batch {p.batch_size}, at most {p.epochs:g} "
        f"epochs, {patience}, {p.crop} px{own}"
    )


def _own_preprocessing(specs: Sequence[RunSpec]) -> list[str]:
    """A line for each network that sees images in its own way."""
    found = {spec.backbone: spec.preprocessing for spec in specs}
    return [
        f"  {name}: {own.size} px, cut from {own.resize} ({own.interpolation}{', grey' * bool(own.grey)}), "
        f"mean {_channels(own.mean)}, std {_channels(own.std)}"
        for name, own in found.items()
        if own is not None
    ]


def _channels(values: tuple[float, float, float] | None) -> str:
    return " ".join(f"{value:g}" for value in values or ())


def _datasets(dry: DryRun) -> list[str]:
    lines = []
    for name, dataset in dry.plan.resolved.datasets.items():
        survey = dry.plan.datasets.get(name)
        counts = _images(dry, name)
        classes = len(survey.classes if survey else dataset.classes)
        kinds = f", {classes} classes" if classes else ""
        text = f"data {name} ({dataset.modality}{kinds}): "
        if counts:
            about = "" if survey else "about "
            text += about + ", ".join(f"{split} {count}" for split, count in counts.items()) + "; "
        lines.append(text + _state(survey))
        lines += [f"  {note}" for note in (survey.notes if survey else ())]
    return lines


def _state(survey: DatasetInfo | None) -> str:
    if survey is None:
        return "not here"
    if survey.decoded is None:
        return "drawn by a program, as runs in this folder record"
    return "decoded" if survey.decoded else "here"


def _images(dry: DryRun, name: str) -> Mapping[Split, int] | None:
    """Images of each split: counted, or as declared."""
    if name in dry.plan.datasets:
        return dry.plan.datasets[name].counts
    return expected_images(
        dry.plan.resolved.datasets[name], dry.suite.protocol, dry.plan.resolved.request.limit
    )


def _weights(dry: DryRun) -> list[str]:
    lines = []
    for name in dry.suite.backbones:
        if name not in dry.plan.weights:
            lines.append(f"weights {name}: not here")
            continue
        file = dry.plan.weights[name]
        text = f"{file.path.name} {file.sha256[:12]}" if file else "none (random)"
        note = f" ({file.note})" if file and file.note else ""
        lines.append(f"weights {name}: {text}{note}")
    return lines


def _downloads(dry: DryRun) -> list[str]:
    """Everything that is missing, with sizes and licences."""
    missing = [need for need in dry.needs if not need.ready]
    if not missing:
        return []
    lines = ["to fetch before it can run:", *(f"  {need}" for need in missing)]
    if any(need.fetchable and need.bytes is None for need in missing):
        lines.append("  (a size is missing where the Hub could not be asked)")
    return [*lines, ""]


def _cells(specs: Sequence[RunSpec], done: set[str]) -> list[str]:
    """A line a cell: how many of its seeds are done."""
    asked = Counter((spec.dataset, spec.started, spec.strategy) for spec in specs)
    ready = Counter(
        (spec.dataset, spec.started, spec.strategy) for spec in specs if spec.run_id in done
    )
    return [
        f"  {' / '.join(cell)}: " + ("done" if ready[cell] == n else f"{n - ready[cell]} to run")
        for cell, n in asked.items()
    ]


def _gpu_time(dry: DryRun, done: set[str]) -> list[str]:
    """A bound from published rates, for those who plan a machine; nothing where there are none."""
    rates = dry.suite.rates
    todo = [spec for spec in dry.plan.specs if spec.run_id not in done]
    if not todo or not rates:
        return []
    seconds, counted = 0.0, 0
    for spec in todo:
        counts = _images(dry, spec.dataset)
        if counts is None or spec.backbone not in rates:
            continue
        epochs = spec.protocol.epochs
        steps = epochs * (counts["train"] + FORWARD * counts["validation"])
        seconds += (steps + FORWARD * counts["test"]) / rates[spec.backbone]
        counted += 1
    used = ", ".join(f"{name} {rates[name]:g}" for name in dry.suite.backbones if name in rates)
    text = (
        f"GPU time: at most {duration(seconds)} for {counted} of {len(todo)} runs, were each full "
        f"fine-tuning over all {dry.suite.protocol.epochs:g} epochs, at {used} images/s "
        f"({dry.suite.rates_source}; a forward pass counted as a third of a step)"
    )
    return [text]
