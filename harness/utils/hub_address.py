"""The address of a file in a model repository of the Hugging Face Hub: `hf://ORG/NAME@REVISION/FILE`."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Self

from harness.errors import UsageError

PREFIX = "hf://"
COMMIT = re.compile(r"[0-9a-f]{40}")
_FORM = re.compile(r"hf://(?P<repo>[\w.-]+/[\w.-]+?)(@(?P<revision>[^/@]+))?/(?P<file>[^@]+)")


@dataclass(frozen=True)
class HubFile:
    """The address of a file.

    Attributes:
        repo: ORG/NAME.
        file: its path there.
        revision: a commit, branch or tag; empty: the newest.
    """

    repo: str
    file: str
    revision: str = ""

    @classmethod
    def read(cls, text: str) -> Self:
        """Of its text.

        Raises:
            UsageError: it is none.
        """
        found = _FORM.fullmatch(text)
        inside = found and not {"..", "."} & set(PurePosixPath(found["file"]).parts)
        if found is None or not inside:
            raise UsageError(
                f"{text}: write hf://ORG/NAME@REVISION/FILE, as in "
                "hf://timm/resnet50.a1_in1k@main/model.safetensors"
            )
        return cls(found["repo"], found["file"], found["revision"] or "")

    def __str__(self) -> str:
        return f"{PREFIX}{self.repo}{self.revision and f'@{self.revision}'}/{self.file}"

    @property
    def pinned(self) -> bool:
        """True if it names a commit, whose files never change."""
        return COMMIT.fullmatch(self.revision) is not None

    @property
    def page(self) -> str:
        """The address where people read of it."""
        return f"https://huggingface.co/{self.repo}"

    def at(self, commit: str) -> Self:
        """The file as a commit has it."""
        return replace(self, revision=commit)

    def place(self, cache: Path) -> Path:
        """Its place in the cache, there or not yet; of a commit."""
        return cache / "hub" / f"models--{self.repo.replace('/', '--')}" / self.revision / self.file
