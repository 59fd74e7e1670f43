"""`harness data fetch`: bring published data and weights here, check every byte, lock them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.session import LOCK, Session, comma_names, example, pass_session
from harness.errors import DataError, HarnessError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.api.backbone import Backbone
    from harness.api.dataset import Access, Dataset
    from harness.api.records import Suite
    from harness.data.hub import HubDataset
    from harness.plugins.registry import PluginRegistry
    from harness.utils.progress import Meter
    from harness.weights.starts import Start


@click.command(epilog=example("harness data fetch --suite folders"))
@click.argument("datasets", nargs=-1, metavar="[DATASETS]...")
@click.option("--suite", metavar="SUITE", help="What a suite needs: its datasets and weights.")
@click.option(
    "--backbones",
    callback=comma_names,
    metavar="NAMES",
    help="Weights: names or globs, with commas.",
)
@click.option(
    "--starts",
    callback=comma_names,
    metavar="NAMES",
    help="Of these backbones, or of the suite's: starting points, as bench takes them.",
)
@LOCK
@pass_session
def command(
    session: Session,
    /,
    datasets: tuple[str, ...],
    suite: str | None,
    backbones: tuple[str, ...],
    starts: tuple[str, ...],
    lock: Path,
) -> None:
    """Fetch datasets and weights once, check and lock them.

    What is here and right is not fetched again, and a call that failed goes on where it stopped.
    With --offline nothing is fetched: it checks that everything is here.
    """
    from harness.api.dataset import Access
    from harness.utils.progress import Meter

    loaded = session.plugins
    if not (datasets or suite or backbones):
        raise UsageError("name datasets (`harness list datasets`), or give --suite or --backbones")
    if starts and not (suite or backbones):
        raise UsageError("--starts is of backbones: name them with --backbones, or give --suite")
    asked = _suite(suite, loaded) if suite else None
    access, meter = Access(offline=session.offline, lock=lock), Meter()
    jobs = [
        *_data_jobs(datasets, asked, loaded, access, meter),
        *_weights_jobs(backbones, starts, asked, loaded, access),
    ]
    problems = []
    for job in jobs:
        try:
            click.echo(job())
        except HarnessError as error:  # the others are fetched all the same
            problems.append(error)
    if problems:
        raise type(problems[0])("\n".join(map(str, problems)))
    click.echo(f"locked in {lock}" if jobs else "nothing to fetch")


def _suite(name: str, loaded: PluginRegistry) -> Suite:
    from harness.benchmark.suite.file import named_suite, read_suite

    if name.endswith(".toml"):
        return read_suite(Path(name), loaded)[0]
    return named_suite(name, loaded)


def _data_jobs(
    names: tuple[str, ...],
    suite: Suite | None,
    loaded: PluginRegistry,
    access: Access,
    meter: Meter,
) -> list[Callable[[], str]]:
    from harness.data.hub import HubDataset
    from harness.utils.names import choose

    of_suite = suite.datasets if suite else ()
    named = choose(names or of_suite, loaded.datasets, "dataset", of_suite if names else ())
    chosen = [loaded.datasets[name] for name in named]
    elsewhere = [one for one in chosen if not isinstance(one, HubDataset)]
    if names and elsewhere:
        raise DataError("\n".join(map(_no_need, elsewhere)))
    hub = [one for one in chosen if isinstance(one, HubDataset)]
    return [partial(_fetch_data, one, access, meter) for one in hub]


def _no_need(dataset: Dataset) -> str:
    from harness.api.dataset import LocalDataset

    if isinstance(dataset, LocalDataset):
        return (
            f"dataset {dataset.name!r} is not fetched by the harness: get it from {dataset.source} "
            f"and give its place with --data {dataset.name}=PATH"
        )
    return f"dataset {dataset.name!r} needs no fetching: {dataset.source}"


def _weights_jobs(
    names: tuple[str, ...],
    starts: tuple[str, ...],
    suite: Suite | None,
    loaded: PluginRegistry,
    access: Access,
) -> list[Callable[[], str]]:
    from harness.data.lock import read
    from harness.weights.starts import beginnings, read_starts

    wanted = read_starts(starts or (suite.starts if suite else ()))
    of_suite = suite.backbones if suite and suite.weights == "default" else ()
    chosen = loaded.choose_backbones(names or of_suite, of_suite if names else ())
    locked = read(access.lock).weights
    jobs: list[Callable[[], str]] = []
    for backbone in (loaded.backbones[name] for name in chosen):
        for start in wanted or (None,):
            (one,) = beginnings([backbone], None, [start] if start else [], locked)
            declared = one.backbone.weights
            if one.where is None and declared is not None and (declared.enum or declared.hub):
                jobs.append(partial(_fetch_weights, backbone, access, start))
    return jobs


def _fetch_data(dataset: HubDataset, access: Access, meter: Meter) -> str:
    from harness.data.fetch import fetch_dataset
    from harness.utils.text import megabytes

    entry = fetch_dataset(dataset, access, meter)
    return (
        f"{dataset.name}: {len(entry.files)} files, {megabytes(entry.bytes)}, {dataset.licence}, "
        f"revision {entry.revision}"
    )


def _fetch_weights(backbone: Backbone, access: Access, start: Start | None) -> str:
    from harness.api.records import started
    from harness.data.fetch import fetch_weights
    from harness.utils.text import megabytes

    entry = fetch_weights(backbone, access, start)
    name = started(backbone.name, start.name if start else "")
    commit = f", revision {entry.revision}" if entry.revision else ""
    return f"{name}: {entry.file}, {megabytes(entry.bytes)}, sha256 {entry.sha256}{commit}"
