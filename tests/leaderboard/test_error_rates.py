"""Small versions of the tables of docs/statistics.md: 200 calls, of which 5 % may err.

A rule that errs in 5 % has more than 21 hits of 200, or 13 of 100, once in a thousand times.
"""

from dataclasses import replace

import numpy as np
import pytest
from simulated_boards import answers, boards, splits

pytestmark = pytest.mark.slow

CALLS, MOST = 200, 21
BOARDS, MOST_BOARDS = 100, 13  # a whole board takes .07 s
DECIDED = {"better", "worse"}


@pytest.fixture(scope="module")
def alike():
    """Statistics of boards of eight strategies that do not differ."""
    rng = np.random.default_rng(1)
    board = boards.Board(seeds=3, spread=0.02, shared=0.5)
    return [boards.judge(boards.draw(rng, board), 3) for _ in range(BOARDS)]


def test_a_board_of_identical_strategies_says_nothing(alike):
    hits = sum(
        any(one["verdict"] in DECIDED for one in found["differences"])
        or any(
            one[scope]["verdict"] in DECIDED for one in found["averages"].values() for scope in one
        )
        for found in alike
    )
    assert hits <= MOST_BOARDS


@pytest.mark.parametrize("scope", ["these", "general"])
def test_the_interval_of_an_average_holds_the_truth(alike, scope):
    given = [found["averages"]["lp-ft"][scope] for found in alike]
    assert sum(not one["low"] <= 0 <= one["high"] for one in given) <= MOST_BOARDS


def test_the_interval_of_a_cell_holds_the_truth(alike):
    """A cell of another dataset and strategy in every board."""
    given = [found["differences"][call % 105] for call, found in enumerate(alike)]
    assert sum(not one["low"] <= 0 <= one["high"] for one in given) <= MOST_BOARDS


@pytest.mark.parametrize("scope", ["these", "general"])
def test_all_true_ranks_lie_in_their_sets(alike, scope):
    """Of equal strategies every rank is true."""
    wrong = sum(any(one[scope] != [1, 8] for one in found["ranks"].values()) for found in alike)
    assert wrong <= MOST_BOARDS


def test_a_gain_of_five_points_is_found():
    """Were nothing ever said, the tests above would pass."""
    rng = np.random.default_rng(2)
    gains = np.zeros((5, 3, 8))
    gains[..., 1] = 0.05
    board = boards.Board(seeds=3, spread=0.01, gains=gains)
    found = [boards.judge(boards.draw(rng, board), 3)["averages"]["auto-rgn"] for _ in range(10)]
    assert sum(one["these"]["verdict"] == "better" for one in found) >= 8


def test_the_table_of_power_decides_as_the_board_does():
    """It leaves the ranks out, for time."""
    gains = np.zeros((5, 3, 8))
    gains[..., 1] = 0.05
    drawn = boards.draw(np.random.default_rng(5), boards.Board(gains=gains))
    board, part = boards.judge(drawn, 3), boards.verdicts(drawn)
    assert part["averages"]["auto-rgn"]["these"]["verdict"] == "better"
    assert [part[key] for key in ("averages", "differences")] == [
        board[key] for key in ("averages", "differences")
    ]


@pytest.mark.parametrize("tau", [0.0, 0.02, 0.04])
def test_datasets_in_general_hold_whatever_effects_vary(tau):
    rng = np.random.default_rng(3)
    missed = found = 0
    for _ in range(CALLS):
        scores = boards.scores(rng, tau, "normal")
        first, *_ = one = boards.in_general(scores[:, 1:] - scores[:, :1], 3)
        low, high = first.interval()
        missed += not low <= 0 <= high
        found += min(boards.holm([each.p for each in one])) <= 0.05
    assert missed <= MOST
    assert found <= MOST


def false(claim, world, verdict, calls=CALLS):
    rng = np.random.default_rng(4)
    found = [answers.answers(rng, claim, world) for _ in range(calls)]
    return sum(one[("supported", "contradicted").index(verdict)] for one in found)


def world(table, name):
    lines, _ = answers.TABLES[table]
    return next(given for line, given in lines() if line.startswith(name))


@pytest.mark.parametrize(
    ("claim", "name", "verdict"),
    [
        ("lp-ft-improves", "7 of +10, 8 of +1", "supported"),
        ("auto-rgn-gain", "all +1", "supported"),
        ("densenet-gains-most", "lead 0 (neither) | 4, others 0.5", "supported"),
    ],
)
def test_a_claim_at_its_edge_is_not_supported(claim, name, verdict):
    assert false(claim, world(claim, name), verdict) <= MOST


def test_a_lead_of_nothing_is_not_contradicted():
    even = world("densenet-gains-most", "lead 0 (neither) | 0.5, others 4")
    assert false("densenet-gains-most", even, "contradicted") <= MOST


def test_strategies_alike_are_no_claim_of_many_winners():
    alike = world("no-universal-winner", "all alike")
    # 100 calls: more than 13 of 5 % come once in a thousand times.
    assert false("no-universal-winner", alike, "supported", calls=100) <= 13


@pytest.mark.parametrize(
    ("claim", "name"),
    [
        ("lp-ft-improves", "all +5"),
        ("auto-rgn-gain", "one +10"),
        ("densenet-gains-most", "lead +4"),
        ("no-universal-winner", "each best in one or two cells by 8"),
    ],
)
def test_a_claim_that_is_true_is_supported(claim, name):
    assert false(claim, replace(world(claim, name), spread=(1.0,) * 3), "supported", calls=10) >= 8


@pytest.mark.parametrize("official", [False, True])
@pytest.mark.parametrize("design", [(5, 1), (3, 1), (5, 3)])
def test_a_tuned_gain_over_splits_holds_the_truth(design, official):
    """Luck of two points moves validation and test alike; the cells of a board, and its averages."""
    world = splits.World(*design, images=150, official=official, luck=0.02)
    gains = splits.drawn(world, CALLS + splits.BOARD)
    truth = np.mean([gain.added.sum(axis=1).mean() for gain in gains])
    sets = [gains[first : first + splits.BOARD] for first in range(0, len(gains), splits.BOARD)]
    cells = [one for board in sets for one in boards.estimate_gains(board)]
    ends = np.array([one.interval() for one in cells[:CALLS]])
    assert ((truth < ends[:, 0]) | (ends[:, 1] < truth)).sum() <= MOST
    plain = np.std([one.value for one in cells], ddof=1)
    assert np.median(ends[:, 1] - ends[:, 0]) < 2 * 2.5 * plain  # no interval of everything


def test_rates_chosen_in_every_run_rank_strategies_rightly():
    """The generator of the simulated board: eight rates at least .85, one common rate far less."""
    rng = np.random.default_rng(6)
    found = np.array([splits._taus(*splits.strategies(rng, 3, 1.5)) for _ in range(CALLS)])
    tuned, common, *_ = found.mean(axis=0)
    assert tuned >= 0.85
    assert common < 0.6
