"""Finished runs whose tested weights were kept: found, the file held against the run, rebuilt."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api.execution import ENGINE_VERSION
from harness.api.records import RunResult
from harness.api.strategy import Strategy
from harness.benchmark.identity import ROLES
from harness.benchmark.launch.executor import tested_weights
from harness.benchmark.reuse import find_run, folders_to_search, spec_differences
from harness.benchmark.suite.settings import strategy_of
from harness.errors import StoreError, UsageError, WeightsError
from harness.plugins.registry import PluginRegistry
from harness.results import schema
from harness.results.store import Store, weights_file
from harness.utils import files
from harness.utils.names import did_you_mean, unknown

if TYPE_CHECKING:
    from torch import Tensor, nn

RUN_ID = re.compile(r"[0-9a-f]{1,16}")
DEEP = 4  # folders between a record and its results folder


@dataclass(frozen=True)
class KeptRun:
    """A finished run, and the folder with its tested weights."""

    result: RunResult
    weights: Path

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names, in the order of the network's outputs."""
        if self.result.data is None:
            raise StoreError(f"the record of run {self.result.run_id} does not name its classes")
        return self.result.data.classes

    def network(self, loaded: PluginRegistry, device: str = "cpu") -> nn.Sequential:
        """The network as it was tested.

        Raises:
            PluginError, UsageError: its backbone or strategy is not there, or takes other settings.
            WeightsError: the file is missing, damaged, or of another run or network.
        """
        from harness.engine import rebuilt_network

        spec = self.result.spec
        loaded.choose_backbones([spec.backbone])
        if spec.strategy not in loaded.strategies:
            raise unknown(spec.strategy, loaded.strategies, "strategy")
        backbone = loaded.backbones[spec.backbone]
        strategy = strategy_of(loaded, spec.strategy, spec.settings)
        tensors = self._tensors()
        try:
            return rebuilt_network(spec, backbone, strategy, len(self.classes), tensors, device)
        except WeightsError as error:
            raise WeightsError(
                f"{self._file} holds another network than {spec.cell} with {len(self.classes)} "
                f"classes: {error}"
            ) from error

    @property
    def _file(self) -> Path:
        return weights_file(self.weights, self.result.run_id)

    def _tensors(self) -> dict[str, Tensor]:
        run_id = self.result.run_id
        if not files.exists(self._file):
            raise WeightsError(
                f"run {run_id} ({self.result.spec.cell}) has no weights at {self._file}: `bench "
                "--save-weights` keeps them. A run that is there is not made again, so give it "
                "another folder with --out"
            )
        return tested_weights(self._file, run_id)


def find_tested(
    name: str, results: Path | None = None, *, seed: int | None = None, weights: Path | None = None
) -> list[KeptRun]:
    """The run that a record file or an id names, or the runs of a cell, one a seed.

    Args:
        name: path of a run's record, first digits of its id, or DATASET/BACKBONE/STRATEGY.
        results: the results folder that is searched; None: all in `results`.
        seed: only this run of a cell.
        weights: a folder with the weights; None: `weights` in the results folder.

    Raises:
        UsageError: no such name or results folder; or the runs of the cell differ in more than their seeds.
        StoreError: no run, or several, have such an id; or the run has failed.
    """
    places = folders_to_search(results)
    if name.endswith(".json"):
        found = [_recorded(Path(name))]
    elif RUN_ID.fullmatch(name):
        found = [find_run(places, name, named=results is not None)]
    else:
        found = _cell(name, places, seed)
    if seed is not None and any(result.spec.seed != seed for _, result in found):
        raise UsageError(
            f"--seed {seed}: run {found[0][1].run_id} has seed {found[0][1].spec.seed}"
        )
    if failed := [result for _, result in found if result.status != "ok"]:
        raise StoreError(
            f"run {failed[0].run_id} ({failed[0].spec.cell}) failed: it has no weights"
        )
    return [KeptRun(result, weights or store.folder / "weights") for store, result in found]


def remarks(run: KeptRun, loaded: PluginRegistry) -> Iterator[str]:
    """Sentences on code that is not what made the run, and on what its figures do not say."""
    spec = run.result.spec
    if spec.engine != ENGINE_VERSION:
        yield f"it was made by engine {spec.engine}, this is engine {ENGINE_VERSION}"
    adapts = loaded.strategies[spec.strategy].adapt is not Strategy.adapt
    for role in ("backbone", "strategy") if adapts else ("backbone",):
        name = getattr(spec, role)
        code = loaded.source(ROLES[role], name)
        if code != spec.sources.get(role):
            yield f"the code of {role} {name!r} is not the code that made it"
    if spec.limit is not None:
        yield f"it was trained on at most {spec.limit} images a split"
    if run.result.shortened:
        yield "it was trained for other epochs than its suite asks for"


def _recorded(path: Path) -> tuple[Store, RunResult]:
    result = schema.load(path, RunResult)
    if len(path.resolve().parents) <= DEEP:
        raise StoreError(f"{path} lies in no results folder; give its id or its cell")
    return Store(path.resolve().parents[DEEP]), result


def _cell(name: str, places: Sequence[Path], seed: int | None) -> list[tuple[Store, RunResult]]:
    parts = name.split("/")
    if len(parts) != 3:  # noqa: PLR2004 - dataset, backbone, strategy
        raise UsageError(
            f"{name!r} is no run: give the first digits of an id, the path of a record "
            "(.json), or DATASET/BACKBONE/STRATEGY"
        )
    runs = [(store, run) for store in map(Store, places) for run in _asked_for(store)]
    cells = dict.fromkeys(run.spec.cell.replace(" ", "") for _, run in runs)
    if name not in cells:
        where = ", ".join(map(str, places)) or "results/"
        raise UsageError(
            f"no finished run of {name!r} in {where}{did_you_mean(name, cells)}; give the results "
            "folder with --results"
        )
    found = [
        (store, run)
        for store, run in runs
        if run.spec.cell.replace(" ", "") == name and seed in {None, run.spec.seed}
    ]
    if not found:
        raise UsageError(f"--seed {seed}: no finished run of {name!r} has it")
    _check_alike(name, found)
    return sorted(found, key=lambda one: one[1].spec.seed)


def _asked_for(store: Store) -> list[RunResult]:
    """Finished runs of a folder, without those that changed code or data has replaced."""
    planned = {run.run_id for run in store.plan().runs}
    return [run for run in store.results() if not planned or run.run_id in planned]


def _check_alike(name: str, found: Sequence[tuple[Store, RunResult]]) -> None:
    """The runs of a cell are predicted together if nothing but their seeds differs."""
    first = found[0]
    for store, run in found[1:]:
        apart = [one for one in spec_differences(first[1].spec, run.spec) if one[0] != "seed"]
        if apart or store.folder != first[0].folder or run.spec.seed == first[1].spec.seed:
            what, one, other = apart[0] if apart else ("folder", first[0].folder, store.folder)
            raise UsageError(
                f"{len(found)} runs of {name!r} differ in more than their seeds: {what} is {one} in "
                f"run {first[1].run_id} and {other} in run {run.run_id}; give the id of one run"
            )
