"""Mistakes at the Python API: one message each, that of the command, and nothing is written."""

import sys
from pathlib import Path

import numpy as np
import pytest
from command import Cli
from places import TOY

import harness
from harness.calls import arguments
from harness.errors import HarnessError, PluginError, StoreError, UsageError
from harness.plugins.registry import load_plugins

LOADED = load_plugins([TOY])
BENCH = [
    ({"suite": "toyy"}, ["toyy"], "unknown suite 'toyy'; did you mean 'toy'?"),
    ({"strategies": ["lp-tf"]}, ["toy", "--strategies", "lp-tf"],
     "unknown strategy 'lp-tf'; did you mean 'lp-ft'?"),
    ({"datasets": "toy-dat"}, ["toy", "--datasets", "toy-dat"],
     "unknown dataset 'toy-dat'; did you mean 'toy-data'?"),
    ({"backbones": ("resnet5",)}, ["toy", "--backbones", "resnet5"],
     "unknown backbone 'resnet5'; did you mean 'resnet50'?"),
    ({"seeds": "0,x"}, ["toy", "--seeds", "0,x"], "--seeds 0,x: give whole numbers, as in 0,1,2"),
    ({"jobs": 0}, ["toy", "--jobs", "0"],
     "Invalid value for '--jobs': 0 is not in the range x>=1."),
    ({"limit": 0}, ["toy", "--limit", "0"],
     "Invalid value for '--limit': 0 is not in the range x>=1."),
    ({"epochs": 0.0}, ["toy", "--epochs", "0"],
     "Invalid value for '--epochs': 0.0 is not in the range x>0."),
    ({"epochs": float("nan")}, ["toy", "--epochs", "nan"],
     "Invalid value for '--epochs': nan is not a finite number."),
    ({"engine": "fats"}, ["toy", "--engine", "fats"],
     "Invalid value for '--engine': 'fats' is not one of 'fast', 'reference'."),
    ({"set": {"moody.rat": 1}}, ["toy", "--set", "moody.rat=1"],
     "--set moody.rat=1: moody has no setting 'rat'; did you mean 'rate'?"),
    ({"set": {"moody.rate": "fast"}}, ["toy", "--set", "moody.rate=fast"],
     "settings of strategy 'moody': rate: Input should be a valid number"),
    ({"data": {"x": "/no/where"}}, ["--data", "x=/no/where"],
     "--data x=...: /no/where does not exist"),
    ({"data": "images"}, ["--data", "images"],
     "--data 'images': write NAME=FOLDER or MODALITY:NAME=FOLDER"),
    ({"data": {"Ward": Path()}}, ["--data", "Ward=."],
     "--data 'Ward=.': 'Ward' is no id; use lower-case letters, digits and hyphens"),
    ({"window": {"ward": "lung"}}, ["toy", "--window", "ward:lung"],
     "--window ward:lung: it is for folders of --data, and none is given"),
    ({"shard": "3/2"}, ["toy", "--shard", "3/2"],
     "--shard 3/2: give I/N with I from 1 to N, as in 2/4"),
    ({"splits": "many"}, ["toy", "--splits", "many"],
     "--splits many: give a number of random splits, paired (one a seed), or a file that is there"),
    ({"device": "tpu"}, ["toy", "--device", "tpu"],
     "--device tpu: it must be auto, cpu, cuda or cuda:N"),
    ({"trials": 2}, ["toy", "--trials", "2"], "--trials 2: suite 'toy' does not tune"),
    ({"track": "tensorbord"}, ["toy", "--track", "tensorbord"],
     "unknown tracker 'tensorbord'; did you mean 'tensorboard'?"),
]  # fmt: skip


def refused(call, kind=UsageError):
    """The one message of a call that is refused before anything is done."""
    with pytest.raises(HarnessError) as caught:
        call()
    assert isinstance(caught.value, kind)
    return str(caught.value)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """Nothing may be left behind in the current folder."""
    monkeypatch.chdir(tmp_path)
    yield
    assert [path.name for path in tmp_path.iterdir() if path.name != "given"] == []


@pytest.mark.parametrize(("given", "args", "message"), BENCH, ids=lambda one: str(one)[:40])
def test_a_mistake_has_the_message_of_the_command(given, args, message):
    given = given if {"suite", "data"} & given.keys() else {"suite": "toy", **given}
    told = refused(lambda: harness.bench(**given, out="out", plugins=LOADED))
    done = Cli((TOY,))("bench", *args, "--out", "out", exit_code=2)

    assert message in told
    assert told.splitlines()[0] in done.stderr
    assert refused(lambda: harness.dry_run(**given, out="out", plugins=LOADED)) == told


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"seeds": [0, 0.5]}, "--seeds [0, 0.5]: give whole numbers, as in 0,1,2"),
        ({"jobs": "two"}, "Invalid value for '--jobs': 'two' is not a whole number."),
        ({"threads": True}, "Invalid value for '--threads': True is not a whole number."),
        ({"limit": 2.5}, "Invalid value for '--limit': 2.5 is not a whole number."),
        ({"epochs": "3"}, "Invalid value for '--epochs': '3' is not a number."),
        ({"retry_failed": "no"},
         "Invalid value for '--retry-failed': 'no' is neither True nor False."),
        ({"strategies": 3}, "--strategies 3: give names, in a text with commas or in a list"),
        ({"data": {"ward": 3}}, "--data {'ward': 3}: in a dict, give names and texts or paths"),
        ({"set": {"moody.rate": object}}, "give numbers and texts"),
        ({"labels": [0.1]}, "--labels [0.1]: give numbers or texts, one or several"),
        ({"shard": (0, 2)}, "--shard (0, 2): give I/N with I from 1 to N, as in 2/4"),
        ({"device": 0}, "--device 0: give 'auto', 'cpu', 'cuda' or 'cuda:N'"),
        ({"out": 3}, "--out 3: give a path, as a text or a Path"),
        ({"plugins": [3]}, "--plugin [3]: name a module, a file or an installed plugin"),
        ({"plugins": 3}, "--plugin 3: name a module, a file or an installed plugin"),
    ],
)  # fmt: skip
def test_a_value_of_another_kind_is_named_with_what_it_should_be(given, message):
    told = refused(lambda: harness.bench("toy", **{"out": "out", "plugins": LOADED, **given}))
    assert message in told


def test_no_number_below_the_least():
    told = refused(lambda: arguments.whole("--jobs", np.int64(0), 1))
    assert told == "Invalid value for '--jobs': 0 is not in the range x>=1."
    assert arguments.whole("--jobs", np.int64(3), 1) == 3


def test_out_may_be_no_file(tmp_path):
    (tmp_path / "given").write_text("x")
    told = refused(lambda: harness.bench("toy", out=Path("given"), plugins=TOY))
    assert told == "--out given: it is a file; name a folder"
    assert told in Cli((TOY,))("bench", "toy", "--out", "given", exit_code=2).stderr


def test_a_plugin_that_is_not_there_is_named():
    told = refused(lambda: harness.bench("toy", plugins="./mine.py"), PluginError)
    assert "mine.py" in told
    assert told in Cli(("./mine.py",))("bench", "toy", exit_code=2).stderr


# -- folders --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "args", "message"),
    [
        (lambda: harness.load("nowhere"), ["board", "nowhere"],
         "nowhere holds no runs; `harness bench --out nowhere` makes some"),
        (lambda: harness.load("given"), ["board", "given"],
         "given is a file: give a results folder"),
        (lambda: harness.verify("nowhere"), ["verify", "nowhere"],
         "nowhere is no folder and no package"),
        (lambda: harness.check("a", "b", tolerance="x=y"),
         ["check", "a", "b", "--tolerance", "x=y"],
         "--tolerance x=y: give points, as in 2 or 'xray/*=2'"),
        (lambda: harness.check("a", "b", fail_on="wrose"),
         ["check", "a", "b", "--fail-on", "wrose"], "--fail-on wrose; did you mean 'worse'?"),
        (lambda: harness.compare("a", "b", metric="acc"), ["compare", "a", "b", "--metric", "acc"],
         "the gate compares balanced-accuracy or accuracy, not acc"),
        (lambda: harness.audit("skn"), ["data", "audit", "skn"], "unknown dataset 'skn'"),
        (harness.audit, ["data", "audit"], "name datasets"),
        (lambda: harness.predict("abc/d", "given", out="p.txt"),
         ["predict", "abc/d", "given", "--out", "p.txt"], "--out p.txt: the name must end in .csv"),
        (lambda: harness.predict("abc/d", ["given"], out="p.csv"),
         ["predict", "abc/d", "given", "--out", "p.csv"], "'abc/d' is no run"),
        (lambda: harness.export("abc/d", "out"), ["export", "abc/d", "--out", "out"],
         "'abc/d' is no run"),
    ],
)  # fmt: skip
def test_a_folder_or_name_that_does_not_do_has_the_message_of_the_command(
    call, args, message, tmp_path
):
    (tmp_path / "given").write_text("x")
    told = refused(call)

    assert message in told
    assert told in Cli()(*args, exit_code=2).stderr


def test_a_folder_without_runs_cannot_be_compared():
    told = refused(lambda: harness.compare("nowhere", "nowhere"), StoreError)
    assert told == "nowhere holds no runs; is it a results folder?"


def test_no_folder_at_all_is_an_error():
    assert refused(harness.load) == "FOLDER: name at least one results folder"
    told = refused(lambda: harness.load(["a", "b"]))
    assert told == "FOLDER ['a', 'b']: give a path, as a text or a Path"


# -- results --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    from small_folder import small_folder

    return harness.load(small_folder(tmp_path_factory.mktemp("small") / "results"), ranks_only=True)


def test_a_table_or_plot_that_is_not_known_is_named_with_the_nearest(small):
    told = refused(lambda: small.to_pandas("run"))
    assert told.startswith("unknown table 'run'; did you mean 'runs'?; there are: blocks")
    assert refused(lambda: small.to_pandas(3)).startswith("table 3: give one of runs, rows")
    told = refused(lambda: small.plot("difference"))
    assert told.startswith("unknown plot 'difference'; did you mean 'differences'?")
    assert refused(lambda: small.track("x")).startswith("unknown track 'x'; there are: demo")
    assert refused(lambda: small.render("pdf")).startswith(
        "unknown format 'pdf'; there are: claims"
    )


def test_what_has_no_figures_is_not_drawn(small):
    pytest.importorskip("matplotlib")
    assert "has no differences to draw" in refused(small.plot)


def test_loaded_results_have_no_profile(small):
    assert refused(small.profile) == "no profile: these results were loaded, and nothing was run"


@pytest.mark.parametrize(
    ("library", "call"),
    [("pandas", lambda small: small.to_pandas()), ("matplotlib", lambda small: small.plot())],
)
def test_a_missing_extra_says_what_to_install(library, call, small, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)  # as if it were not installed
    told = refused(lambda: call(small))
    assert f"needs {library}, which is not installed: " in told
    assert told.endswith("pip install 'finetune-harness[notebook]'")


def test_a_metric_that_is_not_known_is_named(small):
    told = refused(lambda: harness.load(*small.folders, metric="acuracy"))
    assert told.startswith("unknown metric 'acuracy'; did you mean 'accuracy'")
    assert told in Cli()("board", small.folders[0], "--metric", "acuracy", exit_code=2).stderr
