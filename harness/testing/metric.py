"""Promises of a metric, tried on random and on degenerate predictions."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property, partial
from numbers import Real
from typing import TYPE_CHECKING, Any

from harness.api.metric import Metric, softmax
from harness.api.records import MetricValue
from harness.errors import Undefined
from harness.testing.promise import Broken, Rule, Unchecked, draws_nothing, opens_nothing

if TYPE_CHECKING:
    import numpy as np

CLOSE = 1e-9
KEBAB = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
SHAPES = ((40, 2), (60, 3), (150, 10))  # samples, classes


class MetricCase:
    """A metric under test, and predictions to try it on."""

    def __init__(self, metric: Metric) -> None:
        # A copy of its own: `Metric.compute` keeps what it has built.
        self.metric = replace(metric, build=partial(metric.build))

    def fresh(self) -> MetricCase:
        """Return the same metric, to be built once more."""
        return MetricCase(self.metric)

    @cached_property
    def _built(self) -> Any:  # noqa: ANN401 - an evaluate.Metric, or what there is instead
        try:
            return self.metric.build()
        except Exception as error:  # noqa: BLE001 - one promise is blamed for it
            return error

    @property
    def built(self) -> Any:  # noqa: ANN401 - evaluate ships no types
        """The metric that `build` gives.

        Raises:
            Unchecked: it raises.
        """
        if isinstance(self._built, Exception):
            raise Unchecked("build() fails", "builds") from self._built
        return self._built

    def compute(self, logits: np.ndarray, targets: np.ndarray) -> MetricValue:
        """Compute the figure as the harness does, of copies of the arrays."""
        return self.compute_in_place(logits.copy(), targets.copy())

    def compute_in_place(self, logits: np.ndarray, targets: np.ndarray) -> MetricValue:
        """Compute the figure of the very arrays."""
        _ = self.built
        names = [f"class-{number}" for number in range(logits.shape[1])]
        return self.metric.compute(logits, targets, names)

    @cached_property
    def fault(self) -> Exception | None:
        """Fault in place of a number for ordinary predictions; None: it gives one."""
        for logits, targets in self.predictions:
            try:
                _figure(self, logits, targets)
            except Unchecked:
                raise
            except Exception as error:  # noqa: BLE001 - one promise is blamed for it
                return error
        return None

    @cached_property
    def repeats(self) -> bool:
        """True if a second call gives the same figures."""
        first, second = ([self.compute(*each) for each in self.predictions] for _ in range(2))
        return first == second

    def needs_repeatable(self) -> None:
        """Raise `Unchecked` where comparing two figures would say nothing."""
        if not self.repeats:
            raise Unchecked("two equal calls differ anyway", "deterministic")

    @property
    def predictions(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Random logits [N, C] and class numbers [N] in which every class occurs, always new."""
        import numpy as np

        rng = np.random.default_rng(3)
        return [
            (rng.normal(size=(n, c)), rng.permutation(np.arange(n) % c).astype(np.int64))
            for n, c in SHAPES
        ]


def declaration(case: MetricCase) -> None:
    metric = case.metric
    if not KEBAB.fullmatch(metric.name):
        raise Broken(f"its name is {metric.name!r}, not kebab-case")
    if not isinstance(metric.higher_is_better, bool):
        raise Broken(f"higher_is_better is {metric.higher_is_better!r}")
    if not metric.low < metric.high:
        raise Broken(f"its range goes from {metric.low!r} to {metric.high!r}")


def gives_a_number(case: MetricCase) -> None:
    if case.fault is not None:
        raise case.fault


def builds(case: MetricCase) -> None:
    import evaluate

    built = case.metric.build()
    if not isinstance(built, evaluate.Metric):
        raise Broken(f"build() returns {type(built).__name__}, no evaluate.Metric")
    if case.metric.direct is not None and case.fault is None:
        module = MetricCase(replace(case.metric, direct=None))
        for logits, targets in case.predictions:
            ours, its = _figure(case, logits, targets), _figure(module, logits, targets)
            if abs(ours - its) > CLOSE * max(1.0, abs(its)):
                raise Broken(
                    f"direct gives {ours:.12g}, and the module that build() gives {its:.12g}"
                )


def offline(case: MetricCase) -> None:
    logits, targets = case.predictions[0]
    with opens_nothing():
        case.fresh().compute(logits, targets)


def within_range(case: MetricCase) -> None:
    metric = case.metric
    for logits, targets in case.predictions:
        figure = _figure(case, logits, targets)
        if not metric.low - CLOSE <= figure <= metric.high + CLOSE:
            raise Broken(
                f"it is {figure:g} on random predictions; its range is {metric.low:g} to "
                f"{metric.high:g}"
            )


def order_free(case: MetricCase) -> None:
    import numpy as np

    case.needs_repeatable()
    for logits, targets in case.predictions:
        order = np.random.default_rng(5).permutation(len(targets))
        figure = _figure(case, logits, targets)
        mixed = _figure(case, logits[order], targets[order])
        if abs(figure - mixed) > CLOSE * max(1.0, abs(figure)):
            raise Broken(f"it is {figure:.12g}, and {mixed:.12g} with the samples in another order")


def best_is_best(case: MetricCase) -> None:
    import numpy as np

    metric = case.metric
    best = metric.high if metric.higher_is_better else metric.low
    for logits, targets in case.predictions:
        figure = _figure(case, 100.0 * np.eye(logits.shape[1])[targets], targets)
        if abs(figure - best) > CLOSE:
            raise Broken(f"it is {figure:g} where every sample is right; its best is {best:g}")


def constant_predictor(case: MetricCase) -> None:
    import numpy as np

    for logits, targets in case.predictions:
        _try(case, np.zeros_like(logits), targets, "where all classes are equally likely")
        first_class = np.zeros_like(logits)
        first_class[:, 0] = 10.0
        _try(case, first_class, targets, "where one class is predicted for all")


def undefined_says_so(case: MetricCase) -> None:
    for what, logits, targets in _degenerate(case):
        _try(case, logits, targets, what)


def _degenerate(case: MetricCase) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Predictions on which many figures have no value."""
    import numpy as np

    logits, targets = case.predictions[1]
    kept = targets != 2  # noqa: PLR2004 - the last of the three classes
    yield "where a class has no sample", logits[kept], targets[kept]
    kept = targets == 0
    yield "where all samples are of one class", logits[kept], targets[kept]
    yield "of a single sample", logits[:1], targets[:1]
    yield "of no sample", logits[:0], targets[:0]
    yield "of logits that are not finite", np.full_like(logits, np.nan), targets


def deterministic(case: MetricCase) -> None:
    if not case.repeats:
        raise Broken("a second call gives another figure")
    figures = ([each.compute(*p) for p in case.predictions] for each in (case, case.fresh()))
    first, second = figures
    if first != second:
        raise Broken("a metric that was just built gives another figure")


def global_randomness(case: MetricCase) -> None:
    with draws_nothing("it"):
        for logits, targets in case.predictions:
            case.compute(logits, targets)


def inputs_untouched(case: MetricCase) -> None:
    import numpy as np

    for logits, targets in case.predictions:
        given = logits.copy(), targets.copy()
        case.compute_in_place(*given)
        if not (np.array_equal(given[0], logits) and np.array_equal(given[1], targets)):
            raise Broken("it changes the arrays it is given")


def _figure(case: MetricCase, logits: np.ndarray, targets: np.ndarray) -> float:
    """Compute the figure where it must have a value."""
    figure = case.compute(logits, targets)
    if figure.value is None:
        raise Broken(f"it is undefined ({figure.reason}) though every class has samples")
    return figure.value


def _try(case: MetricCase, logits: np.ndarray, targets: np.ndarray, what: str) -> None:
    """Demand a finite figure, or none with a reason that the metric itself gives."""
    built, direct, name = case.built, case.metric.direct, case.metric.name
    try:
        if direct is None:
            result = built.compute(predictions=softmax(logits), references=targets)
        else:
            found = direct(softmax(logits), targets)
            result = {name: found} if isinstance(found, Real) else found
    except Undefined as undefined:
        if not str(undefined):
            raise Broken(f"it is undefined {what} and gives no reason") from undefined
        return
    except Exception as error:
        raise Broken(f"it raises {type(error).__name__}: {error} {what}") from error
    value = result[name]
    if value is None and not result.get("reason"):
        raise Broken(f"it is None {what} and gives no reason")
    if value is not None and not math.isfinite(value):
        raise Broken(f"it is {value} {what}")


FIRST = ("gives-a-number",)
RULES: tuple[Rule[MetricCase], ...] = (
    Rule(
        "declaration",
        "a metric has a name in kebab-case, a direction and a range that is not empty",
        declaration,
    ),
    Rule(
        "gives-a-number",
        "for probabilities [N, C] and class numbers [N], every class among them, a metric gives a "
        "finite number",
        gives_a_number,
    ),
    Rule(
        "builds",
        "build() gives an evaluate.Metric whose result holds its name; `direct`, if there is one, "
        "finds the same",
        builds,
    ),
    Rule("offline", "a metric uses no network: `evaluate.load` does", offline, needs=FIRST),
    Rule("within-range", "values lie in the declared range", within_range, needs=FIRST),
    Rule("order-free", "the order of the samples makes no difference", order_free, needs=FIRST),
    Rule(
        "best-is-best",
        "perfect predictions give the end of the range that the direction calls best",
        best_is_best,
        needs=FIRST,
    ),
    Rule(
        "constant-predictor",
        "a network that has learned nothing has a finite figure, or none for a reason",
        constant_predictor,
        needs=FIRST,
    ),
    Rule(
        "undefined-says-so",
        "where there is no figure, raise Undefined with the reason: no exception of another kind, "
        "no NaN, no number in its place",
        undefined_says_so,
        needs=FIRST,
    ),
    Rule(
        "deterministic",
        "equal predictions give equal figures, call after call",
        deterministic,
        needs=FIRST,
    ),
    Rule(
        "global-randomness",
        "a metric leaves the global random generators alone",
        global_randomness,
        needs=FIRST,
    ),
    Rule(
        "inputs-untouched",
        "a metric leaves the arrays it is given as they are",
        inputs_untouched,
        needs=FIRST,
    ),
)
