"""Facts of the page of the reference board, and how they are said; for `reference_board.py`."""  # noqa: INP001 - beside a script

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from harness.api.leaderboard import Leaderboard, Track
from harness.api.records import Plan, RunResult, Suite
from harness.leaderboard.boards import rank_folder
from harness.leaderboard.statistics import add_statistics, least_found
from harness.plugins.registry import load_plugins
from harness.results.merge import MergedStore
from harness.results.store import Store
from harness.utils import text

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True)
class Facts:
    """Files and figures that the page is made of.

    Attributes:
        board: with its statistics.
        suite: as it was run.
        whole: datasets that the suite lists where nothing is left out.
        asked: runs of the plan.
        results: every finished run, trials that were not chosen among them.
        early: of these, runs that the plan does not ask for yet.
        least: see `least_found`.
        simple: what `benchmarks/reference/simple.py` wrote of the splits that are ranked; empty: not
            made.
        anchor: what `benchmarks/reference/anchor.py` wrote; empty: not made.
        log: commands and times; empty: there is none.
    """

    board: Leaderboard
    suite: Suite
    whole: Sequence[str]
    asked: int
    results: Sequence[RunResult]
    least: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    simple: Sequence[Mapping[str, Any]] = ()
    anchor: Sequence[Mapping[str, Any]] = ()
    log: str = ""
    early: int = 0

    @property
    def tracks(self) -> list[Track]:
        """The tuned one first."""
        return sorted(self.board.tracks, key=lambda track: not track.tuned)

    @property
    def scope(self) -> str:
        """Sets, networks and images that all verdicts are about."""
        networks = ", ".join(self.suite.backbones)
        labels = " and ".join(self.suite.labels) or "all"
        return (
            f"on these {number(len(self.suite.datasets))} sets, {networks}, "
            f"{self.suite.protocol.crop} px, {labels} images"
        )


def read(folder: Path) -> Facts:
    """The files of a results folder.

    Raises:
        HarnessError: a file is missing or damaged.
    """
    store, loaded = MergedStore([Store(folder)]), load_plugins()
    plan = store.plan()
    (suite,) = plan.suites.values()
    board = add_statistics(rank_folder(store, loaded), store)
    log = folder / "log.txt"
    results, planned = store.results(), {line.run_id for line in plan.runs}
    ranked = [run for run in results if run.run_id in planned]
    splits = {run.data.split_file for run in ranked if run.data is not None}
    simple = _json(folder / "simple.json", {"splits": []})["splits"]
    return Facts(
        board=board,
        suite=_of_all_calls(suite, plan),
        whole=loaded.suites[suite.name].datasets if suite.name in loaded.suites else suite.datasets,
        asked=len(plan.runs),
        results=results,
        least=least_found(board, store),
        simple=[one for one in simple if one["split_file"] in splits],
        anchor=_json(folder / "anchor.json", []),
        log=log.read_text(encoding="utf-8") if log.is_file() else "",
        early=len(results) - len(ranked),
    )


def _of_all_calls(suite: Suite, plan: Plan) -> Suite:
    """The suite with all that any call asked of it; a plan keeps that of the last call."""
    axes = {"datasets": "dataset", "strategies": "strategy", "seeds": "seed"}
    return suite.model_copy(
        update={
            axis: tuple(sorted({getattr(line, name) for line in plan.runs}))
            for axis, name in axes.items()
        }
    )


def _json(path: Path, absent: Any) -> Any:  # noqa: ANN401 - JSON
    return json.loads(path.read_bytes()) if path.is_file() else absent


def number(count: int) -> str:
    """A word up to nine."""
    return NUMBERS[count] if count < len(NUMBERS) else str(count)


def named(track: Track) -> str:
    return "Tuned" if track.tuned else "At the protocol's rate"


def statistics(facts: Facts, track: Track) -> Mapping[str, Any]:
    found: Any = (facts.board.statistics or {}).get(track.id, {})
    return found


def incomplete(track: Track, names: Iterable[str]) -> str:
    """Rows of these names that lack runs, with how many they have; empty: none does."""
    rows = {row.label: row for row in track.rows}
    said = (
        f"{name} has {rows[name].runs} of {rows[name].wanted} runs" if name in rows else f"{name} has no run"
        for name in names
        if name not in rows or not rows[name].ranked
    )  # fmt: skip
    return ", ".join(said)


def interval(one: Mapping[str, Any]) -> str:
    low, high = (text.points(100 * one[end]) for end in ("low", "high"))
    return f"{text.points(100 * one['value'])} [{low}, {high}]"


def points(share: float | None) -> str:
    return text.NOTHING if share is None else f"{100 * share:.1f}"


def mean(values: Sequence[float]) -> str:
    return text.metric(fmean(values)) if values else text.NOTHING


def either(names: Sequence[str]) -> str:
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> Iterator[str]:
    for line in (heads, ["---"] * len(heads), *lines):
        yield f"| {' | '.join(cell.replace('|', '/') for cell in line)} |"
