"""The built-in metrics against scikit-learn called directly, plain loops and hand computation."""

import math
from dataclasses import replace
from itertools import pairwise

import evaluate
import numpy as np
import pytest
from command import python
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from harness import DataError, Metric, MetricValue, PluginError, Undefined
from harness.api.metric import softmax
from harness_metrics import METRICS, harness_metrics

BY_NAME = {metric.name: metric for metric in METRICS}
NAMES = [
    "balanced-accuracy",
    "accuracy",
    "macro-f1",
    "macro-auroc",
    "cohen-kappa",
    "average-precision",
    "ece",
    "brier",
    "per-class-recall",
]
NEED_EVERY_CLASS = [
    "balanced-accuracy",
    "macro-f1",
    "macro-auroc",
    "average-precision",
    "per-class-recall",
]

# Six samples, three classes.  Hand-made so that every figure can be worked out on paper.
SHARES = np.array(
    [
        [0.7, 0.2, 0.1],  # right
        [0.6, 0.3, 0.1],  # right
        [0.2, 0.5, 0.3],  # wrong: 0 taken for 1
        [0.1, 0.8, 0.1],  # right
        [0.1, 0.5, 0.4],  # wrong: 2 taken for 1
        [0.25, 0.25, 0.5],  # right
    ]
)
TRUTH = np.array([0, 0, 0, 1, 2, 2])
CLASSES = ("glioma", "meningioma", "none")
GUESS = SHARES.argmax(axis=1)


def compute(name, shares, truth, classes=None):
    """The figure of probabilities, which softmax gives back from their logarithms."""
    classes = classes or [f"c{k}" for k in range(shares.shape[1])]
    return BY_NAME[name].compute(np.log(shares), truth, classes)


def module(name):
    return BY_NAME[name].build()


def loop_ece(shares, truth, bins=15):
    total = 0.0
    for low, high in pairwise([k / bins for k in range(bins)] + [1.0]):
        inside = [i for i in range(len(truth)) if low < max(shares[i]) <= high]
        if inside:
            right = sum(int(np.argmax(shares[i]) == truth[i]) for i in inside) / len(inside)
            sure = sum(max(shares[i]) for i in inside) / len(inside)
            total += len(inside) / len(truth) * abs(right - sure)
    return total


def loop_brier(shares, truth):
    total = 0.0
    for row, number in zip(shares, truth, strict=True):
        total += sum((share - (k == number)) ** 2 for k, share in enumerate(row))
    return total / len(truth)


def loop_auroc(shares, truth):
    """Share of (own, other) pairs in which the own sample scores higher; half for ties."""
    areas = []
    for k in range(shares.shape[1]):
        own, other = shares[truth == k, k], shares[truth != k, k]
        wins = [(a > b) + (a == b) / 2 for a in own for b in other]
        areas.append(sum(wins) / len(wins))
    return sum(areas) / len(areas)


def loop_average_precision(shares, truth):
    """Sum over thresholds of (gain in recall) x precision, thresholds at each distinct score."""
    averages = []
    for k in range(shares.shape[1]):
        found, recall = 0.0, 0.0
        for threshold in sorted(set(shares[:, k]), reverse=True):
            taken = shares[:, k] >= threshold
            hits = int((taken & (truth == k)).sum())
            now = hits / int((truth == k).sum())
            found += (now - recall) * hits / int(taken.sum())
            recall = now
        averages.append(found)
    return sum(averages) / len(averages)


@st.composite
def predictions(draw, low=2, high=5):
    """Logits on a coarse grid, so that ties occur, and targets in which every class occurs."""
    classes = draw(st.integers(low, high))
    extra = draw(st.lists(st.integers(0, classes - 1), max_size=25))
    truth = np.array(draw(st.permutations(list(range(classes)) + extra)))
    grid = st.integers(-6, 6).map(lambda step: step / 2)
    row = st.lists(grid, min_size=classes, max_size=classes)
    logits = draw(st.lists(row, min_size=len(truth), max_size=len(truth)))
    return np.array(logits, dtype=np.float32), truth


# What is offered


def test_the_nine_are_offered_under_their_names():
    assert [metric.name for metric in harness_metrics()] == NAMES
    assert {metric.name for metric in METRICS if not metric.higher_is_better} == {"ece", "brier"}
    assert BY_NAME["brier"].high == 2
    assert BY_NAME["cohen-kappa"].low == -1


@pytest.mark.parametrize("name", NAMES)
def test_each_is_an_evaluate_metric_in_memory(name):
    built = module(name)
    assert isinstance(built, evaluate.Metric)
    assert built.keep_in_memory
    assert built.config_name == name
    assert len(built.description) > 20


def test_a_module_without_the_name_of_a_figure_is_refused():
    with pytest.raises(ValueError, match="config_name='default': it must be balanced-accuracy"):
        type(module("accuracy"))(keep_in_memory=True)


@pytest.mark.parametrize("name", NAMES)
def test_the_module_gives_the_figure_that_the_harness_computes_without_it(name):
    found = module(name).compute(predictions=softmax(np.log(SHARES)), references=TRUTH)
    assert found[name] == compute(name, SHARES, TRUTH).value


def test_figures_import_neither_evaluate_nor_scikit_learn():
    code = (
        "import sys, numpy as np, harness_metrics\n"
        "logits, truth = np.eye(3)[[0, 1, 2, 0]], np.array([0, 1, 2, 2])\n"
        "for metric in harness_metrics.METRICS:\n"
        "    assert metric.compute(logits, truth, 'abc').value is not None\n"
        "print([m for m in ('torch', 'datasets', 'evaluate', 'sklearn', 'scipy') if m in sys.modules])"
    )
    assert python("-c", code).stdout.strip() == "[]"


def test_offering_imports_nothing_heavy():
    code = (
        "import sys, harness_metrics; harness_metrics.harness_metrics();"
        "print([m for m in ('torch', 'datasets', 'evaluate', 'sklearn', 'numpy') if m in sys.modules])"
    )
    assert python("-c", code).stdout.strip() == "[]"


def test_building_writes_nothing(tmp_path):
    again = type(module("accuracy"))
    built = again("accuracy", keep_in_memory=True, cache_dir=str(tmp_path / "cache"))
    built.add_batch(predictions=SHARES, references=TRUTH)
    assert built.compute()["accuracy"] == pytest.approx(4 / 6)
    assert list(tmp_path.iterdir()) == []


# Values, by hand and by oracles


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("accuracy", 4 / 6),
        ("balanced-accuracy", (2 / 3 + 1 + 1 / 2) / 3),
        ("per-class-recall", (2 / 3 + 1 + 1 / 2) / 3),
        ("macro-f1", (4 / 5 + 2 / 4 + 2 / 3) / 3),
        # Chance agreement: (3 * 2 + 1 * 3 + 2 * 1) / 36.
        ("cohen-kappa", (4 / 6 - 11 / 36) / (1 - 11 / 36)),
        # Class 0: .7 .6 .2 against .1 .1 .25, so 8 of 9 pairs and precisions 1, 1, 3/4 at its hits.
        # Class 1: .8 above all others.  Class 2: .4 .5 above .1 .1 .3 .1.
        ("macro-auroc", (8 / 9 + 1 + 1) / 3),
        ("average-precision", ((1 + 1 + 3 / 4) / 3 + 1 + 1) / 3),
    ],
)
def test_by_hand(name, expected):
    assert compute(name, SHARES, TRUTH).value == pytest.approx(expected, rel=1e-12)


def test_calibration_by_hand():
    # Confidences .7 .6 .5 .8 .5 .5; right: 1 1 0 1 0 1.  The three at .5 share a bin.
    gap = abs(1 - 0.7) + abs(1 - 0.6) + abs(1 - 0.8) + 3 * abs(1 / 3 - 0.5)
    assert compute("ece", SHARES, TRUTH).value == pytest.approx(gap / 6, rel=1e-12)
    squares = [
        0.3**2 + 0.2**2 + 0.1**2,
        0.4**2 + 0.3**2 + 0.1**2,
        0.8**2 + 0.5**2 + 0.3**2,
        0.1**2 + 0.2**2 + 0.1**2,
        0.1**2 + 0.5**2 + 0.6**2,
        0.25**2 + 0.25**2 + 0.5**2,
    ]
    assert compute("brier", SHARES, TRUTH).value == pytest.approx(sum(squares) / 6, rel=1e-12)


def test_confidence_on_the_edge_of_a_bin_belongs_to_the_lower_one():
    shares = np.array([[3 / 5, 2 / 5], [0.61, 0.39]])  # 9/15 is an edge
    truth = np.array([0, 1])
    found = module("ece").compute(predictions=shares, references=truth)["ece"]
    assert found == pytest.approx((0.4 + 0.61) / 2)


ORACLES = {
    "balanced-accuracy": lambda s, t: sk.balanced_accuracy_score(t, s.argmax(1)),
    "accuracy": lambda s, t: float((s.argmax(1) == t).mean()),
    "macro-f1": lambda s, t: sk.f1_score(t, s.argmax(1), average="macro", zero_division=0.0),
    "macro-auroc": loop_auroc,
    "cohen-kappa": lambda s, t: sk.cohen_kappa_score(t, s.argmax(1)),
    "average-precision": loop_average_precision,
    "ece": loop_ece,
    "brier": loop_brier,
    "per-class-recall": lambda s, t: sk.balanced_accuracy_score(t, s.argmax(1)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@given(predictions())
@settings(max_examples=40, deadline=None)
def test_against_an_independent_oracle(name, made):
    logits, truth = made
    found = BY_NAME[name].compute(logits, truth, [f"c{k}" for k in range(logits.shape[1])])
    assert found.reason is None
    assert found.value == pytest.approx(ORACLES[name](softmax(logits), truth), rel=1e-9, abs=1e-12)
    assert BY_NAME[name].low <= found.value <= BY_NAME[name].high + 1e-12


@given(predictions(low=3))
@settings(max_examples=30, deadline=None)
def test_auroc_is_scikit_learns_one_against_rest(made):
    logits, truth = made
    shares = softmax(logits)
    # Given as they are: a way through logarithms and back would break exact ties.
    found = module("macro-auroc").compute(predictions=shares, references=truth)["macro-auroc"]
    assert found == pytest.approx(sk.roc_auc_score(truth, shares, multi_class="ovr"), rel=1e-9)


@pytest.mark.slow
@given(predictions())
@settings(max_examples=60, deadline=None)
def test_scikit_learn_finds_the_same(made):
    logits, truth = made
    shares, hot = softmax(logits), np.eye(logits.shape[1], dtype=int)[truth]
    guess, names = shares.argmax(1), [f"c{k}" for k in range(logits.shape[1])]
    expected = {
        "accuracy": sk.accuracy_score(truth, guess),
        "balanced-accuracy": sk.recall_score(truth, guess, average="macro", zero_division=0.0),
        "average-precision": sk.average_precision_score(hot, shares, average="macro"),
        "macro-auroc": sk.roc_auc_score(hot, shares, average="macro"),
    }
    for name, value in expected.items():
        found = BY_NAME[name].compute(logits, truth, names).value
        assert found == pytest.approx(value, rel=1e-9, abs=1e-12), name
    recalls = sk.recall_score(truth, guess, average=None, zero_division=0.0)
    by_class = BY_NAME["per-class-recall"].compute(logits, truth, names).by_class
    assert list(by_class.values()) == pytest.approx(list(recalls))


def test_two_classes_give_the_usual_auroc():
    rng = np.random.default_rng(3)
    logits, truth = rng.normal(size=(50, 2)), rng.integers(0, 2, 50)
    shares = softmax(logits)
    found = BY_NAME["macro-auroc"].compute(logits, truth, ("no", "yes")).value
    assert found == pytest.approx(sk.roc_auc_score(truth, shares[:, 1]), rel=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@given(predictions(), st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_the_order_of_samples_and_the_numbering_of_classes_do_not_matter(name, made, random):
    logits, truth = made
    rows = list(range(len(truth)))
    random.shuffle(rows)
    columns = list(range(logits.shape[1]))
    random.shuffle(columns)
    # Ties between classes go to the lower number, so break them before renumbering.
    logits = logits + np.linspace(0, 1e-3, logits.shape[1], dtype=np.float32)
    names = [f"c{k}" for k in columns]
    moved = np.argsort(columns)[truth]
    before = BY_NAME[name].compute(logits, truth, sorted(names))
    after = BY_NAME[name].compute(logits[rows][:, columns], moved[rows], names)
    assert after.value == pytest.approx(before.value, rel=1e-9, abs=1e-12)
    assert after.by_class == (None if before.by_class is None else pytest.approx(before.by_class))


def test_a_perfect_and_a_hopeless_prediction_reach_the_ends_of_every_range():
    truth = np.array([0, 1, 0, 1])
    right = np.where(np.eye(2)[truth] == 1, 60.0, 0.0)
    for metric in METRICS:
        best, worst = (
            metric.compute(logits, truth, ("a", "b")).value for logits in (right, 60.0 - right)
        )
        ends = (metric.high, metric.low) if metric.higher_is_better else (metric.low, metric.high)
        if metric.name == "average-precision":
            ends = (1.0, 0.5)  # two of four samples are positive and come last: precision 1/2
        assert (best, worst) == pytest.approx(ends, abs=1e-12), metric.name


def test_recall_of_each_class():
    found = compute("per-class-recall", SHARES, TRUTH, CLASSES)
    assert found.by_class == pytest.approx({"glioma": 2 / 3, "meningioma": 1.0, "none": 0.5})
    assert found.value == compute("balanced-accuracy", SHARES, TRUTH).value


def test_a_class_that_is_never_predicted_has_an_f1_of_zero():
    shares = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]])
    found = compute("macro-f1", shares, np.array([0, 0, 1]))
    assert found.value == pytest.approx((4 / 5 + 0) / 2)


# Undefined is null with a reason, never 0


@pytest.mark.parametrize("name", NEED_EVERY_CLASS)
def test_a_class_without_samples_leaves_the_average_undefined(name):
    truth = np.array([0, 0, 1, 1, 1, 0])
    found = compute(name, SHARES, truth, CLASSES)
    assert found.value is None
    assert found.reason == "class 'none' has no sample among these 6"


def test_several_absent_classes_are_all_named():
    found = compute("macro-auroc", SHARES, np.ones(6, int), CLASSES)
    assert found.reason == "class 'glioma', class 'none' have no sample among these 6"


def test_recall_of_the_other_classes_stands_when_one_is_absent():
    found = compute("per-class-recall", SHARES, np.array([0, 0, 1, 1, 1, 0]), CLASSES)
    assert found.by_class == pytest.approx({"glioma": 2 / 3, "meningioma": 1.0, "none": None})
    assert found.value is None


@pytest.mark.parametrize("name", ["accuracy", "ece", "brier", "cohen-kappa"])
def test_what_needs_no_sample_of_every_class_is_defined(name):
    truth = np.array([0, 0, 1, 1, 1, 0])
    found = compute(name, SHARES, truth)
    assert found.value == pytest.approx(ORACLES[name](SHARES, truth))


@pytest.mark.parametrize("guess", [1, 2])
def test_kappa_of_a_single_class_is_undefined(guess):
    shares = np.full((6, 3), 0.1)
    shares[:, guess] = 0.8
    found = compute("cohen-kappa", shares, np.ones(6, int), CLASSES)
    assert found == MetricValue(value=None, reason="all 6 samples belong to class 'meningioma'")


@pytest.mark.parametrize("name", ["macro-auroc", "average-precision"])
def test_one_class_cannot_be_told_from_a_rest(name):
    found = compute(name, np.ones((4, 1)), np.zeros(4, int))
    assert found == MetricValue(value=None, reason="there is only one class")


@pytest.mark.parametrize("name", NAMES)
def test_no_samples(name):
    found = BY_NAME[name].compute(np.empty((0, 3)), np.empty(0, int), CLASSES)
    assert found == MetricValue(value=None, reason="there is no sample")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_network_that_diverged_has_no_figure(name, broken):
    logits = np.log(SHARES)
    logits[2, 1] = broken
    found = BY_NAME[name].compute(logits, TRUTH, CLASSES)
    assert found.value is None
    assert found.reason == "1 of 6 samples have a probability that is not finite"


@pytest.mark.parametrize(
    ("shares", "truth", "message"),
    [
        (SHARES, TRUTH[:5], r"\[6, 3\] and \[5\]"),
        (SHARES[0], TRUTH[:3], r"\[3\] and \[3\]"),
        (SHARES * 2, TRUTH, "1 in sum"),
        (SHARES - 0.2, TRUTH, "at least 0"),
        (SHARES, TRUTH + 1, "from 1 to 3 do not fit probabilities of 3 classes"),
        (SHARES, TRUTH - 1, "from -1 to 1"),
    ],
)
def test_what_is_no_prediction_is_refused(shares, truth, message):
    with pytest.raises(DataError, match=message):
        module("accuracy").compute(predictions=shares, references=truth)


# The short way and evaluate's own give the same


@pytest.mark.parametrize("name", NAMES)
def test_arrays_and_evaluates_table_agree(name):
    rng = np.random.default_rng(0)
    shares, truth = softmax(rng.normal(size=(60, 4))), rng.integers(0, 4, 60)
    built = module(name)
    direct = built.compute(predictions=shares, references=truth)
    assert built.compute(predictions=shares.tolist(), references=truth.tolist()) == direct
    built.add_batch(predictions=shares[:25], references=truth[:25])
    built.add_batch(predictions=shares[25:40], references=truth[25:40])
    assert built.compute(predictions=shares[40:], references=truth[40:]) == direct
    for row, number in zip(shares, truth, strict=True):
        built.add(prediction=row, reference=number)
    assert built.compute() == direct


def test_an_undefined_call_leaves_nothing_behind():
    built = module("balanced-accuracy")
    with pytest.raises(Undefined, match="class 2 has no sample among these 2"):
        built.compute(predictions=SHARES[:2].tolist(), references=[0, 1])
    found = built.compute(predictions=SHARES.tolist(), references=TRUTH.tolist())
    assert found["balanced-accuracy"] == compute("balanced-accuracy", SHARES, TRUTH).value


# harness.Metric with somebody else's module


class Foreign:
    def __init__(self, found):
        self.found = found

    def compute(self, **_):
        return self.found


def foreign(found):
    return Metric("own", lambda: Foreign(found)).compute(np.log(SHARES), TRUTH, CLASSES)


def test_a_foreign_metric():
    assert foreign({"own": np.float64(0.25)}) == MetricValue(value=0.25)


def test_a_foreign_metric_that_is_not_finite_is_undefined():
    found = foreign({"own": math.nan, "by_class": [0.5, None, 1.0]})
    assert (found.value, found.reason) == (None, "the metric returned nan")
    assert found.by_class == {"glioma": 0.5, "meningioma": None, "none": 1.0}


def test_a_foreign_metric_may_give_none_and_its_reason():
    assert foreign({"own": None, "reason": "class 1 and class 9"}).reason == (
        "class 'meningioma' and class 9"
    )
    assert foreign({"own": None}).reason == "the metric gave no reason"


def test_a_function_takes_the_place_of_a_module():
    def surest(probabilities, targets):
        assert probabilities.sum(axis=1) == pytest.approx(np.ones(6))
        assert targets.tolist() == [0, 0, 0, 1, 2, 2]
        return probabilities.astype(np.float32).max()

    own = Metric("own", build=lambda: pytest.fail("the module is not asked"), direct=surest)
    assert own.compute(np.log(SHARES), TRUTH, CLASSES).value == pytest.approx(0.8)
    both = {"own": None, "reason": "class 2 is too rare", "by_class": [1.0, None, 0.5]}
    found = replace(own, direct=lambda *_: both).compute(np.log(SHARES), TRUTH, CLASSES)
    assert found.reason == "class 'none' is too rare"
    assert found.by_class == {"glioma": 1.0, "meningioma": None, "none": 0.5}


@pytest.mark.parametrize("found", [None, "0.5", {"other": 1.0}])
def test_a_function_that_does_not_return_its_figure(found):
    own = Metric("own", build=dict, direct=lambda *_: found)
    with pytest.raises(
        PluginError, match=r"metric 'own' returned .* its function must return a number"
    ):
        own.compute(np.log(SHARES), TRUTH, CLASSES)


@pytest.mark.parametrize("found", [None, {"other": 1.0}, 0.5])
def test_a_foreign_metric_that_does_not_return_its_figure(found):
    with pytest.raises(PluginError, match=r"metric 'own' returned .* must return a mapping"):
        foreign(found)


def test_softmax_of_far_logits():
    shares = softmax(np.array([[1000.0, 0.0], [-1000.0, -1000.0]], dtype=np.float32))
    assert shares.dtype == np.float64
    assert shares.tolist() == [[1.0, 0.0], [0.5, 0.5]]
