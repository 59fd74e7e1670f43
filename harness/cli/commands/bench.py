"""`harness bench`: run a suite and write its leaderboard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.session import (
    COLUMNS,
    JOIN_LABELS,
    LOCK,
    WINDOW,
    Finite,
    Session,
    comma_names,
    example,
    pass_session,
    print_text,
)
from harness.errors import UsageError
from harness.plugins.discovery import DISTRIBUTION
from harness.utils import pulse, signs

if TYPE_CHECKING:
    from harness.api.records import RunResult
    from harness.benchmark.request import BenchOptions, BenchRequest
    from harness.benchmark.run import BenchResult


def _seeds(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int, ...]:
    try:
        return tuple(dict.fromkeys(int(part) for part in value.split(","))) if value else ()
    except ValueError as error:
        raise UsageError(f"--seeds {value}: give whole numbers, as in 0,1,2") from error


def _shard(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    part, slash, parts = value.partition("/")
    if not (slash and part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise UsageError(f"--shard {value}: give I/N with I from 1 to N, as in 2/4")
    return int(part), int(parts)


@click.command(
    epilog=example(
        "harness bench demo --strategies full-ft,linear-probe --seeds 0,1,2",
        "harness bench --data xray:ward=path/to/folder --dry-run",
    )
)
@click.argument("suite", required=False)
@click.option(
    "--datasets", callback=comma_names, metavar="NAMES", help="Names or globs, with commas."
)
@click.option(
    "--backbones", callback=comma_names, metavar="NAMES", help="Names or globs, with commas."
)
@click.option(
    "--strategies", callback=comma_names, metavar="NAMES", help="Names or globs, with commas."
)
@click.option("--seeds", callback=_seeds, metavar="0,1,2", help="Instead of the suite's.")
@click.option(
    "--data",
    multiple=True,
    metavar="[MODALITY:]NAME=FOLDER",
    help="Images of your own: class/*.jpg or train|validation|test/class/*.",
)
@COLUMNS
@JOIN_LABELS
@WINDOW
@click.option(
    "--weights",
    metavar="FOLDER|none",
    help="A folder with NAME.safetensors or NAME.pth, or none for random weights.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Write runs and board there; what it holds counts [results/SUITE, or results/NAME of --data].",
)
@click.option("--device", default="auto", metavar="auto|cpu|cuda:N", show_default=True)
@click.option("--jobs", type=click.IntRange(min=1), help="Processes side by side.")
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="CPU threads of each process; another number rounds differently.",
)
@click.option(
    "--engine",
    type=click.Choice(["fast", "reference"]),
    default="fast",
    show_default=True,
    help="reference: every step carried out plainly, to compare with.",
)
@click.option(
    "--splits",
    multiple=True,
    metavar="N|paired|FILE",
    help="So many random splits, each with every seed; paired: one a seed; or a dataset's splits in a file.",
)
@click.option(
    "--labels",
    callback=comma_names,
    metavar="10%,50%,200",
    help="Training images that keep their label: shares or counts; test and validation stay.",
)
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    help="Of a suite that tunes: only the first so many trials of each strategy.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Images of each split; marks every row.")
@click.option("--epochs", type=Finite(min=0, min_open=True), help="Marks every row.")
@click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="TARGET.FIELD=VALUE",
    help="A setting: l2-sp.alpha=0.01, protocol.lr=1e-4.",
)
@click.option("--shard", callback=_shard, metavar="I/N", help="Only part I of N, by run id.")
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bf16", "fp16", "float64"]),
    help="Default: bf16 on a CUDA device, else float32; auto: what the results folder holds, else bf16 "
    "where the processor multiplies it; part of a run's identity.",
)
@click.option(
    "--compile",
    type=click.Choice(["auto", "graph", "compile"]),
    default="auto",
    show_default=True,
    help="Steps on a CUDA device: recorded, or compiled and recorded; auto: what the plan's length pays for.",
)
@click.option(
    "--deterministic",
    is_flag=True,
    help="On a CUDA device: the same bits in every process, slower; part of a run's identity. On a CPU always.",
)
@LOCK
@click.option("--skip-bad-images", is_flag=True, help="Leave unreadable images out and say so.")
@click.option(
    "--allow-missing-classes",
    is_flag=True,
    help="Go on where validation or test lacks a class: figures over the others; marks the row.",
)
@click.option(
    "--external",
    multiple=True,
    metavar="[DATASET:]NAME=FOLDER",
    help="A further test set of a dataset, of another place say: every run predicts it, too; finished "
    "ones from the weights they kept.",
)
@click.option(
    "--retrain-for-external",
    is_flag=True,
    help="Train finished runs that kept no weights again, to predict further test sets.",
)
@click.option("--retry-failed", is_flag=True, help="Run again what failed before.")
@click.option(
    "--track",
    callback=comma_names,
    metavar="NAMES",
    help="Tell these trackers of every run made; `harness list trackers` shows them.",
)
@click.option("--save-weights", is_flag=True, help="Keep the tested weights of every run.")
@click.option("--profile", is_flag=True, help="Tell where the time of the call and its runs went.")
@click.option("--dry-run", is_flag=True, help="Print the plan and train nothing.")
@pass_session
def command(session: Session, /, **given: Any) -> None:  # noqa: ANN401 - click's options, see above
    """Run a suite and write its leaderboard.

    SUITE is a name or a .toml file; without it: `demo`, or `folders` with --data.  What is done
    already is not run again.
    Exit code 1: some runs failed, or weights that --save-weights asks for, or predictions of further
    test sets, are not there.
    """
    if given["dry_run"]:
        print_text(_plan(session, given))
        return
    result = _run(session, given)
    from harness.leaderboard.render import summary, terminal

    done = f"{result.ran} runs made, {result.already_done} were there already"
    if result.extended:
        done += f" ({result.extended} got further test sets)"
    width = terminal.terminal_width()
    click.echo(summary.render(result.board, result.folder, width, done, result.asked), nl=False)
    if given["profile"]:
        click.echo(f"\n{_profile(result)}", nl=False)
    if result.without_weights:
        click.echo(_without_weights(result), err=True)
    if result.without_external:
        click.echo(_without_external(result), err=True)
    if result.failed:
        click.echo(_failures(result.failed), err=True)
    if result.failed or result.without_weights or result.without_external:
        raise SystemExit(1)


def _plan(session: Session, given: dict[str, Any]) -> str:
    with pulse.shown(), signs.doing("importing"):
        from harness.benchmark.preview.dry_run import describe_plan
        from harness.benchmark.run import dry_run

        return describe_plan(
            dry_run(_request(given), _options(session, given), session.plugins, _say)
        )


def _run(session: Session, given: dict[str, Any]) -> BenchResult:
    with pulse.shown(), signs.doing("importing"):
        from harness.benchmark.run import run_benchmark

        return run_benchmark(_request(given), _options(session, given), session.plugins, _say)


def _request(given: dict[str, Any]) -> BenchRequest:
    from harness.benchmark.request import BenchRequest

    names = ("suite", "datasets", "backbones", "strategies", "seeds", "data", "sets")
    more = (
        "columns", "join_labels", "window", "weights", "limit", "splits", "labels", "trials",
        "epochs", "shard", "precision", "external",
    )  # fmt: skip
    return BenchRequest(**{name: given[name] for name in (*names, *more)})


def _options(session: Session, given: dict[str, Any]) -> BenchOptions:
    from harness.api.dataset import Access
    from harness.benchmark.request import BenchOptions

    access = Access(
        offline=session.offline,
        skip_bad_images=given["skip_bad_images"],
        allow_missing_classes=given["allow_missing_classes"],
        lock=given["lock"],
    )
    names = (
        "out",
        "device",
        "jobs",
        "threads",
        "engine",
        "compile",
        "deterministic",
        "retry_failed",
        "save_weights",
        "retrain_for_external",
        "track",
    )
    return BenchOptions(**{name: given[name] for name in names}, access=access)


def _profile(result: BenchResult) -> str:
    """Seconds by part, of all runs that were asked for, those made before among them."""
    from harness.results.store import Store

    runs = Store(result.folder).results()
    return result.profile.tables([run for run in runs if run.run_id in result.asked])


def _say(text: str) -> None:
    click.echo(text, err=True)


def _without_weights(result: BenchResult) -> str:
    lost = result.without_weights
    head = (
        f"{len(lost)} runs have no weights in {result.folder / 'weights'}; a run that is there is "
        "not made again, so give another folder with --out to make them with their weights:"
    )
    return "\n".join([head, *(f"  {run.spec.cell}, seed {run.spec.seed}" for run in lost)])


def _without_external(result: BenchResult) -> str:
    without = result.without_external
    head = (
        f"{len(without)} finished runs lack a further test set (those that kept no weights are trained "
        "again with --retrain-for-external):"
    )
    return "\n".join([head, *(f"  {spec.cell}, seed {spec.seed}: {why}" for spec, why in without)])


def _failures(failed: list[RunResult]) -> str:
    lines = [f"{len(failed)} runs failed (--retry-failed runs them again; details in failed/):"]
    alike: dict[str, list[RunResult]] = {}
    for result in sorted(failed, key=lambda one: (one.spec.cell, one.spec.seed)):
        message = result.error.headline if result.error else result.status
        alike.setdefault(message, []).append(result)
    for message, results in alike.items():
        first, more = results[0].spec, len(results) - 1
        others = f" and {more} more" if more else ""
        lines.append(f"  {first.cell}, seed {first.seed}{others}: {message}")
    if own := sorted({name for result in failed for name in _own(result)}):
        lines.append(
            f"`harness plugins check {' '.join(own)}`, with the -p of this call, tries them on a toy"
        )
    return "\n".join(lines)


def _own(result: RunResult) -> list[str]:
    """What took part in a run and does not come with the harness."""
    names = {"strategy": result.spec.strategy, "backbone": result.spec.backbone}
    return [
        name
        for role, name in names.items()
        if role in result.plugins and result.plugins[role].distribution != DISTRIBUTION
    ]
