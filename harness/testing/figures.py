"""A metric under test, and predictions to try it on."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from harness.api.metric import Metric
from harness.api.records import MetricValue
from harness.testing.promise import Unchecked

if TYPE_CHECKING:
    import numpy as np

SHAPES = ((40, 2), (60, 3), (150, 10))  # samples, classes


class MetricCase:
    """A metric, and predictions to try it on."""

    def __init__(self, metric: Metric) -> None:
        # A copy of its own: `Metric.compute` keeps what it has built.
        self.metric = replace(metric, build=partial(metric.build))

    @cached_property
    def _built(self) -> Any:  # noqa: ANN401 - an evaluate.Metric, or what there is instead
        try:
            return self.metric.build()
        except Exception as error:  # noqa: BLE001 - one promise is blamed for it
            return error

    @property
    def built(self) -> Any:  # noqa: ANN401 - evaluate ships no types
        """What `build` gives.

        Raises:
            Unchecked: it raises.
        """
        if isinstance(self._built, Exception):
            raise Unchecked("build() fails, see 'builds'") from self._built
        return self._built

    def compute(self, logits: np.ndarray, targets: np.ndarray) -> MetricValue:
        """The figure, as the harness asks for it, of copies."""
        return self.compute_in_place(logits.copy(), targets.copy())

    def compute_in_place(self, logits: np.ndarray, targets: np.ndarray) -> MetricValue:
        """The figure of the very arrays."""
        _ = self.built
        names = [f"class-{number}" for number in range(logits.shape[1])]
        return self.metric.compute(logits, targets, names)

    @cached_property
    def repeats(self) -> bool:
        """Whether a second call gives the same figures."""
        first, second = ([self.compute(*one) for one in self.predictions] for _ in range(2))
        return first == second

    def needs_repeatable(self) -> None:
        """Raise `Unchecked` where comparing two figures would say nothing."""
        if not self.repeats:
            raise Unchecked("two equal calls differ anyway, see 'deterministic'")

    @property
    def predictions(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Random logits [N, C] and class numbers [N] in which every class occurs, always new."""
        import numpy as np

        rng = np.random.default_rng(3)
        return [
            (rng.normal(size=(n, c)), rng.permutation(np.arange(n) % c).astype(np.int64))
            for n, c in SHAPES
        ]
