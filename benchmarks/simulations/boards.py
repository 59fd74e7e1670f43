"""Boards of strategies whose truth is known: false verdicts, coverage, power.

Eight strategies, three backbones, five real test sets (worlds.py); seeds have luck that validation
and test, and in part strategies, have in common.  Each table of docs/statistics.md is one call:

    python benchmarks/simulations/boards.py false --repetitions 500
    python benchmarks/simulations/boards.py power --repetitions 100
    python benchmarks/simulations/boards.py general --repetitions 2000
    python benchmarks/simulations/boards.py others --repetitions 100

An error of Monte Carlo (a standard error) stands behind every share; `--lines` takes some lines of
a table, by number.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy
from scipy.special import ndtri
from truth import ACCURACY, ease_scale, slope
from worlds import REAL, ease, test_set

from harness.api.leaderboard import Row, Track
from harness.leaderboard.cells import CellBlock
from harness.leaderboard.statistics import _gains, track_statistics
from harness.stats import (
    Gain,
    average_gain,
    estimate_gains,
    general_pairs,
    group_scores,
    holm,
    in_general,
    rank_sets,
)

METRIC = "balanced-accuracy"
CONTROL = "full-ft"
STRATEGIES = (CONTROL, "auto-rgn", "lp-ft", "l1-sp", "l2-sp", "linear-probe", "other-1", "other-2")
NETWORKS = ("densenet121", "resnet50", "vgg19")
ALIKE = 0.7  # share of an image's ease that backbones have in common
LOOK = 0.017  # standard deviation of a validation score for its images


@dataclass(frozen=True)
class Board:
    """The world that is drawn.

    Attributes:
        spread: standard deviation of a run's score for its luck, of all or of each test set.
        shared: share of that luck's variance that strategies of a seed and block have in common.
        own: share of an image's ease that each strategy has for itself.
        gains: of each strategy in each cell, [sets, backbones, strategies], or one for all.
    """

    seeds: int = 3
    spread: float | tuple[float, ...] = 0.0
    shared: float = 0.0
    own: float = 0.3
    gains: np.ndarray | float = 0.0
    sets: tuple[str, ...] = REAL


LINES: tuple[tuple[str, dict[str, object]], ...] = (
    ("0; own 0", {"own": 0.0}),
    ("0", {}),
    ("1", {"spread": 0.01}),
    ("2, half shared", {"spread": 0.02, "shared": 0.5}),
    ("4; own 0", {"spread": 0.04, "own": 0.0}),
    ("4", {"spread": 0.04}),
    ("0 0 1 2 4 by dataset", {"spread": (0.0, 0.0, 0.01, 0.02, 0.04)}),
)


def draw(rng: np.random.Generator, board: Board) -> list[CellBlock]:
    """The blocks of one board."""
    shape = (len(board.sets), len(NETWORKS), len(STRATEGIES))
    gains = np.broadcast_to(board.gains, shape)
    blocks = []
    for index, name in enumerate(board.sets):
        known = test_set(name)
        spread = board.spread if np.isscalar(board.spread) else board.spread[index]  # type: ignore[index]
        common = ease(rng, known, ())
        for place, network in enumerate(NETWORKS):
            mine = ALIKE**0.5 * common + (1 - ALIKE) ** 0.5 * ease(rng, known, ())
            apart = ease(rng, known, (len(STRATEGIES),)) if board.own else 0.0
            easy = (1 - board.own) ** 0.5 * mine + board.own**0.5 * apart
            blocks.append(
                _block(rng, board, (index, network), float(spread), easy, gains[index, place])
            )  # type: ignore[arg-type]
    return blocks


def _block(
    rng: np.random.Generator,
    board: Board,
    place: tuple[int, str],
    spread: float,
    easy: np.ndarray,
    gains: np.ndarray,
) -> CellBlock:
    known, count = test_set(board.sets[place[0]]), len(STRATEGIES)
    together = rng.standard_normal((board.seeds, 1))
    alone = rng.standard_normal((board.seeds, count))
    luck = board.shared**0.5 * together + (1 - board.shared) ** 0.5 * alone
    noise = rng.standard_normal((board.seeds, count, len(known.targets)), dtype=np.float32)
    scale = spread / slope()
    mean = ndtri(ACCURACY + gains) * (1 + ease_scale() ** 2 + scale**2) ** 0.5
    noise += (ease_scale() * easy).astype(np.float32)
    noise += (mean + scale * luck).astype(np.float32)[..., None]
    added = (noise > 0).astype(np.float32) @ known.weights
    look = ACCURACY + gains + spread * luck + LOOK * rng.standard_normal(luck.shape)
    return CellBlock(
        dataset=f"d{place[0]}",
        backbone=place[1],
        strategies=STRATEGIES,
        seeds=tuple(range(board.seeds)),
        validation=look,
        added={METRIC: added.astype(float)},
        strata=known.strata,
        test_set=place[0],
    )


def track(seeds: int) -> Track:
    """A track whose rows are STRATEGIES, as far as its statistics need it."""
    rows = tuple(
        Row(label=name, strategy=name, settings={}, source="", ranked=True, runs=1, wanted=1)
        for name in STRATEGIES
    )
    return Track(
        id="0", title="", protocol=None, protocol_digest="", epochs=1, limit=None, shortened=False,
        precision="float32", weights="pretrained", engine=1, control=CONTROL,
        seeds=tuple(range(seeds)), wanted=1, rows=rows,
    )  # fmt: skip


def judge(blocks: Sequence[CellBlock], seeds: int) -> dict[str, object]:
    """The statistics of a board, as `harness board` writes them."""
    labelled = [(f"{block.dataset} / {block.backbone}", block) for block in blocks]
    return track_statistics(METRIC, track(seeds), labelled)


def verdicts(blocks: Sequence[CellBlock]) -> dict[str, object]:
    """The part of `judge` that decides, without the ranks: three fifths of the time."""
    labelled = [(f"{block.dataset} / {block.backbone}", block) for block in blocks]
    return _gains(METRIC, CONTROL, labelled, STRATEGIES, 1)


DECIDED = ("better", "worse")
SINGLE = 2  # test set of a single cell that gains


def errors(blocks: Sequence[CellBlock], seeds: int) -> list[float]:
    """Verdicts on strategies that do not differ, and the share of intervals that hold that."""
    found = judge(blocks, seeds)
    cells, averages = found["differences"], list(found["averages"].values())  # type: ignore[attr-defined]
    these, general = ([one[scope] for one in averages] for scope in ("these", "general"))
    in_cells = any(one["verdict"] in DECIDED for one in cells)  # type: ignore[attr-defined]
    on_average = any(one["verdict"] in DECIDED for one in these)
    wide = [1, len(STRATEGIES)]
    return [
        in_cells or on_average,
        on_average,
        in_cells,
        _held(cells),  # type: ignore[arg-type]
        _held(these),
        _held(general),
        all(one["these"] == wide for one in found["ranks"].values()),  # type: ignore[attr-defined]
        all(one["general"] == wide for one in found["ranks"].values()),  # type: ignore[attr-defined]
    ]


def _held(given: Sequence[dict[str, float]]) -> float:
    return float(np.mean([one["low"] <= 0 <= one["high"] for one in given]))


def shares(board: Board, count: Callable[[list[CellBlock], int], list[float]], n: int) -> list[str]:
    """Percentages, with their standard errors over boards."""
    rng = np.random.default_rng(16)
    found = np.array([count(draw(rng, board), board.seeds) for _ in range(n)], dtype=float)
    return [percent(column) for column in found.T]


def percent(hits: np.ndarray) -> str:
    return f"{100 * hits.mean():.1f} ± {100 * hits.std() / len(hits) ** 0.5:.1f}"


Line = tuple[str, Callable[[int], list[str]]]


def false() -> Iterator[Line]:
    yield (
        (
            "seeds | spread | any verdict | an average | a cell | cell interval holds | average's holds | "
            "in general holds | all ranks hold | in general"
        ),
        lambda _: [],
    )
    for seeds in (3, 5):
        for name, changes in LINES:
            board = replace(Board(seeds=seeds), **changes)
            yield f"{seeds} | {name}", lambda n, board=board: shares(board, errors, n)


def power() -> Iterator[Line]:
    yield (
        (
            "seeds | spread | +5 in a strategy: found | +2: found | +10: found | "
            "its cells decided | one cell +15: decided"
        ),
        lambda _: [],
    )
    for seeds in (3, 5):
        for name, changes in LINES:
            board = replace(Board(seeds=seeds), **changes)
            yield f"{seeds} | {name}", lambda n, board=board: seen(board, n)


def seen(board: Board, n: int) -> list[str]:
    shape = (len(board.sets), len(NETWORKS), len(STRATEGIES))
    found = []
    for points in (5, 2, 10):
        gains = np.zeros(shape)
        gains[..., 1] = points / 100
        counted = shares(replace(board, gains=gains), _first, n)
        found += counted if points == 10 else counted[:1]
    gains = np.zeros(shape)
    gains[SINGLE, 0, 1] = 0.15
    return found + shares(replace(board, gains=gains), _single, n)


def _first(blocks: list[CellBlock], _: int) -> list[float]:
    found, name = verdicts(blocks), STRATEGIES[1]
    cells = [one["verdict"] == "better" for one in found["differences"] if one["row"] == name]  # type: ignore[attr-defined]
    return [found["averages"][name]["these"]["verdict"] == "better", float(np.mean(cells))]  # type: ignore[index]


def _single(blocks: list[CellBlock], _: int) -> list[float]:
    place = (STRATEGIES[1], f"d{SINGLE} / {NETWORKS[0]}")
    found = verdicts(blocks)["differences"]
    return [
        next(one["verdict"] == "better" for one in found if (one["row"], one["block"]) == place)  # type: ignore[attr-defined]
    ]


# -- datasets in general: effects that vary over datasets, normal, and in three other ways ----------

CELL, BACKBONE = 0.015, 0.005  # error of a score in a cell; how far effects vary over backbones


def scores(rng: np.random.Generator, tau: float, kind: str, gain: float = 0.0) -> np.ndarray:
    """Scores of eight strategies on five datasets, mean over three backbones, [5, 8]."""
    shape = (5, len(STRATEGIES))
    spread = np.full(shape[1], tau)
    if kind == "uneven":
        spread = np.where(np.arange(shape[1]) % 2, 4.0, 0.5) * tau / 2
    effects = {
        "skewed": lambda: rng.exponential(size=shape) - 1,
        "one set apart": lambda: ((rng.random(shape) < 0.2) - 0.2) / 0.4,
    }.get(kind, lambda: rng.standard_normal(shape))()
    error = (CELL**2 + BACKBONE**2) ** 0.5 / len(NETWORKS) ** 0.5
    made: np.ndarray = spread * effects + error * rng.standard_normal(shape)
    made[:, 1] += gain
    return made


def general() -> Iterator[Line]:
    yield (
        "effects | tau, points | interval holds | half width | any of 7, Holm | sees +5 | all ranks hold",
        lambda _: [],
    )
    for kind in ("normal", "uneven", "skewed", "one set apart"):
        for tau in (0.0, 0.5, 1.0, 2.0, 4.0):
            yield f"{kind} | {tau:g}", lambda n, kind=kind, tau=tau / 100: generally(kind, tau, n)


def generally(kind: str, tau: float, n: int) -> list[str]:
    rng = np.random.default_rng(16)
    found = np.array([_in_general(scores(rng, tau, kind)) for _ in range(n)], dtype=float)
    seen = [_in_general(scores(rng, tau, kind, 0.05))[3] for _ in range(max(1, n // 4))]
    held, widths, any_found, _, ranks = found.T
    return [
        percent(held), f"{100 * float(np.median(widths)):.1f}", percent(any_found),
        percent(np.array(seen)), percent(ranks),
    ]  # fmt: skip


def _in_general(given: np.ndarray) -> list[float]:
    estimates = [one for one in in_general(given[:, 1:] - given[:, :1], 5, None) if one is not None]
    ends = [one.interval() for one in estimates]
    adjusted = holm([one.p for one in estimates])
    places = rank_sets(given.mean(axis=0).tolist(), general_pairs(given))
    return [
        float(np.mean([low <= 0 <= high for low, high in ends])),
        float(np.median([high - low for low, high in ends])) / 2,
        min(adjusted) <= 0.05,
        adjusted[0] <= 0.05 and estimates[0].value > 0,
        all(place == (1, len(STRATEGIES)) for place in places),
    ]


# -- metrics other than shares of images -----------------------------------------------------------

OTHERS = ("balanced-accuracy", "macro-auroc", "ece", "brier")


def probabilities(
    rng: np.random.Generator, name: str, easy: np.ndarray, spread: float, sure: float
) -> np.ndarray:
    """Of one run [N, C]: its own class ahead by how easy an image is, luck and noise."""
    known = test_set(name)
    classes, count = int(known.targets.max()) + 1, len(known.targets)
    logits = rng.standard_normal((count, classes)) * 0.7
    ahead = 1.5 + 1.5 * easy + spread * rng.standard_normal() + 0.7 * rng.standard_normal(count)
    logits[np.arange(count), known.targets] += ahead
    shares = np.exp(sure * (logits - logits.max(axis=1, keepdims=True)))
    found: np.ndarray = shares / shares.sum(axis=1, keepdims=True)
    return found


def others() -> Iterator[Line]:
    yield (
        "test set | seeds | luck | " + " | ".join(f"{m}: cell, average holds" for m in OTHERS),
        lambda _: [],
    )
    for name in ("real-mri", "real-dermoscopy", "real-endoscopy", "10 of a class"):
        for seeds, spread in ((3, 0.0), (3, 0.5), (5, 0.5)):
            yield (
                f"{name} | {seeds} | {spread:g}",
                lambda n, given=(name, seeds, spread): beside(*given, n),
            )


def beside(name: str, seeds: int, spread: float, n: int) -> list[str]:
    """Share of intervals of three strategies' gains in three cells that hold that there are none."""
    rng = np.random.default_rng(16)
    found = np.array([_beside(rng, name, seeds, spread) for _ in range(n)])
    return [f"{percent(found[:, m, 0])}, {percent(found[:, m, 1])}" for m in range(len(OTHERS))]


def _beside(rng: np.random.Generator, name: str, seeds: int, spread: float) -> list[list[float]]:
    known, columns = test_set(name), 4
    added = {metric: np.zeros((3, columns, seeds, len(known.strata))) for metric in OTHERS}
    common = ease(rng, known, ())
    for net, column in np.ndindex(3, columns):
        easy = 0.7**0.5 * common + 0.3**0.5 * ease(rng, known, ())
        for seed in range(seeds):
            shares = probabilities(rng, name, easy, spread, 1.5)
            for metric in OTHERS:
                added[metric][net, column, seed] = group_scores(
                    metric, shares, known.targets, known.groups
                )
    found = []
    for metric in OTHERS:
        gains = [
            Gain(added[metric][net, column] - added[metric][net, 0], known.strata,
                 (name, str(net), str(column)), name, None)
            for net in range(3) for column in range(1, columns)
        ]  # fmt: skip
        ends = [one.interval() for one in estimate_gains(gains)]
        averages = [average_gain(gains[column::3]).interval() for column in range(3)]
        found.append(
            [float(np.mean([low <= 0 <= high for low, high in each])) for each in (ends, averages)]
        )
    return found


TABLES = {"false": false, "power": power, "general": general, "others": others}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--repetitions", type=int, default=500)
    parser.add_argument("--lines", type=int, nargs="+", help="of the table, from 1")
    given = parser.parse_args()
    print(f"n = {given.repetitions}; numpy {np.__version__}, scipy {scipy.__version__}\n")
    head, *lines = TABLES[given.table]()
    print(f"| {head[0]} |\n|{'---|' * (head[0].count('|') + 1)}")
    for number, (name, count) in enumerate(lines, start=1):
        if not given.lines or number in given.lines:
            print(f"| {name} | {' | '.join(count(given.repetitions))} |", flush=True)


if __name__ == "__main__":
    main()
