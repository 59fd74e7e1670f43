"""Metrics: a name, a direction, and how the figure is computed: a module, or a plain function."""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from numbers import Real
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from harness.api.records import MetricValue, RunResult
from harness.errors import PluginError, Undefined

if TYPE_CHECKING:
    import evaluate
    import numpy as np

LONGEST_REASON = 300
# Stands in a record that is written before its figures are computed: a metric may end the process.
PENDING = "its process ended first"
_NOTHING = "no error and gave no figure: "


Function: TypeAlias = "Callable[[np.ndarray, np.ndarray], float | Mapping[str, Any]]"


@dataclass(frozen=True)
class Metric:
    """A figure computed from per-sample predictions.

    Attributes:
        name: kebab-case id, the key in every result.
        build: returns the `evaluate.Metric`; called when first used, so that plugins import lazily.
            Its features are `predictions` (sequence of floats: a probability a class, in class
            order) and `references` (class numbers); its result holds `name`, and may hold
            `by_class` (a list in class order, None where undefined).  It raises `Undefined` with
            the reason where it has no value, or returns None and a `reason` where `by_class` still
            stands; a class in the reason is written `class N` (its number) and shown by name.
        higher_is_better: the direction.
        title: for people.
        low, high: the range of possible values.
        direct: the same figure by a function of probabilities [N, C] and class numbers [N], called
            in place of the module: it returns the number, or what the module returns.  Nobody has
            to import `evaluate` for it then (1.6 s of a core in every worker).
    """

    name: str
    build: Callable[[], evaluate.Metric]
    higher_is_better: bool = True
    title: str = ""
    low: float = 0.0
    high: float = 1.0
    direct: Callable[[np.ndarray, np.ndarray], float | Mapping[str, Any]] | None = None

    @classmethod
    def of(
        cls,
        name: str,
        function: Function,
        *,
        title: str = "",
        higher_is_better: bool = True,
        low: float = 0.0,
        high: float = 1.0,
    ) -> Self:
        """A metric that is a function of probabilities [N, C] and class numbers [N].

        Its module of `evaluate`, for whoever wants one, calls the function.
        """
        build = partial(_module_of, name, title, function)
        return cls(name, build, higher_is_better, title, low, high, function)

    def compute(
        self,
        logits: np.ndarray,
        targets: np.ndarray,
        classes: Sequence[str],
        *,
        present_only: bool = False,
    ) -> MetricValue:
        """The figure for logits [N, C] and class numbers [N]; null with a reason if undefined.

        `present_only`: where it is undefined and a class has no sample, it is that of the other
        classes, see `_over_present`; the reason then says so.

        Raises:
            PluginError: the module's result does not hold the metric's name.
        """
        figure = self._figure(logits, targets, classes)
        if figure.value is None and present_only and 0 < len(set(targets.tolist())) < len(classes):
            return self._over_present(logits, targets, classes)
        return figure

    def _figure(
        self, logits: np.ndarray, targets: np.ndarray, classes: Sequence[str]
    ) -> MetricValue:
        try:
            found = self._found(softmax(logits), targets)
        except Undefined as undefined:
            return MetricValue(value=None, reason=_named(str(undefined), classes))
        if not isinstance(found, Mapping) or self.name not in found:
            holding = f"a mapping that holds '{self.name}'"
            owed = (
                f"its evaluate.Metric must return {holding}"
                if self.direct is None
                else f"its function must return a number, as float(...) makes one, or {holding}"
            )
            raise PluginError(f"metric '{self.name}' returned {reprlib.repr(found)}: {owed}")
        value, reason = _checked(found[self.name], found.get("reason"))
        by_class = found.get("by_class")
        return MetricValue(
            value=value,
            reason=reason if reason is None else _named(reason, classes),
            by_class=None if by_class is None else dict(zip(classes, by_class, strict=True)),
        )

    def _found(self, shares: np.ndarray, targets: np.ndarray) -> object:
        if self.direct is None:
            return _built(self).compute(predictions=shares, references=targets)
        try:
            found = self.direct(shares, targets)
        except Undefined:
            raise
        except Exception as error:
            if _takes_classes(self.direct, shares, targets):
                raise PluginError(
                    f"metric {self.name!r} expects class numbers and is given probabilities [N, C]: "
                    "let it begin with probabilities.argmax(axis=1)"
                ) from error
            raise
        return {self.name: found} if isinstance(found, Real) else found

    def _over_present(
        self, logits: np.ndarray, targets: np.ndarray, classes: Sequence[str]
    ) -> MetricValue:
        """The figure of the classes that have samples, as if the others had no logit.

        A sample whose largest logit is that of a class without samples stays wrong: the logit of
        its own class changes places with the largest of the rest.
        """
        import numpy as np

        there = np.unique(targets)
        numbers = np.searchsorted(there, targets)
        kept = logits[:, there].copy()
        lost = ~np.isin(logits.argmax(axis=1), there) & (kept.argmax(axis=1) == numbers)
        rows, own = np.flatnonzero(lost), numbers[lost]
        if len(there) > 1 and len(rows):
            others = kept[rows]
            others[np.arange(len(rows)), own] = -np.inf
            best = others.argmax(axis=1)
            kept[rows, own], kept[rows, best] = kept[rows, best], kept[rows, own]
        names = [classes[number] for number in there]
        found = self.compute(kept, numbers, names)
        if found.value is None:
            return found
        absent = ", ".join(repr(name) for name in classes if name not in names)
        by_class = found.by_class and {name: found.by_class.get(name) for name in classes}
        return MetricValue(
            value=found.value,
            reason=f"over the classes that are there, without {absent}",
            by_class=by_class,
        )


def figure(
    metric: Metric,
    logits: np.ndarray,
    targets: np.ndarray,
    classes: Sequence[str],
    *,
    present_only: bool = False,
) -> MetricValue:
    """The figure of a metric whatever it does: undefined with the reason where it raises.

    It gets copies that it cannot write to: predictions do not depend on metrics.  `present_only`: see
    `Metric.compute`.
    """
    more = {"present_only": True} if present_only else {}
    try:
        value = metric.compute(_sealed(logits), _sealed(targets), classes, **more)
        if not isinstance(value, MetricValue):
            raise TypeError(f"compute() must return a MetricValue, not {value!r}")  # noqa: TRY301
        shown, reason = _checked(value.value, value.reason)
        return replace(value, value=shown, reason=reason if shown is None else value.reason)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, this figure only
        return MetricValue(value=None, reason=f"{_raised(metric.name)}{_said(error)}")


def metric_fault(name: str, value: MetricValue) -> str:
    """The error that a metric raised instead of giving this figure; empty: it raised none."""
    given, start = value.reason or "", _raised(name)
    return given.removeprefix(start) if value.value is None and given.startswith(start) else ""


def uncomputed(name: str, why: str = PENDING) -> MetricValue:
    """In the place of a figure that nothing has computed: a metric's fault to whoever reads it."""
    return MetricValue(value=None, reason=f"{_raised(name)}{_NOTHING}{why}")


def why_uncomputed(name: str, value: MetricValue) -> str:
    """The `why` of an `uncomputed` figure; empty: the metric was called, and that is what it did."""
    fault = metric_fault(name, value)
    return fault.removeprefix(_NOTHING) if fault.startswith(_NOTHING) else ""


def is_pending(result: RunResult) -> bool:
    """True for a record whose figures nobody has computed yet."""
    values = [*result.metrics.items(), *result.validation.items()]
    values += [pair for one in result.external.values() for pair in one.metrics.items()]
    return any(why_uncomputed(name, value) == PENDING for name, value in values)


def _raised(name: str) -> str:
    return f"metric '{name}' raised "


def _said(error: BaseException) -> str:
    """`ValueError: its first line`, as it can be stored."""
    kind = type(error).__name__
    try:
        line = next(filter(None, map(str.strip, str(error).splitlines())), "")
    except Exception:  # noqa: BLE001 - a __str__ of somebody's own
        line = ""
    text = f"{kind}: {line[:LONGEST_REASON]}" if line else kind
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _sealed(values: np.ndarray) -> np.ndarray:
    own = values.copy()
    own.flags.writeable = False
    return own


def _checked(value: float | None, reason: str | None) -> tuple[float | None, str | None]:
    """The figure and None, or None and why there is no figure."""
    if value is None:
        return None, reason or "the metric gave no reason"
    if not math.isfinite(value):
        return None, f"the metric returned {value}"
    return float(value), None


def _named(reason: str, classes: Sequence[str]) -> str:
    """`class 2` becomes `class 'glioma'`."""

    def name(found: re.Match[str]) -> str:
        number = int(found[1])
        return f"class '{classes[number]}'" if number < len(classes) else found[0]

    return re.sub(r"\bclass (\d+)\b", name, reason)


def _takes_classes(function: Function, shares: np.ndarray, targets: np.ndarray) -> bool:
    """True if a function that failed on probabilities works on the classes that they choose."""
    try:
        return isinstance(function(shares.argmax(axis=1), targets), Real)
    except Exception:  # noqa: BLE001 - it fails in any case, and its first error is told
        return False


def _module_of(name: str, title: str, function: Function) -> evaluate.Metric:
    """A function of probabilities and class numbers as a module of `evaluate`."""
    import datasets
    import evaluate
    import numpy as np

    class FunctionModule(evaluate.Metric):  # type: ignore[misc]
        def _info(self) -> evaluate.MetricInfo:
            features = {
                "predictions": datasets.Sequence(datasets.Value("float64")),
                "references": datasets.Value("int64"),
            }
            return evaluate.MetricInfo(
                description=title or name, citation="", features=datasets.Features(features)
            )

        def _compute(
            self, predictions: Sequence[Sequence[float]], references: Sequence[int]
        ) -> dict[str, Any]:
            found = function(np.asarray(predictions), np.asarray(references))
            return dict(found) if isinstance(found, Mapping) else {name: found}

    return FunctionModule(keep_in_memory=True)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities [N, C], float64, from logits [N, C]; NaN in rows that are not finite."""
    import numpy as np

    with np.errstate(invalid="ignore"):
        shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    raised = np.exp(shifted)
    shares: np.ndarray = raised / raised.sum(axis=1, keepdims=True)
    return shares


_BUILT: dict[Metric, evaluate.Metric] = {}


def _built(metric: Metric) -> evaluate.Metric:
    """Building takes milliseconds and a metric is asked for in every epoch."""
    if metric not in _BUILT:
        _BUILT[metric] = metric.build()
    return _BUILT[metric]
