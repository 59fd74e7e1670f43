"""What a call settles before anything runs: data, weights, identities; all that can be wrong is found."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from harness import data, fetch, inventory, lock, modes, provenance, sizing, weights, weights_file
from harness.dataset import Access
from harness.errors import DataError, WeightsError
from harness.plugins import Loaded
from harness.progress import Decoding
from harness.records import NumericMode, Plan, PlannedRun, RunSpec
from harness.suite import Chosen, Facts, Request
from harness.weights_file import WeightsFile

Say = Callable[[str], None]


def stages(
    chosen: Chosen, request: Request, device: str, jobs: int | None
) -> list[tuple[str, ...]]:
    """Datasets that are made ready together, the first before anything runs.

    Beside a card the cores are idle: there the runs of the first dataset need not wait for the
    others.  On a CPU decoding and training would share the cores; runs side by side (`jobs`, None:
    chosen later) go on from one dataset to the next, where all must be there; and a shard is told by
    run ids, which are known when all data are.
    """
    alone = (jobs or sizing.worth(chosen.suite.protocol)) == 1
    if not device.startswith("cuda") or not alone or request.shard is not None:
        return [tuple(chosen.datasets)]
    drawn = [name for name, one in chosen.datasets.items() if one.procedural]
    others = [name for name in chosen.datasets if name not in drawn]
    return [(*drawn, *others[:1]), *((name,) for name in others[1:])]


def prepare_data(
    chosen: Chosen,
    access: Access,
    limit: int | None,
    say: Say,
    halt: Callable[[], None] | None = None,
) -> dict[str, data.Prepared]:
    """Every dataset, decoded.

    Raises:
        DataError: one is broken.
    """
    found = {}
    for name, dataset in chosen.datasets.items():
        started = time.perf_counter()
        progress = Decoding(name, say, halt)
        made = data.prepare(dataset, chosen.suite.protocol, access, limit=limit, progress=progress)
        found[name] = replace(made, seconds=time.perf_counter() - started)
        skipped = found[name].images.record.skipped
        if skipped:
            say(f"{name}: {len(skipped)} bad images left out: {', '.join(skipped[:5])}")
    return found


def require(chosen: Chosen, loaded: Loaded, request: Request, access: Access) -> None:
    """Make sure that all published data and weights are here: nothing is fetched unasked.

    Raises:
        DataError: what is missing, and the one command that fetches it.
    """
    needs = [
        *inventory.data_needs(chosen.datasets, access).values(),
        *weights_needs(chosen, loaded, request).values(),
    ]
    problem = inventory.refusal(chosen.suite.name, needs, _command(chosen, request, access, needs))
    if problem:
        raise DataError(problem)


def _command(
    chosen: Chosen, request: Request, access: Access, needs: Sequence[inventory.Need]
) -> list[str]:
    """What fetches all that is missing: by the suite's name where all of it was asked for."""
    command = ["harness", "data", "fetch"]
    if request.datasets or request.backbones or weights_from(chosen, request) is not None:
        missing = [need for need in needs if need.fetchable and not need.ready]
        command += [need.name for need in missing if need.kind == "data"]
        backbones = ",".join(need.name for need in missing if need.kind == "weights")
        command += ["--backbones", backbones] * bool(backbones)
    else:
        command += ["--suite", request.suite or chosen.suite.name]
    return command + ["--lock", str(access.lock)] * (access.lock != Access().lock)


def find_weights(
    backbones: Sequence[str], loaded: Loaded, where: str | None, access: Access
) -> dict[str, WeightsFile | None]:
    """Each backbone's weights file; all that is wrong is told in one message.

    Raises:
        WeightsError: weights that cannot be had, or are of another architecture; what to do.
    """
    found, problems = {}, []
    locked = lock.read(access.lock)
    for name in backbones:
        try:
            file = weights_file.find(loaded.backbones[name], where, offline=access.offline)
            if file is not None and where in {None, "default"}:
                fetch.check_weights(locked, name, file.path, file.sha256)
            elif file is not None:  # of one's own: whether it fits does not depend on the classes
                weights.load(loaded.backbones[name], 2, file)
            found[name] = file
        except WeightsError as error:
            problems.append(str(error))
    if problems:
        raise WeightsError("\n".join(problems))
    return found


def weights_from(chosen: Chosen, request: Request) -> str | None:
    """Where weights come from: `none`, a folder, or None for what the backbones declare."""
    return "none" if chosen.suite.weights == "none" else request.weights


def weights_needs(chosen: Chosen, loaded: Loaded, request: Request) -> dict[str, inventory.Need]:
    """What the call's backbones need from elsewhere."""
    backbones = [loaded.backbones[name] for name in chosen.suite.backbones]
    return inventory.weights_needs(backbones, weights_from(chosen, request))


def facts(
    chosen: Chosen,
    loaded: Loaded,
    fingerprints: Mapping[str, str],
    files: Mapping[str, WeightsFile | None],
    numeric: Mapping[tuple[str, str], NumericMode],
) -> Facts:
    """What is not here has no identity yet."""
    hashes = {name: file.sha256 if file else "none" for name, file in files.items()}
    return Facts(
        data=dict.fromkeys(chosen.datasets, "not fetched") | dict(fingerprints),
        weights=dict.fromkeys(chosen.suite.backbones, "not fetched") | hashes,
        sources=_sources(chosen, loaded),
        numeric=numeric,
    )


def numeric(
    chosen: Chosen, loaded: Loaded, images: Mapping[str, int], wish: modes.Wish
) -> dict[tuple[str, str], NumericMode]:
    """How each (dataset, backbone) is computed; `images`: of the training split, where known."""
    suite = chosen.suite
    return {
        (dataset, backbone): modes.numeric(
            wish, loaded.backbones[backbone], suite.protocol, images.get(dataset)
        )
        for dataset in suite.datasets
        for backbone in suite.backbones
    }


def _sources(chosen: Chosen, loaded: Loaded) -> dict[tuple[str, str], str]:
    """sha256 of the code of every plugin that moves a number of this suite."""
    wanted = [
        *(("backbones", name) for name in chosen.suite.backbones),
        *(("strategies", name) for name in chosen.suite.strategies),
        ("metrics", chosen.suite.protocol.metric),
    ]
    return {key: provenance.source_hash(loaded.owner(*key).module) for key in wanted}


def plan_of(chosen: Chosen, specs: Sequence[RunSpec]) -> Plan:
    """What is asked for, in the form that adds up over calls."""
    runs = [
        PlannedRun(
            run_id=spec.run_id,
            dataset=spec.dataset,
            modality=chosen.datasets[spec.dataset].modality,
            backbone=spec.backbone,
            strategy=spec.strategy,
            settings=spec.settings,
            protocol=spec.protocol.name,
            seed=spec.seed,
            limit=spec.limit,
            epochs=spec.protocol.epochs,
            weights="none" if spec.weights == "none" else "loaded",
            precision=spec.numeric.precision,
        )
        for spec in specs
    ]
    return Plan(suites={chosen.suite.name: chosen.suite}, runs=tuple(runs))
