"""The command line: shared options, lazy commands, commands of plugins, messages, exit codes."""

import json
import sys
import textwrap

import click
import pytest
from click.testing import CliRunner
from command import python

import harness
from harness import PluginError, TrainingError
from harness.cli import cli
from harness.cli.commands import plugins
from harness.cli.session import PackageGroup, Session, print_table

PLUGIN = """
import click
from typing import Annotated, Literal
from pydantic import Field
from harness import Backbone, Dataset, Metric, Phase, Protocol, Search, Strategy, Suite, Weights
from harness import hookimpl

class Mine(Strategy):
    \"\"\"Learns everything,
    slowly.

    More than that is not shown.
    \"\"\"

    name = "mine"
    paper = "Someone 2030, arXiv 3001.00001"
    alpha: Annotated[float, Field(gt=0, description="how slowly"), Search(1e-6, 1, log=True)] = 0.01
    share: Annotated[float, Search(0.1, 0.9)] = 0.5
    scope: Literal["last", "all"] = "last"
    nested: bool = True

    def phases(self, model, epochs):
        yield Phase("all", epochs, {"*": 1.0})

class Images(Dataset):
    folder: str = "not for everybody"

    def load(self, access):
        return {}

class Net(Backbone):
    def build(self, classes):
        raise NotImplementedError

@hookimpl
def harness_strategies():
    return [Mine]

@hookimpl
def harness_datasets():
    return [
        Images(name="pinned", modality="mri", classes=("no", "yes"), revision="0123456789abcdef",
               licence="cc-by-4.0", source="hub: someone/mri"),
        Images(name="loose", modality="xray"),
        Images(name="made", modality="xray", procedural=True),
    ]

@hookimpl
def harness_backbones():
    return [
        Net(name="net", stages=("stem", "head"), weights=Weights(name="V1"), title="A net"),
        Net(name="bare", stages=("stem", "head")),
    ]

@hookimpl
def harness_metrics():
    return [Metric("error-rate", build=dict, higher_is_better=False, title="Error rate", high=2)]

@hookimpl
def harness_suites():
    protocol = Protocol(name="short")
    return [
        Suite(name="small", title="A small one", datasets=("pinned", "made"), backbones=("net",),
              strategies=("mine",), seeds=(0, 1, 2), protocol=protocol),
        Suite(name="open", protocol=protocol),
    ]

@hookimpl
def harness_run_end(result):
    pass

@hookimpl
def harness_commands(cli):
    @cli.command()
    @click.option("--loud", is_flag=True)
    def greet(loud):
        "Say hello."
        click.echo("HELLO" if loud else "hello")

    @cli.group()
    def nest():
        "Hold an egg."

    @nest.command()
    @click.pass_context
    def egg(ctx):
        session = ctx.find_root().obj
        click.echo(f"offline={session.offline} strict={session.strict} {session.options}")

    @cli.command()
    @click.argument("kind")
    def fail(kind):
        from harness import TrainingError
        faults = {"training": TrainingError("the loss is nan"), "stop": KeyboardInterrupt()}
        raise faults.get(kind, ZeroDivisionError(kind))
"""


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch):
    for name in ("HARNESS_PLUGINS", "HARNESS_NO_AUTOLOAD", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def path(tmp_path):
    found = tmp_path / "made.py"
    found.write_text(PLUGIN)
    return str(found)


@pytest.fixture
def bad(tmp_path):
    found = tmp_path / "bad.py"
    found.write_text("raise RuntimeError('not today')")
    return str(found)


def write(folder, name, code):
    path = folder / f"{name}.py"
    path.write_text(textwrap.dedent(code))
    return str(path)


def rows(text):
    """The lines of a table without its rule."""
    return [line for line in text.splitlines() if line and not line.startswith("-")]


# harness list


def test_list_as_json_holds_everything(path, harness_cli):
    everything = json.loads(harness_cli("list", "--json", "-p", path).stdout)
    assert list(everything) == [
        "datasets",
        "backbones",
        "strategies",
        "metrics",
        "suites",
        "trackers",
    ]
    one = json.loads(harness_cli("list", "strategies", "--json", "-p", path).stdout)
    assert one == {"strategies": everything["strategies"]}
    (mine,) = [entry for entry in everything["strategies"] if entry["name"] == "mine"]
    assert mine == {
        "name": "mine",
        "description": "Learns everything, slowly.",
        "paper": "Someone 2030, arXiv 3001.00001",
        "settings": [
            {
                "name": "alpha",
                "default": 0.01,
                "search": {"low": 1e-6, "high": 1, "log": True},
                "choices": None,
                "description": "how slowly",
            },
            {
                "name": "share",
                "default": 0.5,
                "search": {"low": 0.1, "high": 0.9, "log": False},
                "choices": None,
                "description": "",
            },
            {
                "name": "scope",
                "default": "last",
                "search": None,
                "choices": ["last", "all"],
                "description": "",
            },
            {
                "name": "nested",
                "default": True,
                "search": None,
                "choices": None,
                "description": "",
            },
            {
                "name": "rate",
                "default": 1.0,
                "search": {"low": 0.01, "high": 30.0, "log": True},
                "choices": None,
                "description": "multiplier of the protocol's learning rate, in every phase",
            },
        ],
        "plugin": "made",
        "distribution": None,
        "version": None,
    }
    (pinned,) = [entry for entry in everything["datasets"] if entry["name"] == "pinned"]
    assert (pinned["modality"], pinned["classes"]) == ("mri", ["no", "yes"])
    assert (pinned["licence"], pinned["revision"]) == ("cc-by-4.0", "0123456789abcdef")
    assert "folder" not in pinned
    (net,) = [entry for entry in everything["backbones"] if entry["name"] == "net"]
    assert (net["stages"], net["weights"]["name"]) == (["stem", "head"], "V1")
    (metric,) = [entry for entry in everything["metrics"] if entry["name"] == "error-rate"]
    assert (metric["higher_is_better"], metric["low"], metric["high"]) == (False, 0, 2)
    (small,) = [entry for entry in everything["suites"] if entry["name"] == "small"]
    assert (small["runs"], small["seeds"], small["protocol"]) == (6, [0, 1, 2], "short")
    assert small["datasets"] == ["pinned", "made"]


def test_list_shows_settings_their_defaults_space_and_paper(path, harness_cli):
    text = harness_cli("list", "strategies", "-p", path).stdout
    for part in (
        "alpha = 0.01  (1e-06 to 1, log)",
        "share = 0.5  (0.1 to 0.9)",
        "scope = last  (last | all)",
        "nested = True",
        "Learns everything, slowly.",
        "Someone 2030, arXiv",
    ):
        assert part in text
    assert "More than that" not in text


@pytest.mark.parametrize(
    ("kind", "name", "cells"),
    [
        ("datasets", "pinned", ["mri", "0123456789ab", "cc-by-4.0", "no yes", "hub: someone/mri"]),
        ("datasets", "loose", ["xray", "unpinned", "unknown", "read from the data"]),
        ("datasets", "made", ["xray", "drawn", "unknown", "read from the data"]),
        ("backbones", "net", ["V1", "stem head", "A net"]),
        ("backbones", "bare", ["none", "stem head"]),
        ("metrics", "error-rate", ["lower", "0 to 2", "Error rate"]),
        ("suites", "small", ["2", "1", "1", "3", "6", "A small one"]),
        ("suites", "open", ["given", "given", "given", "1"]),
    ],
)
def test_a_row_of_list(path, kind, name, cells, harness_cli):
    lines = harness_cli("list", kind, "-p", path).stdout.splitlines()
    (row,) = [line for line in lines if line.split()[:1] == [name]]
    assert [cell.strip() for cell in row.split("  ") if cell.strip()] == [name, *cells]


def test_list_of_everything_names_each_kind(path, harness_cli):
    lines = harness_cli("list", "-p", path).stdout.splitlines()
    kinds = ["datasets", "backbones", "strategies", "metrics", "suites", "trackers"]
    assert [line for line in lines if line in kinds] == kinds


def test_list_of_what_there_is_not(harness_cli):
    assert "'strategy' is not one of" in harness_cli("list", "strategy", exit_code=2).stderr


# harness plugins


def test_plugins_lists_sound_broken_and_blocked(path, bad, tmp_path, harness_cli):
    gone = write(tmp_path, "gone", "")
    args = ("-p", path, "-p", bad, "-p", gone, "-p", "no:gone")
    text = harness_cli("plugins", *args).stdout
    state = {line.split()[0]: line for line in rows(text)}
    assert " ok " in state["made"]
    assert "strategies: mine" in text
    assert "hooks: harness_commands harness_run_end" in text
    assert " broken " in state["bad"]
    assert "RuntimeError: not today" in text
    assert "blocked" in state["gone"]
    found = json.loads(harness_cli("plugins", "--json", *args).stdout)
    (made,) = [one for one in found["plugins"] if one["plugin"] == "made"]
    assert made["offers"]["datasets"] == ["loose", "made", "pinned"]
    assert made["hooks"] == ["harness_commands", "harness_run_end"]
    assert (made["builtin"], made["distribution"]) == (False, None)
    (broken,) = [one for one in found["broken"] if one["plugin"] == "bad"]
    assert broken["problem"].startswith("RuntimeError: not today")
    assert "-p no:bad" in broken["remedy"]
    assert found["blocked"] == ["gone"]


def test_a_command_below_plugins_does_not_list_them(monkeypatch, harness_cli):
    below = click.Command("below", callback=lambda: click.echo("below"))
    monkeypatch.setitem(plugins.command.commands, "below", below)
    assert harness_cli("plugins", "below").stdout == "below\n"


def test_an_unknown_command_below_plugins(harness_cli):
    text = harness_cli("plugins", "chekc", exit_code=2).stderr
    assert text.startswith("harness: error: unknown command 'chekc'")


# Broken plugins


def test_a_broken_plugin_is_one_line_on_stderr(path, bad, harness_cli):
    result = harness_cli("list", "strategies", "-p", bad, "-p", path)
    (line,) = [one for one in result.stderr.splitlines() if "'bad'" in one]
    assert line.startswith("harness: warning: plugin 'bad' (")
    assert "RuntimeError: not today" in line
    assert line.endswith("or block it with -p no:bad")
    assert "mine" in result.stdout


@pytest.mark.parametrize("command", [["check", "a", "b"], ["compare", "a", "b"], ["data", "cache"]])
def test_strict_plugins_holds_where_no_plugin_is_needed(bad, command, harness_cli):
    assert "is left out" in harness_cli(*command, "-p", bad, "--strict-plugins", exit_code=2).stderr


@pytest.mark.parametrize("before", [True, False])
def test_strict_plugins_is_an_error(bad, before, harness_cli):
    args = ["-p", bad, "--strict-plugins"]
    result = harness_cli(*([*args, "list"] if before else ["list", *args]), exit_code=2)
    assert result.stderr.startswith("harness: error: plugin 'bad'")
    assert "Traceback" not in result.output


# Shared options


@pytest.mark.parametrize(
    "args",
    [
        ["-p", "PATH", "list", "strategies", "--json"],
        ["list", "-p", "PATH", "strategies", "--json"],
        ["list", "strategies", "--json", "--plugin", "PATH"],
    ],
)
def test_a_plugin_may_stand_before_and_after_the_command(path, args, harness_cli):
    text = harness_cli(*[path if arg == "PATH" else arg for arg in args]).stdout
    assert "mine" in [one["name"] for one in json.loads(text)["strategies"]]


def test_options_before_and_after_add_up(path, bad, harness_cli):
    text = harness_cli(
        "-p", path, "nest", "--offline", "egg", "-p", bad, "-p", path, "-p", "no:bad"
    ).stdout
    assert text == f"offline=True strict=False {[path, bad, 'no:bad']}\n"


def test_offline_may_come_from_the_environment(path, monkeypatch, harness_cli):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert harness_cli("-p", path, "nest", "egg").stdout.startswith("offline=True")


@pytest.mark.parametrize("args", [["--version"], ["list", "--version"], ["plugins", "--version"]])
def test_version_stands_anywhere(args, harness_cli):
    assert harness_cli(*args).stdout.rstrip().endswith(f"plugin API {harness.API_VERSION}")


def test_every_command_has_the_shared_options(path):
    def walk(command, ctx, name):
        yield name, {option for one in command.params for option in one.opts}
        if isinstance(command, click.Group):
            inner = click.Context(command, parent=ctx)
            for below in command.list_commands(inner):
                yield from walk(command.get_command(inner, below), inner, f"{name} {below}")

    root = click.Context(cli)
    root.obj = Session(options=[path])
    found = dict(walk(cli, root, "harness"))
    assert {"harness list", "harness plugins", "harness greet", "harness nest egg"} <= set(found)
    shared = {"-p", "--plugin", "--strict-plugins", "--offline", "--version"}
    assert [name for name, options in found.items() if not shared <= options] == []


# Commands of plugins

OTHER = """
import click
from harness import Strategy, hookimpl

class Other(Strategy):
    name = "other"
    def phases(self, model, epochs):
        yield from ()

@hookimpl
def harness_strategies():
    return [Other]

@hookimpl
def harness_commands(cli):
    ADD
"""


def test_a_plugin_adds_commands(path, harness_cli):
    assert harness_cli("-p", path, "greet").stdout == "hello\n"
    text = harness_cli("-p", path, "--help").stdout
    assert "greet    Say hello." in text
    assert "list     List datasets" in text


def test_the_plugin_of_a_command_may_stand_behind_it(path, harness_cli):
    assert harness_cli("greet", "--loud", "-p", path).stdout == "HELLO\n"
    assert harness_cli("greet", f"--plugin={path}", "--loud").stdout == "HELLO\n"


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        (
            "cli.add_command(click.Command('list'))",
            "it adds the command 'list', which exists already",
        ),
        ("raise RuntimeError('not today')", "RuntimeError: not today"),
        (
            "cli.add_command(click.Command('x', params=[click.Option(['-p', '--port'])]))",
            "command 'x' has an option -p, which all commands have; rename it",
        ),
    ],
)
def test_a_plugin_whose_command_cannot_be_added_is_broken(
    tmp_path, path, code, problem, harness_cli
):
    bad = write(tmp_path, "bad", OTHER.replace("ADD", code))
    result = harness_cli("list", "--json", "strategies", "-p", bad, "-p", path)
    (line,) = [one for one in result.stderr.splitlines() if "'bad'" in one]
    assert problem in line
    names = [one["name"] for one in json.loads(result.stdout)["strategies"]]
    assert "mine" in names
    assert "other" not in names
    assert harness_cli("greet", "-p", bad, "-p", path).stdout == "hello\n"
    strict = harness_cli("greet", "-p", bad, "-p", path, "--strict-plugins", exit_code=2)
    assert problem in strict.stderr


def test_two_plugins_that_add_the_same_command(path, tmp_path, harness_cli):
    code = """
    import click
    from harness import hookimpl

    @hookimpl
    def harness_commands(cli):
        cli.add_command(click.Command("greet", callback=lambda: click.echo("good day")))
    """
    result = harness_cli("greet", "-p", path, "-p", write(tmp_path, "polite", code))
    assert result.stdout == "good day\n"  # hooks are called last loaded first
    assert "plugin 'made'" in result.stderr
    assert "it adds the command 'greet', which exists already" in result.stderr


# Messages and exit codes


@pytest.mark.parametrize(
    ("typed", "meant"), [("lsit", "'list'"), ("plugin", "'plugins'"), ("gret", "'greet'")]
)
def test_an_unknown_command(path, typed, meant, harness_cli):
    result = harness_cli("-p", path, typed, exit_code=2)
    assert f"harness: error: unknown command '{typed}'; did you mean {meant}?" in result.stderr
    assert "greet" in result.stderr


def test_an_error_of_the_harness_is_one_line(path, harness_cli):
    result = harness_cli("-p", path, "fail", "training", exit_code=TrainingError.exit_code)
    assert result.stderr == "harness: error: the loss is nan\n"


def test_a_plugin_that_does_not_exist(harness_cli):
    result = harness_cli("list", "-p", "./absent.py", exit_code=PluginError.exit_code)
    assert result.stderr.startswith("harness: error: no plugin file at ")
    assert result.stdout == ""


def test_an_interruption_is_one_line(path, harness_cli):
    result = harness_cli("-p", path, "fail", "stop", exit_code=130)
    assert result.stderr == "harness: interrupted\n"


def test_an_interruption_that_python_drops_comes_again(tmp_path, harness_cli):
    """As one that comes while the import system calls back a weak reference."""
    (tmp_path / "deaf.py").write_text(
        "import signal, time\n"
        "class Deaf:\n"
        "    def __del__(self):\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "Deaf()\n"
        "time.sleep(30)\n"
    )
    result = harness_cli("-p", tmp_path / "deaf.py", "list", exit_code=130)
    assert result.stderr == "harness: interrupted\n"


def test_an_error_that_nobody_foresaw_keeps_its_traceback(path, harness_cli):
    result = harness_cli("-p", path, "fail", "otherwise", exit_code=1)
    assert isinstance(result.exception, ZeroDivisionError)


def test_an_unknown_option_is_usage(harness_cli):
    assert "No such option" in harness_cli("list", "--jsno", exit_code=2).stderr


# Groups and tables


def test_the_modules_of_a_package_are_its_commands(tmp_path, monkeypatch):
    package = tmp_path / "made_commands"
    package.mkdir()
    (package / "__init__.py").write_text("")
    code = "import click\n@click.command\ndef command():\n    click.echo('done')\n"
    (package / "do_it.py").write_text(code)
    (package / "heavy.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    group = PackageGroup("made", package="made_commands")
    assert group.list_commands(click.Context(group)) == ["do-it", "heavy"]
    result = CliRunner().invoke(group, ["do-it"])
    assert (result.exit_code, result.stdout) == (0, "done\n")
    for name in [one for one in sys.modules if one.startswith("made_commands")]:
        monkeypatch.delitem(sys.modules, name)


def test_a_table_breaks_lines_between_words_and_keeps_names_whole(capsys):
    print_table(("a", "b"), [["x" * 30, "one-two-three four\nfive"]], 8)
    assert capsys.readouterr().out.splitlines()[2:] == [
        f"{'x' * 30}  one-two-three",
        f"{' ' * 30}  four",
        f"{' ' * 30}  five",
    ]


# As a process


@pytest.mark.slow
def test_as_a_module_it_takes_nothing_from_the_current_folder(tmp_path):
    info = tmp_path / "lying_around-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lying-around\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[harness]\nlying = lying_around\n")
    (tmp_path / "lying_around.py").write_text("raise SystemExit('loaded')")
    here = python("-m", "harness", "plugins", cwd=tmp_path)
    assert "lying" not in here.stdout + here.stderr
    installed = python("-m", "harness", "plugins", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert "plugin 'lying' (lying-around 1) is left out: SystemExit: loaded" in installed.stderr


@pytest.mark.slow
def test_exit_codes_reach_the_shell(tmp_path):
    python("-m", "harness", "lsit", cwd=tmp_path, exit_code=2)
    python("-m", "harness", "list", "metrics", cwd=tmp_path)
    told = python("-m", "harness", "--help", cwd=tmp_path).stdout
    assert told.startswith("Usage: harness [OPTIONS] COMMAND")


# -- values that are not there ----------------------------------------------------------------


def valued_options(group=cli, path=()):
    """Every option of every command that takes a value: (command's path, option)."""
    with click.Context(group) as ctx:
        for name in group.list_commands(ctx):
            command = group.get_command(ctx, name)
            if isinstance(command, click.Group):
                yield from valued_options(command, (*path, name))
                continue
            for param in command.params:
                if isinstance(param, click.Option) and not param.is_flag:
                    yield (*path, name), param.opts[-1]


@pytest.mark.parametrize("form", ["apart", "together"])
def test_a_value_that_is_empty_is_never_the_default(form):
    """As a script leaves it whose variable is not set: `--seeds "$SEEDS"`."""
    options = sorted(set(valued_options()))
    assert len(options) > 50
    for path, option in options:
        if not option.startswith("--") and form == "together":
            continue
        given = [option, ""] if form == "apart" else [f"{option}="]
        done = CliRunner().invoke(cli, [*path, *given])
        assert (done.exit_code, done.stderr) == (
            2,
            f"harness: error: {option} was given nothing; leave it out for its default\n",
        )


def test_an_empty_argument_is_told():
    done = CliRunner().invoke(cli, ["board", ""])
    assert done.exit_code == 2
    assert "an argument is empty" in done.stderr
    done = CliRunner().invoke(cli, ["list", "strategies", "--set", "a=b="])
    assert "was given nothing" not in done.stderr
