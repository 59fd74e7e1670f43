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
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from harness.api.records import DataRecord, Json
from harness.errors import StoreError
from harness.utils import files

KEY_FILE = ".key"
KEY_BYTES = 32
PSEUDONYM = re.compile(r"anon-[0-9a-f]{16}")
HUB = re.compile(r"https://huggingface\.co/datasets/([\w.-]+/[\w.-]+)/?$")
REVISION = re.compile(r"[0-9a-f]{40}")
SHORTEST = 3  # characters of a name that is looked for in running text

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
        with files.locked(folder):
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


@dataclass
class Scrubber:
    """Takes out of texts and settings what must stay here.

    Attributes:
        key: as of `folder_key`.
        ids: ids of samples and groups that are not public.
        names: of the user and the machine.
    """

    key: bytes
    ids: frozenset[str] = frozenset()
    names: frozenset[str] = field(default_factory=local_names)

    def __post_init__(self) -> None:
        ids = {name for name in self.ids if len(name) >= SHORTEST}
        ids |= {PurePosixPath(name).name for name in ids if "/" in name}
        self._spaced = sorted((name for name in ids if not _TOKEN.fullmatch(name)), key=len)[::-1]
        # Of an id of several words a text may quote one: those with a number in them say whose.
        words = {word for name in self._spaced for word in _TOKEN.findall(name)}
        self._ids = ids | {word for word in words if _NUMBER.search(word)}
        names = "|".join(map(re.escape, sorted(self.names)))
        self._names = re.compile(rf"(?<!\w)(?:{names})(?!\w)") if names else None

    def pseudonym(self, dataset: str, name: str) -> str:
        """The mark that stands for a sample or group id; the same for the same dataset, id and key."""
        return f"anon-{self._hash(f'{dataset}/{name}')}"

    def text(self, text: str) -> str:
        """A text without absolute paths and without ids that are not public."""
        text = _paths(text, "<path>")
        for name in self._spaced:
            text = text.replace(name, "<id>")
        return _TOKEN.sub(self._word, text) if self._ids else text

    def message(self, text: str) -> str:
        """The same for what a program said, without the names of user and machine."""
        text = self.text(text)
        return self._names.sub("<name>", text) if self._names else text

    def settings(self, value: Json) -> Json:
        """A JSON value in which each absolute path is a mark: different paths, different marks."""
        return _each_string(value, self._setting)

    def texts(self, value: Json) -> Json:
        """A JSON value with every string in it as `text` gives it; the keys stay."""
        return _each_string(value, self.text)

    def _setting(self, text: str) -> str:
        mark = f"<path-{self._hash(text)}>"
        return mark if _WHOLE.match(text) else _paths(text, mark)

    def _hash(self, text: str) -> str:
        return hmac.new(self.key, text.encode(), hashlib.sha256).hexdigest()[:16]

    def _word(self, found: re.Match[str]) -> str:
        word = found[0].strip(".")
        known = word in self._ids or PurePosixPath(word).name in self._ids
        return found[0].replace(word, "<id>") if known else found[0]


def _each_string(value: Json, change: Callable[[str], str]) -> Json:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list | tuple):
        return [_each_string(item, change) for item in value]
    if isinstance(value, dict):
        return {name: _each_string(item, change) for name, item in value.items()}
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
