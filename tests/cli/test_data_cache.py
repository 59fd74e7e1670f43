"""`harness data cache`: lists what is decoded, removes what is of no use."""

import json
import os
import time
from io import BytesIO

import pytest
from PIL import Image

from harness.data.cache import cache
from harness.data.cache.entry import entry_for
from harness.data.images import PixelForm

DAY = 86400


def png(number):
    file = BytesIO()
    Image.new("RGB", (6, 6), (number, 0, 0)).save(file, "PNG")
    return file.getvalue()


def decoded(place, name, *, count=3, libraries=None, idle_days=0):
    entry = entry_for(name, [f"{n:064x}" for n in range(count)], PixelForm(6, 4))
    if libraries:
        entry = entry.model_copy(update={"libraries": libraries})
    cache.decoded(place, entry, lambda run: [png(n) for n in run])
    then = time.time() - idle_days * DAY
    file = place / "decoded" / entry.folder / "entry.json"
    os.utime(file, (then, then))


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    decoded(tmp_path, "fresh")
    decoded(tmp_path, "idle", idle_days=40)
    decoded(tmp_path, "stale", count=5, libraries={"pillow": "1.0"})
    return tmp_path


def names(place):
    """Names of the entries on disk: an entry is a folder, `<dataset>-<hash>`."""
    return sorted(path.name.rpartition("-")[0] for path in (place / "decoded").iterdir())


def test_entries_are_listed_with_size_and_use(place, harness_cli):
    done = harness_cli("data", "cache")

    rows = {line.split()[0]: line for line in done.stdout.splitlines()[2:5]}
    assert set(rows) == {"fresh", "idle", "stale"}
    assert rows["fresh"].endswith("yes")
    assert rows["stale"].endswith("no: other libraries")
    assert " 5 " in rows["stale"]
    sizes = [path.stat().st_size for path in (place / "decoded").rglob("*") if path.is_file()]
    assert f"3 entries, {sum(sizes) / 1000:.3g} kB, in" in done.stdout
    assert names(place) == ["fresh", "idle", "stale"]


def test_the_listing_is_json_too(place, harness_cli):
    found = {
        one["dataset"]: one
        for one in json.loads(harness_cli("data", "cache", "--json", "fresh").stdout)
    }

    assert list(found) == ["fresh"]
    assert found["fresh"]["images"] == 3
    assert found["fresh"]["crop"] == 4
    assert found["fresh"]["current"] is True
    assert found["fresh"]["folder"].startswith("fresh-")


@pytest.mark.parametrize(
    ("args", "left"),
    [
        ((), ["fresh", "idle"]),
        (("--older-than", "30"), ["fresh"]),
        (("--older-than", "50"), ["fresh", "idle"]),
        (("--all",), []),
        (("fresh", "--all"), ["idle", "stale"]),
        (("fresh",), ["fresh", "idle", "stale"]),
    ],
)
def test_pruning_keeps_what_is_of_use(place, args, left, harness_cli):
    done = harness_cli("data", "cache", "--prune", *args)

    assert names(place) == left
    assert f"{3 - len(left)} entries, " in done.stdout
    assert "removed from" in done.stdout


@pytest.mark.parametrize(
    ("args", "left"),
    [
        (("--older", "30d"), ["fresh", "stale"]),
        (("--older", "6w"), ["fresh", "idle", "stale"]),
        (("--older", "961h"), ["fresh", "idle", "stale"]),
        (("--older", "959h"), ["fresh", "stale"]),
        (("stale", "--older", "0h"), ["fresh", "idle"]),
        (("--older", "30d", "--prune"), ["fresh"]),
    ],
)
def test_what_was_not_used_for_so_long_is_removed(place, args, left, harness_cli):
    done = harness_cli("data", "cache", *args)

    assert names(place) == left
    assert f"{3 - len(left)} entries, " in done.stdout
    assert "removed from" in done.stdout


@pytest.mark.parametrize("age", ["30", "d", "30 d", "-1d", "1e3d", "30days"])
def test_an_age_that_is_none_is_refused(place, age, harness_cli):
    done = harness_cli("data", "cache", "--older", age, exit_code=2)

    assert f"{age!r} is no time such as 12h, 30d or 2w" in done.stderr
    assert names(place) == ["fresh", "idle", "stale"]


def test_an_entry_in_use_is_kept_and_named(place, harness_cli):
    entry = entry_for("fresh", [f"{n:064x}" for n in range(3)], PixelForm(6, 4))
    used = cache.decoded(place, entry, lambda _: [])
    done = harness_cli("data", "cache", "--prune", "--all")

    assert names(place) == ["fresh"]
    assert f"in use, and kept: {entry.folder}" in done.stderr
    assert used.images.sum() > 0


@pytest.mark.parametrize("args", [("--all",), ("--older-than", "3")])
def test_nothing_is_removed_unasked(place, args, harness_cli):
    done = harness_cli("data", "cache", *args, exit_code=2)

    assert "give --prune too" in done.stderr
    assert len(names(place)) == 3


def test_an_empty_cache_is_no_fault(tmp_path, monkeypatch, harness_cli):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "none"))
    assert (
        harness_cli("data", "cache").stdout
        == f"0 entries, 0 bytes, in {tmp_path / 'none' / 'decoded'}\n"
    )
