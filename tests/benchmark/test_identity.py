"""Run ids do not move: whoever holds results finds them again."""

import json
import pickle

import pytest
import run_ids
from made import made_spec

from harness.results.outline import copy as copied

KEPT = json.loads(run_ids.GOLDEN.read_text(encoding="utf-8"))


def test_the_golden_file_holds_what_it_says():
    assert {name: len(ids) for name, ids in KEPT.items()} == {
        "demo": 5 * 3 * 8,
        "historic": 2,
        "paper-2024": 20,
        "real-small": 5 * 8 * 3 * 4,
    }
    ids = [one for ids in KEPT.values() for one in ids.values()]
    assert len(set(ids)) == len(ids)


@pytest.mark.slow
@pytest.mark.parametrize("part", run_ids.PARTS)
def test_run_ids_are_those_of_the_golden_file(part):
    assert run_ids.named(run_ids.PARTS[part]()) == KEPT[part]


def test_a_run_id_that_was_asked_for_stays_with_its_spec():
    """Copies with other values have their own; equal specs stay equal."""
    spec, other = made_spec(seed=3), made_spec(seed=4)
    before = pickle.dumps(spec)
    own = spec.run_id
    assert spec == made_spec(seed=3)
    assert pickle.dumps(spec) == before
    assert spec.model_copy(update={"seed": 4}).run_id == other.run_id != own
    assert copied(spec, seed=4).run_id == other.run_id
    assert made_spec(seed=3).run_id == spec.run_id == own
