"""The command line as tests call it, with the toy plugin."""

from click.testing import CliRunner
from places import TOY

from harness.cli import cli


def harness(*args):
    return CliRunner().invoke(cli, ["-p", TOY, *map(str, args)], prog_name="harness")


def bench(out, *args, suite="toy", jobs=1):
    return harness("bench", *([suite] if suite else []), "--out", out, "--jobs", jobs, *args)


def runs(out):
    return sorted((out / "runs").rglob("*.json"))
