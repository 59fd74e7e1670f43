"""Shortcuts: the class of an image told without looking at what it shows.

A logistic regression is trained on train, from colours alone or from size alone, and tested on
test.  Where it does well, a network may do well for the same reason.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from harness.api.dataset import Split
from harness.api.records import Record
from harness.data.audit.survey import ImageFacts
from harness.data.division.stratify import Sample, order_by_hash

if TYPE_CHECKING:
    import numpy as np

TRAINED_ON = 20_000  # images at most
SHUFFLES = 1000
LIKELY = 0.95


class Shortcut(Record):
    """A baseline's balanced accuracy on test.

    Attributes:
        chance: one over the number of classes in test.
        luck: what the same predictions stay below in 95 % of 1,000 shuffles of the labels.
        score: None if there is none; `reason` says why.
    """

    name: str
    features: str
    score: float | None = None
    chance: float | None = None
    luck: float | None = None
    trained_on: int = 0
    tested_on: int = 0
    reason: str = ""

    @property
    def telling(self) -> bool:
        """True if it does better than luck."""
        return self.score is not None and self.luck is not None and self.score > self.luck


def _colours(look: ImageFacts) -> list[float]:
    # The square root evens out rare and frequent colours (Hellinger distance).
    return [math.sqrt(share) for share in look.histogram.tolist()]


def _size(look: ImageFacts) -> list[float]:
    width, height, size = (math.log(n) for n in (look.width, look.height, look.bytes))
    return [width, height, width - height, size, size - width - height]


BASELINES: Mapping[str, tuple[str, Callable[[ImageFacts], list[float]]]] = {
    "colour histogram": ("16 bins each of red, green and blue", _colours),
    "image size": ("width, height, aspect, bytes, bytes a pixel; logarithms", _size),
}


def try_shortcuts(
    samples: Sequence[Sample], placed: Mapping[str, Split], looks: Mapping[str, ImageFacts]
) -> tuple[Shortcut, ...]:
    """Both baselines on the samples that are placed and can be read; `looks` is by content."""
    used = [s for s in samples if s.id in placed and s.content in looks]
    train = [s for s in used if placed[s.id] == "train"]
    train = order_by_hash(train, lambda sample: sample.id, "shortcut")[:TRAINED_ON]
    test = [s for s in used if placed[s.id] == "test"]
    return tuple(
        _try(
            name,
            features,
            train,
            test,
            {s.content: measure(looks[s.content]) for s in (*train, *test)},
        )
        for name, (features, measure) in BASELINES.items()
    )


def _try(
    name: str,
    features: str,
    train: Sequence[Sample],
    test: Sequence[Sample],
    values: Mapping[str, list[float]],
) -> Shortcut:
    import numpy as np

    reason = _impossible(train, test)
    if reason:
        return Shortcut(name=name, features=features, reason=reason)
    predicted, converged = _predict(
        np.array([values[s.content] for s in train]),
        np.array([s.label for s in train]),
        np.array([values[s.content] for s in test]),
    )
    labels = np.array([s.label for s in test])
    generator = np.random.default_rng(0)
    shuffled = [
        balanced_accuracy(generator.permutation(labels), predicted) for _ in range(SHUFFLES)
    ]
    return Shortcut(
        name=name,
        features=features,
        score=balanced_accuracy(labels, predicted),
        chance=1 / len(set(labels.tolist())),
        luck=float(np.quantile(shuffled, LIKELY)),
        trained_on=len(train),
        tested_on=len(test),
        reason="" if converged else "the fit did not converge",
    )


def _impossible(train: Sequence[Sample], test: Sequence[Sample]) -> str:
    if not test:
        return "there is no test split"
    if len({s.label for s in train}) < 2:  # noqa: PLR2004 - a choice needs two
        return "train has fewer than two classes"
    return ""


def _predict(train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, bool]:
    """Predicted labels of test, and whether the fit converged."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(
        StandardScaler(), LogisticRegression(max_iter=1000, class_weight="balanced")
    )
    with warnings.catch_warnings(record=True) as met:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(train, labels)
    converged = not any(issubclass(one.category, ConvergenceWarning) for one in met)
    predicted: np.ndarray = model.predict(test)
    return predicted, converged


def balanced_accuracy(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Mean recall over the classes that `labels` hold."""
    import numpy as np

    there = np.bincount(labels)
    right = np.bincount(labels[labels == predicted], minlength=len(there))
    return float(np.mean(right[there > 0] / there[there > 0]))
