"""Source hashes, dirty trees and environments, on made-up plugins and repositories."""

import base64
import getpass
import hashlib
import importlib
import os
import re
import shutil
import socket
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from command import python
from places import ROOT

import harness
from harness import PluginError
from harness.plugins import provenance
from harness.plugins.provenance import environment, plugin_record, source_hash

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Nothing remembered, no repository given from outside, no module left behind."""
    for name in provenance.GIT_PLACES:
        monkeypatch.delenv(name, raising=False)
    before = set(sys.modules)
    caches = (provenance._plugin_record, provenance.source_hash, provenance._fixed)
    for one in caches:
        one.cache_clear()
    yield
    for one in caches:
        one.cache_clear()
    for name in set(sys.modules) - before:
        if name.startswith("made_"):
            del sys.modules[name]


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Writes files below a folder, imports a module from there and returns the folder."""

    def make(files, module, folder="site"):
        root = tmp_path / folder
        for name, content in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content.encode())
        forget(module)
        with monkeypatch.context() as context:
            context.syspath_prepend(root)
            context.setattr(sys, "dont_write_bytecode", True)
            importlib.invalidate_caches()
            importlib.import_module(module)
        return root

    return make


def forget(module):
    for name in [name for name in sys.modules if name.split(".")[0] == module.split(".")[0]]:
        del sys.modules[name]
    source_hash.cache_clear()
    provenance._plugin_record.cache_clear()


def git(folder, *arguments):
    settings = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *settings, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository(made):
    """A package and a lone module, committed."""
    root = made({"made_pack/__init__.py": "A = 1\n", ".gitignore": "ignored/\n"}, "made_pack")
    made({"made_lone.py": "A = 1\n"}, "made_lone")
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "first")
    return root


def hash_of(files):
    """The hash of {name below the package: content}, by hand."""
    whole = hashlib.sha256()
    for name, content in sorted(files.items()):
        whole.update(hashlib.sha256(name.encode()).digest() + hashlib.sha256(content).digest())
    return whole.hexdigest()


PACKAGE = {
    "made_pack/__init__.py": "from made_pack import b\n",
    "made_pack/b.py": "B = 1\n",
    "made_pack/deep/c.py": "C = 1\n",
}


# Source hash


def test_by_hand(made):
    made(PACKAGE, "made_pack")
    by_hand = {name.removeprefix("made_pack/"): text.encode() for name, text in PACKAGE.items()}
    assert source_hash("made_pack") == hash_of(by_hand)


def test_the_place_line_endings_and_bytecode_do_not_matter(made):
    made(PACKAGE, "made_pack", folder="here")
    first = source_hash("made_pack")
    windows = {name: content.replace("\n", "\r\n") for name, content in PACKAGE.items()}
    root = made(windows, "made_pack", folder="elsewhere/deeper")
    (root / "made_pack/__pycache__").mkdir()
    (root / "made_pack/__pycache__/b.cpython-311.pyc").write_bytes(b"\0")
    (root / "made_pack/notes.txt").write_text("no code")
    assert source_hash("made_pack") == first


@pytest.mark.parametrize(
    "change",
    [
        {"made_pack/deep/c.py": "C = 2\n"},
        {"made_pack/new.py": ""},
        {"made_pack/b.py": "B = 1\nC = 1\n", "made_pack/deep/c.py": ""},
    ],
)
def test_any_change_of_code_changes_it(made, change):
    made(PACKAGE, "made_pack", folder="before")
    before = source_hash("made_pack")
    made({**PACKAGE, **change}, "made_pack", folder="after")
    assert source_hash("made_pack") != before


def test_moving_a_file_changes_it(made):
    made({"made_pack/__init__.py": "", "made_pack/b.py": "B = 1\n"}, "made_pack", folder="one")
    before = source_hash("made_pack")
    made({"made_pack/__init__.py": "", "made_pack/d/b.py": "B = 1\n"}, "made_pack", folder="two")
    assert source_hash("made_pack") != before


def test_a_lone_module_is_its_file_only(made):
    root = made({"made_lone.py": "A = 1\n", "other.py": ""}, "made_lone")
    before = source_hash("made_lone")
    (root / "other.py").write_text("changed = True\n")
    source_hash.cache_clear()
    assert source_hash("made_lone") == before
    (root / "made_lone.py").write_text("A = 2\n")
    source_hash.cache_clear()
    assert source_hash("made_lone") != before


def test_a_module_inside_a_package_stands_for_the_package(made):
    made(PACKAGE, "made_pack.b")
    assert source_hash("made_pack.b") == source_hash("made_pack")


def test_a_namespace_package(made):
    made({"made_space/a.py": "A = 1\n"}, "made_space")
    assert source_hash("made_space") == hash_of({"a.py": b"A = 1\n"})


def test_it_is_read_once_a_process(made):
    root = made(PACKAGE, "made_pack")
    before = source_hash("made_pack")
    (root / "made_pack/b.py").write_text("B = 3\n")
    assert source_hash("made_pack") == before


@pytest.mark.parametrize("module", ["made_absent", "builtins"])
def test_no_source_is_an_error(module):
    with pytest.raises(PluginError, match=f"'{module}' has no source file"):
        plugin_record("own", module)


# Plugin records


def test_a_loose_file_outside_a_repository(made, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    made({"made_lone.py": "A = 1\n"}, "made_lone")
    record = plugin_record("own", "made_lone")
    assert record.model_dump() == {
        "plugin": "own",
        "distribution": None,
        "version": None,
        "source": hash_of({"made_lone.py": b"A = 1\n"}),
        "dirty": None,
    }
    assert plugin_record("own", sys.modules["made_lone"]) is record


@needs_git
def test_a_clean_and_a_changed_tree(repository):
    assert plugin_record("own", "made_pack").dirty is False
    assert plugin_record("own", "made_lone").dirty is False
    (repository / "made_lone.py").write_text("A = 2\n")
    forget("nothing")
    assert plugin_record("own", "made_pack").dirty is False
    assert plugin_record("own", "made_lone").dirty is True


@needs_git
@pytest.mark.parametrize("change", ["edited", "added", "deleted", "staged"])
def test_every_kind_of_change_is_seen(repository, made, change):
    if change == "deleted":
        made({"made_pack/extra.py": ""}, "made_pack")
        git(repository, "add", "-A")
        git(repository, "commit", "-qm", "second")
        (repository / "made_pack/extra.py").unlink()
    elif change == "added":
        (repository / "made_pack/extra.py").write_text("")
    else:
        (repository / "made_pack/__init__.py").write_text("A = 2\n")
    if change == "staged":
        git(repository, "add", "-A")
    assert plugin_record("own", "made_pack").dirty is True


@needs_git
def test_what_a_repository_ignores_is_unknown(repository, made):
    made({"ignored/keep.txt": ""}, "made_pack")
    made({"made_lone.py": "A = 1\n"}, "made_lone", folder="site/ignored")
    assert plugin_record("own", "made_lone").dirty is None
    assert provenance._commit(repository / "ignored/made_lone.py") is None


@needs_git
def test_a_hooks_environment_does_not_mislead(repository, made, tmp_path, monkeypatch):
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert plugin_record("own", "made_lone").dirty is False


@pytest.mark.parametrize("error", [FileNotFoundError("git"), subprocess.TimeoutExpired("git", 10)])
def test_without_an_answer_from_git_it_is_unknown(made, monkeypatch, error):
    def fail(*_, **__):
        raise error

    made({"made_lone.py": "A = 1\n"}, "made_lone")
    monkeypatch.setattr(provenance.subprocess, "run", fail)
    assert plugin_record("own", "made_lone").dirty is None
    assert environment("cpu").commit is None


def install(made, content="A = 1\n", recorded="A = 1\n"):
    """A module as a wheel leaves it: beside it the file that lists its hash."""
    digest = hashlib.sha256(recorded.encode()).digest()
    text = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    info = "made_dist-1.2.dist-info"
    files = {
        "made_wheel.py": content,
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: made-dist\nVersion: 1.2\n",
        f"{info}/RECORD": f"made_wheel.py,sha256={text},6\n{info}/METADATA,,\n{info}/RECORD,,\n",
    }
    return made(files, "made_wheel")


@pytest.mark.parametrize(("content", "dirty"), [("A = 1\n", False), ("A = 2\n", True)])
def test_an_installed_wheel_is_held_against_its_record(made, monkeypatch, content, dirty):
    root = install(made, content)
    monkeypatch.syspath_prepend(root)
    record = plugin_record("own", "made_wheel", "made-dist")
    assert (record.distribution, record.version, record.dirty) == ("made-dist", "1.2", dirty)


def test_an_unknown_distribution_has_no_version(made, monkeypatch, tmp_path):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    made({"made_lone.py": "A = 1\n"}, "made_lone")
    record = plugin_record("own", "made_lone", "no-such-distribution")
    assert (record.version, record.dirty) == (None, None)


def test_a_built_in_plugin():
    importlib.import_module("harness_metrics")
    record = plugin_record("metrics", "harness_metrics", "finetune-harness")
    folder = ROOT / "plugins" / "harness_metrics"
    names = {path: path.relative_to(folder).as_posix() for path in folder.rglob("*.py")}
    assert record.version == metadata.version("finetune-harness")
    assert record.source == hash_of({name: path.read_bytes() for path, name in names.items()})


# Environment


def test_versions_without_importing_anything():
    code = (
        "import sys; from harness.plugins.provenance import environment; found = environment('cpu');"
        "print(sorted(found.libraries), found.threads,"
        "[m for m in ('torch', 'numpy', 'datasets', 'evaluate', 'sklearn') if m in sys.modules])"
    )
    done = python("-c", code)
    libraries = ["datasets", "evaluate", "numpy", "scikit-learn", "torch", "torchvision"]
    assert done.stdout.strip() == f"{libraries} None []"


def test_what_is_recorded(monkeypatch):
    import torch

    found = environment("cuda:0")
    assert found.device == "cuda:0"
    assert found.threads == torch.get_num_threads()
    assert found.libraries["torch"] == metadata.version("torch")
    assert torch.__version__.startswith(found.libraries["torch"])
    assert found.harness == metadata.version("finetune-harness")
    assert found.python == sys.version.split()[0]
    assert environment("cpu").device == "cpu"
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    assert environment("cpu").threads == 7


def test_a_library_that_is_missing_is_left_out(monkeypatch):
    monkeypatch.setattr(provenance, "LIBRARIES", ("numpy", "no-such-library"))
    monkeypatch.setattr(provenance, "DISTRIBUTION", "no-such-harness")
    found = environment("cpu")
    assert list(found.libraries) == ["numpy"]
    assert found.harness == "unknown"


def test_nobody_and_no_place_is_named():
    text = environment("cpu").model_dump_json()
    for name in {socket.gethostname(), getpass.getuser()}:
        alone = rf"(?<!\w){re.escape(name)}(?!\w)"  # whole, whatever hyphens it has
        assert re.search(alone, f"made on linux-{name}, at night")
        assert not re.search(alone, text)
    assert os.sep not in text
    assert "\\\\" not in text


def test_a_change_anywhere_in_the_harness_counts(monkeypatch):
    here = Path(harness.__file__).parent
    monkeypatch.setattr(provenance, "_dirty", lambda sources, _: sources.path == here)
    assert environment("cpu").dirty is True


@needs_git
def test_the_commit_of_a_checkout(repository):
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=repository, check=True, capture_output=True, text=True
    )
    assert provenance._commit(repository / "made_lone.py") == head.stdout.strip()
    (repository / "untracked.py").write_text("")
    assert provenance._commit(repository / "untracked.py") is None
