"""Write docs/reference-board.md, and the licences beside the results, from the reference board's files.

    python docs/reference_board.py

Every sentence that carries a number is made from `benchmarks/results/real-small`: the runs, and beside
them `simple.json` and `anchor.json` (made by the scripts in `benchmarks/reference/`) and `log.txt` (the
commands that made the runs, with their times).
"""  # noqa: INP001 - a script

from __future__ import annotations

import math
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from reference_facts import (
    Facts,
    either,
    incomplete,
    interval,
    mean,
    named,
    number,
    points,
    read,
    statistics,
    table,
)

from harness.api.leaderboard import DataNote, Row, Track
from harness.leaderboard.conclusion import conclude
from harness.leaderboard.labels import narrow_grid
from harness.utils import text
from harness.utils.text import NOTHING

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "real-small"
PAGE = Path(__file__).with_name("reference-board.md")
LICENCES = "LICENCES.md"
COMMAND = "python docs/reference_board.py"
SAID = {
    "better": "decided: better",
    "worse": "decided: worse",
    "undecided": "undecided",
    "untested": "not tested, it takes three seeds",
}


def page(facts: Facts) -> str:
    """The page, a line a sentence."""
    return "\n".join(_parts(facts)).rstrip() + "\n"


def _parts(facts: Facts) -> Iterator[str]:
    yield "# The reference board"
    yield ""
    yield from _opening(facts)
    yield from _questions(facts)
    for track in facts.tracks:
        yield from _track(facts, track)
    yield from _sight(facts)
    yield from _anchor(facts)
    yield from _data(facts)
    yield from _making(facts)


# -- what it is -------------------------------------------------------------------------------------


def _opening(facts: Facts) -> Iterator[str]:
    suite = facts.suite
    rates = len(suite.tuning.grid) if suite.tuning else 1
    # Of all seeds, whatever the calls so far have asked for.
    wanted = len(suite.datasets) * len(suite.strategies) * rates * len(suite.seeds)
    runs = f"{len(facts.results)} of {wanted}"
    if len(facts.results) == wanted:
        runs = f"All {wanted}"
    yield (
        f"{runs} runs of the suite `{suite.name}` are there: {number(len(suite.strategies))} strategies "
        f"at {text.plural(rates, 'rate')}, {text.plural(len(suite.seeds), 'seed')}, {facts.scope}."
    )
    yield from suite.notes
    yield f"[By rule](conclusions.md): {' '.join(conclude(facts.board))}"
    if cut := [name for name in facts.whole if name not in suite.datasets]:
        yield f"Left out of the suite's sets: {', '.join(cut)}."
    yield ""
    yield f"<!-- Written by `{COMMAND}` from the files: change these, not this page. -->"
    yield "Rank the runs, and compute every figure again from the stored predictions:"
    yield ""
    yield "```bash"
    yield "harness board benchmarks/results/real-small --out real-small"
    yield "harness verify benchmarks/results/real-small"
    yield "python benchmarks/reference/least_gain.py benchmarks/results/real-small"
    yield "```"
    yield ""
    if facts.early:
        yield (
            f"{facts.early} of the runs are of rows whose other runs are still to come: they are stored and "
            "verified, and the plan does not rank them yet."
        )
        yield ""
    if missing := facts.asked - len(facts.results) + facts.early:
        yield (
            f"`verify` names the {text.plural(missing, 'run')} that the plan has and nobody made yet, and "
            "ends with exit code 1 for them."
        )
        yield ""


# -- three questions ------------------------------------------------------------------------------


def _questions(facts: Facts) -> Iterator[str]:
    yield "## Three questions"
    yield ""
    yield f"They are asked of this board alone: {facts.scope}."
    yield "Verdicts hold for these sets; all of a board together err in 5 % where nothing differs."
    yield ""
    for row, question in (("lp-ft", "Does lp-ft gain?"), ("auto-rgn", "Does auto-rgn gain?")):
        yield f"**{question}**"
        yield ""
        yield from (f"- {named(track)}: {_gain(facts, track, row)}" for track in facts.tracks)
        yield ""
    yield "**Is one strategy ahead on every set?**"
    yield ""
    yield from (f"- {named(track)}: {_ahead(facts, track)}" for track in facts.tracks)
    yield ""


def _gain(facts: Facts, track: Track, row: str) -> str:
    """Of a strategy over the control, by the statistics of its track."""
    found = statistics(facts, track)
    average = found.get("averages", {}).get(row)
    if average is None:
        lacks = incomplete(track, (row, facts.board.control)) or "without statistics"
        return f"{lacks}: nothing is said of its average gain."
    seen = Counter(one["verdict"] for one in found["differences"] if one["row"] == row)
    verdicts = ", ".join(f"{seen[word]} {word}" for word in SAID if seen[word])
    said = (
        f"{interval(average['these'])} points over {track.control} on average, "
        f"{SAID[average['these']['verdict']]}; of {number(sum(seen.values()))} sets {verdicts}."
    )
    if general := average.get("general"):
        said += f" On sets like these in general {interval(general)}, {SAID[general['verdict']]}."
    return said


def _ahead(facts: Facts, track: Track) -> str:
    """The strategies ahead on each set, and whether it is decided that none is ahead everywhere.

    It is decided where the control is beaten on some set, and every other strategy is beaten by the
    control on some set: all by verdicts of the board.
    """
    found = statistics(facts, track)
    ranked = [row for row in track.rows if row.ranked]
    if track.control is None or not found.get("differences"):
        return "too few complete rows: not answered."
    better: dict[str, list[str]] = defaultdict(list)
    for block in track.blocks:
        scores = {
            row.label: one.value for row in ranked for one in row.blocks if one.block == block.label
        }
        if scores:
            top = max(scores.values()) if facts.board.higher_is_better else min(scores.values())
            for name, value in scores.items():
                if value == top:
                    better[name].append(block.dataset)
    highest = "; ".join(f"{name} on {', '.join(sets)}" for name, sets in sorted(better.items()))
    beaten = {
        one["row"] if one["verdict"] == "worse" else track.control
        for one in found["differences"]
        if one["verdict"] in {"better", "worse"}
    }
    left = [row.label for row in ranked if row.label not in beaten]
    if left:
        verdict = f"whether one is ahead everywhere is undecided, it may be {either(left)}"
    else:
        verdict = "decided: none is, each is worse than another on some set"
    return f"{verdict}. The highest mean: {highest}."


# -- tables -----------------------------------------------------------------------------------------


def _track(facts: Facts, track: Track) -> Iterator[str]:
    found = statistics(facts, track)
    yield f"## {named(track)}"
    yield ""
    yield from (f"{banner}\n" for banner in track.banners)
    if track.tuned and facts.suite.tuning:
        grid = ", ".join(f"{rate:g}" for rate in facts.suite.tuning.grid)
        yield (
            f"Each run is the one of {number(len(facts.suite.tuning.grid))} rates ({grid} times the "
            f"protocol's) that scores best on validation, chosen anew for every set, split and seed."
        )
        yield ""
    heads = ["strategy", f"{facts.board.metric}", f"against {track.control or 'the control'}, points", "average",
             "sets better / undecided / worse", "places it may have"]  # fmt: skip
    tuned = any(row.tuning for row in track.rows)
    heads += ["rates chosen", "at the grid's end", "last epoch best"] if tuned else []
    ranked = [row for row in track.rows if row.ranked]
    yield from table(heads, (_line(found, track, row, tuned=tuned) for row in ranked))
    yield ""
    averages = [one["these"] for one in found.get("averages", {}).values()]
    if any(one["low"] * one["high"] > 0 and one["verdict"] == "undecided" for one in averages):
        yield (
            "An interval holds for its own comparison in 95 %, a verdict counts all of the board: so one "
            "that leaves out 0 may be undecided."
        )
        yield ""
    if (warning := narrow_grid(track.rows)) is not None:
        yield warning
        yield ""
    if found.get("basis") == "test images only":
        yield "Places hold for other test images only: a set has one seed, which says nothing of another."
        yield ""
    for row in track.rows:
        if not row.ranked:
            yield f"Not ranked: {row.label}, {row.runs} of {row.wanted} runs."
    yield ""
    yield from _by_set(facts, track, ranked)


def _line(found: Mapping[str, Any], track: Track, row: Row, *, tuned: bool) -> list[str]:
    average = found.get("averages", {}).get(row.label)
    seen = Counter(
        one["verdict"] for one in found.get("differences", ()) if one["row"] == row.label
    )
    places = found.get("ranks", {}).get(row.label, {}).get("these")
    control = row.label == track.control
    cells = [
        row.label,
        text.metric(row.value),
        "the control" if control else interval(average["these"]) if average else NOTHING,
        "" if control else average["these"]["verdict"] if average else NOTHING,
        "" if control else " / ".join(str(seen[word]) for word in ("better", "undecided", "worse")),
        f"{places[0]} to {places[1]}" if places else NOTHING,
    ]
    if tuned and row.tuning:
        chosen = sorted(row.tuning.chosen.items(), key=lambda pair: float(pair[0]))
        cells += [
            ", ".join(f"{count} x {rate}" for rate, count in chosen),
            f"{row.tuning.edge:.0%}",
            f"{row.tuning.last_epoch:.0%}",
        ]
    elif tuned:
        cells += [NOTHING] * 3
    return cells


def _by_set(facts: Facts, track: Track, ranked: Sequence[Row]) -> Iterator[str]:
    """Scores on every set, and two rows that are no strategies."""
    sets = list(dict.fromkeys(block.dataset for block in track.blocks))
    of = {block.label: block.dataset for block in track.blocks}
    lines = []
    for row in ranked:
        scores: dict[str, list[float]] = defaultdict(list)
        for one in row.blocks:
            scores[of[one.block]].append(one.value)
        lines.append([row.label, *(mean(scores[name]) for name in sets)])
    for key, title in (("majority", "majority class"), ("colour", "brightness and colour")):
        if facts.simple:
            values = {
                name: [one[key] for one in facts.simple if one["dataset"] == name] for name in sets
            }
            lines.append([f"*{title}*", *(f"*{mean(values[name])}*" for name in sets)])
    yield f"{facts.board.metric} on each set, mean over seeds:"
    yield ""
    yield from table(["strategy", *sets], lines)
    if facts.simple:
        yield ""
        yield (
            "In italics, not ranked: the class with most labels, and a logistic regression on the mean "
            "and the spread of each colour, both trained on the same labels."
        )
    yield ""


def _sight(facts: Facts) -> Iterator[str]:
    least = {track.id: facts.least.get(track.id, {}) for track in facts.tracks}
    if not any(least.values()):
        return
    yield "## What it could have decided"
    yield ""
    yield (
        "The smallest average gain over full-ft, in points, that this board would have decided with 80 %, "
        "were it the only one: by the errors that were measured."
    )
    yield ""
    rows = list(dict.fromkeys(name for found in least.values() for name in found))
    lines = [[row, *(points(least[track.id].get(row)) for track in facts.tracks)] for row in rows]
    yield from table(["strategy", *(named(track) for track in facts.tracks)], lines)
    yield ""


def _anchor(facts: Facts) -> Iterator[str]:
    if not facts.anchor:
        return
    yield "## The same by a plain loop"
    yield ""
    given = [one for one in facts.anchor if one["noise"]]
    near = sum(abs(one["difference"]) < 2 * one["noise"] for one in given)
    yield (
        "`benchmarks/reference/anchor.py`, which knows nothing of the harness, trained "
        f"{text.plural(len(facts.anchor), 'cell')} again, on the images of seed 0 and with "
        f"{text.plural(sum(len(one['runs']) for one in facts.anchor), 'seed')} of its own in all."
    )
    yield (
        f"{near} of {len(given)} differ from the stored run by less than twice what seeds do: the "
        "standard deviation of the difference, were both the same program."
    )
    yield (
        "It is that of the loop's own runs of the cell where there are ten or more, else pooled over all "
        "runs of the strategy, the loop's and the stored ones of several seeds (in italics; stored runs "
        "of other seeds have other labelled images, too)."
    )
    if given:
        found = math.sqrt(fmean((one["difference"] / one["noise"]) ** 2 for one in given))
        yield (
            f"Root mean square of the differences over that deviation: {found:.2f}; 1 is expected "
            "(the rates of a set start from the same seed, so its lines are no independent witnesses)."
        )
    if absent := sum(one["stored"] is None for one in facts.anchor):
        yield f"Of {text.plural(absent, 'cell')} no run is stored."
    yield ""
    heads = ["set", "strategy", "rate", "plain loop, mean", "seeds", "stored run", "difference, points",
             "by seeds", "seconds"]  # fmt: skip
    lines = [
        [
            one["dataset"],
            one["strategy"],
            f"{one['rate']:g}",
            text.metric(one["test"]),
            str(len(one["runs"])),
            text.metric(one["stored"]),
            NOTHING if one["difference"] is None else text.points(one["difference"]),
            _noise(one),
            f"{sum(run['seconds'] for run in one['runs']):.0f}",
        ]
        for one in facts.anchor
    ]
    yield from table(heads, lines)
    yield ""


def _noise(one: Mapping[str, Any]) -> str:
    if not one["noise"]:
        return NOTHING
    shown = f"{one['noise']:.1f}"
    return shown if one["noise_by"] == "own runs" else f"*{shown}*"


def _data(facts: Facts) -> Iterator[str]:
    yield "## Images and licences"
    yield ""
    yield "The images are selections of published sets, known by the sha256 of every file in `plugins/harness_real_small/files/`."
    yield "No recipe is claimed to make them again."
    yield f"The same table lies beside the results, as `{LICENCES}`."
    yield ""
    yield from _licences(facts)
    yield ""


def _licences(facts: Facts) -> Iterator[str]:
    notes: dict[str, DataNote] = {}
    for note in facts.board.data:
        notes.setdefault(note.dataset, note)
    lines = [
        [
            note.dataset,
            note.licence,
            note.source,
            str(note.images.get("test", 0)),
            "; ".join(note.problems),
        ]
        for note in notes.values()
    ]
    yield from table(["set", "licence", "source", "test images", "known limits"], lines)


def licences(facts: Facts) -> str:
    """The licence file that lies beside the results."""
    return (
        "\n".join(
            [
                "# Licences of these results",
                "",
                f"<!-- Written by `{COMMAND}`. -->",
                "Figures, predictions, splits and records are under the project's licence, as far as the terms of the set that a run was made on allow: they hold for what is derived from it.",
                "A set that is for research or without commercial use binds the predictions on it, too.",
                "No image and no weight is here.",
                "",
                *_licences(facts),
            ]
        )
        + "\n"
    )


def _making(facts: Facts) -> Iterator[str]:
    yield "## How it was made"
    yield ""
    hours = sum(one.cost.alone.total for one in facts.results) / 3600
    devices = sorted({one.environment.device for one in facts.results if one.environment})
    torch = sorted(
        {one.environment.libraries.get("torch", "") for one in facts.results if one.environment}
    )
    done = sorted(one.finished[:10] for one in facts.results if one.finished)
    yield (
        f"{len(facts.results)} runs, {hours:.1f} hours of training as if each had been alone, on "
        f"{', '.join(devices) or NOTHING}, torch {', '.join(torch) or NOTHING}"
        + (f", finished from {done[0]} to {done[-1]}." if done else ".")
    )
    if facts.log:
        yield "Commands with their times:"
        yield ""
        yield "```text"
        yield facts.log.rstrip()
        yield "```"


def main(folder: Path = RESULTS, to: Path = PAGE) -> None:
    """Write both files."""
    facts = read(folder)
    to.write_text(page(facts), encoding="utf-8")
    (folder / LICENCES).write_text(licences(facts), encoding="utf-8")
    sys.stdout.write(f"{to} and {folder / LICENCES}: {len(facts.results)} runs\n")


if __name__ == "__main__":
    main(*(Path(one) for one in sys.argv[1:]))
