"""The command line as tests call it."""

from dataclasses import dataclass

from click.testing import CliRunner
from places import TOY

from harness.cli import cli


@dataclass(frozen=True)
class Cli:
    """`harness ARGS` with these plugins; it must end with its exit code (None: with any)."""

    plugins: tuple[str, ...] = ()

    def __call__(self, *args, exit_code=0, **env):
        options = [part for plugin in self.plugins for part in ("-p", plugin)]
        args = [*options, *map(str, args)]
        done = CliRunner().invoke(cli, args, prog_name="harness", env=env)
        shown = f"harness {' '.join(args)}\n{done.output}\n{done.exception!r}"
        assert exit_code in (None, done.exit_code), shown
        return done


def bench(out, *args, suite="toy", jobs=1, exit_code=0):
    options = ("--out", out, "--jobs", jobs, *args)
    return Cli((TOY,))("bench", *([suite] if suite else []), *options, exit_code=exit_code)


def runs(out):
    return sorted((out / "runs").rglob("*.json"))
