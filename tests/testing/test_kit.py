"""The conformance kit: every built-in passes it, and what is broken is caught by its own message."""

import importlib.util
import json
import random
import socket
import sys
import threading

import numpy as np
import pytest
import torch
from command import python
from places import DATA_FILES

from harness import (
    DataError,
    HarnessError,
    Phase,
    PluginError,
    Preprocessing,
    SolveHead,
    Strategy,
    UsageError,
)
from harness.plugins.registry import load_plugins
from harness.testing import (
    BrokenPromise,
    backbone,
    check_backbone,
    check_dataset,
    check_metric,
    check_strategy,
    dataset,
    metric,
    promises,
    strategy,
    suite,
)
from harness.testing.promise import Owner, Promise, Unchecked, check_all
from harness.testing.toys import ToyBackbone, ToyVgg
from harness.testing.watch import generators, moved, unseeded, watching

BROKEN = DATA_FILES / "broken_plugins"
BUILT_IN = load_plugins(environ={"HARNESS_NO_AUTOLOAD": "1"})


def plugin(name):
    """A file of broken plugins, imported as `-p` would."""
    spec = importlib.util.spec_from_file_location(name, BROKEN / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


STRATEGIES, BACKBONES = plugin("broken_strategies"), plugin("broken_backbones")
DATASETS, METRICS = plugin("broken_datasets"), plugin("broken_metrics")


METRIC_PROMISES = [
    "declaration", "gives-a-number", "builds", "offline", "within-range", "order-free", "best-is-best",
    "constant-predictor", "undefined-says-so", "deterministic", "global-randomness",
    "inputs-untouched",
]  # fmt: skip


def is_light(name):
    """Full networks are built on the meta device only; of datasets to fetch, only what they declare."""
    if name in BUILT_IN.backbones:
        return not BUILT_IN.backbones[name].miniature
    return name in BUILT_IN.datasets and not BUILT_IN.datasets[name].procedural


# -- what the harness brings keeps its promises ---------------------------------------------------


OFFERED = sorted(
    {
        name
        for one in BUILT_IN.plugins
        for kind, names in BUILT_IN.offers(one).items()
        if kind != "trackers"  # they make no promises: all that they do takes their library
        for name in names
    }
)
PROMISED = {
    str(one): one
    for name in OFFERED
    for one in promises(name, light=is_light(name), loaded=BUILT_IN)
}


@pytest.mark.slow
@pytest.mark.parametrize("promise", PROMISED.values(), ids=str)
def test_built_ins_keep_their_promises(promise):
    promise.check()


@pytest.mark.parametrize("network", [ToyBackbone(), ToyVgg()], ids=lambda one: one.name)
def test_the_toys_are_backbones_like_any_other(network):
    check_backbone(network)


# -- what is broken is caught ---------------------------------------------------------------------


def promise_broken(one, rules):
    """The promise a broken plugin is named after: of several that fit the longest."""
    fits = [rule.name for rule in rules if one.name.startswith(f"breaks-{rule.name}")]
    return max(fits, key=len)


CAUGHT = [
    *((one, strategy.RULES) for one in (*STRATEGIES.BROKEN, STRATEGIES.Defaults)),
    *((one, backbone.RULES) for one in BACKBONES.BROKEN),
    *((one, dataset.RULES) for one in DATASETS.BROKEN),
    *((one, metric.RULES) for one in METRICS.BROKEN),
]


@pytest.mark.slow
@pytest.mark.parametrize(("one", "rules"), CAUGHT, ids=lambda value: getattr(value, "name", ""))
def test_a_broken_promise_is_caught_by_its_own_message_and_nothing_else_is_blamed(one, rules):
    verdicts = {promise.name: promise.verdict() for promise in promises(one)}
    broken = {name: verdict.seen for name, verdict in verdicts.items() if verdict.state == "broken"}

    assert set(broken) == {promise_broken(one, rules), *one.also}
    assert one.message in broken[promise_broken(one, rules)]
    assert {rule.name for rule in rules} == set(verdicts)


@pytest.mark.parametrize(
    ("rules", "given"),
    [
        (strategy.RULES, [*STRATEGIES.BROKEN, STRATEGIES.Defaults]),
        (backbone.RULES, BACKBONES.BROKEN),
        (dataset.RULES, DATASETS.BROKEN),
        (metric.RULES, METRICS.BROKEN),
        (suite.RULES, STRATEGIES.harness_suites()),
    ],
    ids=["strategy", "backbone", "dataset", "metric", "suite"],
)
def test_every_promise_has_a_plugin_that_breaks_it(rules, given):
    assert {promise_broken(one, rules) for one in given} == {rule.name for rule in rules}
    assert len({rule.text for rule in rules}) == len(rules)


def test_a_metric_without_a_proper_name_is_caught():
    (unloadable,) = METRICS.UNLOADABLE
    with pytest.raises(BrokenPromise, match=r"its name is 'Top 1', not kebab-case"):
        check_metric(unloadable)


def test_what_depends_on_a_broken_promise_is_not_checked_and_says_so():
    verdicts = {one.name: one.verdict() for one in promises(STRATEGIES.WithinBudget)}

    assert verdicts["deterministic"].state == "unchecked"
    assert verdicts["deterministic"].seen == "the toy run ends early, see 'within-budget'"
    assert verdicts["settings-json"].state == "ok"


# -- the functions --------------------------------------------------------------------------------


def test_a_broken_promise_tells_which_where_what_and_the_rule():
    with pytest.raises(BrokenPromise) as caught:
        check_strategy(STRATEGIES.WithinBudget)

    broken = caught.value
    assert isinstance(broken, AssertionError)
    assert isinstance(broken, HarnessError)
    assert broken.promise == "within-budget"
    assert broken.where == "strategy 'breaks-within-budget'"
    assert broken.seen == "phase 'ft' asks for 4 epochs and 2 are left"
    assert broken.checked
    assert str(broken) == (
        "strategy 'breaks-within-budget' breaks the promise 'within-budget': phase 'ft' asks for 4 "
        "epochs and 2 are left. The rule: all phases together use at most the epochs given."
    )


def test_an_unchecked_promise_fails_too():
    (promise,) = (p for p in promises(STRATEGIES.WithinBudget) if p.name == "frozen-stays")
    with pytest.raises(BrokenPromise, match="could not be checked for the promise 'frozen-stays'"):
        promise.check()


@pytest.mark.parametrize(
    ("check", "broken", "message"),
    [
        (
            check_backbone,
            BACKBONES.Stages(),
            "backbone 'breaks-stages' breaks the promise 'stages'",
        ),
        (check_dataset, DATASETS.Labels(), "dataset 'breaks-labels' breaks the promise 'labels'"),
        (check_metric, METRICS.BROKEN[0], "metric 'breaks-declaration' breaks the promise"),
    ],
)
def test_every_kind_has_its_function(check, broken, message):
    with pytest.raises(BrokenPromise, match=message):
        check(broken)


class Rated(Strategy):
    """Sound by default, and not with every setting."""

    name = "rated"
    rate: float = 1.0

    def phases(self, model, epochs):
        yield Phase("ft", epochs, {"*": self.rate})


@pytest.mark.slow
def test_a_strategy_may_be_checked_with_its_settings():
    check_strategy(Rated)
    with pytest.raises(BrokenPromise, match="the promise 'finite-loss'"):
        check_strategy(Rated(rate=1e300))


class Solved(Strategy):
    """Solves the head, then starts again from the starting point and averages weights."""

    name = "solved"

    def phases(self, model, epochs):
        yield SolveHead("lp", (0.1, 1.0))
        yield Phase("a", epochs / 2, {"head": 1.0}, begin="best")
        yield Phase("b", epochs / 2, {"*": 1.0}, begin="pretrained", average="swa")


@pytest.mark.slow
def test_all_directives_are_understood():
    check_strategy(Solved)


def test_a_backbone_is_checked_with_the_sizes_that_it_declares():
    fixed = Preprocessing(size=64)
    check_backbone(BACKBONES.LogitsShape().model_copy(update={"preprocessing": fixed}))
    case = backbone.BackboneCase(ToyBackbone(preprocessing=Preprocessing(multiple=32)))
    assert case.sizes == ((32, 32), (64, 64), (96, 96), (224, 224))
    assert case.images.shape == (3, 3, 64, 64)
    wide = Preprocessing(size=100, multiple=14, bounds=(98, None))
    case = backbone.BackboneCase(ToyBackbone(preprocessing=wide))
    assert case.sizes == ((98, 98), (224, 224), (100, 100))
    assert case.images.shape == (3, 3, 98, 98)


class Sound(DATASETS.Broken):
    """Patients in several splits, which is what `grouped` is for; numbers for labels."""

    name: str = "sound"
    splits: str = "grouped"

    def rows(self, split):
        rows = super().rows(split)
        return [row | {"label": number % 2, "group": "p"} for number, row in enumerate(rows)]

    def load(self, access):
        if access.offline:
            raise DataError("not in the cache; fetch it first")
        return super().load(access)


class SoundTest(DATASETS.Broken):
    """Train and validation share patients; only test is official."""

    name: str = "sound-test"
    splits: str = "official-test"

    def rows(self, split):
        rows = super().rows(split)
        return rows if split == "test" else [row | {"group": "p"} for row in rows]


@pytest.mark.parametrize("one", [Sound(), SoundTest()], ids=lambda one: one.name)
def test_what_a_dataset_may_do(one):
    check_dataset(one)


def test_what_could_not_be_checked_is_no_success():
    def attempt():
        raise Unchecked("nobody was there")

    promise = Promise("made", "whatever", Owner("it", "strategy 'it'", "made"), attempt)
    with pytest.raises(BrokenPromise, match=r"could not be checked .*: nobody was there") as caught:
        check_all([promise])
    assert not caught.value.checked


def test_light_leaves_out_what_computes():
    assert [p.name for p in promises(DATASETS.Labels(), light=True)] == ["declaration"]
    light = {p.name for p in promises(ToyBackbone(), light=True)}
    assert "logits-shape" in light
    assert "state-dict" not in light


def test_promises_of_a_plugin_are_those_of_all_it_offers():
    found = promises("starting-point", loaded=BUILT_IN)
    assert {one.owner.name for one in found} == {"l1-sp", "l2-sp", "starting-point"}
    assert len(found) == 2 * 16 + 1
    assert str(found[0]) == "l1-sp-defaults"


def test_names_that_promise_nothing():
    with pytest.raises(UsageError, match="unknown plugin or offer 'lp-tf'; did you mean 'lp-ft'"):
        promises("lp-tf", loaded=BUILT_IN)
    with pytest.raises(UsageError, match="makes no promises: give a strategy, a backbone"):
        promises(Phase("ft", 1.0, {}))


def test_a_plugin_that_was_left_out_is_an_error(tmp_path):
    (tmp_path / "absent.py").write_text("import no_such_module")
    with pytest.raises(PluginError, match=r"plugin 'absent' .* is left out: ModuleNotFoundError"):
        promises("absent", loaded=load_plugins([str(tmp_path / "absent.py")]))


# -- the command ----------------------------------------------------------------------------------


def test_the_command_prints_a_line_a_promise(harness_cli):
    lines = harness_cli("plugins", "check", "folders", "cohen-kappa").stdout.splitlines()

    assert lines[0].startswith("suite 'folders' of plugin 'suites' (finetune-harness ")
    assert lines[1:3] == ["  ok         names-exist", "  ok         settings-fit"]
    assert lines[3].startswith("plugin 'suites' (finetune-harness ")
    assert lines[4] == "  ok         loads-fast"
    assert lines[5].startswith("metric 'cohen-kappa' of plugin 'metrics' (finetune-harness ")
    assert lines[-1] == "16 of 16 promises kept"


@pytest.mark.slow
def test_a_broken_promise_is_exit_code_1_with_the_reason_and_the_rule(harness_cli):
    found = harness_cli(
        "plugins",
        "check",
        "breaks-search-space",
        "-p",
        BROKEN / "broken_strategies.py",
        exit_code=1,
    )

    assert (
        "  broken     search-space: the default rate = 2.0 lies outside 0.001 to 1.0\n"
        "             the rule: a `Search` runs upwards, holds the default, and every value in it "
        "is allowed\n"
    ) in found.stdout
    assert found.stdout.splitlines()[-1] == "16 of 17 promises kept"


def test_broken_suites(harness_cli):
    named = harness_cli(
        "plugins", "check", "breaks-names-exist", "-p", BROKEN / "broken_strategies.py", exit_code=1
    ).stdout
    assert "it names the dataset 'demo-xrays'; did you mean 'demo-xray'?" in named
    settings = harness_cli(
        "plugins",
        "check",
        "breaks-settings-fit",
        "-p",
        BROKEN / "broken_strategies.py",
        exit_code=1,
    ).stdout
    assert "settings of strategy 'lp-ft': probe: Input should be less than 1" in settings


def test_json_holds_every_verdict(harness_cli):
    found = json.loads(
        harness_cli(
            "plugins",
            "check",
            "breaks-within-range",
            "--json",
            "-p",
            BROKEN / "broken_metrics.py",
            exit_code=1,
        ).stdout
    )

    assert [one["promise"] for one in found] == [*METRIC_PROMISES, "loads-fast"]
    (broken,) = (one for one in found if one["state"] == "broken")
    assert (
        broken["where"]
        == "metric 'breaks-within-range' of plugin 'broken_metrics' ("
        + str(BROKEN / "broken_metrics.py")
        + ")"
    )
    assert "its range is 0 to 1" in broken["seen"]
    assert broken["rule"] == "values lie in the declared range"


def test_a_name_given_twice_is_checked_once(harness_cli):
    once, twice = (
        harness_cli("plugins", "check", *names).stdout
        for names in (["folders"], ["folders", "folders"])
    )
    assert once == twice


def test_light_on_the_command_line(harness_cli):
    assert (
        harness_cli("plugins", "check", "vgg19", "--light").stdout.splitlines()[-1]
        == "8 of 8 promises kept"
    )


def test_a_plugin_that_offers_nothing_is_checked_as_a_whole(harness_cli):
    lines = harness_cli("plugins", "check", "local-engine").stdout.splitlines()

    assert lines[0].startswith("plugin 'local-engine' (finetune-harness ")
    assert lines[1:] == ["  ok         loads-fast", "1 of 1 promises kept"]


def test_names_the_command_does_not_know(tmp_path, harness_cli):
    assert "did you mean 'lp-ft'" in harness_cli("plugins", "check", "lp-fr", exit_code=2).stderr
    (tmp_path / "absent.py").write_text("import no_such_module")
    left_out = harness_cli(
        "plugins", "check", "absent", "-p", tmp_path / "absent.py", exit_code=1
    ).stderr
    assert left_out.count("is left out: ModuleNotFoundError") == 1
    assert "name plugins, or what they offer" in harness_cli("plugins", "check", exit_code=2).stderr


# -- pytest ---------------------------------------------------------------------------------------


def pytest_run(folder, text, *args, exit_code=0):
    (folder / "test_made.py").write_text(text)
    options = ("-p", "harness_pytest", "-p", "no:cacheprovider", "-rA", *args)
    return python("-m", "pytest", *options, cwd=folder, exit_code=exit_code)


@pytest.mark.slow
def test_the_mark_makes_a_test_of_each_promise(tmp_path):
    done = pytest_run(
        tmp_path,
        "import pytest\n"
        "@pytest.mark.harness('folders', 'full-ft')\n"
        "def test_promise(promise): promise.check()\n",
        "--strict-markers",
        "-k",
        "settings",
    )

    for name in ("folders-settings-fit", "full-ft-settings-json"):
        assert f"PASSED test_made.py::test_promise[{name}]" in done.stdout


@pytest.mark.slow
def test_pytest_shows_the_broken_promise_and_not_the_kit(tmp_path):
    done = pytest_run(
        tmp_path,
        "import pytest\n"
        "from harness import Metric\n"
        "from harness.testing import promises\n"
        "@pytest.mark.parametrize('promise', promises(Metric('top', dict, low=1.0)), ids=str)\n"
        "def test_promise(promise): promise.check()\n",
        "-k",
        "declaration",
        exit_code=1,
    )

    assert (
        "BrokenPromise: metric 'top' breaks the promise 'declaration': its range goes"
        in done.stdout
    )
    assert "verdict.cause" not in done.stdout


@pytest.mark.slow
def test_unrelated_tests_wait_for_nothing(tmp_path):
    """The mark's module is imported by every pytest: it must not import the harness."""
    pytest_run(
        tmp_path,
        "import sys\n"
        "def test_modules():\n"
        "    assert 'harness_pytest' in sys.modules\n"
        "    assert not {'harness', 'pydantic', 'torch', 'numpy'} & set(sys.modules)\n"
        "def test_a_fixture_of_the_same_name(promise): assert promise == 1\n"
        "import pytest\n"
        "@pytest.fixture\n"
        "def promise(): return 1\n",
    )


def test_importing_the_kit_imports_nothing_heavy():
    code = (
        "import sys, harness.testing; "
        "assert not {'torch', 'datasets', 'evaluate', 'sklearn', 'numpy'} & set(sys.modules)"
    )
    python("-c", code)


# -- watching -------------------------------------------------------------------------------------


def test_files_are_noticed_and_opened(tmp_path):
    (tmp_path / "note.txt").write_text("here")
    with watching(files=True) as noticed:
        assert (tmp_path / "note.txt").read_text() == "here"
    assert noticed == [f"it opened the file {str(tmp_path / 'note.txt')!r}"]

    (tmp_path / "note.txt").read_text()
    with watching(files=False) as unnoticed:
        (tmp_path / "note.txt").read_text()
    assert unnoticed == []
    assert len(noticed) == 1


def test_sockets_fail_while_watched():
    with watching(files=False) as noticed, pytest.raises(PermissionError, match="not allowed here"):
        socket.socket()
    assert noticed == ["it opened a socket"]
    socket.socket().close()


def test_an_import_may_read_files(tmp_path, monkeypatch):
    (tmp_path / "made_for_import.py").write_text("VALUE = 1")
    monkeypatch.syspath_prepend(tmp_path)
    with watching(files=True) as noticed:
        import made_for_import
    assert made_for_import.VALUE == 1
    assert noticed == []


def test_other_threads_are_not_watched(tmp_path):
    (tmp_path / "note.txt").write_text("here")
    reader = threading.Thread(target=(tmp_path / "note.txt").read_text)
    with watching(files=True) as noticed:
        reader.start()
        reader.join()
    assert noticed == []


def test_generators_are_told_apart_and_put_back():
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    before = generators()
    with unseeded() as names:
        assert names() == []
        assert len(moved(before, generators())) == 3
        np.random.seed(1)  # noqa: NPY002
        assert names() == ["numpy.random"]
        random.random()
        torch.rand(1)
        assert names() == ["Python's random", "numpy.random", "torch's default generator"]
    assert moved(before, generators()) == []


def test_checks_leave_the_generators_alone():
    before = generators()
    for one in (
        STRATEGIES.GlobalRandomnessOfNumpy,
        DATASETS.GlobalRandomness(),
        METRICS.BROKEN[-2],
    ):
        (promise,) = (found for found in promises(one) if found.name == "global-randomness")
        assert promise.verdict().state == "broken"
    assert moved(before, generators()) == []
