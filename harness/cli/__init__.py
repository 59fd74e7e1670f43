"""The command `harness`: built-in commands from `harness/cli/commands/`, further ones from plugins.

Exit codes: 0 done; 1 some runs failed, or something got worse; 2 usage; 130 interrupted.
"""

from __future__ import annotations

import atexit
import gc
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import click

from harness.cli.session import COMMANDS, SHARED, PackageGroup, example, reported, session_of
from harness.errors import UnknownNameError, UsageError
from harness.utils.streams import guarded, print_traceback


class Harness(PackageGroup):
    """The outermost group: the only one that asks plugins for commands and prints errors.

    What any command prints, plugins' and libraries' lines among it, goes through guarded streams.
    """

    def main(self, *args: Any, **settings: Any) -> Any:  # noqa: ANN401 - click's
        with guarded():
            return super().main(*args, **settings)

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,  # noqa: ANN401 - click's
    ) -> click.Context:
        with reported():
            _refuse_empty(args)
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> object:
        with reported():
            try:
                return super().invoke(ctx)
            except UnknownNameError as error:
                raise session_of(ctx).explained(error) from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *session_of(ctx).commands})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        builtin = super().get_command(ctx, cmd_name)
        return builtin or session_of(ctx).commands.get(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if super().get_command(ctx, args[0]) is None:
            _read_shared(ctx, args[1:])
        return super().resolve_command(ctx, args)


def _refuse_empty(args: Sequence[str]) -> None:
    """An empty value is a variable of a shell that was not set: the default is not what was asked."""
    for before, arg in zip(["", *args], args, strict=False):
        option = before if arg == "" and before.startswith("-") else ""
        if arg.startswith("--") and arg.endswith("=") and arg.count("=") == 1:
            option = arg[:-1]
        if option:
            raise UsageError(f"{option} was given nothing; leave it out for its default")
        if arg == "":
            raise UsageError("an argument is empty; was a variable of the shell not set?")


def _read_shared(ctx: click.Context, args: list[str]) -> None:
    """`harness mine -p ./mine.py`: the plugin is needed before its command can be found."""
    settings = {"ignore_unknown_options": True, "allow_extra_args": True}
    reader = click.Command("harness", params=[*SHARED], add_help_option=False)
    reader.make_context("harness", list(args), parent=ctx, **settings)


cli = Harness(
    "harness",
    package=COMMANDS,
    params=[*SHARED],
    help="Benchmark fine-tuning strategies for medical image classification.",
    epilog=example("harness bench demo"),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


# Objects made until Python looks for cycles, and such looks until it looks further (its own: 700, 10,
# 10).
COLLECTED = (10_000, 50, 50)


def main() -> None:
    """The entry point of the `harness` command."""
    # What torch makes at its import stays: to look for cycles among it again and again, and once more
    # at the end, took a fifth of a short call (docs/speed.md).
    gc.set_threshold(*COLLECTED)
    atexit.register(gc.freeze)
    if not sys.warnoptions:  # Python hides these; authors of plugins are to see theirs
        warnings.filterwarnings("default", message=".*plugin API", category=DeprecationWarning)
    sys.excepthook = print_traceback
    cli(prog_name="harness")
