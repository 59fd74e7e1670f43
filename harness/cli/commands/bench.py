"""`harness bench`: run a suite and write its leaderboard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from harness.cli.session import (
    COLUMNS,
    JOIN_LABELS,
    LOCK,
    WINDOW,
    Finite,
    Session,
    example,
    pass_session,
    print_text,
)
from harness.utils import pulse, signs


@click.command(
    epilog=example(
        "harness bench demo --strategies full-ft,linear-probe --seeds 0,1,2",
        "harness bench --data xray:ward=path/to/folder --dry-run",
    )
)
@click.argument("suite", required=False)
@click.option("--datasets", metavar="NAMES", help="Names or globs, with commas.")
@click.option("--backbones", metavar="NAMES", help="Names or globs, with commas.")
@click.option("--strategies", metavar="NAMES", help="Names or globs, with commas.")
@click.option("--seeds", metavar="0,1,2", help="Instead of the suite's.")
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
    "--starts",
    metavar="NAMES",
    help="Starting points to compare: none, imagenet, a folder in --weights, NAME=hf://ORG/NAME@REVISION/FILE "
    "or NAME=FILE.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Write runs and board there; what it holds counts [results/SUITE, or results/NAME of --data].",
)
@click.option(
    "--device",
    default="auto",
    metavar="auto|cpu|cuda|cuda:N",
    show_default=True,
    help="cuda: all cards that are visible, a worker each; auto: the first card, else the CPU.",
)
@click.option("--jobs", type=click.IntRange(min=1), help="Workers side by side.")
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="CPU threads of each process; another number rounds differently.",
)
@click.option(
    "--launcher",
    default="local",
    metavar="NAME",
    show_default=True,
    help="What starts the workers: processes of this machine, or a plugin's.",
)
@click.option(
    "--ray-address",
    metavar="ADDRESS",
    help="Of a cluster that runs already, for --launcher ray; else one is started here.",
)
@click.option(
    "--in-process",
    is_flag=True,
    help="Make runs in this process, one after another: a run that ends it ends the call.",
)
@click.option(
    "--timeout",
    type=Finite(min=0, min_open=True),
    metavar="SECONDS",
    help="A run that takes longer is ended, and recorded as timeout.",
)
@click.option(
    "--memory-limit",
    type=Finite(min=0, min_open=True),
    metavar="GIB",
    help="A worker that holds more for itself is ended.",
)
@click.option(
    "--checkpoint-every",
    type=Finite(min=0, min_open=True),
    metavar="MIN",
    help="Keep every run under way so often, in minutes: interrupted, the same call goes on from there.",
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
    multiple=True,
    metavar="TARGET.FIELD=VALUE",
    help="A setting: l2-sp.alpha=0.01, protocol.lr=1e-4.",
)
@click.option(
    "--shard",
    metavar="I/N",
    help="Only part I of N: about equal work, runs of a dataset and network kept together.",
)
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
    "--others",
    type=click.Choice(["wait", "leave"]),
    default="wait",
    show_default=True,
    help="Runs that another call on the folder has in hand: wait for them, or leave them to it.",
)
@click.option(
    "--break-lock",
    is_flag=True,
    help="Take the results folder's lock from a call that was lost with its machine.",
)
@click.option(
    "--track",
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
    planned, profile = given.pop("dry_run"), given.pop("profile")
    with pulse.shown():
        with signs.doing("importing"):
            from harness.calls.bench import bench, dry_run
        plan = str(dry_run(**given, **session.shared)) if planned else ""
        done = None if planned else bench(**given, **session.shared)
    if done is None:
        print_text(plan)
        return
    click.echo(done.text(), nl=False)
    if profile:
        click.echo(f"\n{done.profile()}", nl=False)
    if not done.complete:
        raise SystemExit(1)
