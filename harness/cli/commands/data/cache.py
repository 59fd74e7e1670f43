"""`harness data cache`: list the decoded images on disk, and remove those no longer of use."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from time import time
from typing import TYPE_CHECKING

import click

from harness.cli.session import Finite, example, print_json, print_table
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.data.cache.cache import CachedDataset
    from harness.data.images import PixelForm

DAY = 86400.0
UNITS = {"h": 3600.0, "d": DAY, "w": 7 * DAY}


class Age(click.ParamType[float]):
    """A time such as 30d, 12h or 2w, in seconds."""

    name = "age"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([hdw])", str(value))
        if not found:
            self.fail(f"{value!r} is no time such as 12h, 30d or 2w", param, ctx)
        return float(found[1]) * UNITS[found[2]]


@click.command(epilog=example("harness data cache --older 30d"))
@click.argument("names", nargs=-1, metavar="[DATASETS]...")
@click.option("--prune", is_flag=True, help="Remove entries that today's libraries do not use.")
@click.option("--all", "everything", is_flag=True, help="With --prune: all entries.")
@click.option(
    "--older-than",
    type=Finite(min=0),
    metavar="DAYS",
    help="With --prune: also entries not used for so long.",
)
@click.option(
    "--older", type=Age(), metavar="AGE", help="Remove entries not used for so long: 12h, 30d, 2w."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    names: tuple[str, ...],
    *,
    prune: bool,
    everything: bool,
    older_than: float | None,
    older: float | None,
    as_json: bool,
) -> None:
    """List or prune the cache of decoded images.

    DATASETS: only theirs.

    An entry is never wrong, only unused: what is removed is decoded again when it is needed.  One
    that a call is using stays.
    """
    from harness.api.dataset import default_cache
    from harness.data.cache import cache

    if not prune and (everything or older_than is not None):
        raise UsageError("--all and --older-than say what --prune removes: give --prune too")
    place = default_cache()

    def named(stored: CachedDataset) -> bool:
        return not names or stored.entry.dataset in names

    ages = [older] if older is not None else []
    ages += [older_than * DAY] if older_than is not None else []

    def goes(stored: CachedDataset) -> bool:
        idle = bool(ages) and time() - stored.used > min(ages)
        return named(stored) and (everything or idle or (prune and not stored.current))

    removes = prune or older is not None
    if removes:
        found = cache.prune(place, keep=lambda stored: not goes(stored))
        used = [stored.path.name for stored in cache.entries(place) if goes(stored)]
        if used:
            click.echo(f"in use, and kept: {', '.join(used)}", err=True)
    else:
        found = tuple(filter(named, cache.entries(place)))
    if as_json:
        print_json([_as_json(stored) for stored in found])
        return
    _print(found, str(place / "decoded"), pruned=removes)


def _as_json(stored: CachedDataset) -> dict[str, object]:
    entry = stored.entry
    return {
        "dataset": entry.dataset,
        "images": entry.count,
        "resize": entry.resize,
        "crop": entry.crop,
        "interpolation": entry.interpolation,
        "grey": entry.grey,
        "bytes": stored.bytes,
        "used": _date(stored.used),
        "current": stored.current,
        "folder": stored.path.name,
    }


def _print(found: tuple[CachedDataset, ...], place: str, *, pruned: bool) -> None:
    from harness.utils.text import megabytes

    if found:
        rows = [
            [
                stored.entry.dataset,
                str(stored.entry.count),
                _form(stored.entry.form),
                megabytes(stored.bytes),
                _date(stored.used),
                "yes" if stored.current else "no: other libraries",
            ]
            for stored in found
        ]
        print_table(("dataset", "images", "size", "on disk", "last used", "of use"), rows)
    total = megabytes(sum(stored.bytes for stored in found))
    done = "removed from" if pruned else "in"
    click.echo(f"{len(found)} entries, {total}, {done} {place}")


def _form(form: PixelForm) -> str:
    """The size, and what is not as usual."""
    by = "" if form.interpolation == "bilinear" else f", {form.interpolation}"
    return f"{form.crop} px{by}" + ", grey" * form.grey


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="minutes")
