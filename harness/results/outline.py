"""Records as far as a ranking needs them: without histories and predictions, like parts held once.

A hundred thousand whole records take gigabytes.  A record is read as JSON, what many records share
(data, protocol, weights, plugins, environment) is checked against the schema and held once, and what
differs is checked by itself.  Whatever is not as expected is read as a whole: then `schema` says what
is wrong with it.
"""

from __future__ import annotations

import marshal
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, TypeAdapter
from pydantic_core import from_json, to_json

from harness.api.records import (
    Cost,
    CostFigures,
    DataRecord,
    Environment,
    EpochRecord,
    ExternalRecord,
    Failure,
    Json,
    MetricValue,
    PhaseRecord,
    PluginRecord,
    PredictionsRecord,
    Protocol,
    RunResult,
    RunSpec,
    WeightsRecord,
)
from harness.results import schema
from harness.utils import files

M = TypeVar("M", bound=BaseModel)

VERSION = 2  # of marshal: equal values give equal bytes
INFINITE = [marshal.dumps(float(sign + "inf"), VERSION) for sign in "+-"]
STATES = get_args(RunResult.model_fields["status"].annotation)
# Parts that are the same in many records, or in none (`external`): checked as they stand.
PARTS: dict[str, TypeAdapter[Any]] = {
    "protocol": TypeAdapter(Protocol),
    "phases": TypeAdapter(tuple[PhaseRecord, ...]),
    "data": TypeAdapter(DataRecord | None),
    "weights": TypeAdapter(WeightsRecord | None),
    "plugins": TypeAdapter(dict[str, PluginRecord]),
    "environment": TypeAdapter(Environment | None),
    "external": TypeAdapter(dict[str, ExternalRecord]),
    "error": TypeAdapter(Failure | None),
    "attempts": TypeAdapter(tuple[str, ...]),
}

EMPTY: dict[str, Any] = {
    "plugins": {},
    "external": {},
    "phases": (),
    "attempts": (),
} | dict.fromkeys(("data", "weights", "environment", "error"))
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

    def read(self, path: Path) -> RunResult:
        """The record in a file.

        Raises:
            StoreError: as `schema.load`.
        """
        content = files.read(path, schema.MOST_BYTES)
        try:
            raw = from_json(content, allow_inf_nan=False)
            # A tenth of what it takes to look for digits in the text, epochs included.
            binary = marshal.dumps(raw, VERSION)
            if any(mark in binary for mark in INFINITE):
                raise ValueError("a number that is infinite")  # noqa: TRY301 - read as a whole
            return self._outline(raw)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            return schema.parse(path, content, RunResult)

    def _outline(self, raw: dict[str, Json]) -> RunResult:
        if raw.get("schema_version") != 1 or not raw.keys() <= RunResult.model_fields.keys():
            raise ValueError("not a record of this schema")
        if raw["status"] not in STATES:
            raise ValueError("no such status")
        for phase in raw["phases"]:
            phase.pop("seconds", None)  # else no two would be alike
        error = self._part("error", raw["error"])
        return copy(
            RESULT,
            run_id=_is(str, raw["run_id"]),
            suite=_is(str, raw["suite"]),
            spec=self._spec(raw["spec"]),
            status=raw["status"],
            shortened=_is(bool, raw["shortened"]),
            error=error and error.model_copy(update={"traceback": ""}),
            metrics=_figure(raw["metrics"], self._metric, absent=raw["metrics"]),
            validation=_figure(raw["validation"], self._selection),
            history=_last(raw["history"]) if self._selection else (),
            phases=self._part("phases", raw["phases"]),
            tested=_is(str, raw["tested"]),
            cost=_cost(raw["cost"]),
            data=self._part("data", raw["data"]),
            weights=self._part("weights", raw["weights"]),
            plugins=self._part("plugins", raw["plugins"]),
            environment=self._part("environment", raw["environment"]),
            predictions=self._file(raw["predictions"]),
            finished=_is(str, raw["finished"]),
            external=self._part("external", raw.get("external", {})),
            parts=_is(int, raw.get("parts", 1)),
            attempts=self._part("attempts", raw.get("attempts", [])),
        )

    def _spec(self, raw: dict[str, Json]) -> RunSpec:
        """The runs of a cell differ in their seeds, and nearly all of a folder share a protocol."""
        given = raw.pop("protocol")
        protocol, seed = self._part("protocol", given), _is(int, raw.pop("seed"))
        key = (str(id(protocol)), marshal.dumps(raw, VERSION))
        if key not in self._held:
            checked = RunSpec.model_validate_json(_sound({**raw, "seed": 0, "protocol": given}))
            share_names([checked], self._names)
            self._held[key] = copy(checked, protocol=protocol)
        spec: RunSpec = copy(self._held[key], seed=seed)
        return spec

    def _part(self, name: str, raw: Json) -> Any:  # noqa: ANN401 - of the type of its field
        if not raw:
            return EMPTY[name]
        key = (name, marshal.dumps(raw, VERSION))
        if key not in self._held:
            self._held[key] = PARTS[name].validate_json(_sound(raw))
        return self._held[key]

    def _file(self, raw: Json) -> PredictionsRecord | None:
        if not self._predictions or raw is None:
            return None
        return copy(FILE, file=_is(str, raw["file"]), sha256=_is(str, raw["sha256"]))


def _figure(
    raw: Mapping[str, Json], name: str | None, absent: Mapping[str, Json] = MappingProxyType({})
) -> dict[str, MetricValue]:
    """The figure of that name; where it is not there, those of `absent`."""
    if name is None:
        return {}
    found = {name: raw[name]} if name in raw else absent
    return {
        known: MetricValue(value=one["value"], reason=one["reason"]) for known, one in found.items()
    }


def _sound(raw: Json) -> bytes:
    """The JSON of a part, if no number in it may be infinite."""
    text = to_json(raw)
    if schema.HUGE.search(text):
        raise ValueError("a number that may be infinite")
    return text


def _last(history: Sequence[Json]) -> tuple[EpochRecord, ...]:
    return tuple(EpochRecord(**one) for one in history[-1:])


def _cost(raw: Mapping[str, Json]) -> Cost:
    """The costs that rows add up; to ask for any other field is an error."""
    return copy(
        COST,
        alone=copy(SECONDS, total=float(raw["alone"]["total"])),
        packed=_is(bool, raw["packed"]),
        trainable=_is(int, raw["trainable"]),
        resumed=_is(int, raw.get("resumed", 0)),
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


def _is(kind: type, value: Json) -> Any:  # noqa: ANN401 - of that type
    if type(value) is not kind:
        raise TypeError(f"no {kind.__name__}")
    return value
