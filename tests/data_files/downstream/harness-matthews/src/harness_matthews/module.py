"""The `evaluate.Metric`, written as the documentation of `evaluate` has it."""

import datasets
import evaluate
import numpy as np
from sklearn.metrics import matthews_corrcoef

from harness import Undefined


class Matthews(evaluate.Metric):
    """Correlation of predicted and true classes over the whole confusion matrix."""

    def _info(self):
        return evaluate.MetricInfo(
            description=self.__doc__,
            citation="Gorodkin 2004",
            inputs_description="predictions: a probability a class; references: class numbers.",
            features=datasets.Features(
                {
                    "predictions": datasets.Sequence(datasets.Value("float64")),
                    "references": datasets.Value("int64"),
                }
            ),
        )

    def _compute(self, predictions, references):
        shares, truth = np.asarray(predictions), np.asarray(references)
        if not len(truth):
            raise Undefined("there is no sample")
        if not np.isfinite(shares).all():
            raise Undefined("some probabilities are not finite")
        guesses = shares.argmax(axis=1)
        if len(set(truth.tolist())) == 1 or len(set(guesses.tolist())) == 1:
            raise Undefined("all samples are of one class, or are taken to be")
        return {"matthews": float(matthews_corrcoef(truth, guesses))}
