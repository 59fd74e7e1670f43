"""The card of an exported network: what it is, what was measured on how much, and its limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.api.records import RunResult
from harness.leaderboard.render.markdown import escape
from harness.results.privacy import is_public
from harness.utils.text import plural

UNKNOWN = "not stated"


def render(run: RunResult, title: str, library: str, code: str, remarks: Sequence[str]) -> str:
    """The text of README.md.

    Args:
        run: the record of the run.
        title: of its backbone, for people.
        library: whose network takes the file; empty: none that is known here.
        code: an expression that builds that network.
        remarks: sentences on the run, of `tested.remarks`.
    """
    parts = (
        _front(library), _what(run, title), _use(run, library, code), _data(run),
        _licence(run), _figures(run), _settings(run), _limits(run, remarks),
    )  # fmt: skip
    return "\n".join(line for part in parts for line in part) + "\n"


def _front(library: str) -> Iterator[str]:
    """Metadata of the Hub; nobody here can say what licence the network has."""
    yield "---"
    yield "license: other"
    yield "pipeline_tag: image-classification"
    if library:
        yield f"library_name: {library}"
    yield "tags: [fine-tuning, medical-imaging, finetune-harness]"
    yield "---\n"


def _what(run: RunResult, title: str) -> Iterator[str]:
    spec, start = run.spec, run.weights
    yield f"# {escape(spec.cell)}, seed {spec.seed}\n"
    begun = (
        f"from the weights {start.name}"
        if start and spec.weights != "none"
        else "from random weights"
    )
    yield escape(
        f"{title or spec.backbone}, fine-tuned by {spec.strategy} {begun}: one run "
        f"({run.run_id}) of the benchmark harness finetune-harness, suite {run.suite}."
    )
    yield escape(f"Tested checkpoint: {run.tested or UNKNOWN}.")


def _use(run: RunResult, library: str, code: str) -> Iterator[str]:
    protocol = run.spec.seen
    classes = run.data.classes if run.data else ()
    yield "\n## Use\n"
    if library:
        yield "```python"
        yield f"import {library}"
        yield "from safetensors.torch import load_file\n"
        yield f"network = {code}"
        yield 'network.load_state_dict(load_file("model.safetensors"))'
        yield "network.eval()"
        yield "```\n"
    else:
        yield escape(
            f"The names are those of the plugin that offers {run.spec.backbone}; neither torchvision "
            "nor timm, where it is installed, has a network with exactly these tensors."
        )
    yield escape(
        f"Outputs, in this order: {', '.join(classes)}.  Inputs: RGB from 0 to 1 "
        f"({'all made grey, in' if protocol.grey else 'grey images as'} three equal channels), the shorter "
        f"side resized to {protocol.resize} ({protocol.interpolation}, antialiased), the centre "
        f"cut to {protocol.crop} x {protocol.crop}, minus the mean {list(protocol.mean)}, divided by "
        f"{list(protocol.std)}; all of it in config.json."
    )


def _data(run: RunResult) -> Iterator[str]:
    data = run.data
    yield "\n## Data\n"
    if data is None:
        yield "The record of the run says nothing of its data."
        return
    yield "| | images | by class |\n|---|---|---|"
    for split, counts in data.counts.items():
        by = ", ".join(f"{name} {count}" for name, count in counts.items())
        yield f"| {split} | {sum(counts.values())} | {escape(by)} |"
    source = f"{data.source or UNKNOWN}" + (f", revision {data.revision}" if data.revision else "")
    yield "\n" + escape(
        f"{run.spec.dataset} ({data.modality}); split: {data.rule}; source: {source}."
    )
    if data.skipped:
        yield escape(f"{plural(len(data.skipped), 'unreadable image')} left out.")
    if data.problems and is_public(data):
        yield from (f"- {escape(problem)}" for problem in data.problems)
    elif data.problems:
        yield f"{plural(len(data.problems), 'remark')} on the data stand in the record of the run."


def _licence(run: RunResult) -> Iterator[str]:
    data = run.data.licence if run.data else ""
    start = run.weights.licence if run.weights and run.spec.weights != "none" else "none used"
    yield "\n## Licence\n"
    yield escape(f"Data: {data or UNKNOWN}.  Starting weights: {start or UNKNOWN}.")
    yield "What follows from these for the network is for whoever passes it on to find out."


def _figures(run: RunResult) -> Iterator[str]:
    counts = run.data.counts if run.data else {}
    yield "\n## Figures\n"
    yield "| metric | test | validation |\n|---|---|---|"
    for name in sorted(run.metrics):
        test, validation = run.metrics[name], run.validation.get(name)
        yield f"| {name} | {_figure(test)} | {_figure(validation)} |"
    tested, chosen = (sum(counts.get(split, {}).values()) for split in ("test", "validation"))
    yield (
        f"\nOne run, seed {run.spec.seed}: {tested} test and {chosen} validation images, of the source "
        "named above.  Validation chose the checkpoint.  A single run has no interval over seeds."
    )


def _figure(value: object) -> str:
    number = getattr(value, "value", None)
    if number is not None:
        return f"{number:.4f}"
    return escape(f"undefined: {getattr(value, 'reason', None) or UNKNOWN}")


def _settings(run: RunResult) -> Iterator[str]:
    spec = run.spec
    changed = {
        **{f"{spec.strategy}.{name}": value for name, value in sorted(spec.settings.items())},
        **{f"protocol.{n}": v for n, v in spec.protocol.model_dump(mode="json").items()},
        **{f"numeric.{n}": v for n, v in spec.numeric.model_dump(mode="json").items()},
        "labels": spec.labels or "all",
        "limit": spec.limit or "none",
        "seed": spec.seed,
    }
    yield "\n## Settings\n"
    yield "| setting | value |\n|---|---|"
    for name, value in changed.items():
        yield f"| {escape(name)} | {escape(str(value))} |"


def _limits(run: RunResult, remarks: Sequence[str]) -> Iterator[str]:
    data = run.data
    yield "\n## Limits\n"
    yield "- Trained for a comparison of fine-tuning strategies; not tried on patients, and no device."
    yield "- Figures hold for images like those of the test split; no other source was looked at here."
    if data and data.procedural:
        yield "- The images were drawn by a program: figures say nothing about patients."
    if run.weights and run.weights.miniature:
        yield "- The network is a miniature, made for demonstrations."
    if run.spec.present_only:
        yield "- Validation or test lacks a class: figures are over the others."
    yield from (f"- {escape(remark)}." for remark in remarks)
