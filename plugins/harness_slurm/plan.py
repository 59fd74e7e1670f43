"""Time and memory of a task, from the plan of the call."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness import UsageError

if TYPE_CHECKING:
    from harness import Planned

SLACK = 2.0  # a node may be slower than the machine that planned (assumed); of memory, too
LEAST, STEP = 10, 5  # minutes
GIB = 2**30


@dataclass(frozen=True)
class Size:
    """Time and memory of a task; `told`: where it comes from; `runs` of each shard, where it was planned."""

    minutes: int
    memory: str
    told: str
    runs: tuple[int, ...] = ()


def given_size(minutes: int | None, memory: str | None) -> Size:
    """The size that was said, without a plan.

    Raises:
        UsageError: half of it was.
    """
    if minutes is None or memory is None:
        raise UsageError("--no-plan needs --time and --mem, for nothing is estimated")
    return Size(minutes, memory, "as given; nothing was planned here")


def planned_size(planned: Planned, shards: int, minutes: int | None, memory: str | None) -> Size:
    """Time and memory of the largest shard, with slack; what was said stands.

    Raises:
        UsageError: it is not said, and the plan does not know it.
    """
    found = planned.shards(shards)
    told = []
    if minutes is None:
        seconds = _largest([one.seconds for one in found], "--time", "90 or 1:30:00")
        minutes = max(LEAST, STEP * math.ceil(SLACK * seconds / 60 / STEP))
        told.append(
            f"time: the largest shard takes {_minutes(seconds)} here if no run ends early, x {SLACK:g} "
            "(assumed)"
        )
    if memory is None:
        size = _largest([one.memory for one in found], "--mem", "8G")
        memory = f"{math.ceil(SLACK * size / GIB)}G"
        told.append(f"memory: about {size / GIB:.1f} GiB are counted, x {SLACK:g} (assumed)")
    return Size(
        minutes, memory, "; ".join(told) or "as given", tuple(len(one.runs) for one in found)
    )


def _largest(values: Sequence[float | None], option: str, example: str) -> float:
    known = [one for one in values if one is not None]
    if len(known) < len(values):
        raise UsageError(
            f"the plan does not know what a shard takes, for data or networks are not here, or cannot "
            f"be counted: give {option}, as {option} {example}"
        )
    return max(known)


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} minutes" if seconds >= 60 else f"{seconds:.0f} s"  # noqa: PLR2004


def read_minutes(text: str) -> int:
    """Minutes of a time as SLURM has it: 90, 1:30:00 or 1-12:00:00; rounded up.

    Raises:
        UsageError: it is none.
    """
    days, dash, clock = text.rpartition("-")
    parts = clock.split(":")
    if not all(part.isdigit() for part in [*parts, *([days] if dash else [])]) or len(parts) > 3:  # noqa: PLR2004
        raise UsageError(
            f"--time {text}: give minutes, HOURS:MINUTES:SECONDS or DAYS-HOURS:MINUTES:SECONDS"
        )
    numbers = [int(part) for part in parts]
    if dash:
        hours, minutes, seconds = [*numbers, 0, 0][:3]
    elif len(numbers) == 3:  # noqa: PLR2004
        hours, minutes, seconds = numbers
    else:
        hours, (minutes, seconds) = 0, [*numbers, 0][:2]
    found = math.ceil((((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds) / 60)
    if not found:
        raise UsageError(f"--time {text}: give at least a minute")
    return found


def read_further(given: Sequence[str], settled: Sequence[str]) -> Mapping[str, str | bool]:
    """Options of sbatch: KEY=VALUE, or KEY alone.

    Raises:
        UsageError: one has no name, or is one that the script depends on.
    """
    found: dict[str, str | bool] = {}
    for one in given:
        name, equals, value = one.lstrip("-").partition("=")
        if not name or name.replace("_", "-") in settled:
            raise UsageError(
                f"--sbatch {one}: give KEY=VALUE; {', '.join(settled)} are the script's own: change them in "
                "a script that --print wrote, and send that by --script"
            )
        found[name] = value if equals else True
    return found
