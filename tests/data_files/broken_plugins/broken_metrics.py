"""Metrics that break their promises, one each; see broken_strategies.py."""

import contextlib
import itertools
import socket
from dataclasses import dataclass
from functools import partial

from harness import Metric, hookimpl


def build(name, figure):
    """An `evaluate.Metric` over a plain function (shares, truth) -> value."""
    import datasets
    import evaluate

    class Plain(evaluate.Metric):
        def _info(self):
            return evaluate.MetricInfo(
                description="made for a test",
                citation="",
                inputs_description="probabilities and class numbers",
                features=datasets.Features(
                    {
                        "predictions": datasets.Sequence(datasets.Value("float64")),
                        "references": datasets.Value("int64"),
                    }
                ),
            )

        def compute(self, *, predictions, references):
            """As `evaluate.Metric.compute`, without its table."""
            return {name: figure(predictions, references)}

    return Plain(keep_in_memory=True)


def accuracy(shares, truth):
    from harness import Undefined

    check(shares, truth, Undefined)
    return float((shares.argmax(1) == truth).mean())


def check(shares, truth, undefined):
    import numpy as np

    if not len(truth):
        raise undefined("there is no sample")
    if not np.isfinite(shares).all():
        raise undefined("a probability is not finite")


@dataclass(frozen=True)
class Broken(Metric):
    message: str = ""
    also: tuple[str, ...] = ()


def broken(name, figure, message, also=(), **settings):
    return Broken(name, partial(build, name, figure), message=message, also=also, **settings)


def calling_home(shares, truth):
    with contextlib.suppress(OSError):
        socket.create_connection(("localhost", 9), timeout=0.1)
    return accuracy(shares, truth)


def kappa(shares, truth):
    from sklearn.metrics import cohen_kappa_score

    from harness import Undefined

    check(shares, truth, Undefined)
    if len(set(truth.tolist())) == 1:
        raise Undefined("all samples are of one class")
    return float(cohen_kappa_score(truth, shares.argmax(1)))


def late(shares, truth):
    """Counts the last samples more than the first."""
    import numpy as np

    from harness import Undefined

    check(shares, truth, Undefined)
    return float(np.average(shares.argmax(1) == truth, weights=np.arange(1, len(truth) + 1)))


def errors(shares, truth):
    return 1.0 - accuracy(shares, truth)


def spread(shares, truth):
    """No figure where all predictions are the same, and nobody says so."""
    import numpy as np

    found = accuracy(shares, truth)
    return found if len(truth) == 1 or np.ptp(shares.argmax(1)) else float("nan")


def recall(shares, truth):
    """Mean over all classes, of which some may have no sample."""
    import numpy as np

    accuracy(shares, truth)
    hits = shares.argmax(1) == truth
    with np.errstate(invalid="ignore"):
        counts = np.array([(truth == c).sum() for c in range(shares.shape[1])], dtype=float)
        return float(
            (np.array([hits[truth == c].sum() for c in range(len(counts))]) / counts).mean()
        )


def ranked(shares, truth):
    """scikit-learn's own complaint."""
    from sklearn.metrics import log_loss

    return float(accuracy(shares, truth) + 0 * log_loss(truth, shares))


def bootstrap():
    import numpy as np

    rng = np.random.default_rng(0)

    def figure(shares, truth):
        accuracy(shares, truth)
        rows = rng.integers(0, len(truth), len(truth))
        return accuracy(shares[rows], truth[rows])

    return build("breaks-deterministic", figure)


BUILDS = itertools.count(1)


def another_every_time():
    number = next(BUILDS)

    def figure(shares, truth):
        found = accuracy(shares, truth)
        return found if found == 1 else found + number / 10**6

    return build("breaks-deterministic-builds", figure)


def never(shares, truth):
    from harness import Undefined

    raise Undefined("not today")


def tensor(shares, truth):
    import torch

    return torch.tensor(0.5)


def silent(shares, truth):
    from harness import Undefined

    check(shares, truth, Undefined)
    if len(set(truth.tolist())) < shares.shape[1]:
        raise Undefined
    return accuracy(shares, truth)


def nothing(shares, truth):
    from harness import Undefined

    check(shares, truth, Undefined)
    return accuracy(shares, truth) if len(set(truth.tolist())) == shares.shape[1] else None


def reseeding(shares, truth):
    import numpy as np

    np.random.seed(0)  # noqa: NPY002
    return accuracy(shares, truth)


def sorting(shares, truth):
    found = accuracy(shares, truth)
    truth.sort()
    return found


class NoModule:
    def compute(self, *, predictions, references):
        return {"breaks-builds": accuracy(predictions, references)}


def unavailable():
    raise ImportError("no module named 'elsewhere'")


# The harness refuses these two when it loads.
UNLOADABLE = [
    broken("Top 1", accuracy, "its name is 'Top 1', not kebab-case"),
]
BROKEN = [
    broken(
        "breaks-declaration",
        accuracy,
        "its range goes from 1.0 to 0.0",
        also=("within-range", "best-is-best"),
        low=1.0,
        high=0.0,
    ),
    broken(
        "breaks-declaration-direction",
        accuracy,
        "higher_is_better is 'yes'",
        higher_is_better="yes",
    ),
    broken(
        "breaks-gives-a-number",
        never,
        "it is undefined (not today) though every class has samples",
    ),
    broken(
        "breaks-gives-a-number-tensor",
        tensor,
        "returned tensor(0.5000): its function must return a number",
        direct=tensor,
    ),
    Broken("breaks-builds", NoModule, message="build() returns NoModule, no evaluate.Metric"),
    broken(
        "breaks-builds-direct",
        accuracy,
        ", and the module that build() gives 0.",
        direct=lambda shares, truth: accuracy(shares, truth) ** 2,
    ),
    Broken("breaks-builds-raising", unavailable, message="no module named 'elsewhere'"),
    broken("breaks-offline", calling_home, "it asked for the address of 'localhost'"),
    broken("breaks-within-range", kappa, "its range is 0 to 1"),
    broken("breaks-order-free", late, "with the samples in another order"),
    broken("breaks-best-is-best", errors, "it is 0 where every sample is right; its best is 1"),
    broken("breaks-constant-predictor", spread, "it is nan where all classes are equally likely"),
    broken("breaks-undefined-says-so", recall, "it is nan where a class has no sample"),
    broken("breaks-undefined-says-so-raising", ranked, "it raises ValueError"),
    broken(
        "breaks-undefined-says-so-silent", silent, "where a class has no sample and gives no reason"
    ),
    broken("breaks-undefined-says-so-none", nothing, "it is None where a class has no sample"),
    Broken(
        "breaks-deterministic-builds",
        another_every_time,
        message="a metric that was just built gives another figure",
    ),
    Broken("breaks-deterministic", bootstrap, message="a second call gives another figure"),
    broken("breaks-global-randomness", reseeding, "it draws from or seeds numpy.random"),
    broken("breaks-inputs-untouched", sorting, "it changes the arrays it is given"),
]


@hookimpl
def harness_metrics():
    return BROKEN
