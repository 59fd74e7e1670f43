"""Declarations of a backbone's images against a protocol: sizes, and the values that count."""

import pytest
from pydantic import ValidationError

from harness import Preprocessing, Protocol

PROTOCOL = Protocol(name="p", preprocessing="backbone", resize=240, crop=200)


@pytest.mark.parametrize(
    ("declared", "wanted", "nearest"),
    [
        (Preprocessing(), 201, 201),
        (Preprocessing(size=224), 64, 224),
        (Preprocessing(multiple=32), 201, 192),
        (Preprocessing(multiple=32), 3, 32),  # never nothing
        (Preprocessing(multiple=14, bounds=(100, 150)), 30, 112),
        (Preprocessing(multiple=14, bounds=(100, 150)), 900, 140),
        (Preprocessing(multiple=32, bounds=(64, None)), 900, 896),
        (Preprocessing(size=250, multiple=32, bounds=(64, None)), 250, 256),
    ],
)
def test_the_nearest_side_that_is_taken(declared, wanted, nearest):
    assert declared.nearest(wanted) == nearest
    assert declared.takes(nearest)


def test_a_size_is_taken_beside_the_multiples():
    declared = Preprocessing(size=250, multiple=32, bounds=(64, None))
    assert [side for side in range(60, 260) if declared.takes(side)] == [
        64, 96, 128, 160, 192, 224, 250, 256,
    ]  # fmt: skip


def test_a_fixed_size_takes_no_other():
    assert [side for side in range(1, 300) if Preprocessing(size=224).takes(side)] == [224]


@pytest.mark.parametrize(
    "fields",
    [
        {"resize": 200},
        {"resize": 200, "size": 224},
        {"multiple": 32, "bounds": (33, 63)},
        {"bounds": (9, 8)},
    ],
)
def test_what_contradicts_itself_is_refused(fields):
    with pytest.raises(ValidationError):
        Preprocessing(**fields)


def test_what_is_not_declared_is_as_the_protocol_says():
    assert PROTOCOL.resolve(Preprocessing()) == Preprocessing(
        mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), size=200, resize=240,
        interpolation="bilinear", grey=False,
    )  # fmt: skip


def test_what_is_declared_counts_and_the_shorter_side_keeps_its_proportion():
    declared = Preprocessing(
        mean=(0.5,) * 3, std=(0.2,) * 3, size=100, interpolation="bicubic", grey=True
    )
    found = PROTOCOL.resolve(declared)
    assert found == Preprocessing(
        mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2), size=100, resize=120,
        interpolation="bicubic", grey=True,
    )  # fmt: skip
    seen = PROTOCOL.seen_through(found)
    assert (seen.crop, seen.resize, seen.interpolation, seen.grey) == (100, 120, "bicubic", True)
    assert (seen.mean, seen.std, seen.lr) == ((0.5,) * 3, (0.2,) * 3, PROTOCOL.lr)


def test_a_declared_shorter_side_counts():
    assert PROTOCOL.resolve(Preprocessing(size=100, resize=114)).resize == 114


@pytest.mark.parametrize("declared", [None, Preprocessing(size=100)])
def test_the_protocol_counts_unless_it_says_otherwise(declared):
    usual = Protocol(name="p")
    assert usual.resolve(declared) is None
    assert usual.seen_through(None) is usual


def test_the_new_fields_are_left_out_at_their_defaults():
    written = Protocol(name="p").model_dump()
    assert not written.keys() & {"preprocessing", "interpolation", "grey"}
    assert Protocol(name="p", grey=True).model_dump()["grey"] is True
