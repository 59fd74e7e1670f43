"""`harness data`: fetch data and weights, look at them, and tidy the cache."""

from __future__ import annotations

import click

from harness.cli.session import PackageGroup, example


@click.group(
    cls=PackageGroup,
    package=__name__,
    epilog=example("harness data audit --data xray:ward=path/to/folder"),
)
def command() -> None:
    """Fetch, audit and cache data."""
