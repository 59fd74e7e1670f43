"""Runs of several splits as one block: split files and predictions in, figures by hand out."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from harness.api.execution import Predictions
from harness.api.leaderboard import Block
from harness.data.division.split import read_samples
from harness.leaderboard import statistics

IDS = [f"image-{n}" for n in range(10)]
GROUPS = ["g0", "g0", "g1", "g1", "g2", "g2", "g3", "g3", "g4", "g4"]
LABELS = np.array([0, 0, 1, 1, 0, 0, 1, 1, 0, 0])
METRIC = "accuracy"


class Folder:
    """The runs of a results folder: which images each gets right, by split and seed."""

    def __init__(self, folder, tests, wrong):
        self.folder, self.tests, self.wrong = folder, tests, wrong
        self.runs, self.results = [], {}
        (folder / "splits").mkdir()
        for split, (order, _) in tests.items():
            samples = [{"id": IDS[n], "group": GROUPS[n]} for n in order]
            path = folder / "splits" / f"data.{split}.json"
            path.write_text(json.dumps({"samples": samples}))
        for row, split, seed in wrong:
            name = f"{row}-{split}-{seed}"
            self.results[name] = SimpleNamespace(run_id=name, split=split, row=row, seed=seed)
            self.runs.append(
                SimpleNamespace(
                    run_id=name, row=row, split=split, seed=seed, dataset="data", backbone="net",
                    split_sha256=f"sha-{split}", metrics={},
                    validation={METRIC: SimpleNamespace(value=0.5)},
                )
            )  # fmt: skip

    def home(self, _):
        return self

    def split_file(self, result):
        return self.folder / "splits" / f"data.{result.split}.json"

    def predictions(self, result):
        order, rows = self.tests[result.split]
        images = [order[row] for row in rows]
        targets = LABELS[images]
        wrong = np.isin(images, self.wrong[result.row, result.split, result.seed])
        logits = np.eye(2)[np.where(wrong, 1 - targets, targets)].astype(np.float32)
        return Predictions(
            rows={"test": np.array(rows)}, targets={"test": targets}, logits={"test": logits}
        )

    def block(self, pairs):
        place = Block(
            label="data / net", dataset="data", backbone="net", modality="xray", data="", weights="",
            source="", seeds=tuple(sorted({seed for _, seed in pairs})), pairs=tuple(pairs),
        )  # fmt: skip
        return statistics._block(self.runs, place, self.results, self, read_samples, METRIC)


FORTH, BACK = list(range(10)), list(range(9, -1, -1))
# Split 0 tests images 0 to 3 (g0, g1); split 1, whose file is in another order, 2 to 5 (g1, g2).
ANEW = {0: (FORTH, [0, 1, 2, 3]), 1: (BACK, [4, 5, 6, 7])}
WRONG = {
    ("full-ft", 0, 0): [0, 2], ("full-ft", 1, 1): [2, 4],
    ("lp-ft", 0, 0): [2], ("lp-ft", 1, 1): [],
}  # fmt: skip
PAIRS = [(0, 0), (1, 1)]


def test_a_group_that_two_splits_test_is_one(tmp_path):
    block = Folder(tmp_path, ANEW, WRONG).block(PAIRS)
    assert (block.strategies, block.seeds) == (("full-ft", "lp-ft"), ((0, 0), (1, 1)))
    gain = block.gain("lp-ft", "full-ft", METRIC)
    # Columns g0, g1, g2; an image is a quarter: 0 is put right in split 0, 2 and 4 in split 1.
    assert gain.added.tolist() == [[0.25, 0, 0], [0, 0.25, 0.25]]
    assert gain.strata.tolist() == [0, 1, 0]
    assert gain.splits.tested.tolist() == [[True, True, False], [False, True, True]]
    assert gain.splits.number.tolist() == [0, 1]
    assert gain.splits.share == pytest.approx(0.4)
    assert block.points("full-ft", METRIC).tolist() == [0.5, 0.5]
    assert (block.repeats, block.basis) == (2, "images, seeds and splits")


def test_the_test_part_is_the_same_where_its_images_are(tmp_path):
    """Row numbers differ, ids do not."""
    kept = {0: (FORTH, [0, 1, 2, 3]), 1: (BACK, [6, 7, 8, 9])}
    block = Folder(tmp_path, kept, WRONG).block(PAIRS)
    gain = block.gain("lp-ft", "full-ft", METRIC)
    assert gain.splits.share is None
    assert gain.added.tolist() == [[0.25, 0], [0, 0.25]]  # 4 is not tested


def test_a_row_without_a_run_on_some_split_is_left_out(tmp_path):
    lacking = {key: images for key, images in WRONG.items() if key != ("lp-ft", 1, 1)}
    assert Folder(tmp_path, ANEW, lacking).block(PAIRS).strategies == ("full-ft",)


def test_a_split_without_any_run_makes_no_block(tmp_path):
    assert Folder(tmp_path, ANEW, WRONG).block([*PAIRS, (2, 2)]) is None


def test_one_split_of_another_number_is_told_apart_by_seeds(tmp_path):
    tests = {3: ANEW[0]}
    wrong = {(row, 3, seed): [seed] for row in ("full-ft", "lp-ft") for seed in (0, 1)}
    block = Folder(tmp_path, tests, wrong).block([(3, 0), (3, 1)])
    assert (block.seeds, block.splits) == ((0, 1), None)


def test_blocks_of_other_pairs_are_of_another_test_set(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    more = WRONG | {(row, 0, 1): [] for row in ("full-ft", "lp-ft")}
    one = Folder(tmp_path / "one", ANEW, WRONG).block(PAIRS)
    two = Folder(tmp_path / "two", ANEW, more).block([*PAIRS, (0, 1)])
    assert one.test_set != two.test_set
    assert two.gain("lp-ft", "full-ft", METRIC).splits.number.tolist() == [0, 0, 1]
    assert two.others(0) == [2]  # what chooses for it is trained on another split
