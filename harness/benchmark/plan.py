"""What a call will run: every run, and how it is computed; all that can be wrong is found here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness import weights
from harness.api.dataset import Access
from harness.api.records import NumericMode, Plan, PlannedRun, RunSpec
from harness.benchmark import numerics
from harness.benchmark.identity import run_specs
from harness.benchmark.request import BenchOptions, BenchRequest
from harness.benchmark.sizing import side_by_side
from harness.benchmark.suite import ResolvedSuite
from harness.data import fetch, lock, requirements
from harness.data.preparation import DatasetInfo
from harness.errors import DataError, WeightsError
from harness.plugins.registry import PluginRegistry
from harness.weights import WeightsFile


@dataclass(frozen=True)
class BenchPlan:
    """Every run that was asked for, and how it is computed.

    Attributes:
        datasets: what is known of the datasets that are here.
        weights: the weights files that are here; None: random weights.
        numeric: (dataset, backbone) -> how numbers are computed.
        jobs: runs side by side.
        memory: what is planned of a card's memory, in words.
    """

    resolved: ResolvedSuite
    specs: tuple[RunSpec, ...]
    datasets: Mapping[str, DatasetInfo]
    weights: Mapping[str, WeightsFile | None]
    numeric: Mapping[tuple[str, str], NumericMode]
    device: str
    jobs: int
    memory: str

    def record(self) -> Plan:
        """What is asked for, in the form that adds up over calls."""
        suite, datasets = self.resolved.suite, self.resolved.datasets
        runs = (PlannedRun.of(spec, datasets[spec.dataset].modality) for spec in self.specs)
        return Plan(suites={suite.name: suite}, runs=tuple(runs))


def make_plan(
    resolved: ResolvedSuite,
    request: BenchRequest,
    options: BenchOptions,
    loaded: PluginRegistry,
    datasets: Mapping[str, DatasetInfo],
    files: Mapping[str, WeightsFile | None],
) -> BenchPlan:
    """`datasets` and `files` (weights of backbones): as far as they are here."""
    suite, modes = resolved.suite, {}
    for dataset in suite.datasets:
        images = datasets[dataset].counts["train"] if dataset in datasets else None
        for name in suite.backbones:
            modes[dataset, name] = numerics.numeric_mode(
                options, request.precision, loaded.backbones[name], suite.protocol, images
            )
    specs = run_specs(resolved, request, loaded, modes, datasets, files)
    jobs, memory = side_by_side(specs, datasets, loaded, options)
    return BenchPlan(resolved, specs, datasets, files, modes, options.device, jobs, memory)


def require(
    resolved: ResolvedSuite, loaded: PluginRegistry, request: BenchRequest, access: Access
) -> None:
    """Make sure that all published data and weights are here: nothing is fetched unasked.

    Raises:
        DataError: what is missing, and the one command that fetches it.
    """
    needs = [
        *requirements.data_needs(resolved.datasets, access).values(),
        *weights_needs(resolved, loaded, request).values(),
    ]
    problem = requirements.missing_message(
        resolved.suite.name, needs, _command(resolved, request, access, needs)
    )
    if problem:
        raise DataError(problem)


def _command(
    resolved: ResolvedSuite,
    request: BenchRequest,
    access: Access,
    needs: Sequence[requirements.Requirement],
) -> list[str]:
    """What fetches all that is missing: by the suite's name where all of it was asked for."""
    command = ["harness", "data", "fetch"]
    if request.datasets or request.backbones or weights_from(resolved, request) is not None:
        missing = [need for need in needs if need.fetchable and not need.ready]
        command += [need.name for need in missing if need.kind == "data"]
        backbones = ",".join(need.name for need in missing if need.kind == "weights")
        command += ["--backbones", backbones] * bool(backbones)
    else:
        command += ["--suite", request.suite or resolved.suite.name]
    return command + ["--lock", str(access.lock)] * (access.lock != Access().lock)


def find_weights(
    backbones: Sequence[str], loaded: PluginRegistry, where: str | None, access: Access
) -> dict[str, WeightsFile | None]:
    """Each backbone's weights file; all that is wrong is told in one message.

    Raises:
        WeightsError: weights that cannot be had, or are of another architecture; what to do.
    """
    found, problems = {}, []
    locked = lock.read(access.lock)
    for name in backbones:
        try:
            file = weights.find_weights(loaded.backbones[name], where, offline=access.offline)
            if file is not None and where in {None, "default"}:
                fetch.check_weights(locked, name, file.path, file.sha256)
            elif file is not None:  # of one's own: whether it fits does not depend on the classes
                weights.load_weights(loaded.backbones[name], 2, file)
            found[name] = file
        except WeightsError as error:
            problems.append(str(error))
    if problems:
        raise WeightsError("\n".join(problems))
    return found


def weights_from(resolved: ResolvedSuite, request: BenchRequest) -> str | None:
    """Where weights come from: `none`, a folder, or None for what the backbones declare."""
    return "none" if resolved.suite.weights == "none" else request.weights


def weights_needs(
    resolved: ResolvedSuite, loaded: PluginRegistry, request: BenchRequest
) -> dict[str, requirements.Requirement]:
    """What the call's backbones need from elsewhere."""
    backbones = [loaded.backbones[name] for name in resolved.suite.backbones]
    return requirements.weights_needs(backbones, weights_from(resolved, request))
