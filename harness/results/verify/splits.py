"""Split files: whole, unchanged, and which rows a run must have been tested on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api.dataset import Split
from harness.api.records import DataRecord, RunResult, RunSpec, digest
from harness.data.division.split import Splits, labelled, limited
from harness.data.division.stratify import split_quotas
from harness.errors import StoreError
from harness.results import package, schema
from harness.results.privacy import is_pseudonym
from harness.results.verify.report import VerificationReport
from harness.utils import files

if TYPE_CHECKING:
    import numpy as np

LIMITED = "which images a limit took: ids are replaced, only their numbers were checked"


@dataclass
class SplitFiles:
    """The split files of a folder, each read and checked once."""

    folder: Path
    report: VerificationReport
    _read: dict[str, Splits | None] = field(default_factory=dict)
    _labels: dict[str, np.ndarray] = field(default_factory=dict)
    _limited: dict[tuple[str, int | None, int], dict[Split, list[int]]] = field(
        default_factory=dict
    )

    def check_all(self) -> None:
        """Every file in `splits/`, whether a run refers to it or not."""
        for path in files.listing(self.folder / "splits"):
            self.read(self.report.name(path))

    def read(self, name: str) -> Splits | None:
        """A split file by its name in records; None: it does not hold, which is reported once."""
        if name not in self._read:
            self._read[name] = self._checked(name)
        return self._read[name]

    def labels(self, name: str, splits: Splits) -> np.ndarray:
        """The class number of every row, int64."""
        import numpy as np

        if name not in self._labels:
            number = {label: place for place, label in enumerate(splits.classes)}
            found = [number[sample.label] for sample in splits.samples]
            self._labels[name] = np.array(found, dtype=np.int64)
        return self._labels[name]

    def fault(self, rows: np.ndarray, split: Split, name: str, spec: RunSpec) -> str:
        """The reason that rows are not those a run with this spec has in a split; empty: they are.

        `name`: of the split file.
        """
        splits = self.read(name)
        if splits is None:
            return ""
        given = sorted(rows.tolist())
        where = f"the {split} rows of {name}"
        if spec.limit is not None and all(is_pseudonym(one.id) for one in splits.samples):
            self.report.unchecked[LIMITED] += split == "test"
            return self._quota_fault(given, splits, split, spec.limit, where)
        expected = self._rows(name, splits, spec)[split]
        if given == expected:
            return ""
        few = f" at the limit of {spec.limit}" if spec.limit else ""
        foreign = len(set(given) - set(expected))
        return (
            f"its {len(given)} {split} samples are not {where}{few}: {foreign} are none of them, "
            f"{len(set(expected) - set(given))} of {len(expected)} are missing"
        )

    def train_counts(self, data: DataRecord, spec: RunSpec) -> Counter[str] | None:
        """Images a class that a run with this spec trains on; None: the files do not say."""
        splits = self.read(data.split_file)
        if splits is None or data.skipped:
            return None
        chosen = spec.limit is not None or spec.labels is not None
        if chosen and all(is_pseudonym(one.id) for one in splits.samples):
            return None
        rows = self._rows(data.split_file, splits, spec)["train"]
        rows = labelled(splits, rows, spec.labels, spec.protocol.split_seed)
        return Counter(splits.samples[row].label for row in rows)

    def _rows(self, name: str, splits: Splits, spec: RunSpec) -> dict[Split, list[int]]:
        key = (name, spec.limit, spec.protocol.split_seed)
        if key not in self._limited:
            self._limited[key] = limited(splits, spec.limit, spec.protocol.split_seed)
        return self._limited[key]

    def _quota_fault(
        self, given: list[int], splits: Splits, split: Split, limit: int, where: str
    ) -> str:
        rows = splits.rows(split)
        if len(set(given)) < len(given) or not set(given) <= set(rows):
            return f"its {split} samples are not among {where}, each once"
        counts = Counter(splits.samples[row].label for row in rows)
        wanted = counts if len(rows) <= limit else Counter(split_quotas(counts, limit))
        if Counter(splits.samples[row].label for row in given) != wanted:
            return f"its {split} samples are not {limit} of {where}, classes in proportion"
        return ""

    def _checked(self, name: str) -> Splits | None:
        path = self.folder / name
        if not (name.startswith("splits/") and package.is_inside(name)):
            self.report.wrong(
                name, "split", "a record names it as its split file; it must be in splits/"
            )
            return None
        try:
            splits = schema.load_exactly(path, Splits)
        except StoreError as error:
            self.report.wrong(path, "split", self.report.told(error))
            return None
        if fault := _fault(splits):
            self.report.wrong(path, "split", fault)
            return None
        return splits


def check_reference(runs: Iterable[RunResult], reference: Path, report: VerificationReport) -> None:
    """Report runs whose split file is none of another results folder's.

    Runs are compared image by image only where they were made on equal split files.

    Raises:
        StoreError: a split file there cannot be read.
    """
    known: dict[str, list[Splits]] = {}
    for path in files.listing(reference / "splits"):
        splits = schema.load(path, Splits)
        known.setdefault(splits.dataset, []).append(splits)
    if not known:
        raise StoreError(f"{reference} holds no split files: give a results folder")
    for run in runs:
        if run.data is None or any(
            one.sha256 == run.data.split_sha256 for one in known.get(run.spec.dataset, ())
        ):
            continue
        same = any(one.fingerprint == run.spec.data for one in known.get(run.spec.dataset, ()))
        why = (
            "the ids in it are others: pack it again with `harness submit --show "
            f"{run.spec.dataset}`, if they are public"
            if same
            else f"there are {len(known.get(run.spec.dataset, ()))} of {run.spec.dataset}, all of "
            "other images, groups, labels or splits"
        )
        report.wrong(
            f"runs/{run.spec.dataset}/{run.spec.started}/{run.spec.strategy}/{run.run_id}.json",
            "reference",
            f"{run.data.split_file} is no split file of {reference}: {why}",
        )


def _fault(splits: Splits) -> str:
    if digest(splits.model_dump(mode="json", exclude={"sha256"})) != splits.sha256:
        return "its content is not the one its sha256 was taken of"
    ids = [sample.id for sample in splits.samples]
    if ids != sorted(set(ids)):
        return "its samples are not sorted by id, each once"
    if unknown := {sample.label for sample in splits.samples} - set(splits.classes):
        return f"it has labels that are no classes: {', '.join(sorted(unknown))}"
    return ""
