"""A strategy's rate multiplies the protocol's, and nothing else; flips where a dataset allows it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from by_hand import LR, ByHand
from toys import FLOAT64, state_after, strategy, toy_images, toy_run

from harness import Phase, Schedule, Strategy
from harness.api.execution import PickedImages
from harness.engine import recomputed_features, run
from harness.engine.shared import SharedWork
from harness_auto_rgn import AutoRGN
from harness_full_ft import FullFineTuning
from harness_gradual_unfreezing import LastToFirst
from harness_linear_probe import LinearProbe
from harness_lp_ft import LpFt
from harness_starting_point import L1SP, L2SP

KINDS = {
    "full-ft": (FullFineTuning, {}),
    "linear-probe": (LinearProbe, {}),
    "lp-ft": (LpFt, {"ft_rate": 0.5}),
    "gradual": (LastToFirst, {}),
    "l2-sp": (L2SP, {"alpha": 0.1}),
    "l1-sp": (L1SP, {"alpha": 1e-3}),
    "l1-sp proximal": (L1SP, {"alpha": 1e-3, "step": "proximal"}),
    "auto-rgn": (AutoRGN, {"batches": 2}),
}


def outcome(kind, settings, rate, lr, **protocol):
    chosen = kind(rate=rate, **settings)
    given = {"checkpoint": "last", "epochs": 2.0, "weight_decay": 0.125, **protocol}
    return run(*toy_run(chosen, lr=lr, **given))


def same(one, other):
    return all(torch.equal(one.state[name], tensor) for name, tensor in other.state.items())


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("name", KINDS)
def test_three_times_the_rate_is_three_times_the_protocols_rate(name, optimizer):
    """To the last bit, decay and penalties included: neither is multiplied."""
    kind, settings = KINDS[name]
    lr, tripled = 0.01, 0.03
    assert 3.0 * lr == tripled  # exactly, so that the same numbers go in
    by_rate = outcome(kind, settings, 3.0, lr, optimizer=optimizer)
    by_lr = outcome(kind, settings, 1.0, tripled, optimizer=optimizer)
    plain = outcome(kind, settings, 1.0, lr, optimizer=optimizer)
    assert same(by_rate, by_lr)
    assert not same(by_rate, plain)
    told = [[one.lr for one in found.result.history] for found in (by_rate, by_lr, plain)]
    assert told[0] == told[1] != told[2]
    scores = [[one.score for one in found.result.history] for found in (by_rate, by_lr)]
    assert scores[0] == scores[1]


@pytest.mark.parametrize("rate", [1.0, 3.0, 0.1])
def test_the_rate_in_the_history_is_the_one_that_was_used(rate):
    """A constant schedule: the protocol's rate times the strategy's at every epoch."""
    found = outcome(FullFineTuning, {}, rate, 0.02, schedule=Schedule(kind="constant"))
    assert [one.lr for one in found.result.history] == pytest.approx([0.02 * rate] * 2)


@pytest.mark.parametrize("proximal", [False, True])
def test_one_step_by_hand(proximal):
    """SGD: w - rate lr (g + decay w); the proximal pull is rate lr alpha, as of any rate."""
    rate, decay, alpha = 4.0, 0.5, 0.03
    settings = {"alpha": alpha, "beta": 0.0, "step": "proximal"} if proximal else {}
    chosen = (L1SP if proximal else FullFineTuning)(rate=rate, **settings)
    spec, resources = toy_run(
        chosen, optimizer="sgd", momentum=0.0, weight_decay=decay, lr=LR, epochs=1 / 3,
        checkpoint="last",
    )  # fmt: skip
    hand = ByHand(spec, resources)
    hand.modes("stem", "layer1", "layer2", "head")
    x, y = hand.xy(hand.order.at(0))
    F.cross_entropy(hand.model(x), y).backward()
    after = run(spec, resources).state
    moved = 0
    for name, weight in hand.model.named_parameters():
        kernel = weight.dim() > 1
        tied = proximal and kernel
        step = rate * LR * (weight.grad + (0.0 if tied else decay) * weight)
        expected = (weight - step).detach()
        if tied and not name.startswith("head"):
            start = hand.start[name]
            away = expected - start
            expected = start + away.sign() * (away.abs() - rate * LR * alpha).clamp(min=0)
        assert torch.allclose(after[name], expected, rtol=1e-9, atol=1e-12), name
        moved += not torch.equal(after[name], hand.start[name])
    assert moved > 5


def test_a_rate_of_the_plugins_own_is_not_multiplied_twice():
    class Own(Strategy):
        name = "own"
        rate: float = 0.5

        def phases(self, model, epochs):
            yield Phase("ft", epochs, {"*": self.rate})

    plain = strategy(Phase("ft", 2, {"*": 0.5}))
    given = {"checkpoint": "last", "epochs": 2.0}
    own = run(*toy_run(Own(), **given))
    assert all(torch.equal(own.state[n], t) for n, t in state_after(plain, epochs=2.0).items())
    assert own.result.spec.settings == {"rate": 0.5}


# -- mirror images ------------------------------------------------------------------------------


def flip_run(mirrored, augment, chosen=None, **given):
    spec, resources = toy_run(
        chosen or FullFineTuning(), augment=augment, epochs=2.0, checkpoint="last", **given
    )
    return spec.model_copy(update={"mirrored": mirrored}), resources


def states(*given):
    return run(*flip_run(*given)).state


@pytest.mark.slow
def test_a_flip_is_made_only_where_the_dataset_allows_it():
    wanted = ("flip-where-allowed",)
    allowed, refused = states(True, wanted), states(False, wanted)
    flipped, plain = states(False, ("flip-horizontal",)), states(False, ())
    assert all(torch.equal(refused[name], plain[name]) for name in plain)
    assert all(torch.equal(allowed[name], flipped[name]) for name in plain)
    assert not all(torch.equal(allowed[name], plain[name]) for name in plain)
    # What the dataset allows is nothing where the protocol does not ask, and not done twice.
    assert all(torch.equal(states(True, ())[name], plain[name]) for name in plain)
    both = states(True, ("flip-horizontal", "flip-where-allowed"))
    assert all(torch.equal(both[name], flipped[name]) for name in plain)


@pytest.mark.parametrize(
    ("augment", "cached"),
    [
        (("flip-where-allowed",), 3),
        (("flip-horizontal", "flip-where-allowed"), 3),
        (("flip-where-allowed", "flip-vertical"), 0),
        (("affine",), 0),
    ],
)
@pytest.mark.parametrize("mirrored", [True, False])
def test_features_are_kept_where_images_have_two_sides_at_most(augment, cached, mirrored):
    spec, resources = flip_run(mirrored, augment, LinearProbe())
    if not mirrored and augment[0] == "flip-where-allowed":
        cached = 0 if len(augment) > 1 else 3
    found = run(spec, resources)
    assert [phase.cached_stages for phase in found.result.phases] == [cached]
    assert bool(SharedWork.of(resources.shared).features) == (cached > 0)


@pytest.mark.parametrize("compiled", ["none", "graph"])
@pytest.mark.parametrize("chosen", [LinearProbe(), LpFt()], ids=["linear-probe", "lp-ft"])
def test_kept_features_of_both_sides_give_the_bits_of_every_batch_anew(chosen, compiled):
    numeric = FLOAT64.model_copy(update={"compile": compiled})
    kept = run(*flip_run(True, ("flip-where-allowed",), chosen, numeric=numeric))
    with recomputed_features():
        anew = run(*flip_run(True, ("flip-where-allowed",), chosen, numeric=numeric))
    assert next(phase.cached_stages for phase in kept.result.phases) == 3
    assert next(phase.cached_stages for phase in anew.result.phases) == 0
    assert all(torch.equal(kept.state[name], anew.state[name]) for name in anew.state)
    for split, logits in anew.predictions.logits.items():
        assert np.array_equal(kept.predictions.logits[split], logits)


def test_trials_of_a_probe_share_the_features_of_both_sides():
    shared = {}
    alone = [
        run(*flip_run(True, ("flip-where-allowed",), LinearProbe(rate=rate))).state
        for rate in (1.0, 3.0)
    ]
    for rate, state in zip((1.0, 3.0), alone, strict=True):
        spec, resources = flip_run(
            True, ("flip-where-allowed",), LinearProbe(rate=rate), shared=shared
        )
        kept = SharedWork.of(shared).features
        before = dict(kept)
        found = run(spec, resources).state
        assert all(torch.equal(found[name], state[name]) for name in state)
        assert not before or kept == before
    sides = {key.split: key.mirrored for key in kept}
    assert sides == {"train": True, "validation": False, "test": False}


def test_runs_that_are_mirrored_and_not_do_not_share_pixels():
    shared = {}
    both = []
    for mirrored in (True, False):
        spec, resources = flip_run(mirrored, ("flip-where-allowed",), shared=shared)
        both.append(run(spec, resources).state)
    alone = states(False, ("flip-where-allowed",))
    assert all(torch.equal(both[1][name], alone[name]) for name in alone)


# -- rows that are picked out of a larger array -------------------------------------------------


def picked(images):
    """The same images as rows of one array, in which they lie in another order."""
    order = np.random.default_rng(1).permutation(96)
    splits = ("train", "validation", "test")
    whole = np.concatenate([images.images[split] for split in splits])
    lying, first, rows = np.empty_like(whole), 0, {}
    for split in splits:
        count = len(images.images[split])
        rows[split] = order[first : first + count]
        lying[rows[split]] = images.images[split]
        first += count
    return PickedImages(lying, rows)


@pytest.mark.parametrize("chosen", [FullFineTuning(), LinearProbe()])
@pytest.mark.parametrize("engine", ["fast", "reference"])
def test_a_run_on_picked_rows_is_the_run_on_the_images_themselves(chosen, engine):
    plain = toy_images()
    spec, resources = toy_run(chosen, images=plain, epochs=1.0, checkpoint="last")
    resources = replace(resources, engine=engine)
    there = replace(plain, images=picked(plain))
    found = run(spec, replace(resources, images=there, shared={}))
    expected = run(spec, replace(resources, shared={}))
    assert same(found, expected)
    for split, logits in expected.predictions.logits.items():
        assert np.array_equal(found.predictions.logits[split], logits)
        assert np.array_equal(found.predictions.targets[split], expected.predictions.targets[split])


@pytest.mark.parametrize("chosen", [FullFineTuning(), LinearProbe()])
def test_runs_of_other_budgets_do_not_share_pixels_or_features(chosen):
    """Of one dataset and split: fewer training images are other images."""
    plain, shared = toy_images(), {}
    few = replace(
        plain,
        images={s: x[24:] if s == "train" else x for s, x in plain.images.items()},
        labels={s: y[24:] if s == "train" else y for s, y in plain.labels.items()},
        rows={s: r[24:] if s == "train" else r for s, r in plain.rows.items()},
    )
    spec, resources = toy_run(chosen, images=plain, epochs=1.0, shared=shared)
    run(spec, resources)
    spec, resources = toy_run(chosen, images=few, epochs=1.0, shared=shared)
    spec = spec.model_copy(update={"labels": "50%"})
    together = run(spec, resources)
    alone = run(spec, replace(resources, shared={}))
    assert same(together, alone)
