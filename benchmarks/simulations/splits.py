"""Coverage of intervals of a tuned gain over several splits, and what tuning ranks.

    python benchmarks/simulations/splits.py holds --repetitions 1200
    python benchmarks/simulations/splits.py fresh --repetitions 1200 --lines 3 4 9 12 15 18 33 36
    python benchmarks/simulations/splits.py outside --repetitions 1200
    python benchmarks/simulations/splits.py order --repetitions 1000
    python benchmarks/simulations/splits.py chosen --repetitions 100

`holds`: two real learners on drawn data sets, each tuned over eight settings on validation in every
run; the truth is the mean gain over data sets.  Luck of a trial moves its validation and its test
score alike.  Six data sets make a board, whose cells lend each other their spread.
`fresh`: its lines on other draws.
`outside`: the same of what one learner loses on further images, which every split tests.
`order`: Kendall's tau of a board of tuned strategies to the truth, by how they are tuned.
`chosen`: how often t intervals of their gains hold, rates chosen in every run or in the first.

An error of Monte Carlo (a standard error) stands behind every share.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import scipy
from boards import percent
from scipy.special import stdtrit

from harness.stats import Estimate, Gain, Splits, average_gain, estimate_gains

INPUTS, FEATURES, TRIALS = 10, 25, 8
RIDGES = np.geomspace(1e-3, 1e3, TRIALS) * 0.05
SHARE = 0.2  # of the images, in test; as many are in validation
BOARD = 6  # data sets
SEED = 18  # of the draws by which the rule was chosen


@dataclass(frozen=True)
class World:
    """The world that is drawn.

    Attributes:
        splits, seeds: of each split.
        official: the test part is the same in all splits, and another for every data set.
        luck: standard deviation of a trial's score for its luck, in validation and test alike.
        apart: standard deviation of a gain for the luck of its split.
        outside: further images, drawn as the others are; with any the gain is that of one learner,
            of its score there on its score in test.
    """

    splits: int = 5
    seeds: int = 1
    images: int = 300
    official: bool = False
    luck: float = 0.0
    apart: float = 0.0
    outside: int = 0


def draw(rng: np.random.Generator, world: World, name: str = "0") -> Gain:
    """The gain of one learner on another, or outside, on a new data set; every image is a group."""
    count, runs, every = world.images, world.splits * world.seeds, world.images + world.outside
    part = int(SHARE * count)
    labels = np.where(np.arange(every) % 2, 1.0, -1.0)
    apart = np.where(np.arange(INPUTS) < INPUTS // 2, 0.35, 0.1)
    inputs = rng.standard_normal((every, INPUTS)) + labels[:, None] * apart
    order, further = rng.permutation(count), np.arange(count, every)
    added, tested = np.zeros((runs, every)), np.zeros((world.splits, every), dtype=bool)
    tested[:, further] = True
    for run in range(runs):
        split = run // world.seeds
        if run % world.seeds == 0:
            own = world.apart * rng.standard_normal()
            test, rest = order[:part], rng.permutation(order[part:])
            if not world.official:
                order = rng.permutation(count)
                test, rest = order[:part], order[part:]
            tested[split, test] = True
        parts = (rest[part:], rest[:part], np.concatenate([test, further]))
        for learner, sign in ((0, 1.0), (1, -1.0)):
            if learner and world.outside:
                continue
            right = _tuned(rng, (inputs, labels), parts, luck=world.luck, half=bool(learner))
            added[run, test] += sign * right[:part] / part * (-1 if world.outside else 1)
            added[run, further] = right[part:] / max(1, world.outside)
        added[run, further if world.outside else test] += own / (world.outside or part)
    number = np.repeat(np.arange(world.splits), world.seeds)
    common = np.arange(every) >= count
    splits = Splits(number, tested, None if world.official else SHARE, common)
    strata = (labels > 0) + 2 * common
    if world.official:  # images that are never tested are no groups
        kept = parts[2]
        added, strata = added[:, kept], strata[kept]
        splits = replace(splits, tested=tested[:, kept], common=common[kept])
    return Gain(added, strata, (name, "net", "tuned"), name, None, splits)


def _tuned(
    rng: np.random.Generator,
    data: tuple[np.ndarray, np.ndarray],
    parts: tuple[np.ndarray, np.ndarray, np.ndarray],
    *,
    luck: float,
    half: bool,
) -> np.ndarray:
    """Ridge regression on random features: what each test image scores [N].

    Args:
        rng: of features and luck.
        data: inputs [N, 10] and labels, 1 and -1, [N].
        parts: images to train on, to validate on and to test on.
        luck: as `World` has it.
        half: only half of the inputs is seen.
    """
    (inputs, labels), (train, validation, test) = data, parts
    weights = rng.standard_normal((INPUTS, FEATURES)) / INPUTS**0.5
    if half:
        weights[INPUTS // 2 :] = 0
    seen = np.maximum(0, inputs @ weights + 0.3 * rng.standard_normal(FEATURES))
    seen -= seen[train].mean(axis=0)
    level = labels[train].mean()
    values, vectors = np.linalg.eigh(seen[train].T @ seen[train])
    turned = vectors.T @ (seen[train].T @ (labels[train] - level))
    fitted = vectors @ (turned[:, None] / (values[:, None] + RIDGES * len(train)))
    lucky = luck * rng.standard_normal(TRIALS)
    good = (seen[validation] @ fitted + level) * labels[validation, None] > 0
    best = int((good.mean(axis=0) + lucky).argmax())
    right = (seen[test] @ fitted[:, best] + level) * labels[test] > 0
    found: np.ndarray = right + lucky[best]
    return found


# -- tables -------------------------------------------------------------------------------------

Line = tuple[str, Callable[[int], list[str]]]
DESIGNS = (("5 splits x 3 seeds", 5, 3), ("5 pairs", 5, 1), ("3 pairs", 3, 1))
LUCK: tuple[tuple[str, dict[str, float]], ...] = (
    ("300 | 0, 0", {}),
    ("300 | 2, 0", {"luck": 0.02}),
    ("300 | 4, 0", {"luck": 0.04}),
    ("300 | 2, 2", {"luck": 0.02, "apart": 0.02}),
    ("150 | 2, 0", {"images": 150, "luck": 0.02}),
    ("900 | 2, 0", {"images": 900, "luck": 0.02}),
)


def holds(seed: int = SEED) -> Iterator[Line]:
    yield (
        (
            "test part | design | images | luck of a trial, of a split | a cell alone holds | half width | "
            "a cell of a board holds | half width | the board's average holds | t of all runs holds"
        ),
        lambda _: [],
    )
    for test in ("drawn anew", "official"):
        for design, splits, seeds in DESIGNS:
            for name, changes in LUCK:
                world = replace(World(splits, seeds, official=test == "official"), **changes)  # type: ignore[arg-type]
                yield f"{test} | {design} | {name}", lambda n, world=world: held(world, n, seed)


def held(world: World, n: int, seed: int = SEED) -> list[str]:
    """Shares of intervals that hold the mean gain over all data sets drawn."""
    gains = drawn(world, n, seed)
    values = np.array([gain.added.sum(axis=1) for gain in gains])
    truth = float(values.mean())
    alone = [estimate_gains([gain])[0] for gain in gains]
    boards = [gains[first : first + BOARD] for first in range(0, len(gains), BOARD)]
    cells = [one for board in boards for one in estimate_gains(board)]
    averages = [average_gain(board) for board in boards]
    runs = values.shape[1]
    plain = [
        Estimate(float(own.mean()), float(own.std(ddof=1)) / runs**0.5, runs - 1.0, runs)
        for own in values
    ]
    found = [*_hits(alone, truth), *_hits(cells, truth)]
    return [*found, _hits(averages, truth)[0], _hits(plain, truth)[0]]


def drawn(world: World, n: int, seed: int = SEED) -> list[Gain]:
    """Gains on n data sets, the names of which are those of the sets of a board."""
    rng = np.random.default_rng(seed)
    return [draw(rng, world, str(number % BOARD)) for number in range(n - n % BOARD)]


def _hits(given: list[Estimate], truth: float) -> tuple[str, str]:
    ends = np.array([one.interval() for one in given])
    hits = ((ends[:, 0] <= truth) & (truth <= ends[:, 1])).astype(float)
    return percent(hits), f"{100 * float(np.median(ends[:, 1] - ends[:, 0])) / 2:.1f}"


# -- a board of tuned strategies: what the rate does to their order --------------------------------

GRID = np.log10(1e-3 * np.array([0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30]))
COMMON = 4  # of GRID: the protocol's own rate
DECADE = np.array([2.0, 3.0, 4.0, 5.0, 15.0, 25.0])  # points that a decade off costs, by set


def strategies(
    rng: np.random.Generator, seeds: int, spread: float, count: int = 8
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True quality [K, sets], and validation and test scores of all trials [K, sets, S, rates]."""
    sets = len(DECADE)
    quality = spread * (rng.standard_normal((count, 1)) + rng.standard_normal((count, sets)))
    best = -3.2 + 0.5 * rng.standard_normal((count, 1)) + 0.3 * rng.standard_normal((count, sets))
    lost = DECADE[None, :, None] * (GRID - best[..., None]) ** 2
    shape = (count, sets, seeds, len(GRID))
    test = (quality[..., None] - lost)[:, :, None] + rng.standard_normal(shape)
    return quality, test + 1.5 * rng.standard_normal(shape), test


def order() -> Iterator[Line]:
    yield (
        (
            "effects, sd in points | seeds | eight rates, chosen in every run | the protocol's rate | "
            "one rate, the best on validation over all | four rates (0.1 to 3)"
        ),
        lambda _: [],
    )
    for spread in (1.5, 1.0):
        for seeds in (3, 5):
            yield f"{spread:g} | {seeds}", lambda n, given=(seeds, spread): taus(*given, n)


def taus(seeds: int, spread: float, n: int) -> list[str]:
    """Mean Kendall's tau to the truth of the averages over sets."""
    rng = np.random.default_rng(SEED)
    found = np.array([_taus(*strategies(rng, seeds, spread)) for _ in range(n)])
    return [f"{one.mean():.3f} ± {one.std() / n**0.5:.3f}" for one in found.T]


def _taus(quality: np.ndarray, validation: np.ndarray, test: np.ndarray) -> list[float]:
    truth = quality.mean(axis=1)
    common = int(validation.mean(axis=(0, 1, 2)).argmax())
    few = slice(2, 6)
    ways = (
        _picked(validation, test),
        test[..., COMMON],
        test[..., common],
        _picked(validation[..., few], test[..., few]),
    )
    return [kendall(one.mean(axis=(1, 2)), truth) for one in ways]


def _picked(validation: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Test score of the trial that each run's validation chooses, ties to the smaller rate."""
    best = validation.argmax(axis=-1)[..., None]
    found: np.ndarray = np.take_along_axis(test, best, axis=-1)[..., 0]
    return found


MANY = 200  # further runs, the mean of which is taken for the truth


def chosen() -> Iterator[Line]:
    yield "seeds | anew: interval of a cell holds | once, in the first: holds", lambda _: []
    for seeds in (3, 5):
        yield str(seeds), lambda n, seeds=seeds: anew_or_once(seeds, n)


def anew_or_once(seeds: int, n: int) -> list[str]:
    rng = np.random.default_rng(SEED)
    found = [_hold(*strategies(rng, seeds + MANY, 1.5)[1:], seeds) for _ in range(n)]
    return [percent(one) for one in np.array(found).T]


def _hold(validation: np.ndarray, test: np.ndarray, seeds: int) -> list[float]:
    """Share of the gains on the first strategy whose t interval over seeds holds their expectation."""
    picked = _picked(validation, test)
    truth = picked[:, :, seeds:].mean(axis=2)
    first = validation[:, :, :1].argmax(axis=-1)[..., None]
    once = np.take_along_axis(test[:, :, :seeds], first, axis=-1)[..., 0]
    shares = []
    for runs in (picked[:, :, :seeds], once):
        gains, expected = runs[1:] - runs[:1], truth[1:] - truth[:1]
        half = stdtrit(seeds - 1, 0.975) * gains.std(axis=2, ddof=1) / seeds**0.5
        shares.append(float((np.abs(gains.mean(axis=2) - expected) <= half).mean()))
    return shares


def kendall(one: np.ndarray, other: np.ndarray) -> float:
    """Kendall's tau of figures without ties."""
    first, second = np.triu_indices(len(one), 1)
    same = np.sign(one[first] - one[second]) * np.sign(other[first] - other[second])
    return float(same.mean())


def fresh() -> Iterator[Line]:
    """The first table on other draws."""
    return holds(SEED + 1)


def outside() -> Iterator[Line]:
    """Loss that is measured on further images: in truth there is none, they are drawn as the others are."""
    head, *_ = holds()
    yield head
    for test in ("drawn anew", "official"):
        for design, splits, seeds in DESIGNS:
            for name, changes in (
                ("300 | 0, 0", {}),
                ("300 | 2, 4", {"luck": 0.02, "apart": 0.04}),
            ):
                world = replace(
                    World(splits, seeds, official=test == "official", outside=120),
                    **changes,  # type: ignore[arg-type]
                )
                yield f"{test} | {design} | {name}", lambda n, world=world: held(world, n)


TABLES = {"holds": holds, "fresh": fresh, "outside": outside, "order": order, "chosen": chosen}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--repetitions", type=int, default=1200)
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
