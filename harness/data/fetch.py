"""Fetch datasets and weights, make sure of every byte, and write what came into the lock file.

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

from harness import weights
from harness.api.backbone import Backbone
from harness.api.dataset import Access
from harness.data import lock
from harness.data.hub import FETCHED, HubDataset, matching
from harness.data.lock import Lock, LockedDataset, LockedFile, LockedWeights
from harness.errors import DataError, StoreError, WeightsError
from harness.utils import files, locks
from harness.utils.files import FULL
from harness.utils.hub_files import bring_rest, endpoint, git_hash, look_up, root_of
from harness.utils.parallel import in_order
from harness.utils.progress import Meter
from harness.weights.starts import Beginning, Start, beginnings

LISTING_SECONDS = 20.0
NAMED = 8  # of a repository's files, in a message
PARTS = ".fetching"  # beside the revisions of a repository
SIDE_BY_SIDE = 4  # downloads at a time; many small files wait for the server, not for the line


@dataclass(frozen=True)
class ListedFile:
    """A file that the Hub lists.

    Attributes:
        sha256: of large files; '' for others.
        blob: git's hash, of the others.
    """

    path: str
    bytes: int
    sha256: str = ""
    blob: str = ""

    def difference(self, path: Path, sha256: str) -> str:
        """Compare a file of this sha256 with what the Hub lists; empty: it is the same."""
        if self.sha256:
            return "" if sha256 == self.sha256 else f"sha256 {sha256}, not {self.sha256}"
        found = git_hash(path)
        return "" if found == self.blob else f"git hash {found}, not {self.blob}"


@dataclass(frozen=True)
class HubListing:
    """The files of a dataset at a revision."""

    revision: str
    files: tuple[ListedFile, ...]

    @property
    def bytes(self) -> int:
        """Of all files together."""
        return sum(file.bytes for file in self.files)


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
        with _cache_written(access), locks.locked(folder):
            entry = _download(dataset, access, meter)
    with _cache_written(access), locks.locked(access.cache / "hub"):
        lock.update(access.lock, datasets={dataset.name: entry})
    return entry


def wanted_revision(dataset: HubDataset, access: Access) -> str | None:
    """The revision to fetch; None: the newest, since neither plugin nor lock file name one."""
    if dataset.revision is not None:
        return dataset.revision
    entry = lock.read(access.lock).datasets.get(dataset.name)
    return entry.revision if entry and entry.repo == dataset.repo else None


def fetch_weights(
    backbone: Backbone, access: Access, start: Start | None = None, where: str | None = None
) -> LockedWeights:
    """Fetch a backbone's published weights, or those of a start, if they are not here, and lock them.

    Raises:
        WeightsError: they cannot be had, or are not what was locked.
    """
    locked = lock.read(access.lock)
    (one,) = beginnings([backbone], where, [start] if start else [], locked.weights)
    file, revision = one.hub, ""
    if file is not None:
        if not file.pinned:
            if access.offline:
                raise WeightsError(
                    f"{one.name}: {file} was not fetched, and offline nothing is: run the same command "
                    f"with a network, or bring {access.lock} and the cache from a machine that has it"
                )
            one = one.at(look_up(file).commit)
        revision = one.hub.revision if one.hub else ""
    found = weights.find_weights(one.backbone, one.where, offline=access.offline)
    if found is None:
        raise WeightsError(f"{backbone.name} declares no weights")
    check_weights(locked, one, found.path, found.sha256)
    entry = LockedWeights(
        file=found.path.name,
        sha256=found.sha256,
        bytes=found.path.stat().st_size,
        source=found.declared.source,
        reference=one.reference,
        revision=revision,
    )
    with _cache_written(access), locks.locked(access.cache / "hub"):
        lock.update(access.lock, weights={one.key: entry})
    return entry


def check_weights(locked: Lock, one: Beginning, path: Path, sha256: str) -> None:
    """Compare a published file with the lock, where that names it.

    Raises:
        WeightsError: they differ.
    """
    entry = locked.weights.get(one.key)
    if entry is not None and entry.reference == one.reference and entry.sha256 != sha256:
        backbone = one.backbone.name
        raise WeightsError(
            f"{path} has sha256 {sha256}, but the lock file pins {entry.sha256} for {one.key}: "
            f"delete it and run 'harness data fetch --backbones {backbone}', or take {one.key} out "
            "of the lock file"
        )


def list_files(dataset: HubDataset, revision: str | None) -> HubListing:
    """The files of a dataset as the Hub lists them; nothing is downloaded.

    `revision` None: the newest.

    Raises:
        DataError: the Hub cannot be reached or refuses, or a declared file is not there.
    """
    from huggingface_hub import HfApi

    try:
        info = HfApi(endpoint=endpoint()).dataset_info(
            dataset.repo, revision=revision, files_metadata=True, timeout=LISTING_SECONDS
        )
    except Exception as error:
        raise _explained(dataset, revision, error) from error
    there = [
        ListedFile(
            one.rfilename, one.size or 0, one.lfs.sha256 if one.lfs else "", one.blob_id or ""
        )
        for one in info.siblings or ()
    ]
    paths = [file.path for file in there]
    chosen: set[str] = set()
    for glob in (glob for globs in dataset.files.values() for glob in globs):
        found = matching(glob, paths)
        if not found:
            listed = ", ".join(paths[:NAMED]) or "none"
            raise DataError(
                f"dataset {dataset.name!r}: {dataset.repo} at revision {info.sha} has no file "
                f"{glob} (its files: {listed}): correct 'files', or pin the revision that has them"
            )
        chosen |= set(found)
    return HubListing(str(info.sha), tuple(file for file in there if file.path in chosen))


def download(dataset: HubDataset, revision: str, file: ListedFile, part: Path) -> None:
    """Bring one file to `part`; what is there of it already is not sent again.

    What has come so far stays in `part` whatever happens.

    Raises:
        DataError: it cannot be had; says why and what to do.
        OSError: the disk is full.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()  # all files are shown as one
    url = hf_hub_url(
        dataset.repo, file.path, repo_type="dataset", revision=revision, endpoint=endpoint()
    )
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        bring_rest(url, part, file.bytes)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in FULL:
            raise
        raise _explained(dataset, revision, error, file.path) from error


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
    listing = list_files(dataset, wanted_revision(dataset, access))
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

    def __call__(self, listed: ListedFile) -> LockedFile:
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

    def _arrived(self, listed: ListedFile, part: Path) -> str:
        """The sha256 of a file that has come in full and is right."""
        download(self.dataset, self.revision, listed, part)
        sha256 = lock.sha256(part)
        if problem := self._wrong(listed, part, sha256):
            part.unlink()
            raise _ChangedError(
                f"dataset {self.dataset.name!r}: {listed.path} of {self.dataset.repo} arrived "
                f"with {problem}; it was not kept: try again, and if it stays so, the source or "
                "something on the way has changed it"
            )
        return sha256

    def _locked(self, listed: ListedFile, sha256: str) -> LockedFile:
        try:
            return LockedFile(path=listed.path, sha256=sha256, bytes=listed.bytes)
        except ValidationError as error:
            raise DataError(
                f"dataset {self.dataset.name!r}: the Hub lists {listed.path!r}, no path "
                "inside a repository"
            ) from error

    def _wrong(self, listed: ListedFile, path: Path, sha256: str) -> str:
        pin = self.pinned.get(listed.path, sha256)
        if sha256 != pin:
            return f"sha256 {sha256}, not {pin} as the lock file pins it"
        return listed.difference(path, sha256)


def _explained(
    dataset: HubDataset, revision: str | None, error: Exception, file: str = ""
) -> DataError:
    """A DataError that says what to do.  The client lets through what its transport raises."""
    from huggingface_hub import errors

    where = f"dataset {dataset.name!r}: {dataset.repo}"
    what = f"{file} of revision {revision}" if file else f"revision {revision or 'main'}"
    if isinstance(error, errors.GatedRepoError):
        return DataError(
            f"{where} is gated: accept its terms at {dataset.source}, log in with 'hf auth login' "
            "or set HF_TOKEN, then fetch it again"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return DataError(f"{where} has no revision {revision}: correct 'revision' in its plugin")
    if isinstance(error, errors.RepositoryNotFoundError):
        return DataError(
            f"{where} does not exist on the Hub, or is private: correct 'repo', or log in with "
            "'hf auth login'"
        )
    if isinstance(error, errors.EntryNotFoundError):
        return DataError(
            f"{where}: the Hub lists {file} but does not have it: report it at {dataset.source}"
        )
    return DataError(
        f"{where}: {what} could not be fetched ({root_of(error)}): see to the network and run "
        f"'harness data fetch {dataset.name}' again; what has come is kept"
    )
