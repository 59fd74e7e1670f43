"""Heads that learned alone from the start of a run, remembered epoch by epoch.

What a run's head does while it is the first and the only thing to learn depends on nothing but
what `head_key` takes.  A phase that needs the same epochs, or fewer, or more, starts from them:
the probe of LP-FT is the beginning of the linear probe.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from harness.api.records import RunSpec, digest
from harness.api.strategy import Distance, Phase

# Rows that are kept; the phase that was asked for least recently is dropped, and trained again,
# to the same bits, if it is asked for after all.
MEMO_BYTES = 512 * 1024**2

WHERE = ("dataset", "backbone", "seed", "limit", "data", "weights")

# Fields of a protocol that do not reach a head's steps, or, as the schedule, stand in the key
# themselves.
FREE = ("name", "epochs", "patience", "checkpoint", "schedule", "charge_looks")


@dataclass(frozen=True)
class HeadReading:
    """A lane after an epoch: rows [P] (head, then moments), loss of each step, logits [M, C]."""

    rows: tuple[Tensor, ...]
    losses: Tensor
    logits: Tensor


@dataclass
class Snapshot:
    """A head at the end of an epoch.

    Attributes:
        samples: seen in the epoch.
        costs: (run that paid, kind, seconds).
    """

    reading: HeadReading
    samples: int
    costs: list[tuple[str, str, float]]
    judged: bool = False
    score: float | None = None

    @property
    def finite(self) -> bool:
        return bool(self.reading.losses.isfinite().all())


@dataclass
class HeadTrajectory:
    """A head by the steps it has made: number of steps -> snapshot.

    Attributes:
        inputs: seconds that each split's inputs of the head cost, by what they depend on.
    """

    ends: dict[int, Snapshot] = field(default_factory=dict)
    inputs: dict[object, float] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        return sum(_bytes(tensor) for end in list(self.ends.values()) for tensor in _tensors(end))


class HeadMemo:
    """Trajectories by key, the least recently asked for first."""

    def __init__(self) -> None:
        self.kept: dict[str, HeadTrajectory] = {}

    def at(self, key: str) -> HeadTrajectory:
        """The trajectory of a key; an empty one if there is none."""
        found = self.kept.pop(key, None) or HeadTrajectory()
        self.kept[key] = found
        return found

    def trim(self, spare: int) -> None:
        """Drop the least recent beyond `MEMO_BYTES`, but not the last `spare` asked for."""
        held = sum(one.bytes for one in list(self.kept.values()))
        for key in list(self.kept)[: max(0, len(self.kept) - spare)]:
            if held <= MEMO_BYTES:
                return
            held -= self.kept.pop(key).bytes


def head_key(
    spec: RunSpec, phase: Phase, rates: Mapping[str, float], decays: Mapping[str, float]
) -> str:
    """A digest of all that a head's first steps depend on, its rate and seed included."""
    schedule = spec.protocol.schedule
    span = phase.epochs if phase.anneal == "phase" else spec.protocol.epochs
    known = {
        **spec.model_dump(mode="json", include=set(WHERE)),
        "numeric": spec.numeric.model_dump(mode="json"),
        "protocol": spec.protocol.model_dump(mode="json", exclude=set(FREE)),
        "schedule": schedule.model_dump(mode="json"),
        "span": None if schedule.horizon or schedule.kind == "constant" else span,
        "rates": dict(rates),
        "decays": {name: decays[name] for name in rates},
        "penalties": [_pull(penalty, rates) for penalty in phase.penalties],
    }
    return digest(known)


def _pull(penalty: object, rates: Mapping[str, float]) -> tuple[object, ...]:
    if not isinstance(penalty, Distance):
        raise TypeError(f"{penalty!r} is no Distance")
    names = sorted(set(penalty.parameters) & set(rates))
    return penalty.kind, penalty.strength, penalty.towards, penalty.proximal, names


def _tensors(snapshot: Snapshot) -> Iterator[Tensor]:
    yield from (*snapshot.reading.rows, snapshot.reading.logits)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
