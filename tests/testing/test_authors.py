"""Mistakes that authors of plugins make: what `plugins check` and `bench` say of each, once."""

from types import SimpleNamespace

import pytest
from command import python

from harness.plugins.registry import load_plugins
from harness.testing import BrokenPromise, promises
from harness_pytest import pytest_pyfunc_call

HEAD = """
from collections import OrderedDict

from harness import Backbone, Dataset, Distance, Metric, Phase, Strategy, hookimpl


class Mine(Strategy):
    name = "mine"

    def phases(self, model, epochs):
        PHASES


def harness_strategies():
    return [OFFER]


if MARK:
    harness_strategies = hookimpl(harness_strategies)
"""


def strategy(phases="yield Phase('ft', epochs, {'*': 1.0})", offer="Mine", *, mark=True):
    return HEAD.replace("PHASES", phases).replace("OFFER", offer).replace("MARK", str(mark))


def metric(body, offer="Metric.of('mine', figure)"):
    return (
        "from harness import Metric, hookimpl\n"
        f"def figure(probabilities, targets):\n    {body}\n"
        f"@hookimpl\ndef harness_metrics():\n    return [{offer}]\n"
    )


def backbone(chain, stages="('stem', 'head')"):
    return f"""
from collections import OrderedDict

from harness import Backbone, hookimpl


class Net(Backbone):
    name: str = "mine"
    stages: tuple[str, ...] = {stages}

    def build(self, classes):
        from torch import nn

        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes))
        return {chain}


@hookimpl
def harness_backbones():
    return [Net()]
"""


def dataset(tables):
    return f"""
from harness import Dataset, hookimpl


class Images(Dataset):
    def load(self, access):
        import datasets

        return {tables}


@hookimpl
def harness_datasets():
    return [Images(name="mine", modality="xray", source="here", licence="CC0-1.0")]
"""


# Told when the plugin is loaded, so that both commands say the same.
AT_ONCE = {
    "a misspelt hook": (
        strategy(mark=False) + "\nharness_strategy = hookimpl(harness_strategies)\n"
        "del harness_strategies\nharness_strategy.__name__ = 'harness_strategy'\n",
        "unknown hook 'harness_strategy'; did you mean 'harness_strategies'?",
    ),
    "no mark": (
        strategy(mark=False),
        "harness_strategies is never called: it lacks the decorator @hookimpl",
    ),
    "no mark and a misspelt hook": (
        strategy(mark=False) + "\nharness_strategy = harness_strategies\ndel harness_strategies\n",
        "it lacks the decorator @hookimpl, and is no hook; did you mean 'harness_strategies'?",
    ),
    "no hook at all": (
        "from harness import Strategy\n",
        "does nothing: no function in it bears @hookimpl",
    ),
    "an instance for a class": (
        strategy(offer="Mine()"),
        "harness_strategies offers Mine(); offer the class itself",
    ),
    "a name that is taken": (
        strategy().replace('"mine"', '"lp-ft"'),
        "give 'lp-ft' a name of its own",
    ),
    "a method that is misspelt": (
        strategy().replace("def harness_str", "Mine.adpat = lambda self, model, rng: model\n\ndef harness_str", 1),
        "Mine.adpat() is never called; did you mean 'adapt'?",
    ),
    "phase for phases": (
        strategy().replace("def phases", "def phase"),
        "strategy class Mine does not define phases(); is phase() meant to be it?",
    ),
    "a setting without a type": (
        strategy().replace('"mine"', '"mine"\n    alpha = 0.1'),
        "A non-annotated attribute was detected: `alpha = 0.1`",
    ),
    "a function for a metric": (
        metric("return 0.5", "figure"),
        "not a harness.Metric; make it one: Metric.of('figure', figure)",
    ),
    "a function for build": (
        metric("return 0.5", "Metric('mine', figure)"),
        "and is called with nothing; a plain function is Metric.of('mine', figure)",
    ),
    "a metric of one argument": (
        metric("return 0.5").replace("probabilities, targets", "probabilities"),
        "metric 'mine': figure(probabilities) is called with probabilities and targets, in place",
    ),
}  # fmt: skip

# Told by the run, or by the data.
LATER = {
    "no yield": (
        strategy("return [Phase('ft', epochs, {'*': 1.0})]"),
        "phases() returns list; write it with `yield`",
    ),
    "a tuple": (
        strategy("yield 'ft', epochs"),
        "which is none of Phase, SolveHead and Interpolate",
    ),
    "a stage that is not there": (
        strategy("yield Phase('ft', epochs, {'heda': 1.0})"),
        "phase 'ft' trains 'heda', which is no parameter; did you mean 'head'?",
    ),
    "a list of stages": (
        strategy("yield Phase('ft', epochs, ('head',))"),
        "phase 'ft' trains ('head',), which says no number for each; write train={'head': 1.0}",
    ),
    "a misspelt field": (
        strategy("yield Phase('ft', epochs, {'*': 1.0}, patiense=False)"),
        "Phase has no field 'patiense'; did you mean 'patience'?",
    ),
    "a misspelt value": (
        strategy("yield Phase('ft', epochs, {'*': 1.0}, norm='evl')"),
        "phase 'ft': norm is 'evl'; did you mean 'eval'?",
    ),
    "a setting that changes": (
        strategy("self.count = 1\n        yield Phase('ft', epochs, {'*': 1.0})"),
        "count: it is fixed once it is made; keep what changes in a local variable",
    ),
    "a loss of each sample": (
        strategy("yield Phase('ft', epochs, {'*': 1.0}, objective=Each())")
        + "\nclass Each:\n    capturable = False\n    def __call__(self, model, batch):\n"
        "        return model(batch.inputs).sum(1)\n",
        "phase 'ft': its objective gives a tensor [",
    ),
    "adapt without return": (
        strategy().replace("def phases", "def adapt(self, model, rng):\n        model.train()\n\n    def phases"),
        "strategy 'mine': adapt() returns NoneType; it must return the network",
    ),
    "a network for a chain": (
        backbone("nn.ModuleList([head])"),
        "build() returns ModuleList",
    ),
    "other classes": (
        backbone("nn.Sequential(OrderedDict(stem=nn.Conv2d(3, 8, 3), head=nn.Sequential(*head[:2], nn.Linear(8, 10))))"),
        "gives 10 logits",
    ),
    "columns of two lengths": (
        dataset("{'train': datasets.Dataset.from_dict({'label': ['a', 'b'], 'id': ['1']})}"),
        "expected length 2 but got length 1",
    ),
    "a split that is none": (
        dataset("{'train': datasets.Dataset.from_dict({'label': ['a']}), 'val': None}"),
        "has a split named val; the names are train, validation, test",
    ),
    "a figure that is an array": (
        metric("return probabilities.max(1)"),
        "its function must return a number, as float(...) makes one",
    ),
    "no figure": (
        metric("return float('nan')"),
        "the metric returned nan",
    ),
}  # fmt: skip
# `plugins check` looks at the network on its own, so it has words of its own.
CHECKED = {
    "other classes": "give logits [1, 10], not [1, 2]",
    "a split that is none": "it has a split 'val'; the splits are train, validation, test",
}
CHOSEN = {"Strategy": "--strategies", "Backbone": "--backbones", "Dataset": "--datasets"}


def written(tmp_path, code):
    path = tmp_path / "mistake.py"
    path.write_text(code)
    return path


def asked(code):
    """The options of `bench` that use what a plugin offers."""
    if "harness_metrics" in code:
        return ["--set", "protocol.metric=mine", "--strategies", "moody"]
    kind = next(kind for kind in CHOSEN if f"({kind})" in code)
    rest = [] if kind == "Strategy" else ["--strategies", "full-ft"]
    return [CHOSEN[kind], "mine", *rest, "--weights", "none"]


@pytest.mark.parametrize("mistake", AT_ONCE)
def test_what_is_wrong_when_it_is_loaded(mistake, tmp_path, toy_cli):
    code, message = AT_ONCE[mistake]
    plugin, name = written(tmp_path, code), "mistake" if '"lp-ft"' in code else "mine"
    options = ("--strategies", "mine") if "harness_metrics" not in code else asked(code)
    checked = toy_cli("plugins", "check", name, "-p", plugin, exit_code=None)
    run = toy_cli("bench", "toy", *options, "-p", plugin, "--out", tmp_path / "out", exit_code=2)

    for done in (checked, run):
        assert done.stderr.count(message) == 1
        assert f"{plugin}" in done.stderr
    if name == "mine":
        assert checked.exit_code == 2
        for done in (checked, run):  # and not the names of all that there is
            assert "first mend plugin 'mistake', which may offer it" in done.stderr
            assert "full-ft" not in done.stderr


@pytest.fixture
def _loads_fast(monkeypatch):
    """Imports of each file are looked for elsewhere: it takes a process of its own."""
    monkeypatch.setattr("harness.testing.loading._heavy_imports", lambda *_: {"mistake": []})


@pytest.mark.usefixtures("_loads_fast")
@pytest.mark.parametrize("mistake", LATER)
def test_what_is_wrong_when_it_is_used(mistake, tmp_path, toy_cli):
    code, message = LATER[mistake]
    plugin = written(tmp_path, code)
    checked = toy_cli("plugins", "check", "mine", "-p", plugin, exit_code=1).output
    run = toy_cli(
        "bench", "toy", *asked(code), "-p", plugin, "--seeds", "0", "--in-process",
        "--out", tmp_path / "out", exit_code=None,
    )  # fmt: skip

    assert checked.count(CHECKED.get(mistake, message)) == 1
    assert checked.count("  broken  ") == 1
    assert checked.count("the rule: ") == 1
    # Told as it happens, and in the list at the end; a figure that is undefined is no fault.
    before, _, end = run.stderr.rpartition(" failed (")
    assert "Traceback" not in run.output
    assert end.count(message) == (mistake != "no figure")
    assert before.count(message) <= 1


def test_runs_that_fail_alike_are_one_line(tmp_path, toy_cli):
    plugin = written(tmp_path, strategy("yield Phase('ft', epochs, {'heda': 1.0})"))
    said = toy_cli(
        "bench", "toy", "--strategies", "mine", "--seeds", "0,1,2", "-p", plugin, "--in-process",
        "--out", tmp_path / "out", exit_code=1,
    ).stderr  # fmt: skip

    end = said.rpartition("3 runs failed (")[2]

    assert "mine, seed 0 and 2 more: phase 'ft' trains 'heda'" in end
    assert end.count("'heda'") == 1
    assert "`harness plugins check mine toy`, with the -p of this call" in end


# -- what is imported -----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "seen"),
    [
        ("from sklearn import metrics", "it imports sklearn when it is loaded ({plugin}:1)"),
        ("try:\n    import datasets\nexcept ImportError:\n    pass", "it imports datasets"),
        ("import torchvision", "it imports torch when it is loaded ({plugin}:1)"),
        ("import numpy\ndef later(): import torch", ""),
    ],
)
def test_a_heavy_import_at_the_top_is_noticed(line, seen, tmp_path, harness_cli):
    plugin = written(
        tmp_path,
        f"{line}\nfrom harness import hookimpl\n@hookimpl\ndef harness_suites(): return []\n",
    )
    done = harness_cli(
        "plugins", "check", "mistake", "--light", "-p", plugin, exit_code=None
    ).stdout  # fmt: skip

    broken = [line for line in done.splitlines() if line.startswith("  broken")]
    wanted = [f"  broken     loads-fast: {seen.format(plugin=plugin)}"] if seen else []
    assert [line[: len(text)] for line, text in zip(broken, wanted, strict=True)] == wanted


# -- one line for what waits ----------------------------------------------------------------------


@pytest.mark.usefixtures("_loads_fast")
def test_what_cannot_be_checked_is_one_line(tmp_path, harness_cli):
    plugin = written(tmp_path, strategy("return []"))
    lines = harness_cli("plugins", "check", "mine", "-p", plugin, exit_code=1).stdout.splitlines()
    unchecked = [line for line in lines if line.startswith("  unchecked")]

    assert len(unchecked) == 1
    assert unchecked[0].startswith("  unchecked  until 'runs' is kept: within-budget, any-budget")
    assert lines[-1] == "4 of 17 promises kept"


def given(*waiting):
    """pytest's item of the first promise of these, in a session of all of them."""
    items = [SimpleNamespace(callspec=SimpleNamespace(params={"promise": p})) for p in waiting]
    items[0].session = SimpleNamespace(items=items)
    return items[0]


def outcome_of(item):
    with pytest.raises(BrokenPromise) as broken:
        item.callspec.params["promise"].check()
    call = pytest_pyfunc_call(item)
    next(call)
    with pytest.raises((BrokenPromise, pytest.skip.Exception)) as caught:
        call.throw(broken.value)
    return caught.value


def test_pytest_skips_what_waits_only_beside_what_it_waits_for(tmp_path):
    loaded = load_plugins([str(written(tmp_path, strategy("return []")))])
    by_name = {one.name: one for one in promises("mine", loaded=loaded)}
    runs, frozen = by_name["runs"], by_name["frozen-stays"]

    assert "breaks the promise 'runs'" in str(outcome_of(given(runs, frozen)))
    together, alone = outcome_of(given(frozen, runs)), outcome_of(given(frozen))
    assert isinstance(together, pytest.skip.Exception)
    assert str(together).endswith("until the promise 'runs' is kept")
    assert isinstance(alone, BrokenPromise)
    assert alone.see == "runs"


@pytest.mark.slow
def test_pytest_fails_for_the_broken_promise_alone(tmp_path):
    written(tmp_path, strategy("return []"))
    (tmp_path / "test_mine.py").write_text(
        "import pytest\n"
        "from harness.plugins.registry import load_plugins\n"
        "from harness.testing import promises\n"
        "LOADED = load_plugins(['./mistake.py'])\n"
        "@pytest.mark.parametrize('promise', promises('mine', loaded=LOADED), ids=str)\n"
        "def test_promise(promise): promise.check()\n"
    )
    options = ("-p", "harness_pytest", "-p", "no:cacheprovider")
    last = python("-m", "pytest", *options, cwd=tmp_path, exit_code=1).stdout.splitlines()[-1]

    assert "1 failed, 4 passed, 12 skipped" in last


# -- own images -----------------------------------------------------------------------------------


COUNTING = strategy(
    "print('classes', model.class_counts)\n        yield Phase('ft', epochs, {'*': 1.0})"
)


@pytest.fixture
def ward(tmp_path):
    """A folder of 40 + 20 + 20 images of four classes."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for number in range(100):
        folder = tmp_path / "ward" / "abcd"[number % 4]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 255, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "ward"


@pytest.mark.slow
def test_a_strategy_is_checked_on_own_images(ward, tmp_path, harness_cli):
    plugin = written(tmp_path, COUNTING)
    done = harness_cli("plugins", "check", "mine", "--data", f"xray:ward={ward}", "-p", plugin)
    lines = done.stdout.splitlines()

    assert lines[0] == "dataset 'ward'"
    assert any(
        line.startswith("strategy 'mine' of") and line.endswith(", on images of 'ward'")
        for line in lines
    )
    classes = {line for line in lines if line.startswith("classes (")}
    assert classes
    assert all(line.count(",") == 3 for line in classes), (
        classes
    )  # four of them, not the toy's three
    assert lines[-1] == "26 of 26 promises kept"


def test_own_images_alone_are_checked(ward, harness_cli):
    lines = harness_cli("plugins", "check", "--data", f"xray:ward={ward}").stdout.splitlines()
    assert lines[0] == "dataset 'ward'"
    assert lines[-1] == "9 of 9 promises kept"


def test_a_strategy_waits_for_sound_images(ward, tmp_path, harness_cli):
    (ward / "a" / "0.png").write_bytes(b"no image")
    plugin = written(tmp_path, COUNTING)
    done = harness_cli(
        "plugins", "check", "mine", "--data", f"xray:ward={ward}", "-p", plugin, exit_code=2
    )
    assert done.stdout.count("  broken  ") == 1
    assert "images-decode" in done.stdout
    assert "classes (" not in done.stdout
    assert "mine not checked: first mend the data of --data, see above" in done.stderr


def test_data_that_is_not_there(harness_cli):
    said = harness_cli("plugins", "check", "--data", "ward=/no/where", exit_code=2).stderr
    assert "--data ward=...: /no/where does not exist" in said
