"""A board as csv: long format, a row a run, failed ones included, nothing rounded.

Columns, in order: IDENTITY; `test_METRIC` for every metric of any run, the board's own first;
`validation_METRIC` likewise; `by_class` and `undefined` (JSON: metric -> class -> value, metric ->
reason); COST; RECORD.  Headers are snake case.  An empty cell: not known, or undefined.
Text that a spreadsheet would take for a formula gets a leading apostrophe.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Mapping

from harness.leaderboard import BoardRun, Leaderboard
from harness.render.figures import clean

# Header -> where it stands in a `BoardRun`.
IDENTITY = {
    "run_id": "run_id",
    "suite": "suite",
    "track": "track",
    "status": "status",
    "ranked": "ranked",
    "row": "row",
    "block": "block",
    "dataset": "dataset",
    "modality": "modality",
    "backbone": "backbone",
    "strategy": "strategy",
    "settings": "settings",
    "seed": "seed",
    "protocol": "protocol",
    "protocol_digest": "protocol_digest",
    "epochs": "epochs",
    "limit": "limit",
    "shortened": "shortened",
    "data": "data",
    "split_sha256": "split_sha256",
    "weights": "weights",
    "weights_name": "weights_name",
    "sources": "sources",
    "plugins": "plugins",
    "engine": "engine",
    "precision": "numeric.precision",
    "layout": "numeric.layout",
    "compile": "numeric.compile",
    "deterministic": "numeric.deterministic",
}
COST = {
    "epochs_used": "epochs_used",
    "stopped_early": "stopped",
    "tested": "tested",
    "trainable_parameters": "cost.trainable",
    "looks": "cost.looks",
    "seconds_train": "cost.alone.train",
    "seconds_evaluate": "cost.alone.evaluate",
    "seconds_load": "cost.alone.load",
    "seconds_features": "cost.alone.features",
    "seconds_total": "cost.alone.total",
    "incurred_seconds_total": "cost.incurred.total",
    "packed": "cost.packed",
    "peak_bytes": "cost.peak_bytes",
    "images_per_second": "cost.images_per_second",
}
RECORD = {
    "device": "device",
    "harness": "harness",
    "commit": "commit",
    "dirty": "dirty",
    "finished": "finished",
    "error_kind": "error.kind",
    "error_message": "error.message",
    "error_phase": "error.phase",
    "error_step": "error.step",
}
FORMULA = ("=", "+", "-", "@")


def render(board: Leaderboard) -> str:
    """The whole file, header first, lines ended by a line feed."""
    test, validation = _metrics(board, "metrics"), _metrics(board, "validation")
    header = [
        *IDENTITY,
        *_headers("test", test),
        *_headers("validation", validation),
        *("by_class", "undefined"),
        *COST,
        *RECORD,
    ]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    for run in board.runs:
        values = [
            *_values(run, IDENTITY),
            *(run.metrics[name].value if name in run.metrics else None for name in test),
            *(
                run.validation[name].value if name in run.validation else None
                for name in validation
            ),
            {name: found.by_class for name, found in run.metrics.items() if found.by_class},
            {name: found.reason for name, found in run.metrics.items() if found.value is None},
            *_values(run, COST),
            *_values(run, RECORD),
        ]
        writer.writerow([cell(value) for value in values])
    return out.getvalue()


def _metrics(board: Leaderboard, part: str) -> list[str]:
    """Ids of the metrics of any run, the board's own first."""
    names = {name for run in board.runs for name in getattr(run, part)}
    return sorted(names, key=lambda name: (name != board.metric, name))


def _headers(prefix: str, names: list[str]) -> list[str]:
    """`test_macro_f1`; ids that differ in punctuation only are numbered."""
    found: list[str] = []
    seen: Counter[str] = Counter()
    for name in names:
        header = f"{prefix}_{re.sub('[^a-z0-9]+', '_', name.lower()).strip('_')}"
        seen[header] += 1
        found.append(header if seen[header] == 1 else f"{header}_{seen[header]}")
    return found


def _values(run: BoardRun, columns: Mapping[str, str]) -> list[object]:
    return [_reach(run, path) for path in columns.values()]


def _reach(value: object, path: str) -> object:
    """A field by its dotted path; None where something on the way is not there."""
    for name in path.split("."):
        value = getattr(value, name, None)
    return value


def cell(value: object) -> object:
    """A value as it stands in a csv."""
    if isinstance(value, dict):
        return json.dumps(value, sort_keys=True) if value else None
    if not isinstance(value, str):
        return value
    text = clean(value)
    return f"'{text}" if text.startswith(FORMULA) else text
