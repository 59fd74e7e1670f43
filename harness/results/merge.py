"""Several results folders as one: the same whatever their order.

Equal run ids are the same run, and its files must agree in what the id decides (figures, classes,
predictions).  Other processors and libraries round differently, so that copies made elsewhere may
differ in figures: the latest stands.  Seconds and machines may differ anyway.  Plans add up by run
id: what one folder asks for never takes the place of what another asks for.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.api.execution import Predictions
from harness.api.records import (
    ExternalRecord,
    MetricValue,
    Plan,
    PlannedRun,
    RunResult,
    Suite,
    canonical,
)
from harness.errors import StoreError, UsageError
from harness.plugins.provenance import environment_difference
from harness.results import package
from harness.results.store import Store
from harness.utils import files


def joined(given: Sequence[Plan], runs: Sequence[Sequence[RunResult]]) -> Plan:
    """All that was asked for; what one plan asks for takes the place of nothing in another.

    Args:
        given: the plans.
        runs: the runs that belong to each; a plan without lines asked for these.  If none has
            lines, the whole has none.
    """
    if not any(plan.runs for plan in given):
        return Plan()
    lines: dict[str, PlannedRun] = {}
    suites: dict[str, list[Suite]] = defaultdict(list)
    for plan, there in zip(given, runs, strict=True):
        for line in plan.runs or map(planned, there):
            if len(given) > 1:  # calls of several folders have no order
                line = line.model_copy(update={"call": 0})  # noqa: PLW2901
            lines[line.run_id] = max(line, lines.get(line.run_id, line), key=canonical)
        for name, suite in plan.suites.items():
            suites[name].append(suite)
    settled = {plan.precision for plan in given}
    return Plan(
        precision=settled.pop() if len(settled) == 1 else None,
        suites={name: _suite(same) for name, same in sorted(suites.items())},
        runs=tuple(line for _, line in sorted(lines.items())),
    )


def planned(run: RunResult) -> PlannedRun:
    """The line of a plan that a run answers."""
    return PlannedRun.of(run.spec, run.data.modality if run.data else "unknown")


def _suite(suites: Sequence[Suite]) -> Suite:
    """A suite that several asked parts of: all of its axes, seeds, notes, claims and settings."""
    by_content = {canonical(suite): suite for suite in suites}
    ordered = [suite for _, suite in sorted(by_content.items())]
    whole: dict[str, object] = {}
    for name in Suite.model_fields:
        values = [getattr(suite, name) for suite in ordered]
        if isinstance(values[0], tuple):
            whole[name] = tuple(dict.fromkeys(one for value in values for one in value))
        elif isinstance(values[0], dict):
            whole[name] = {key: one for value in values for key, one in value.items()}
    return ordered[0].model_copy(update=whole)


TOLERANCE = 1e-9


@dataclass(frozen=True)
class FolderContents:
    """The contents of one results folder; `folder`: where, for messages."""

    folder: Path
    results: tuple[RunResult, ...]
    plan: Plan
    failures: tuple[RunResult, ...] = ()


@dataclass(frozen=True)
class MergedContents:
    """The contents of several folders together.

    Attributes:
        homes: run id -> a folder that has the result.
        external: (run id, name of a further test set) -> a folder that has the run's predictions
            on it; where none is named, it is the run's own.
        repeats: run ids that were made in several places and came out differently.
    """

    results: tuple[RunResult, ...] = ()
    plan: Plan = field(default_factory=Plan)
    failures: tuple[RunResult, ...] = ()
    homes: Mapping[str, Path] = field(default_factory=dict)
    external: Mapping[tuple[str, str], Path] = field(default_factory=dict)
    repeats: tuple[str, ...] = ()


def merge_contents(parts: Sequence[FolderContents]) -> MergedContents:
    """One board's results, plan and failures out of several; the order of parts is nothing.

    A run that failed in one folder and finished in another has finished.

    Raises:
        StoreError: two files of one run contradict each other; names both.
    """
    if len(parts) == 1:
        return _alone(parts[0])
    copies: dict[str, list[tuple[RunResult, Path]]] = defaultdict(list)
    for part in parts:
        for result in part.results:
            copies[result.run_id].append((result, part.folder))
    results, homes, repeats = {}, {}, []
    external: dict[tuple[str, str], Path] = {}
    for run_id, same in sorted(copies.items()):
        results[run_id], homes[run_id], agreed = _one_run(same)
        external |= _external_homes(results[run_id], same)
        if not agreed:
            repeats.append(run_id)
    return MergedContents(
        tuple(sorted(results.values(), key=_order)),
        joined([part.plan for part in parts], [_runs(part) for part in parts]),
        _failed(
            failure for part in parts for failure in part.failures if failure.run_id not in results
        ),
        homes,
        external,
        tuple(repeats),
    )


def _alone(part: FolderContents) -> MergedContents:
    homes = dict.fromkeys((result.run_id for result in part.results), part.folder)
    return MergedContents(part.results, part.plan, part.failures, homes)


def contradiction(one: RunResult, other: RunResult) -> str:
    """A difference that no two files of one run may have, wherever they were made; empty: none."""
    if one.spec != other.spec:
        return "they have different specs"
    ours, theirs = one.data, other.data
    if ours and theirs and (ours.classes, ours.counts) != (theirs.classes, theirs.counts):
        return "they have different classes or numbers of images"
    for name in sorted(one.external.keys() & other.external.keys()):
        if one.external[name].fingerprint != other.external[name].fingerprint:
            return f"their external {name!r} are different images"
    return ""


def result_difference(one: RunResult, other: RunResult) -> str:
    """A difference of two results of one run in what was computed; empty: there is none."""
    for name in ("metrics", "validation"):
        ours, theirs = getattr(one, name), getattr(other, name)
        for metric in sorted(ours.keys() & theirs.keys()):
            if not figures_agree(ours[metric], theirs[metric]):
                return f"{name}: {metric} is {_shown(ours[metric])} and {_shown(theirs[metric])}"
    for name in sorted(one.external.keys() & other.external.keys()):
        given, found = one.external[name], other.external[name]
        for metric in sorted(given.metrics.keys() & found.metrics.keys()):
            if not figures_agree(given.metrics[metric], found.metrics[metric]):
                return (
                    f"external {name}: {metric} is {_shown(given.metrics[metric])} and "
                    f"{_shown(found.metrics[metric])}"
                )
    # The same rows in another order are another file: ids were replaced in one of them.
    same_rows = one.data and other.data and one.data.split_sha256 == other.data.split_sha256
    if same_rows and one.predictions != other.predictions:
        return "they have different predictions"
    return ""


def figures_agree(one: MetricValue, other: MetricValue) -> bool:
    """True if two figures are the same up to rounding: 1e-9, class by class."""
    ours, theirs = one.by_class or {}, other.by_class or {}
    return (
        _close(one.value, other.value)
        and ours.keys() == theirs.keys()
        and all(_close(value, theirs[name]) for name, value in ours.items())
    )


class MergedStore:
    """One or several results folders, read once and as a `Store` is read; nothing is written."""

    def __init__(self, stores: Sequence[Store]) -> None:
        self._stores = {store.folder: store for store in stores}
        self._whole = merge_contents([_contents(store) for store in self._stores.values()])

    def results(self) -> tuple[RunResult, ...]:
        """Every finished run, as `Store.results`."""
        return self._whole.results

    def failures(self) -> tuple[RunResult, ...]:
        """Every run that has failed in each folder that has it."""
        return self._whole.failures

    def plan(self) -> Plan:
        """Everything that was asked for in any folder."""
        return self._whole.plan

    def home(self, result: RunResult) -> Store:
        """The folder that a result, its predictions and its split file are in."""
        return self._stores[self._whole.homes[result.run_id]]

    @property
    def repeats(self) -> tuple[str, ...]:
        """Runs that were made in several places and came out differently; the latest stands."""
        return self._whole.repeats

    def predictions(self, result: RunResult) -> Predictions:
        """As `Store.predictions`."""
        return self.home(result).predictions(result)

    def external_home(self, result: RunResult, name: str) -> Store:
        """The folder that a run's predictions on a further test set, and its split file, are in."""
        folder = self._whole.external.get((result.run_id, name))
        return self.home(result) if folder is None else self._stores[folder]

    def external_predictions(self, result: RunResult, name: str) -> Predictions:
        """As `Store.external_predictions`."""
        return self.external_home(result, name).external_predictions(result, name)


def _contents(store: Store) -> FolderContents:
    """The contents of a folder at one moment."""
    with store.unchanged():
        return FolderContents(store.folder, store.results(), store.plan(), store.failures())


@contextlib.contextmanager
def opened(places: Sequence[Path]) -> Iterator[MergedStore]:
    """One folder or several, and what `harness submit` packed, open for reading.

    Raises:
        UsageError: a place holds no runs.
        StoreError: one cannot be read, or two contradict each other.
    """
    with contextlib.ExitStack() as stack:
        folders = [
            stack.enter_context(package.unpacked(place)) if place.suffix == ".zip" else place
            for place in dict.fromkeys(places)
        ]
        stores = [existing(folder) for folder in folders]
        try:
            whole = MergedStore(stores)
        except StoreError as error:
            text = str(error)
            for place, folder in zip(dict.fromkeys(places), folders, strict=True):
                text = text.replace(str(folder), str(place))  # not where it was unpacked
            raise StoreError(text) from error
        yield whole


def check_places(places: Sequence[Path]) -> None:
    """Make sure that there is something to read, without reading it.

    Raises:
        UsageError: a place holds no runs.
        StoreError: one is not there, or may not be looked into.
    """
    for place in places:
        if place.suffix != ".zip":
            existing(place)
        elif not files.exists(place):
            raise StoreError(f"cannot read {place}: there is no such file")


def existing(folder: Path) -> Store:
    """A results folder that is there.

    Raises:
        UsageError: it holds no runs.
    """
    if folder.is_file():
        raise UsageError(
            f"{folder} is a file: give a results folder, or a .zip that `harness submit` wrote"
        )
    if not any(files.holds_any(folder / kind) for kind in ("runs", "failed")):
        raise UsageError(f"{folder} holds no runs; `harness bench --out {folder}` makes some")
    return Store(folder)


# -- runs -------------------------------------------------------------------------------------


def _one_run(copies: Sequence[tuple[RunResult, Path]]) -> tuple[RunResult, Path, bool]:
    """The latest copy, with the figures that only equal copies have; where; whether all agree."""
    if len(copies) == 1:
        return *copies[0], True
    (kept, home), *others = sorted(copies, key=lambda copy: _latest(copy[0]), reverse=True)
    agreed = True
    for result, folder in others:
        why, differ = contradiction(kept, result), result_difference(kept, result)
        if why or (differ and not environment_difference(kept.environment, result.environment)):
            raise StoreError(
                f"{Store(home).place(kept)} and {Store(folder).place(result)} are the same run, "
                f"but {why or differ}: `harness verify` says whether one was changed; take one "
                "of them away"
            )
        if differ:
            agreed = False
            continue
        added = {
            "metrics": {**result.metrics, **kept.metrics},
            "validation": {**result.validation, **kept.validation},
            "external": {**result.external, **_joined(result.external, kept.external)},
        }
        kept = kept.model_copy(update=added)
    return kept, home, agreed


def _external_homes(
    whole: RunResult, copies: Sequence[tuple[RunResult, Path]]
) -> dict[tuple[str, str], Path]:
    """(run id, name) -> the first folder whose files a record of a further test set speaks of."""

    def files_of(one: ExternalRecord | None) -> object:
        return one and (one.predictions, one.split_sha256)

    return {
        (whole.run_id, name): next(
            folder for copy, folder in copies if files_of(copy.external.get(name)) == files_of(one)
        )
        for name, one in whole.external.items()
    }


def _joined(
    added: Mapping[str, ExternalRecord], kept: Mapping[str, ExternalRecord]
) -> dict[str, ExternalRecord]:
    """Further test sets with the figures that only equal copies of them have."""
    return {
        name: record.model_copy(update={"metrics": {**added[name].metrics, **record.metrics}})
        if name in added
        else record
        for name, record in kept.items()
    }


def _failed(failures: Iterable[RunResult]) -> tuple[RunResult, ...]:
    """The latest of every run."""
    found: dict[str, list[RunResult]] = defaultdict(list)
    for failure in failures:
        found[failure.run_id].append(failure)
    return tuple(max(same, key=_latest) for _, same in sorted(found.items()))


def _runs(part: FolderContents) -> tuple[RunResult, ...]:
    return (*part.results, *part.failures)


def _latest(run: RunResult) -> tuple[str, str]:
    return run.finished, canonical(run)


def _order(run: RunResult) -> tuple[str, str, str, str]:
    return run.spec.dataset, run.spec.started, run.spec.strategy, run.run_id


def _close(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= TOLERANCE


def _shown(figure: MetricValue) -> str:
    return "undefined" if figure.value is None else f"{figure.value:.9g}"
