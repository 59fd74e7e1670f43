"""What the Hub has of a dataset, and one file of it, through huggingface_hub."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from harness.errors import DataError
from harness.files import FULL
from harness.hub import HubDataset, matching

LISTING_SECONDS = 20.0
NAMED = 8  # of a repository's files, in a message


@dataclass(frozen=True)
class Remote:
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
        """How a file of this sha256 differs from what the Hub lists; empty: not at all."""
        if self.sha256:
            return "" if sha256 == self.sha256 else f"sha256 {sha256}, not {self.sha256}"
        found = _blob(path)
        return "" if found == self.blob else f"git hash {found}, not {self.blob}"


@dataclass(frozen=True)
class Listing:
    """What a dataset comes to at a revision."""

    revision: str
    files: tuple[Remote, ...]

    @property
    def bytes(self) -> int:
        """Of all files together."""
        return sum(file.bytes for file in self.files)


def list_files(dataset: HubDataset, revision: str | None) -> Listing:
    """The files of a dataset as the Hub lists them; nothing is downloaded.

    `revision` None: the newest.

    Raises:
        DataError: the Hub cannot be reached or refuses, or a declared file is not there.
    """
    from huggingface_hub import HfApi

    try:
        info = HfApi(endpoint=_endpoint()).dataset_info(
            dataset.repo, revision=revision, files_metadata=True, timeout=LISTING_SECONDS
        )
    except Exception as error:
        raise _explained(dataset, revision, error) from error
    there = [
        Remote(one.rfilename, one.size or 0, one.lfs.sha256 if one.lfs else "", one.blob_id or "")
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
    return Listing(str(info.sha), tuple(file for file in there if file.path in chosen))


def download(dataset: HubDataset, revision: str, file: Remote, part: Path) -> None:
    """Bring one file to `part`; what is there of it already is not sent again.

    By plain HTTP: the client's own way to a folder begins every file anew in each call.

    What has come so far stays in `part` whatever happens.

    Raises:
        DataError: it cannot be had; says why and what to do.
        OSError: the disk is full.
    """
    from huggingface_hub import get_token, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()  # all files are shown as one
    headers = {"Accept-Encoding": "identity"}  # parts are of plain bytes
    if token := get_token():
        headers["Authorization"] = f"Bearer {token}"
    where = _endpoint()
    url = hf_hub_url(
        dataset.repo, file.path, repo_type="dataset", revision=revision, endpoint=where
    )
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as stream:
            here = stream.tell()
            if here < file.bytes:
                http_get(url, stream, resume_size=here, headers=headers, expected_size=file.bytes)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in FULL:
            raise
        raise _explained(dataset, revision, error, file.path) from error


def _endpoint() -> str | None:
    # Read here: the client takes it once, when it is first imported.
    return os.environ.get("HF_ENDPOINT") or None


def _blob(path: Path) -> str:
    """Git's name for a file's content."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _explained(
    dataset: HubDataset, revision: str | None, error: Exception, file: str = ""
) -> DataError:
    """What went wrong and what to do.  The client lets through whatever its transport raises."""
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
        f"{where}: {what} could not be fetched ({_short(error)}): see to the network and run "
        f"'harness data fetch {dataset.name}' again; what has come is kept"
    )


def _short(error: BaseException) -> str:
    """The root of an error, in a line."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
