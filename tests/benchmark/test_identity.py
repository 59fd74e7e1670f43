"""Run ids do not move: whoever holds results finds them again."""

import json

import pytest
import run_ids

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
