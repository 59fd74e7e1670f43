"""The card of published results: README.md with the Hub's metadata, and `.eval_results`.

A card's `model-index` names each backbone with each strategy as a model.  `.eval_results/` holds
the same for datasets of the Hub only; the Hub shows it in model repositories, for datasets that
declare an evaluation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from harness.api.leaderboard import Block, DataNote, Leaderboard, Row, Track
from harness.api.records import started
from harness.leaderboard.render import markdown
from harness.results.privacy import hub_id
from harness.utils.text import clean

TAGS = ["benchmark", "fine-tuning", "medical-imaging", "finetune-harness"]
TASK = "image-classification"
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"))

ABOUT = """
## Files

- `leaderboard.*`: the board above; `leaderboard.csv` has a line for every run.
- `runs/`: for every run its record (`.json`) and its logits on validation and test (`.safetensors`).
- `splits/`: which sample is in which split; rows of the logits are numbers into it.
- `plan.json`: what was asked for. `failed/`: runs without a result.
- `manifest.json`: the sha256 of every file.

## Check it

```bash
pip install finetune-harness
harness verify .
```

computes every figure again from the logits and compares hashes, splits and plan.
"""


class _Figure(NamedTuple):
    """A complete row in one block."""

    row: Row
    block: Block
    track: Track
    value: float


def write(board: Leaderboard, replaced: Sequence[str]) -> dict[str, str]:
    """File name -> text; `replaced`: the datasets whose ids are keyed hashes."""
    # It is exported, lazily, which mypy does not see.
    from huggingface_hub.utils import yaml_dump  # type: ignore[attr-defined]

    found = list(_figures(board))
    texts = {"README.md": _readme(board, found, replaced)}
    for name, entries in _eval_results(board, found).items():
        texts[f".eval_results/{name}.yaml"] = yaml_dump(entries, sort_keys=False)
    return texts


def _readme(board: Leaderboard, found: Sequence[_Figure], replaced: Sequence[str]) -> str:
    from huggingface_hub import DatasetCardData

    data = DatasetCardData(
        pretty_name=clean(board.title),
        tags=TAGS,
        task_categories=[TASK],
        size_categories=_size(len(board.runs)),
        configs=[{"config_name": "runs", "data_files": "leaderboard.csv"}],
    )
    data["model-index"] = _model_index(board, found)
    return "\n".join(
        [
            "---",
            data.to_yaml(line_break="\n"),
            "---",
            "",
            markdown.render(board),
            _privacy(replaced),
            ABOUT.strip(),
            "",
        ]
    )


def _privacy(replaced: Sequence[str]) -> str:
    text = "## What is not here\n\nNo image, no path of a machine"
    if not replaced:
        return f"{text}.\n"
    names = ", ".join(markdown.escape(name) for name in replaced)
    return (
        f"{text}, and no sample or group id of {names}: keyed hashes stand in their place, and the "
        "key was not published.\n"
    )


def _size(runs: int) -> str:
    return next((name for most, name in SIZES if runs < most), "100K<n<1M")


def _figures(board: Leaderboard) -> Iterator[_Figure]:
    """Of whole datasets and whole budgets only: the others are no results of the datasets."""
    for track in board.tracks:
        if track.limit is not None or track.shortened:
            continue
        blocks = {block.label: block for block in track.blocks}
        for row in track.rows:
            for figure in row.blocks:
                yield _Figure(row, blocks[figure.block], track, float(figure.value))


def _model_index(board: Leaderboard, found: Sequence[_Figure]) -> list[dict[str, object]]:
    from huggingface_hub import EvalResult
    from huggingface_hub.repocard_data import eval_results_to_model_index

    models: dict[str, list[EvalResult]] = {}
    for one in found:
        note = _note(board, one.block)
        hub = hub_id(note.source, note.revision) if note else None
        entry = EvalResult(
            task_type=TASK,
            dataset_type=hub or clean(one.block.dataset),
            dataset_name=clean(one.block.dataset),
            dataset_split="test",
            dataset_revision=note.revision if note and hub else None,
            metric_type=board.metric,
            metric_name=board.metric,
            metric_value=one.value,
            metric_args={"protocol": clean(one.track.title), "seeds": list(one.block.seeds)},
        )
        models.setdefault(clean(f"{begun(one.block)} / {one.row.label}"), []).append(entry)
    return [
        model
        for name, entries in sorted(models.items())
        for model in eval_results_to_model_index(name, entries)
    ]


def begun(block: Block) -> str:
    """A block's backbone, with its start where it names one."""
    return started(block.backbone, block.start)


def _eval_results(
    board: Leaderboard, found: Sequence[_Figure]
) -> Mapping[str, list[dict[str, object]]]:
    """Dataset -> entries, for datasets of the Hub at a pinned revision."""
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    entries: dict[str, list[EvalResultEntry]] = {}
    for one in found:
        note = _note(board, one.block)
        hub = hub_id(note.source, note.revision) if note else None
        if note is None or hub is None:
            continue
        seeds = ", ".join(map(str, one.block.seeds))
        entry = EvalResultEntry(
            dataset_id=hub,
            dataset_revision=note.revision,
            task_id=board.metric,
            value=one.value,
            notes=clean(f"{begun(one.block)} / {one.row.label}; {one.track.title}; seeds {seeds}"),
        )
        entries.setdefault(one.block.dataset, []).append(entry)
    return {name: eval_result_entries_to_yaml(listed) for name, listed in sorted(entries.items())}


def _note(board: Leaderboard, block: Block) -> DataNote | None:
    same = (note for note in board.data if note.dataset == block.dataset)
    return next((note for note in same if note.fingerprint == block.data), None)
