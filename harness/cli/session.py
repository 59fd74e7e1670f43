"""The session, options, groups that import lazily, errors and tables that all commands share.

A module in `harness/cli/commands/` that defines `command` is a command; a package there whose
`command` is a `PackageGroup` is a group, and its modules are the group's commands.  The modules
are imported to print `harness --help`: what is heavy they import inside functions.
"""

from __future__ import annotations

import _thread
import functools
import importlib
import json
import math
import pkgutil
import signal
import sys
import textwrap
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from harness.api.hooks import API_VERSION
from harness.calls.arguments import explained, warn_of
from harness.errors import HarnessError, UnknownNameError
from harness.plugins.discovery import DISTRIBUTION, FAULTS
from harness.plugins.registry import PluginRegistry, load_plugins
from harness.plugins.validation import InvalidPlugin
from harness.utils.names import unknown
from harness.utils.text import clean, escaped_json

COMMANDS = "harness.cli.commands"
INTERRUPTED = 130


@dataclass
class Session:
    """One call of `harness`: the shared options, wherever they stood, and the plugins.

    Attributes:
        options: what `-p` named.
        strict: a broken plugin is an error.
        offline: no socket may be opened.
    """

    options: list[str] = field(default_factory=list)
    strict: bool = False
    offline: bool = False

    @property
    def plugins(self) -> PluginRegistry:
        """The plugins, loaded when first asked for; the broken ones are named on stderr."""
        return self._loaded[0]

    @property
    def shared(self) -> dict[str, Any]:
        """Arguments that every function of `harness` takes."""
        return {"plugins": self.plugins, "strict_plugins": self.strict, "offline": self.offline}

    @property
    def commands(self) -> dict[str, click.Command]:
        """The commands of plugins, by name."""
        return self._loaded[1]

    @cached_property
    def _loaded(self) -> tuple[PluginRegistry, dict[str, click.Command]]:
        loaded = load_plugins(self.options, strict=self.strict)
        commands = _commands(loaded)
        if self.strict:
            loaded.require_sound()
        warn_of(loaded)
        return loaded, commands

    def explained(self, error: UnknownNameError) -> HarnessError:
        """The error, or what to look at first where a plugin may offer the name."""
        return explained(error, self.plugins) if "_loaded" in vars(self) else error


pass_session = click.make_pass_decorator(Session)


def session_of(ctx: click.Context) -> Session:
    """The session of this call, made when it is first asked for."""
    return ctx.find_root().ensure_object(Session)


def message_lines(message: object) -> str:
    """A message whose further lines are set in: none of them reads as one of its own."""
    return "\n  ".join(str(message).splitlines())


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str]], *widths: int) -> None:
    """A table on stdout, in the terminal's width where it goes there.

    `widths`: the most characters a line of each of the last columns holds.
    """
    from harness.utils import tables

    most = [sys.maxsize] * (len(headers) - len(widths)) + list(widths)
    cells = [
        [clean(name), *(_wrapped(cell, at) for cell, at in zip(row, most[1:], strict=True))]
        for name, *row in rows
    ]
    click.echo(tables.fitted(headers, cells, tables.terminal_width(sys.maxsize)))


def print_text(text: str) -> None:
    """A text on stdout, in the terminal's width where it goes there."""
    from harness.utils import tables

    click.echo(tables.filled(text, tables.terminal_width(sys.maxsize)))


def _wrapped(cell: str, width: int) -> str:
    # Names hold hyphens: they are not places to break a line.
    return "\n".join(
        textwrap.fill(line, width, break_on_hyphens=False, break_long_words=False)
        for line in cell.splitlines()
    )


def print_json(value: object) -> None:
    """JSON on stdout."""
    click.echo(escaped_json(json.dumps(value, indent=2)))


class PackageGroup(click.Group):
    """A group whose commands are the modules of a package, imported when they are asked for."""

    def __init__(self, name: str, *, package: str, **settings: Any) -> None:  # noqa: ANN401 - click's
        super().__init__(name, **settings)
        self.package = package

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*modules(self.package), *self.commands})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in modules(self.package):
            return super().get_command(ctx, cmd_name)
        module = importlib.import_module(f"{self.package}.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return share(command)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if not ctx.resilient_parsing and self.get_command(ctx, args[0]) is None:
            raise unknown(args[0], self.list_commands(ctx), "command")
        return super().resolve_command(ctx, args)


def modules(package: str) -> list[str]:
    """The commands of a package: its modules' names, in kebab-case."""
    folders = importlib.import_module(package).__path__
    return [one.name.replace("_", "-") for one in pkgutil.iter_modules(folders)]


def share(command: click.Command) -> click.Command:
    """Give a command, and what is below it, the options that all commands have.

    Raises:
        InvalidPlugin: it has an option of its own under one of these names.
    """
    if SHARED[0] in command.params:
        return command
    taken = {name for one in command.params for name in one.opts}
    if clash := sorted(name for one in SHARED for name in taken.intersection(one.opts)):
        raise InvalidPlugin(
            f"command {command.name!r} has an option {clash[0]}, which all commands have; rename it"
        )
    command.params.extend(SHARED)
    if command.callback is not None:
        command.callback = _after_strict(command.callback)
    for below in command.commands.values() if isinstance(command, click.Group) else ():
        share(below)
    return command


def _after_strict(callback: Callable[..., object]) -> Callable[..., object]:
    """With `--strict-plugins` even a command that needs no plugin ends if one is broken."""

    @functools.wraps(callback)
    def guarded(*args: object, **given: object) -> object:
        session = session_of(click.get_current_context())
        if session.strict:
            session.plugins.require_sound()
        return callback(*args, **given)

    return guarded


def _commands(loaded: PluginRegistry) -> dict[str, click.Command]:
    """The commands of plugins; one whose command cannot be added is rejected as a whole."""
    taken = set(modules(COMMANDS))
    found: dict[str, click.Command] = {}
    for info, add in loaded.each("harness_commands"):
        group = click.Group("harness")
        try:
            add(cli=group)
            if clash := sorted(group.commands.keys() & (taken | found.keys())):
                raise InvalidPlugin(f"it adds the command {clash[0]!r}, which exists already")
            found |= {name: share(command) for name, command in group.commands.items()}
        except FAULTS as error:
            loaded.reject(info, error)
    return found


def example(*calls: str) -> str:
    """The epilog of a command's help: its calls as one types them, a line each."""
    return "\n".join(["\b", "Example:", *(f"  {call}" for call in calls)])


def comma_names(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...]:
    """The callback of an option that takes names with commas between them."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if value else ()


COLUMNS = click.option(
    "--columns",
    multiple=True,
    metavar="[NAME:]ROLE=COLUMN",
    help="Of the list of a --data folder: group=patient_id, metadata=age,sex; roles: file, label, "
    "split, group, metadata, ignore.",
)
WINDOW = click.option(
    "--window",
    multiple=True,
    metavar="[NAME:]WINDOW",
    help="Of DICOM files: stored, min-max, lung, bone, ..., or CENTRE/WIDTH.  [stored]",
)
JOIN_LABELS = click.option(
    "--join-labels",
    is_flag=True,
    help="Labels of a --data folder that read the same (1 and 1.0) are one class.",
)


class Finite(click.FloatRange):
    """A number option: a finite number in a range."""

    def _describe_range(self) -> str:  # click's help says `x<=None` of a range without ends
        return "" if self.min is None and self.max is None else super()._describe_range()

    def convert(
        self,
        value: Any,  # noqa: ANN401 - click's
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:  # noqa: ANN401 - click's
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


LOCK = click.option(
    "--lock",
    type=click.Path(path_type=Path),
    default=Path("harness.lock"),
    show_default=True,
    metavar="FILE",
    help="Revisions and bytes of data and weights.",
)


def _add_plugins(ctx: click.Context, _: click.Parameter, value: Sequence[str]) -> None:
    options = session_of(ctx).options
    options.extend(one for one in value if one not in options)


def _set_strict(ctx: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001
    session_of(ctx).strict |= value


def _set_offline(ctx: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001
    session_of(ctx).offline |= value


def _print_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001
    if value and not ctx.resilient_parsing:
        click.echo(f"harness {metadata.version(DISTRIBUTION)}, plugin API {API_VERSION}")
        ctx.exit()


# Eager: `harness -p my_plugin --help` is to show the plugin's commands.
SHARED = (
    click.Option(
        ["shared_plugins", "-p", "--plugin"],
        multiple=True,
        is_eager=True,
        expose_value=False,
        callback=_add_plugins,
        metavar="PLUGIN",
        help="Load a plugin: a module, ./file.py or an installed name; no:NAME blocks one.",
    ),
    click.Option(
        ["shared_strict", "--strict-plugins"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_set_strict,
        help="End with an error if a plugin is broken.",
    ),
    click.Option(
        ["shared_offline", "--offline"],
        is_flag=True,
        expose_value=False,
        callback=_set_offline,
        envvar="HF_HUB_OFFLINE",
        help="Never use the network.",
    ),
    click.Option(
        ["shared_version", "--version"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_print_version,
        help="Print the version and stop.",
    ),
)


@contextmanager
def reported() -> Iterator[None]:
    """Print what a user can put right, and an interruption, in place of a traceback."""
    try:
        with _interrupts_arrive():
            yield
    except HarnessError as error:
        click.echo(f"harness: error: {message_lines(error)}", err=True)
        raise click.exceptions.Exit(error.exit_code) from error
    except SystemExit as error:
        if not (place := _exit_of_plugin(error)):
            raise
        click.echo(
            f"harness: error: code of a plugin called sys.exit() at {place}: let it raise an error "
            "that says what is wrong, or block the plugin with -p no:NAME",
            err=True,
        )
        raise click.exceptions.Exit(HarnessError.exit_code) from error
    except KeyboardInterrupt as error:
        # A terminal echoes ^C without a line end.
        start = "\n" if sys.stderr.isatty() else ""
        told = ": ".join(["interrupted", *getattr(error, "__notes__", ())])
        click.echo(f"{start}harness: {told}", err=True)
        raise click.exceptions.Exit(INTERRUPTED) from error


@contextmanager
def _interrupts_arrive() -> Iterator[None]:
    """Send a Ctrl-C again that came while Python ran code whose exceptions it drops.

    Weak references and `__del__` are such code; the import system calls one for every module, so of
    forty interrupts during the import of torch one was lost.
    """
    before = sys.unraisablehook

    def again(dropped: sys.UnraisableHookArgs) -> None:
        if issubclass(dropped.exc_type, KeyboardInterrupt):
            # Not at once: what is raised in here is dropped, too.
            threading.Timer(0.05, _interrupt).start()
        else:
            before(dropped)

    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = before


def _interrupt() -> None:
    """Ctrl-C, from another thread: a call that waits is ended where the system can do that."""
    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:
        signal.pthread_kill(main, signal.SIGINT)
    else:
        _thread.interrupt_main()


def _exit_of_plugin(error: SystemExit) -> str:
    """The line at which a plugin that the harness had called left; empty: a command ended."""
    steps = [
        (f.f_globals.get("__name__", ""), f, n) for f, n in traceback.walk_tb(error.__traceback__)
    ]
    called = any(
        name.startswith("harness.") and not name.startswith("harness.cli") for name, _, _ in steps
    )
    if not called or steps[-1][0].startswith("harness."):
        return ""
    return f"{steps[-1][1].f_code.co_filename}:{steps[-1][2]}"
