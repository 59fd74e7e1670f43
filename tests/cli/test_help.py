"""Help at 80 columns: whole summaries, an example that parses, one name a thing."""

import re
import shlex

import click
import pytest
from command import Cli

from harness.cli import cli

WIDTH = 80


def commands(group=cli, path=()):
    """Every built-in command and group below it: (path, command)."""
    yield path, group
    with click.Context(group) as ctx:
        for name in group.list_commands(ctx) if isinstance(group, click.Group) else ():
            yield from commands(group.get_command(ctx, name), (*path, name))


COMMANDS = dict(commands())
GROUPS = [path for path, command in COMMANDS.items() if isinstance(command, click.Group)]
each_command = pytest.mark.parametrize("path", COMMANDS, ids=" ".join)


def help_of(path):
    return Cli()(*path, "--help", COLUMNS=str(WIDTH)).output


def test_every_command_is_looked_at():
    assert {("bench",), ("why",), ("data", "fetch"), ("plugins", "new")} < COMMANDS.keys()
    assert len(COMMANDS) > 17
    assert [one for one in GROUPS if one != ("slurm",)] == [(), ("data",), ("plugins",)]


@pytest.mark.parametrize("path", GROUPS, ids=" ".join)
def test_summaries_are_not_cut(path):
    # As in a terminal of 80 columns, of which click leaves two; its test runner leaves none.
    with click.Context(COMMANDS[path], info_name="harness", terminal_width=WIDTH - 2) as ctx:
        _, _, below = ctx.get_help().partition("\nCommands:\n")
    listed, _, _ = below.partition("\n\n")
    summaries = dict(line.split(maxsplit=1) for line in listed.splitlines())

    assert {(*path, name) for name in summaries} == {
        one for one in COMMANDS if one[:-1] == path and one
    }
    for name, said in summaries.items():
        first, _, _ = COMMANDS[*path, name].help.partition("\n")
        assert said == first, f"harness {' '.join(path)} --help cuts what {name} does"
        assert re.fullmatch(r"[A-Z][^.].*\.", said)


@each_command
def test_every_command_has_an_example_that_parses(path, monkeypatch):
    _, told, examples = help_of(path).partition("\n  Example:\n")
    assert told, f"harness {' '.join(path)}: no example; epilog=example('harness ...')"
    calls = [shlex.split(line) for line in examples.splitlines()]
    assert calls
    monkeypatch.setattr(click.Command, "invoke", lambda self, ctx: None)
    for program, *args in calls:
        assert program == "harness"
        words = args[2:] if args[0] == "-p" else args
        assert tuple(words[: len(path)]) == path
        Cli()(*words)


@each_command
def test_help_fits_the_terminal_and_is_finished(path):
    told = help_of(path)
    # Click puts a long name of an option on a line of its own, whole.
    assert [line for line in told.splitlines() if len(line) > WIDTH] == []
    assert "None" not in told


@each_command
def test_a_thing_has_one_name(path):
    options = {
        name: one
        for one in COMMANDS[path].params
        if isinstance(one, click.Option)
        for name in one.opts
    }
    if out := options.get("--out"):
        assert re.search(r"\b[Ww]rite", out.help), "--out is where a command writes"
    assert "--into" not in options
    metavars = " ".join(filter(None, (one.metavar for one in COMMANDS[path].params)))
    assert not re.search(r"\b(DIR|DIRECTORY|PLACES?)\b", metavars), "a folder is FOLDER"


def test_an_option_is_a_flag_everywhere_or_takes_a_value_everywhere():
    """`--json` printed JSON in six commands and named a file in a seventh."""
    kinds = {}
    for path, command in COMMANDS.items():
        for one in command.params:
            if isinstance(one, click.Option) and not one.hidden:
                for name in one.opts:
                    kinds.setdefault(name, {}).setdefault(one.is_flag, []).append(path)
    assert {name: kind for name, kind in kinds.items() if len(kind) > 1} == {}
    assert len(kinds["--json"][True]) > 4
