"""The contents of a folder: every file and folder below it once, links followed, nothing opened.

Refused by name: names that are no UTF-8, a folder that links lead to a second time, links that lead
nowhere, folders that cannot be listed, and what is no file (pipes, sockets, devices).
"""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from harness.data.rows import image_extensions, is_hidden
from harness.errors import DataError
from harness.utils.names import first_few

KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
Entry = tuple[int, int]  # device and inode


def walk(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Each folder from `folder` on as a path from it ('' first), its folders and its files, sorted.

    Hidden ones are passed over.

    Raises:
        DataError: something there cannot be used as what it is, see above.
    """
    check_names(folder.parent, [folder.name] if folder.name else [])
    # A link to a folder above would bring in all that lies there.
    seen = {_entry(place): str(place) for place in folder.parents}
    waiting = [""]
    while waiting:
        here = waiting.pop()
        _visit(folder, here, seen)
        below, files = _list(folder, here)
        yield here, below, files
        waiting += [_join(here, name) for name in reversed(below)]


def check_names(folder: Path, names: Iterable[str]) -> None:
    """Refuse paths from `folder`, or below it, that are no UTF-8.

    Raises:
        DataError: some are not.
    """
    broken = [name for name in [str(folder), *names] if not _is_text(name)]
    if broken:
        raise DataError(
            f"{escaped(str(folder))}: names that are no UTF-8 (bytes are shown as \\x..): "
            f"{first_few([escaped(name) for name in broken])}; rename them, as by convmv -r -f latin1 "
            "-t utf8 --notest FOLDER where they were written in Latin-1"
        )


def check_kind(path: Path) -> None:
    """Refuse what is no file, unopened, and a link that leads nowhere.

    Raises:
        DataError: it is one of these.
    """
    try:
        mode = stat.S_IFMT(path.stat().st_mode)
    except OSError as error:
        what = f"is a link to {path.readlink()}, which" if path.is_symlink() else "cannot be read:"
        reason = "is not there" if isinstance(error, FileNotFoundError) else error.strerror
        raise DataError(f"{path} {what} {reason}; put it right, or remove it") from error
    if mode in KINDS:
        raise DataError(f"{path} is {KINDS[mode]} and no file; remove it, or move it elsewhere")


def escaped(name: str) -> str:
    """A name as it can be printed: bytes that are no UTF-8 in hexadecimal digits."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def as_on_disk(listed: Sequence[str], there: Iterable[str]) -> list[str]:
    """The names of files for names in a list, which may be composed where those are decomposed.

    macOS takes letters and accents apart, as zip files made there have them.  A name without
    exactly one such file stays as it is.
    """
    files = set(there)
    if files.issuperset(listed):
        return list(listed)
    forms: dict[str, list[str]] = {}
    for file in files:
        forms.setdefault(unicodedata.normalize("NFC", file), []).append(file)
    same = [forms.get(unicodedata.normalize("NFC", name), []) for name in listed]
    return [
        alike[0] if name not in files and len(alike) == 1 else name
        for name, alike in zip(listed, same, strict=True)
    ]


def _visit(folder: Path, here: str, seen: dict[Entry, str]) -> None:
    place = folder / here
    entry = _entry(place)
    if entry not in seen:
        seen[entry] = here
        return
    known = folder / seen[entry]
    what = "leads back to" if place.is_relative_to(known) else "is the same folder as"
    link = _link(place) or _link(known)
    do = f"remove the link {link}" if link else "keep one of them"
    raise DataError(f"{place} {what} {known}: each image counts once, so {do}")


def _entry(place: Path) -> Entry:
    try:
        facts = place.stat()
    except OSError as error:
        raise DataError(f"{place} cannot be listed: {error.strerror}") from error
    return facts.st_dev, facts.st_ino


def _link(place: Path) -> Path | None:
    """The nearest link at or above a path."""
    return next((path for path in (place, *place.parents) if path.is_symlink()), None)


def _list(folder: Path, here: str) -> tuple[list[str], list[str]]:
    below, files = [], []
    try:
        with os.scandir(folder / here) as entries:
            for entry in entries:
                if is_hidden(entry.name):
                    continue
                if _is_folder(entry):
                    below.append(entry.name)
                else:
                    files.append(entry.name)
    except OSError as error:
        raise DataError(f"{folder / here} cannot be listed: {error.strerror}") from error
    check_names(folder, (_join(here, name) for name in sorted([*below, *files])))
    return sorted(below), sorted(files)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """False: it is a file.

    Raises:
        DataError: it is neither.
    """
    try:
        if entry.is_dir():
            return True
        if entry.is_file():
            return False
    except OSError:
        pass  # of a link to itself: the message below says so
    path = Path(entry.path)
    # An image whose link leads nowhere is a bad image like others, which may be skipped.
    if path.suffix.lower() not in image_extensions() or path.exists():
        check_kind(path)
    return False


def _join(here: str, name: str) -> str:
    return f"{here}/{name}" if here else name


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
