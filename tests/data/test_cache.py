"""The cache as its users meet it: full disks, two processes at once, damaged entries."""

import errno
import hashlib
import io
import json
import os
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from transformed import transformed

from harness import StoreError
from harness.data.cache import cache
from harness.data.cache.check import check_aside
from harness.data.cache.entry import CHECKED_FOR, STAGING, Checksums, entry_for
from harness.data.images import PixelForm


def jpeg(seed, size=(40, 30)):
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


SOURCES = [jpeg(seed) for seed in range(20)]


def describe(sources=SOURCES, name="toy", **changes):
    contents = [hashlib.sha256(data).hexdigest() for data in sources]
    return entry_for(name, contents, PixelForm(18, 16)._replace(**changes))


def build(folder, sources=SOURCES, entry=None, **options):
    def fetch(run):
        return sources[run.start : run.stop]

    return cache.decoded(folder, entry or describe(sources), fetch, **options)


def refuse(run):
    raise AssertionError("nothing should be decoded")


def folders(folder):
    return sorted(path.name for path in (folder / "decoded").iterdir())


def test_an_entry_is_found_by_everything_that_moves_a_pixel():
    forms = ({}, {"resize": 19}, {"crop": 15}, {"interpolation": "bicubic"}, {"grey": True})
    assert len({describe(**changes).folder for changes in forms}) == len(forms)


def test_entries_of_before_there_were_other_forms_are_found():
    fields = {"schema_version": 1, "dataset": "toy", "count": 20, "resize": 18, "crop": 16}
    entry = describe()
    fields |= {"libraries": entry.libraries, "content": entry.content}
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    assert entry.folder == f"toy-{hashlib.sha256(text.encode()).hexdigest()[:20]}"


def test_an_entry_holds_the_transformed_images_and_is_used_again(tmp_path):
    found = build(tmp_path)
    expected = np.stack([transformed(data, 18, 16) for data in SOURCES])
    assert np.array_equal(found.images, expected)
    assert found.images.filename  # other processes open it by its name
    again = cache.decoded(tmp_path, describe(), refuse)
    assert np.array_equal(again.images, expected)
    assert folders(tmp_path) == [describe().folder]


def test_the_images_can_be_given_to_torch_and_changed_without_changing_the_file(tmp_path):
    import torch

    first = build(tmp_path).images
    before = first.copy()
    torch.from_numpy(first).zero_()  # read-only memory would warn, and a warning is an error here
    assert np.array_equal(build(tmp_path).images, before)


@pytest.mark.parametrize(
    "changes",
    [{"resize": 20}, {"crop": 12}, {"name": "other"}, {"sources": SOURCES[::-1]}],
    ids=lambda changes: next(iter(changes)),
)
def test_another_transform_order_or_name_is_another_entry(changes):
    assert describe(**changes).folder != describe().folder


def test_another_library_is_another_entry(tmp_path, monkeypatch):
    build(tmp_path)
    before = describe().folder
    versions = {"pillow": "99.0"}
    monkeypatch.setattr("harness.data.cache.entry.version", lambda name: versions.get(name, "1.0"))
    assert describe().folder != before
    assert [stored.current for stored in cache.entries(tmp_path)] == [False]


def test_progress_ends_at_the_whole(tmp_path):
    seen = []
    build(tmp_path, progress=lambda *at: seen.append(at))
    assert seen[-1] == (20, 20)
    assert seen == sorted(seen)


def test_bad_images_are_remembered_and_leave_no_pixels(tmp_path):
    sources = [*SOURCES[:5], SOURCES[5][:200], *SOURCES[6:]]
    found = build(tmp_path, sources)
    assert found.images is None
    assert list(found.bad) == [5]
    again = cache.decoded(tmp_path, describe(sources), refuse)
    assert again == found
    assert not list(tmp_path.rglob("*.npy"))


@pytest.mark.parametrize(
    "damage",
    [
        lambda place: (place / "images.npy").unlink(),
        lambda place: (place / "entry.json").unlink(),
        lambda place: (place / "entry.json").write_text("{"),
        lambda place: (place / "images.npy").write_bytes(b"\x93NUMPY"),
        lambda place: os.truncate(place / "images.npy", 5000),
        lambda place: np.save(place / "images.npy", np.zeros((2, 3, 16, 16), np.uint8)),
        lambda place: np.save(place / "images.npy", np.zeros((20, 3, 16, 16), np.int8)),
        lambda place: (place / "images.npy").write_bytes(b""),
        lambda place: change(place / "images.npy", lambda old: old + b"\0"),
        lambda place: change(place / "entry.json", lambda old: old.replace(b"{}", b'{"3": "no"}')),
        lambda place: change(place / "entry.json", lambda old: old.replace(b"toy", b"yot")),
        lambda place: (place / "check.json").unlink(),
        lambda place: (place / "check.json").write_bytes(b"\xff\0"),
        lambda place: change(place / "check.json", lambda old: old.replace(b'"entry": "', b"&0")),
    ],
    ids=[
        "no pixels", "no entry", "bad entry", "bad header", "short", "other shape", "other type",
        "empty", "long", "row called bad", "other name", "of an older harness", "no json",
        "other checksum",
    ],
)  # fmt: skip
def test_a_damaged_entry_is_built_again(damage, tmp_path):
    expected = np.array(build(tmp_path).images)
    damage(tmp_path / "decoded" / describe().folder)
    assert np.array_equal(build(tmp_path).images, expected)
    assert folders(tmp_path) == [describe().folder]


# -- pixels that are not those that were decoded ---------------------------------------------


def change(path, edit):
    path.write_bytes(edit(path.read_bytes()))


def zeroed(old):
    return old[:4096] + bytes(len(old) - 4096)


def inverted(old):
    return old[:4096] + bytes(255 - byte for byte in old[4096:8192]) + old[8192:]


def one_bit(old):
    return old[:-1] + bytes([old[-1] ^ 1])


def pixels_file(folder):
    return folder / "decoded" / describe().folder / "images.npy"


def checks(folder):
    return Checksums.model_validate_json(pixels_file(folder).with_name("check.json").read_bytes())


def age(folder, seconds):
    """Let the last check have been so long ago."""
    path = pixels_file(folder).with_name("check.json")
    told = checks(folder)
    path.write_text(told.model_copy(update={"checked": told.checked - seconds}).model_dump_json())


def in_place(path, edit):
    """As a disk changes bytes: neither time nor size nor inode move."""
    before = path.stat()
    with path.open("r+b") as file:
        content = file.read()
        file.seek(0)
        file.write(edit(content))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def as_a_copy(path, edit):
    """As a file that was put back: another inode, the same time."""
    before, copy = path.stat(), path.with_name("copy")
    copy.write_bytes(edit(path.read_bytes()))
    os.utime(copy, ns=(before.st_atime_ns, before.st_mtime_ns))
    copy.replace(path)


@pytest.fixture
def read(monkeypatch):
    """Number of times that pixels were read back."""
    times = []
    digest = hashlib.file_digest

    def note(*given):
        times.append(1)
        return digest(*given)

    monkeypatch.setattr(cache.hashlib, "file_digest", note)
    return times


@pytest.mark.parametrize("edit", [zeroed, inverted, one_bit])
@pytest.mark.parametrize("how", [change, as_a_copy, in_place])
def test_changed_pixels_are_decoded_again(tmp_path, how, edit):
    expected = np.array(build(tmp_path).images)
    how(pixels_file(tmp_path), edit)
    if how is in_place:
        age(tmp_path, CHECKED_FOR + 1)
    assert np.array_equal(build(tmp_path).images, expected)
    assert np.array_equal(cache.decoded(tmp_path, describe(), refuse).images, expected)
    assert folders(tmp_path) == [describe().folder]


def test_pixels_are_read_back_once_a_day_or_when_their_file_changed(tmp_path, read):
    build(tmp_path)
    read.clear()
    cache.decoded(tmp_path, describe(), refuse)
    assert not read
    age(tmp_path, CHECKED_FOR + 1)
    cache.decoded(tmp_path, describe(), refuse)
    cache.decoded(tmp_path, describe(), refuse)
    assert len(read) == 1
    os.utime(pixels_file(tmp_path))
    cache.decoded(tmp_path, describe(), refuse)
    cache.decoded(tmp_path, describe(), refuse)
    assert len(read) == 2
    age(tmp_path, -3600)  # by a clock that is ahead
    cache.decoded(tmp_path, describe(), refuse)
    assert len(read) == 3


def test_a_check_that_is_left_to_the_caller_removes_what_is_damaged(tmp_path, read):
    build(tmp_path)
    change(pixels_file(tmp_path), zeroed)
    read.clear()
    found = cache.decoded(tmp_path, describe(), refuse, defer_check=True)
    assert not read
    check_aside([found.check])
    assert found.check.damaged()
    assert found.check.damaged()
    assert len(read) == 1
    assert folders(tmp_path) == []


def test_a_check_is_of_the_file_that_is_mapped_whoever_replaces_it(tmp_path):
    """Another process has found the damage first, and has built the entry again."""
    expected = np.array(build(tmp_path).images)
    change(pixels_file(tmp_path), zeroed)
    found = cache.decoded(tmp_path, describe(), refuse, defer_check=True)
    build(tmp_path)
    assert found.check.damaged()
    assert np.array_equal(cache.decoded(tmp_path, describe(), refuse).images, expected)


def test_what_took_the_place_of_a_damaged_entry_stays_whatever_its_number(tmp_path):
    """File systems give the number of a file that is gone to the next one."""
    expected = np.array(build(tmp_path).images)
    change(pixels_file(tmp_path), zeroed)
    found = cache.decoded(tmp_path, describe(), refuse, defer_check=True)
    assert found.check.damaged()
    build(tmp_path)
    found.check._status = pixels_file(tmp_path).stat()
    assert found.check.damaged()
    assert np.array_equal(cache.decoded(tmp_path, describe(), refuse).images, expected)


def test_a_sound_entry_in_a_read_only_cache_is_checked_and_used(tmp_path, monkeypatch):
    expected = np.array(build(tmp_path).images)
    age(tmp_path, CHECKED_FOR + 1)

    def read_only(path, content):
        raise PermissionError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(cache.files, "put", read_only)
    assert np.array_equal(cache.decoded(tmp_path, describe(), refuse).images, expected)


@pytest.mark.parametrize("deferred", [False, True])
def test_damage_in_a_read_only_cache_is_told(tmp_path, monkeypatch, deferred):
    build(tmp_path)
    change(pixels_file(tmp_path), zeroed)

    def fail(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(StoreError, match=r"toy-\w+ are damaged .*remove that folder, or set HARN"):
        damage_of(cache.decoded(tmp_path, describe(), refuse, defer_check=deferred))


def damage_of(found):
    check_aside([found.check])
    return found.check.damaged()


def test_a_disk_that_cannot_read_is_damage(tmp_path, monkeypatch):
    build(tmp_path)
    age(tmp_path, CHECKED_FOR + 1)
    found = cache.decoded(tmp_path, describe(), refuse, defer_check=True)

    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(cache.hashlib, "file_digest", fail)
    assert found.check.damaged()


def test_everything_is_synced_before_it_has_its_name(tmp_path, monkeypatch):
    synced, sync, rename = [], os.fsync, Path.rename

    def note_sync(handle):
        synced.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
        sync(handle)

    def note_rename(path, target):
        if path.parent == tmp_path / "decoded":
            for name in ("images.npy", ".entry.json", ".check.json", ""):
                place = f"{path}/{name}" if name else str(path)
                assert any(one.startswith(place) for one in synced), name
            synced.clear()
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "rename", note_rename)
    build(tmp_path)
    assert str(tmp_path / "decoded") in synced


# -- faults -------------------------------------------------------------------------------------


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match=r"decoded.*No space left.*set HARNESS_CACHE"):
            build(tmp_path)
    assert folders(tmp_path) == []
    assert build(tmp_path).images is not None


def test_a_write_that_fails_half_way_is_told_and_leaves_nothing(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9000, hard))  # of 15 kB
    try:
        with pytest.raises(StoreError, match=r"\(0 MB\) cannot be written: File too large"):
            build(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert folders(tmp_path) == []


def test_a_place_below_a_file_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        StoreError, match=r"file/decoded/toy-\w+ .*Not a directory; set HARNESS_CACHE"
    ):
        build(tmp_path / "file")


def test_an_interrupted_build_leaves_nothing(tmp_path):
    def stop(done, everything):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, progress=stop)
    assert folders(tmp_path) == []


def test_a_read_only_cache_is_used(tmp_path, monkeypatch):
    expected = np.array(build(tmp_path).images)

    def refuse_touch(path):
        raise PermissionError

    monkeypatch.setattr(os, "utime", refuse_touch)
    found = cache.decoded(tmp_path, describe(), refuse)
    assert np.array_equal(found.images, expected)


# -- two at once --------------------------------------------------------------------------------


def test_who_comes_second_uses_what_the_first_built(tmp_path):
    """Two builds of one entry, forced to overlap: both fetch before either has finished."""
    meeting = threading.Barrier(2, timeout=300)
    found = []

    def fetch(run):
        if run.start == 0:
            meeting.wait()
        return SOURCES[run.start : run.stop]

    def work():
        found.append(cache.decoded(tmp_path, describe(), fetch))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert np.array_equal(found[0].images, found[1].images)
    assert folders(tmp_path) == [describe().folder]


def build_once(folder, meet):
    """Build as a process of its own; `meet` is called when it is about to decode."""

    def fetch(run):
        if run.start == 0:
            meet()
        return SOURCES[run.start : run.stop]

    found = cache.decoded(folder, describe(), fetch)
    return hashlib.sha256(np.ascontiguousarray(found.images)).hexdigest()


OTHER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import test_cache

def meet():
    print("here", flush=True)
    sys.stdin.readline()

print(test_cache.build_once(Path(sys.argv[1]), meet))
"""


@pytest.mark.slow
def test_two_processes_agree(tmp_path):
    """Each waits for the other before it decodes; one that dies ends its pipe."""
    other = subprocess.Popen(
        [sys.executable, "-c", OTHER, tmp_path, Path(__file__).parent],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def meet():
        assert other.stdout.readline() == "here\n"
        other.stdin.write("go\n")
        other.stdin.flush()

    own = build_once(tmp_path, meet)
    assert other.communicate()[0].strip() == own
    assert other.returncode == 0
    assert folders(tmp_path) == [describe().folder]


# -- list and prune -----------------------------------------------------------------------------


def test_entries_and_prune(tmp_path):
    assert cache.entries(tmp_path) == ()
    assert cache.prune(tmp_path) == ()
    build(tmp_path, SOURCES[:4], describe(SOURCES[:4], name="one"))
    build(tmp_path, SOURCES[:6], describe(SOURCES[:6], name="two"))
    one, two = cache.entries(tmp_path)
    assert (one.entry.dataset, one.entry.count, one.current) == ("one", 4, True)
    assert two.bytes == sum(file.stat().st_size for file in two.path.iterdir())
    assert two.bytes > 6 * 3 * 16 * 16
    assert cache.prune(tmp_path, keep=lambda stored: stored.entry.dataset == "two") == (one,)
    assert cache.entries(tmp_path) == (two,)
    assert cache.prune(tmp_path) == (two,)
    assert folders(tmp_path) == []


def test_an_entry_that_is_in_use_stays_and_goes_afterwards(tmp_path):
    used = build(tmp_path, SOURCES[:4], describe(SOURCES[:4], name="one"))
    expected = np.array(used.images)
    build(tmp_path, SOURCES[:6], describe(SOURCES[:6], name="two"))
    assert [stored.entry.dataset for stored in cache.prune(tmp_path)] == ["two"]
    assert np.array_equal(used.images, expected)
    view = used.images[1:3]  # any part keeps it
    del used
    assert cache.prune(tmp_path) == ()
    del view
    assert [stored.entry.dataset for stored in cache.prune(tmp_path)] == ["one"]
    assert folders(tmp_path) == []


def test_what_another_call_has_just_built_is_not_deleted(tmp_path, monkeypatch):
    """A second builder was told 'not there'; the first finishes before the second publishes."""
    write, first, seen = cache.write_arrays, [], []

    def slow(*args):
        monkeypatch.setattr(cache, "write_arrays", write)
        first.append(build(tmp_path))
        seen.append(pixels_file(tmp_path).stat().st_ino)
        return write(*args)

    monkeypatch.setattr(cache, "write_arrays", slow)
    second = build(tmp_path)
    assert pixels_file(tmp_path).stat().st_ino == seen[0]
    assert np.array_equal(first[0].images, second.images)


def test_a_damaged_entry_makes_room_though_a_part_of_it_cannot_be_deleted(tmp_path, monkeypatch):
    expected = np.array(build(tmp_path).images)
    (tmp_path / "decoded" / describe().folder / "entry.json").write_text("{}")
    with monkeypatch.context() as patch:
        patch.setattr(cache.shutil, "rmtree", lambda *_, **__: None)
        assert np.array_equal(build(tmp_path).images, expected)
    cache.prune(tmp_path, keep=lambda _: True)
    assert folders(tmp_path) == [describe().folder]


def test_use_is_noted(tmp_path):
    build(tmp_path)
    (stored,) = cache.entries(tmp_path)
    os.utime(stored.path / "entry.json", (0, 0))
    assert cache.entries(tmp_path)[0].used == 0
    build(tmp_path)
    assert cache.entries(tmp_path)[0].used > time.time() - 60


def test_prune_clears_dead_builds_and_spares_living_ones(tmp_path):
    dead, living = (tmp_path / "decoded" / f"{STAGING}{name}" for name in ("dead", "living"))
    for folder in (dead, living):
        folder.mkdir(parents=True)
        (folder / "images.npy").write_bytes(b"")
    for path in (dead / "images.npy", dead):
        os.utime(path, (0, 0))
    assert cache.entries(tmp_path) == ()
    cache.prune(tmp_path)
    assert folders(tmp_path) == [living.name]


def test_what_cannot_be_removed_is_told(tmp_path, monkeypatch):
    build(tmp_path)

    def fail(path, **_):
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(cache.shutil, "rmtree", fail)
    with pytest.raises(StoreError, match=r"toy-\w+ cannot be removed: Permission denied"):
        cache.prune(tmp_path)


def test_entry_json_says_what_it_is(tmp_path):
    build(tmp_path)
    text = json.loads((tmp_path / "decoded" / describe().folder / "entry.json").read_text())
    assert text["dataset"] == "toy"
    assert (text["resize"], text["crop"], text["count"]) == (18, 16, 20)
    assert set(text["libraries"]) == {"cache", "pillow", "torch", "torchvision"}
