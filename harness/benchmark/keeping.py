"""Outcomes kept while runs go on: none that follows from damaged images, none lost to a full disk."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.api.execution import Outcome
from harness.api.metric import is_pending
from harness.api.records import RunResult, RunSpec
from harness.benchmark.external import ExternalKeeper
from harness.benchmark.profile import DecodingCost
from harness.benchmark.unfinished import forget
from harness.data.cache.check import PixelCheck, check_aside
from harness.data.preparation.prepare import PreparedDataset
from harness.errors import HarnessError, StoreError
from harness.plugins.registry import PluginRegistry, load_plugins
from harness.results.rescore import complete, give_up
from harness.results.store import Store, weights_file
from harness.utils import files, signs
from harness.utils.parallel import uninterrupted, without_main


class DamagedImages(Exception):  # noqa: N818 - a way out of the runs
    """The images that a run was carried out on are not those that were decoded."""

    def __init__(self, dataset: str) -> None:
        super().__init__(
            f"{dataset}: its images in the cache are not those that were decoded (the disk lost "
            "some, or their file was changed): they are decoded again, and runs on them begin anew"
        )
        self.dataset = dataset


@dataclass
class OutcomeKeeper:
    """Keep outcomes in the store, none that follows from damaged images.

    Attributes:
        checks: dataset -> the checks of its images that are due.
        kept: ids of what was stored.
        early: id -> record of a run that was stored before its figures were computed.
        external: what finished runs are carried out again for.
    """

    store: Store
    decoding: DecodingCost
    say: Callable[[str], None]
    weights_folder: Path | None
    checks: Mapping[str, tuple[PixelCheck, ...]] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)
    early: dict[str, RunResult] = field(default_factory=dict)
    external: ExternalKeeper | None = None

    def carry_out(
        self,
        specs: Sequence[RunSpec],
        datasets: Mapping[str, PreparedDataset],
        execute: Callable[[Sequence[RunSpec]], None],
        decode_again: Callable[[str], None],
    ) -> None:
        """Execute all runs; those on images that turn out damaged begin anew on sound ones.

        Args:
            specs: the runs.
            datasets: by name; `decode_again` puts another in the place of a damaged one.
            execute: carries runs out and hands each outcome to `keep`.
            decode_again: makes a dataset ready once more, by its name.
        """
        while left := [spec for spec in specs if spec.run_id not in self.kept]:
            self.checks = {name: one.checks for name, one in datasets.items()}
            used = dict.fromkeys(spec.dataset for spec in left)
            check_aside([check for name in used for check in self.checks[name]])
            try:
                execute(left)
            except DamagedImages as damaged:
                self.say(str(damaged))
                forget(self.store.folder, (s.run_id for s in left if s.dataset == damaged.dataset))
                decode_again(damaged.dataset)
            else:
                return

    def keep(self, outcome: Outcome) -> RunResult:
        """Store an outcome, and return the record that was written.

        One that waits for its figures comes twice: before a metric is called, which may end the
        process, and with them.  If it fails in between, what it was trained to is kept.

        Raises:
            DamagedImages: it follows from other images than those of the dataset.
        """
        again = self.external is not None and outcome.result.run_id in self.external.again
        if is_pending(outcome.result):
            if not again:
                self._keep_early(outcome)
            return outcome.result
        if outcome.result.status != "ok" and outcome.result.run_id in self.early:
            return self._without_figures(outcome.result)
        dataset = outcome.result.spec.dataset
        if self._damaged(dataset):
            raise DamagedImages(dataset)
        if again and self.external is not None:
            self.kept.add(outcome.result.run_id)
            forget(self.store.folder, [outcome.result.run_id])
            return self.external.keep(self.decoding.charge(outcome, settle=False))
        return self._stored(self.decoding.charge(outcome))

    def _stored(self, outcome: Outcome) -> RunResult:
        try:
            result = self.store.add(outcome)
        except StoreError as error:
            if not (files.is_full(error) and self._drop_weights(outcome.result)):
                raise
            result = self.store.add(outcome)
        self.kept.add(result.run_id)
        if result.status == "ok":  # one that failed may go on from there, if it is tried again
            forget(self.store.folder, [result.run_id])
        return result

    def _damaged(self, dataset: str) -> bool:
        with signs.doing(f"checking the cached images of {dataset}"):
            return any(check.damaged() for check in self.checks.get(dataset, ()))

    def _keep_early(self, outcome: Outcome) -> None:
        run = outcome.result
        with contextlib.suppress(StoreError):  # met, and told, again at the run's end
            if self._damaged(run.spec.dataset):
                return
            self.early[run.run_id] = self.store.add(self.decoding.charge(outcome, settle=False))

    def _without_figures(self, failed: RunResult) -> RunResult:
        """The record of a run that was trained and ended while its figures were computed."""
        why = failed.error.headline if failed.error else failed.status
        result = give_up(self.store, self.early[failed.run_id], why)
        self.kept.add(result.run_id)
        forget(self.store.folder, [result.run_id])
        self.say(_without_figures(self.store, result))
        return result

    def _drop_weights(self, result: RunResult) -> bool:
        """Give the space of a run's weights to its record and logits; False: it has none."""
        if self.weights_folder is None:
            return False
        path = weights_file(self.weights_folder, result.run_id)
        if not files.exists(path):
            return False
        files.remove(path)
        self.say(f"weights not kept: {path} was removed, for the disk is full; the run is kept")
        return True


def _without_figures(store: Store, result: RunResult) -> str:
    return (
        f"{result.spec.cell} (seed {result.spec.seed}) is trained and kept without figures, for a metric "
        f"ended its process: `harness score {store.folder} --metric NAMES` computes them"
    )


def complete_runs(
    store: Store, specs: Sequence[RunSpec], loaded: PluginRegistry, say: Callable[[str], None]
) -> None:
    """Compute the figures of runs that an earlier call had trained when its process ended.

    In a process of their own, which a metric may end once more; then they are left without.
    """
    waiting = store.pending(specs)
    if not waiting:
        return
    say(f"{len(waiting)} runs were trained by a call that ended before their figures: now computed")
    process = multiprocessing.get_context("spawn").Process(
        target=_complete, args=(store.folder, specs, loaded.args), daemon=True
    )
    with uninterrupted(), without_main():
        process.start()
    with signs.doing(f"computing figures of {len(waiting)} runs"):
        process.join()
    for result in store.pending(specs):
        give_up(store, result, f"the process that computed it ended with code {process.exitcode}")
        say(_without_figures(store, result))


def _complete(folder: Path, specs: Sequence[RunSpec], plugins: Sequence[str]) -> None:
    store, loaded = Store(folder), load_plugins(plugins)
    for result in store.pending(specs):
        try:
            complete(store, result, loaded)
        except HarnessError as error:
            give_up(store, result, str(error))


def without_weights(store: Store, asked: frozenset[str], folder: Path | None) -> list[RunResult]:
    """Finished runs whose weights should be kept in `folder` and are not there."""
    if folder is None:
        return []
    finished = (run for run in store.results() if run.run_id in asked)
    return [run for run in finished if not files.exists(weights_file(folder, run.run_id))]
