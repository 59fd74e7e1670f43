"""Several plans as one: by run id, whatever their order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from harness.records import Plan, PlannedRun, RunResult, Suite, canonical


def joined(given: Sequence[Plan], runs: Sequence[Sequence[RunResult]]) -> Plan:
    """All that was asked for; what one plan asks for takes the place of nothing in another.

    Args:
        given: the plans.
        runs: the runs that belong to each; a plan without lines asked for these.  If none has
            lines, the whole has none.
    """
    if not any(plan.runs for plan in given):
        return Plan()
    lines: dict[str, PlannedRun] = {}
    suites: dict[str, list[Suite]] = defaultdict(list)
    for plan, there in zip(given, runs, strict=True):
        for line in plan.runs or map(planned, there):
            lines[line.run_id] = max(line, lines.get(line.run_id, line), key=canonical)
        for name, suite in plan.suites.items():
            suites[name].append(suite)
    return Plan(
        suites={name: _suite(same) for name, same in sorted(suites.items())},
        runs=tuple(line for _, line in sorted(lines.items())),
    )


def planned(run: RunResult) -> PlannedRun:
    """The line of a plan that a run answers."""
    spec = run.spec
    return PlannedRun(
        run_id=run.run_id,
        dataset=spec.dataset,
        modality=run.data.modality if run.data else "unknown",
        backbone=spec.backbone,
        strategy=spec.strategy,
        settings=spec.settings,
        protocol=spec.protocol.name,
        seed=spec.seed,
        limit=spec.limit,
        epochs=spec.protocol.epochs,
        weights="none" if spec.weights == "none" else "loaded",
        precision=spec.numeric.precision,
    )


def _suite(suites: Sequence[Suite]) -> Suite:
    """A suite that several asked parts of: all of its axes, seeds, notes, claims and settings."""
    by_content = {canonical(suite): suite for suite in suites}
    ordered = [suite for _, suite in sorted(by_content.items())]
    whole: dict[str, object] = {}
    for name in Suite.model_fields:
        values = [getattr(suite, name) for suite in ordered]
        if isinstance(values[0], tuple):
            whole[name] = tuple(dict.fromkeys(one for value in values for one in value))
        elif isinstance(values[0], dict):
            whole[name] = {key: one for value in values for key, one in value.items()}
    return ordered[0].model_copy(update=whole)
