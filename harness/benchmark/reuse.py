"""Reuse of a finished run: each part of its identity, then and now (`harness why`)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from harness import weights
from harness.api.dataset import Access
from harness.api.execution import ENGINE_VERSION
from harness.api.records import Json, RunResult, RunSpec, Suite
from harness.api.strategy import settings_of
from harness.benchmark.identity import ROLES, code_names
from harness.data import lock
from harness.errors import HarnessError, StoreError
from harness.plugins.registry import PluginRegistry
from harness.results.merge import existing
from harness.results.store import Store
from harness.weights.starts import beginnings, start_of


class IdentityDifference(NamedTuple):
    """One part of the identity: what it was, what it is, and what that means."""

    what: str
    then: str
    now: str
    meaning: str


class UnknownPart(NamedTuple):
    """A part that cannot be told here, and why."""

    what: str
    reason: str


def folders_to_search(results: Path | None) -> list[Path]:
    """The results folder that was named; None: all in `results`.

    Raises:
        UsageError: the folder holds no runs.
    """
    if results:
        return [existing(results).folder]
    return sorted(path for path in Path("results").glob("*") if path.is_dir())


def find_run(places: Sequence[Path], run: str, *, named: bool) -> tuple[Store, RunResult]:
    """The run whose id starts with `run`, in results folders; `named`: a user gave the folder.

    Raises:
        StoreError: none or several runs fit.
    """
    found = [
        (store, result)
        for store in map(Store, places)
        for result in (*store.results(), *store.failures())
        if result.run_id.startswith(run)
    ]
    if len(found) == 1:
        return found[0]
    where = ", ".join(map(str, places)) or "results/"
    if not found:
        told = "its runs are the .json files in runs/ and failed/, named after their ids"
        raise StoreError(
            f"no run {run} in {where}; {told if named else 'give its folder with --results FOLDER'}"
        )
    ids = ", ".join(sorted({result.run_id for _, result in found}))
    raise StoreError(f"{len(found)} runs in {where} start with {run}: {ids}; give more digits")


def explain_reuse(
    result: RunResult,
    loaded: PluginRegistry,
    access: Access,
    where: str | None,
    suite: Suite | None = None,
) -> Iterator[IdentityDifference | UnknownPart]:
    """Everything in the identity of `result` that would be different now, or cannot be told.

    `suite`: as the plan of its folder has it, which says where a start of the Hub lies.
    """
    spec = result.spec
    if spec.engine != ENGINE_VERSION:
        yield IdentityDifference(
            "engine", str(spec.engine), str(ENGINE_VERSION), "the engine's results have changed"
        )
    for role, name in code_names(spec).items():
        yield from _source(result, loaded, role, name)
    yield from _settings(spec, loaded)
    yield from _weights(spec, loaded, access, where, suite)
    yield from _data(spec, loaded, access)


def newer_run(store: Store, result: RunResult) -> RunResult | None:
    """The newest run of the same cell and seed that was made after this one."""

    def slot(spec: RunSpec) -> tuple[str, str, str, int]:
        return spec.dataset, spec.started, spec.strategy, spec.seed

    found = [
        one
        for one in (*store.results(), *store.failures())
        if slot(one.spec) == slot(result.spec) and one.finished > result.finished
    ]
    return max(found, key=lambda one: one.finished, default=None)


def spec_differences(spec: RunSpec, other: RunSpec) -> list[tuple[str, str, str]]:
    """Every part of the identity that two runs do not share, by its path: `protocol.lr`."""
    one, two = (dict(_parts(value.model_dump(mode="json"))) for value in (spec, other))
    return [
        (name, _short(one.get(name)), _short(two.get(name)))
        for name in sorted({*one, *two})
        if one.get(name) != two.get(name)
    ]


def _parts(value: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    if isinstance(value, dict) and value:
        for key, part in value.items():
            yield from _parts(part, f"{path}.{key}" if path else key)
    else:
        yield path, value


def _short(value: Json) -> str:
    """Digests by their first digits."""
    text = str(value)
    return text[:12] if re.fullmatch(r"[0-9a-f]{64}", text) else text


def _source(
    result: RunResult, loaded: PluginRegistry, role: str, name: str
) -> Iterator[IdentityDifference | UnknownPart]:
    spec, kind = result.spec, ROLES[role]
    if name not in getattr(loaded, kind):
        yield UnknownPart(
            f"code of {role} {name}", "no loaded plugin offers it; add -p or install it"
        )
        return
    then, owner = spec.sources.get(role, ""), loaded.owner(kind, name)
    now = loaded.source(kind, name)
    if then != now:
        made_by = result.plugins.get(role)
        version = f", version {made_by.version} then, {owner.version} now" if made_by else ""
        yield IdentityDifference(
            f"code of {role} {name}",
            then[:12],
            now[:12],
            f"the source files of plugin {owner.plugin!r} have changed{version}",
        )


def _settings(spec: RunSpec, loaded: PluginRegistry) -> Iterator[IdentityDifference | UnknownPart]:
    """Settings that stand at a default now that was another then."""
    if spec.strategy not in loaded.strategies:
        return
    defaults = settings_of(loaded.strategies[spec.strategy]())
    for name in sorted({*defaults, *spec.settings}):
        then, now = spec.settings.get(name, "absent"), defaults.get(name, "absent")
        if then != now:
            yield IdentityDifference(
                f"setting {spec.strategy}.{name}",
                str(then),
                str(now),
                "it was set in that call, or its default has changed",
            )


def _weights(
    spec: RunSpec, loaded: PluginRegistry, access: Access, where: str | None, suite: Suite | None
) -> Iterator[IdentityDifference | UnknownPart]:
    if spec.weights == "none" or spec.backbone not in loaded.backbones:
        return
    try:
        backbone = loaded.backbones[spec.backbone]
        (one,) = beginnings(
            [backbone], where, start_of(spec, suite), lock.read(access.lock).weights
        )
        file = weights.find_weights(one.backbone, one.where, offline=True)
    except HarnessError as error:
        yield UnknownPart("weights", f"{error}".partition("\n")[0])
        return
    if file is not None and file.sha256 != spec.weights:
        yield IdentityDifference(
            "weights", spec.weights[:12], file.sha256[:12], f"{file.path.name} is another file"
        )


def _data(
    spec: RunSpec, loaded: PluginRegistry, access: Access
) -> Iterator[IdentityDifference | UnknownPart]:
    from harness.data.preparation.prepare import prepare_dataset

    access = replace(access, allow_missing_classes=True)
    if spec.dataset not in loaded.datasets:
        yield UnknownPart(
            "data", f"{spec.dataset} was a folder of your own; compare its split file"
        )
        return
    try:
        now = prepare_dataset(loaded.datasets[spec.dataset], spec.protocol, access).fingerprint
    except HarnessError as error:
        yield UnknownPart("data", f"{error}".partition("\n")[0])
        return
    if now != spec.data:
        yield IdentityDifference(
            "data", spec.data[:12], now[:12], "samples, labels, groups or splits have changed"
        )
