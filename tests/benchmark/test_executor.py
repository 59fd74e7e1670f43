"""A plugin that raises, leaves or says nothing ends its run, and nothing else."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from command import runs
from odd_plugin import METRIC, STRATEGY, odd_bench
from places import TOY
from toys import FULL, accuracy, toy_run

from harness.api.execution import Observer
from harness.api.metric import is_pending
from harness.api.records import MetricValue
from harness.engine import run

BOTH = ("--strategies", "a-odd,linear-probe")


def failure(out):
    (failed,) = (out / "failed").glob("*.json")
    return json.loads(failed.read_text(encoding="utf-8"))["error"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "text"),
    [
        (
            "assert epochs > 99",
            "AssertionError without a message, in odd.py, line 18: assert epochs",
        ),
        ("raise NotImplementedError", "NotImplementedError without a message, in odd.py, line 18"),
        ("raise MemoryError()", "MemoryError without a message"),
        ("raise ValueError(' \\n ')", "ValueError without a message"),
        ("raise ValueError('\\n\\n  second line')", "second line"),
        ("raise ValueError('\\udcff is no text')", "\\udcff is no text"),
        (
            "raise type('Own', (Exception,), {'__str__': lambda self: 1 / 0})",
            "Own whose text cannot be had",
        ),
        ("sys.exit()", "code of a plugin called sys.exit(), in odd.py, line 18: sys.exit()"),
        ("sys.exit(0)", "code of a plugin called sys.exit(0)"),
        ("sys.exit('no setting')", "code of a plugin called sys.exit('no setting')"),
        ("raise type('Own', (BaseException,), {})", "Own without a message"),
    ],
)
def test_a_run_that_ends_without_a_word_is_a_failed_run_that_says_so(tmp_path, line, text):
    done = odd_bench(tmp_path, STRATEGY, line, *BOTH)

    assert f"failed: toy-data / toy / a-odd (seed 0): {text}" in done.stderr
    assert "Traceback" not in done.output
    assert text in failure(tmp_path / "out")["message"]
    assert len(runs(tmp_path / "out")) == 1
    assert (tmp_path / "out" / "leaderboard.json").exists()
    again = odd_bench(tmp_path, STRATEGY, line, *BOTH)
    assert f"a-odd, seed 0: {text}" in again.stderr


@pytest.mark.slow
@pytest.mark.parametrize("line", ["sys.exit()", "assert epochs > 99"])
def test_in_a_process_of_its_own_too(tmp_path, line):
    done = odd_bench(tmp_path, STRATEGY, line, *BOTH, "--seeds", "0,1", jobs=2)

    assert done.stderr.count("failed: toy-data / toy / a-odd") == 2
    assert "worker process ended" not in done.stderr
    assert len(runs(tmp_path / "out")) == 2


@pytest.mark.slow
def test_a_plugin_that_leaves_when_a_worker_imports_it(tmp_path):
    """Its name is in the message, though it was sound where the call began."""
    leaving = STRATEGY.replace("\nclass", "\nimport multiprocessing as mp\n"
                               "if mp.parent_process(): sys.exit()\n\nclass")  # fmt: skip
    done = odd_bench(tmp_path, leaving, "pass", *BOTH, jobs=2)

    assert "nothing here offers the strategy 'a-odd': plugin 'odd'" in done.stderr
    assert len(runs(tmp_path / "out")) == 1


@pytest.mark.slow
def test_records_without_a_message_can_be_read(tmp_path, harness_cli):
    odd_bench(tmp_path, STRATEGY, "assert epochs > 99", *BOTH)
    (file,) = (tmp_path / "out" / "failed").glob("*.json")
    record = json.loads(file.read_text())
    record["error"]["message"] = ""
    file.write_text(json.dumps(record))

    again = odd_bench(tmp_path, STRATEGY, "assert epochs > 99", *BOTH)
    assert "a-odd, seed 0: AssertionError without a message" in again.stderr
    out = tmp_path / "out"
    for call in (
        ["board", out], ["verify", out], ["compare", out, out], ["check", out, out],
        ["publish", out, "--to", tmp_path / "package"],
    ):  # fmt: skip
        done = harness_cli(*call, exit_code=None)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.output
        assert "Usage:" not in done.output


def test_messages_of_what_was_never_raised():
    from harness.benchmark.launch.executor import message_of

    assert message_of(MemoryError()) == "MemoryError without a message"
    assert message_of(ValueError("said")) == "said"


# -- sys.exit() outside a run ------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("code", ["", "0", "3"])
def test_a_dataset_that_leaves_ends_the_call_with_a_message(tmp_path, toy_cli, code):
    plugin = tmp_path / "leaves.py"
    plugin.write_text(
        "import sys\nfrom harness import Dataset, hookimpl\n"
        f"class D(Dataset):\n    def load(self, access): sys.exit({code})\n"
        "@hookimpl\ndef harness_datasets():\n"
        "    return [D(name='leaves', modality='xray', classes=('a', 'b'))]\n"
    )
    call = ("bench", "toy", "--datasets", "leaves", "--out", tmp_path / "out", "-p", plugin)
    done = toy_cli(*call, exit_code=2)

    assert f"code of a plugin called sys.exit() at {plugin}:4" in done.stderr


@pytest.mark.slow
def test_a_command_of_a_plugin_may_end_as_it_likes(tmp_path, harness_cli):
    plugin = tmp_path / "bye.py"
    plugin.write_text(
        "import sys\nfrom harness import hookimpl\n"
        "@hookimpl\ndef harness_commands(cli):\n"
        "    @cli.command('bye')\n    def bye(): sys.exit(3)\n"
    )
    harness_cli("-p", plugin, "bye", exit_code=3)


# -- metrics -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("raise ValueError('no \\nvalue')", "ValueError: no"),
        ("assert False", "AssertionError"),
        ("sys.exit()", "SystemExit"),
        ("targets[:] = 0", "ValueError: assignment destination is read-only"),
        ("logits[:] = 0", "ValueError: assignment destination is read-only"),
        ("return 0.5", "TypeError: compute() must return a MetricValue, not 0.5"),
    ],
)
def test_a_metric_that_raises_is_undefined_and_the_training_kept(tmp_path, line, reason):
    done = odd_bench(tmp_path, METRIC, line, "--strategies", "full-ft", exit_code=0)

    (path,) = runs(tmp_path / "out")
    record = json.loads(path.read_text())
    assert record["metrics"]["odd"] == {
        "value": None, "reason": f"metric 'odd' raised {reason}", "by_class": None,
    }  # fmt: skip
    assert record["metrics"]["accuracy"]["value"] is not None
    assert f"full-ft (seed 0): odd raised {reason}" in done.stderr
    plain = odd_bench(tmp_path, METRIC, "pass", "--strategies", "full-ft", exit_code=0, out="sound")
    assert "raised" not in plain.stderr
    (other,) = runs(tmp_path / "sound")
    one, two = (p.with_suffix(".safetensors").read_bytes() for p in (path, other))
    assert one == two


@pytest.mark.slow
def test_a_metric_that_was_put_right_is_scored_and_one_that_was_not_holds(tmp_path, toy_cli):
    out, plugin = tmp_path / "out", tmp_path / "odd.py"
    odd_bench(tmp_path, METRIC, "assert False", "--strategies", "full-ft", exit_code=0)
    checked = toy_cli("verify", out, "-p", plugin)
    assert "metric odd: it raises, as it did in the run" in checked.stdout
    assert ": metrics: " not in checked.stdout
    plugin.write_text(METRIC.format(line="pass"))
    toy_cli("score", out, "--metric", "odd", "-p", plugin)

    (path,) = runs(out)
    assert json.loads(path.read_text())["metrics"]["odd"]["value"] == 0.5


def same_run(one, other):
    """Two records and their logits, but for seconds, hour and what was measured by the clock."""
    records = [json.loads(path.read_text()) for path in (one, other)]
    for record in records:
        del record["cost"], record["finished"]
        for part in (*record["phases"], *record["history"]):
            del part["seconds"]
    logits = [path.with_suffix(".safetensors").read_bytes() for path in (one, other)]
    return records[0] == records[1] and logits[0] == logits[1]


@pytest.mark.slow
def test_a_metric_that_ends_the_process_costs_no_training(tmp_path, toy_cli):
    """Logits are on the disk before it is called; the next call computes what is not there."""
    plugin, out = tmp_path / "odd.py", tmp_path / "out"
    bench = ("bench", "toy", "--strategies", "full-ft", "--in-process", "-p", plugin, "--out")
    plugin.write_text(METRIC.format(line="import os; os._exit(7)"))
    call = [sys.executable, "-m", "harness", "-p", str(TOY), *map(str, bench), str(out)]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    assert subprocess.run(call, capture_output=True, check=False, env=env).returncode == 7
    (path,) = runs(out)
    before = path.with_suffix(".safetensors").read_bytes()
    figures = json.loads(path.read_text())["metrics"]
    assert {value["reason"] for value in figures.values()} == {
        f"metric '{name}' raised no error and gave no figure: its process ended first"
        for name in figures
    }
    checked = toy_cli("verify", out, "-p", plugin)  # without calling it
    assert "metric odd: not computed; `harness score` does it" in checked.stdout
    saved = path.read_text()

    again = toy_cli(*bench, out)  # it ends another process, and the call goes on
    assert "1 runs were trained by a call that ended before their figures" in again.stderr
    assert f"`harness score {out} --metric NAMES` computes them" in again.stderr
    assert (out / "leaderboard.json").exists()
    assert "computed it ended with code 7" in path.read_text()
    assert "trained by a call" not in toy_cli(*bench, out).stderr  # never again by itself
    toy_cli("score", out, "--metric", "accuracy", "-p", plugin)
    assert json.loads(path.read_text())["metrics"]["accuracy"]["value"] is not None

    path.write_text(saved)  # and where the metric is put right before the next call
    plugin.write_text(METRIC.format(line="pass"))
    toy_cli(*bench, out)
    assert path.with_suffix(".safetensors").read_bytes() == before
    toy_cli(*bench, tmp_path / "sound")
    assert same_run(path, runs(tmp_path / "sound")[0])


@pytest.mark.slow
def test_a_metric_that_ends_a_worker_costs_no_training(tmp_path, toy_cli):
    line = "import os; os._exit(7)"
    done = odd_bench(tmp_path, METRIC, line, "--strategies", "full-ft", jobs=2, exit_code=0)
    assert "(seed 0) is trained and kept without figures, for a metric ended its process" in (
        done.stderr
    )
    assert not list((tmp_path / "out" / "failed").glob("*"))
    (path,) = runs(tmp_path / "out")
    why = json.loads(path.read_text())["metrics"]["odd"]["reason"]
    assert why.startswith(
        "metric 'odd' raised no error and gave no figure: the worker of the run ended"
    )
    plugin = tmp_path / "odd.py"
    plugin.write_text(METRIC.format(line="pass"))
    toy_cli("score", tmp_path / "out", "--metric", "*", "-p", plugin)
    odd_bench(tmp_path, METRIC, "pass", "--strategies", "full-ft", exit_code=0, out="sound")
    (sound,) = runs(tmp_path / "sound")
    one, other = (json.loads(place.read_text()) for place in (path, sound))
    assert (one["metrics"], one["validation"]) == (other["metrics"], other["validation"])


def test_all_but_the_figures_is_handed_over_before_a_metric_is_called():
    seen = []

    class Ear(Observer):
        def predicted(self, outcome):
            seen.append(outcome)

    class Late(type(accuracy())):
        def compute(self, logits, targets, classes):
            seen.append("metric")
            return MetricValue(value=0.5)

    spec, resources = toy_run(FULL)
    resources.metrics["late"] = Late(name="late", build=lambda: None)
    outcome = run(spec, replace(resources, observer=Ear()))

    early = seen[0]
    assert seen[1:] == ["metric", "metric"]  # test and validation
    assert early.predictions is outcome.predictions
    assert is_pending(early.result)
    assert not is_pending(outcome.result)
    skip = {"metrics", "validation", "cost"}
    assert early.result.model_dump(exclude=skip) == outcome.result.model_dump(exclude=skip)


def test_the_metric_that_selects_may_raise_too():
    class Raises(type(accuracy())):
        def compute(self, logits, targets, classes):
            raise RuntimeError("not today")

    spec, resources = toy_run(FULL)
    metric = Raises(name="balanced-accuracy", build=lambda: None)
    resources.metrics["balanced-accuracy"] = metric
    outcome = run(spec, resources)

    assert outcome.predictions is not None
    assert [epoch.score for epoch in outcome.result.history] == [None] * 4
    assert outcome.result.tested == "last epoch: balanced-accuracy is undefined on validation"
    figure = outcome.result.metrics["balanced-accuracy"]
    assert figure.reason == "metric 'balanced-accuracy' raised RuntimeError: not today"
