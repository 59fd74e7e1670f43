"""Bring datasets and weights here, make sure of every byte, and write what came into the lock file.

The Hub's client does not look at what it receives.  So each file is compared with the sha256 in
the lock file, and with the hash that the Hub itself lists, before it takes its place: what is in
place is complete and right.  What has come of a file lies apart, in `PARTS`, until all are in
place: a call that failed, or was killed, goes on from there.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from harness import files, lock, remote, weights_file
from harness.backbone import Backbone
from harness.dataset import Access
from harness.errors import DataError, StoreError, WeightsError
from harness.hub import FETCHED, HubDataset
from harness.lock import Lock, LockedDataset, LockedFile, LockedWeights
from harness.meter import Meter
from harness.parallel import in_order
from harness.remote import Remote

PARTS = ".fetching"  # beside the revisions of a repository
SIDE_BY_SIDE = 4  # downloads at a time; many small files wait for the server, not for the line


def fetch_dataset(dataset: HubDataset, access: Access, meter: Meter) -> LockedDataset:
    """Fetch what is missing of a dataset and lock it; without need the network is not used.

    Raises:
        DataError: the Hub cannot be reached or refuses, the repository is not as declared, a file
            is not what was locked, or the cache cannot be written.
    """
    entry = dataset.locked(access)
    if entry is None or lock.verify(dataset.folder(access, entry.revision), entry.files):
        if access.offline:
            raise DataError(
                f"dataset {dataset.name!r} is not here in full, and offline nothing is fetched: run "
                f"'harness data fetch {dataset.name}' with a network, or bring {access.cache / 'hub'} "
                f"and {access.lock} from a machine that has them"
            )
        folder = access.cache / "hub" / dataset.repo.replace("/", "--")
        with _cache_written(access), files.locked(folder):
            entry = _download(dataset, access, meter)
    with _cache_written(access), files.locked(access.cache / "hub"):
        lock.update(access.lock, datasets={dataset.name: entry})
    return entry


def wanted_revision(dataset: HubDataset, access: Access) -> str | None:
    """The revision to fetch; None: the newest, since neither plugin nor lock file name one."""
    if dataset.revision is not None:
        return dataset.revision
    entry = lock.read(access.lock).datasets.get(dataset.name)
    return entry.revision if entry and entry.repo == dataset.repo else None


def fetch_weights(backbone: Backbone, access: Access) -> LockedWeights:
    """Fetch a backbone's published weights, if they are not here, and lock them.

    Raises:
        WeightsError: they cannot be had, or are not what was locked.
    """
    found = weights_file.find(backbone, offline=access.offline)
    if found is None:
        raise WeightsError(f"{backbone.name} declares no weights")
    check_weights(lock.read(access.lock), backbone.name, found.path, found.sha256)
    entry = LockedWeights(
        file=found.path.name,
        sha256=found.sha256,
        bytes=found.path.stat().st_size,
        source=found.declared.source,
    )
    with _cache_written(access), files.locked(access.cache / "hub"):
        lock.update(access.lock, weights={backbone.name: entry})
    return entry


def check_weights(locked: Lock, backbone: str, path: Path, sha256: str) -> None:
    """Compare a backbone's default file with the lock, where that names it.

    Raises:
        WeightsError: they differ.
    """
    entry = locked.weights.get(backbone)
    if entry is not None and entry.sha256 != sha256:
        raise WeightsError(
            f"{path} has sha256 {sha256}, but the lock file pins {entry.sha256} for {backbone}: "
            f"delete it and run 'harness data fetch --backbones {backbone}', or take {backbone} out "
            "of the lock file"
        )


@contextmanager
def _cache_written(access: Access) -> Iterator[None]:
    """Says what to do about a cache that cannot be written."""
    try:
        yield
    except (OSError, StoreError) as error:
        reason = error.__cause__ if isinstance(error, StoreError) else error
        raise DataError(
            f"{access.cache / 'hub'} cannot be written ({reason}): free some space, or set "
            "HARNESS_CACHE to a folder that can be written; what is there is kept, and the same "
            "command goes on from there"
        ) from error


def _download(dataset: HubDataset, access: Access, meter: Meter) -> LockedDataset:
    listing = remote.list_files(dataset, wanted_revision(dataset, access))
    old = lock.read(access.lock).datasets.get(dataset.name)
    same = old is not None and (old.repo, old.revision) == (dataset.repo, listing.revision)
    pinned = {file.path: file.sha256 for file in old.files} if old and same else {}
    folder = dataset.folder(access, listing.revision)
    parts = folder.parent / PARTS / listing.revision
    bring = _Bring(dataset, listing.revision, folder, parts, pinned)
    found: list[LockedFile] = []
    with meter.watching(dataset.name, parts, len(listing.files), listing.bytes):
        for file in in_order(bring, listing.files, workers=SIDE_BY_SIDE):
            found.append(file)
            meter.add(file.bytes)
    shutil.rmtree(parts.parent, ignore_errors=True)
    entry = LockedDataset(repo=dataset.repo, revision=listing.revision, files=_by_path(found))
    _remember(folder / FETCHED, entry)
    return entry


def _by_path(found: list[LockedFile]) -> tuple[LockedFile, ...]:
    return tuple(sorted(found, key=lambda file: file.path))


def _remember(path: Path, entry: LockedDataset) -> None:
    """Beside the files; another declaration may have fetched more of the same revision."""
    known: dict[str, LockedFile] = {}
    if path.is_file():
        known = {f.path: f for f in LockedDataset.model_validate_json(path.read_bytes()).files}
    known |= {file.path: file for file in entry.files}
    merged = entry.model_copy(update={"files": _by_path(list(known.values()))})
    files.write(path, (merged.model_dump_json(indent=1) + "\n").encode())


class _ChangedError(DataError):
    """A file is not what was listed or locked."""


@dataclass(frozen=True)
class _Bring:
    """Brings one file, unless it is in its place; called by several threads."""

    dataset: HubDataset
    revision: str
    folder: Path
    parts: Path
    pinned: dict[str, str]

    def __call__(self, listed: Remote) -> LockedFile:
        file = self._locked(listed, "0" * 64)  # refuses a path that leads out of the folder
        place = self.folder / file.path
        sha256 = lock.sha256(place) if place.is_file() else ""
        if not sha256 or self._wrong(listed, place, sha256):
            part = self.parts / file.path
            begun = part.is_file()
            try:
                sha256 = self._arrived(listed, part)
            except _ChangedError:
                if not begun:
                    raise
                sha256 = self._arrived(listed, part)  # what was there of it may be at fault
            place.parent.mkdir(parents=True, exist_ok=True)
            part.replace(place)
        return self._locked(listed, sha256)

    def _arrived(self, listed: Remote, part: Path) -> str:
        """The sha256 of a file that has come in full and is right."""
        remote.download(self.dataset, self.revision, listed, part)
        sha256 = lock.sha256(part)
        if problem := self._wrong(listed, part, sha256):
            part.unlink()
            raise _ChangedError(
                f"dataset {self.dataset.name!r}: {listed.path} of {self.dataset.repo} arrived "
                f"with {problem}; it was not kept: try again, and if it stays so, the source or "
                "something on the way has changed it"
            )
        return sha256

    def _locked(self, listed: Remote, sha256: str) -> LockedFile:
        try:
            return LockedFile(path=listed.path, sha256=sha256, bytes=listed.bytes)
        except ValidationError as error:
            raise DataError(
                f"dataset {self.dataset.name!r}: the Hub lists {listed.path!r}, no path "
                "inside a repository"
            ) from error

    def _wrong(self, listed: Remote, path: Path, sha256: str) -> str:
        pin = self.pinned.get(listed.path, sha256)
        if sha256 != pin:
            return f"sha256 {sha256}, not {pin} as the lock file pins it"
        return listed.difference(path, sha256)
