"""A file of a model repository of the Hugging Face Hub, fetched; and what fetching of any needs.

It comes by plain HTTP into the cache, is held against what the Hub says of it, and read from there;
what has come of it stays beside its place until it is whole.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from harness.errors import WeightsError
from harness.utils import files, locks
from harness.utils.hub_address import HubFile

SHA256 = re.compile(r"[0-9a-f]{64}")
SECONDS = 20.0  # that the Hub is given to say what a file is


@dataclass(frozen=True)
class Listed:
    """The Hub's word on a file: its commit, bytes, and the sha256 or git's hash of them."""

    commit: str
    bytes: int
    etag: str

    def difference(self, path: Path) -> str:
        """The hash that sets a file apart from it; empty: it is the same."""
        if SHA256.fullmatch(self.etag):
            with path.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
            return "" if found == self.etag else f"sha256 {found}, not {self.etag}"
        blob = git_hash(path)
        return "" if blob == self.etag else f"git hash {blob}, not {self.etag}"


def look_up(file: HubFile) -> Listed:
    """Hash, size and commit that the Hub lists of a file.

    Raises:
        WeightsError: it cannot be reached or refuses.
    """
    from huggingface_hub.file_download import get_hf_file_metadata

    try:
        told = get_hf_file_metadata(_url(file), timeout=SECONDS, endpoint=endpoint())
    except Exception as error:
        raise _explained(file, error) from error
    return Listed(told.commit_hash or "", told.size or 0, (told.etag or "").strip('"'))


def fetch(file: HubFile, place: Path) -> None:
    """Bring a file of a commit to its place, unless another process was faster.

    Raises:
        WeightsError: it cannot be had, or is not what the Hub lists; says why and what to do.
        StoreError: the place cannot be written.
    """
    part = place.with_name(f"{place.name}.part")
    advice = "set HARNESS_CACHE to a folder that can be written"
    with files.advising(place.parent, advice), locks.locked(place.parent):
        if place.is_file():
            return
        listed = look_up(file)
        begun = part.is_file()
        problem = _bring(file, listed, part)
        if problem and begun:  # what was there of it may be at fault
            problem = _bring(file, listed, part)
        if problem:
            raise WeightsError(
                f"{file} arrived with {problem}; it was not kept: try again, and if it stays so, the "
                "source or something on the way has changed it"
            )
        part.replace(place)


def _bring(file: HubFile, listed: Listed, part: Path) -> str:
    """The rest of a file; gives what is wrong with the whole, which is then removed."""
    from huggingface_hub.utils.tqdm import disable_progress_bars, enable_progress_bars

    (enable_progress_bars if sys.stderr.isatty() else disable_progress_bars)()
    try:
        bring_rest(_url(file), part, listed.bytes)
    except Exception as error:
        if files.is_full(error):
            raise
        raise _explained(file, error) from error
    problem = listed.difference(part)
    if problem:
        part.unlink()
    return problem


def bring_rest(url: str, part: Path, size: int) -> None:
    """Fetch the rest of a file of `size` bytes by plain HTTP; all that has come stays in `part`.

    The client's own way to a folder begins every file anew in each call.

    Raises:
        Exception: whatever the client's transport raises.
    """
    from huggingface_hub import get_token
    from huggingface_hub.file_download import http_get

    headers = {"Accept-Encoding": "identity"}  # parts are of plain bytes
    if token := get_token():
        headers["Authorization"] = f"Bearer {token}"
    with part.open("ab") as stream:
        here = stream.tell()
        if here < size:
            http_get(url, stream, resume_size=here, headers=headers, expected_size=size)


def git_hash(path: Path) -> str:
    """Git's name for a file's content, by which the Hub lists small files."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def endpoint() -> str | None:
    """The Hub's address, if the environment names one."""
    # Read here: the client takes it once, when it is first imported.
    return os.environ.get("HF_ENDPOINT") or None


def root_of(error: BaseException) -> str:
    """The first cause of an error, in a line."""
    while error.__cause__ is not None:
        error = error.__cause__
    first = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _url(file: HubFile) -> str:
    from huggingface_hub import hf_hub_url

    return hf_hub_url(file.repo, file.file, revision=file.revision or None, endpoint=endpoint())


def _explained(file: HubFile, error: Exception) -> WeightsError:
    """The error with what to do.  The client lets through whatever its transport raises."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return WeightsError(
            f"{file} is gated: accept its terms at {file.page}, log in with 'hf auth login' or set "
            "HF_TOKEN, then fetch it again"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return WeightsError(f"{file}: {file.repo} has no revision {file.revision}; see {file.page}")
    if isinstance(error, errors.EntryNotFoundError):
        return WeightsError(f"{file}: {file.repo} has no such file; see {file.page}/tree/main")
    if isinstance(error, errors.RepositoryNotFoundError):
        return WeightsError(
            f"{file}: {file.repo} does not exist on the Hub, or is private: correct the name, or log "
            "in with 'hf auth login'"
        )
    return WeightsError(
        f"{file} could not be fetched ({root_of(error)}): see to the network and fetch it again; what "
        "has come is kept"
    )
