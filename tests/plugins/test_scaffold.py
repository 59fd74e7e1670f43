"""`harness plugins new`: what it writes installs, passes its tests and runs as it is."""

import ast
import json
import re
import shlex

import pytest
from command import python
from fresh import OFFLINE, Environment
from places import ROOT

KINDS = ("strategy", "backbone", "dataset", "metric")


def commands(readme):
    """The four commands of a README."""
    block = re.search(r"```console\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL)
    return [shlex.split(line) for line in block[1].splitlines()]


@pytest.fixture
def environment(tmp_path):
    """An empty folder, and an environment that sees the harness of this checkout."""
    made = Environment(tmp_path)
    made.see(ROOT, ROOT / "plugins")
    made.folder = tmp_path / "empty"
    made.folder.mkdir()
    return made


def carry_out(environment, command, *more):
    modules = {"harness": "harness", "pip": "pip", "pytest": "pytest"}
    line = ["-m", modules[command[0]], *command[1:], *more]
    return environment.run(*line, cwd=environment.folder)


def install(environment, command):
    """`pip install` as the README says it, but without fetching anything."""
    carry_out(environment, command, *OFFLINE, "--no-build-isolation")


# -- from nothing to a board ----------------------------------------------------------------------


@pytest.mark.slow
def test_four_commands_lead_from_an_empty_folder_to_a_board(environment, tmp_path, harness_cli):
    # The README is known once the first command has run: here it is made beforehand, elsewhere.
    harness_cli(
        "plugins", "new", "small-steps", "--kind", "strategy", "--out", tmp_path / "elsewhere"
    )
    make, fetch, check, bench = commands(tmp_path / "elsewhere" / "small-steps" / "README.md")

    carry_out(environment, make)
    install(environment, fetch)
    checked = carry_out(environment, check)
    done = carry_out(environment, bench)

    assert (
        "strategy 'small-steps' of plugin 'small-steps' (harness-small-steps 0.1.0)"
        in checked.stdout
    )
    assert "17 of 17 promises kept" in checked.stdout
    assert "2 runs made" in done.stdout
    results = environment.folder / "results" / "demo"
    assert "small-steps" in (results / "leaderboard.md").read_text(encoding="utf-8")
    (run,) = (results / "runs" / "demo-xray" / "resnet50-mini" / "small-steps").glob("*.json")
    recorded = json.loads(run.read_text(encoding="utf-8"))["plugins"]["strategy"]
    assert (recorded["plugin"], recorded["distribution"]) == ("small-steps", "harness-small-steps")


@pytest.mark.slow
@pytest.mark.nightly
def test_every_kind_installs_passes_its_tests_and_is_benched(environment, harness_cli):
    for kind in KINDS:
        harness_cli("plugins", "new", f"my-{kind}", "--kind", kind, "--out", environment.folder)
    folders = [environment.folder / f"my-{kind}" for kind in KINDS]
    lines = [commands(folder / "README.md") for folder in folders]
    environment.run(
        "-m", "pip", "install", *OFFLINE, "--no-build-isolation",
        *(part for folder in folders for part in ("-e", folder)),
        cwd=environment.folder,
    )  # fmt: skip

    environment.run(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", *folders, cwd=environment.folder
    )
    checked = environment.run(
        "-m", "harness", "plugins", "check", *(line[2][3] for line in lines), cwd=environment.folder
    )
    assert "broken" not in checked.stdout
    # Each README's last command is a plan that can be carried out ...
    plans = "; ".join(
        f"cli({[*line[3][1:], '--dry-run']}, standalone_mode=False)" for line in lines
    )
    environment.run("-c", f"from harness.cli import cli; {plans}", cwd=environment.folder)
    # ... and all four together come to one run.
    environment.run(
        "-m", "harness", "bench", "demo", "--datasets", "my-dataset", "--backbones", "my-backbone",
        "--strategies", "my-strategy", "--weights", "none", "--epochs", "1", "--jobs", "1",
        cwd=environment.folder,
    )  # fmt: skip
    (run,) = (environment.folder / "results" / "demo" / "runs").rglob("*.json")
    result = json.loads(run.read_text(encoding="utf-8"))
    assert result["status"] == "ok"
    assert 0 <= result["metrics"]["my-metric"]["value"] <= 1
    assert {
        role: plugin["distribution"]
        for role, plugin in result["plugins"].items()
        if role != "metric"
    } == {role: f"harness-my-{role}" for role in ("dataset", "backbone", "strategy")}


# -- what is written ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["my-plugin", "3d-net", "class", "harness-extra", "a" * 40])
def test_what_is_written_is_valid_whatever_the_name(tmp_path, kind, name, harness_cli):
    done = harness_cli("plugins", "new", name, "--kind", kind, "--out", tmp_path)

    folder = tmp_path / name
    assert f"wrote {folder}" in done.stdout
    code = sorted(folder.rglob("*.py"))
    # The plugin and its tests; a metric has a file of its own for what needs `evaluate`.
    assert len(code) == {"metric": 3}.get(kind, 2)
    for file in code:
        ast.parse(file.read_text(encoding="utf-8"))
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert not [
        file for file in files if "$" in file.read_text(encoding="utf-8").replace("${{", "")
    ]
    assert {file.name for file in files} >= {
        "pyproject.toml",
        "README.md",
        ".gitignore",
        "check.yml",
    }
    assert not [file for file in files if file.suffix == ".template" or "dot-" in file.name]


def test_the_next_steps_are_printed_and_stand_in_the_readme(tmp_path, harness_cli):
    done = harness_cli("plugins", "new", "my-plugin", "--kind", "metric", "--out", tmp_path)
    printed = [shlex.split(line) for line in done.stdout.splitlines()[1:]]
    _, *listed = commands(tmp_path / "my-plugin" / "README.md")

    assert printed[1:] == listed[1:]
    assert printed[0] == ["pip", "install", "-e", f"{tmp_path / 'my-plugin'}[test]"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_tidy(tmp_path, kind, harness_cli):
    harness_cli("plugins", "new", "my-plugin", "--kind", kind, "--out", tmp_path)
    for command in (["format", "--check"], ["check", "--select", "B,E,F,N,PT,RUF,SIM,UP,W"]):
        python("-m", "ruff", *command, "--isolated", "--no-cache", "--line-length", "100", tmp_path)


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("MyStrategy", "'MyStrategy' is no name for a plugin: .*; did you mean 'my-strategy'?"),
        ("my_strategy", "did you mean 'my-strategy'?"),
        ("-x", "Error"),
        ("", "an argument is empty"),
        ("../up", "did you mean 'up'?"),
        ("lp-ft", "there is a plugin 'lp-ft' (finetune-harness .*) already; choose another name"),
        ("l2-sp", "there is a strategy 'l2-sp' already, of plugin 'starting-point'"),
        ("resnet50", "there is a backbone 'resnet50' already, of plugin 'resnet'"),
        ("pytest", "a module 'harness_pytest' is installed already"),
    ],
)
def test_names_that_cannot_be_taken(tmp_path, name, message, harness_cli):
    done = harness_cli("plugins", "new", name, "--kind", "strategy", "--out", tmp_path, exit_code=2)

    assert re.search(
        message.replace("(", r"\(").replace(")", r"\)").replace("?", r"\?"), done.stderr
    )
    assert list(tmp_path.iterdir()) == []


def test_the_name_of_a_broken_plugin_is_taken(tmp_path, harness_cli):
    (tmp_path / "absent.py").write_text("import no_such_module")
    done = harness_cli(
        "plugins",
        "new",
        "absent",
        "--kind",
        "metric",
        "--out",
        tmp_path,
        "-p",
        tmp_path / "absent.py",
        exit_code=2,
    )
    assert "there is a plugin 'absent'" in done.stderr


def test_a_folder_that_exists_is_left_alone(tmp_path, harness_cli):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "work.py").write_text("precious")
    done = harness_cli(
        "plugins", "new", "mine", "--kind", "dataset", "--out", tmp_path, exit_code=2
    )

    assert f"{tmp_path / 'mine'} exists already; choose another name" in done.stderr
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["work.py"]


def test_a_place_that_is_a_file(tmp_path, harness_cli):
    (tmp_path / "file").write_text("")
    done = harness_cli(
        "plugins",
        "new",
        "mine",
        "--kind",
        "dataset",
        "--out",
        tmp_path / "file" / "below",
        exit_code=2,
    )
    assert "cannot be written: Not a directory" in done.stderr


def test_a_kind_must_be_named(harness_cli):
    assert "Missing option '--kind'" in harness_cli("plugins", "new", "mine", exit_code=2).stderr
