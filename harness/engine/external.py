"""Further test sets of a run: predicted when all that the run itself is has been done."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from harness.api.execution import Predictions, Resources
from harness.api.metric import figure
from harness.api.records import ExternalRecord, MetricValue
from harness.engine import isolation
from harness.engine.evaluate import predict_split
from harness.engine.state import RunState, SplitData


def predict_external(state: RunState) -> dict[str, Predictions]:
    """Name -> predictions of a further test set, as those of `test`; no part of the run's cost."""
    found = {}
    for name, part in state.resources.images.external.items():
        with state.clock.aside():
            logits = predict_split(state, SplitData(state.resources, state.spec, "test", name))
        found[name] = Predictions(
            logits={"test": logits.numpy()},
            targets={"test": np.asarray(part.labels, np.int64)},
            rows={"test": np.asarray(part.rows, np.int32)},
        )
    return found


def external_records(
    state: RunState, metrics: Mapping[str, MetricValue]
) -> dict[str, ExternalRecord]:
    """The records of all further test sets with these figures in each."""
    given = state.resources.images.external.items()
    return {name: part.record.model_copy(update={"metrics": metrics}) for name, part in given}


def score_external(
    resources: Resources, external: Mapping[str, Predictions]
) -> dict[str, ExternalRecord]:
    """The records of further test sets with the figures of their predictions."""
    found = {}
    for name, predictions in external.items():
        record = resources.images.external[name].record
        logits, targets = predictions.logits["test"], predictions.targets["test"]
        few = record.present_only
        with isolation.aside():
            metrics = {
                each: figure(metric, logits, targets, record.classes, present_only=few)
                for each, metric in sorted(resources.metrics.items())
            }
        found[name] = record.model_copy(update={"metrics": metrics})
    return found
