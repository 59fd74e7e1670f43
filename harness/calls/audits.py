"""`harness.audit`: what must be known of datasets before their numbers mean anything."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from harness.api.dataset import Access, Dataset
from harness.benchmark.suite.resolve import with_folders
from harness.calls import arguments
from harness.calls.arguments import Pairs, PathLike, Plugins, with_parameters
from harness.data.audit import page, terminal
from harness.data.audit.audit import Audited
from harness.data.audit.audit import audit as audit_dataset
from harness.data.audit.report import Audit
from harness.errors import HarnessError, UsageError
from harness.utils import files, pulse, signs
from harness.utils.names import choose


@dataclass(frozen=True)
class Audits:
    """Audits of datasets; as text it is what `harness data audit` prints.

    Attributes:
        found: report and table of each dataset.
    """

    found: tuple[Audited, ...]

    @property
    def reports(self) -> tuple[Audit, ...]:
        """The report of each dataset."""
        return tuple(one.report for one in self.found)

    @property
    def crosses(self) -> bool:
        """A group, an exact or a confirmed near duplicate crosses splits somewhere."""
        return any(report.crosses for report in self.reports)

    def to_dict(self) -> dict[str, object]:
        """The reports as `--json` prints them."""
        audits = [report.model_dump(mode="json") for report in self.reports]
        return {"crosses": self.crosses, "audits": audits}

    def write(self, *, html: PathLike | None = None, out: PathLike | None = None) -> None:
        """Write a page with example images, which needs nothing else.

        Args:
            html: the file of the page.
            out: a folder for audit.json and audit.html.

        Raises:
            StoreError: a file cannot be written.
        """
        single, folder = arguments.path("--html", html), arguments.folder("--out", out)
        places = [] if single is None else [(single, "file with --html")]
        if folder is not None:
            places.append((folder / "audit.html", "folder with --out"))
            text = json.dumps(self.to_dict(), indent=1) + "\n"
            files.write(folder / "audit.json", text.encode())
        content = page.render(self.found).encode() if places else b""
        for place, option in places:
            with files.advising(place, f"choose another {option}"):
                files.write(place, content)

    def __str__(self) -> str:
        return "".join(map(terminal.render, self.reports))


def audit(  # noqa: PLR0913 - the options of the command
    *names: str,
    data: Pairs = (),
    columns: Pairs = (),
    join_labels: bool = False,
    window: Pairs = (),
    lock: PathLike = "harness.lock",
    plugins: Plugins = (),
    strict_plugins: bool = False,
    offline: bool | None = None,
) -> Audits:
    """Look for leaks, copies, bad files and shortcuts in data.

    The source's own splits are judged as they are, and beside them those that a run uses.

    Args:
        *names: names or globs of datasets.
        data: images of your own, as for `harness.bench`.
        columns: of the list of a `data` folder, as for `harness.bench`.
        join_labels: labels of a `data` folder that read the same (1 and 1.0) are one class.
        window: of DICOM files, as for `harness.bench`.
        lock: the file with revisions and bytes of data.
        plugins: as for `harness.bench`.
        strict_plugins: a broken plugin is an error.
        offline: never use the network; None: as HF_HUB_OFFLINE says.

    Raises:
        UsageError: no such dataset, or none was named.
        DataError: one cannot be loaded, or contradicts itself; after all have been looked at.
    """
    return gathered(
        audit_each(
            *names,
            data=data,
            columns=columns,
            join_labels=join_labels,
            window=window,
            lock=lock,
            plugins=plugins,
            strict_plugins=strict_plugins,
            offline=offline,
        )
    )


@with_parameters(audit)
def audit_each(**given: Any) -> Iterator[Audited | HarnessError]:  # noqa: ANN401 - arguments of `audit`
    """One audit after another, or the error that there was instead."""
    datasets, access = _chosen(given)
    for dataset in datasets:
        try:
            with pulse.shown(), signs.doing(f"reading {dataset.name}") as read:
                one = audit_dataset(dataset, access, read)
            yield one
        except HarnessError as error:  # the others are looked at all the same
            yield error


def gathered(each: Iterable[Audited | HarnessError]) -> Audits:
    """All audits; if there was an error instead of any, it is raised at the end."""
    found, problems = [], []
    for one in each:
        if isinstance(one, HarnessError):
            problems.append(one)
        else:
            found.append(one)
    if problems:
        raise type(problems[0])("\n".join(map(str, problems)))
    return Audits(tuple(found))


def _chosen(given: Mapping[str, Any]) -> tuple[list[Dataset], Access]:
    registry = arguments.loaded(given["plugins"], strict=given["strict_plugins"])
    folders = arguments.own_folders(given)
    named = arguments.names("NAMES", given["names"])
    if not (named or folders):
        raise UsageError(
            "name datasets (`harness list datasets` shows them) or give --data NAME=FOLDER"
        )
    known = with_folders(registry.datasets, folders)
    with arguments.explaining(registry):
        chosen = choose(named, known, "dataset") if named else []
    access = Access(
        offline=arguments.is_offline(given["offline"]),
        lock=arguments.place(given["lock"], "--lock"),
    )
    asked = dict.fromkeys([*chosen, *(one.name for one in folders)])
    return [known[name] for name in asked], access
