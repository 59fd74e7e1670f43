"""Scrub what leaves the machine: no sample or group id that is not public, no path, no user name.

Ids are replaced by keyed hashes (HMAC-SHA256, 64 bits).  The key is made once a results folder and
stays in its `.key`: whoever knows ids but not the key can neither look them up nor try them out.
"""

from __future__ import annotations

import getpass
import hashlib
import hmac
import os
import platform
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from harness.api.records import DataRecord, Json
from harness.errors import StoreError
from harness.utils import files, locks

KEY_FILE = ".key"
KEY_BYTES = 32
PSEUDONYM = re.compile(r"anon-[0-9a-f]{16}")
HUB = re.compile(r"https://huggingface\.co/datasets/([\w.-]+/[\w.-]+)/?$")
REVISION = re.compile(r"[0-9a-f]{40}")
SHORTEST = 3  # characters of a name of user or machine that is looked for
LONG = 4  # characters of an id that is looked for in any case
SPLIT_WORDS = ("train", "training", "validation", "test", "testing", "val", "valid")
# Folders and accounts that are called so everywhere.
COMMON = frozenset({"images", "image", "data", "dataset", "files", "file", "scan", "scans", "all"})
SYSTEM = frozenset({"root", "user", "admin", "ubuntu", "runner", "jovyan", "nobody", "localhost"})

# A path in running text, from its root on: up to the quote that opened before it, else up to a
# space, and over that space where a slash follows in the next word.
_ROOT = r"(?:file:/+|~[\w.-]*[\\/]|\\\\|(?<![A-Za-z])[A-Za-z]:[\\/]|/)(?=[^\s/'\"])"
_QUOTED = re.compile(rf"(?P<quote>['\"`])(?P<path>{_ROOT}[^\n'\"`]*)(?P=quote)")
_WORD = r"[^\s'\"`,;|<>]"
_BARE = re.compile(
    rf"(?<![\w./\\~<>)\]-])(?P<path>{_ROOT}{_WORD}*(?:[ ](?=[^\s'\"`]*[\\/]){_WORD}+)*)"
)
_WHOLE = re.compile(_ROOT)
_INSTALLED = re.compile(r"^.*[\\/](?:site|dist)-packages[\\/]")
_WORDS = re.compile(r"[^\W_]+")
_NUMBER = re.compile(r"\d\D*\d\D*\d")
_TOKEN = re.compile(r"[^\s'\"`,;:=()\[\]{}<>]+")


def folder_key(folder: Path, *, keep: bool = True) -> bytes:
    """The key of a results folder, readable by its owner only; made when it is first needed.

    Args:
        folder: the results folder.
        keep: write down a new key; False: use it once.

    Raises:
        StoreError: the key's file is damaged, or it cannot be written.
    """
    path = folder / KEY_FILE
    if not files.exists(path):
        new = secrets.token_bytes(KEY_BYTES)
        if not keep:
            return new
        with locks.locked(folder):
            if not files.exists(path):
                _write_private(path, new.hex() + "\n")
    path.chmod(0o600)
    try:
        key = bytes.fromhex(files.read(path).decode())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise StoreError(
            f"{path} is damaged: put the file back; without it, delete it, and ids get other "
            "hashes than in what was published before"
        )
    return key


def _write_private(path: Path, text: str) -> None:
    """Never readable by others, not even for a moment."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with os.fdopen(
            os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w"
        ) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise files.unwritable(path, error) from error


def hub_id(source: str, revision: str | None) -> str | None:
    """`ORG/NAME` of a dataset that is a pinned revision of the Hub."""
    found = HUB.match(source) if REVISION.fullmatch(revision or "") else None
    return found[1] if found else None


def is_public(data: DataRecord) -> bool:
    """True if sample and group ids may be published: drawn images, or a pinned revision of the Hub.

    Of whatever else the ids stay here, folders above all.
    """
    return data.procedural or hub_id(data.source, data.revision) is not None


def is_pseudonym(name: str) -> bool:
    """True if an id has been replaced already."""
    return PSEUDONYM.fullmatch(name) is not None


def local_names() -> frozenset[str]:
    """Names of this machine and its user."""
    found = {Path.home().name, platform.node(), platform.node().partition(".")[0]}
    try:
        found.add(getpass.getuser())
    except (KeyError, OSError):  # a user without a name, as in some containers
        found.discard("")
    return frozenset(name for name in found if len(name) >= SHORTEST)


def is_searchable(name: str) -> bool:
    """True if an id is looked for in texts: shorter ones stand in too many of them by chance."""
    kinds = {char.isalpha() for char in name if char.isalnum()}
    return len(name) >= LONG or len(kinds) > 1


@dataclass
class Scrubber:
    """Takes out of texts and settings what must stay here.

    An id is found as a whole token, in upper or lower case, and so are its parts: folders, a file's
    name without its end, words with a number in them.  Numbers of JSON are never touched.

    Attributes:
        key: as of `folder_key`.
        ids: id of a sample or group that is not public -> its dataset.
        names: of the user and the machine.
        kept: words that are no secret though an id is called so: class names.
    """

    key: bytes
    ids: Mapping[str, str] = field(default_factory=dict)
    names: frozenset[str] = field(default_factory=local_names)
    kept: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        kept = {_lower(word) for word in (*self.kept, *SPLIT_WORDS)}
        marks = {
            _lower(name): self.pseudonym(dataset, name)
            for name, dataset in sorted(self.ids.items())
            if is_searchable(name) and _lower(name) not in kept
        }
        self._whole = dict(marks)
        for name, dataset in sorted(self.ids.items()):
            for part in _parts(name):
                low = _lower(part)
                if is_searchable(part) and not part.isdigit() and low not in kept | COMMON:
                    marks.setdefault(low, self.pseudonym(dataset, part))
        self._by_word: dict[str, list[tuple[int, str, str]]] = {}
        for low, mark in marks.items():
            if first := _WORDS.search(low):
                known = self._by_word.setdefault(first[0], [])
                known.append((first.start(), low, mark))
        for found in self._by_word.values():
            found.sort(key=lambda one: -len(one[1]))
        names = "|".join(map(re.escape, sorted(self.names - SYSTEM)))
        self._names = re.compile(rf"(?<!\w)(?:{names})(?!\w)", re.IGNORECASE) if names else None

    def pseudonym(self, dataset: str, name: str) -> str:
        """The mark that stands for a sample or group id; the same for the same dataset, id and key."""
        return f"anon-{self._hash(f'{dataset}/{name}')}"

    def text(self, text: str) -> str:
        """A text without absolute paths, ids that are not public, and names of user and machine."""
        return self._words(_paths(text, "<path>"))

    def settings(self, value: Json) -> Json:
        """A JSON value with each string as `text` gives it, but different marks for different paths.

        Names of settings stay; keys below them are strings like others.
        """
        if isinstance(value, dict):
            return {name: _each_string(one, self._setting) for name, one in value.items()}
        return _each_string(value, self._setting)

    def texts(self, value: Json, keep: frozenset[str] = frozenset()) -> Json:
        """A JSON value with every string in it as `text` gives it, but in the fields `keep`; keys stay."""
        if isinstance(value, dict):
            return {
                name: one if name in keep else self.texts(one, keep) for name, one in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.texts(one, keep) for one in value]
        return self.text(value) if isinstance(value, str) else value

    def named(self, text: str) -> str:
        """The dataset whose sample or group id stands whole in a text; empty: none does.

        Ids of digits alone are not looked for: the text is a name, a date or a hash.
        """
        for _, _, low in self._tokens(text):
            if low in self._whole and not low.isdigit():
                return next(d for name, d in self.ids.items() if _lower(name) == low)
        return ""

    def _setting(self, text: str) -> str:
        mark = f"<path-{self._hash(text)}>"
        return mark if _WHOLE.match(text) else self._words(_paths(text, mark))

    def _hash(self, text: str) -> str:
        return hmac.new(self.key, text.encode(), hashlib.sha256).hexdigest()[:16]

    def _words(self, text: str) -> str:
        pieces, end = [], 0
        for start, stop, low in self._tokens(text):
            pieces += [text[end:start], self._mark(low)]
            end = stop
        text = "".join([*pieces, text[end:]])
        return self._names.sub("<name>", text) if self._names else text

    def _mark(self, low: str) -> str:
        first = _WORDS.search(low)
        known = self._by_word[first[0]] if first else []
        return next(mark for _, one, mark in known if one == low)

    def _tokens(self, text: str) -> Iterator[tuple[int, int, str]]:
        """Start, end and lower-case text of every id in a text, the longest where several begin."""
        low = _lower(text)
        end = 0
        for word in _WORDS.finditer(low):
            for offset, name, _ in self._by_word.get(word[0], ()):
                start = word.start() - offset
                stop = start + len(name)
                if start >= end and low.startswith(name, start) and _ends(low, name, start, stop):
                    yield start, stop, name
                    end = stop
                    break


def _lower(text: str) -> str:
    """In lower case, letter by letter: a few letters would become two."""
    return text.lower() if text.isascii() else "".join(c.lower()[0] for c in text)


def _parts(name: str) -> Iterator[str]:
    """Other names of the same: folders, the file without its end, words with a number in them."""
    path = PurePosixPath(name)
    yield from path.parts
    yield path.stem
    if not _TOKEN.fullmatch(name):
        yield from (word for word in _TOKEN.findall(name) if _NUMBER.search(word))


def _ends(text: str, name: str, start: int, stop: int) -> bool:
    """True if a token ends where the id does; of digits, if they are no part of a decimal number."""
    if name[-1].isalnum() and text[stop : stop + 1].isalnum():
        return False
    around = (text[max(0, start - 2) : start], text[stop : stop + 2][::-1])
    decimal = any(part[-1:] in {".", ","} and part[:1].isdigit() for part in around if part)
    return not (name.isdigit() and decimal)


def _each_string(value: Json, change: Callable[[str], str]) -> Json:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list | tuple):
        return [_each_string(item, change) for item in value]
    if isinstance(value, dict):
        return {change(name): _each_string(item, change) for name, item in value.items()}
    return value


def _paths(text: str, mark: str) -> str:
    if "/" not in text and "\\" not in text:
        return text

    def quoted(found: re.Match[str]) -> str:
        return f"{found['quote']}{shown(found)}{found['quote']}"

    def shown(found: re.Match[str]) -> str:
        # What follows the folder of installed packages says which library's code it is.
        inside = _INSTALLED.sub("", found["path"])
        return mark if inside == found["path"] else f"{mark}/{inside}"

    return _BARE.sub(shown, _QUOTED.sub(quoted, text))
