"""Work that runs share, and who gets which part of it."""

import pytest
import torch
from toys import HEAD, ToyVgg, toy_run

from harness.engine import run
from harness.engine.shared import SharedWork


def test_another_backbone_takes_over_the_pixels_and_nothing_else():
    shared = {}
    run(*toy_run(HEAD, shared=shared))
    work = SharedWork.of(shared)
    pixels, beside = dict(work.pixels), work.beside()
    assert len(pixels) == 3
    assert not beside.features
    assert beside.network is None

    given = {"backbone": ToyVgg()}
    mixed = run(*toy_run(HEAD, shared={SharedWork.KEY: beside}, **given))
    alone = run(*toy_run(HEAD, **given))
    assert beside.pixels == pixels
    assert all(torch.equal(mixed.state[n], alone.state[n]) for n in alone.state)


def test_a_place_that_is_taken_is_told():
    with pytest.raises(TypeError, match="taken"):
        SharedWork.of({SharedWork.KEY: 1})
