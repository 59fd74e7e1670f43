"""Write what follows from the code.

That is: docs/hooks.md, docs/cli.md, docs/reference.md, docs/notebook.md, docs/api-surface-1.txt, the
tables in docs/results.md, and the map in docs/architecture.md.

    python docs/generate.py

The record of the API surface only grows: what was removed or changed is refused, not recorded.
"""  # noqa: INP001 - a script

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import api_surface
import click
import house_map
import notebook_page
import reference_page
import result_tables

from harness.cli import cli
from harness.cli.session import SHARED, PackageGroup
from harness_slurm.commands import slurm

DOCS = Path(__file__).parent
COMMAND = "python docs/generate.py"
MARK = f"<!-- Written by `{COMMAND}`: change the code, not this page. -->"

HOOKS = """\
# Hooks

A plugin is a module, or a file, with functions that bear these names and the decorator `harness.hookimpl`.
It implements the hooks it needs and takes the arguments it needs, by name.
It enters by an entry point in the group `harness`, by `-p`, or by the variable `HARNESS_PLUGINS`.

Plugins are asked last loaded first: `-p`, `HARNESS_PLUGINS`, other distributions, built-ins.
A hook marked *first answer* stops at the first plugin that does not return `None`; only these can be wrapped.
An observer that raises is logged and passed over; the run goes on.
"""

EXAMPLES = {
    "harness_datasets": """\
from harness import FolderDataset, hookimpl


@hookimpl
def harness_datasets():
    return [FolderDataset(name="ward-7", modality="xray", path="/data/ward-7")]
""",
    "harness_backbones": """\
from harness import Backbone, hookimpl


class Tiny(Backbone):
    def build(self, classes):
        from torch import nn

        stem = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        chain = nn.Sequential()
        chain.add_module("stem", stem)
        chain.add_module("head", nn.Linear(8, classes))
        return chain


@hookimpl
def harness_backbones():
    return [Tiny(name="tiny", stages=("stem", "head"))]
""",
    "harness_strategies": """\
from harness import Phase, Strategy, hookimpl


class HeadAndNorm(Strategy):
    name = "head-and-norm"

    def phases(self, model, epochs):
        scales = [name for name, info in model.parameters.items() if info.kind == "norm"]
        yield Phase("tune", epochs, train={"head": 1.0, **dict.fromkeys(scales, 1.0)})


@hookimpl
def harness_strategies():
    return [HeadAndNorm]
""",
    "harness_metrics": """\
from harness import Metric, hookimpl


def build():
    import datasets
    import evaluate

    class Sure(evaluate.Metric):
        def _info(self):
            floats = datasets.Sequence(datasets.Value("float64"))
            features = {"predictions": floats, "references": datasets.Value("int64")}
            return evaluate.MetricInfo(
                description="Mean probability of the likeliest class.",
                citation="",
                features=datasets.Features(features),
            )

        def _compute(self, predictions, references):
            return {"mean-confidence": sum(map(max, predictions)) / len(predictions)}

    return Sure()


def sure(probabilities, targets):  # what runs call, without waiting for evaluate
    return float(probabilities.max(axis=1).mean())


@hookimpl
def harness_metrics():
    return [Metric(name="mean-confidence", build=build, direct=sure)]
""",
    "harness_backbone": """\
from harness import UsageError, hookimpl
from harness_resnet import ResNet50

WIDTHS = ("8", "16", "32")


@hookimpl
def harness_backbone(name):
    prefix, _, width = name.partition(".")
    if prefix != "slim":  # `--backbones slim:16`
        return None
    if width not in WIDTHS:
        raise UsageError(f"slim:{width}: the width is one of {', '.join(WIDTHS)}")
    return ResNet50(name=name, width=int(width))
""",
    "harness_suites": """\
from harness import Protocol, Suite, hookimpl


@hookimpl
def harness_suites():
    return [
        Suite(
            name="mine",
            datasets=("demo-xray",),
            backbones=("resnet50-mini",),
            strategies=("full-ft", "linear-probe"),
            protocol=Protocol(name="mine", epochs=2, resize=48, crop=48),
        )
    ]
""",
    "harness_trackers": """\
from harness import RunTracker, Tracker, hookimpl


class Line(RunTracker):
    def __init__(self, file):
        self.file = file

    def log(self, values, step):
        self.file.write(f"{step} {dict(values)}\\n")

    def end(self, status, values):
        self.file.write(f"{status} {dict(values)}\\n")
        self.file.close()


class Lines(Tracker):
    name: str = "lines"
    module: str = "json"  # what must be importable: nothing is to be installed
    install: str = "nothing"

    def begin(self, run):
        run.folder.mkdir(parents=True, exist_ok=True)
        return Line((run.folder / f"{run.run_id}.txt").open("w"))


@hookimpl
def harness_trackers():
    return [Lines()]
""",
    "harness_commands": """\
import click

from harness import hookimpl


@hookimpl
def harness_commands(cli):
    @cli.command("hello")
    def hello():
        \"\"\"Say hello.\"\"\"
        click.echo("hello")
""",
    "harness_execute": """\
from harness import hookimpl


@hookimpl
def harness_execute(spec, resources):
    if spec.strategy != "on-my-cluster":
        return None  # not mine: the next plugin is asked, the local engine last
    raise NotImplementedError("train with resources.images, resources.start, resources.strategy")
""",
    "harness_launch": """\
from harness import hookimpl


@hookimpl
def harness_launch(setup):
    if setup.name != "my-cluster":
        return None  # not mine: `local` is last
    raise NotImplementedError("a harness.Launcher: see launchers.md")
""",
    "harness_render": """\
from harness import hookimpl


@hookimpl
def harness_render(board, format):
    return f"{len(board.tracks)} tracks" if format == "short" else None
""",
    "harness_run_start": """\
from harness import hookimpl


@hookimpl
def harness_run_start(spec):
    print("start", spec.cell)
""",
    "harness_epoch_end": """\
from harness import hookimpl


@hookimpl
def harness_epoch_end(spec, epoch):
    print(spec.cell, epoch.epoch, epoch.score)
""",
    "harness_phase_end": """\
from harness import hookimpl


@hookimpl
def harness_phase_end(spec, report):
    print(spec.cell, report.phase, report.best)
""",
    "harness_run_end": """\
from harness import hookimpl


@hookimpl
def harness_run_end(spec, result):
    print(spec.cell, result.status, result.metrics)
""",
}


# -- pages ----------------------------------------------------------------------------------------


def hooks_page() -> str:
    """docs/hooks.md: every hook with its arguments and an example that loads."""
    parts = [MARK, HOOKS.rstrip()]
    for name, function in api_surface.hook_specs():
        signature = inspect.signature(function)
        given = ", ".join(f"{one.name}: {one.annotation}" for one in signature.parameters.values())
        first = function.harness_spec["firstresult"]
        parts += [
            f"## `{name}`",
            f"`{name}({given}) -> {signature.return_annotation}`" + " *(first answer)*" * first,
            inspect.getdoc(function) or "",
            f"```python\n{EXAMPLES[name].rstrip()}\n```",
        ]
    return "\n\n".join(parts) + "\n"


def cli_page() -> str:
    """docs/cli.md: every command that comes along with its arguments and options."""
    ctx = click.Context(cli, info_name="harness")
    shared = "\n".join(_option_rows(SHARED))
    head = f"# Commands\n\nOptions of every command, before or after its name:\n\n{shared}"
    exits = (
        "Exit codes: 0 done; 1 some runs failed, or a check found something; 2 the call cannot be "
        "carried out as given; 130 interrupted."
    )
    core = {
        name: PackageGroup.get_command(cli, ctx, name)
        for name in PackageGroup.list_commands(cli, ctx)
    }
    return "\n\n".join([MARK, head, exits, *_command_parts(core | {"slurm": slurm}, ctx)]) + "\n"


def _command_parts(commands: Mapping[str, click.Command], ctx: click.Context) -> Iterator[str]:
    for name, command in sorted(commands.items()):
        below = click.Context(command, info_name=name, parent=ctx)
        arguments = [one for one in command.params if isinstance(one, click.Argument)]
        pieces = [below.command_path, *map(_argument, arguments)]
        yield f"## `{' '.join(pieces)}`"
        yield inspect.cleandoc(command.help or "")
        if command.epilog:
            _, _, calls = command.epilog.partition("Example:\n")
            yield f"```bash\n{inspect.cleandoc(calls)}\n```"
        own = [one for one in command.params if one not in SHARED]
        if rows := _option_rows(own):
            yield "\n".join(rows)
        if isinstance(command, click.Group):
            names = command.list_commands(below)
            yield from _command_parts(
                {one: command.get_command(below, one) for one in names}, below
            )


def _argument(argument: click.Argument) -> str:
    kind = argument.type
    choices = "|".join(kind.choices) if isinstance(kind, click.Choice) else ""
    name = choices or (argument.metavar or argument.name or "").upper().removesuffix("...")
    name += "..." * (argument.nargs == -1)
    return name if argument.required else f"[{name}]"


def _option_rows(params: Iterable[click.Parameter]) -> list[str]:
    rows = [
        f"| `{_cell(', '.join(one.opts) + _value(one))}` | {_cell(_meaning(one))} |"
        for one in params
        if isinstance(one, click.Option) and not one.hidden
    ]
    return ["| option | meaning |", "|---|---|", *rows] if rows else []


def _value(option: click.Option) -> str:
    if option.is_flag:
        return ""
    if isinstance(option.type, click.Choice):
        return " " + "|".join(option.type.choices)
    return " " + (option.metavar or option.type.name.split()[0].upper())


def _meaning(option: click.Option) -> str:
    default = f"Default: `{option.default}`." if option.show_default else ""
    return " ".join(filter(None, (option.help, default, "Required." if option.required else "")))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> int:
    """Write the pages; refuse to forget a part of the API."""
    (DOCS / "hooks.md").write_text(hooks_page(), encoding="utf-8")
    (DOCS / "cli.md").write_text(cli_page(), encoding="utf-8")
    reference_page.PAGE.write_text(f"{MARK}\n\n{reference_page.page()}", encoding="utf-8")
    notebook_page.PAGE.write_text(f"{MARK}\n\n{notebook_page.page()}", encoding="utf-8")
    for writer in (result_tables, house_map):
        page = writer.current(writer.PAGE.read_text(encoding="utf-8"))
        writer.PAGE.write_text(page, encoding="utf-8")
    present = api_surface.surface()
    breaking, added = api_surface.judge(api_surface.read(), present)
    if breaking:
        sys.stderr.write("\n".join([*breaking, "not recorded: see docs/all-of-harness.md\n"]))
        return 1
    api_surface.FILE.write_text(api_surface.page(present), encoding="utf-8")
    sys.stdout.write("".join(f"recorded: {line}\n" for line in added))
    return 0


if __name__ == "__main__":
    sys.exit(main())
