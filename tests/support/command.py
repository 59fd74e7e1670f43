"""The command line as tests call it, and Python in a process of its own."""

import json
import os
import subprocess
import sys
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


def processes(jobs):
    """Options for so many jobs; one of them is done in this process."""
    return ("--in-process",) if jobs == 1 else ("--jobs", jobs)


def bench(out, *args, suite="toy", jobs=1, exit_code=0):
    """One job is done in this process."""
    options = ("--out", out, *processes(jobs), *args)
    return Cli((TOY,))("bench", *([suite] if suite else []), *options, exit_code=exit_code)


def python(*args, exit_code=0, cwd=None, **env):
    """`python ARGS`, with these variables beside those of this process."""
    command = [sys.executable, *map(str, args)]
    env = os.environ | env
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == exit_code, f"{args}\n{done.stdout}\n{done.stderr}"
    return done


def runs(out):
    return sorted((out / "runs").rglob("*.json"))


def settled(out):
    """File of a run -> its record but for times and the machine, and the bytes of its predictions."""
    found = {}
    for path in runs(out):
        record = json.loads(path.read_text())
        for name in ("cost", "environment", "finished"):
            del record[name]
        for part in (*record["history"], *record["phases"]):
            part.pop("seconds", None)
        found[path.name] = record, path.with_suffix(".safetensors").read_bytes()
    return found
