"""The tables of a board as data frames; docs/python.md says what every column is.

Differences, intervals and the like are in points: hundredths of the metric.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from harness.api.execution import Predictions
from harness.api.leaderboard import BoardRun, Leaderboard, Row, Track
from harness.api.metric import softmax
from harness.api.records import RunResult
from harness.data.division.split import read_samples, take
from harness.leaderboard.render import csv_file
from harness.results.merge import MergedStore

POINTS = 100.0
# Of each (row, track) and each (row, block), in this order.
PLACE = ("track", "row", "strategy")
INTERVAL = ("low", "high")
JUDGED = ("difference", *INTERVAL, "p", "verdict", "seeds", "basis")
ROWS = (
    *PLACE, "settings", "ranked", "position", "runs", "wanted", "mean_rank", "value",
    *JUDGED, "better", "equal", "worse", "seconds", "median_seconds", "trainable_least",
    "trainable_most", "epochs", "epochs_planned", "stopped", "missing", "failed", "undefined",
)  # fmt: skip
BLOCKS = (
    *PLACE, "block", "dataset", "modality", "backbone", "labels", "start", "value", "rank", "difference",
    *INTERVAL, "p", "verdict",
)  # fmt: skip
DIFFERENCES = ("track", "row", "control", "scope", "block", *JUDGED)
SAMPLES = (
    "run_id", "dataset", "backbone", "strategy", "row", "seed", "split", "sample", "group",
    "target", "predicted", "confidence",
)  # fmt: skip
# Whole numbers that some rows lack.
WHOLE = (
    "position", "seeds", "better", "equal", "worse", "trainable_least", "trainable_most",
)  # fmt: skip
REPEATED = ("run_id", "dataset", "backbone", "strategy", "row", "split", "target", "predicted")


def runs(board: Leaderboard) -> pd.DataFrame:
    """A row a run, failed ones included: the columns of leaderboard.csv."""
    header, values = csv_file.table(board)
    return pd.DataFrame(list(values), columns=header)


def rows(board: Leaderboard) -> pd.DataFrame:
    """A row of the ranking in each line."""
    found = [
        {
            **_place(track, row),
            "settings": row.settings,
            **{name: getattr(row, name) for name in ("ranked", "position", "runs", "wanted")},
            **{name: getattr(row, name) for name in ("mean_rank", "value")},
            **_judged(_averages(board, track).get(row.label, {}).get("these")),
            **(row.contrast.model_dump(include={"better", "equal", "worse"}) if row.contrast else {}),
            **_spend(row),
            **{kind: sum(gap.kind == kind for gap in row.gaps)
               for kind in ("missing", "failed", "undefined")},
        }
        for track in board.tracks
        for row in track.rows
    ]  # fmt: skip
    return pd.DataFrame(found, columns=list(ROWS)).astype(dict.fromkeys(WHOLE, "Int64"))


def blocks(board: Leaderboard) -> pd.DataFrame:
    """A row of the ranking in a block in each line; only blocks in which it has every seed."""
    found = []
    for track in board.tracks:
        known = {block.label: block for block in track.blocks}
        judged = {
            (one["row"], one["block"]): one for one in _statistics(board, track, "differences")
        }
        for row in track.rows:
            for figure in row.blocks:
                block = known[figure.block]
                interval = _judged(judged.get((row.label, figure.block)))
                found.append(
                    {
                        **_place(track, row),
                        "block": block.label,
                        **{name: getattr(block, name)
                           for name in ("dataset", "modality", "backbone", "labels", "start")},
                        "value": figure.value,
                        "rank": figure.rank,
                        **interval,
                        "difference": figure.difference,
                    }
                )  # fmt: skip
    return pd.DataFrame(found, columns=list(BLOCKS))


def differences(board: Leaderboard) -> pd.DataFrame:
    """Every row against the control: in each block, on average, and for datasets in general."""
    found: list[dict[str, Any]] = []
    for track in board.tracks:
        of = {"track": track.title, "control": track.control}
        found += [
            {**of, "row": one["row"], "scope": "block", "block": one["block"], **_judged(one)}
            for one in _statistics(board, track, "differences")
        ]
        for label, averages in _averages(board, track).items():
            for scope in ("these", "general"):
                if averages[scope] is not None:
                    found.append({**of, "row": label, "scope": scope, **_judged(averages[scope])})
    return pd.DataFrame(found, columns=list(DIFFERENCES))


def predictions(board: Leaderboard, store: MergedStore) -> pd.DataFrame:
    """A row a sample and run: validation, test, and `external NAME` for further test sets.

    Raises:
        StoreError: predictions or a split file cannot be read.
    """
    results = {result.run_id: result for result in store.results()}
    samples = cache(read_samples)
    parts: list[pd.DataFrame] = []
    for run in board.runs:
        result = results.get(run.run_id)
        if result is None or result.predictions is None:
            continue
        own = store.home(result).split_file(result)
        parts += _frames(run, result, store.predictions(result), (samples(own), own), "")
        for name in result.external:
            file = store.external_home(result, name).split_file(result, name)
            stored = store.external_predictions(result, name)
            parts += _frames(run, result, stored, (samples(file), file), f"external {name}")
    if not parts:
        return pd.DataFrame(columns=list(SAMPLES))
    whole = pd.concat(parts, ignore_index=True)
    shares = [name for name in whole.columns if name not in SAMPLES]
    # Texts that stand in thousands of lines are kept once.
    return whole[[*SAMPLES, *shares]].astype(dict.fromkeys(REPEATED, "category"))


def _frames(
    run: BoardRun,
    result: RunResult,
    stored: Predictions,
    known: tuple[Mapping[str, Any], Any],
    as_split: str,
) -> Iterator[pd.DataFrame]:
    """A frame for each split of what one file holds."""
    classes = np.array(result.data.classes if result.data else ())
    named, file = known
    for split in ("validation", "test"):
        if split not in stored.logits:
            continue
        rows, targets = stored.rows[split], stored.targets[split]
        shares = softmax(stored.logits[split])
        best = shares.argmax(axis=1)
        yield pd.DataFrame(
            {
                "run_id": run.run_id,
                "dataset": run.dataset,
                "backbone": run.backbone,
                "strategy": run.strategy,
                "row": run.row,
                "seed": run.seed,
                "split": as_split or split,
                "sample": take(named["id"], rows, file),
                "group": take(named["group"], rows, file),
                "target": classes[targets],
                "predicted": classes[best],
                "confidence": shares[np.arange(len(best)), best],
                **{f"p:{name}": shares[:, number] for number, name in enumerate(classes)},
            }
        )


def _place(track: Track, row: Row) -> dict[str, Any]:
    return {"track": track.title, "row": row.label, "strategy": row.strategy}


def _statistics(board: Leaderboard, track: Track, part: str) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = ((board.statistics or {}).get(track.id) or {}).get(
        part, ()
    )
    return found


def _averages(board: Leaderboard, track: Track) -> Mapping[str, Mapping[str, Any]]:
    return ((board.statistics or {}).get(track.id) or {}).get("averages") or {}


def _judged(one: Mapping[str, Any] | None) -> dict[str, Any]:
    """A record of the statistics, in points; empty: there is none."""
    if one is None:
        return {}
    found = {"difference": one["value"] * POINTS}
    found |= {name: None if one[name] is None else one[name] * POINTS for name in INTERVAL}
    return found | {name: one.get(name) for name in ("p", "verdict", "seeds", "basis")}


def _spend(row: Row) -> dict[str, Any]:
    spend, (least, most) = row.spend, row.spend.trainable or (None, None)
    return {
        "seconds": spend.seconds,
        "median_seconds": spend.median_seconds,
        "trainable_least": least,
        "trainable_most": most,
        "epochs": spend.epochs,
        "epochs_planned": spend.planned,
        "stopped": spend.stopped,
    }
