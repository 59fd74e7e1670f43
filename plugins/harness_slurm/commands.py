"""`harness slurm submit` and `harness slurm status`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from harness import HarnessError, UsageError

if TYPE_CHECKING:
    from harness import Planned
    from harness_slurm.job import Job
    from harness_slurm.plan import Size
    from harness_slurm.shards import Manifest, Sent, Shards

MANY = 1000  # as many tasks as SLURM takes in an array by default (MaxArraySize)


@click.group(
    epilog="\b\nExample:\n  harness slurm submit demo --device cpu --shards 8 --out results/many"
)
def slurm() -> None:
    """Make a suite as an array job of SLURM, a shard a task."""


@slurm.command(
    context_settings={"ignore_unknown_options": True},
    epilog="\b\nExample:\n"
    "  harness slurm submit demo --device cpu --shards 8 --out many --time 90\n"
    "  harness slurm submit demo --device cpu --shards 8 --out many --print",
)
@click.argument("call", nargs=-1, type=click.UNPROCESSED, metavar="SUITE [OPTIONS OF BENCH]...")
@click.option("--shards", type=click.IntRange(1, MANY), required=True, help="Tasks of the array.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    required=True,
    help="Write a results folder for each shard there, shard-1 and so on; all nodes have to see it.",
)
@click.option("--partition", metavar="NAME", help="Of the cluster.")
@click.option(
    "--time",
    metavar="MINUTES|D-HH:MM:SS",
    help="Of each task [by the plan: the largest shard, x 2].",
)
@click.option("--mem", metavar="SIZE", help="Of each task, as 8G [by the plan, x 2].")
@click.option(
    "--cpus", type=click.IntRange(min=1), help="Of each task [--jobs x --threads of the call]."
)
@click.option("--gpus", type=click.IntRange(min=0), default=0, help="Of each task.")
@click.option("--parallel", type=click.IntRange(min=1), help="At most so many tasks at a time.")
@click.option(
    "--sbatch", multiple=True, metavar="KEY=VALUE", help="A further option of sbatch: account=mine."
)
@click.option(
    "--setup",
    multiple=True,
    metavar="LINE",
    help="Of the shell, before the call: module load cuda.",
)
@click.option(
    "--no-plan", is_flag=True, help="Plan nothing here; then --time and --mem are needed."
)
@click.option(
    "--print", "shown", is_flag=True, help="Print the job script; send and write nothing."
)
@click.option(
    "--script",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Send this script, one that --print wrote and you edited.",
)
@click.option(
    "--local", is_flag=True, help="Start the tasks on this machine, all at once, to try it."
)
@click.pass_context
def submit(ctx: click.Context, /, call: tuple[str, ...], **given: Any) -> None:  # noqa: ANN401 - click's
    """Send the shards of `harness bench` as one array job.

    Takes the options of `harness bench` as well; --device has to be said.
    What is sent already is not sent again: the same call sends the shards that are not finished
    and of which no task waits or runs.
    """
    from harness_slurm import shards as folders
    from harness_slurm.job import send, send_local, submitit

    out: Path = given["out"]
    _check(**given)
    submitit()
    words, args = _read_call(ctx, call, given)
    folder = out.resolve()
    before = folders.read(folder)
    if before is not None:
        folders.check_same(before, words, given["shards"], out)
    shards = folders.Shards(folder, given["shards"], tuple(words))
    parts = _unfinished(shards, before)
    if not parts:
        click.echo(f"nothing to send: all {shards.count} shards are finished, wait or run")
        _tell_next(out)
        return
    job, size = _job(ctx, args, given)
    script = job.script(shards, parts, Path.cwd())
    if given["shown"]:
        click.echo(script, nl=False)
        return
    if given["script"] is not None:
        script = given["script"].read_text(encoding="utf-8")
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    if given["local"]:
        jobs = send_local(shards, parts, job.minutes, Path.cwd())
    else:
        (folder / "job.sh").write_text(script, encoding="utf-8")
        jobs = send(folder / "job.sh", parts)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    sent = folders.Sent(now, "local" if given["local"] else "slurm", jobs)
    folders.Manifest(
        words=tuple(words),
        cwd=str(Path.cwd()),
        shards=shards.count,
        minutes=job.minutes,
        memory=job.memory,
        planned=size.told,
        runs=size.runs,
        sent=(*(before.sent if before else ()), sent),
    ).write(folder)
    click.echo(_sent(sent, shards, size))
    _tell_next(out)


def _check(*, out: Path, script: Path | None, shown: bool, local: bool, **_: object) -> None:
    if sum((shown, local, script is not None)) > 1:
        raise UsageError("--print, --script and --local exclude each other")
    if (out / "plan.json").exists():
        raise UsageError(
            f"--out {out} is a results folder; give a folder for the folders of shards"
        )
    if script is not None and not script.is_file():
        raise UsageError(f"--script {script}: there is no such file; --print writes one")


def _sent(sent: Sent, shards: Shards, size: Size) -> str:
    tasks = sorted(sent.jobs.values())
    name = f"job {tasks[0].partition('_')[0]}" if sent.by == "slurm" else " ".join(tasks)
    runs = f", {sum(size.runs)} runs in all" if size.runs else ""
    return (
        f"sent {len(tasks)} of {shards.count} shards{runs}: {name}\n"
        f"each task has {size.minutes} minutes and {size.memory} ({size.told})"
    )


@slurm.command(epilog="\b\nExample:\n  harness slurm status results/many")
@click.argument("folder", type=click.Path(path_type=Path))
def status(folder: Path) -> None:
    """Show the runs of each shard in FOLDER and the state of its task.

    Exit code 1: something is left to do of which no task waits or runs, or runs failed.
    """
    from harness_slurm import shards as folders
    from harness_slurm.job import ACTIVE, states

    manifest = folders.read(folder)
    if manifest is None:
        raise UsageError(f"{folder} holds no {folders.NAME}: `harness slurm submit` writes it")
    shards = folders.Shards(folder, manifest.shards, manifest.words)
    now = states(manifest.last, folder / "logs")
    bad = False
    rows: list[tuple[str, ...]] = [("shard", "asked", "made", "failed", "task", "state")]
    for part in range(1, shards.count + 1):
        one = shards.progress(part)
        state, (_, job) = now.get(part, "NOT SENT"), manifest.last.get(part, ("", ""))
        bad |= one.failed > 0 or (one.left(again=False) and state not in ACTIVE)
        asked = "?" if one.asked is None else one.asked
        rows.append(
            (f"{part}/{shards.count}", *map(str, (asked, one.made, one.failed)), job, state)
        )
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
    _tell_next(folder)
    if bad:
        click.echo(f"something failed or is left to do: what tasks said is in {folder / 'logs'}")
        raise SystemExit(1)


def _tell_next(folder: Path) -> None:
    place = shlex.quote(str(folder))
    click.echo(f"  harness slurm status {place}\n  harness board {place}/shard-* --out {place}/all")


# -- the call -----------------------------------------------------------------------------------------


class _Root(NamedTuple):
    """The outermost command: its commands, and the options that all of them were given."""

    group: click.Group
    shared: dict[str, Any]
    words: list[str]


def _root(ctx: click.Context) -> _Root:
    root = ctx.find_root()
    session, group = root.obj, root.command
    if not isinstance(group, click.Group):
        raise HarnessError("`harness slurm` is a command of `harness`")
    words = [word for one in session.options for word in ("-p", one)]
    words += ["--strict-plugins"] * session.strict + ["--offline"] * session.offline
    return _Root(group, session.shared, words)


def _read_call(
    ctx: click.Context, call: Sequence[str], given: dict[str, Any]
) -> tuple[list[str], dict[str, Any]]:
    """The words of `harness bench`, and what it makes of them.

    Raises:
        UsageError: an option that is settled here, or no device.
        click.UsageError: the words are not bench's.
    """
    root = _root(ctx)
    bench = root.group.get_command(ctx.find_root(), "bench")
    if bench is None:
        raise HarnessError("there is no command `bench`")
    args = bench.make_context("bench", list(call), parent=ctx.find_root()).params
    if args["shard"] is not None or args["out"] is not None:
        raise UsageError("--shard is each task's own: give --shards N and --out FOLDER")
    if args["dry_run"]:
        raise UsageError("--dry-run sends nothing: say --print, or `harness bench ... --dry-run`")
    device, words = args["device"], [*call, *root.words]
    if device == "auto":
        raise UsageError(
            "--device has to be said, cpu or cuda: runs have other numbers on a card, and this machine "
            "may have another device than the nodes"
        )
    if args["jobs"] is None and not args["in_process"]:
        args["jobs"] = max(1, (given["cpus"] or 1) // args["threads"])
        if device == "cpu":  # it would take all processors of the node that it sees
            words += ["--jobs", str(args["jobs"])]
    return words, args


def _job(ctx: click.Context, args: dict[str, Any], given: dict[str, Any]) -> tuple[Job, Size]:
    """The job and its size."""
    from harness_slurm import plan
    from harness_slurm.job import SETTLED, Job

    minutes = None if given["time"] is None else plan.read_minutes(given["time"])
    memory: str | None = given["mem"]
    if memory is not None and not re.fullmatch(r"\d+[KMGT]?", memory):
        raise UsageError(f"--mem {memory}: give a whole number with K, M, G or T, as 8G")
    if given["no_plan"]:
        size = plan.given_size(minutes, memory)
    else:
        size = plan.planned_size(
            _planned(ctx, args, given["out"]), given["shards"], minutes, memory
        )
    job = Job(
        minutes=size.minutes,
        memory=size.memory,
        cpus=given["cpus"] or (args["jobs"] or 1) * args["threads"],
        gpus=given["gpus"],
        partition=given["partition"],
        parallel=given["parallel"],
        further=plan.read_further(given["sbatch"], SETTLED),
        setup=given["setup"],
    )
    return job, size


def _planned(ctx: click.Context, args: dict[str, Any], out: Path) -> Planned:
    from harness import dry_run

    asked = {name: value for name, value in args.items() if name not in ("dry_run", "profile")}
    try:
        return dry_run(**(asked | {"out": out}), **_root(ctx).shared)
    except UsageError as error:
        raise UsageError(
            f"{error}\nwhat only the nodes have, a card say, is sent with --no-plan"
        ) from error


def _unfinished(shards: Shards, before: Manifest | None) -> list[int]:
    """Numbers of the shards that have runs left and no task that waits or runs."""
    from harness_slurm.job import ACTIVE, states
    from harness_slurm.shards import AGAIN

    now = states(before.last, shards.folder / "logs") if before else {}
    return [
        part
        for part in range(1, shards.count + 1)
        if now.get(part) not in ACTIVE and shards.progress(part).left(again=AGAIN in shards.words)
    ]
