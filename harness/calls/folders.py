"""`harness.compare`, `harness.check` and `harness.verify`: what results folders say of each other."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

from harness.api.dataset import Access
from harness.benchmark.replay import ReplayOptions
from harness.benchmark.replay import replay as replay_runs
from harness.benchmark.sizing import choose_device
from harness.calls import arguments
from harness.calls.arguments import Names, Pairs, PathLike, Plugins
from harness.errors import UsageError
from harness.leaderboard import boards
from harness.plugins.registry import PluginRegistry
from harness.results import package
from harness.results.gate.compare import compare_folders, rules_of
from harness.results.gate.records import FAILING, GateReport
from harness.results.verify import NOT_SHOWN, Problem, Replay, Replayed
from harness.results.verify import verify as verify_folder
from harness.utils.text import clean

METRIC = "balanced-accuracy"
Tolerance: TypeAlias = float | str | Iterable[str] | Mapping[str, float]


def compare(
    first: PathLike,
    second: PathLike,
    *,
    metric: str = METRIC,
    plugins: Plugins = (),
    strict_plugins: bool = False,
    offline: bool | None = None,
) -> GateReport:
    """Compare two results folders cell by cell: what changed, and how sure that is.

    Args:
        first: a results folder.
        second: another.
        metric: 'balanced-accuracy' or 'accuracy'.
        plugins: as for `harness.bench`.
        strict_plugins: a broken plugin is an error.
        offline: never use the network, which nothing here does but plugins may.

    Raises:
        UsageError: the metric is not known.
        StoreError: a folder holds no runs, or a file of it does not hold.
    """
    arguments.is_offline(offline)
    registry = arguments.loaded(plugins, strict=strict_plugins)
    before, after = arguments.place(first, "FIRST"), arguments.place(second, "SECOND")
    rules = rules_of(before, arguments.needed("--metric", metric, "the name of a metric"))
    return compare_folders(before, after, rules, partial(boards.chosen_runs, loaded=registry))


def check(  # noqa: PLR0913 - the options of the command
    baseline: PathLike,
    candidate: PathLike,
    *,
    metric: str = METRIC,
    tolerance: Tolerance = (),
    cost: float | None = None,
    allow_not_comparable: Names = (),
    cells: Names = (),
    fail_on: Names = None,
    beyond_images: bool = False,
    seed_spread: float | None = None,
    plugins: Plugins = (),
    strict_plugins: bool = False,
    offline: bool | None = None,
) -> GateReport:
    """Hold a results folder against a baseline; it passes where `failures` of the report is empty.

    Args:
        baseline: a results folder.
        candidate: another.
        metric: 'balanced-accuracy' or 'accuracy'.
        tolerance: points that may be lost: a number, or {'xray/*': 2} for cells of a glob, or texts
            [CELLS=]POINTS.  Without it the suite's, else 1.
        cost: fail if seconds grow by more: 0.2 is a fifth; None: the suite's, if any.
        allow_not_comparable: globs of cells that need not be comparable.
        cells: globs of the cells that are compared; empty: all.
        fail_on: verdicts that fail; without 'vanished', what both sides have is compared.  None:
            worse, collapsed, newly-failing, vanished, not-comparable.
        beyond_images: a cell fails only if it is worse on other images of the same kind, too.
        seed_spread: points by which a run's score varies with its seed (standard deviation); for
            one seed a side.
        plugins: as for `harness.bench`.
        strict_plugins: a broken plugin is an error.
        offline: never use the network, which nothing here does but plugins may.

    Raises:
        UsageError: an argument does not hold.
        StoreError: a folder holds no runs, or a file of it does not hold.
    """
    arguments.is_offline(offline)
    registry = arguments.loaded(plugins, strict=strict_plugins)
    before, after = arguments.place(baseline, "BASELINE"), arguments.place(candidate, "CANDIDATE")
    said = dict(_tolerances(tolerance))
    share = arguments.number("--cost", cost)
    name = arguments.needed("--metric", metric, "the name of a metric")
    rules = replace(
        rules_of(before, name, said, share),
        allowed=arguments.texts("--allow-not-comparable", allow_not_comparable),
        beyond_images=arguments.flag("--beyond-images", beyond_images),
        seed_spread=arguments.number("--seed-spread", seed_spread),
        cells=arguments.texts("--cells", cells),
        fail_on=arguments.names("--fail-on", fail_on) or FAILING,  # type: ignore[arg-type] # checked there
    )
    return compare_folders(before, after, rules, partial(boards.chosen_runs, loaded=registry))


def _tolerances(given: Tolerance) -> Iterable[tuple[str, float]]:
    """(cell glob, points) of every tolerance that was given."""
    if isinstance(given, Mapping):
        return [
            (str(cells), _points(f"{cells}={points}", str(points)))
            for cells, points in given.items()
        ]
    if isinstance(given, int | float) and not isinstance(given, bool):
        return [("*", _points(str(given), str(given)))]
    found = []
    for one in arguments.texts("--tolerance", given, "points, as in 2 or {'xray/*': 2}"):
        cells, _, points = one.rpartition("=")
        found.append((cells or "*", _points(one, points)))
    return found


def _points(told: str, points: str) -> float:
    try:
        number = float(points)
    except ValueError as error:
        raise UsageError(f"--tolerance {told}: give points, as in 2 or 'xray/*=2'") from error
    if not math.isfinite(number):
        raise UsageError(f"--tolerance {told}: {points} is not a finite number")
    return number


# -- verify -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verification:
    """Findings of a verification; as text it is what `harness verify` prints.

    Attributes:
        runs, failed: finished and failed runs that were looked at.
        superseded: runs that the plan no longer asks for.
        figures: metric values that were computed again.
        problems: files that do not hold, and why.
        unchecked: what could not be checked and why -> in how many runs.
        replayed: the runs that were carried out again.
    """

    runs: int
    failed: int
    superseded: int
    figures: int
    problems: tuple[Problem, ...]
    unchecked: Mapping[str, int]
    replayed: tuple[Replayed, ...]

    @property
    def holds(self) -> bool:
        """Every file of the folder holds."""
        return not self.problems

    def to_dict(self) -> dict[str, object]:
        """The text that `--json` prints."""
        return {
            "holds": self.holds,
            "runs": self.runs,
            "failed": self.failed,
            "superseded": self.superseded,
            "figures": self.figures,
            "problems": [vars(problem) for problem in self.problems],
            "not_checked": dict(sorted(self.unchecked.items())),
            "not_shown": list(NOT_SHOWN),
            "replayed": [
                {
                    "run_id": one.result.run_id,
                    "cell": one.result.spec.cell,
                    "seed": one.result.spec.seed,
                    "holds": one.holds,
                    "compared": one.compared,
                    "difference": one.difference,
                    "message": one.told,
                }
                for one in self.replayed
            ],
        }

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield from map(str, self.problems)
        for one in self.replayed:
            if one.holds:
                yield clean(f"{one.result.spec.cell}, seed {one.result.spec.seed}: {one.told}")
        for what, runs in sorted(self.unchecked.items()):
            yield clean(f"not checked: {what} ({runs} runs)")
        if self.superseded:
            yield f"{self.superseded} runs are no longer asked for by plan.json"
        wrong = len({problem.file for problem in self.problems})
        held = f"{wrong} files do not hold" if wrong else "everything holds"
        yield (
            f"{self.runs} runs, {self.failed} failed; {self.figures} figures computed again: {held}"
        )
        if not wrong:  # the questions that such a folder leaves open
            yield "not shown by files:"
            yield from (f"- {one}" for one in NOT_SHOWN)
            if not self.replayed:
                yield "`--replay N` trains N of the runs again and compares their predictions"


def verify(  # noqa: PLR0913 - the options of the command
    folder: PathLike,
    *,
    replay: int = 0,
    seed: int = 0,
    data: Pairs = (),
    columns: Pairs = (),
    join_labels: bool = False,
    window: Pairs = (),
    weights: PathLike | None = None,
    device: str | None = None,
    reference: PathLike | None = None,
    plugins: Plugins = (),
    strict_plugins: bool = False,
    offline: bool | None = None,
) -> Verification:
    """Check every file of a results folder: figures against logits, runs against splits and plan.

    Args:
        folder: a results folder, or a package of `harness submit`.
        replay: so many runs, chosen at random, are carried out again.
        seed: chooses them.
        data: for `replay`: as for `harness.bench`, as are the next four.
        columns: see `data`.
        join_labels: see `data`.
        window: see `data`.
        weights: see `data`.
        device: for `replay`; None: as the run was made.
        reference: results whose split files these runs must have been made on.
        plugins: as for `harness.bench`.
        strict_plugins: a broken plugin is an error.
        offline: never use the network; None: as HF_HUB_OFFLINE says.

    Raises:
        UsageError: there is nothing at `folder`, or an argument does not hold.
        StoreError: a split file of the reference cannot be read.
    """
    place = arguments.place(folder)
    packed = place.suffix == ".zip" and place.is_file()
    if not (packed or place.is_dir()):
        raise UsageError(
            f"{place} is no folder and no package; give a results folder, as in results/demo, or "
            "what `harness submit` wrote"
        )
    where = (
        None
        if device is None
        else choose_device(arguments.needed("--device", device, "'cpu' or 'cuda:N'"))
    )
    options = ReplayOptions(
        count=arguments.whole("--replay", replay, 0),
        seed=arguments.whole("--seed", seed),
        device=where,
        data=arguments.pairs("--data", data),
        columns=arguments.pairs("--columns", columns),
        join_labels=arguments.flag("--join-labels", join_labels),
        window=arguments.pairs("--window", window, ":"),
        weights=arguments.form("--weights", weights),
        access=Access(offline=arguments.is_offline(offline)),
    )
    other = arguments.path("--reference", reference)
    registry = arguments.loaded(plugins, strict=strict_plugins)
    with package.unpacked(place) if packed else nullcontext(place) as unpacked:
        report, replayed = verify_folder(unpacked, registry, _replay(options, registry), other)
    return Verification(
        report.runs,
        report.failed,
        report.superseded,
        report.figures,
        tuple(report.problems),
        dict(report.unchecked),
        tuple(replayed),
    )


def _replay(options: ReplayOptions, registry: PluginRegistry) -> Replay | None:
    return partial(replay_runs, loaded=registry, options=options) if options.count else None
