"""Whole files or none, on disks that fill up, refuse, or lose their writer."""

import errno
import os
import stat

import pytest

from harness import StoreError
from harness.utils import files, locks


def names(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def failing(number):
    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    return fail


def is_folder(handle):
    return stat.S_ISDIR(os.fstat(handle).st_mode)


def test_write_makes_folders_and_replaces(tmp_path):
    path = tmp_path / "a" / "b" / "c.json"
    files.write(path, b"one")
    files.write(path, b"two")
    assert path.read_bytes() == b"two"
    assert names(tmp_path) == ["c.json"]


def test_content_and_folder_are_synced_around_the_rename(tmp_path, monkeypatch):
    """Content before the name, the name before anything that is written later."""
    done = []
    sync, replace = os.fsync, os.replace

    def note_sync(handle):
        done.append("folder" if is_folder(handle) else "content")
        sync(handle)

    def note_replace(*arguments):
        done.append("name")
        replace(*arguments)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_replace)
    files.write(tmp_path / "new" / "a.json", b"{}")
    assert done == ["folder", "content", "name", "folder"]


@pytest.mark.parametrize("step", ["open", "fsync", "replace"])
@pytest.mark.parametrize(
    ("number", "message"),
    [
        (
            errno.ENOSPC,
            "no space left for .*a.json: free some, or choose another folder with --out",
        ),
        (errno.EDQUOT, "no space left"),
        (errno.EACCES, "no permission to write .*a.json: allow it, or choose another folder"),
        (errno.EROFS, "no permission"),
        (errno.EIO, r"cannot write .*a.json \(Input/output error\): choose another folder"),
    ],
)
def test_a_failed_write_changes_nothing(tmp_path, monkeypatch, step, number, message):
    path = tmp_path / "a.json"
    files.write(path, b"before")
    owner = files.Path if step == "open" else os
    with monkeypatch.context() as disk:
        disk.setattr(owner, step, failing(number))
        with pytest.raises(StoreError, match=message):
            files.write(path, b"after")
    assert path.read_bytes() == b"before"
    assert names(tmp_path) == ["a.json"]


def test_an_interrupt_leaves_no_temporary_file(tmp_path, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        files.write(tmp_path / "a.json", b"{}")
    assert names(tmp_path) == []


def test_a_path_below_a_file(tmp_path):
    (tmp_path / "notes.txt").write_text("here")
    with pytest.raises(StoreError, match=r"notes\.txt is a file, so .* cannot be made below it"):
        files.write(tmp_path / "notes.txt" / "deep" / "a.json", b"{}")
    with pytest.raises(StoreError, match=r"notes\.txt is a file"):
        files.prepare(tmp_path / "notes.txt")
    with (
        pytest.raises(StoreError, match=r"notes\.txt is a file"),
        locks.locked(tmp_path / "notes.txt"),
    ):
        pass
    assert (tmp_path / "notes.txt").read_text() == "here"


def test_a_folder_that_cannot_be_synced_is_written_all_the_same(tmp_path, monkeypatch):
    sync = os.fsync

    def only_files(handle):
        if is_folder(handle):
            raise OSError(errno.EINVAL, "not offered")
        sync(handle)

    monkeypatch.setattr(os, "fsync", only_files)
    files.write(tmp_path / "a.json", b"{}")
    assert names(tmp_path) == ["a.json"]


def test_prepare_leaves_nothing(tmp_path):
    files.prepare(tmp_path / "new" / "board")
    assert (tmp_path / "new" / "board").is_dir()
    assert names(tmp_path) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_prepare_tells_what_is_wrong(tmp_path, monkeypatch, number):
    monkeypatch.setattr(os, "fsync", failing(number))
    with pytest.raises(StoreError, match="choose another folder with --out"):
        files.prepare(tmp_path)
    assert names(tmp_path) == []


def test_prepare_clears_old_leftovers_and_nothing_else(tmp_path):
    old, young = tmp_path / "runs" / ".a.json.1.tmp", tmp_path / "runs" / ".b.json.2.tmp"
    other = tmp_path / "runs" / "c.tmp"
    files.write(tmp_path / "runs" / "d.json", b"{}")
    for path in (old, young, other):
        path.write_bytes(b"{")
    past = young.stat().st_mtime - 2 * files.STALE_SECONDS
    for path in (old, other, tmp_path / "runs" / "d.json"):
        os.utime(path, (past, past))
    files.prepare(tmp_path)
    assert names(tmp_path) == [".b.json.2.tmp", "c.tmp", "d.json"]


def test_what_another_user_left_does_not_stop_the_work(tmp_path, monkeypatch):
    left = tmp_path / ".a.json.1.tmp"
    left.write_bytes(b"{")
    os.utime(left, (0, 0))
    unlink = os.unlink

    def not_his(path, *arguments, **named):
        if str(path) == str(left):
            raise PermissionError(errno.EACCES, "not yours")
        unlink(path, *arguments, **named)

    monkeypatch.setattr(os, "unlink", not_his)
    files.prepare(tmp_path)
    assert names(tmp_path) == [left.name]


def test_a_folder_where_nothing_can_be_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "unlink", failing(errno.EACCES))
    with pytest.raises(StoreError, match="no permission to write"):
        files.prepare(tmp_path)


def test_listing(tmp_path):
    for name in ("b/x.json", "a/y.json", "a/.y.json.9.tmp", "a/.hidden.json", "a/y.safetensors"):
        files.write(tmp_path / name, b"{}")
    assert files.listing(tmp_path) == [tmp_path / "a/y.json", tmp_path / "b/x.json"]
    assert files.listing(tmp_path / "absent") == []


def test_a_listing_is_in_the_order_of_paths(tmp_path):
    names = (
        "a/b.json",
        "a-b/c.json",
        "a/b/c.json",
        "a/b-c.json",
        "a.json",
        "a/b c/d.json",
        "B.json",
    )
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert files.listing(tmp_path) == sorted(tmp_path / name for name in names)


def test_what_may_not_be_read_does_not_pass_for_missing(tmp_path, monkeypatch):
    files.write(tmp_path / "a" / "x.json", b"{}")
    monkeypatch.setattr(os, "scandir", failing(errno.EACCES))
    with pytest.raises(StoreError, match=r"cannot read .*Permission denied"):
        files.listing(tmp_path)
    monkeypatch.setattr(os, "stat", failing(errno.EACCES))
    with pytest.raises(StoreError, match="cannot read"):
        files.exists(tmp_path / "a" / "x.json")


def test_a_results_folder_that_is_a_file(tmp_path):
    (tmp_path / "notes.txt").write_text("here")
    with pytest.raises(StoreError, match=r"cannot read .*notes\.txt.*: Not a directory"):
        files.listing(tmp_path / "notes.txt" / "runs")


def test_read_and_remove(tmp_path, monkeypatch):
    with pytest.raises(StoreError, match=r"cannot read .*a\.json: No such file"):
        files.read(tmp_path / "a.json")
    files.remove(tmp_path / "a.json")
    files.write(tmp_path / "a.json", b"{}")
    files.remove(tmp_path / "a.json")
    assert names(tmp_path) == []
    monkeypatch.setattr(os, "unlink", failing(errno.EACCES))
    with pytest.raises(StoreError, match="no permission"):
        files.remove(tmp_path / "a.json")


# -- what to do, by place -----------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EIO])
def test_a_place_has_its_own_advice_as_long_as_it_is_used(tmp_path, monkeypatch, number):
    monkeypatch.setattr(os, "fsync", failing(number))
    with (
        files.advising(tmp_path, "choose another folder with --to"),
        files.advising(tmp_path / "in" / "it", "set TMPDIR"),
    ):
        with pytest.raises(StoreError, match=r"a\.json.*: choose another folder with --to$"):
            files.write(tmp_path / "a.json", b"{}")
        with pytest.raises(StoreError, match=r"b\.json.*: set TMPDIR$"):
            files.write(tmp_path / "in" / "it" / "deep" / "b.json", b"{}")
    with pytest.raises(StoreError, match="with --out"):
        files.write(tmp_path / "a.json", b"{}")


def test_advice_about_a_place_below_a_file(tmp_path):
    (tmp_path / "file").touch()
    with (
        files.advising(tmp_path / "file" / "a", "choose another folder with --to"),
        pytest.raises(StoreError, match=r"is a file, so .* choose another folder with --to"),
    ):
        files.write(tmp_path / "file" / "a" / "b.json", b"{}")


def test_a_scratch_folder_is_gone_with_its_block(tmp_path, monkeypatch):
    monkeypatch.setattr(files.tempfile, "tempdir", str(tmp_path))
    with files.scratch() as place:
        files.write(place / "a.json", b"{}")
        assert names(tmp_path) == ["a.json"]
        monkeypatch.setattr(os, "fsync", failing(errno.ENOSPC))
        with pytest.raises(StoreError, match=rf"no space left .*lie in {tmp_path}; .* set TMPDIR"):
            files.write(place / "b.json", b"{}")
    assert list(tmp_path.iterdir()) == []


def test_no_place_for_a_scratch_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(files.tempfile, "mkdtemp", failing(errno.ENOSPC))
    with pytest.raises(StoreError, match=r"No space left on device.*set TMPDIR"), files.scratch():
        pass


@pytest.mark.parametrize("step", ["open", "fsync", "replace"])
def test_a_file_that_something_else_writes_is_whole_or_not_there(tmp_path, monkeypatch, step):
    path = tmp_path / "a.bin"
    files.put(path, b"before")

    def work():
        with files.replacing(path) as temporary:
            temporary.write_bytes(b"after")

    with monkeypatch.context() as disk:
        disk.setattr(files.Path if step == "open" else os, step, failing(errno.ENOSPC))
        with pytest.raises(OSError, match="No space left"):
            work()
    assert (path.read_bytes(), names(tmp_path)) == (b"before", ["a.bin"])
    work()
    assert (path.read_bytes(), names(tmp_path)) == (b"after", ["a.bin"])


def test_what_a_full_disk_causes(tmp_path):
    full = OSError(errno.ENOSPC, "")
    error = files.unwritable(tmp_path, full)
    assert not files.is_full(error)
    error.__cause__ = full
    assert files.is_full(error)
    assert files.is_full(full)
    assert not files.is_full(OSError(errno.EACCES, ""))
    assert not files.is_full(StoreError("damaged"))


def test_a_file_that_comes_in_parts_or_is_longer_than_it_says_is_read_to_its_end(
    tmp_path, monkeypatch
):
    content = bytes(range(256)) * 40
    (tmp_path / "parts").write_bytes(content)
    whole, stated = os.read, os.fstat
    with monkeypatch.context() as patch:
        patch.setattr(os, "read", lambda handle, most: whole(handle, min(most, 3000)))
        assert files.read(tmp_path / "parts") == content

    def shorter(handle):
        values = list(stated(handle)[:10])
        values[6] = 100  # its size, when asked; somebody wrote on
        return os.stat_result(values)

    monkeypatch.setattr(os, "fstat", shorter)
    assert files.read(tmp_path / "parts") == content
