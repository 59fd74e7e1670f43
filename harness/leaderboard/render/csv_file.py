"""A board as csv: a row a run, failed ones included, and in another file a row a claim's answer.

Nothing is rounded.

Columns, in order: IDENTITY; those of LATER that say something of any run; `test_METRIC` for every metric of any run, the board's own first;
`validation_METRIC` likewise; `by_class` and `undefined` (JSON: metric -> class -> value, metric ->
reason); COST; RECORD; ERROR; where there are further test sets `external_NAME_METRIC`.  Headers are snake case.  An empty cell: not known, or undefined.
Text that a spreadsheet would take for a formula gets a leading apostrophe.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from operator import attrgetter

from harness.api.leaderboard import BoardRun, ClaimAnswer, Leaderboard
from harness.api.records import Failure, MetricValue
from harness.utils.text import clean, escaped_json

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
# Each only where some run does not hold its default.
LATER: Mapping[str, int | None] = {"split": 0, "labels": None, "trial": None, "start": None}
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
}
ERROR = ("kind", "message", "phase", "step")
identity, cost, record = (attrgetter(*columns.values()) for columns in (IDENTITY, COST, RECORD))
FORMULA = ("=", "+", "-", "@")


def render(board: Leaderboard) -> str:
    """The runs: the whole file, header first, lines ended by a line feed."""
    header, rows = table(board)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    shown = Shown()
    for row in rows:
        writer.writerow([shown[v] if isinstance(v, str) else cell(v) for v in row])
    return out.getvalue()


def table(board: Leaderboard) -> tuple[list[str], Iterator[list[object]]]:
    """The columns of the file, and the values of every run as they are."""
    test, validation = _metrics(board, "metrics"), _metrics(board, "validation")
    external = _external(board)
    later = [
        name
        for name, default in LATER.items()
        if any(getattr(run, name) != default for run in board.runs)
    ]
    header = [
        *IDENTITY,
        *later,
        *_headers("test", test),
        *_headers("validation", validation),
        *("by_class", "undefined"),
        *COST,
        *RECORD,
        *(f"error_{name}" for name in ERROR),
        *(_headers("external", [f"{name} {metric}" for name, metric in external])),
    ]
    rows = (
        [
            *identity(run),
            *(getattr(run, name) for name in later),
            *_figures(run.metrics, test),
            *_figures(run.validation, validation),
            {name: found.by_class for name, found in run.metrics.items() if found.by_class},
            {name: found.reason for name, found in run.metrics.items() if found.value is None},
            *cost(run),
            *record(run),
            *_failure(run.error),
            *_external_figures(run, external),
        ]
        for run in board.runs
    )
    return header, rows


class Shown(dict[str, object]):
    """Texts as they stand in a csv: most stand in many rows."""

    def __missing__(self, text: str) -> object:
        self[text] = found = cell(text)
        return found


def _metrics(board: Leaderboard, part: str) -> list[str]:
    """Ids of the metrics of any run, the board's own first."""
    names = {name for run in board.runs for name in getattr(run, part)}
    return sorted(names, key=lambda name: (name != board.metric, name))


def _external(board: Leaderboard) -> list[tuple[str, str]]:
    """(further test set, metric) of any run, the board's own metric first."""
    found = {
        (name, metric)
        for run in board.runs
        for name, one in run.external.items()
        for metric in one.metrics
    }
    return sorted(found, key=lambda one: (one[0], one[1] != board.metric, one[1]))


def _external_figures(run: BoardRun, wanted: list[tuple[str, str]]) -> list[float | None]:
    return [
        run.external[name].metrics[metric].value
        if name in run.external and metric in run.external[name].metrics
        else None
        for name, metric in wanted
    ]


def _headers(prefix: str, names: list[str]) -> list[str]:
    """`test_macro_f1`; ids that differ in punctuation only are numbered."""
    found: list[str] = []
    seen: Counter[str] = Counter()
    for name in names:
        header = f"{prefix}_{re.sub('[^a-z0-9]+', '_', name.lower()).strip('_')}"
        seen[header] += 1
        found.append(header if seen[header] == 1 else f"{header}_{seen[header]}")
    return found


def _figures(found: Mapping[str, MetricValue], names: list[str]) -> list[float | None]:
    return [found[name].value if name in found else None for name in names]


def _failure(error: Failure | None) -> list[object]:
    return [None if error is None else getattr(error, name) for name in ERROR]


def cell(value: object) -> object:
    """A value as it stands in a csv."""
    if isinstance(value, dict):
        return escaped_json(json.dumps(value, sort_keys=True)) if value else None
    if not isinstance(value, str):
        return value
    text = clean(value)
    return f"'{text}" if text.startswith(FORMULA) else text


def render_claims(board: Leaderboard) -> str:
    """The answers: the whole file, header first, which stands alone where there are none."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = tuple(ClaimAnswer.model_fields)
    writer.writerow(names)
    for one in board.claims or ():
        writer.writerow([cell(getattr(one, name)) for name in names])
    return out.getvalue()
