"""Backbones that no plugin lists: asked for by name, with their owner and the code that makes them."""

import hashlib
import json

import pytest
from command import Cli
from places import TOY
from toys import ToyBackbone

from harness import PluginError, UsageError, hookimpl
from harness.plugins import provenance
from harness.plugins.registry import load_plugins


class Named:
    """A plugin that knows every name `PREFIX.WORD` but `PREFIX.no`, and counts how often it is asked."""

    def __init__(self, prefix="a", sources=(), answer=None):
        self.__name__ = f"plugin-{prefix}"
        self.prefix, self.sources, self.answer, self.asked = prefix, sources, answer, []

    @hookimpl
    def harness_backbone(self, name):
        self.asked.append(name)
        prefix, _, word = name.partition(".")
        if prefix != self.prefix:
            return None
        if word == "no":
            raise UsageError("a.no is too wide")
        if word == "bug":
            raise ZeroDivisionError("oh")
        return self.answer or ToyBackbone(name=name, sources=self.sources)


@pytest.fixture
def plugin():
    return Named(sources=(("wide", "1.2"),))


@pytest.fixture
def loaded(plugin):
    return load_plugins([Named("b"), plugin], environ={"HARNESS_NO_AUTOLOAD": "1"})


def test_it_is_found_by_either_spelling_and_not_listed(loaded):
    listed = list(loaded.backbones)
    assert loaded.backbones["a:one"].name == "a.one"
    assert loaded.backbones["a.one"] is loaded.backbones["a:one"]
    assert loaded.owner("backbones", "a:one").plugin == "plugin-a"
    assert loaded.owner("backbones", "b.one").plugin == "plugin-b"
    assert list(loaded.backbones) == listed
    assert len(loaded.backbones) == len(listed)


def test_it_is_asked_for_once_and_a_listed_one_never(loaded, plugin):
    for _ in range(3):
        assert "a.one" in loaded.backbones
        assert "resnet50" in loaded.backbones
    assert plugin.asked == ["a.one"]


def test_names_are_chosen_beside_listed_ones_and_globs(loaded):
    assert loaded.choose_backbones(["a:one, resnet50-m*", "b.two"]) == [
        "a.one", "resnet50-mini", "b.two",
    ]  # fmt: skip
    with pytest.raises(UsageError, match=r"unknown backbone 'c:one'.*there are:.*resnet50"):
        loaded.choose_backbones(["c:one"])
    with pytest.raises(UsageError, match="no backbone was named"):
        loaded.choose_backbones([","])


def test_a_refusal_is_the_plugins_own_word_and_what_it_refuses_is_not_there(loaded):
    with pytest.raises(UsageError, match=r"a\.no is too wide"):
        loaded.choose_backbones(["a:no"])
    assert "a.no" not in loaded.backbones
    assert loaded.backbones.get("a.no") is None
    with pytest.raises(UsageError, match="too wide"):
        loaded.backbones["a.no"]


def test_a_fault_and_a_wrong_answer_name_the_plugin(loaded):
    with pytest.raises(PluginError, match=r"plugin-a.* raised in harness_backbone.*'a.bug'.*oh"):
        loaded.choose_backbones(["a:bug"])
    for answer in (ToyBackbone(name="other"), "a.one"):
        wrong = load_plugins([Named(answer=answer)], environ={"HARNESS_NO_AUTOLOAD": "1"})
        with pytest.raises(PluginError, match=r"plugin-a.* answers harness_backbone\('a.one'\)"):
            wrong.choose_backbones(["a:one"])


def test_other_code_that_makes_it_is_in_its_source(loaded):
    own = provenance.source_hash(__name__)
    assert loaded.source("backbones", "b.one") == own
    text = json.dumps({"plugin": own, "wide": "1.2"}, sort_keys=True, separators=(",", ":"))
    assert loaded.source("backbones", "a.one") == hashlib.sha256(text.encode()).hexdigest()


def test_it_cannot_be_wrapped(tmp_path):
    code = "from harness import hookimpl\n@hookimpl(wrapper=True)\ndef harness_backbone():\n    return (yield)\n"
    (tmp_path / "wraps.py").write_text(code)
    (broken,) = load_plugins([str(tmp_path / "wraps.py")]).broken
    assert "harness_backbone cannot be wrapped" in broken.problem


FILE = """
from harness import UsageError, hookimpl

@hookimpl
def harness_backbone(name):
    from toys import ToyBackbone

    if name == "a.no":
        raise UsageError("a.no is too wide")
    return ToyBackbone(name=name) if name == "a.one" else None
"""


def test_commands_take_such_a_name(tmp_path):
    (tmp_path / "named.py").write_text(FILE)
    cli = Cli((TOY, str(tmp_path / "named.py")))
    bench = (
        "bench",
        "toy",
        "--strategies",
        "full-ft",
        "--dry-run",
        "--out",
        tmp_path,
        "--backbones",
    )
    assert "toy-data / a.one / full-ft: 1 to run" in cli(*bench, "a:one").output
    assert "too wide" in cli(*bench, "a:no", exit_code=2).output
    assert "8 of 8 promises kept" in cli("plugins", "check", "a:one", "--light").output
    assert "too wide" in cli("plugins", "check", "a:no", exit_code=2).output
    assert "unknown plugin or offer" in cli("plugins", "check", "a:two", exit_code=2).output
