"""The settings of a strategy: defaults, JSON, search spaces."""

from __future__ import annotations

import json
import math

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from harness.api.strategy import Search
from harness.benchmark.suite import explain
from harness.testing.promise import Broken, listed
from harness.testing.trial import StrategyCase


def defaults(case: StrategyCase) -> None:
    if required := [key for key, one in case.kind.model_fields.items() if one.is_required()]:
        raise Broken(f"{listed(required)} has no default")
    case.kind()


def settings_json(case: StrategyCase) -> None:
    strategy = case.strategy
    settings = strategy.model_dump(mode="json")
    try:
        again = case.kind.model_validate(json.loads(json.dumps(settings, allow_nan=False)))
    except (TypeError, ValueError) as error:
        raise Broken(f"the settings {settings!r} do not survive JSON: {error}") from error
    for key in case.kind.model_fields:
        before, after = getattr(strategy, key), getattr(again, key)
        if before != after:
            raise Broken(f"{key} = {before!r} comes back from JSON as {after!r}")


def search_space(case: StrategyCase) -> None:
    for key, field in case.kind.model_fields.items():
        searches = [one for one in field.metadata if isinstance(one, Search)]
        if len(searches) > 1:
            raise Broken(f"{key} has {len(searches)} search spaces")
        for search in searches:
            _check_search(case, key, field, search)


def _check_search(case: StrategyCase, key: str, field: FieldInfo, search: Search) -> None:
    low, high = search.low, search.high
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise Broken(f"{key} is searched from {low!r} to {high!r}")
    if search.log and low <= 0:
        raise Broken(f"{key} is searched on a log scale from {low!r}, which has no logarithm")
    default = field.get_default(call_default_factory=True)
    if isinstance(default, bool) or not isinstance(default, (int, float)):
        raise Broken(f"{key} is searched from {low!r} to {high!r}, but its default is {default!r}")
    if not low <= default <= high:
        raise Broken(f"the default {key} = {default!r} lies outside {low!r} to {high!r}")
    for end in (low, high):
        try:
            case.kind.model_validate({key: end})
        except ValidationError as error:
            raise Broken(
                f"{explain(error, case.kind.name)}, though the search goes from {low!r} to {high!r}"
            ) from error
