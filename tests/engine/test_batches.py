"""Batches: their samples, their order, their pixels, their augmentation."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from toys import FULL, HEAD, distance, strategy, toy_run

from harness import Phase
from harness.engine import run
from harness.engine.batches import Batches, augment, draw
from harness.engine.state import RunState
from harness.engine.storage import HostPixels


@pytest.mark.slow
@given(st.integers(1, 200), st.integers(1, 40))
def test_a_pass_sees_each_sample_at_most_once_and_never_a_batch_of_one(samples, size):
    spec, _ = toy_run(FULL)
    batches = Batches(samples, size, spec)
    seen = [batches.at(k) for k in range(batches.per_epoch)]

    flat = torch.cat(seen).tolist()
    assert len(set(flat)) == len(flat)
    assert len(flat) >= samples - 1
    assert all(len(b) > 1 for b in seen) or size == 1 or samples == 1


def test_batch_k_is_the_same_whoever_asks_and_whenever():
    spec, _ = toy_run(FULL)
    forwards, backwards = Batches(48, 16, spec), Batches(48, 16, spec)

    late = [backwards.at(k) for k in (8, 1, 5)]
    assert all(torch.equal(forwards.at(k), b) for k, b in zip((8, 1, 5), late, strict=True))
    other, _ = toy_run(HEAD)
    assert torch.equal(Batches(48, 16, other).at(4), forwards.at(4))
    reseeded, _ = toy_run(FULL, seed=1)
    assert not torch.equal(Batches(48, 16, reseeded).at(4), forwards.at(4))


@pytest.mark.parametrize("row", [-1, 48])
def test_an_order_of_rows_that_are_not_there_is_refused(row):
    spec, _ = toy_run(FULL)
    with pytest.raises(ValueError, match=f"rows of 48 samples .*{row}"):
        Batches(48, 16, spec, subset=torch.tensor([0, row, 2]))


def test_the_host_gives_the_rows_that_are_asked_for_in_their_order():
    images = np.arange(5 * 3 * 2 * 2, dtype=np.uint8).reshape(5, 3, 2, 2)
    found = HostPixels(images, torch.device("cpu")).rows(torch.tensor([4, 0, 4]))
    expected = [[[[12 * row + 4 * c + 2 * y + x for x in (0, 1)] for y in (0, 1)] for c in (0, 1, 2)]
                for row in (4, 0, 4)]  # fmt: skip
    assert found.tolist() == expected


def test_a_share_uses_the_same_part_every_time_and_keeps_classes():
    seen = []

    @dataclass
    class Spy:
        capturable: bool = False

        def __call__(self, model, batch):
            seen.append(batch.index)
            return F.cross_entropy(model(batch.inputs), batch.targets)

    run(*toy_run(strategy(Phase("p", 4, {"head": 1.0}, share=0.25, objective=Spy()))))
    rows = torch.cat(seen).unique()

    assert len(rows) == 12
    assert torch.bincount(rows % 3).tolist() == [4, 4, 4]
    assert len(torch.cat(seen)) == 12 * 12  # the budget counts steps of the whole split


def test_images_are_normalised_as_the_protocol_says():
    spec, resources = toy_run(FULL)
    state = RunState(spec, resources)
    x = state.data.train.inputs(torch.tensor([5, 2]))

    raw = resources.images.images["train"][[5, 2]].astype(np.float64) / 255
    mean, std = (np.array(v).reshape(1, 3, 1, 1) for v in (spec.protocol.mean, spec.protocol.std))
    np.testing.assert_allclose(x.numpy(), (raw - mean) / std, rtol=1e-12)


@pytest.mark.parametrize("kinds", [("flip-horizontal",), ("flip-vertical",), ("affine",)])
def test_augmentation_is_seeded_per_sample_and_only_for_training(kinds):
    last = {"checkpoint": "last"}
    first, second = (run(*toy_run(HEAD, augment=kinds, **last)) for _ in range(2))
    plain = run(*toy_run(HEAD, **last))

    assert all(torch.equal(first.state[n], second.state[n]) for n in first.state)
    assert distance(first.state, plain.state) > 0
    assert (first.result.phases[0].cached_stages == 0) == (kinds != ("flip-horizontal",))


@pytest.mark.parametrize(("kind", "axis"), [("flip-horizontal", 2), ("flip-vertical", 1)])
def test_flips_are_exact(kind, axis):
    images = torch.arange(8 * 3 * 4 * 4, dtype=torch.float64).view(8, 3, 4, 4)
    flipped = augment(images, [kind], draw(8, [kind], torch.Generator().manual_seed(0)))
    chosen = torch.rand(8, generator=torch.Generator().manual_seed(0)) < 0.5
    assert 0 < chosen.sum() < 8
    for i in range(8):
        assert torch.equal(flipped[i], images[i].flip(axis) if chosen[i] else images[i])


def test_affine_turns_scales_and_shifts_as_scipy_does():
    """Output pixels are looked up where rotation, scale and shift about the centre take them."""
    rng = np.random.default_rng(0)
    images, drawn = rng.random((5, 3, 9, 9)), rng.random((5, 6)).astype(np.float32)
    drawn[0, 2:] = 0.5  # the middle of every range: nothing moves
    found = augment(torch.from_numpy(images), ["affine"], torch.from_numpy(drawn)).numpy()

    centred = (np.arange(9) + 0.5) / 9 * 2 - 1
    y, x = np.meshgrid(centred, centred, indexing="ij")
    for image, row, seen in zip(images, drawn.astype(float) * 2 - 1, found, strict=True):
        angle, scale = np.deg2rad(10 * row[2]), 1 + 0.1 * row[3]
        at = scale * np.exp(1j * angle) * (x + 1j * y) + 0.1 * (row[4] + 1j * row[5])
        places = [(part + 1) / 2 * 9 - 0.5 for part in (at.imag, at.real)]
        for channel, expected in zip(image, seen, strict=True):
            moved = ndimage.map_coordinates(channel, places, order=1, mode="nearest")
            np.testing.assert_allclose(expected, moved, atol=1e-5)
    np.testing.assert_allclose(found[0], images[0], atol=1e-12)
