"""Further test sets on a board: figures by hand, intervals by loops, and boards without as before."""

import csv
import io
import itertools
import json
from types import SimpleNamespace

import numpy as np
import pytest
from made import PROTOCOL, made_plan, made_result, sha
from scipy import stats as scipy_stats

from harness.api.execution import Predictions
from harness.api.records import ExternalRecord, MetricValue, PredictionsRecord
from harness.leaderboard import drops
from harness.leaderboard.build import build_leaderboard
from harness.leaderboard.html import page_data
from harness.leaderboard.render import formats

NAME = "ward-a"


def record(value, *, data="d", counts=(5, 5), **more):
    """A further test set of classes a and b as a run predicted it."""
    given = {
        "modality": "xray",
        "classes": ("a", "b"),
        "counts": {"test": dict(zip("ab", counts, strict=True))},
        "fingerprint": sha(data),
        "split_file": "splits/demo-xray.external-ward-a.json",
        "split_sha256": sha("split", data),
        "rule": "a further test set: every image",
        "metrics": {
            "balanced-accuracy": MetricValue(value=value),
            "accuracy": MetricValue(value=value),
        },
        "predictions": PredictionsRecord(file="x", sha256="y"),
    }
    return ExternalRecord(**(given | more))


def results(values, backbones=("resnet50-mini",), strategies=("full-ft", "lp-ft"), seeds=(0, 1)):
    """Runs with `values` by (backbone, strategy, seed) on the further set, None: it lacks it."""
    found = []
    for key in itertools.product(backbones, strategies, seeds):
        value = values.get(key)
        external = {} if value is None else {NAME: record(value)}
        backbone, strategy, seed = key
        found.append(made_result("demo-xray", backbone, strategy, seed, 0.8, external=external))
    return found


def board(runs):
    return build_leaderboard(runs, made_plan(runs))


def rows(runs):
    (track,) = board(runs).tracks
    return {row.label: row for row in track.rows}


ALL = {
    ("resnet50-mini", "full-ft", 0): 0.5,
    ("resnet50-mini", "full-ft", 1): 0.7,
    ("resnet50-mini", "lp-ft", 0): 0.9,
    ("resnet50-mini", "lp-ft", 1): 0.8,
}


def test_a_row_has_the_mean_over_its_seeds_beside_that_of_the_test_split():
    (one,) = rows(results(ALL))["full-ft"].external
    assert (one.dataset, one.name, one.runs, one.wanted) == ("demo-xray", NAME, 2, 2)
    assert one.value == pytest.approx(0.6)
    assert one.internal == pytest.approx(0.8)


def test_backbones_are_averaged_each_with_its_seeds():
    more = {("vgg19-mini", strategy, seed): 0.1 for _, strategy, seed in ALL}
    given = results(ALL | more, ("resnet50-mini", "vgg19-mini"))
    (one,) = rows(given)["lp-ft"].external
    assert one.value == pytest.approx((0.85 + 0.1) / 2)
    assert one.wanted == 4


def test_no_rank_average_or_difference_knows_of_it():
    """All but their own fields is as on the board of the same runs without."""
    ours, theirs = board(results(ALL)), board(results({}))
    plain = ours.model_dump()
    for track in plain["tracks"]:
        for row in track["rows"]:
            row.pop("external")
    for run in plain["runs"]:
        run.pop("external")
    plain["data"] = tuple(one for one in plain["data"] if ".external-" not in one["dataset"])
    assert plain["data"]
    assert plain == theirs.model_dump()


@pytest.mark.parametrize("name", sorted(formats.FORMATS))
def test_a_board_without_says_nothing_of_them(name):
    found = board(results({}))
    text = formats.render(found, name)
    if name == "html":  # the script knows the section; the data do not
        text = json.dumps(page_data.page_data(found))
    assert "external" not in text.lower()


def test_a_row_that_lacks_a_run_has_no_figure_and_says_how_many():
    given = dict(ALL)
    del given["resnet50-mini", "lp-ft", 1]
    found = rows(results(given))
    (one,) = found["lp-ft"].external
    assert (one.value, one.internal, one.runs, one.wanted) == (None, None, 1, 2)
    assert found["lp-ft"].ranked
    text = formats.render(board(results(given)), "terminal")
    assert "lp-ft: 1 of 2 runs have demo-xray, ward-a." in text


def test_an_undefined_figure_is_no_figure():
    (one,) = rows(results(ALL | {("resnet50-mini", "full-ft", 0): float("nan")}))[
        "full-ft"
    ].external
    assert (one.value, one.runs) == (None, 2)


def test_other_images_of_the_same_name_are_another_column():
    given = results(ALL)
    last = given[-1].model_copy(update={"external": {NAME: record(0.3, data="other")}})
    found = rows([*given[:-1], last])["lp-ft"].external
    assert sorted(one.name for one in found) == sorted(
        f"ward-a (data {sha(data)[:8]})" for data in ("d", "other")
    )
    assert {(one.value, one.runs, one.wanted) for one in found} == {(None, 1, 2)}


def test_the_order_of_runs_is_nothing():
    given = results(ALL)
    assert board(given) == board(given[::-1])


def test_the_csv_has_a_column_for_each_set_and_metric_at_its_end():
    given = results(ALL)
    text = formats.render(board(given), "csv")
    found = list(csv.DictReader(io.StringIO(text)))
    names = list(found[0])
    assert names[-2:] == ["external_ward_a_balanced_accuracy", "external_ward_a_accuracy"]
    assert {
        (one["strategy"], int(one["seed"])): float(one["external_ward_a_balanced_accuracy"])
        for one in found
    } == {(strategy, seed): value for (_, strategy, seed), value in ALL.items()}
    plain = formats.render(board(results({})), "csv")
    cut = [",".join(line) for line in ([*row][:-2] for row in csv.reader(io.StringIO(text)))]
    assert cut[0] == plain.splitlines()[0]


@pytest.mark.parametrize("name", ["terminal", "md", "latex"])
def test_a_table_of_their_own_shows_value_and_difference(name):
    text = formats.render(board(results(ALL)), name)
    part = text[text.index("External tests") :]
    (line,) = [line for line in part.splitlines() if line.strip(" |").startswith("full-ft")][:1]
    assert "0.600" in line
    assert "20.0" in line  # points below the test split's 0.8


def test_the_page_and_the_json_hold_them():
    found = board(results(ALL))
    given = json.loads(formats.render(found, "json"))
    (figure,) = given["tracks"][0]["rows"][0]["external"]
    assert figure["name"] == NAME
    assert given["runs"][0]["external"][NAME]["images"] == 10
    assert page_data.page_data(found)["tracks"][0]["rows"][0]["external"] == [figure]


def test_a_set_that_lacks_a_class_is_told():
    given = [
        one.model_copy(update={"external": {NAME: record(0.5, counts=(9, 0))}})
        for one in results(ALL)
    ]
    text = formats.render(board(given), "md")
    assert "external ward-a has no image of b" in text


# -- differences -------------------------------------------------------------------------------


class Files:
    """As much of a store as is asked for: groups are files' rows, from 0 on."""

    def __init__(self, inside, outside):
        self.inside, self.outside = inside, outside

    def predictions(self, run):
        return self.inside[run.run_id]

    def external_predictions(self, run, name):
        return self.outside[run.run_id]

    def home(self, run):
        return SimpleNamespace(split_file=lambda _: "inside")

    def external_home(self, run, name):
        return SimpleNamespace(split_file=lambda _, name: "outside")


def answers(right, targets):
    """Predictions that are right where `right` says."""
    targets = np.asarray(targets)
    chosen = np.where(right, targets, 1 - targets)
    return Predictions(
        {"test": np.eye(2, dtype=np.float32)[chosen] * 4},
        {"test": targets},
        {"test": np.arange(len(targets), dtype=np.int32)},
    )


def dropped(inside, outside, groups, targets, seeds):
    """The differences of rows full-ft and lp-ft; right answers [row][seed, image]."""
    runs = []
    stored = Files({}, {})
    for row, strategy in enumerate(("full-ft", "lp-ft")):
        for seed in range(seeds):
            one = made_result(
                "demo-xray", "resnet50-mini", strategy, seed, 0.5, external={NAME: record(0.5)}
            )
            runs.append(one)
            stored.inside[one.run_id] = answers(inside[row][seed], targets[0])
            stored.outside[one.run_id] = answers(outside[row][seed], targets[1])
    whole = board(runs)
    by_file = {
        name: {"group": one, "id": np.arange(len(one)).astype(str)}
        for name, one in zip(("inside", "outside"), groups, strict=True)
    }
    return drops.drops(
        "balanced-accuracy",
        whole.tracks[0],
        whole.runs,
        {run.run_id: run for run in runs},
        stored,
        by_file.__getitem__,
    )


def recall(right, targets):
    return np.mean([right[targets == label].mean() for label in (0, 1)])


def drawn(rng, images=40, seeds=3, loss=0.0, spread=0.0):
    """Right answers of two rows on two sets, whose truth differs by `loss`."""
    targets = [np.arange(images) % 2, np.arange(images + 20) % 2]
    ease = [rng.normal(0, 1, len(one)) for one in targets]
    luck = rng.normal(0, spread, (2, 2, seeds))
    right = [
        [
            rng.random((seeds, len(targets[k])))
            < 1 / (1 + np.exp(-(0.8 + ease[k] - loss * k + luck[k][row][:, None])))
            for row in range(2)
        ]
        for k in range(2)
    ]
    return targets, right


def test_the_difference_is_external_less_test_and_its_error_that_of_both_sets():
    """One image a group, one seed: the closed form of both sets' bootstraps, by loops."""
    targets, right = drawn(np.random.default_rng(0), seeds=1)
    groups = [np.array([f"{k}-{n}" for n in range(len(targets[k]))]) for k in range(2)]
    found = dropped(*right, groups, targets, 1)
    (one,) = [one for one in found if one["row"] == "full-ft"]

    inside, outside = right[0][0][0], right[1][0][0]
    assert one["value"] == pytest.approx(
        recall(outside, targets[1]) - recall(inside, targets[0]), abs=1e-12
    )
    variance, df = 0.0, 0
    for answered, truth in ((outside, targets[1]), (inside, targets[0])):
        for label in (0, 1):
            own = answered[truth == label].astype(float)
            variance += own.var(ddof=1) / len(own) / 4
            df += len(own) - 1
    half = scipy_stats.t.ppf(0.975, df) * variance**0.5
    assert one["high"] - one["value"] == pytest.approx(half, rel=1e-9)
    assert one["value"] - one["low"] == pytest.approx(half, rel=1e-9)
    assert (one["verdict"], one["basis"]) == ("untested", "test images only")


def test_images_of_a_group_count_as_one():
    """Copies of every image, each with its original, change nothing."""
    targets, right = drawn(np.random.default_rng(1), seeds=2)
    groups = [np.array([f"{k}-{n}" for n in range(len(targets[k]))]) for k in range(2)]
    once = dropped(*right, groups, targets, 2)
    twice = dropped(
        *([[row.repeat(2, axis=1) for row in part] for part in right]),
        [part.repeat(2) for part in groups],
        [part.repeat(2) for part in targets],
        2,
    )
    for one, other in zip(once, twice, strict=True):
        assert other["low"] == pytest.approx(one["low"], abs=1e-12)
        assert other["high"] == pytest.approx(one["high"], abs=1e-12)


def test_seeds_that_differ_widen_it():
    targets, right = drawn(np.random.default_rng(2), seeds=3)
    groups = [np.array([f"{k}-{n}" for n in range(len(targets[k]))]) for k in range(2)]
    spread = [[row.copy() for row in part] for part in right]
    for row in spread[1]:
        row[0], row[1] = True, False  # one seed always right outside, one never
    narrow, wide = (dropped(*given, groups, targets, 3)[0] for given in (right, spread))
    assert wide["high"] - wide["low"] > 2 * (narrow["high"] - narrow["low"])
    assert wide["basis"] == "images and seeds"


def test_runs_of_different_test_splits_have_no_interval():
    targets, right = drawn(np.random.default_rng(3), seeds=2)
    runs = []
    stored = Files({}, {})
    for seed in range(2):
        for row, strategy in enumerate(("full-ft", "lp-ft")):
            one = made_result(
                "demo-xray", "resnet50-mini", strategy, seed, 0.5,
                data={"split_sha256": sha(seed if strategy == "lp-ft" else 0)},
                external={NAME: record(0.5)},
            )  # fmt: skip
            runs.append(one)
            stored.inside[one.run_id] = answers(right[0][row][seed], targets[0])
            stored.outside[one.run_id] = answers(right[1][row][seed], targets[1])
    whole = board(runs)
    groups = {
        name: {"group": np.arange(count).astype(str), "id": np.arange(count).astype(str)}
        for name, count in (("inside", 40), ("outside", 60))
    }
    found = drops.drops(
        "balanced-accuracy", whole.tracks[0], whole.runs, {r.run_id: r for r in runs}, stored,
        groups.__getitem__,
    )  # fmt: skip
    assert {one["row"] for one in found} == {"full-ft"}


def over_splits(right, tests, outside, groups):
    """The differences of full-ft over splits with a seed each.

    Args:
        right: a correct answer in each split, of all images and of those outside [split, image].
        tests: the images that each split tests, of classes in turn.
        outside: how many images each predicts outside, of classes in turn.
        groups: of the images, and of those outside.
    """
    runs, stored, files = [], Files({}, {}), {}
    for split, rows in enumerate(tests):
        one = made_result(
            "demo-xray", "resnet50-mini", "full-ft", split, 0.5,
            spec={"protocol": PROTOCOL.model_copy(update={"split_seed": split})},
            data={"split_sha256": sha(split)}, external={NAME: record(0.5)},
        )  # fmt: skip
        runs.append(one)
        inside = answers(right[0][split][rows], rows % 2)
        inside.rows["test"] = rows.astype(np.int32)
        stored.inside[one.run_id] = inside
        stored.outside[one.run_id] = answers(right[1][split], np.arange(outside[split]) % 2)
    for name, own in zip(("inside", "outside"), groups, strict=True):
        files[name] = {"group": own, "id": np.arange(len(own)).astype(str)}
    whole = board(runs)
    assert len(whole.tracks) == 1
    results = {run.run_id: run for run in runs}
    given = ("balanced-accuracy", whole.tracks[0], whole.runs, results, stored, files.__getitem__)
    return drops.drops(*given)


def test_over_splits_it_is_that_of_plain_loops():
    """Splits test other images beside the same ones outside; luck, and training parts in common."""
    rng = np.random.default_rng(6)
    images, outside, splits = 60, 16, 3
    tests = [
        np.sort(np.r_[2 * rng.permutation(30)[:6], 2 * rng.permutation(30)[:6] + 1])
        for _ in range(splits)
    ]
    luck = np.array([-1.5, 0.0, 1.5])[:, None]
    right = [
        rng.random((splits, count)) < 1 / (1 + np.exp(-part * luck - 0.5))
        for part, count in ((0, images), (1, outside))
    ]
    groups = [np.array([f"p{n}" for n in range(count)]) for count in (images, outside)]
    (one,) = over_splits(right, tests, [outside] * splits, groups)

    columns = {}  # (outside or not, image) -> what it adds in each split; None: not tested
    for split in range(splits):
        for place, rows in ((1, range(outside)), (0, tests[split].tolist())):
            for row in rows:
                same = sum(other % 2 == row % 2 for other in rows)
                value = (1 if place else -1) * float(right[place][split][row]) / same / 2
                columns.setdefault((place, row), [None] * splits)[split] = value
    totals = [sum(one[split] or 0.0 for one in columns.values()) for split in range(splits)]
    whole = dict.fromkeys(columns, 0.0)
    noise, df = 0.0, 0
    for kind in ((place, label) for place in (0, 1) for label in (0, 1)):
        own = [key for key in columns if (key[0], key[1] % 2) == kind]
        df += len(own) - (splits if kind[0] == 0 else 1)
        for split in range(splits):
            there = [key for key in own if columns[key][split] is not None]
            level = sum(columns[key][split] for key in there) / len(there)
            for key in there:
                apart = (columns[key][split] - level) * (len(there) / (len(there) - 1)) ** 0.5
                whole[key] += apart / splits
                noise += apart**2 / splits if kind[0] == 0 else 0.0
    for key, values in columns.items():
        noise += np.var(values, ddof=1) if key[0] == 1 else 0.0
    share = 12 / images
    factor = 1 / splits + 1 / 2 * share / (1 - share)
    variance = np.var(totals, ddof=1)
    by_images, by_luck = sum(one**2 for one in whole.values()), factor * (variance - noise)
    assert by_luck > by_images / 2  # both count
    error = by_images + by_luck
    freedom = error**2 / (by_images**2 / df + (factor * variance) ** 2 / (splits - 1))
    half = scipy_stats.t.ppf(0.975, max(freedom, min(splits - 1, df))) * error**0.5
    assert one["value"] == pytest.approx(np.mean(totals), abs=1e-12)
    assert one["high"] - one["low"] == pytest.approx(2 * half, rel=1e-9)
    assert one["basis"] == "images, seeds and splits"


def test_splits_whose_runs_predicted_other_images_outside_have_no_interval():
    rng = np.random.default_rng(7)
    tests = [np.arange(12), np.arange(12, 24)]
    right = [rng.random((2, count)) < 0.7 for count in (40, 16)]
    groups = [np.arange(count).astype(str) for count in (40, 16)]
    assert over_splits(right, tests, [16, 16], groups)
    right[1] = [right[1][0], right[1][1][:12]]
    assert not over_splits(right, tests, [16, 12], groups)


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.0, 0.3])
def test_the_interval_holds_the_truth(spread):
    """200 draws of images and seeds; an interval of 95 % misses more than 21 once in 1,000 times.

    Both sets are drawn anew from the same images in general, so that the truth is no difference.
    """
    rng = np.random.default_rng(4)
    missed = 0
    groups = [np.arange(40).astype(str), np.arange(60).astype(str)]
    for _ in range(200):
        targets, right = drawn(rng, spread=spread)
        one = dropped(*right, groups, targets, 3)[0]
        missed += not one["low"] <= 0 <= one["high"]
    assert missed <= 21


@pytest.mark.slow
def test_a_loss_is_seen():
    """Were the intervals endless, the test above would pass."""
    rng = np.random.default_rng(5)
    groups = [np.arange(40).astype(str), np.arange(60).astype(str)]
    seen = 0
    for _ in range(50):
        targets, right = drawn(rng, loss=2.0)
        seen += dropped(*right, groups, targets, 3)[0]["high"] < 0
    assert seen > 40
