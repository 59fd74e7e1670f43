"""The records of a results folder as they may leave the machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.api.execution import Outcome, Predictions
from harness.api.records import (
    DataRecord,
    Failure,
    Plan,
    PlannedRun,
    RunResult,
    RunSpec,
    Suite,
    digest,
)
from harness.data.division.split import Splits, SplitSample
from harness.data.preparation.external import MARK
from harness.errors import StoreError, UsageError
from harness.results import schema
from harness.results.privacy import Scrubber, is_pseudonym, is_public, is_searchable
from harness.results.store import SPLIT_FILE, Store
from harness.utils import files
from harness.utils.names import choose, first_few
from harness.utils.text import short

if TYPE_CHECKING:
    import numpy as np

# Fields that are no running text, or that name what a run is of: these must hold no id at all.
KEPT = frozenset(
    {
        "schema_version", "run_id", "status", "finished", "kind", "classes", "fingerprint", "counts",
        "split_file", "split_sha256", "sha256", "revision", "commit", "predictions", "datasets",
        "backbones", "strategies", "claims", "primary", "protocol",
    }
)  # fmt: skip
WITHHELD = "withheld: what a program says about images that are not public may name patients"


@dataclass(frozen=True)
class NewSplits:
    """A split file as it is published.

    Attributes:
        file: its name, `splits/<dataset>.json`.
        order: old row -> new row; None: every row is where it was.
    """

    file: str
    splits: Splits
    order: np.ndarray | None


class Anonymous:
    """A results folder in which nothing names a patient, a place on disk or a user.

    `hide`: datasets whose ids are replaced even though their records call them public.
    `show`: datasets whose ids stay although their records do not call them public.

    Raises:
        UsageError: one of these has no runs, or is both.
    """

    def __init__(
        self, store: Store, key: bytes, hide: Sequence[str] = (), show: Sequence[str] = ()
    ) -> None:
        self.store = store
        self.results = store.results()
        self.failures = store.failures()
        there = {run.spec.dataset for run in (*self.results, *self.failures)}
        hidden, shown = choose(hide, there, "dataset"), choose(show, there, "dataset")
        if both := set(hidden) & set(shown):
            raise UsageError(f"--hide and --show both name {first_few(sorted(both))}")
        public = _public_data(self.results)
        self._public = {
            key
            for key, yes in public.items()
            if (yes or key[0] in shown) and key[0].partition(MARK)[0] not in hidden
        }
        old = {name: _read_splits(store, name) for name in _split_files(self.results)}
        private = {name: one for name, one in old.items() if not self._is_public(one)}
        # Of runs that failed, and of earlier ones, texts may hold ids as well.
        others = {name: _read_splits(store, name) for name in _other_files(store, old)}
        searched = [*private.values(), *(s for s in others.values() if not self._is_public(s))]
        classes = {label for splits in searched for label in splits.classes}
        self.scrubber = Scrubber(key, _ids(searched), kept=frozenset(classes))
        self.splits = self._new_splits(old, private)
        self._ids = {
            run.run_id: self._spec(run.spec).run_id for run in (*self.results, *self.failures)
        }

    @property
    def replaced(self) -> list[str]:
        """The datasets whose ids are replaced."""
        return sorted({one.splits.dataset for one in self.splits.values() if _hidden(one.splits)})

    @property
    def short(self) -> dict[str, int]:
        """Dataset -> how many of its ids are too short to be looked for in texts."""
        return dict(Counter(d for name, d in self.scrubber.ids.items() if not is_searchable(name)))

    def outcomes(self) -> Iterator[Outcome]:
        """Every finished run with its predictions, those on further test sets among them."""
        for result in self.results:
            new = self.splits[_data(result).split_file]
            external = {
                name: _moved(
                    self.store.external_predictions(result, name), self.splits[one.split_file]
                )
                for name, one in result.external.items()
            }
            predictions = _moved(self.store.predictions(result), new)
            yield Outcome(self._result(result, new), predictions, external=external)

    def failed(self) -> Iterator[RunResult]:
        """Every failed run; what it said, only where the data are public."""
        for failure in self.failures:
            kept = self._result(failure, None)
            if failure.error is not None:
                known = (failure.spec.dataset, failure.spec.data) in self._public
                kept = kept.model_copy(update={"error": self._error(failure.error, known=known)})
            yield kept

    def plan(self) -> Plan:
        """The plan, with the ids that the runs have now."""
        plan = self.store.plan()
        return Plan(
            precision=plan.precision,
            suites={
                self.scrubber.text(name): self._suite(suite) for name, suite in plan.suites.items()
            },
            runs=tuple(self._line(line) for line in plan.runs),
        )

    def _is_public(self, splits: Splits) -> bool:
        return (splits.dataset, splits.fingerprint) in self._public

    def _new_splits(
        self, old: Mapping[str, Splits], private: Mapping[str, Splits]
    ) -> dict[str, NewSplits]:
        found: dict[str, NewSplits] = {}
        for name, splits in sorted(old.items()):
            new, order = splits, None
            if name in private and not _hidden(splits):
                new, order = _renamed(splits, self.scrubber)
            file = f"splits/{splits.dataset}.json"
            if file in {one.file for one in found.values()}:
                file = f"splits/{splits.dataset}-{new.sha256[:8]}.json"
            found[name] = NewSplits(file, new, order)
        return found

    def _spec(self, spec: RunSpec) -> RunSpec:
        scrubber = self.scrubber
        protocol = spec.protocol.model_copy(update={"name": scrubber.text(spec.protocol.name)})
        settings = scrubber.settings(spec.settings)
        return spec.model_copy(update={"settings": settings, "protocol": protocol})

    def _result(self, result: RunResult, new: NewSplits | None) -> RunResult:
        dumped = result.model_dump(mode="json", exclude={"spec", "error"})
        plain = self.scrubber.texts(dumped, KEPT)
        spec = self._spec(result.spec)
        clean = RunResult.model_validate({**plain, "spec": spec, "run_id": spec.run_id})
        if new is None or result.data is None or clean.data is None:
            return clean.model_copy(update={"data": None, "predictions": None, "external": {}})
        external = {
            name: one.model_copy(
                update=self._told(
                    result.external[name], self.splits[result.external[name].split_file]
                )
            )
            for name, one in clean.external.items()
        }
        data = clean.data.model_copy(update=self._told(result.data, new))
        return clean.model_copy(update={"data": data, "external": external})

    def _told(self, data: DataRecord, new: NewSplits) -> dict[str, object]:
        """The fields of a record on its split file and its samples, as they are published."""
        skipped = data.skipped
        if _hidden(new.splits) and not all(map(is_pseudonym, skipped)):
            name = new.splits.dataset
            skipped = tuple(sorted(self.scrubber.pseudonym(name, one) for one in skipped))
        return {
            "split_file": new.file, "split_sha256": new.splits.sha256, "skipped": skipped,
            "classes": data.classes,
        }  # fmt: skip

    def _error(self, error: Failure, *, known: bool) -> Failure:
        if not known:
            phase = None if error.phase is None else self.scrubber.text(error.phase)
            kind = self.scrubber.text(error.kind)
            update = {"kind": kind, "message": WITHHELD, "traceback": "", "phase": phase}
            return error.model_copy(update=update)
        said = {
            name: None if (text := getattr(error, name)) is None else self.scrubber.text(text)
            for name in ("kind", "message", "traceback", "phase")
        }
        return error.model_copy(update=said)

    def _suite(self, suite: Suite) -> Suite:
        plain = self.scrubber.texts(suite.model_dump(mode="json", exclude={"settings"}), KEPT)
        settings = {name: self.scrubber.settings(one) for name, one in suite.settings.items()}
        tolerances = {self.scrubber.text(name): one for name, one in suite.tolerances.items()}
        protocol = suite.protocol.model_dump() | {"name": self.scrubber.text(suite.protocol.name)}
        return Suite.model_validate(
            {**plain, "settings": settings, "tolerances": tolerances, "protocol": protocol}
        )

    def _line(self, line: PlannedRun) -> PlannedRun:
        update = {
            "settings": self.scrubber.settings(line.settings),
            "run_id": self._ids.get(line.run_id, line.run_id),
            "protocol": self.scrubber.text(line.protocol),
            "modality": self.scrubber.text(line.modality),
        }
        return line.model_copy(update=update)


# -- split files ------------------------------------------------------------------------------


def _data(result: RunResult) -> DataRecord:
    if result.data is None:
        raise StoreError(f"run {result.run_id} does not say what data it saw")
    return result.data


def _split_files(results: tuple[RunResult, ...]) -> list[str]:
    return sorted({one.split_file for result in results for one in _all_data(result).values()})


def _all_data(result: RunResult) -> dict[str, DataRecord]:
    """Dataset, or dataset and further test set -> what the run saw of it."""
    own = result.spec.dataset
    return {own: _data(result), **{f"{own}{MARK}{n}": one for n, one in result.external.items()}}


def _read_splits(store: Store, name: str) -> Splits:
    path = store.folder / name
    if not SPLIT_FILE.fullmatch(name):
        raise StoreError(f"{store.folder}: a record names {short(name)!r} as its split file")
    splits = schema.load(path, Splits)
    if not SPLIT_FILE.fullmatch(f"splits/{splits.dataset}.json"):
        raise StoreError(f"{path} is of {short(splits.dataset)!r}, which no dataset is called")
    return splits


def _public_data(results: tuple[RunResult, ...]) -> dict[tuple[str, str], bool]:
    """(dataset, fingerprint) -> every record of it says that it is public."""
    found: dict[tuple[str, str], bool] = {}
    for result in results:
        for name, data in _all_data(result).items():
            key = (name, data.fingerprint)
            found[key] = found.get(key, True) and is_public(data)
    return found


def _other_files(store: Store, known: Iterable[str]) -> list[str]:
    there = {f"splits/{path.name}" for path in files.listing(store.folder / "splits")}
    return sorted(there - set(known))


def _ids(private: Iterable[Splits]) -> dict[str, str]:
    """Id to look for in texts -> its dataset; those that are hashes already are told anyway."""
    found: dict[str, str] = {}
    for splits in private:
        names = {name for one in splits.samples for name in (one.id, one.group)}
        for name in sorted(names.union(splits.left_out) - set(splits.classes)):
            if name and not is_pseudonym(name):
                found.setdefault(name, splits.dataset)
    return found


def _hidden(splits: Splits) -> bool:
    return all(is_pseudonym(sample.id) for sample in splits.samples)


def _renamed(splits: Splits, scrubber: Scrubber) -> tuple[Splits, np.ndarray]:
    """New ids, sorted by them: the old order would say which is which to who knows the old ids."""
    import numpy as np

    def name(old: str) -> str:
        return scrubber.pseudonym(splits.dataset, old)

    samples = [
        SplitSample(id=name(one.id), label=one.label, group=name(one.group), split=one.split)
        for one in splits.samples
    ]
    places = sorted(range(len(samples)), key=lambda row: samples[row].id)
    order = np.empty(len(samples), dtype=np.int32)
    order[places] = np.arange(len(samples), dtype=np.int32)
    new = splits.model_copy(
        update={
            "rule": scrubber.text(splits.rule),
            "samples": tuple(samples[row] for row in places),
            "left_out": tuple(sorted(map(name, splits.left_out))),
        }
    )
    content = new.model_dump(mode="json", exclude={"sha256"})
    return new.model_copy(update={"sha256": digest(content)}), order


def _moved(predictions: Predictions, new: NewSplits) -> Predictions:
    """The same predictions, in the order of the new rows."""
    import numpy as np

    if new.order is None:
        return predictions
    rows = {split: new.order[old] for split, old in predictions.rows.items()}
    sort = {split: np.argsort(found) for split, found in rows.items()}
    return Predictions(
        logits={split: one[sort[split]] for split, one in predictions.logits.items()},
        targets={split: one[sort[split]] for split, one in predictions.targets.items()},
        rows={split: one[sort[split]] for split, one in rows.items()},
    )
