"""Statistics and claims of a board that was really made, against figures computed by hand."""

import json
import shutil

import numpy as np
import pytest
from command import bench
from toy_plugin import PROTOCOL

import harness
from harness.leaderboard import boards, statistics
from harness.leaderboard.render import formats
from harness.plugins.registry import load_plugins
from harness.results.merge import MergedStore
from harness.results.store import Store


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("board")
    bench(out, "--seeds", "0,1")
    return out


def analysed(folder, metric=None):
    store = MergedStore([Store(folder)])
    board = boards.rank_folder(store, load_plugins(environ={}), metric)
    return statistics.add_statistics(board, store), store


@pytest.mark.slow
def test_differences_are_those_of_the_stored_predictions(made):
    board, store = analysed(made)
    (track,) = board.tracks
    differences = board.statistics[track.id]["differences"]

    def recall(strategy):
        scores = []
        for result in store.results():
            if result.spec.strategy == strategy:
                given = store.predictions(result)
                y, right = (
                    given.targets["test"],
                    given.logits["test"].argmax(1) == given.targets["test"],
                )
                scores.append(np.mean([right[y == c].mean() for c in np.unique(y)]))
        return np.mean(scores)

    assert {d["row"] for d in differences} == {"linear-probe", "moody"}
    for one in differences:
        assert one["value"] == pytest.approx(recall(one["row"]) - recall("full-ft"))
        assert one["low"] <= one["value"] <= one["high"]
        assert one["seeds"] == 2
    moody = next(d for d in differences if d["row"] == "moody")
    # moody is full-ft: what is the same, seed by seed, has nothing uncertain about it.
    assert (moody["value"], moody["low"], moody["high"]) == (0, 0, 0)
    assert {one["verdict"] for one in differences} == {"untested"}  # two seeds
    assert {one["basis"] for one in differences} == {"images and seeds"}


def test_averages_of_one_cell_are_its_differences(made):
    board, _ = analysed(made)
    given = board.statistics[board.tracks[0].id]
    assert (given["cells"], given["datasets"]) == (1, 1)
    for one in given["differences"]:
        average = given["averages"][one["row"]]
        assert average["these"]["value"] == pytest.approx(one["value"])
        assert average["general"] is None  # one dataset
    assert set(given["ranks"]) == {"full-ft", "linear-probe", "moody"}
    assert {one["general"] for one in given["ranks"].values()} == {None}


def test_other_metrics_have_intervals_of_their_average_gain(made):
    board, store = analysed(made)
    given = board.statistics[board.tracks[0].id]
    for metric, sign in (("macro-auroc", 1), ("ece", -1), ("brier", -1)):
        for row, one in given["others"][metric].items():
            scores = {
                name: np.mean([r.metrics[metric].value for r in store.results() if r.spec.strategy == name])
                for name in (row, "full-ft")
            }  # fmt: skip
            expected = sign * (scores[row] - scores["full-ft"])
            assert one["value"] == pytest.approx(expected, abs=1e-6)
            assert one["low"] <= one["value"] <= one["high"]
            assert one["verdict"] == "untested"


def test_a_single_block_is_not_compared_across_blocks(made):
    board, _ = analysed(made)
    assert board.statistics[board.tracks[0].id]["comparisons"] == []


def test_the_board_is_the_same_whoever_asks(made):
    first, second = (analysed(made)[0] for _ in range(2))
    assert first == second


@pytest.mark.slow
def test_claims_of_few_labels_say_so_and_those_of_all_labels_count_alone(tmp_path):
    def claims(*labels):
        few = ("--seeds", "0", "--strategies", "full-ft,linear-probe")
        bench(tmp_path, *few, "--labels", ",".join(labels))
        plan = json.loads((tmp_path / "plan.json").read_text())
        plan["suites"]["toy"]["claims"] = ["no-universal-winner"]
        (tmp_path / "plan.json").write_text(json.dumps(plan))
        board, _ = analysed(tmp_path)
        (track,) = board.tracks
        (answer,) = board.claims
        return track, answer

    track, answer = claims("50%")
    assert "50% labels" in track.title
    assert "full data" not in track.title
    assert [block.label[-13:] for block in track.blocks] == [" (50% labels)"]
    assert (answer.track, answer.of) == (track.title, 1)

    track, answer = claims("25%", "50%")
    assert answer.track == f"{track.title}; of these 50% labels"
    assert (len(track.blocks), answer.of) == (2, 1)

    track, answer = claims("100%")
    assert "full data" in track.title
    assert (len(track.blocks), answer.track, answer.of) == (3, "", 1)


def test_a_board_of_a_calibration_error_has_statistics_and_no_claims(made):
    board, store = analysed(made, "ece")
    (track,) = board.tracks
    given = board.statistics[track.id]
    for one in given["differences"]:
        scores = {
            name: np.mean([r.metrics["ece"].value for r in store.results() if r.spec.strategy == name])
            for name in (one["row"], "full-ft")
        }  # fmt: skip
        assert one["value"] == pytest.approx(scores["full-ft"] - scores[one["row"]])  # a gain
    assert set(given["others"]) == {"macro-auroc", "brier"}
    assert board.claims is None


def test_a_metric_whose_score_no_groups_add_up_to_has_no_statistics(made):
    board, _ = analysed(made, "cohen-kappa")
    assert (board.statistics, board.claims) == (None, None)


def test_the_page_holds_statistics(made):
    page = (made / "leaderboard.html").read_text(encoding="utf-8")
    assert '"differences"' in page
    assert PROTOCOL.name in page


def test_every_format_printed_is_the_file_that_was_written(made):
    """One source: what `--format` prints, and what the board's files hold."""
    found = harness.load(made)
    for name, end in formats.FILES.items():
        assert found.render(name) == (made / f"leaderboard.{end}").read_text(encoding="utf-8")


def test_the_order_in_which_files_were_written_changes_no_byte(made, tmp_path, harness_cli):
    other = tmp_path / "other"
    for path in sorted((p for p in made.rglob("*") if p.is_file()), reverse=True):
        if not path.name.startswith("leaderboard."):
            (other / path.relative_to(made)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, other / path.relative_to(made))
    harness_cli("board", other)
    for end in formats.FILES.values():
        name = f"leaderboard.{end}"
        assert (other / name).read_bytes() == (made / name).read_bytes()


def test_ranks_only_reads_no_predictions(made, tmp_path, harness_cli):
    shutil.copytree(made, tmp_path / "copy")
    next((tmp_path / "copy").rglob("*.safetensors")).unlink()
    refused = harness_cli("board", tmp_path / "copy", "--format", "md", exit_code=2)
    assert ".safetensors" in refused.stderr
    done = harness_cli("board", tmp_path / "copy", "--format", "md", "--ranks-only")
    whole = (made / "leaderboard.md").read_text(encoding="utf-8")
    assert "Tested on the stored predictions" in whole
    assert "Tested on" not in done.output
    ranks = done.output.partition("\n### ")[0]
    assert ranks.partition("\n> ")[2] in whole
    assert "recommendation" in whole
    assert "recommendation" not in ranks
    harness_cli("board", tmp_path / "copy", "--format", "csv")  # shows none


@pytest.mark.slow
def test_the_least_gain_that_is_found_follows_from_the_interval(made, tmp_path):
    from scipy.stats import norm

    bench(tmp_path / "three", "--seeds", "0,1,2")
    board, store = analysed(tmp_path / "three")
    (track,) = board.tracks
    given = board.statistics[track.id]["averages"]["linear-probe"]["these"]
    found = statistics.least_found(board, store)[track.id]

    assert set(found) == {"linear-probe", "moody"}
    assert found["moody"] == 0  # it is full-ft, so any difference would be seen
    half = (given["high"] - given["low"]) / 2  # 1.96 errors or more, by the degrees of freedom
    assert found["linear-probe"] > half * (norm.isf(0.03 / 2 / 2) + norm.isf(0.2)) / norm.isf(0.025)
    two, store = analysed(made)
    assert statistics.least_found(two, store) == {}  # two seeds decide nothing
