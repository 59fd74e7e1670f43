"""`harness data splits`: write how datasets are divided, without training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from harness.cli.session import COLUMNS, LOCK, Session, example, pass_session


@click.command(epilog=example("harness data splits --data mri:ward-a=images/ward-a --splits 5"))
@click.argument("datasets", nargs=-1, metavar="[DATASETS]...")
@click.option("--suite", metavar="SUITE", help="Whose shares, and datasets where none is named.")
@click.option("--data", multiple=True, metavar="[MODALITY:]NAME=FOLDER", help="Images of your own.")
@COLUMNS
@click.option(
    "--splits",
    "count",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="So many random splits of each dataset.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("splits"),
    show_default=True,
    metavar="FOLDER",
    help="Write <dataset>.json, <dataset>.1.json, ... there.",
)
@LOCK
@pass_session
def command(session: Session, /, **given: Any) -> None:  # noqa: ANN401 - click's options, see above
    """Write how datasets are divided, without training.

    That is: which sample is in which split, as `bench` would divide it.  `bench --splits FILE` takes
    such a file, here or on another machine.  What is there already is not replaced by something else.
    """
    from harness.api.dataset import Access
    from harness.benchmark.request import BenchRequest
    from harness.benchmark.suite.resolve import resolve_suite
    from harness.data.division.split import Division
    from harness.data.preparation.survey import survey_splits
    from harness.results.store import write_split

    request = BenchRequest(
        **{name: given[name] for name in ("suite", "datasets", "data", "columns")}
    )
    resolved = resolve_suite(request, session.plugins)
    protocol = resolved.suite.protocol
    access = Access(offline=session.offline, lock=given["lock"])
    for name, dataset in resolved.datasets.items():
        seeds = range(protocol.split_seed, protocol.split_seed + given["count"])
        found = survey_splits(dataset, protocol, access, [Division(seed) for seed in seeds])
        for division, splits in found.items():
            first = division.split == protocol.split_seed
            stem = name if first else f"{name}.{division.split}"
            path = write_split(given["out"], stem, splits.model_dump_json(indent=1))
            click.echo(f"{path}: {splits.rule}")
