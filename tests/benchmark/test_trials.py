"""Trials of a tuned suite: which settings, in which order; seeds, splits, label budgets; ids."""

from itertools import pairwise, product
from typing import Annotated

import pytest
from run_ids import made

from harness import (
    NumericMode,
    Phase,
    Protocol,
    Search,
    SolveHead,
    Strategy,
    Suite,
    Tuning,
    UsageError,
)
from harness.api.records import PlannedRun
from harness.api.strategy import rate_of, settings_of, shares_rate
from harness.benchmark.identity import divisions, run_specs
from harness.benchmark.request import BenchRequest
from harness.benchmark.suite.resolve import resolve_suite
from harness.benchmark.suite.trials import holds_rate, label_budgets, seed_pairs, trials_of
from harness.data.preparation.info import DatasetInfo
from harness.plugins.registry import load_plugins
from harness_auto_rgn import AutoRGN
from harness_full_ft import FullFineTuning
from harness_gradual_unfreezing import FirstToLast, LastToFirst
from harness_linear_probe import LinearProbe
from harness_lp_ft import LpFt
from harness_starting_point import L1SP, L2SP

GRID = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


def tuning(*grid, **changes):
    return Tuning(grid=grid or GRID, **changes)


def rates(trials):
    return [trial.settings.get("rate", 1.0) for trial in trials]


@pytest.fixture(scope="module")
def loaded():
    return load_plugins()


class OwnRate(Strategy):
    """A plugin of before the shared rate: its `rate` means something else."""

    name = "own-rate"
    rate: float = 0.25

    def phases(self, model, epochs):
        yield Phase("ft", epochs, {"*": self.rate})


class Heir(OwnRate):
    name = "heir"


class Curious(Strategy):
    """Looks at gradients before its first phase."""

    name = "curious"

    def phases(self, model, epochs):
        next(iter(model.gradients(1)))
        yield Phase("ft", epochs, {"*": 1.0})


class Solver(Strategy):
    """No step at all; `patient` asks again and again."""

    name = "solver"
    times: int = 1

    def phases(self, model, epochs):
        for number in range(self.times):
            yield SolveHead(f"solve-{number}", (1.0,))


# -- the order and the settings of trials -------------------------------------------------------


def test_a_suite_that_does_not_tune_has_one_run_that_is_no_trial():
    (only,) = trials_of(L2SP(), None)
    assert (only.number, only.tuned) == (None, ())
    assert only.settings == {"alpha": 0.01, "beta": 0.01, "include": "kernels"}


def test_the_grid_is_tried_from_the_protocols_rate_outwards():
    trials = trials_of(FullFineTuning(), tuning())
    assert rates(trials) == [1.0, 3.0, 0.3, 0.1, 10.0, 30.0, 0.03, 0.01]
    assert [trial.number for trial in trials] == list(range(8))
    assert {trial.tuned for trial in trials} == {("rate",)}
    assert trials[0].settings == {}  # as untuned suites write it: the same run


def test_the_order_of_a_smaller_grid_is_the_beginning_of_that_of_a_larger_one():
    small = rates(trials_of(FullFineTuning(), tuning(0.1, 0.3, 1.0, 3.0)))
    large = rates(trials_of(FullFineTuning(), tuning()))
    assert small == large[:4]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 8])
@pytest.mark.parametrize(
    ("strategy", "knob"), [(L1SP(), "alpha"), (L2SP(), "alpha"), (LpFt(), "ft_rate")]
)
def test_a_knob_takes_no_more_trials_and_leaves_each_rate_once(strategy, knob, count):
    grid = (1.0, *[one for one in GRID if one != 1.0][: count - 1])
    trials = trials_of(strategy, tuning(*grid, knobs={strategy.name: knob}))
    assert sorted(rates(trials)) == sorted(grid)
    assert trials[0].settings == settings_of(strategy)
    assert {trial.tuned for trial in trials} == {("rate", knob)}
    values = [trial.settings[knob] for trial in trials]
    assert len(set(values)) == len(values)
    low, high = (0.01, 1.0) if knob == "ft_rate" else (1e-6, 1.0)
    assert all(low <= value <= high for value in values)


def test_trials_of_a_suite_with_knobs_are_these_for_ever(loaded):
    """Ids of stored runs hang on them: another sequence, or another rounding, loses results."""
    suite = loaded.suites["fair-quick"]
    found = {
        kind.name: [
            (one.settings.get("rate", 1.0), one.settings[suite.tuning.knobs[kind.name]])
            for one in trials_of(kind(), suite.tuning)
        ]
        for kind in (L1SP, L2SP, LpFt)
    }
    assert found == {
        "l1-sp": [(1.0, 1e-05), (0.3, 0.00359), (3.0, 0.149), (0.1, 3.7e-05)],
        "l2-sp": [(1.0, 0.01), (0.3, 0.00359), (3.0, 0.149), (0.1, 3.7e-05)],
        "lp-ft": [(1.0, 1.0), (0.3, 0.153), (3.0, 0.531), (0.1, 0.0333)],
    }
    assert rates(trials_of(AutoRGN(), suite.tuning)) == [1.0, 3.0, 0.3, 0.1]


def test_sobol_draws_rates_between_the_ends_of_the_grid():
    trials = trials_of(FullFineTuning(), tuning(0.1, 1.0, 10.0, 100.0, sampler="sobol"))
    assert rates(trials) == [1.0, 5.45, 71.1, 0.23]
    with_knob = trials_of(
        LpFt(), tuning(0.1, 1.0, 10.0, 100.0, sampler="sobol", knobs={"lp-ft": "probe"})
    )
    assert rates(with_knob) == rates(trials)
    assert [one.settings["probe"] for one in with_knob] == [0.5, 0.13, 0.79, 0.309]


# -- strategies that the shared rate does not reach ---------------------------------------------


def test_the_rate_of_a_plugin_of_its_own_is_not_tuned():
    assert [shares_rate(kind) for kind in (FullFineTuning, OwnRate, Heir)] == [True, False, False]
    (only,) = trials_of(OwnRate(), tuning())
    assert (only.number, only.tuned, only.settings) == (0, (), {"rate": 0.25})
    assert rate_of(OwnRate(rate=4.0)) == 1.0
    assert rate_of(FullFineTuning(rate=4.0)) == 4.0


def test_a_head_that_is_solved_for_has_one_trial():
    (only,) = trials_of(LinearProbe(solver="logistic"), tuning())
    assert (only.number, only.tuned) == (0, ())
    assert only.settings == {"head_scope": "last", "solver": "logistic"}


def test_a_knob_alone_is_tried_as_often_as_the_grid_has_rates():
    class Tuned(LinearProbe):
        name = "tuned"
        rate: float = 1.0
        strength: Annotated[float, Search(0.01, 1.0, log=True)] = 1.0

    trials = trials_of(Tuned(), tuning(0.1, 0.3, 1.0, 3.0, knobs={"tuned": "strength"}))
    assert [one.settings["strength"] for one in trials] == [1.0, 0.153, 0.531, 0.0333]
    assert {one.tuned for one in trials} == {("strength",)}


@pytest.mark.parametrize(
    ("strategy", "holds"),
    [
        (FullFineTuning(), True),
        (LinearProbe(), True),
        (LinearProbe(solver="logistic"), False),
        (LpFt(solver="logistic"), True),
        (LastToFirst(), True),
        (FirstToLast(), True),
        (L1SP(), True),
        (L2SP(), True),
        (AutoRGN(), True),
        (Curious(), True),
        (Solver(times=3), False),
        (Solver(times=10_000), True),  # nobody asks for ever
        (OwnRate(), False),
    ],
)
def test_which_strategies_hold_a_rate(strategy, holds):
    assert holds_rate(strategy) == holds


# -- refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"l2-sp": "alpa"}, r"tuning.knobs: l2-sp has no setting 'alpa'; did you mean 'alpha'"),
        ({"l2-sp": "include"}, r"l2-sp.include declares no range to search \(`Search`\)"),
        ({"l2-sp": "rate"}, r"l2-sp.rate is tried by the grid already"),
    ],
)
def test_a_knob_that_cannot_be_searched_is_refused(knobs, message):
    with pytest.raises(UsageError, match=message):
        trials_of(L2SP(), tuning(knobs=knobs))


@pytest.mark.parametrize("grid", [(), (0.1, 3.0), (0.1, 1.0, 0.1), (0.0, 1.0), (-1.0, 1.0)])
def test_a_grid_without_the_protocols_rate_or_with_one_twice_is_refused(grid):
    with pytest.raises(ValueError, match=r"1 \(the protocol's rate\) among them|greater than 0"):
        Tuning(grid=grid)


def test_what_cannot_be_tried_is_told_before_data_are_read(loaded):
    with pytest.raises(UsageError) as error:
        resolve_suite(BenchRequest(suite="demo-fair", sets=("full-ft.rate=3",)), loaded)
    assert str(error.value).startswith("full-ft.rate = 3 is set, and the suite tunes it: the grid")
    assert str(error.value).endswith("set protocol.lr instead")
    resolve_suite(BenchRequest(suite="demo-fair", sets=("full-ft.rate=1",)), loaded)
    resolve_suite(BenchRequest(suite="demo", sets=("full-ft.rate=3",)), loaded)


def test_a_number_of_trials_is_refused_where_nothing_is_tuned(loaded):
    with pytest.raises(UsageError, match=r"--trials 2: suite 'demo' does not tune; leave it out"):
        resolve_suite(BenchRequest(suite="demo", trials=2), loaded)


def test_more_trials_than_the_suite_gives_are_refused(loaded):
    with pytest.raises(
        UsageError, match=r"--trials 5: suite 'demo-fair' gives each strategy 4 trials"
    ):
        resolve_suite(BenchRequest(suite="demo-fair", trials=5), loaded)
    assert resolve_suite(BenchRequest(suite="demo-fair", trials=4), loaded).request.trials == 4


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ("[tuning]\ngrid = [0.1, 3]", "1 (the protocol's rate) among them"),
        ("[tuning]\ngrid = [1]\nsampel = 'grid'", "sampel"),
        ("[tuning]\ngrid = [1]\nknobs = {l2-ps = 'alpha'}", "did you mean 'l2-sp'"),
        ("[tuning]\ngrid = [1]\nselection = 'acuracy'", "did you mean 'accuracy'"),
        ("[tuning]\ngrid = [1]\nknobs = {l2-sp = 'alhpa'}", "did you mean 'alpha'"),
        ("labels = ['0%']", "a label budget is a share"),
        ("labels = ['some']", "labels"),
        ("splits = 0", "splits"),
    ],
)
def test_a_suite_file_that_asks_for_what_there_is_not_is_refused(tables, message, loaded, tmp_path):
    (tmp_path / "own.toml").write_text(f"extends = 'demo'\n{tables}\n")
    with pytest.raises(UsageError) as error:
        resolve_suite(BenchRequest(suite=str(tmp_path / "own.toml")), loaded)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"splits": ("five",)}, r"--splits five: give a number of random splits, paired"),
        ({"splits": ("0",)}, r"--splits 0: give a number"),
        ({"splits": ("paired",), "seeds": (-1, 2)}, r"give seeds of 0 or more"),
        ({"labels": ("ten",)}, r"--labels: .*ten"),
        ({"labels": ("101%",)}, r"a share of the training images \(10%\) or a count \(200\)"),
    ],
)
def test_splits_and_labels_that_are_none_are_refused(request_, message, loaded):
    with pytest.raises(UsageError, match=message):
        resolve_suite(BenchRequest(suite="demo", **request_), loaded)


# -- seeds, splits, budgets ---------------------------------------------------------------------


def suite(**changes):
    given = {"name": "s", "protocol": Protocol(name="s", split_seed=2), "seeds": (5, 7)}
    return Suite(**(given | changes))


@pytest.mark.parametrize(
    ("splits", "pairs"),
    [
        (1, ((5, 2), (7, 2))),
        (3, ((5, 2), (7, 2), (5, 3), (7, 3), (5, 4), (7, 4))),
        ("paired", ((5, 5), (7, 7))),
    ],
)
def test_seeds_and_splits(splits, pairs):
    assert seed_pairs(suite(splits=splits)) == pairs


@pytest.mark.parametrize(
    ("labels", "budgets"),
    [
        ((), (None,)),
        (("100%",), (None,)),
        (("10%", "100%"), ("10%", None)),
        (("10.0%", "010", "10"), ("10%", "10")),
        (("10%", "10.0%", "100%", "100.0%"), ("10%", None)),
    ],
)
def test_label_budgets(labels, budgets):
    """One that is written twice is one: no run is made, or counted, twice."""
    chosen = suite(labels=labels)
    assert label_budgets(chosen) == budgets
    assert all(len(set(seeds)) == len(seeds) for seeds in divisions(chosen).values())


# -- ids ----------------------------------------------------------------------------------------


def planned(loaded, *, mirrors=(), **request):
    """(specs, trials by id) of `demo-fair`, were its data and weights those that are made up here."""
    given = {"suite": "demo-fair", "weights": "none", "strategies": ("full-ft", "l2-sp")}
    resolved = resolve_suite(BenchRequest(**(given | request)), loaded)
    for name in mirrors:
        resolved.datasets[name] = resolved.datasets[name].model_copy(update={"mirrors": True})
    chosen = resolved.suite
    datasets = {
        name: DatasetInfo(
            (), {}, made(name), decoded=True,
            others={
                one: DatasetInfo((), {}, made(f"{name} {one.split}"), decoded=True)
                for one in divisions(chosen)
            },
        )
        for name in chosen.datasets
    }  # fmt: skip
    numeric = dict.fromkeys(product(chosen.datasets, chosen.backbones), NumericMode())
    found = run_specs(resolved, loaded, numeric, datasets, dict.fromkeys(chosen.backbones))
    return found.specs, found.trials


def ids(specs):
    return [spec.run_id for spec in specs]


def test_the_untuned_trial_is_the_run_of_the_untuned_suite(loaded):
    both = {"datasets": ("demo-histology",), "backbones": ("resnet50-mini",), "seeds": (0,)}
    tuned, trials = planned(loaded, **both)
    plain, _ = planned(loaded, suite="demo", **both)
    plain = [spec for spec in plain if spec.protocol.split_seed == 0]
    untuned = [spec for spec in tuned if trials[spec.run_id].number == 0]
    assert len(plain) == 2
    # In `demo` the data are those of the protocol's own split, here those of split 0.
    same = {"data": "d"}
    assert ids(s.model_copy(update=same) for s in untuned) == ids(
        s.model_copy(update=same) for s in plain
    )


def test_what_moves_an_id_and_what_does_not(loaded):
    specs, _ = planned(loaded)
    one = specs[0]
    assert "labels" not in one.model_dump()
    assert "mirrored" not in one.model_dump()
    moved = [
        one.model_copy(update={"labels": "10%"}),
        one.model_copy(update={"labels": "10"}),
        one.model_copy(update={"mirrored": True}),
        one.model_copy(update={"protocol": one.protocol.model_copy(update={"split_seed": 9})}),
        one.model_copy(update={"settings": {"rate": 3.0}}),
    ]
    assert len({one.run_id, *ids(moved)}) == 6
    kept = one.model_copy(update={"labels": None, "mirrored": False})
    assert kept.run_id == one.run_id
    assert settings_of(FullFineTuning(rate=1.0)) == {}


def test_a_line_of_a_plan_says_no_more_than_it_has_to():
    """Plans of untuned suites are written as they were before."""
    spec = planned(load_plugins())[0][0]
    plain = PlannedRun.of(spec, "m")
    assert not {"split", "labels", "trial", "tuned"} & set(plain.model_dump())
    first = PlannedRun.of(spec, "m", 0, ("rate",))
    assert first.model_dump()["trial"] == 0
    assert first.key != plain.key


def test_fewer_trials_first_are_the_beginning_of_all(loaded):
    some, told = planned(loaded, trials=2)
    everything, trials = planned(loaded)
    assert len(everything) == 2 * len(some) == 2 * 3 * 2 * 4
    assert set(ids(some)) == {one for one in ids(everything) if trials[one].number < 2}
    assert all(trials[one].number == trial.number for one, trial in told.items())


def test_a_split_has_its_own_data_and_its_own_seed(loaded):
    specs, _ = planned(loaded)
    assert {(spec.seed, spec.protocol.split_seed) for spec in specs} == {(k, k) for k in range(3)}
    by_split = {spec.protocol.split_seed: spec.data for spec in specs if "hist" in spec.dataset}
    assert by_split == {k: made(f"demo-histology {k}") for k in range(3)}


def test_runs_of_one_network_and_one_division_follow_one_another(loaded):
    """What they share is let go between groups."""
    specs, _ = planned(loaded, labels=("50%", "100%"))
    groups = [
        (spec.labels, spec.protocol.split_seed, spec.dataset, spec.backbone) for spec in specs
    ]
    changes = sum(one != other for one, other in pairwise(groups))
    assert changes == len(set(groups)) - 1 == 2 * 3 * 2 - 1


def test_only_a_set_that_allows_it_is_mirrored(loaded):
    augment = ('protocol.augment=["flip-where-allowed"]',)
    specs, _ = planned(loaded, mirrors=("demo-histology",), sets=augment)
    assert {spec.dataset: spec.mirrored for spec in specs} == {
        "demo-histology": True,
        "demo-dermoscopy": False,
    }
    plain, _ = planned(loaded, mirrors=("demo-histology",))
    assert not any(spec.mirrored for spec in plain)


def test_no_set_is_mirrored_in_which_sides_count(loaded):
    mirrored = {name for name, dataset in loaded.datasets.items() if dataset.mirrors}
    kinds = {loaded.datasets[name].modality for name in mirrored}
    assert kinds <= {"histology", "dermoscopy", "endoscopy", "surgery"}
