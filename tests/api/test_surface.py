"""The plugin API against the record of its surface: within one version it only grows."""

import inspect
import re
import sys
from pathlib import Path

import pytest
from command import python
from places import DOCS

import harness
from harness.api import deprecation, hooks
from harness.plugins.registry import load_plugins


@pytest.fixture(scope="module")
def api():
    sys.path.insert(0, str(DOCS))  # where `python docs/generate.py` finds it, too
    try:
        import api_surface
    finally:
        sys.path.remove(str(DOCS))
    return api_surface


def test_nothing_was_removed_or_changed(api):
    breaking, _ = api.judge(api.read(), api.surface())
    assert not breaking, (
        "plugins written for this version break:\n  " + "\n  ".join(breaking) + "\n"
        f"bring it back; a removal waits for version {harness.API_VERSION + 1} and is announced by a "
        "DeprecationWarning for one version (docs/all-of-harness.md, 'Versions of the API')"
    )


def test_what_was_added_is_recorded(api):
    _, added = api.judge(api.read(), api.surface())
    assert not added, (
        "new in the plugin API, which then has to stay:\n  " + "\n  ".join(added) + "\n"
        f"record it with `python docs/generate.py`, which writes {api.FILE.name}"
    )


def test_the_record_is_of_this_version(api):
    assert api.FILE.name == f"api-surface-{harness.API_VERSION}.txt"
    assert f"API_VERSION: {harness.API_VERSION}" in api.read()


def test_the_record_is_written_as_it_is_read(api):
    assert api.FILE.read_text() == api.page(api.surface())


@pytest.mark.parametrize(
    "line",
    [
        "Phase.epochs: field 2, float",
        "Phase.share: field 14, float = 1.0",
        "Phase.begin: may be 'best'",
        "SolveHead.C: field 2, tuple[float, ...]",
        "Distance.towards: field 4, Literal = 'start'",
        "Batch.reference: field 6, nn.Module | None = None",
        "PhaseReport.best: field 5, float | None",
        "ModelView.class_counts: property, tuple[int, ...]",
        "ModelView.gradients.norm_mode: may be 'eval'",
        "Strategy.phases.epochs: argument 2, float",
        "Strategy.phases: returns Phases (abstract)",
        "Dataset.load.access: argument 1, Access",
        "Dataset.licence: field, str = 'unknown'",
        "Backbone.build.classes: argument 1, int",
        "Metric.build: field 2, Callable[[], evaluate.Metric]",
        "HubDataset: is a Dataset",
        "TrainingError.__init__.step: argument 0 by keyword, int | None = None",
        "HarnessError.exit_code: 2",
        "Directive: or SolveHead",
        "Directive: or Interpolate",
        "Interpolate.shares: field 3, tuple[float, ...]",
        "Batch.loss: field 7, Callable[[Tensor, Tensor], Tensor] = cross_entropy",
        "hook harness_execute -> Outcome | None (first answer)",
        "hook harness_epoch_end passes epoch: EpochRecord",
        "testing.check_dataset.light: argument 0 by keyword, bool = False",
    ],
)
def test_the_surface_holds(api, line):
    assert line in api.surface()


def test_every_public_name_is_in_it(api):
    names = {line.split(":")[0] for line in api.surface()}
    assert set(harness.__all__) <= names


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Phase.share: field 14, float = 1.0", None),
        ("Phase.share: field 14, float = 1.0", "Phase.share: field 14, float = 0.5"),
        ("Phase.share: field 14, float = 1.0", "Phase.share: field 15, float = 1.0"),
        ("Phase.begin: may be 'best'", None),
        ("hook harness_execute passes resources: Resources", None),
    ],
)
def test_a_removal_or_change_is_told(api, before, after):
    present = api.surface()
    changed = [after if line == before else line for line in present]
    breaking, _ = api.judge(present, [line for line in changed if line])
    assert breaking == [f"gone or changed: {before}"]


def test_an_addition_is_no_breach(api):
    present = api.surface()
    more = ["Phase.step: may be 'sam'", "Phase.clip: field 18, float | None = None", "Sampler"]
    assert api.judge(present, [*present, *more]) == ([], more)


@pytest.mark.parametrize(
    "line", ["Phase.clip: field 18, float", "Strategy.adapt.seed: argument 3, int"]
)
def test_what_old_callers_do_not_give_needs_a_default(api, line):
    present = api.surface()
    breaking, _ = api.judge(present, [*present, line])
    assert breaking == [f"new, and needs a default: {line}"]


def test_a_new_class_may_need_what_it_wants(api):
    present = api.surface()
    more = ["Sampler", "Sampler.size: field 1, int"]
    assert api.judge(present, [*present, *more]) == ([], more)


# -- leaving the API ------------------------------------------------------------------------------


def test_every_version_announced_what_the_next_one_lacks(api):
    for version in range(1, harness.API_VERSION):
        before, after = (
            api.read(DOCS / f"api-surface-{number}.txt") for number in (version, version + 1)
        )
        assert not api.unannounced(before, after)


def test_what_went_without_a_word_is_told(api):
    before = [
        "Batch: deprecated, use harness.Step",
        "Batch.inputs: field 1, Tensor",
        "Batcher",
        "Phase.share: field 14, float = 1.0",
        "hook harness_render -> str | None (first answer)",
        "hook harness_render: deprecated, use harness_write",
    ]
    assert api.unannounced(before, []) == ["Batcher", "Phase.share: field 14, float = 1.0"]
    assert api.unannounced(before, before[2:4]) == []


def test_a_deprecated_name_works_and_warns_at_the_line_of_the_plugin(api, tmp_path, monkeypatch):
    monkeypatch.setitem(
        deprecation.NAMES, "OldPhase", ("harness.api.strategy.Phase", "harness.Phase")
    )
    plugin = tmp_path / "old.py"
    plugin.write_text(
        "import harness\nfrom harness import OldPhase\nassert harness.OldPhase is OldPhase\n"
    )
    with pytest.warns(
        DeprecationWarning, match="harness.OldPhase leaves .* use harness.Phase"
    ) as seen:
        loaded = load_plugins([str(plugin)])

    assert "old" in loaded.plugins
    assert {(Path(one.filename).name, one.lineno) for one in seen} >= {("old.py", 2), ("old.py", 3)}
    assert "OldPhase: deprecated, use harness.Phase" in api.surface()


def test_a_deprecated_hook_works_and_warns_who_implements_it(api, tmp_path, monkeypatch):
    warning = DeprecationWarning("harness_render leaves the plugin API with its next version")
    monkeypatch.setitem(hooks.harness_render.harness_spec, "warn_on_impl", warning)
    plugin = tmp_path / "old.py"
    plugin.write_text(
        "from harness import hookimpl\n\n\n@hookimpl\ndef harness_render(board, format):\n"
        "    return 'mine'\n"
    )
    with pytest.warns(DeprecationWarning, match="harness_render leaves") as seen:
        loaded = load_plugins([str(plugin)])

    assert [Path(one.filename).name for one in seen] == ["old.py"]
    assert loaded.manager.hook.harness_render(board=None, format="x") == "mine"
    assert any(line.startswith("hook harness_render: deprecated") for line in api.surface())


def test_a_name_that_never_was_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'harness' has no attribute 'Phaze'"):
        _ = harness.Phaze
    with pytest.raises(ImportError, match="Phaze"):
        exec("from harness import Phaze")


def test_the_command_shows_what_python_hides(tmp_path):
    (tmp_path / "old.py").write_text(
        "import warnings\n\n"
        "warnings.warn('harness.X leaves the plugin API', DeprecationWarning, stacklevel=2)\n"
        "warnings.warn('something else', DeprecationWarning, stacklevel=2)\n"
    )
    done = python("-m", "harness", "-p", "./old.py", "list", "suites", cwd=tmp_path)
    assert "DeprecationWarning: harness.X leaves the plugin API" in done.stderr
    assert "something else" not in done.stderr


def test_whatever_a_hook_passes_can_be_imported(api):
    """Types of the harness in a hook's signature, and in what these hold, one level down."""
    public = set(harness.__all__)
    passed = {
        name
        for _, function in api.hook_specs()
        for text in inspect.get_annotations(function).values()
        for name in re.findall(r"(?<![\w.])[A-Z]\w+", str(text))
    }
    held = {
        name
        for one in (harness.RunResult, harness.Outcome, harness.Resources)
        for text in inspect.get_annotations(one).values()
        for name in re.findall(r"(?<![\w.])[A-Z]\w+", str(text))
    }
    assert passed - {"Iterable", "None"} <= public
    plain = {"Any", "ClassVar", "Mapping", "Name", "Tensor", "Literal", "None"}  # `Name` is a text
    assert held - plain <= public
