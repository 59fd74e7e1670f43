"""Forecasts of a plan: seconds from records and probes, and the difference it can decide."""

import shlex
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from command import Cli, bench
from simulated_boards import boards
from toys import ToyBackbone, toy_run

from harness import NumericMode
from harness.api.records import CostFigures
from harness.benchmark.forecast import probe as probing
from harness.benchmark.forecast.probe import On, probe_networks
from harness.benchmark.forecast.reach import Design, reach
from harness.benchmark.forecast.seconds import Paces, Seen, estimate
from harness.benchmark.forecast.work import run_work, work_done
from harness.benchmark.preview.outlook import More, Outlook
from harness.engine import count_stages, run
from harness.plugins import provenance
from harness.plugins.registry import load_plugins
from harness.stats import Estimate, Gain, average_gain, least_found
from harness_full_ft import FullFineTuning
from harness_linear_probe import LinearProbe

COUNTS = {"train": 48, "validation": 24, "test": 24}
HERE = On("cpu", 1, "fast")


CARELESS = """
from harness import Strategy, hookimpl

class Careless(Strategy):
    name = "careless"

    def phases(self, model, epochs):
        raise ValueError("not today")
        yield

@hookimpl
def harness_strategies():
    return [Careless]
"""


def record(strategy=None, *, machine=None, **changes):
    """A finished toy run that took 6 seconds of work and 1.5 beside it."""
    spec, resources = toy_run(strategy or FullFineTuning(), **changes)
    result = run(spec, resources).result
    seconds = CostFigures(train=4, evaluate=1, features=1, load=1, total=7, write=0.5, decode=9)
    cost = result.cost.model_copy(
        update={"alone": seconds, "network": count_stages(ToyBackbone(), 8)}
    )
    place = provenance.environment("cpu").model_copy(
        update={"threads": 1, **({} if machine is None else {"machine": machine})}
    )
    return result.model_copy(update={"cost": cost, "environment": place})


def planned(strategy, counts=COUNTS, **protocol):
    spec, _ = toy_run(strategy, **protocol)
    network = count_stages(ToyBackbone(), 8)
    return spec, run_work(spec, strategy, network, counts, ToyBackbone().stages)


def told(spec, work, *results, jobs=1):
    return estimate(
        [spec], {spec.run_id: work}, Paces([Seen.of(one, HERE) for one in results]), jobs
    )


def test_the_same_run_takes_as_long_again():
    made = record()
    found = told(*planned(FullFineTuning()), made)
    assert found.expected == found.most == pytest.approx(7.5)
    assert found.bases == {"runs": ("toy",)}
    assert not found.patient


def test_twice_the_epochs_and_the_images_take_so_much_longer():
    made = record()
    (_, once), (_, work) = planned(FullFineTuning()), planned(FullFineTuning(), epochs=8)
    longer = told(*planned(FullFineTuning(), epochs=8), made)
    assert longer.expected == pytest.approx(6 * work.total / once.total + 1.5)
    assert 1.9 < (longer.expected - 1.5) / 6 < 2
    twice = {split: 2 * count for split, count in COUNTS.items()}
    assert told(*planned(FullFineTuning(), twice), made).expected == pytest.approx(13.5, rel=0.06)


ELSEWHERE = {
    "another machine": {"environment": {"machine": "another x 2"}},
    "a machine that is not recorded": {"environment": {"machine": ""}},
    "another device": {"environment": {"device": "cuda:0 (NVIDIA H200)"}},
    "other threads": {"environment": {"threads": 2}},
    "the reference engine": {"environment": {"engine": "reference"}},
    "a shared card": {"cost": {"packed": True}},
    "no network recorded": {"cost": {"network": ()}},
}


@pytest.mark.parametrize("changes", ELSEWHERE.values(), ids=ELSEWHERE)
def test_runs_made_otherwise_are_no_evidence(changes):
    made = record()
    assert Seen.of(made, HERE) is not None
    changed = {
        name: getattr(made, name).model_copy(update=update) for name, update in changes.items()
    }
    assert Seen.of(made.model_copy(update=changed), HERE) is None


def test_another_precision_is_no_evidence():
    spec, work = planned(FullFineTuning())
    half = spec.model_copy(update={"numeric": NumericMode(precision="bf16")})
    found = told(half, work, record())
    assert (found.counted, found.asked) == (0, 1)


def test_another_network_is_taken_for_want_of_its_own_and_said():
    spec, work = planned(FullFineTuning())
    other = spec.model_copy(update={"backbone": "other"})
    found = told(other, work, record())
    assert found.bases == {"other networks": ("other",)}
    assert found.expected == pytest.approx(7.5)


def test_the_nearest_runs_count():
    """The same pixels before others, and of these the same strategy."""
    far, near, same = (
        Seen(toy_run(strategy, crop=crop)[0], 1.0, seconds, 0.0, 1.0, "runs")
        for strategy, crop, seconds in ((FullFineTuning(), 16, 1), (LinearProbe(), 8, 2), (FullFineTuning(), 8, 4))
    )  # fmt: skip
    spec, _ = toy_run(FullFineTuning())
    probed = replace(same, seconds=100.0, basis="probe")
    assert Paces([probed]).of(spec).seconds == 100
    assert Paces([probed, far]).of(spec).seconds == 1
    assert Paces([probed, far, near]).of(spec).seconds == 2
    assert Paces([probed, far, near, same]).of(spec).seconds == 4


def test_patience_shortens_as_it_did_before():
    made = record(epochs=8, patience=1, lr=1e-6)
    done = work_done(made)
    share = made.phases[0].epochs / 8
    assert share < 1
    spec, work = planned(FullFineTuning(), epochs=8, patience=1, seed=1)
    found = told(spec, work, made)
    trained = work.total - work.test
    pace = 6 / done.total
    assert found.expected == pytest.approx(pace * (share * trained + work.test) + 1.5)
    assert found.most == pytest.approx(pace * work.total + 1.5)
    unknown = told(spec, work, record(epochs=4, patience=1))
    assert unknown.patient
    assert unknown.expected == unknown.most


def test_runs_side_by_side_share_the_time_but_none_is_cut():
    spec, work = planned(FullFineTuning())
    specs = [spec.model_copy(update={"seed": seed}) for seed in range(4)]
    works = {one.run_id: work for one in specs}
    paces = Paces([Seen.of(record(), HERE)])
    seconds = [estimate(specs, works, paces, jobs).expected for jobs in (1, 2, 8)]
    assert seconds == pytest.approx([30, 15, 7.5])


@pytest.mark.slow
def test_a_probe_sees_a_pace_and_leaves_no_trace():
    spec, _ = toy_run(FullFineTuning(), numeric=NumericMode())
    loaded = load_plugins(("toy_plugin",))
    spec = spec.model_copy(update={"protocol": spec.protocol.model_copy(update={"crop": 64})})
    before = torch.random.get_rng_state(), torch.get_num_threads()
    (counted,) = probe_networks([spec], loaded, HERE, 0.0)
    assert (counted.operations, counted.network) == (0, count_stages(ToyBackbone(), 64))
    (found,) = probe_networks([spec], loaded, HERE, 5.0)
    assert found.operations > 0
    assert found.seconds > 0
    assert not found.fault
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert torch.get_num_threads() == before[1]


@pytest.mark.slow
def test_a_network_that_would_take_too_long_is_tried_on_fewer_pixels_or_not(monkeypatch):
    spec, _ = toy_run(FullFineTuning(), numeric=NumericMode())
    spec = spec.model_copy(update={"protocol": spec.protocol.model_copy(update={"crop": 64})})
    tried = []
    noise = probing._noise
    monkeypatch.setattr(
        probing, "_noise", lambda size, px: tried.append((size, px)) or noise(size, px)
    )
    loaded = load_plugins(("toy_plugin",))
    whole = probing._foreseen(probing._spec(spec, 64, 4), count_stages(ToyBackbone(), 64))
    probe_networks([spec], loaded, HERE, 60.0)
    monkeypatch.setattr(probing, "PACE", probing.PACE * whole / 60 * 0.5)
    probe_networks([spec], loaded, HERE, 60.0)
    assert tried == [(4, 64), (4, 32)]
    monkeypatch.setattr(probing, "PACE", 1.0)
    (found,) = probe_networks([spec], loaded, HERE, 60.0)
    assert (found.operations, len(tried)) == (0, 2)


def test_a_network_that_cannot_be_built_is_named(monkeypatch):
    spec, _ = toy_run(FullFineTuning())
    loaded = load_plugins(("toy_plugin",))

    def build(*_):
        raise ValueError("no such layer")

    monkeypatch.setattr(type(loaded.backbones["toy"]), "build", build)
    (found,) = probe_networks([spec], loaded, HERE, 1.0)
    assert found.network == ()
    assert found.fault == "toy: ValueError: no such layer"


# -- what is decided ----------------------------------------------------------------------------


def sizes(name):
    """Class -> images of each group, of a test set of the simulations."""
    known = boards.test_set(name)
    return {
        str(label): tuple(Counter(known.groups[known.targets == label].tolist()).values())
        for label in np.unique(known.targets)
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sets", "seeds"), [(boards.REAL, 3), (("real-xray",), 3), (("real-endoscopy",), 5)]
)
def test_the_reach_is_that_of_boards_that_are_simulated(sets, seeds):
    board = boards.Board(seeds=seeds, spread=0.01, sets=sets)
    rng = np.random.default_rng(3)
    found = []
    for _ in range(6):
        blocks = boards.draw(rng, board)
        for row in range(1, len(boards.STRATEGIES)):
            gains = [
                Gain(
                    one.added[boards.METRIC][:, row] - one.added[boards.METRIC][:, 0],
                    one.strata, (one.dataset, one.backbone, str(row)), one.test_set,
                )
                for one in blocks
            ]  # fmt: skip
            found.append(least_found(average_gain(gains), len(boards.STRATEGIES) - 1))
    design = Design(tests=[sizes(name) for name in sets], networks=3, strategies=8, seeds=seeds)
    assert reach(design) == pytest.approx(np.median(found), rel=0.15)


DESIGN = Design(tests=[{"a": (1,) * 100, "b": (1,) * 100}], networks=1, strategies=2, seeds=3)


def test_more_of_anything_reaches_further_but_for_strategies_and_tracks():
    least = reach(DESIGN)
    for better in (
        replace(DESIGN, tests=DESIGN.tests * 2), replace(DESIGN, networks=2),
        replace(DESIGN, seeds=6), replace(DESIGN, tests=[{"a": (1,) * 200, "b": (1,) * 200}]),
    ):  # fmt: skip
        assert reach(better) < least
    for worse in (
        replace(DESIGN, strategies=3), replace(DESIGN, tracks=2),
        replace(DESIGN, tests=[{"a": (10,) * 10, "b": (10,) * 10}]),
        replace(DESIGN, seeds=1, splits=3, test_share=0.2),
    ):  # fmt: skip
        assert reach(worse) > least


def test_splits_help_less_the_more_of_the_images_they_test():
    """By hand: one test set, two classes of 100 images, each a group; three splits, one seed."""
    split = replace(DESIGN, seeds=1, splits=3, test_share=0.2)
    luck = 2 * 0.01**2 * (1 / 3 + 1 / 2 * 0.2 / 0.8)
    images, by_chance = 0.05 / 200, 0.12 / 200 / 3 + luck
    total = images + by_chance
    df = total**2 / (images**2 / 198 + by_chance**2 / 2)
    assert reach(split) == pytest.approx(least_found(Estimate(0.0, total**0.5, df, 3), 1))
    assert reach(replace(split, test_share=0.4)) > reach(split) > reach(replace(split, splits=6))


def test_images_of_a_group_count_for_less():
    """By hand: two classes of ten groups of ten images, alike by .4; three seeds."""
    grouped = replace(DESIGN, tests=[{"a": (10,) * 10, "b": (10,) * 10}])
    images = 0.05 / 200 * (1 + 9 * 0.4)
    by_chance = 0.12 / 200 / 3 + 2 * 0.01**2 / 3
    total = images + by_chance
    df = total**2 / (images**2 / 18 + by_chance**2 / 2)
    assert reach(grouped) == pytest.approx(least_found(Estimate(0.0, total**0.5, df, 3), 1))


@pytest.mark.parametrize(
    "changes",
    [{"seeds": 2}, {"seeds": 5, "splits": 2}, {"strategies": 1}, {"tests": []}, {"tests": [{"a": (5,), "b": (1, 1)}]}],
)  # fmt: skip
def test_nothing_is_decided(changes):
    assert reach(replace(DESIGN, **changes)) is None


# -- what a person reads ------------------------------------------------------------------------


@pytest.mark.slow
def test_one_seed_decides_nothing_and_the_command_that_would_can_be_typed(tmp_path):
    said = bench(tmp_path, "--dry-run", "--set", "protocol.lr=0.02", "--epochs", "1.5").stdout
    assert "one seed decides nothing: with 3, differences to full-ft from about " in said
    assert "assumed: two runs of one strategy that disagree on 12 %" in said
    (line,) = [one.strip() for one in said.splitlines() if one.startswith("  harness ")]
    words = shlex.split(line)
    assert words[-2:] == ["--out", str(tmp_path)] or f"--out {tmp_path}" in line
    again = Cli()(*words[1:], "--dry-run").stdout
    assert "9 runs = 1 dataset x 1 backbone x 3 strategies x 3 seeds" in again
    assert "0.02, batch 8" in again
    assert "at most 1.5 epochs" in again
    assert "smallest difference to full-ft that it can decide" in again
    assert "decides nothing" not in again


@pytest.mark.parametrize(
    ("decides", "now", "seeds"),
    [
        (
            0.057,
            "about 5.7 points (found in 80 %)",
            "with 3, differences to full-ft from about 5.7",
        ),
        (1.101, "none: it takes more test images", "and 3 would not: it takes more test images"),
    ],
)
def test_no_difference_is_said_that_no_two_scores_can_have(decides, now, seeds):
    """Four test images have an error of more than all points there are."""
    seconds = estimate([], {}, Paces([]), 1)
    plan = Outlook({}, seconds, 0.0, (), decides, None)
    assert plan.lines()[1].endswith(f"on average over its datasets: {now}")
    more = replace(plan, decides=None, more=More("harness bench x", decides, 0.0, 1, 3)).lines()
    assert seeds in more[1]
    assert ("  harness bench x" in more) == (decides < 1)


def test_a_strategy_that_cannot_be_asked_takes_only_its_own_runs_out_of_the_estimate(tmp_path):
    plugin = tmp_path / "careless_plugin.py"
    plugin.write_text(CARELESS)
    args = ("--dry-run", "-p", plugin, "--strategies")
    both = bench(tmp_path / "out", *args, "full-ft,careless").stdout
    alone = bench(tmp_path / "out", *args, "careless").stdout
    assert "estimated time for 1 of 2 runs: " in both
    assert "from a few batches tried here (toy)" in both
    assert "estimated time: unknown, for no run can be counted" in alone
    assert "6 runs" not in both
    assert "1 run = 1 dataset x 1 backbone x 1 strategy x 1 seed" in alone


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_call_begins_with_its_outlook(jobs, tmp_path):
    said = bench(tmp_path, jobs=jobs).stderr
    assert said.index("estimated time: ") < said.index("one seed decides nothing")
    assert "too little" in said or "so little is not worth a trial" in said
    assert "estimated time" not in bench(tmp_path, jobs=jobs).stderr  # nothing is left to do


def test_a_plan_that_compares_nothing_says_nothing_of_it(tmp_path):
    said = bench(tmp_path, "--dry-run", "--strategies", "full-ft").stdout
    assert "estimated time: " in said
    assert "decide" not in said


def test_the_kind_of_machine_is_read_without_a_name(tmp_path):
    listing = tmp_path / "cpuinfo"
    listing.write_text(
        "processor\t: 0\nmodel name\t: Fast One 9\nprocessor\t: 1\nmodel name\t: x\n"
    )
    from harness.utils.parallel import cores

    assert provenance.machine(listing) == f"Fast One 9 x {cores()}"
    assert provenance.machine(Path("/nowhere")).endswith(f" x {cores()}")
