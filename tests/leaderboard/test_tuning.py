"""Of trials the best on validation: by hand, on runs that are made up, untuned boards beside."""

import json
import random
from itertools import product

import pytest
from made import PROTOCOL, made_failure, made_plan, made_product, made_result, made_suite, sha

from harness.api.records import EpochRecord, Failure, MetricValue, Plan, PlannedRun, Tuning
from harness.leaderboard.build import build_leaderboard
from harness.leaderboard.html.page_data import page_data
from harness.leaderboard.render import formats
from harness.leaderboard.tracks import Selection, TrialRun, has_diverged, sort_runs

METRIC = "balanced-accuracy"
GRID = (1.0, 3.0, 0.3, 0.1)  # in the order of their numbers
TUNED = made_suite(name="fair", tuning=Tuning(grid=(0.1, 0.3, 1.0, 3.0)))


def figures(**values):
    return {
        name.replace("_", "-"): MetricValue(value=value, reason=None if value is not None else "-")
        for name, value in values.items()
    }


def trial(rate, validation, test=0.5, *, strategy="full-ft", seed=0, split=0, **changes):
    """A run that was tried; `validation` and `test`: its balanced accuracy."""
    spec = {
        "settings": {} if rate == 1.0 else {"rate": rate},
        "protocol": PROTOCOL.model_copy(update={"split_seed": split}),
        "data": sha("data", split),
        **changes.pop("spec", {}),
    }
    given = {
        "metrics": figures(balanced_accuracy=test, accuracy=1 - test),
        "validation": figures(balanced_accuracy=validation, accuracy=validation),
        "data": {"samples": "s" * 64, "rule": f"made, split {split}"},
        **changes,
    }
    return made_result(strategy=strategy, seed=seed, spec=spec, **given)


def diverged(rate, **changes):
    run = trial(rate, None, **changes)
    error = Failure(kind="TrainingError", message="the loss is nan", phase="ft", step=3)
    return run.model_copy(
        update={"status": "failed", "error": error, "metrics": {}, "validation": {}}
    )


def failed(rate, status, kind):
    error = Failure(kind=kind, message="it is not there")
    return diverged(rate).model_copy(update={"status": status, "error": error})


def planned(runs, grid=GRID, tuned=("rate",)):
    """The plan of a tuned suite, in which these are the trials of the grid."""
    lines = []
    for run in runs:
        number = grid.index(run.spec.settings.get("rate", 1.0))
        lines.append(PlannedRun.of(run.spec, "xray", number, tuned))
    return Plan(suites={"fair": TUNED}, runs=tuple(lines))


def board_of(runs, plan=None, **options):
    ok = [run for run in runs if run.status == "ok"]
    others = [run for run in runs if run.status != "ok"]
    return build_leaderboard(ok, plan or planned(runs), others, **options)


def tracks(board):
    """(tuned, untuned)"""
    (tuned,) = (track for track in board.tracks if track.tuned)
    (plain,) = (track for track in board.tracks if not track.tuned)
    return tuned, plain


def chosen(board):
    """(strategy, seed, split) -> the rate that was chosen."""
    tuned, _ = tracks(board)
    return {
        (run.strategy, run.seed, run.split): run.settings.get("rate", 1.0)
        for run in board.runs
        if run.track == tuned.id
    }


# -- the rule -----------------------------------------------------------------------------------


def test_the_best_on_validation_is_chosen_whatever_its_test_figure():
    runs = [trial(1.0, 0.6, 0.9), trial(3.0, 0.8, 0.2), trial(0.3, 0.7, 0.95), trial(0.1, 0.1, 1.0)]
    board = board_of(runs)
    assert chosen(board) == {("full-ft", 0, 0): 3.0}
    tuned, plain = tracks(board)
    assert [row.value for row in tuned.rows] == [0.2]
    assert [row.value for row in plain.rows] == [0.9]
    (told,) = [run for run in board.runs if run.track == tuned.id]
    assert told.trial == 1
    assert all(run.trial is None for run in board.runs if run.track == plain.id)


def test_grids_of_two_suites_in_one_folder_are_trials_of_one_row():
    """A number stands for another rate in each."""
    narrow = [trial(1.0, 0.6), trial(3.0, 0.7), trial(0.3, 0.5)]
    wide = [narrow[0], trial(10.0, 0.9, 0.4), trial(0.1, 0.2), narrow[1]]
    grids = (1.0, 3.0, 0.3), (1.0, 10.0, 0.1, 3.0)
    lines = [
        line
        for runs, grid in zip((narrow, wide), grids, strict=True)
        for line in planned(runs, grid).runs
    ]
    plan = Plan(suites={"fair": TUNED}, runs=tuple(lines))
    runs = list({run.run_id: run for run in [*narrow, *wide]}.values())
    for given in (runs, runs[::-1]):
        board = board_of(given, plan)
        assert chosen(board) == {("full-ft", 0, 0): 10.0}
        (row,) = tracks(board)[0].rows
        assert (row.tuning.trials, row.ranked) == (5, True)
    lacking = board_of([run for run in runs if run is not wide[2]], plan)
    assert not tracks(lacking)[0].rows[0].ranked


@pytest.mark.parametrize(
    ("values", "rate"),
    [
        ((0.8, 0.8, 0.8, 0.8), 0.1),
        ((0.8, 0.8, 0.8, 0.1), 0.3),
        ((0.8, 0.8, 0.1, 0.1), 1.0),
        ((0.1, 0.8, 0.1, 0.1), 3.0),
        ((None, 0.2, None, 0.1), 3.0),
        ((None, None, None, None), 1.0),
    ],
)
def test_ties_go_to_the_smaller_rate_and_undefined_figures_lose(values, rate):
    runs = [trial(one, value) for one, value in zip(GRID, values, strict=True)]
    for seed in range(3):
        random.Random(seed).shuffle(runs)
        assert chosen(board_of(runs)) == {("full-ft", 0, 0): rate}


def test_ties_of_one_rate_go_to_the_smaller_number():
    runs = [
        TrialRun(number, trial(1.0, 0.5, spec={"settings": {"alpha": number}}))
        for number in (2, 0, 1)
    ]
    assert Selection(METRIC).choose(runs).number == 0


def test_the_choice_is_made_anew_for_every_seed_and_split_and_block():
    best = {(0, 0): 3.0, (1, 0): 0.1, (0, 1): 0.3, (1, 1): 1.0}
    runs = [
        trial(rate, 0.9 if best[seed, split] == rate else 0.5, seed=seed, split=split)
        for (seed, split), rate in product(best, GRID)
    ]
    other = [trial(rate, 0.9 if rate == 0.3 else 0.5, backbone="vgg19-mini") for rate in GRID]
    found = chosen(board_of(runs))
    assert found == {("full-ft", *pair): rate for pair, rate in best.items()}
    both = board_of([*runs, *other])
    tuned, _ = tracks(both)
    assert {
        (run.backbone, run.seed, run.split): run.settings.get("rate", 1.0)
        for run in both.runs
        if run.track == tuned.id
    } == {("resnet50-mini", *pair): rate for pair, rate in best.items()} | {
        ("vgg19-mini", 0, 0): 0.3
    }


def test_a_metric_of_which_less_is_better_is_chosen_by_its_least():
    runs = [trial(rate, value) for rate, value in zip(GRID, (0.3, 0.2, 0.4, 0.25), strict=True)]
    found = board_of(runs, selection=Selection(METRIC, higher_is_better=False))
    assert chosen(found) == {("full-ft", 0, 0): 3.0}
    (row,) = tracks(found)[0].rows
    # The least of two draws with replacement, by hand: of 16 pairs 7, 5, 3, 1 have the least at
    # the first, second, third, fourth of .2 .25 .3 .4.
    mean = (0.3 + 0.2 + 0.4 + 0.25) / 4
    of_two = (7 * 0.2 + 5 * 0.25 + 3 * 0.3 + 1 * 0.4) / 16
    assert row.tuning.best_so_far[:2] == pytest.approx((100 * mean, 100 * of_two))


@pytest.mark.parametrize(
    ("most", "rate"), [(1, 1.0), (2, 3.0), (3, 3.0), (4, 0.1), (9, 0.1), (None, 0.1)]
)
def test_as_if_fewer_trials_had_been_allowed(most, rate):
    runs = [trial(one, value) for one, value in zip(GRID, (0.5, 0.6, 0.4, 0.9), strict=True)]
    board = board_of(runs, selection=Selection(METRIC, most=most))
    assert chosen(board) == {("full-ft", 0, 0): rate}
    (row,) = tracks(board)[0].rows
    assert row.tuning.trials == min(4, most or 4)
    assert row.ranked


def test_trials_beyond_the_number_that_is_looked_at_may_be_missing():
    runs = [trial(one, 0.5) for one in GRID]
    board = board_of(runs[:2], planned(runs), selection=Selection(METRIC, most=2))
    assert tracks(board)[0].rows[0].ranked
    assert not tracks(board_of(runs[:2], planned(runs)))[0].rows[0].ranked


def test_another_metric_ranks_and_the_suites_selects():
    """Accuracy is made so that its best trial is another one."""
    runs = [
        trial(rate, validation, test)
        for rate, validation, test in zip(
            GRID, (0.5, 0.9, 0.6, 0.7), (0.1, 0.4, 0.2, 0.3), strict=True
        )
    ]
    board = board_of(runs, metric="accuracy", selection=Selection(METRIC))
    assert chosen(board) == {("full-ft", 0, 0): 3.0}
    assert [row.value for row in tracks(board)[0].rows] == [pytest.approx(0.6)]


# -- trials that failed or are not there --------------------------------------------------------


def test_a_diverged_trial_was_made_and_is_not_chosen():
    runs = [trial(1.0, 0.2), diverged(3.0), trial(0.3, 0.5), trial(0.1, 0.4)]
    assert [has_diverged(run) for run in runs] == [False, True, False, False]
    board = board_of(runs)
    assert chosen(board) == {("full-ft", 0, 0): 0.3}
    (row,) = tracks(board)[0].rows
    assert row.ranked
    assert (row.tuning.trials, row.tuning.diverged) == (4, 1)
    # It counts as the worst of the others.
    assert row.tuning.best_so_far[0] == pytest.approx(100 * (0.2 + 0.2 + 0.5 + 0.4) / 4)


def test_where_all_diverged_the_unit_has_failed():
    board = board_of([diverged(rate) for rate in GRID])
    (row,) = tracks(board)[0].rows
    assert not row.ranked
    assert [(gap.kind, gap.reason) for gap in row.gaps] == [
        ("failed", "TrainingError: the loss is nan")
    ]


@pytest.mark.parametrize(
    ("status", "kind", "told"),
    [("oom", "OutOfMemoryError", "oom: OutOfMemoryError"), ("failed", "ValueError", "ValueError")],
)
def test_a_trial_that_failed_otherwise_leaves_its_unit_undecided(status, kind, told):
    runs = [trial(1.0, 0.9), failed(3.0, status, kind), trial(0.3, 0.5), trial(0.1, 0.4)]
    rest = [trial(rate, 0.5, seed=1) for rate in GRID]
    board = board_of([*runs, *rest])
    tuned, plain = tracks(board)
    (row,) = tuned.rows
    assert not row.ranked
    assert (row.runs, row.wanted) == (1, 2)
    assert [(gap.kind, gap.seed, gap.reason) for gap in row.gaps] == [
        ("failed", 0, f"{told}: it is not there")
    ]
    assert plain.rows[0].ranked


def test_a_missing_trial_leaves_its_unit_undecided():
    runs = [trial(rate, 0.5, seed=seed) for seed in (0, 1) for rate in GRID]
    gone = runs.pop(1)
    board = board_of(runs, planned([*runs, gone]))
    tuned, plain = tracks(board)
    (row,) = tuned.rows
    assert (row.ranked, row.runs, row.wanted) == (False, 1, 2)
    assert [(gap.kind, gap.seed) for gap in row.gaps] == [("missing", 0)]
    assert plain.rows[0].ranked
    assert [run.seed for run in board.runs if run.track == tuned.id] == [1]


def test_a_row_of_which_no_trial_was_made_is_a_row():
    runs = [trial(rate, 0.5) for rate in GRID]
    gone = [trial(rate, 0.5, strategy="lp-ft") for rate in GRID]
    board = board_of(runs, planned([*runs, *gone]))
    for track in tracks(board):
        assert [(row.strategy, row.runs, row.wanted) for row in track.rows] == [
            ("full-ft", 1, 1),
            ("lp-ft", 0, 1),
        ]
        assert [gap.kind for gap in track.rows[1].gaps] == ["missing"]


# -- nothing of the test ------------------------------------------------------------------------


def study(noise=None):
    """Two strategies, three seeds each on a split of its own, four rates."""
    rng, other = random.Random(4), random.Random(noise)
    runs = []
    for strategy, seed, rate in product(("full-ft", "lp-ft"), range(3), GRID):
        validation, test = rng.random(), rng.random()
        test = test if noise is None else other.random()
        runs.append(trial(rate, validation, test, strategy=strategy, seed=seed, split=seed))
    return runs


def test_noise_in_place_of_test_figures_leaves_every_choice_as_it_was():
    before, by_hand = board_of(study()), {}
    for run in study():
        key = (run.spec.strategy, run.spec.seed, run.spec.seed)
        value, rate = run.validation[METRIC].value, run.spec.settings.get("rate", 1.0)
        by_hand[key] = max(by_hand.get(key, (-1.0, 0.0)), (value, rate))
    assert chosen(before) == {key: rate for key, (_, rate) in by_hand.items()}
    for noise in range(5):
        after = board_of(study(noise))
        assert chosen(after) == chosen(before)
        told = [[row.tuning for row in tracks(board)[0].rows] for board in (before, after)]
        assert sorted(map(str, told[0])) == sorted(map(str, told[1]))
        assert after.tracks[0].rows != before.tracks[0].rows
    without = [run.model_copy(update={"metrics": {}}) for run in study()]
    assert chosen(board_of(without)) == chosen(before)


def test_a_trial_that_was_not_chosen_is_nowhere():
    """But the untuned one, in the track of untuned runs, each run of a study is shown if chosen."""
    runs = study()
    board = board_of(runs)
    picks = chosen(board)
    hidden = [
        run
        for run in runs
        if (rate := run.spec.settings.get("rate", 1.0)) != 1.0
        and picks[run.spec.strategy, run.spec.seed, run.spec.protocol.split_seed] != rate
    ]
    shown = {run.run_id for run in runs} - {run.run_id for run in hidden}
    assert {run.run_id for run in board.runs} == shown
    assert len(hidden) >= 2 * 3 * 2
    page = page_data(board, runs, None)
    texts = [formats.render(board, name) for name in ("csv", "json", "md", "terminal", "latex")]
    texts.append(json.dumps(page))
    for text, run in product(texts, hidden):
        assert run.run_id not in text
        assert str(run.metrics[METRIC].value) not in text
        assert f"{100 * run.metrics[METRIC].value:.6f}"[:7] not in text
    assert all(run_id in texts[0] for run_id in shown)


def test_the_untuned_track_beside_a_tuned_one_is_that_of_the_untuned_suite():
    runs = study()
    plain_runs = [run for run in runs if not run.spec.settings]
    suite = made_suite(name="fair")
    alone = build_leaderboard(plain_runs, made_plan(plain_runs, suite).model_copy(
        update={"runs": tuple(PlannedRun.of(run.spec, "xray") for run in plain_runs)}
    ))  # fmt: skip
    _, beside = tracks(board_of(runs))
    (track,) = alone.tracks
    # Its title says what tells it from the other track.
    assert "one common rate" in beside.title
    same = beside.model_copy(update={"title": track.title})
    assert same.model_dump_json() == track.model_dump_json()


def test_the_order_of_the_files_makes_no_difference():
    runs, plan = study(), planned(study())
    first = board_of(runs, plan)
    for seed in range(3):
        mixed = runs[:]
        random.Random(seed).shuffle(mixed)
        lines = list(plan.runs)
        random.Random(seed).shuffle(lines)
        assert board_of(mixed, plan.model_copy(update={"runs": tuple(lines)})) == first


def test_two_suites_may_share_runs():
    """The untuned one of `paper-2024` in the folder of `paper-2024-fair` is one run, asked for twice."""
    runs = [trial(rate, 0.5 + rate / 10) for rate in GRID]
    plan = planned(runs)
    untuned = PlannedRun.of(runs[0].spec, "xray")
    both = plan.model_copy(update={"runs": (untuned, *plan.runs)})
    assert [t.rows for t in board_of(runs, both).tracks] == [t.rows for t in board_of(runs).tracks]


# -- what the row says --------------------------------------------------------------------------


def epochs(*lengths):
    return tuple(
        EpochRecord(phase="ft", epoch=n, train_loss=1.0, score=0.5, lr=1e-3, seconds=0.1)
        for n in lengths
    )


def test_the_figures_of_a_tuned_row_by_hand():
    """Five seeds: .1 twice, .3 once, 3 twice; of three the best epoch was the last."""
    values = {
        0: (0.2, 0.4, 0.6, 0.8), 1: (0.2, 0.4, 0.6, 0.8), 2: (0.2, 0.4, 0.8, 0.6),
        3: (0.2, 0.8, 0.4, 0.6), 4: (0.2, 0.8, 0.4, 0.6),
    }  # fmt: skip
    tested = ["best on validation: phase ft, epoch 3", "last epoch"]
    tested += ["best on validation: phase ft, epoch 2", "best on validation: phase ft, epoch 3"]
    tested += ["best on validation: phase lp, epoch 1.5"]
    runs = [
        trial(rate, value, seed=seed, tested=tested[seed], history=epochs(1, 2, 3), seconds=2.0)
        for seed, given in values.items()
        for rate, value in zip(GRID, given, strict=True)
    ]
    (row,) = tracks(board_of(runs))[0].rows
    told = row.tuning
    assert (told.trials, told.knob, told.diverged) == (4, "", 0)
    assert told.chosen == {"0.1": 2, "0.3": 1, "3": 2}
    assert list(told.chosen) == ["0.1", "0.3", "3"]
    assert told.edge == 4 / 5
    assert told.last_epoch == 3 / 5
    assert told.seconds == pytest.approx(5 * 4 * 2.0)
    assert row.spend.seconds == pytest.approx(5 * 2.0)
    # Best of n of .2 .4 .6 .8 drawn with replacement: P(all n at most the k-th) = (k/4)^n.
    expected = [
        100 * sum(v * ((k / 4) ** n - ((k - 1) / 4) ** n) for k, v in enumerate((0.2, 0.4, 0.6, 0.8), 1))
        for n in (1, 2, 3, 4)
    ]  # fmt: skip
    assert told.best_so_far == pytest.approx(expected)
    assert told.best_so_far[0] == pytest.approx(50.0)


def test_a_row_with_one_trial_has_no_edge():
    runs = [trial(rate, 0.5) for rate in GRID]
    alone = trial(1.0, 0.7, strategy="linear-probe", spec={"settings": {"solver": "logistic"}})
    plan = planned(runs)
    line = PlannedRun.of(alone.spec, "xray", 0, ())
    board = board_of([*runs, alone], plan.model_copy(update={"runs": (*plan.runs, line)}))
    tuned, _ = tracks(board)
    told = {row.strategy: row.tuning for row in tuned.rows}
    assert (told["linear-probe"].trials, told["linear-probe"].edge) == (1, 0.0)
    assert told["linear-probe"].best_so_far == (pytest.approx(70.0),)
    assert told["full-ft"].trials == 4
    assert all(row.ranked for row in tuned.rows)


@pytest.mark.parametrize("own", [0.25, "slow"])
def test_a_rate_of_the_plugins_own_is_no_multiple_of_the_protocols(own):
    runs = [trial(rate, 0.5) for rate in GRID]
    alone = trial(1.0, 0.7, strategy="moody", spec={"settings": {"rate": own}})
    plan = planned(runs)
    line = PlannedRun.of(alone.spec, "xray", 0, ())
    board = board_of([*runs, alone], plan.model_copy(update={"runs": (*plan.runs, line)}))
    told = {row.strategy: (row.tuning.chosen, row.settings) for row in tracks(board)[0].rows}
    assert told["moody"] == ({"1": 1}, {"rate": own})


def test_a_row_is_named_without_what_its_trials_differ_in():
    """`alpha` is tried and says nothing of the row; `beta` is set and does."""

    def l2(rate, alpha, beta):
        settings = {"alpha": alpha, "beta": beta} | ({} if rate == 1.0 else {"rate": rate})
        return trial(rate, 0.5, strategy="l2-sp", spec={"settings": settings})

    runs = [l2(*one, beta) for beta in (0.01, 0.1) for one in ((1.0, 0.01), (3.0, 0.5), (0.3, 0.2))]
    tuned, plain = tracks(board_of(runs, planned(runs, tuned=("rate", "alpha"))))
    assert sorted(row.label for row in tuned.rows) == ["l2-sp (beta=0.01)", "l2-sp (beta=0.1)"]
    assert {json.dumps(row.settings) for row in tuned.rows} == {'{"beta": 0.01}', '{"beta": 0.1}'}
    assert {row.tuning.knob for row in tuned.rows} == {"alpha"}
    assert all(row.tuning is None for row in plain.rows)
    assert {json.dumps(row.settings) for row in plain.rows} == {
        '{"alpha": 0.01, "beta": 0.01}',
        '{"alpha": 0.01, "beta": 0.1}',
    }


def test_seconds_of_packed_runs_are_not_told():
    runs = [trial(rate, 0.5) for rate in GRID]
    runs[2] = runs[2].model_copy(update={"cost": runs[2].cost.model_copy(update={"packed": True})})
    (row,) = tracks(board_of(runs))[0].rows
    assert row.tuning.seconds is None


@pytest.mark.parametrize(("at_edge", "warned"), [(0, False), (1, False), (2, True), (5, True)])
def test_more_than_a_fifth_at_the_edge_is_a_warning(at_edge, warned):
    runs = [
        trial(rate, 0.9 if rate == (0.1 if seed < at_edge else 1.0) else 0.5, seed=seed)
        for seed in range(5)
        for rate in GRID
    ]
    board = board_of(runs)
    assert tracks(board)[0].rows[0].tuning.edge == at_edge / 5
    for name in ("md", "terminal"):
        text = " ".join(formats.render(board, name).replace(">", " ").split())
        told = "The edge of the grid was chosen in more than a fifth of the runs of full-ft" in text
        assert told == warned


# -- splits and label budgets -------------------------------------------------------------------


def split_runs(splits=3, strategies=("full-ft", "lp-ft")):
    return [
        trial(1.0, 0.5, 0.5 + 0.1 * split, strategy=strategy, seed=seed, split=split)
        for strategy, split, seed in product(strategies, range(splits), (0, 1))
    ]


def test_runs_of_several_splits_are_one_row_of_one_block():
    runs = split_runs()
    board = build_leaderboard(runs)
    (track,) = board.tracks
    (block,) = track.blocks
    assert block.pairs == tuple(product(range(3), (0, 1)))
    assert block.seeds == (0, 1)
    assert block.data == sha("data", 0)
    assert [(row.runs, row.wanted, row.ranked) for row in track.rows] == [(6, 6, True)] * 2
    assert track.rows[0].value == pytest.approx(0.6)
    assert track.protocol.split_seed == 0
    assert {run.split for run in board.runs} == {0, 1, 2}


def test_a_track_is_the_same_whatever_splits_it_has():
    one = build_leaderboard(split_runs(1)).tracks[0]
    three = build_leaderboard(split_runs()).tracks[0]
    last = build_leaderboard(split_runs()[-2:]).tracks[0]
    assert one.id == three.id == last.id
    assert last.protocol.split_seed == 2
    assert one.blocks[0].pairs == ()


def test_other_samples_are_another_block_and_other_splits_of_them_are_not():
    others = [
        run.model_copy(
            update={
                "run_id": f"{number:016x}",
                "spec": run.spec.model_copy(update={"data": sha("other", run.spec.data)}),
                "data": run.data.model_copy(
                    update={"samples": "o" * 64, "fingerprint": sha("other", run.spec.data)}
                ),
            }
        )
        for number, run in enumerate(split_runs())
    ]
    board = build_leaderboard([*split_runs(), *others])
    (track,) = board.tracks
    assert [block.pairs for block in track.blocks] == [tuple(product(range(3), (0, 1)))] * 2
    assert {block.data for block in track.blocks} == {sha("data", 0), sha("other", sha("data", 0))}
    assert len({block.label for block in track.blocks}) == 2
    assert len(board.data) == 2


def test_runs_that_do_not_record_their_samples_stay_apart():
    """What is not known to be the same is not taken for it."""
    runs = [
        run.model_copy(update={"data": run.data.model_copy(update={"samples": ""})})
        for run in split_runs()
    ]
    (track,) = build_leaderboard(runs).tracks
    assert len(track.blocks) == 3


def test_notes_on_data_tell_of_the_splits_once():
    (note,) = build_leaderboard(split_runs()).data
    assert note.rule == "3 random splits, the first: made, split 0"
    assert note.fingerprint == sha("data", 0)
    assert note.label == "demo-xray"
    (alone,) = build_leaderboard(split_runs(1)).data
    assert alone.rule == "made, split 0"


def test_a_gap_names_its_split():
    runs = split_runs()
    gone = runs.pop(-1)
    board = build_leaderboard(
        runs,
        Plan(
            suites={"demo": made_suite()},
            runs=tuple(PlannedRun.of(run.spec, "xray") for run in [*runs, gone]),
        ),
    )
    (track,) = board.tracks
    (row,) = (row for row in track.rows if not row.ranked)
    assert [(gap.kind, gap.seed, gap.split) for gap in row.gaps] == [("missing", 1, 2)]
    for name in ("md", "terminal"):
        assert "split 2" in formats.render(board, name)
    crashed = made_failure(strategy="lp-ft", seed=1, spec=gone.spec.model_dump(
        include={"protocol", "data"}
    ))  # fmt: skip
    board = build_leaderboard(runs, None, [crashed])
    (row,) = (row for row in board.tracks[0].rows if not row.ranked)
    assert [(gap.kind, gap.seed, gap.split) for gap in row.gaps] == [("failed", 1, 2)]


def test_label_budgets_are_blocks_of_their_own():
    runs = [
        trial(1.0, 0.5, value, strategy=strategy, seed=seed, spec={"labels": labels})
        for (labels, value), strategy, seed in product(
            (("10%", 0.3), ("200", 0.5), (None, 0.7)), ("full-ft", "lp-ft"), (0, 1)
        )
    ]
    board = build_leaderboard(runs)
    (track,) = board.tracks
    assert {block.label: block.labels for block in track.blocks} == {
        "demo-xray / resnet50-mini": None,
        "demo-xray / resnet50-mini (10% labels)": "10%",
        "demo-xray / resnet50-mini (200 labels)": "200",
    }
    found = {cell.block: cell.value for cell in track.rows[0].blocks}
    assert sorted(found.values()) == pytest.approx([0.3, 0.5, 0.7])
    assert {run.labels for run in board.runs} == {"10%", "200", None}
    assert len(board.data) == 1


def test_boards_of_untuned_suites_say_nothing_new():
    """Fields that came later are left out of the file while they say nothing."""
    text = formats.render(build_leaderboard(made_product(("demo-xray",), seeds=(0, 1))), "json")
    for name in ("tuned", "tuning", "pairs", "labels", "trial", "split"):
        assert f'"{name}":' not in text
    header = formats.render(build_leaderboard(made_product(("demo-xray",))), "csv").splitlines()[0]
    assert not {"split", "labels", "trial"} & set(header.split(","))


def test_sorting_without_a_plan_takes_every_rate_for_a_row_of_its_own():
    """Whether a run was a trial only the plan says."""
    runs = [trial(rate, 0.5) for rate in GRID]
    (track,) = sort_runs(runs, None).tracks
    assert len(track.runs) == 4
    assert not track.key.tuned
