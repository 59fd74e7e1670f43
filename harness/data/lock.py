"""`harness.lock`: the revision and the bytes of every dataset and weights file that was fetched.

JSON, made to be committed beside a suite or a paper.  `harness data fetch` writes it; loading
refuses whatever differs from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, NonNegativeInt, StringConstraints, ValidationError

from harness.api.records import Extended, Record
from harness.errors import DataError, StoreError
from harness.utils import files
from harness.utils.text import short


def _inside(path: str) -> str:
    """A path that stays in its folder: lists of files come from elsewhere."""
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts or "\\" in path:
        raise ValueError(f"{path!r} leads out of its folder")
    return path


Commit = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Inside = Annotated[str, AfterValidator(_inside)]


class LockedFile(Record):
    """A file by its path in the repository."""

    path: Inside
    sha256: Sha256
    bytes: NonNegativeInt


class LockedDataset(Record):
    """The files of a dataset; `revision` is a commit of the repository, 40 hex digits."""

    repo: str
    revision: Commit
    files: tuple[LockedFile, ...]

    @property
    def bytes(self) -> int:
        """Of all files together."""
        return sum(file.bytes for file in self.files)


class LockedWeights(Extended):
    """The published file a backbone starts from.

    `reference`: its address on the Hub as it was asked for, and `revision` the commit that it had.
    """

    _later: ClassVar[tuple[str, ...]] = ("reference", "revision")

    file: str
    sha256: Sha256
    bytes: NonNegativeInt
    source: str = ""
    reference: str = ""
    revision: Commit | Literal[""] = ""


class Lock(Record):
    """The content of a lock file, by dataset and by backbone (`resnet50`, `resnet50@radimagenet`)."""

    schema_version: Literal[1] = 1
    datasets: dict[str, LockedDataset] = Field(default_factory=dict)
    weights: dict[str, LockedWeights] = Field(default_factory=dict)


def read(path: Path) -> Lock:
    """The lock; an empty one if there is no such file.

    Raises:
        DataError: it cannot be read, or is no lock file of this version.
    """
    try:
        return Lock.model_validate_json(files.read(path))
    except StoreError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return Lock()
        raise DataError(f"lock file {path} cannot be read: {error}") from error
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = short(".".join(map(str, fault["loc"])) or "the file")
        raise DataError(
            f"lock file {path} does not hold: {where}: {short(fault['msg'])}; take it from version control "
            "again, or delete it and run 'harness data fetch'"
        ) from error


def update(
    path: Path,
    *,
    datasets: Mapping[str, LockedDataset] | None = None,
    weights: Mapping[str, LockedWeights] | None = None,
) -> Lock:
    """Add entries to a lock file, or replace them; what is written is returned.

    Raises:
        DataError: it cannot be read or written.
    """
    old = read(path)
    new = Lock(
        datasets=dict(sorted({**old.datasets, **(datasets or {})}.items())),
        weights=dict(sorted({**old.weights, **(weights or {})}.items())),
    )
    if new != old:
        try:
            files.write(path, (new.model_dump_json(indent=1) + "\n").encode())
        except StoreError as error:
            raise DataError(
                f"lock file {path} cannot be written ({error.__cause__}); give another place with "
                "--lock FILE"
            ) from error
    return new


def sha256(path: Path) -> str:
    """Of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def verify(folder: Path, locked: Sequence[LockedFile]) -> str:
    """Compare files with the lock: the first difference; empty: there is none."""
    from harness.utils.parallel import in_order

    for found in in_order(lambda file: _difference(folder / file.path, file), locked):
        if found:
            return found
    return ""


def _difference(path: Path, locked: LockedFile) -> str:
    try:
        if path.stat().st_size != locked.bytes:
            return f"{path} has {path.stat().st_size} bytes, not {locked.bytes}"
        found = sha256(path)
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
    return "" if found == locked.sha256 else f"{path} has sha256 {found}, not {locked.sha256}"
