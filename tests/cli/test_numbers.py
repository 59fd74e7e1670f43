"""Numbers in options and suite files: NaN and infinity are refused wherever a number is taken."""

import click
import pytest
from command import Cli
from places import TOY

from harness.benchmark.request import BenchRequest
from harness.benchmark.suite.resolve import resolve_suite
from harness.cli import cli
from harness.errors import UsageError
from harness.plugins.registry import load_plugins

NO_NUMBERS = ("nan", "NaN", "-nan", "inf", "-inf", "Infinity", "+Infinity", "1e999", "-1e999")


def number_options(group=cli, path=()):
    """Every option and argument of every command that takes a number: (command's path, option)."""
    with click.Context(group) as ctx:
        for name in group.list_commands(ctx):
            command = group.get_command(ctx, name)
            if isinstance(command, click.Group):
                yield from number_options(command, (*path, name))
                continue
            for param in command.params:
                kind = param.type
                if isinstance(kind, click.types.FloatParamType | click.types.IntParamType):
                    yield (*path, name), param.opts[0]


OPTIONS = sorted(number_options())
# Numbers in a text of their own form: --seeds 0,1; --shard I/N; --set X=VALUE; --tolerance C=POINTS.
IN_TEXTS = (
    ("bench", "--seeds", "{}"),
    ("bench", "--seeds", "0,{}"),
    ("bench", "--shard", "{}/2"),
    ("bench", "--shard", "1/{}"),
    ("bench", "--set", "protocol.lr={}"),
    ("bench", "--set", "protocol.epochs={}"),
    ("bench", "--set", "protocol.batch_size={}"),
    ("bench", "--set", "protocol.schedule.horizon={}"),
    ("bench", "--set", "protocol.schedule.floor={}"),
    ("bench", "--set", "protocol.mean=[0.1, {}, 0.3]"),
    ("bench", "--set", "moody.rate={}"),
    ("check", "--tolerance", "{}"),
    ("check", "--tolerance", "toy/*={}"),
)


def test_the_search_sees_the_options():
    assert {option for _, option in OPTIONS} >= {
        "--epochs",
        "--limit",
        "--jobs",
        "--threads",
        "--cost",
        "--older-than",
        "--replay",
        "--seed",
    }


def refused(path, *args, given):
    done = Cli((TOY,))(*path, *args, exit_code=2)
    assert "Traceback" not in done.output
    assert given in done.output or "inf" in done.output
    return done


@pytest.mark.parametrize("number", NO_NUMBERS)
@pytest.mark.parametrize(
    ("path", "option"),
    OPTIONS,
    ids=lambda part: "-".join([*part]) if isinstance(part, tuple) else part,
)
def test_options(tmp_path, monkeypatch, path, option, number):
    monkeypatch.chdir(tmp_path)
    places = {"verify": ["."], "check": [".", "."]}.get(path[-1], [])
    done = refused(path, *places, f"{option}={number}", given=number)
    assert f"Invalid value for '{option}'" in done.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "option"),
    [one for one in OPTIONS if one != (("verify",), "--seed")],  # a seed may be negative
    ids=lambda part: "-".join([*part]) if isinstance(part, tuple) else part,
)
def test_a_negative_number_is_refused(tmp_path, monkeypatch, path, option):
    monkeypatch.chdir(tmp_path)
    places = {"verify": ["."], "check": [".", "."]}.get(path[-1], [])
    said = refused(path, *places, f"{option}=-1", given="-1").stderr
    assert any(part in said for part in ("not in the range", "0 or more", "from 0 to 100"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["--epochs", "--jobs", "--limit", "--threads"])
def test_none_at_all_is_refused(toy_cli, option):
    done = toy_cli("bench", "toy", f"{option}=0", exit_code=2)
    assert f"Invalid value for '{option}': 0" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", NO_NUMBERS)
@pytest.mark.parametrize(("command", "option", "text"), IN_TEXTS)
def test_texts_with_numbers(tmp_path, monkeypatch, command, option, text, number):
    monkeypatch.chdir(tmp_path)
    places = {"bench": ["toy"], "check": [".", "."]}[command]
    done = refused((command,), *places, f"{option}={text.format(number)}", given=number)
    assert done.stderr.startswith("harness: error: ")
    assert done.stderr.count("\n") == 1
    assert option in done.stderr or "given: '[" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e999", '"nan"', '"inf"'])
@pytest.mark.parametrize(
    "lines",
    [
        "[protocol]\nlr = {}",
        "[protocol]\nepochs = {}",
        "[protocol.schedule]\nfloor = {}",
        "[protocol]\nmean = [0.1, {}, 0.3]",
        "[tolerances]\n'*' = {}",
        "[rates]\nresnet50 = {}",
        "[settings.moody]\nrate = {}",
    ],
)
def test_suite_files(tmp_path, toy_cli, lines, number):
    path = tmp_path / "own.toml"
    path.write_text('extends = "toy"\n' + lines.format(number))
    done = toy_cli("bench", path, "--out", tmp_path / "out", exit_code=2)
    assert done.stderr.startswith("harness: error: ")
    assert done.stderr.count("\n") == 1
    assert "finite number" in done.stderr or "greater than" in done.stderr
    assert not (tmp_path / "out" / "plan.json").exists()


def test_requests_from_python():
    with pytest.raises(UsageError, match=r"protocol\.epochs: inf is not a finite number"):
        resolve_suite(BenchRequest(suite="toy", epochs=float("inf")), load_plugins([TOY]))


@pytest.mark.parametrize("text", ["²/2", "1/²", "٣/x"])
def test_digits_of_other_scripts_are_no_shard(toy_cli, text):
    assert "give I/N" in toy_cli("bench", "toy", "--shard", text, exit_code=2).stderr


def test_finite_numbers_are_taken_as_they_are():
    request = BenchRequest(suite="toy", sets=("protocol.lr=1e-4", "protocol.schedule.kind=cosine"))
    assert resolve_suite(request, load_plugins([TOY])).suite.protocol.lr == 1e-4
