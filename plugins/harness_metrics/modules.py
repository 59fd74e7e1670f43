"""The metrics as `evaluate.Metric` modules.  Slow to load: only for those who ask for a module."""

from __future__ import annotations

from typing import Any

import datasets
import evaluate
import numpy as np
from numpy.typing import ArrayLike

from harness_metrics import figures


class ProbabilityMetric(evaluate.Metric):  # type: ignore[misc]  # evaluate ships no types
    """A figure of probabilities [N, C] and class numbers [N]; its configuration names it."""

    def _info(self) -> evaluate.MetricInfo:
        known = figures.FIGURES
        if self.config_name not in known:
            raise ValueError(f"config_name={self.config_name!r}: it must be {' '.join(known)}")
        return evaluate.MetricInfo(
            description=known[self.config_name].__doc__ or self.config_name,
            citation="",
            inputs_description="predictions: probabilities in class order; references: class numbers.",
            features=datasets.Features(
                {
                    "predictions": datasets.Sequence(datasets.Value("float64")),
                    "references": datasets.Value("int64"),
                }
            ),
        )

    def _build_data_dir(self) -> str:
        """`evaluate` would make a folder in the user's cache; everything here stays in memory."""
        return str(self._data_dir_root)

    def compute(
        self,
        *,
        predictions: ArrayLike | None = None,
        references: ArrayLike | None = None,
        **rest: object,
    ) -> dict[str, Any]:
        """Two arrays are taken as they are.

        Everything else, batches added before included, goes the way of `evaluate` through an
        Arrow table, which copies every number and costs several times the figure itself.
        """
        plain = self.writer is None and not rest
        if plain and isinstance(predictions, np.ndarray) and isinstance(references, np.ndarray):
            return self._compute(predictions=predictions, references=references)
        found: dict[str, Any] = evaluate.Metric.compute(
            self, predictions=predictions, references=references, **rest
        )
        return found

    def _compute(self, *, predictions: ArrayLike, references: ArrayLike) -> dict[str, Any]:
        return figures.findings(self.config_name, predictions, references)
