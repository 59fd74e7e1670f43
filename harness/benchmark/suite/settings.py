"""Settings of strategies and of the protocol, as suites and `--set` give them."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from harness.api.records import Protocol, Suite
from harness.api.strategy import Strategy
from harness.benchmark.request import BenchRequest
from harness.benchmark.suite.values import check_finite
from harness.errors import UsageError
from harness.plugins.registry import PluginRegistry
from harness.utils.faults import explain
from harness.utils.names import choose, did_you_mean
from harness.utils.text import short


def strategy_of(loaded: PluginRegistry, name: str, settings: Mapping[str, Any]) -> Strategy:
    """A strategy with settings; a value that does not fit is a UsageError."""
    where = f"settings of strategy {name!r}"
    check_finite(settings, where)
    try:
        strategy = loaded.strategies[name](**settings)
    except ValidationError as error:
        raise UsageError(explain(error, where)) from error
    check_finite(strategy.model_dump(), where)
    return strategy


def changed_settings(suite: Suite, request: BenchRequest, loaded: PluginRegistry) -> dict[str, Any]:
    """Settings and protocol after `--set TARGET.FIELD=VALUE` and `--epochs`.

    Raises:
        UsageError: there is no such target or field, or a value does not fit.
    """
    settings = {name: dict(values) for name, values in suite.settings.items()}
    protocol = {**dict(suite.protocol), **suite.protocol.model_dump()}
    changed: list[str] = []
    for option in request.sets:
        target, path, value = _parse_set(option)
        if target == "protocol":
            _put(protocol, path, value, option)
            changed.append(f"{'.'.join(path)}={value}")
            continue
        targets = [*loaded.strategies, "protocol"]
        for name in choose([target], targets, "target of --set", suite.strategies):
            fields = loaded.strategies[name].model_fields if name != "protocol" else {}
            if len(path) != 1 or path[0] not in fields:
                near = did_you_mean(path[0], fields)
                raise UsageError(f"--set {option}: {name} has no setting {'.'.join(path)!r}{near}")
            settings.setdefault(name, {})[path[0]] = value
    if request.epochs is not None:
        protocol["epochs"] = request.epochs
    if changed:
        protocol["name"] = f"{protocol['name']} ({', '.join(changed)})"
    try:
        return {"settings": settings, "protocol": Protocol.model_validate(protocol)}
    except ValidationError as error:
        raise UsageError(explain(error, "protocol")) from error


def _parse_set(option: str) -> tuple[str, list[str], Any]:
    left, equals, text = option.partition("=")
    target, dot, path = left.strip().partition(".")
    if not (equals and dot and path):
        raise UsageError(
            f"--set {option}: write STRATEGY.SETTING=VALUE or protocol.FIELD=VALUE, "
            "as in --set l2-sp.alpha=0.01"
        )
    value: Any = text
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise UsageError(f"--set {short(option)}: nested far too deep") from error
    except ValueError:  # a text
        with contextlib.suppress(ValueError):  # 'nan' is a word to JSON, and a number to pydantic
            value = text if math.isfinite(float(text)) else float(text)
    check_finite(value, f"--set {option}")
    return target, path.split("."), value


def _put(values: dict[str, Any], path: list[str], value: object, option: str) -> None:
    for key in path[:-1]:
        if not isinstance(values.get(key), dict):
            raise UsageError(f"--set {option}: protocol has no group {key!r}")
        values = values[key]
    if path[-1] not in values:
        own = path[-1] in BenchRequest.__dataclass_fields__
        near = f"; it is an option: --{path[-1]}" if own else did_you_mean(path[-1], values)
        raise UsageError(f"--set {option}: protocol has no field {path[-1]!r}{near}")
    values[path[-1]] = value
