"""Replay: carry some runs of a folder out again and compare their predictions sample by sample."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness import weights
from harness.api.dataset import Access, Dataset
from harness.api.execution import ENGINE_VERSION, Engine, Outcome, Predictions
from harness.api.records import MetricValue, RunResult, RunSpec, canonical
from harness.benchmark.identity import ROLES, code_names
from harness.benchmark.launch.dispatch import execute_runs
from harness.benchmark.launch.executor import WorkerSetup
from harness.benchmark.listeners.events import Group, RunListener
from harness.benchmark.suite.resolve import with_folders
from harness.data import lock
from harness.data.division.split import Division
from harness.data.folder import parse_data_option, with_options, with_windows
from harness.data.preparation.prepare import PreparedDataset, prepare_dataset
from harness.errors import DataError, HarnessError, WeightsError
from harness.plugins import provenance
from harness.plugins.registry import PluginRegistry
from harness.results.rescore import compute
from harness.results.store import Store
from harness.results.verify.agreement import Figures, find_agreement, mean_distance
from harness.results.verify.report import Replayed
from harness.utils.names import did_you_mean
from harness.weights import WeightsFile
from harness.weights.starts import beginnings, start_of


@dataclass(frozen=True)
class ReplayOptions:
    """Choice of the runs to run again, and the means.

    Attributes:
        count: how many, chosen at random by `seed` among those that hold.
        device: as for `bench`; None: 'cuda' for runs made there, if there is one, else 'cpu'.
        data: `--data` options, for datasets that are folders.
        columns, join_labels, window: as for `bench`.
        weights: `--weights`.
    """

    count: int
    seed: int = 0
    device: str | None = None
    data: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    join_labels: bool = False
    window: tuple[str, ...] = ()
    weights: str | None = None
    access: Access = field(default_factory=Access)


def replay(
    results: Sequence[RunResult], store: Store, loaded: PluginRegistry, options: ReplayOptions
) -> list[Replayed]:
    """Run `options.count` of the results again, or all if there are no more."""
    listed = sorted(results, key=lambda result: result.run_id)
    chosen = random.Random(options.seed).sample(listed, min(options.count, len(listed)))  # noqa: S311
    runner = _Runner(loaded, options)
    return [_replay(result, store, runner) for result in chosen]


def _replay(result: RunResult, store: Store, runner: _Runner) -> Replayed:
    try:
        outcome = runner.run(result, store)
    except HarnessError as error:
        return Replayed(result, False, "nothing", None, f"it cannot be run again: {error}")
    if outcome.predictions is None:
        why = outcome.result.error.headline if outcome.result.error else outcome.result.status
        return Replayed(result, False, "nothing", None, f"run again, it failed: {why}")
    classes = result.data.classes if result.data else ()
    names = [name for name in sorted(result.metrics) if name in runner.loaded.metrics]

    def figures(predictions: Predictions) -> Mapping[str, MetricValue]:
        few = result.spec.present_only
        return compute(names, predictions, "test", classes, runner.loaded, present_only=few)

    def again() -> Outcome:
        return runner.run(result, store, rounding_differently=True)

    return compare(result, store.predictions(result), outcome, again, figures)


def compare(
    result: RunResult,
    stored: Predictions,
    outcome: Outcome,
    again: Callable[[], Outcome],
    figures: Figures,
) -> Replayed:
    """Bit for bit where device kind and library versions are those of the run, else by two replays.

    Args:
        result: the record, from the folder.
        stored: its predictions.
        outcome: the run as it was carried out here.
        again: carries it out once more so that it rounds differently; called where bits and
            environment differ.
        figures: metric -> its value on the test rows of some predictions.
    """
    found = outcome.predictions
    if found is None:
        raise HarnessError(f"run {result.run_id} came back without predictions")
    where = provenance.environment_difference(outcome.result.environment, result.environment)
    splits = sorted(stored.logits)
    if all(stored.logits[split].tobytes() == found.logits[split].tobytes() for split in splits):
        return Replayed(result, True, "bits", 0.0, "run again, every logit has the same bits")
    if not where:
        moved = mean_distance(stored, found)
        told = (
            f"run again, its logits have other bits (probabilities differ by {moved:.2g} in the "
            "mean), though device kind, processor and library versions are the same"
        )
        return Replayed(result, False, "bits", moved, told)
    second = again()
    if second.predictions is None:
        why = second.result.error.headline if second.result.error else second.result.status
        return Replayed(
            result,
            False,
            "nothing",
            None,
            f"figures not confirmed: run a second time, it failed: {why}",
        )
    found_here = find_agreement(stored, (found, second.predictions), figures)
    told = (
        f"run twice again with {where}, the second time with "
        f"{provenance.environment_difference(second.result.environment, outcome.result.environment)}"
        f": {found_here.told}"
    )
    if outcome.result.tested != result.tested:
        told += f"; it tested {outcome.result.tested!r} instead of {result.tested!r}"
    if not found_here.holds:
        told = f"figures not confirmed: {told}"
    return Replayed(result, found_here.holds, "figures", found_here.difference, told)


# -- what a run needs -------------------------------------------------------------------------


class _Kept(RunListener):
    """The outcome of the last run."""

    outcome: Outcome | None = None

    def run_end(self, spec: RunSpec, outcome: Outcome) -> None:
        self.outcome = outcome


class _Runner:
    """Carries runs out again; prepared data is kept from one to the next."""

    def __init__(self, loaded: PluginRegistry, options: ReplayOptions) -> None:
        self.loaded, self.options = loaded, options
        own = with_options(
            [parse_data_option(one) for one in options.data],
            options.columns,
            join_labels=options.join_labels,
        )
        own = with_windows(own, options.window)
        self.datasets: Mapping[str, Dataset] = with_folders(loaded.datasets, own)
        self._prepared: dict[str, PreparedDataset] = {}

    def run(
        self, result: RunResult, store: Store, *, rounding_differently: bool = False
    ) -> Outcome:
        """The run, carried out here as it was made, or by the other engine on one more thread.

        Raises:
            HarnessError: code, data or weights are not those of the run.
        """
        spec = result.spec
        self._check_code(spec)
        prepared = self._data(result, store)
        device = self.options.device or _device_of(result)
        made = result.environment
        setup = WorkerSetup(
            suite=result.suite,
            images={Group.of(spec).images: prepared.images},
            weights={spec.started: self._weights(result, store)},
            device=device,
            threads=(made and made.threads) or 1,
            engine=(made and made.engine) or "fast",
        )
        if rounding_differently:
            other: Engine = "reference" if setup.engine == "fast" else "fast"
            setup = replace(setup, engine=other, threads=setup.threads + 1)
        kept = _Kept()
        execute_runs([spec], setup, self.loaded, kept)
        if kept.outcome is None:
            raise HarnessError("nothing carried it out")
        return kept.outcome

    def _check_code(self, spec: RunSpec) -> None:
        if spec.engine != ENGINE_VERSION:
            raise HarnessError(f"made by engine {spec.engine}, this is engine {ENGINE_VERSION}")
        with suppress(KeyError):
            self.loaded.backbones[spec.backbone]  # a plugin that refuses it says why
        for role, name in code_names(spec).items():
            known = getattr(self.loaded, ROLES[role])
            if name not in known:
                raise HarnessError(
                    f"no plugin offers the {role} {name!r}{did_you_mean(name, known)}; "
                    "give the plugin with -p"
                )
            if self.loaded.source(ROLES[role], name) != spec.sources.get(role):
                raise HarnessError(
                    f"the code of {role} {name!r} is not the code that made it: install the "
                    "version that its record names"
                )

    def _data(self, result: RunResult, store: Store) -> PreparedDataset:
        spec, record = result.spec, result.data
        if spec.dataset not in self.datasets:
            near = did_you_mean(spec.dataset, self.datasets)
            raise DataError(
                f"no dataset {spec.dataset!r}{near}; give its folder with --data "
                f"{spec.dataset}=FOLDER, or its plugin with -p"
            )
        prepared = self._prepare(result)
        if prepared.fingerprint != spec.data:  # divided as a file said, which lies in the folder
            prepared = self._prepare(result, {spec.dataset: store.split_file(result)})
        elif record and prepared.splits.sha256 != record.split_sha256:
            raise DataError(
                f"the rows of dataset {spec.dataset!r} are in another order: its ids were replaced "
                "for publication; run the original results folder again"
            )
        if prepared.fingerprint != spec.data:
            raise DataError(f"dataset {spec.dataset!r} is not the data it was trained on")
        return prepared

    def _prepare(
        self, result: RunResult, given: Mapping[str, Path] | None = None
    ) -> PreparedDataset:
        """The data of a run; `given`: dataset -> a file that says how it is divided."""
        spec, record = result.spec, result.data
        division, file = Division.of(spec), "" if given is None else str(given[spec.dataset])
        key = f"{spec.dataset} {spec.limit} {spec.labels} {canonical(spec.seen)} {file}"
        if key not in self._prepared:
            access = replace(
                self.options.access,
                skip_bad_images=bool(record and record.skipped),
                allow_missing_classes=True,
                splits=given or {},
            )
            # All divisions of a dataset share the images that are decoded for the first.
            seed = 0 if given is None else spec.protocol.split_seed
            first = spec.seen.model_copy(update={"split_seed": seed})
            self._prepared[key] = prepare_dataset(
                self.datasets[spec.dataset], first, access, limit=spec.limit, divisions=[division]
            ).divided(division)
        return self._prepared[key]

    def _weights(self, result: RunResult, store: Store) -> WeightsFile | None:
        spec = result.spec
        if spec.weights == "none":
            return None
        backbone = self.loaded.backbones[spec.backbone]
        where = None if self.options.weights == "none" else self.options.weights
        start = start_of(spec, store.plan().suites.get(result.suite))
        locked = lock.read(self.options.access.lock).weights
        (one,) = beginnings([backbone], where, start, locked)
        file = weights.find_weights(one.backbone, one.where, offline=self.options.access.offline)
        if file is None or file.sha256 != spec.weights:
            raise WeightsError(
                f"the weights of {spec.started} are not those it started from (sha256 "
                f"{spec.weights[:12]}...): give their folder with --weights DIR"
            )
        return file


def _device_of(result: RunResult) -> str:
    """The kind of device the run was made on, where there is one."""
    if result.environment is None or not result.environment.device.startswith("cuda"):
        return "cpu"
    import torch

    return "cuda:0" if torch.cuda.is_available() else "cpu"
