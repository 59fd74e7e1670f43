"""Findings and files that all checks share, and checks of any file of predictions and its data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from harness.api.execution import Predictions
from harness.api.records import DataRecord, ExternalRecord, Plan, PlannedRun, RunResult
from harness.data.division.split import Splits
from harness.errors import StoreError
from harness.plugins.registry import PluginRegistry
from harness.results import predictions as predictions_file
from harness.results.store import Store
from harness.results.verify.consistency import Repeats
from harness.results.verify.report import VerificationReport
from harness.results.verify.splits import SplitFiles
from harness.utils import files

HEADER = 8  # bytes that hold the length of a safetensors header


@dataclass(frozen=True)
class VerificationContext:
    """The folder, plugins and report that the checks of every run share.

    `further`: run id -> files with its predictions on further test sets.
    """

    store: Store
    loaded: PluginRegistry
    splits: SplitFiles
    report: VerificationReport
    plan: Plan | None = None
    repeats: Repeats = field(default_factory=Repeats)
    further: dict[str, set[str]] = field(default_factory=dict)

    @cached_property
    def planned(self) -> Mapping[str, PlannedRun]:
        """Run id -> the line of the plan that asks for it."""
        return {line.run_id: line for line in self.plan.runs} if self.plan else {}


def unpacked(
    path: Path,
    run_id: str,
    record: RunResult | ExternalRecord,
    splits: Sequence[str],
    report: VerificationReport,
) -> Predictions | None:
    """The predictions in a file, if they are what a record names; what does not hold is reported."""
    try:
        content = files.read(path)
    except StoreError as error:
        report.wrong(path, "predictions", report.told(error))
        return None
    named = record.predictions
    if named is None or hashlib.sha256(content).hexdigest() != named.sha256:
        report.wrong(path, "predictions", "its sha256 is not the one in the record beside it")
    data = record.data if isinstance(record, RunResult) else record
    try:
        found = predictions_file.unpack(content)
        size = int.from_bytes(content[:HEADER], "little")
        header = json.loads(content[HEADER : HEADER + size])
        if (header.get("__metadata__") or {}).get("run_id") != run_id:
            report.wrong(path, "predictions", "it is of another run")
            return None
        predictions_file.check(found, len(data.classes) if data else None, splits)
    except (StoreError, ValueError) as error:
        report.wrong(path, "predictions", str(error))
        return None
    return found


def data_faults(data: DataRecord, splits: Splits, of: tuple[str, str]) -> list[str]:
    """Statements of a record about its data that the split file does not bear out.

    `of`: the name of the dataset, and the fingerprint that is expected.
    """
    dataset, fingerprint = of
    named = f"{data.split_file} "
    faults = {
        f"{named}has another sha256 than the record says": splits.sha256 != data.split_sha256,
        f"{named}is of other data: another fingerprint": not (
            splits.fingerprint == data.fingerprint == fingerprint
        ),
        f"{named}is of another dataset": splits.dataset != dataset,
        f"{named}has other classes": splits.classes != data.classes,
    }
    return [fault for fault, found in faults.items() if found]
