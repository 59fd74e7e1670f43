"""Each command takes what its function takes, by the same names and with the same defaults."""

import inspect

import click
import pytest

import harness
from harness.cli import cli
from harness.cli.session import SHARED

# Function -> its command, the arguments that this needs, and the options that only print or write:
# where Python has that, there it is.
CALLS = {
    "bench": (("bench",), [], {"dry_run": harness.dry_run, "profile": harness.Results.profile}),
    "load": (
        ("board",),
        ["a"],
        {"format": harness.Results.render, "full": harness.Results.text},
    ),
    "compare": (("compare",), ["a", "b"], {"format": None}),
    "check": (
        ("check",),
        ["a", "b"],
        dict.fromkeys(("junit", "markdown", "figures", "json", "sarif", "all")),
    ),
    "verify": (("verify",), ["a"], {"json": harness.Verification.to_dict}),
    "audit": (
        ("data", "audit"),
        [],
        {
            "json": harness.Audits.to_dict,
            "html": harness.Audits.write,
            "out": harness.Audits.write,
        },
    ),
    "predict": (("predict",), ["run", "images", "--out", "a.csv"], {}),
    "export": (("export",), ["run", "--out", "a"], {}),
}
GIVEN = {"folders", "names", "first", "second", "baseline", "candidate", "folder", "run", "images"}
SHARED_NAMES = {"plugins": "--plugin", "strict_plugins": "--strict-plugins", "offline": "--offline"}


def command_of(path):
    found = cli
    for name in path:
        with click.Context(found) as ctx:
            found = found.get_command(ctx, name)
    return found


def named(parameter):
    """A parameter as Python names it."""
    if isinstance(parameter, click.Argument):
        return parameter.name
    return max(parameter.opts, key=len).removeprefix("--").replace("-", "_")


def plain(value):
    """None and no items are the same to a call: nothing was given."""
    return None if value in ((), None) else str(value)


@pytest.mark.parametrize("name", CALLS)
def test_a_function_takes_the_options_of_its_command(name):
    path, args, printed = CALLS[name]
    command = command_of(path)
    own = {named(one): one for one in command.params if one not in SHARED}
    parameters = inspect.signature(getattr(harness, name)).parameters

    assert set(printed) <= set(own)
    assert set(own) - set(printed) | set(SHARED_NAMES) == set(parameters)

    values = command.make_context(name, [*args], resilient_parsing=False).params
    for option, one in own.items():
        if option in printed or option in GIVEN or one.required:
            continue
        assert plain(parameters[option].default) == plain(values[one.name]), option


@pytest.mark.parametrize("name", CALLS)
def test_what_a_command_needs_a_function_needs(name):
    path, _, _ = CALLS[name]
    needed = {named(one) for one in command_of(path).params if one.required}
    parameters = inspect.signature(getattr(harness, name)).parameters
    asked = {
        option
        for option, one in parameters.items()
        if one.default is one.empty and one.kind is not one.VAR_POSITIONAL
    }
    several = {o for o, one in parameters.items() if one.kind is one.VAR_POSITIONAL}
    # Python returns probabilities; a terminal needs the file.  No folder at all is an error of `load`.
    assert needed - asked - several == ({"out"} if name == "predict" else set())
    assert asked <= needed


def test_a_plan_is_asked_for_with_the_arguments_of_a_run():
    bench, plan = (inspect.signature(getattr(harness, one)) for one in ("bench", "dry_run"))
    assert plan.parameters == bench.parameters
    with pytest.raises(TypeError, match="strategys"):
        harness.dry_run("demo", strategys="lp-ft")


@pytest.mark.parametrize("name", [*CALLS, "dry_run"])
def test_every_call_takes_what_all_commands_take(name):
    parameters = inspect.signature(getattr(harness, name)).parameters
    known = {opt for one in SHARED for opt in one.opts}
    assert set(SHARED_NAMES) <= set(parameters)
    assert set(SHARED_NAMES.values()) <= known
    assert [parameters[one].default for one in SHARED_NAMES] == [(), False, None]


@pytest.mark.parametrize("name", [*CALLS, "dry_run"])
def test_every_argument_is_documented(name):
    function = getattr(harness, "bench" if name == "dry_run" else name)
    text = inspect.getdoc(function)
    for option in inspect.signature(function).parameters:
        assert f"\n    {option}: " in text or f"\n    *{option}: " in text, option
