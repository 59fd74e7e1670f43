"""Records as far as a ranking needs them: without histories and predictions, like parts held once.

A hundred thousand whole records take gigabytes.  Of a record's text `msgspec` builds what differs from
run to run, and passes over what many records share (data, protocol, weights, plugins, environment):
of that, a text that was not met before is checked against the schema and held once.  Whatever is not
as expected is read as a whole: then `schema` says what is wrong with it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import GenericAlias, MappingProxyType
from typing import Any, TypeVar

import msgspec
from msgspec import MsgspecError, Raw
from msgspec.json import Decoder, decode, encode
from pydantic import BaseModel, TypeAdapter

from harness.api.records import (
    Cost,
    CostFigures,
    DataRecord,
    Environment,
    EpochRecord,
    ExternalRecord,
    Failure,
    MetricValue,
    PhaseRecord,
    PluginRecord,
    PredictionsRecord,
    RunResult,
    RunSpec,
    WeightsRecord,
)
from harness.results import schema
from harness.utils import files

M = TypeVar("M", bound=BaseModel)

# Parts that are the same in many records, or in none (`external`): checked as they stand.
PARTS: dict[str, TypeAdapter[Any]] = {
    "spec": TypeAdapter(RunSpec),
    "phases": TypeAdapter(tuple[PhaseRecord, ...]),
    "data": TypeAdapter(DataRecord | None),
    "weights": TypeAdapter(WeightsRecord | None),
    "plugins": TypeAdapter(dict[str, PluginRecord]),
    "environment": TypeAdapter(Environment | None),
    "external": TypeAdapter(dict[str, ExternalRecord]),
    "error": TypeAdapter(Failure | None),
    "attempts": TypeAdapter(tuple[str, ...]),
}
EMPTY: dict[str, Any] = {"external": {}, "attempts": ()}  # where records leave them out


def _shape(kind: Any, read: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401 - a class
    """A struct with the fields of a record, closed to others; `Raw` keeps the text of a field.

    `read`: fields -> types, where they are not the record's own.
    """
    fields = getattr(kind, "model_fields", None) or kind.__pydantic_fields__
    later = getattr(kind, "_later", ())  # the only ones that a file may lack
    declared: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for name, field in fields.items():
        given = (read or {}).get(name, field.annotation)
        default = None if given is Raw else field.get_default()
        declared.append((name, given, default) if name in later else (name, given))
    return msgspec.defstruct(
        kind.__name__, declared, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
    )


def _texts(kind: type[BaseModel]) -> dict[str, Any]:
    return dict.fromkeys(kind.model_fields, Raw)


PHASE = _shape(PhaseRecord, _texts(PhaseRecord) | {"seconds": float})
FIGURES, TOTALS = GenericAlias(dict, (str, _shape(MetricValue))), _shape(CostFigures)
RECORD: Decoder[Any] = Decoder(
    _shape(
        RunResult,
        {
            **dict.fromkeys(PARTS, Raw),
            "spec": _shape(RunSpec, _texts(RunSpec) | {"seed": int}),
            "phases": GenericAlias(list, PHASE),
            "metrics": FIGURES,
            "validation": FIGURES,
            "history": GenericAlias(list, _shape(EpochRecord)),
            "cost": _shape(Cost, {"alone": TOTALS, "incurred": TOTALS}),
            "predictions": _shape(PredictionsRecord) | None,
        },
    )
)
# Digits of a number that may be too large to be finite, all told as zeros: faster than a pattern.
LONG, ZEROS = b"0" * 300, bytes.maketrans(b"123456789", b"0" * 9)
_FIELDS: dict[str, Any] = dict.fromkeys(RunResult.model_fields) | {"schema_version": 1}
RESULT = RunResult.model_construct(**_FIELDS)
FILE = PredictionsRecord(file="", sha256="")
COST, SECONDS = Cost(), CostFigures()
for _empty in (COST, SECONDS):
    _empty.__dict__.clear()  # a field that is left out is not there, and its place is saved


class Outlines:
    """Reads records of one folder.

    Left out are epochs, figures and names of predictions unless asked for, tracebacks, and seconds
    but the total as if alone.

    Args:
        metric: keep this figure of the test split (of a record that lacks it, all others).
        selection: keep this figure of the validation split, and the last epoch.
        predictions: keep the names of the files of predictions.
    """

    def __init__(
        self, metric: str | None = None, selection: str | None = None, *, predictions: bool = False
    ) -> None:
        self._metric, self._selection, self._predictions = metric, selection, predictions
        self._held: dict[tuple[str, bytes], Any] = {}
        self._names: dict[frozenset[str], set[str]] = {}

    def read(self, path: Path | str) -> RunResult:
        """The record in a file.

        Raises:
            StoreError: as `schema.load`.
        """
        content = files.read(path, schema.MOST_BYTES)
        try:
            return self._outline(content)
        except (MsgspecError, RecursionError, ValueError):
            return schema.parse(Path(path), content, RunResult)

    def _outline(self, content: bytes) -> RunResult:
        given = RECORD.decode(content)
        error = self._part("error", given.error)
        return copy(
            RESULT,
            run_id=given.run_id,
            suite=sys.intern(given.suite),
            spec=self._spec(given.spec),
            status=given.status,
            shortened=given.shortened,
            error=error and error.model_copy(update={"traceback": ""}),
            metrics=_figure(given.metrics, self._metric, absent=given.metrics),
            validation=_figure(given.validation, self._selection),
            history=tuple(map(_epoch, given.history[-1:])) if self._selection else (),
            phases=self._phases(given.phases),
            tested=sys.intern(given.tested),
            cost=_cost(given.cost),
            data=self._part("data", given.data),
            weights=self._part("weights", given.weights),
            plugins=self._part("plugins", given.plugins),
            environment=self._part("environment", given.environment),
            predictions=self._file(given.predictions),
            finished=given.finished,
            external=self._part("external", given.external),
            parts=given.parts,
            attempts=self._part("attempts", given.attempts),
        )

    def _spec(self, given: Any) -> RunSpec:  # noqa: ANN401 - a struct
        """The runs of a cell differ in their seeds, and nearly all of a folder share a protocol."""
        seed, given.seed = given.seed, 0
        text, protocol = encode(given), ("protocol", bytes(given.protocol))
        if ("spec", text) not in self._held:
            checked = self._part("spec", text)
            share_names([checked], self._names)
            shared = self._held.setdefault(protocol, checked.protocol)
            self._held["spec", text] = copy(checked, protocol=shared)
        spec: RunSpec = copy(self._held["spec", text], seed=seed)
        return spec

    def _phases(self, given: Sequence[Any]) -> Any:  # noqa: ANN401 - as its field
        for phase in given:
            phase.seconds = 0.0  # else no two would be alike
        return self._part("phases", encode(given))

    def _part(self, name: str, given: Raw | bytes | None) -> Any:  # noqa: ANN401 - as its field
        if given is None:
            return EMPTY[name]
        text = bytes(given)
        key = (name, text)
        if key not in self._held:
            decode(text)  # refuses other numbers that are too large to be finite
            if LONG in text.translate(ZEROS):
                raise ValueError("a whole number that may be too large to be finite")
            self._held[key] = PARTS[name].validate_json(text)
        return self._held[key]

    def _file(self, given: Any) -> PredictionsRecord | None:  # noqa: ANN401 - a struct
        if not self._predictions or given is None:
            return None
        return copy(FILE, file=given.file, sha256=given.sha256)


def _figure(
    given: Mapping[str, Any], name: str | None, absent: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, MetricValue]:
    """The figure of that name; where it is not there, those of `absent`."""
    if name is None:
        return {}
    found = {name: given[name]} if name in given else absent
    return {known: MetricValue(value=one.value, reason=one.reason) for known, one in found.items()}


def _epoch(given: Any) -> EpochRecord:  # noqa: ANN401 - a struct
    return EpochRecord(**msgspec.structs.asdict(given))


def _cost(given: Any) -> Cost:  # noqa: ANN401 - a struct
    """The costs that rows add up; to ask for any other field is an error."""
    return copy(
        COST,
        alone=copy(SECONDS, total=given.alone.total),
        packed=given.packed,
        trainable=given.trainable,
        resumed=given.resumed,
    )


def share_names(records: Iterable[BaseModel], held: dict[frozenset[str], set[str]]) -> None:
    """Let records that were given the same fields hold one set of their names: half of a small one."""
    for record in records:
        names = record.model_fields_set
        shared = held.setdefault(frozenset(names), names)
        object.__setattr__(record, "__pydantic_fields_set__", shared)


def copy(record: M, **changes: object) -> M:
    """A record with other values, which are not checked.

    Both hold one set of the names that were given: `model_copy` makes a set for each.
    """
    made = type(record).__new__(type(record))
    place = object.__setattr__
    place(made, "__dict__", record.__dict__ | changes)
    place(made, "__pydantic_fields_set__", record.__pydantic_fields_set__)
    place(made, "__pydantic_extra__", None)
    place(made, "__pydantic_private__", None)
    return made
