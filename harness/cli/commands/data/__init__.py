"""`harness data`: fetch data and weights, look at them, and tidy the cache."""

from __future__ import annotations

import click

from harness.cli.session import PackageGroup


@click.group(cls=PackageGroup, package=__name__)
def command() -> None:
    """Fetch, audit and cache data."""
