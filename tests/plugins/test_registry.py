"""Loading plugins: where they come from, what breaks one, in which order their hooks are called."""

import json
import logging
import os
import random
import subprocess
import sys
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

import harness
from harness import PluginError, UsageError, hookimpl
from harness.plugins.discovery import split_list
from harness.plugins.registry import load_plugins

GOOD = """
from harness import Metric, Phase, Strategy, hookimpl

class Mine(Strategy):
    name = "NAME"
    def phases(self, model, epochs):
        yield Phase("all", epochs, {"*": 1.0})

@hookimpl
def harness_strategies():
    return [Mine]
"""

# Offers a dataset first, so that what a later check refuses must take back something.
BAD = """
import pydantic
from typing import Annotated
from harness import Backbone, Dataset, Metric, Phase, Search, Strategy, Suite, hookimpl

class Mine(Strategy):
    name = "mine"
    def phases(self, model, epochs):
        yield Phase("all", epochs, {"*": 1.0})

class Images(Dataset):
    def load(self, access):
        return {}

@hookimpl(specname="harness_datasets")
def images():
    return [Images(name="images", modality="mri")]

"""


class Site:
    """A folder on the import path that holds made distributions; the real built-ins are hidden."""

    def __init__(self, folder):
        self.folder = folder
        self.install("finetune-harness", "0.0", {})

    def install(self, name, version, points, **modules):
        info = self.folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        lines = [f"{point} = {module}" for point, module in points.items()]
        (info / "entry_points.txt").write_text("\n".join(["[harness]", *lines]))
        for module, code in modules.items():
            (self.folder / f"{module}.py").write_text(textwrap.dedent(code))

    def builtin(self, points, **modules):
        (next(self.folder.glob("finetune_harness-*")) / "entry_points.txt").write_text(
            "\n".join(["[harness]", *(f"{point} = {module}" for point, module in points.items())])
        )
        for module, code in modules.items():
            (self.folder / f"{module}.py").write_text(textwrap.dedent(code))


@pytest.fixture
def site(tmp_path, monkeypatch):
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    before = set(sys.modules)
    yield Site(folder)
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def offering(name):
    return GOOD.replace("NAME", name)


def file(folder, name, code):
    path = folder / f"{name}.py"
    path.write_text(textwrap.dedent(code))
    return str(path)


def loaded_names(*extra, **environ):
    return list(load_plugins(extra, environ=environ).plugins)


# Where plugins come from


def test_an_entry_point_is_loaded_with_its_distribution(site):
    site.install("their-harness", "1.2", {"theirs": "their_module"}, their_module=offering("x"))
    loaded = load_plugins(environ={})
    info = loaded.owner("strategies", "x")
    assert (info.plugin, info.module) == ("theirs", "their_module")
    assert (info.distribution, info.version) == ("their-harness", "1.2")
    assert info.path == site.folder / "their_module.py"
    assert not info.builtin
    assert str(info) == "plugin 'theirs' (their-harness 1.2)"
    assert loaded.plugins == {"theirs": info}
    assert loaded.broken == []


def test_an_entry_point_may_be_an_object_in_a_module(site):
    code = "class P:\n    pass\nplugin = P()\n"
    site.install("their-harness", "1", {"theirs": "their_module:plugin"}, their_module=code)
    assert loaded_names() == ["theirs"]


def test_a_module_given_by_name_carries_its_distribution(site):
    site.install("their-harness", "1.2", {}, their_module=offering("x"))
    info_folder = next(site.folder.glob("their_harness-*"))
    (info_folder / "top_level.txt").write_text("their_module\n")
    info = load_plugins(["their_module"], environ={}).owner("strategies", "x")
    assert (info.plugin, info.distribution, info.version) == (
        "their_module",
        "their-harness",
        "1.2",
    )


def test_a_module_without_a_distribution(site):
    (site.folder / "loose_module.py").write_text(offering("x"))
    info = load_plugins(["loose_module"], environ={}).owner("strategies", "x")
    assert (info.plugin, info.distribution, info.version) == ("loose_module", None, None)


def test_a_file_given_by_a_relative_path_means_the_same_elsewhere(site, tmp_path, monkeypatch):
    path = file(tmp_path, "mine", offering("x"))
    monkeypatch.chdir(tmp_path)
    loaded = load_plugins(["./mine.py"], environ={})
    assert loaded.args == (path,)
    assert loaded.owner("strategies", "x").path == tmp_path / "mine.py"
    monkeypatch.chdir("/")
    assert list(load_plugins(loaded.args, environ={}).strategies) == ["x"]


def test_a_file_needs_no_marking_prefix_but_its_ending(site, tmp_path, monkeypatch):
    file(tmp_path, "mine", offering("x"))
    monkeypatch.chdir(tmp_path)
    assert loaded_names("mine.py") == ["mine"]


def test_no_file_is_taken_because_it_lies_in_the_current_folder(site, tmp_path, monkeypatch):
    file(tmp_path, "conftest", "raise RuntimeError")
    file(tmp_path, "harness_plugin", "raise RuntimeError")
    file(tmp_path, "mine", offering("x"))
    monkeypatch.chdir(tmp_path)
    assert loaded_names() == []
    with pytest.raises(PluginError, match=r"-p \./my_plugin\.py"):
        load_plugins(["mine"], environ={})


def test_a_file_does_not_hide_a_module_of_its_name(site, tmp_path):
    loaded = load_plugins([file(tmp_path, "random", offering("x"))], environ={})
    assert list(loaded.plugins) == ["random"]
    assert sys.modules["random"] is random


def test_a_file_is_read_anew_and_leaves_nothing_beside_it(site, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = tmp_path / "mine.py"
    for name in ("aa", "bb"):  # same length, same second: bytecode would not be told apart
        path.write_text(offering(name))
        os.utime(path, (1_000_000_000, 1_000_000_000))
        assert list(load_plugins([str(path)], environ={}).strategies) == [name]
    assert [one.name for one in tmp_path.iterdir() if one.name != "site"] == ["mine.py"]


def test_the_environment_variable_takes_both_separators_and_blocks(site, tmp_path):
    site.install("their-harness", "1", {"theirs": "their_module"}, their_module="")
    first, second = file(tmp_path, "a", ""), file(tmp_path, "b", "")
    text = f"{first},{second}{os.pathsep}no:theirs"
    assert loaded_names(HARNESS_PLUGINS=text) == ["a", "b"]


@pytest.mark.slow
@given(st.lists(st.from_regex(r"(no:)?(?!no$)[a-z./]{1,8}", fullmatch=True)), st.data())
def test_splitting_undoes_joining(options, data):
    """But for a plugin of the name 'no': with a colon after it, it blocks what follows."""
    text = "".join(one + data.draw(st.sampled_from([",", os.pathsep, " , "])) for one in options)
    assert split_list(text) == options


def test_autoload_off_keeps_the_built_ins_and_what_is_named(site):
    site.builtin({"ours": "our_module"}, our_module="")
    site.install("a-harness", "1", {"a": "a_module"}, a_module="")
    site.install("b-harness", "1", {"b": "b_module"}, b_module="")
    assert loaded_names() == ["ours", "a", "b"]
    assert loaded_names(HARNESS_NO_AUTOLOAD="0") == ["ours", "a", "b"]
    assert loaded_names(HARNESS_NO_AUTOLOAD="1") == ["ours"]
    assert loaded_names("b", HARNESS_NO_AUTOLOAD="1") == ["ours", "b"]
    assert loaded_names("b_module", HARNESS_NO_AUTOLOAD="1") == ["ours", "b"]


def test_a_plugin_named_twice_is_loaded_once(site, tmp_path):
    site.install("their-harness", "1", {"theirs": "their_module"}, their_module=offering("x"))
    path = file(tmp_path, "mine", offering("y"))
    loaded = load_plugins([path, "their_module", "theirs", path], environ={"HARNESS_PLUGINS": path})
    assert list(loaded.plugins) == ["theirs", "mine"]
    assert loaded.broken == []


def test_one_module_under_two_names_is_one_plugin(site):
    site.install("their-harness", "1", {"a": "their_module", "b": "their_module"}, their_module="")
    loaded = load_plugins(environ={})
    assert list(loaded.plugins) == ["a"]
    assert loaded.broken == []


def test_blocking_wins_and_a_blocked_plugin_is_not_imported(site):
    site.install("their-harness", "1", {"theirs": "their_module"}, their_module="raise ValueError")
    loaded = load_plugins(["theirs", "no:theirs"], environ={})
    assert (loaded.plugins, loaded.broken, loaded.blocked) == ({}, [], {"theirs"})
    assert loaded.args == ("theirs", "no:theirs")


def test_blocking_what_is_not_there_is_an_error(site):
    site.install("their-harness", "1", {"theirs": "their_module"}, their_module="")
    with pytest.raises(UsageError, match=r"unknown plugin to block 'their'; did you mean 'theirs'"):
        load_plugins(["no:their"], environ={})


@pytest.mark.parametrize("option", ["./absent.py", "some/folder", "absent_module", "absent.sub"])
def test_a_plugin_that_does_not_exist_is_an_error(site, option):
    with pytest.raises(PluginError, match="no plugin"):
        load_plugins([option], environ={})


def test_a_name_that_is_nearly_right(site):
    site.install("their-harness", "1", {"conv-lora": "their_module"}, their_module="")
    with pytest.raises(PluginError, match="did you mean 'conv-lora'"):
        load_plugins(["conv-lor"], environ={})


def test_the_same_plugins_in_another_process(site, tmp_path):
    site.install("their-harness", "1", {"theirs": "their_module"}, their_module=offering("x"))
    args = load_plugins([file(tmp_path, "mine", offering("y")), "no:theirs"], environ={}).args
    code = "import json, sys; from harness.plugins.registry import load_plugins; print(*load_plugins(json.load(sys.stdin)).plugins)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(args),
        env=os.environ | {"PYTHONPATH": str(site.folder)},
        cwd=site.folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["mine"]


# What breaks a plugin


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("raise RuntimeError('first\\nthe last line')", "RuntimeError: the last line"),
        ("def f(:", "SyntaxError: invalid syntax"),
        ("import absent_requirement", "ModuleNotFoundError: No module named 'absent_requirement'"),
        ("from harness import absent", "ImportError: cannot import name 'absent'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("{}['key']", "KeyError: 'key'"),
        ("raise ValueError", "ValueError"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_left_out(site, code, problem):
    site.install("bad-harness", "3.1", {"bad": "bad_module"}, bad_module=code)
    site.install("good-harness", "1", {"good": "good_module"}, good_module=offering("x"))
    loaded = load_plugins(environ={})
    assert list(loaded.plugins) == ["good"]
    assert list(loaded.strategies) == ["x"]
    (broken,) = loaded.broken
    assert broken.problem.startswith(problem)
    assert (broken.info.distribution, broken.info.version) == ("bad-harness", "3.1")
    assert broken.remedy == "upgrade or uninstall bad-harness, or block it with -p no:bad"
    text = str(broken)
    assert "plugin 'bad' (bad-harness 3.1)" in text
    assert "\n" not in text


def test_the_line_of_the_plugin_that_failed_is_named(site):
    code = "import json\n\njson.loads('{')\n"
    site.install("bad-harness", "3.1", {"bad": "bad_module"}, bad_module=code)
    (broken,) = load_plugins(environ={}).broken
    assert broken.problem.endswith(f"({site.folder / 'bad_module.py'}:3)")


@pytest.mark.slow
def test_a_named_module_that_lacks_a_requirement_is_broken_not_absent(site):
    package = site.folder / "lacking"
    package.mkdir()
    (package / "__init__.py").write_text("import absent_requirement")
    (package / "sub.py").write_text("")
    (site.folder / "raising").mkdir()
    (site.folder / "raising" / "__init__.py").write_text("raise RuntimeError('at once')")
    (site.folder / "raising" / "sub.py").write_text("")
    loaded = load_plugins(["lacking", "lacking.sub", "raising.sub"], environ={})
    problems = [one.problem for one in loaded.broken]
    assert ["absent_requirement" in one for one in problems] == [True, True, False]
    assert problems[2].startswith("RuntimeError: at once")


def test_a_broken_file_is_named_by_its_path(site, tmp_path):
    path = file(tmp_path, "mine", "1 / 0")
    (broken,) = load_plugins([path], environ={}).broken
    assert path in str(broken)
    assert broken.remedy == f"correct {path}, or block it with -p no:mine"
    assert not [name for name in sys.modules if name.startswith("harness_file_mine")]


def test_an_interruption_is_not_a_broken_plugin(site):
    site.install("bad-harness", "1", {"bad": "bad_module"}, bad_module="raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load_plugins(environ={})


def test_strict_names_every_broken_plugin(site):
    site.install("bad-harness", "3.1", {"bad": "bad_module"}, bad_module="1 / 0")
    site.install("worse-harness", "3.2", {"worse": "worse_module"}, worse_module="2 / 0")
    site.install("good-harness", "1", {"good": "good_module"}, good_module="")
    with pytest.raises(PluginError, match=r"(?s)bad-harness 3\.1.*worse-harness 3\.2") as error:
        load_plugins(strict=True, environ={})
    assert error.value.exit_code == 2
    assert list(load_plugins(["no:bad", "no:worse"], strict=True, environ={}).plugins) == ["good"]


UNSOUND = {
    "unknown hook": (
        "@hookimpl\ndef harness_strategy():\n    return []",
        "unknown hook 'harness_strategy'; did you mean 'harness_strategies'?",
    ),
    "forgotten mark": (
        "def harness_strategies():\n    return [Mine]",
        "harness_strategies is never called: it lacks the decorator @hookimpl",
    ),
    "wrong argument": (
        "@hookimpl\ndef harness_execute(spec, device):\n    return None",
        "harness_execute is not passed 'device'; its arguments, in place: spec, resources",
    ),
    "argument where there is none": (
        "@hookimpl\ndef harness_suites(cli):\n    return []",
        "harness_suites is not passed 'cli'; its arguments, in place: none",
    ),
    "keyword-only argument": (
        "@hookimpl\ndef harness_run_start(*, spec):\n    pass",
        "harness_run_start is not passed 'spec'",
    ),
    "wrapped offer": (
        "@hookimpl(wrapper=True)\ndef harness_strategies():\n    return (yield)",
        "harness_strategies cannot be wrapped",
    ),
    "wrapper that does not yield": (
        "@hookimpl(wrapper=True)\ndef harness_execute(spec):\n    return None",
        (
            "Plugin 'bad' for hook 'harness_execute' hookimpl definition: harness_execute(spec) "
            "Declared as wrapper=True or hookwrapper=True but function is not a generator function"
        ),
    ),
    "newer API": (
        f"HARNESS_API_VERSION = {harness.API_VERSION + 1}",
        (
            f"written for version {harness.API_VERSION + 1} of the plugin API, this harness has "
            f"version {harness.API_VERSION}"
        ),
    ),
    "API of another type": ("HARNESS_API_VERSION = '1'", "'1', which is not a positive integer"),
    "API zero": ("HARNESS_API_VERSION = 0", "0, which is not a positive integer"),
    "offer of another type": (
        "@hookimpl\ndef harness_strategies():\n    return [3]",
        "harness_strategies offers 3, not a subclass of harness.Strategy",
    ),
    "class of another type": (
        "@hookimpl\ndef harness_strategies():\n    return [Images]",
        "harness_strategies offers Images, not a subclass of harness.Strategy",
    ),
    "instance for class": (
        "@hookimpl\ndef harness_strategies():\n    return [Mine()]",
        "harness_strategies offers Mine(); offer the class itself",
    ),
    "class for instance": (
        "@hookimpl\ndef harness_backbones():\n    return [Backbone]",
        "harness_backbones offers Backbone, not a harness.Backbone; offer an instance of it",
    ),
    "object of another kind": (
        "@hookimpl\ndef harness_metrics():\n    return images()",
        "not a harness.Metric",
    ),
    "abstract": (
        (
            "class Other(Strategy):\n    name = 'other'\n"
            "@hookimpl\ndef harness_strategies():\n    return [Other]"
        ),
        "strategy class Other does not define phases()",
    ),
    "no name": (
        (
            "class Other(Strategy):\n    phases = Mine.phases\n"
            "@hookimpl\ndef harness_strategies():\n    return [Other]"
        ),
        "strategy class Other needs a class attribute `name` in kebab-case",
    ),
    "name not in kebab-case": (
        (
            "class Other(Mine):\n    name = 'My_Strategy'\n"
            "@hookimpl\ndef harness_strategies():\n    return [Other]"
        ),
        "such as 'lp-ft'; it has 'My_Strategy'",
    ),
    "method of too few arguments": (
        (
            "class Other(Mine):\n    def phases(self, model):\n        yield\n"
            "@hookimpl\ndef harness_strategies():\n    return [Other]"
        ),
        "Other.phases(model) is called with model and epochs, in place",
    ),
    "method of other arguments": (
        (
            "class Other(Mine):\n    def adapt(self, model, *, rng):\n        return model\n"
            "@hookimpl\ndef harness_strategies():\n    return [Other]"
        ),
        "Other.adapt(model, *, rng) is called with model and rng, in place",
    ),
    "dataset that takes no access": (
        (
            "class Other(Dataset):\n    def load(self):\n        return {}\n"
            "@hookimpl\ndef harness_datasets():\n    return [Other(name='o', modality='mri')]"
        ),
        "Other.load() is called with access, in place",
    ),
    "backbone that wants more": (
        (
            "class Net(Backbone):\n    def build(self, classes, width):\n        return None\n"
            "@hookimpl\ndef harness_backbones():\n    return [Net(name='net', stages=('head',))]"
        ),
        "Net.build(classes, width) is called with classes, in place",
    ),
    "no default": (
        (
            "class Other(Mine):\n    alpha: float\n    beta: float = 1\n"
            "@hookimpl\ndef harness_strategies():\n    return [Other]"
        ),
        "strategy 'mine' needs a default for alpha",
    ),
    "defaults that do not agree": (
        (
            "class Other(Mine):\n    alpha: float = 2\n"
            "    @pydantic.model_validator(mode='after')\n"
            "    def small(self):\n        raise ValueError('alpha is too large')\n"
            "@hookimpl\ndef harness_strategies():\n    return [Other]"
        ),
        "alpha is too large",
    ),
    "nothing returned": (
        "@hookimpl\ndef harness_strategies():\n    pass",
        "harness_strategies returns None; it must return a list",
    ),
    "no list": (
        "@hookimpl\ndef harness_suites():\n    return 'demo'",
        "harness_suites returns 'demo'; it must return a list",
    ),
    "one object for a list": (
        "@hookimpl\ndef harness_strategies():\n    return Mine()",
        "harness_strategies returns Mine(); it must return a list",
    ),
    "declaration that is not valid": (
        "@hookimpl\ndef harness_datasets():\n    return [Images(name='My Images', modality='mri')]",
        "Images is not valid: name: String should match pattern",
    ),
    "hook that raises": (
        "@hookimpl\ndef harness_strategies():\n    raise RuntimeError('not today')",
        "RuntimeError: not today",
    ),
    "generator that raises": (
        "@hookimpl\ndef harness_strategies():\n    yield Mine\n    raise RuntimeError('not today')",
        "RuntimeError: not today",
    ),
    "hook that exits": (
        "@hookimpl\ndef harness_strategies():\n    raise SystemExit('bye')",
        "SystemExit: bye",
    ),
    "metric name": (
        "@hookimpl\ndef harness_metrics():\n    return [Metric('macro_f1', build=None)]",
        "metric name 'macro_f1' is not kebab-case",
    ),
    "offered twice": (
        "@hookimpl\ndef harness_strategies():\n    return [Mine, Mine]",
        "it offers strategy 'mine' twice",
    ),
    "declared twice": (
        "@hookimpl\ndef harness_datasets():\n    return images()",
        "it offers dataset 'images' twice",
    ),
}


@pytest.mark.parametrize("case", UNSOUND)
def test_an_unsound_plugin_leaves_no_trace_but_its_listing(site, case):
    code, problem = UNSOUND[case]
    observer = "\n\n@hookimpl\ndef harness_run_end(result):\n    raise AssertionError\n"
    site.install("bad-harness", "3.1", {"bad": "bad_module"}, bad_module=BAD + code + observer)
    site.install("good-harness", "1", {"good": "good_module"}, good_module=offering("x"))
    loaded = load_plugins(environ={})
    (broken,) = loaded.broken
    assert problem in broken.problem
    assert broken.info.plugin == "bad"
    assert "-p no:bad" in broken.remedy
    assert list(loaded.plugins) == ["good"]
    assert (loaded.datasets, list(loaded.strategies), loaded.metrics) == ({}, ["x"], {})
    assert not loaded.manager.has_plugin("bad")
    assert loaded.manager.hook.harness_run_end(spec=None, result=None) == []
    assert loaded.manager.hook.harness_datasets() == []


def test_a_newer_api_is_put_right_by_another_harness(site, tmp_path):
    path = file(tmp_path, "mine", f"HARNESS_API_VERSION = {harness.API_VERSION + 1}")
    (broken,) = load_plugins([path], environ={}).broken
    assert broken.remedy == "upgrade finetune-harness, or block it with -p no:mine"


def test_what_is_allowed(site, tmp_path):
    code = f"""
    from harness import Strategy, hookimpl
    HARNESS_API_VERSION = {harness.API_VERSION}

    @hookimpl(optionalhook=True)
    def harness_of_the_future(anything):
        pass

    @hookimpl(wrapper=True)
    def harness_execute(spec):
        return (yield)

    @hookimpl
    def harness_run_start(spec, extra=None):
        pass

    @hookimpl
    def harness_suites():
        return ()

    class Free(Strategy):
        name = "free"

        @staticmethod
        def adapt(model, rng, extra=None):
            return model

        def phases(self, *given, **more):
            yield

    @hookimpl
    def harness_strategies():
        return [Free]

    def harness_helper():
        pass
    """
    loaded = load_plugins([file(tmp_path, "mine", code)], environ={})
    assert loaded.broken == []
    loaded.notify("harness_run_start", spec=None)
    hooks = ["harness_execute", "harness_of_the_future", "harness_run_start"]
    assert loaded.hooks("mine") == hooks


def test_a_name_that_a_built_in_has(site):
    site.builtin({"ours": "our_module"}, our_module=offering("full-ft"))
    code = offering("full-ft")
    site.install("their-harness", "1.2", {"theirs": "their_module"}, their_module=code)
    loaded = load_plugins(environ={})
    (broken,) = loaded.broken
    assert broken.info.plugin == "theirs"
    assert "strategy 'full-ft', and so does plugin 'ours' (finetune-harness 0.0)" in broken.problem
    assert broken.remedy == "give 'full-ft' a name of its own, or block it with -p no:theirs"
    assert loaded.owner("strategies", "full-ft").plugin == "ours"
    blocked = load_plugins(["no:ours"], environ={})
    assert blocked.owner("strategies", "full-ft").plugin == "theirs"
    assert blocked.broken == []


@pytest.mark.parametrize("name", ["fullft", "fu11-ft", "full-f-t"])
def test_a_strategy_that_looks_like_one_of_ours(site, tmp_path, name):
    site.builtin({"ours": "our_module"}, our_module=offering("full-ft"))
    theirs = file(tmp_path, "theirs", offering(name))
    loaded = load_plugins([theirs], environ={})
    (broken,) = loaded.broken
    assert (
        broken.problem
        == f"its strategy {name!r} looks like 'full-ft', which comes with the harness"
    )
    assert broken.remedy == f"give {name!r} a name of its own, or block it with -p no:theirs"
    assert list(loaded.strategies) == ["full-ft"]


def test_near_names_of_ours_of_others_and_of_other_kinds_are_free(site, tmp_path):
    """Only what reads the same as a strategy that comes with the harness is refused."""
    site.builtin(
        {"a": "a_module", "b": "b_module"}, a_module=offering("x1"), b_module=offering("xl")
    )
    given = [
        file(tmp_path, f"p{n}", offering(name)) for n, name in enumerate(["x2", "ab-c", "abc"])
    ]
    metric = """
    from harness import Metric, hookimpl

    @hookimpl
    def harness_metrics():
        return [Metric("x-1", build=dict)]
    """
    loaded = load_plugins([*given, file(tmp_path, "metric", metric)], environ={})
    assert [str(one) for one in loaded.broken] == []
    assert list(loaded.strategies) == ["ab-c", "abc", "x1", "x2", "xl"]
    assert list(loaded.metrics) == ["x-1"]


def test_a_refused_plugin_frees_its_names(site, tmp_path):
    first = file(
        tmp_path, "first", offering("x") + "\n@hookimpl\ndef harness_suites():\n    return 1"
    )
    second = file(tmp_path, "second", offering("x"))
    loaded = load_plugins([first, second], environ={})
    assert [one.info.plugin for one in loaded.broken] == ["first"]
    assert loaded.owner("strategies", "x").plugin == "second"


def test_two_plugins_of_one_name(site, tmp_path):
    site.install("a-harness", "1", {"same": "a_module"}, a_module=offering("x"))
    site.install("b-harness", "1", {"same": "b_module"}, b_module=offering("y"))
    path = file(tmp_path, "same", offering("z"))
    loaded = load_plugins([path], environ={})
    assert list(loaded.strategies) == ["x"]
    problems = [(str(one.info), one.problem, one.remedy) for one in loaded.broken]
    taken = "its name is taken by plugin 'same' (a-harness 1)"
    assert problems == [
        ("plugin 'same' (b-harness 1)", taken, "uninstall one of the two"),
        (f"plugin 'same' ({path})", taken, "rename it"),
    ]


# What is offered


def test_the_catalogue_is_sorted_and_says_who_offers_what(site, tmp_path):
    b, a = file(tmp_path, "b", offering("bb")), file(tmp_path, "a", offering("aa"))
    both = BAD + "@hookimpl\ndef harness_metrics():\n    return [Metric('m', build=dict)]"
    loaded = load_plugins([b, a, file(tmp_path, "c", both)], environ={})
    assert list(loaded.strategies) == ["aa", "bb"]
    assert loaded.strategies["aa"].__name__ == "Mine"
    assert loaded.owner("strategies", "aa").plugin == "a"
    assert loaded.offers("c") == {"datasets": ["images"], "metrics": ["m"]}
    assert list(loaded.datasets) == ["images"]
    assert list(loaded.metrics) == ["m"]
    assert (loaded.backbones, loaded.suites) == ({}, {})


class Recorder:
    """An observer that is an object, not a module."""

    def __init__(self):
        self.seen = []

    @hookimpl
    def harness_run_start(self, spec):
        self.seen.append(spec)


def test_a_program_may_give_objects(site):
    recorder = Recorder()
    loaded = load_plugins([recorder], environ={})
    loaded.notify("harness_run_start", spec="the spec")
    assert recorder.seen == ["the spec"]
    assert loaded.args == ()
    info = loaded.plugins["Recorder"]
    assert (info.module, info.distribution) == (__name__, None)


# Observers and order

OBSERVER = """
from harness import hookimpl

@hookimpl
def harness_run_start(spec):
    spec.append(__name__)

@hookimpl
def harness_execute(spec):
    return __name__ if __name__ in spec else None
"""


def test_hooks_are_called_in_this_order(site, tmp_path):
    modules = {f"{name}_module": OBSERVER for name in ("o1", "o2")}
    site.builtin({"o1": "o1_module", "o2": "o2_module"}, **modules)
    site.install("b-harness", "1", {"a": "b_module"}, b_module=OBSERVER)
    site.install(
        "a-harness", "1", {"z": "z_module", "y": "y_module"}, z_module=OBSERVER, y_module=OBSERVER
    )
    first = file(tmp_path, "first", OBSERVER.replace("__name__", "'first'"))
    second = file(tmp_path, "second", OBSERVER.replace("__name__", "'second'"))
    from_environment = file(tmp_path, "env", OBSERVER.replace("__name__", "'env'"))
    loaded = load_plugins([first, second], environ={"HARNESS_PLUGINS": from_environment})
    assert list(loaded.plugins) == ["o1", "o2", "y", "z", "a", "env", "first", "second"]
    order = ["second", "first", "env", "b_module", "z_module", "y_module", "o2_module", "o1_module"]
    seen = []
    loaded.notify("harness_run_start", spec=seen)
    assert seen == order
    seen = []
    loaded.manager.hook.harness_run_start(spec=seen)
    assert seen == order, "notify departs from pluggy's order"
    execute = loaded.manager.hook.harness_execute
    assert execute(spec=["o1_module", "b_module"], resources=None) == "b_module"
    assert execute(spec=order, resources=None) == "second"


def test_tryfirst_and_trylast_move_a_hook(site, tmp_path):
    def marked(name, mark):
        code = OBSERVER.replace("__name__", repr(name)).replace("@hookimpl", f"@hookimpl({mark})")
        return file(tmp_path, name, code)

    paths = [marked("a", "tryfirst=True"), marked("b", ""), marked("c", "trylast=True")]
    seen = []
    load_plugins(paths, environ={}).notify("harness_run_start", spec=seen)
    assert seen == ["a", "b", "c"]


@pytest.mark.parametrize("fault", ["RuntimeError('full disk')", "SystemExit('full disk')"])
def test_an_observer_that_raises_is_logged_and_passed_over(site, tmp_path, caplog, fault):
    bad = f"from harness import hookimpl\n@hookimpl\ndef harness_run_start():\n    raise {fault}\n"
    paths = [file(tmp_path, "good", OBSERVER), file(tmp_path, "bad", bad)]
    seen = []
    with caplog.at_level(logging.ERROR, logger="harness"):
        load_plugins(paths, environ={}).notify("harness_run_start", spec=seen)
    assert len(seen) == 1
    (record,) = caplog.records
    assert "plugin 'bad'" in record.getMessage()
    assert "harness_run_start" in record.getMessage()
    assert "full disk" in caplog.text


def test_an_observer_does_not_swallow_an_interruption(site, tmp_path):
    code = (
        "from harness import hookimpl\n@hookimpl\n"
        "def harness_run_start():\n    raise KeyboardInterrupt\n"
    )
    loaded = load_plugins([file(tmp_path, "bad", code)], environ={})
    with pytest.raises(KeyboardInterrupt):
        loaded.notify("harness_run_start", spec=None)
