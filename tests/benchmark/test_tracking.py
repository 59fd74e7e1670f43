"""`bench --track`: what each tracker's own library reads back, and trackers that fail."""

import json
import sqlite3
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from command import Cli, bench, runs
from places import TOY
from toy_plugin import Moody
from toys import toy_run

from harness.api.records import RunResult
from harness.plugins import tracking
from harness.plugins.registry import load_plugins

pytestmark = pytest.mark.slow
METRIC = "balanced-accuracy"
QUIET = pytest.mark.filterwarnings("ignore")  # what mlflow and SQLAlchemy warn of when read here


def needs(module):
    why = f"{module} is not installed (extra `{module}`)"
    return pytest.mark.skipif(find_spec(module) is None, reason=why)


def records(out):
    found = [RunResult.model_validate_json(path.read_bytes()) for path in runs(out)]
    assert found
    return {run.run_id: run for run in found}


def check_epochs(run, series):
    """(step, loss, score) of every epoch, from the record of a run, which came another way."""
    own = [(n, e.train_loss, e.score) for n, e in enumerate(run.history, start=1)]
    assert len(own) == 2
    assert [one[0] for one in series] == [one[0] for one in own]
    for (_, loss, score), (_, own_loss, own_score) in zip(series, own, strict=True):
        assert loss == pytest.approx(own_loss, rel=1e-6)
        assert score == pytest.approx(own_score, rel=1e-6)


# -- real libraries -----------------------------------------------------------------------------


@needs("tensorboard")
@pytest.mark.parametrize("jobs", [1, 2])
def test_tensorboard_reads_back_every_epoch_and_the_final_figures(tmp_path, jobs):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    done = bench(
        tmp_path, "--track", "tensorboard", "--strategies", "full-ft,linear-probe", jobs=jobs
    )
    assert "tracker" not in done.output
    places = {p.name.rpartition("-")[2]: p for p in (tmp_path / "trackers/tensorboard").iterdir()}
    made = records(tmp_path)
    assert places.keys() == made.keys()
    for run_id, run in made.items():
        read = EventAccumulator(str(places[run_id])).Reload()
        losses, scores = read.Scalars("train/loss"), read.Scalars(f"validation/{METRIC}")
        check_epochs(run, [(a.step, a.value, b.value) for a, b in zip(losses, scores, strict=True)])
        (final,) = read.Scalars(f"final/test/{METRIC}")
        assert final.value == pytest.approx(run.metrics[METRIC].value, rel=1e-6)
        text = read.Tensors("settings/text_summary")[0].tensor_proto.string_val[0].decode()
        assert f"| seed | {run.spec.seed} |" in text
        assert "| protocol.lr | 0.01 |" in text


@needs("mlflow")
@QUIET
def test_mlflow_reads_back_parameters_epochs_and_figures(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    bench(tmp_path / "board", "--track", "mlflow", "--strategies", "full-ft", "--seeds", "0,1")
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path}/board/trackers/mlflow/mlflow.db")
    found = client.search_runs([client.get_experiment_by_name("board").experiment_id])
    made = records(tmp_path / "board")
    assert {one.data.params["run_id"] for one in found} == made.keys()
    for one in found:
        run = made[one.data.params["run_id"]]
        assert one.info.status == "FINISHED"
        assert one.data.params["seed"] == str(run.spec.seed)
        assert one.data.params["protocol.lr"] == "0.01"
        assert one.data.params["split"] == "0"
        assert one.data.params["dataset"] == "toy-data"
        losses = client.get_metric_history(one.info.run_id, "train/loss")
        scores = client.get_metric_history(one.info.run_id, f"validation/{METRIC}")
        check_epochs(run, [(a.step, a.value, b.value) for a, b in zip(losses, scores, strict=True)])
        assert one.data.metrics[f"final/test/{METRIC}"] == run.metrics[METRIC].value


@needs("mlflow")
@QUIET
def test_a_failed_run_is_a_failed_run_of_mlflow(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("HARNESS_TOY", "raise")
    bench(tmp_path / "board", "--track", "mlflow", "--strategies", "moody", exit_code=1)
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path}/board/trackers/mlflow/mlflow.db")
    (one,) = client.search_runs([client.get_experiment_by_name("board").experiment_id])
    assert one.info.status == "FAILED"
    assert not [name for name in one.data.metrics if name.startswith("final")]


@needs("mlflow")
@QUIET
def test_offline_refuses_a_server(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    done = bench(tmp_path, "--track", "mlflow", "--strategies", "full-ft", "--offline")
    assert "tracker mlflow: HarnessError: --offline, and MLFLOW_TRACKING_URI is" in done.output
    assert len(runs(tmp_path)) == 1


@needs("trackio")
@pytest.mark.parametrize("jobs", [1, 2])
def test_trackio_reads_back_every_epoch_and_the_final_figures(tmp_path, monkeypatch, jobs):
    monkeypatch.delenv("TRACKIO_DIR", raising=False)
    chosen = ("--strategies", "full-ft", "--seeds", "0,1,2")
    done = bench(tmp_path / "board", "--track", "trackio", *chosen, jobs=jobs)
    assert "tracker" not in done.output
    made = records(tmp_path / "board")
    with sqlite3.connect(tmp_path / "board/trackers/trackio/board.db") as database:
        rows = database.execute(
            "SELECT run_name, step, metrics FROM metrics ORDER BY id"
        ).fetchall()
        settings = database.execute("SELECT run_name, config FROM configs").fetchall()
    database.close()
    read = {}
    for name, step, values in rows:
        read.setdefault(name[-17:-1], []).append((step, json.loads(values)))
    assert read.keys() == made.keys()
    configs = {name[-17:-1]: json.loads(text) for name, text in settings}
    for run_id, run in made.items():
        epochs = [(step, values) for step, values in read[run_id] if "train/loss" in values]
        check_epochs(
            run, [(step, v["train/loss"], v[f"validation/{METRIC}"]) for step, v in epochs]
        )
        (last,) = [values for _, values in read[run_id] if f"final/test/{METRIC}" in values]
        assert last[f"final/test/{METRIC}"] == pytest.approx(run.metrics[METRIC].value)
        assert last["ok"] == 1
        assert configs[run_id]["seed"] == run.spec.seed


STUB = '''
"""Stands for wandb: its offline files have no reader in Python."""
import json, os

class Settings(dict):
    def __init__(self, **given):
        super().__init__(given)

class Summary(dict):
    pass

class Run:
    def __init__(self, given):
        self.calls, self.summary, self.given = [], Summary(), given
    def log(self, values, step):
        self.calls.append([step, values])
    def finish(self, exit_code):
        name = self.given["config"]["run_id"]
        with open(os.path.join(os.environ["STUB_OUT"], name + ".json"), "w") as file:
            json.dump([self.given, self.calls, self.summary, exit_code], file)

def init(**given):
    return Run(given)
'''


@pytest.mark.parametrize(
    ("mode", "offline", "told"),
    [
        (None, False, "offline"),
        ("online", False, "online"),
        ("online", True, "offline"),
    ],
)
def test_wandb_is_told_what_there_is_and_is_offline_unless_asked(
    tmp_path, monkeypatch, mode, offline, told
):
    (tmp_path / "stub").mkdir()
    (tmp_path / "stub/wandb.py").write_text(STUB)
    monkeypatch.syspath_prepend(str(tmp_path / "stub"))
    monkeypatch.setenv("STUB_OUT", str(tmp_path))
    monkeypatch.delenv("WANDB_MODE", raising=False)
    if mode:
        monkeypatch.setenv("WANDB_MODE", mode)
    options = ["--offline"] if offline else []
    bench(tmp_path / "my board", "--track", "wandb", "--strategies", "full-ft", *options)
    ((run_id, run),) = records(tmp_path / "my board").items()
    given, calls, summary, code = json.loads((tmp_path / f"{run_id}.json").read_text())
    assert given["mode"] == told
    assert given["project"] == "my-board"
    assert given["config"]["strategy"] == "full-ft"
    assert given["reinit"] == "create_new"
    for name in ("x_disable_machine_info", "x_disable_meta", "disable_git", "disable_code"):
        assert given["settings"][name] is True
    assert given["settings"]["host"] == "-"
    check_epochs(run, [(n, v["train/loss"], v[f"validation/{METRIC}"]) for n, v in calls])
    assert summary[f"final/test/{METRIC}"] == run.metrics[METRIC].value
    assert summary["status"] == "ok"
    assert code == 0


@needs("wandb")
def test_wandb_itself_takes_the_calls(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    done = bench(tmp_path, "--track", "wandb", "--strategies", "full-ft,linear-probe")
    assert "tracker" not in done.output
    files = list((tmp_path / "trackers/wandb").glob("offline-run-*/run-*.wandb"))
    assert len(files) == 2
    content = b"".join(file.read_bytes() for file in files)
    assert b"final/test/balanced-accuracy" in content
    assert sys.executable.encode() not in content
    assert not list((tmp_path / "trackers/wandb").rglob("requirements.txt"))


# -- trackers of one's own ------------------------------------------------------------------------

OWN = """
import os, time, json
from harness import RunTracker, Tracker, hookimpl

class Told(RunTracker):
    def __init__(self, tracker, run):
        self.tracker, self.run = tracker, run
    def _write(self, *told):
        with open(os.environ["TOLD"], "a") as file:
            print(json.dumps([self.run.run_id, *told]), file=file)
    def log(self, values, step):
        if self.tracker.mood == "raise":
            raise OSError(28, "No space left on device")
        if self.tracker.mood == "die":
            os._exit(7)
        if self.tracker.mood == "leave":
            os._exit(0)
        if self.tracker.mood == "hang":
            time.sleep(3600)
        self._write("log", step, values)
    def end(self, status, values):
        self._write("end", status, values)

class Own(Tracker):
    module: str = "json"
    install: str = "nothing"
    mood: str = ""
    def begin(self, run):
        told = Told(self, run)
        told._write("begin", run.name, dict(run.settings))
        return told

@hookimpl
def harness_trackers():
    moods = {"own": "", "full": "raise", "dead": "die", "gone": "leave", "hung": "hang"}
    return [Own(name=name, mood=mood) for name, mood in moods.items()] + [
        Own(name="absent", module="no_such_module", install="pip install no-such-module")
    ]
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Options that load the trackers above; what they were told is in `told.txt`."""
    plugin = tmp_path / "own_trackers.py"
    plugin.write_text(OWN)
    monkeypatch.setenv("TOLD", str(tmp_path / "told.txt"))
    return "-p", str(plugin)


def told(tmp_path):
    return [json.loads(line) for line in (tmp_path / "told.txt").read_text().splitlines()]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_tracker_hears_of_a_test_figure_only_when_the_run_has_ended(tmp_path, own, jobs):
    done = bench(tmp_path / "out", *own, "--track", "own", jobs=jobs)
    assert "changed what other runs share" not in done.output
    heard = {}
    for run_id, *event in told(tmp_path):
        heard.setdefault(run_id, []).append(event)
    made = records(tmp_path / "out")
    assert heard.keys() == made.keys()
    for run_id, (begin, *epochs, end) in heard.items():
        assert begin[0] == "begin"
        assert [one[:2] for one in epochs] == [["log", 1], ["log", 2]]
        assert not [name for one in epochs for name in one[2] if "test" in name]
        assert end[:2] == ["end", "ok"]
        run = made[run_id]
        assert end[2][f"final/test/{METRIC}"] == run.metrics[METRIC].value
        assert begin[2]["strategy"] == run.spec.strategy
        assert begin[2]["weights"] == "none"


def test_no_tracker_hears_of_an_image(tmp_path, own):
    bench(tmp_path / "out", *own, "--track", "own", "--strategies", "full-ft")
    text = (tmp_path / "told.txt").read_text()
    ids = [
        s["id"]
        for p in (tmp_path / "out/splits").iterdir()
        for s in json.loads(p.read_text())["samples"]
    ]
    assert "train-03" in ids
    assert not [name for name in ids if name in text]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("full", "tracker full: OSError: [Errno 28] No space left on device"),
        ("dead", "tracker dead: its process ended with exit code 7"),
    ],
)
def test_a_tracker_that_fails_costs_no_run_and_is_told_once(tmp_path, own, name, said):
    done = bench(tmp_path / "out", *own, "--track", f"{name},own", "--seeds", "0,1")
    assert done.output.count(f"tracker {name}") == 1
    assert said in done.output
    assert "the runs go on and are kept" in done.output
    assert len(runs(tmp_path / "out")) == 6
    assert len([event for event in told(tmp_path) if event[1] == "end"]) == 6


def test_a_tracker_that_ends_its_process_without_an_error_is_told(tmp_path, own):
    done = bench(tmp_path / "out", *own, "--track", "gone", "--seeds", "0,1")
    assert done.output.count("tracker gone") == 1
    assert "tracker gone: its process ended with exit code 0" in done.output


def test_a_tracker_that_hangs_is_left_behind(tmp_path, own, monkeypatch):
    monkeypatch.setattr(tracking, "SECONDS_TO_END", 3.0)
    began = time.monotonic()
    done = bench(tmp_path / "out", *own, "--track", "hung")
    assert "tracker hung: it did not take everything within 3 s, and was ended" in done.output
    assert len(runs(tmp_path / "out")) == 3
    assert time.monotonic() - began < 1800  # it sleeps for an hour


def test_an_interrupted_run_is_told_as_stopped(tmp_path, own, monkeypatch):
    monkeypatch.setenv("HARNESS_TOY", "interrupt")
    bench(tmp_path / "out", *own, "--track", "own", "--strategies", "moody", exit_code=130)
    assert told(tmp_path)[-1][1:] == ["end", "stopped", {}]


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_unknown_trackers_and_missing_libraries_are_told_before_work(tmp_path, own, more):
    done = bench(tmp_path / "out", *own, "--track", "tensorbord", *more, exit_code=2)
    assert "unknown tracker 'tensorbord'; did you mean 'tensorboard'?" in done.output
    done = bench(tmp_path / "out", *own, "--track", "absent", *more, exit_code=2)
    assert "--track absent needs the package 'no_such_module'" in done.output
    assert "pip install no-such-module" in done.output
    assert not (tmp_path / "out").exists()


def test_without_track_nothing_is_told(tmp_path, own):
    bench(tmp_path / "out", *own, "--strategies", "full-ft")
    assert not (tmp_path / "told.txt").exists()
    assert not (tmp_path / "out/trackers").exists()


def test_trackers_are_listed_with_what_installs_them():
    listed = json.loads(Cli((TOY,))("list", "trackers", "--json").stdout)["trackers"]
    assert {"tensorboard", "mlflow", "wandb", "trackio"} <= {one["name"] for one in listed}
    for one in listed:
        assert one["installed"] == (find_spec(one["name"]) is not None)
        assert Path(one["plugin"]).name == one["name"]


def test_a_fault_in_the_middle_of_runs_is_told_once_and_the_tracker_no_more(tmp_path):
    """Toy runs end before a process has begun, so this one stands for it."""

    class Broken:
        heard = killed = 0

        def tell(self, event):
            self.heard += 1

        def fault(self):
            return "it broke"

        def kill(self):
            self.killed += 1

    watched = tracking.Tracking((), load_plugins([TOY]), tmp_path)
    broken = Broken()
    watched.open["mine"] = broken
    spec, _ = toy_run(Moody())
    first = watched.hear("harness_run_start", spec=spec)
    assert len(first) == 1
    assert "tracker mine: it broke; the runs go on" in first[0]
    assert watched.hear("harness_run_start", spec=spec) == []
    assert (broken.heard, broken.killed) == (1, 1)
