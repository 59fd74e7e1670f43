"""Upload of a package into a dataset repository of the Hugging Face Hub."""

from __future__ import annotations

import contextlib
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError, UsageError
from harness.utils import locks

if TYPE_CHECKING:
    from huggingface_hub import HfApi

PREFIX = "hf://"
TARGET = re.compile(r"hf://datasets/([\w.-]+/[\w.-]+)/?")
# Files of an earlier package that are in the new one no longer.
OURS = ["runs/*", "splits/*", "failed/*", ".eval_results/*", "leaderboard.*", "page/*"]
UNAUTHORISED, FORBIDDEN = 401, 403


class HubError(HarnessError):
    """The Hub refused, or could not be reached."""


def repository(target: str) -> str:
    """`org/name` of `hf://datasets/org/name`.

    Raises:
        UsageError: another form.
    """
    found = TARGET.fullmatch(target)
    if found is None:
        raise UsageError(f"--to {target}: write hf://datasets/ORG/NAME, or a folder")
    return found[1]


def check(repo: str) -> HfApi:
    """The Hub, after making sure that there is a token and the repository is there.

    Raises:
        HubError: with what is missing and how to get it.
    """
    from huggingface_hub import HfApi, get_token

    if get_token() is None:
        raise HubError(
            "there is no token for the Hub: log in with `hf auth login`, or set HF_TOKEN to a token "
            f"that may write to {repo}"
        )
    api = HfApi()
    with _explained(repo):
        api.repo_info(repo, repo_type="dataset")
    return api


def upload(api: HfApi, repo: str, folder: Path, message: str) -> str:
    """Make the repository hold the package in a folder, and return its address.

    Raises:
        HubError: with what went wrong and what to do.
    """
    with _bars_on_terminals_only(), _explained(repo):
        done = api.upload_folder(
            repo_id=repo,
            repo_type="dataset",
            folder_path=folder,
            commit_message=message,
            delete_patterns=OURS,
            ignore_patterns=[*sorted(locks.LOCKS), f"{locks.CALL}*"],
        )
    return str(done.commit_url)


@contextlib.contextmanager
def _explained(repo: str) -> Iterator[None]:
    try:
        yield
    except _faults() as error:
        raise _told(error, repo) from error


@contextlib.contextmanager
def _bars_on_terminals_only() -> Iterator[None]:
    """In a log every state of a bar would be a line."""
    utils: Any = importlib.import_module("huggingface_hub.utils")  # loads its names when asked
    if sys.stderr.isatty() or utils.are_progress_bars_disabled():
        yield
        return
    utils.disable_progress_bars()
    try:
        yield
    finally:
        utils.enable_progress_bars()


def _faults() -> tuple[type[Exception], ...]:
    """The errors of the client; its first base is the HTTP library's, also for lost lines."""
    from huggingface_hub.errors import HfHubHTTPError

    bases = [base for base in HfHubHTTPError.__bases__ if issubclass(base, Exception)]
    return (*bases, OSError, RuntimeError, ValueError)


def _told(error: Exception, repo: str) -> HubError:
    """The error of the client in words for a user."""
    from huggingface_hub.errors import RepositoryNotFoundError

    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == UNAUTHORISED and not isinstance(error, RepositoryNotFoundError):
        return HubError("the Hub does not accept the token: log in again with `hf auth login`")
    if isinstance(error, RepositoryNotFoundError):
        return HubError(
            f"there is no dataset repository {repo}, or the token may not see it: make it with "
            f"`hf repo create {repo} --repo-type dataset` (`--private` to look at it first)"
        )
    if status == FORBIDDEN:
        return HubError(f"the token may not write to {repo}: use one with write access to it")
    reason = " ".join(str(error.__cause__ or error).split())
    return HubError(f"the upload to {repo} failed ({reason}); the same command tries again")
