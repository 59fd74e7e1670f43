"""Figures over the classes that are there, against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import recall_score, roc_auc_score

from harness import Metric, PluginError, Undefined
from harness.api.metric import softmax
from harness_metrics import METRICS

CLASSES = ("a", "b", "c", "d")
BY_NAME = {metric.name: metric for metric in METRICS}


@pytest.fixture
def predicted():
    """120 samples, none of class b."""
    rng = np.random.default_rng(3)
    targets = rng.choice([0, 2, 3], 120)
    logits = rng.normal(size=(120, 4)) + 1.2 * np.eye(4)[targets]
    return logits.astype(np.float32), targets


def test_balanced_accuracy_is_the_mean_recall_of_the_classes_that_are_there(predicted):
    logits, targets = predicted
    guess = logits.argmax(axis=1)
    assert (guess == 1).any()  # a class without samples is predicted: these stay wrong
    expected = recall_score(targets, guess, labels=[0, 2, 3], average="macro")
    metric = BY_NAME["balanced-accuracy"]
    assert metric.compute(logits, targets, CLASSES).value is None
    found = metric.compute(logits, targets, CLASSES, present_only=True)
    assert found.value == pytest.approx(expected, abs=1e-12)
    assert found.reason == "over the classes that are there, without 'b'"


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_every_metric_has_a_figure_and_keeps_the_one_it_has(name, predicted):
    logits, targets = predicted
    plain = BY_NAME[name].compute(logits, targets, CLASSES)
    found = BY_NAME[name].compute(logits, targets, CLASSES, present_only=True)
    assert found.value is not None
    assert plain.value is None or plain == found
    if name == "per-class-recall":
        assert list(found.by_class) == list(CLASSES)
        assert found.by_class["b"] is None
        assert [found.by_class[n] for n in "acd"] == [plain.by_class[n] for n in "acd"]
    targets[:2] = 1  # now every class is there
    whole = BY_NAME[name].compute(logits, targets, CLASSES)
    assert BY_NAME[name].compute(logits, targets, CLASSES, present_only=True) == whole


def test_the_rest_is_as_if_the_class_had_no_logit(predicted):
    logits, targets = predicted
    logits[:, 1] = -9  # never predicted
    found = BY_NAME["macro-auroc"].compute(logits, targets, CLASSES, present_only=True)
    shares = softmax(logits[:, [0, 2, 3]])
    hot = np.eye(4)[targets][:, [0, 2, 3]]
    assert found.value == pytest.approx(roc_auc_score(hot, shares, average="macro"))


def test_one_class_alone_has_no_figure(predicted):
    logits, targets = predicted
    found = BY_NAME["macro-auroc"].compute(logits, targets * 0, CLASSES, present_only=True)
    assert found.value is None


# -- a metric that is a function ------------------------------------------------------------------


def share_right(probabilities, targets):
    return float((probabilities.argmax(axis=1) == targets).mean())


def test_a_plain_function_is_a_metric_and_a_module():
    metric = Metric.of("share-right", share_right, title="Share", higher_is_better=False, high=2.0)
    logits = np.array([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0], [2.0, 0.0]])
    targets = np.array([0, 1, 1, 0])
    assert metric.compute(logits, targets, ("a", "b")).value == 0.75
    assert (metric.title, metric.higher_is_better, metric.low, metric.high) == (
        "Share",
        False,
        0,
        2,
    )
    assert Metric.of("gain", share_right, low=-1.0).low == -1.0
    module = metric.build()
    found = module.compute(predictions=[[0.9, 0.1], [0.2, 0.8]], references=[0, 0])
    assert found == {"share-right": 0.5}
    assert module.description == "Share"
    assert Metric.of("share-right", share_right).build().description == "share-right"


def test_a_function_may_give_a_figure_for_every_class():
    def recalls(probabilities, targets):
        right = probabilities.argmax(axis=1) == targets
        by_class = [float(right[targets == one].mean()) for one in (0, 1)]
        return {"recalls": sum(by_class) / 2, "by_class": by_class}

    metric = Metric.of("recalls", recalls)
    logits, targets = np.array([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0]]), np.array([0, 1, 1])
    found = metric.compute(logits, targets, ("a", "b"))
    assert (found.value, found.by_class) == (0.75, {"a": 1.0, "b": 0.5})
    module = metric.build().compute(predictions=softmax(logits).tolist(), references=[0, 1, 1])
    assert module == {"recalls": 0.75, "by_class": [1.0, 0.5]}


def test_a_function_may_say_that_it_has_no_figure():
    """Though it would have one of class numbers: it was asked of probabilities, and answered."""

    def picky(probabilities, targets):
        if probabilities.ndim > 1:
            raise Undefined("no sample of class 1")
        return 1.0

    found = Metric.of("picky", picky).compute(np.eye(2), np.array([0, 0]), ("a", "b"))
    assert (found.value, found.reason) == (None, "no sample of class 'b'")


def test_a_metric_that_wants_class_numbers_is_told_so_in_one_line():
    from sklearn.metrics import accuracy_score

    metric = Metric.of("mine", lambda guesses, targets: accuracy_score(targets, guesses))
    with pytest.raises(PluginError) as error:
        metric.compute(np.eye(2), np.array([0, 1]), ("a", "b"))
    assert str(error.value) == (
        "metric 'mine' expects class numbers and is given probabilities [N, C]: let it begin with "
        "probabilities.argmax(axis=1)"
    )


def test_another_error_of_a_function_is_its_own():
    def broken(probabilities, targets):
        raise KeyError("no such weight")

    def shares(probabilities, targets):
        if probabilities.ndim > 1:
            raise KeyError("no such weight")
        return probabilities  # of class numbers no figure either

    for function in (broken, shares):
        with pytest.raises(KeyError, match="no such weight"):
            Metric.of("mine", function).compute(np.eye(2), np.array([0, 1]), ("a", "b"))
