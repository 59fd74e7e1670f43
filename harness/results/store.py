"""Results on disk: one folder is one board.

A run exists when its JSON exists; it is written last, and each file is whole or not there.

    plan.json                                     what was ever asked for
    splits/<dataset>.json                         which sample is in which split
    runs/<dataset>/<backbone>[@<start>]/<strategy>/
        <run_id>.safetensors                      logits, targets and row numbers
        <run_id>.external-NAME.safetensors        the same of a further test set
        <run_id>.json                             the result, with the sha256 of these files
    failed/<run_id>.json                          runs that raised
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import os
import re
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from harness.api.execution import Outcome, Predictions
from harness.api.metric import PENDING, is_pending
from harness.api.records import (
    ExternalRecord,
    Plan,
    Precision,
    PredictionsRecord,
    Record,
    RunResult,
    RunSpec,
    started,
)
from harness.errors import StoreError
from harness.results import predictions as predictions_file
from harness.results import schema
from harness.results.outline import Outlines
from harness.utils import files, locks
from harness.utils.text import short

SPLIT_FILE = re.compile(r"splits/[A-Za-z0-9][A-Za-z0-9._-]{0,200}")
SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class Store:
    """One results folder.  Several processes may write to it at once."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    def check_writable(self) -> None:
        """Make sure before the work starts that results can be kept, and clear old leftovers.

        Raises:
            StoreError: the folder cannot be made or written; says why and what to do.
        """
        files.prepare(self.folder)

    def add(self, outcome: Outcome) -> RunResult:
        """Keep a finished or failed run, and return its result as it stands on disk.

        A run that is there already stays as it is: equal ids are the same run; one that waits for
        its figures is replaced.  A failed one is replaced, and goes when the run succeeds.

        Raises:
            StoreError: it could not be written, or could not be read again; what was there stays.
        """
        result = outcome.result
        failed = self._failed(result.run_id)
        if result.status != "ok":
            with locks.locked(self.folder):
                files.write(failed, _checked(result))
            return result
        final = self.place(result)
        with locks.locked(self.folder):
            there = self._read(final) if files.exists(final) else None
            if there is None or is_pending(there):
                kept = _add_files(final, outcome, there)
            else:
                kept = there
            files.remove(failed)
        return kept

    def add_external(self, result: RunResult, outcome: Outcome) -> RunResult:
        """Add the further test sets of an outcome to a finished run, which stays as it is.

        Raises:
            StoreError: the run is not here, its predictions are others by now, or a file cannot be
                written.
        """
        path = self.place(result)
        new, contents = packed(replace(outcome, predictions=None))
        for name, content in contents.items():
            files.write(path.with_name(name), content)
        whole = {**result.external, **new.external}
        self.amend(result, lambda now: now.model_copy(update={"external": now.external | whole}))
        return self._read(path)

    def replace(self, outcome: Outcome) -> RunResult:
        """Put a run that was made once more in the place of the one that is here.

        Ended in between, it leaves no run, which is then made again.

        Raises:
            StoreError: as `add`.
        """
        final = self.place(outcome.result)
        with locks.locked(self.folder):
            if files.exists(final):
                for record in self._read(final).external.values():
                    files.remove(self._external(outcome.result, record))
            files.remove(final)
            return _add_files(final, outcome, None)

    def find(self, spec: RunSpec) -> RunResult | None:
        """The finished run with this spec; None: there is none."""
        path = self._beside(spec, f"{spec.run_id}.json")
        return self._read(path) if files.exists(path) else None

    def place(self, result: RunResult) -> Path:
        """The file a result belongs in, whether it is there or not."""
        if result.status != "ok":
            return self._failed(result.run_id)
        return self._beside(result.spec, f"{_safe(result.run_id, 'run id')}.json")

    def amend(self, result: RunResult, change: Callable[[RunResult], RunResult]) -> None:
        """Change the result of a finished run in one step, for figures that come later.

        Raises:
            StoreError: the run is not here, or its predictions are others by now.
        """
        path = self.place(result)
        with locks.locked(self.folder):
            now = self._read(path)
            if now.predictions != result.predictions:
                raise StoreError(f"{path} has other predictions by now: run the same command again")
            files.write(path, _checked(change(now)))

    def results(self) -> tuple[RunResult, ...]:
        """Every finished run, in the order of dataset, backbone, strategy and run id.

        Raises:
            StoreError: a file is damaged or from a newer harness.
        """
        with uncollected(), self.unchanged():
            return tuple(self._read(path) for path in self._finished())

    def pending(self, specs: Iterable[RunSpec]) -> list[RunResult]:
        """Those of some runs that were trained and whose figures were not computed yet."""
        paths = [self._beside(spec, f"{spec.run_id}.json") for spec in specs]
        # To look for the words is a hundred times as fast as to read records.
        marked = [p for p in paths if files.exists(p) and PENDING.encode() in files.read(p)]
        return [run for run in map(self._read, marked) if is_pending(run)]

    def outlines(self, read: Outlines) -> tuple[RunResult, ...]:
        """Every run, finished or only failed so far, as far as a ranking needs it.

        Raises:
            StoreError: a file is damaged or from a newer harness.
        """
        return tuple(self.each_outline(read))

    def each_outline(self, read: Outlines) -> Generator[RunResult, None, None]:
        """The same, one after another, for who keeps less of each; close it where it is left early."""
        with uncollected(), self.unchanged():
            done, failed = set(), files.listing(self.folder / "failed")
            finished = files.names(self.folder / "runs")[::-1]
            while finished:  # so that paths go as records come
                path = finished.pop()
                run = _of_name(path, read.read(path))
                if failed:
                    done.add(run.run_id)
                yield run
            for path in map(str, failed):
                if _stem(path) not in done:
                    yield _of_name(path, read.read(path))

    def failures(self) -> tuple[RunResult, ...]:
        """Every run that has only failed so far, in the order of run ids."""
        with self.unchanged():
            found = files.listing(self.folder / "failed")
            done = {path.stem for path in self._finished()} if found else set()
            return tuple(self._read(path) for path in found if path.stem not in done)

    def unchanged(self) -> AbstractContextManager[None]:
        """Nothing is written in the folder meanwhile: several reads give what it held at one moment."""
        return locks.shared(self.folder)

    def get(self, run_id: str) -> RunResult:
        """One run, finished or failed.

        Raises:
            StoreError: there is no such run.
        """
        for path in (*self._finished(), self._failed(run_id)):
            if path.stem == run_id and files.exists(path):
                return self._read(path)
        raise StoreError(f"there is no run {run_id} in {self.folder}")

    def has(self, run_id: str) -> bool:
        """True if the run has finished."""
        return any(path.stem == run_id for path in self._finished())

    def is_there(self, spec: RunSpec) -> bool:
        """True if the run with this spec has finished."""
        return files.exists(self._beside(spec, f"{spec.run_id}.json"))

    def has_failed(self, run_id: str) -> bool:
        """True if the run has failed, and did not succeed since."""
        return files.exists(self._failed(run_id))

    def missing(self, run_ids: Iterable[str], *, retry_failed: bool = False) -> tuple[str, ...]:
        """The runs that are still to do, in the order given; failed ones only if asked for."""
        done = {path.stem for path in self._finished()}
        if not retry_failed:
            done |= {path.stem for path in files.listing(self.folder / "failed")}
        return tuple(run_id for run_id in dict.fromkeys(run_ids) if run_id not in done)

    def predictions(self, result: RunResult) -> Predictions:
        """The logits, targets and row numbers of a finished run.

        Raises:
            StoreError: the file is missing, or is not the one the result was computed from.
        """
        if result.predictions is None:
            raise StoreError(f"run {result.run_id} ({result.status}) has no stored predictions")
        path = self._text_of(result.spec, _safe(result.predictions.file, "predictions file"))
        classes = len(result.data.classes) if result.data else None
        return _unpacked(path, result.predictions, classes, predictions_file.SPLITS)

    def external_predictions(self, result: RunResult, name: str) -> Predictions:
        """The predictions of a finished run on a further test set, under `test`.

        Raises:
            StoreError: as `predictions`, or the run has no such set.
        """
        record = result.external.get(name)
        if record is None or record.predictions is None:
            raise StoreError(f"run {result.run_id} has no stored predictions on external {name!r}")
        path = self._external(result, record)
        return _unpacked(path, record.predictions, len(record.classes), ("test",))

    def split_file(self, result: RunResult, external: str = "") -> Path:
        """The split file whose rows a run's predictions, or those on a further test set, refer to.

        Raises:
            StoreError: its record names none, or another file.
        """
        data = result.external.get(external) if external else result.data
        name = data.split_file if data else ""
        if not SPLIT_FILE.fullmatch(name):
            raise StoreError(
                f"{self.place(result)} names {short(name)!r} as its split file; it must be in splits/"
            )
        return self.folder / name

    def plan(self) -> Plan:
        """Everything that was ever asked for in this folder."""
        path = self.folder / "plan.json"
        return schema.load(path, Plan) if files.exists(path) else Plan()

    def extend_plan(self, plan: Plan) -> Plan:
        """Add to the plan and return the whole.

        See `extended`.
        """
        with locks.locked(self.folder):
            before = self.plan()
            whole = extended(before, plan)
            if whole != before:
                files.write(self.folder / "plan.json", _checked(whole))
        return whole

    def settle_precision(self, choose: Callable[[Plan], Precision]) -> Precision:
        """Write what `--precision auto` means here into the plan, in one step, and return it.

        Of several calls that begin at once, on several machines, the first settles it for all.
        """
        with locks.locked(self.folder):
            plan = self.plan()
            chosen = choose(plan)
            if plan.precision != chosen:
                plan = plan.model_copy(update={"precision": chosen})
                files.write(self.folder / "plan.json", _checked(plan))
        return chosen

    def write_split(self, name: str, text: str) -> str:
        """Keep a split file (JSON text) and return its file name in `splits/`.

        A different split of that name stays: runs made with it refer to its rows.
        """
        with locks.locked(self.folder):
            return write_split(self.folder / "splits", name, text).name

    def _finished(self) -> list[Path]:
        return files.listing(self.folder / "runs")

    def _failed(self, run_id: str) -> Path:
        return self.folder / "failed" / f"{_safe(run_id, 'run id')}.json"

    def _beside(self, spec: RunSpec, name: str) -> Path:
        return Path(self._text_of(spec, name))

    def _text_of(self, spec: RunSpec, name: str) -> str:
        """The path as text, in a third of the time, for who only reads."""
        dataset, backbone = (
            _safe(spec.dataset, "dataset"),
            started(_safe(spec.backbone, "backbone"), spec.start),
        )
        parts = (self.folder, "runs", dataset, backbone, _safe(spec.strategy, "strategy"), name)
        return os.sep.join(map(str, parts))  # noqa: PTH118 - what this is about

    def _external(self, result: RunResult, record: ExternalRecord) -> Path:
        name = record.predictions.file if record.predictions else ""
        return self._beside(result.spec, _safe(name, "predictions file"))

    def _read(self, path: Path) -> RunResult:
        return _of_name(path, schema.load(path, RunResult))


def _stem(path: Path | str) -> str:
    """`Path.stem` of a path that need not be one: to make a `Path` takes ten times as long."""
    return str(path).rpartition(os.sep)[2].removesuffix(".json")


def _of_name(path: Path | str, result: RunResult) -> RunResult:
    """The result, if it is that of the run that its file is named after."""
    if result.run_id != _stem(path):
        raise StoreError(f"{path} holds another run ({short(result.run_id)}): delete or rename it")
    return result


def extended(plan: Plan, more: Plan) -> Plan:
    """A plan with what another call asks for.

    What is asked for again, with changed code or data, takes the place it had.  What is asked for
    first is numbered as one call.
    """
    runs = {run.key: run for run in plan.runs}
    number = 1 + max((run.call for run in plan.runs), default=-1)
    for run in more.runs:
        known = runs.get(run.key)
        call = number if known is None else known.call
        runs[run.key] = run if run.call == call else run.model_copy(update={"call": call})
    suites = {**plan.suites, **more.suites}
    return plan.model_copy(update={"suites": suites, "runs": tuple(runs.values())})


def write_split(folder: Path, name: str, text: str) -> Path:
    """Keep a split file (JSON text) in a folder and return its path.

    A different split of that name stays: runs made with it may refer to its rows.
    """
    content = text.encode()
    mark = hashlib.sha256(content).hexdigest()[:8]
    path = folder / f"{_safe(name, 'dataset')}.json"
    if files.exists(path) and files.read(path) != content:
        path = path.with_name(f"{name}-{mark}.json")
    if not files.exists(path):
        files.write(path, content)
    return path


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Keep Python from looking for cycles whenever objects pile up.

    Among results there are none to find: reading and ranking 10,000 takes less than half the time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _safe(name: str, what: str) -> str:
    """The name, if it can be a file's and leads nowhere else."""
    if not SAFE.fullmatch(name):
        raise StoreError(
            f"the {what} {short(name)!r} cannot be the name of a file: use letters, digits and . _ - "
            "(at most 128, a letter or digit first)"
        )
    return name


def _unpacked(
    path: Path | str, record: PredictionsRecord, classes: int | None, splits: Sequence[str]
) -> Predictions:
    content = files.read(path)
    if hashlib.sha256(content).hexdigest() != record.sha256:
        raise StoreError(
            f"{path} is not the file the result was computed from (its sha256 differs): "
            "delete it and the .json beside it, and run the same command again"
        )
    try:
        found = predictions_file.unpack(content)
        predictions_file.check(found, classes, splits)
    except StoreError as error:
        raise StoreError(
            f"{path} does not hold: {error}; delete it and the .json beside it, and run the "
            "same command again"
        ) from error
    return found


def _add_files(final: Path, outcome: Outcome, there: RunResult | None) -> RunResult:
    """`there`: a record of this run that waits for its figures, whose predictions are written."""
    result, predictions = outcome.result, outcome.predictions
    if predictions is None:
        raise StoreError(
            f"run {result.run_id} is ok but came without predictions: what carries out a run must "
            "return Outcome(result, predictions), so that every figure can be computed again"
        )
    started = time.perf_counter()
    stored, contents = packed(outcome)
    _checked(stored)
    try:
        # Written already, where the run waited for its figures.
        if there is None or _named(there) != _named(stored):
            for name, content in contents.items():
                files.write(final.with_name(name), content)
        spent = {"write": time.perf_counter() - started}
        stored = charged(stored, alone=spent, incurred=spent)
        files.write(final, encoded(stored))
    except BaseException:
        if not final.exists():
            for name in contents:
                files.remove(final.with_name(name))
        raise
    return stored


def _named(result: RunResult) -> list[PredictionsRecord | None]:
    """The files of predictions that a record names."""
    return [result.predictions, *(one.predictions for one in result.external.values())]


def packed(outcome: Outcome) -> tuple[RunResult, dict[str, bytes]]:
    """The result with the records of its predictions; file name -> content of each.

    Raises:
        StoreError: predictions do not fit together.
    """
    result, predictions = outcome.result, outcome.predictions
    own: dict[str, bytes] = {}
    if predictions is not None:
        own[f"{result.run_id}.safetensors"] = predictions_file.pack(result.run_id, predictions)
        result = result.model_copy(update={"predictions": _record(own)})
    records = {}
    for name, further in outcome.external.items():
        one = {external_file(result.run_id, name): predictions_file.pack(result.run_id, further)}
        own |= one
        records[name] = result.external[name].model_copy(update={"predictions": _record(one)})
    return result.model_copy(update={"external": records}), own


def _record(file: Mapping[str, bytes]) -> PredictionsRecord:
    ((name, content),) = file.items()
    return PredictionsRecord(file=name, sha256=hashlib.sha256(content).hexdigest())


def external_file(run_id: str, name: str) -> str:
    """The name of the file with the predictions of a run on a further test set."""
    return f"{run_id}.external-{name}.safetensors"


def weights_file(folder: Path, run_id: str) -> Path:
    """The place of a run's tested weights."""
    return folder / f"{run_id}.safetensors"


def encoded(record: Record) -> bytes:
    """A record as it stands in a results folder."""
    return record.model_dump_json(indent=1).encode() + b"\n"


def _checked(record: Record) -> bytes:
    """JSON for a file, after making sure that it can be read again: NaN could not."""
    content = encoded(record)
    try:
        type(record).model_validate_json(content)
    except ValidationError as error:
        what = f"run {record.run_id}" if isinstance(record, RunResult) else "the plan"
        raise StoreError(
            f"{what} cannot be stored, for it could not be read again; numbers must be finite "
            f"({schema.first_problem(error)})"
        ) from error
    return content


def charged(
    result: RunResult, *, alone: Mapping[str, float], incurred: Mapping[str, float]
) -> RunResult:
    """The result with seconds of some kinds put in."""
    cost = result.cost
    put = {
        "alone": cost.alone.model_copy(update=_rounded(alone)),
        "incurred": cost.incurred.model_copy(update=_rounded(incurred)),
    }
    return result.model_copy(update={"cost": cost.model_copy(update=put)})


def _rounded(seconds: Mapping[str, float]) -> dict[str, float]:
    return {kind: round(spent, 6) for kind, spent in seconds.items()}
