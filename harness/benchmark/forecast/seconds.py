"""Seconds that runs will take: their work, at the pace that this machine showed.

The pace is that of finished runs of the same network that were made on the same kind of machine and
device, in the same precision, with as many threads; else that of a probe; else that of another
network, which is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.api.records import NumericMode, RunResult, RunSpec
from harness.benchmark.forecast.probe import On, Probe
from harness.benchmark.forecast.work import BASES, Basis, Pace, RunWork, work_done
from harness.plugins import provenance

BESIDE = 0.5  # seconds of a run beside its work, where only other networks were seen (assumed)


@dataclass(frozen=True)
class Seen:
    """Speed that one run, or a probe, showed.

    Attributes:
        spec: the run; of a probe, one that it stands for.
        operations, seconds: of its work; beside: seconds of the run that its work did not take.
        share: of the steps that its budget allows, those that were made; less where patience ended
            it.
    """

    spec: RunSpec
    operations: float
    seconds: float
    beside: float
    share: float
    basis: Basis

    @classmethod
    def of(cls, result: RunResult, here: On) -> Seen | None:
        """Speed of this machine by a finished run; None: it was made elsewhere."""
        place, cost = result.environment, result.cost.alone
        if place is None or place.machine != provenance.machine():
            return None
        # Several runs on one card take each other's time.
        if _kind(place.device) != _kind(here.device) or result.cost.packed:
            return None
        if (place.threads, place.engine) != (here.threads, here.engine):
            return None
        work = work_done(result)
        if work is None or work.total == 0:
            return None
        seconds = cost.train + cost.evaluate + cost.features + cost.compile
        budget = round(result.spec.protocol.epochs * work.steps_per_epoch)
        share = min(1.0, work.steps / budget) if budget else 1.0
        beside = max(0.0, cost.total - seconds) + cost.write
        return cls(result.spec, work.total, seconds, beside, share, "runs")

    @classmethod
    def by(cls, probe: Probe) -> Seen | None:
        """Speed by a probe; None: no step was made."""
        if not probe.operations:
            return None
        return cls(probe.spec, probe.operations, probe.seconds, probe.beside, 1.0, "probe")

    @classmethod
    def assumed(cls, spec: RunSpec, pace: float) -> Seen:
        """Operations a second that are taken for granted."""
        return cls(spec, pace, 1.0, BESIDE, 1.0, "assumed")


class Paces:
    """The pace of each network here."""

    def __init__(self, seen: Iterable[Seen | None]) -> None:
        self.seen = [one for one in seen if one is not None]

    def of(self, spec: RunSpec) -> Pace | None:
        """For a run of the plan; None: nothing was seen in this precision."""
        alike = [one for one in self.seen if _numbers(one.spec) == _numbers(spec)]
        own = [one for one in alike if _network(one.spec) == _network(spec)]
        if not own:
            return _mean(alike, "other networks") if alike else None
        chosen = [one for one in own if one.basis == "runs"] or own
        # The nearest that there are: of the same pixels, then of the same strategy as well.
        for name in (_pixels, _strategy):
            near = [one for one in chosen if name(one.spec) == name(spec)]
            chosen = near or chosen
        return _mean(chosen, chosen[0].basis)

    def knows(self, spec: RunSpec) -> bool:
        """True if the network of a run was seen."""
        found = self.of(spec)
        return found is not None and found.basis != "other networks"

    def share(self, spec: RunSpec) -> float | None:
        """Of the steps that the budget allows, those that such runs made before patience ran out.

        1: none may end early; None: not known.
        """
        if spec.protocol.patience is None:
            return 1.0
        alike = [
            one.share
            for one in self.seen
            if one.basis == "runs"
            and one.spec.strategy == spec.strategy
            and (one.spec.protocol.patience, one.spec.protocol.epochs)
            == (spec.protocol.patience, spec.protocol.epochs)
        ]
        return sum(alike) / len(alike) if alike else None


@dataclass(frozen=True)
class Estimate:
    """Seconds of a plan's runs.

    Attributes:
        expected: as runs of this kind ended before; most: if patience ends none.
        counted, asked: runs that are in it, and that are to be made.
        pace: of all runs together, by the weakest of their bases; None: none is counted.
        patient: some may end early, and how early is not known.
        bases: networks by where their pace comes from.
        runs: finished runs that were evidence.
    """

    expected: float
    most: float
    counted: int
    asked: int
    pace: Pace | None
    patient: bool
    bases: Mapping[Basis, tuple[str, ...]]
    runs: int


def estimate(
    specs: Sequence[RunSpec], works: Mapping[str, RunWork], paces: Paces, jobs: int
) -> Estimate:
    """The seconds of runs, so many side by side."""
    expected: list[float] = []
    most: list[float] = []
    bases: dict[Basis, dict[str, None]] = {}
    patient, operations, beside = False, 0.0, 0.0
    for spec in specs:
        work, pace = works.get(spec.run_id), paces.of(spec)
        if work is None or pace is None:
            continue
        share = paces.share(spec)
        patient |= share is None
        fewer = _cut_short(work, 1.0 if share is None else share)
        most.append(work.total * pace.seconds + pace.beside)
        expected.append(fewer * pace.seconds + pace.beside)
        bases.setdefault(pace.basis, {})[spec.backbone] = None
        operations += work.total
        beside += pace.beside
    return Estimate(
        expected=_side_by_side(expected, jobs),
        most=_side_by_side(most, jobs),
        counted=len(expected),
        asked=len(specs),
        pace=Pace(
            (sum(most) - beside) / operations, beside / len(most), max(bases, key=BASES.index)
        )
        if operations
        else None,
        patient=patient,
        bases={basis: tuple(names) for basis, names in bases.items()},
        runs=sum(one.basis == "runs" for one in paces.seen),
    )


def _cut_short(work: RunWork, share: float) -> float:
    """Operations of a run that makes only a share of its steps."""
    if share >= 1:
        return work.total
    before = sum(phase.features + phase.looks for phase in work.phases)
    return before + share * (work.total - work.test - before) + work.test


def _side_by_side(seconds: Sequence[float], jobs: int) -> float:
    """So many at a time; not less than the longest takes."""
    return max(sum(seconds) / jobs, *seconds) if seconds else 0.0


def _mean(seen: Sequence[Seen], basis: Basis) -> Pace:
    """The pace of all of it together: longer runs count for more."""
    operations = sum(one.operations for one in seen)
    beside = sum(one.beside for one in seen) / len(seen)
    if basis == "other networks":
        beside = max(beside, BESIDE)
    return Pace(sum(one.seconds for one in seen) / operations, beside, basis)


def _numbers(spec: RunSpec) -> NumericMode:
    return spec.numeric


def _network(spec: RunSpec) -> tuple[str, str]:
    return spec.backbone, spec.sources.get("backbone", "")


def _pixels(spec: RunSpec) -> int:
    return spec.seen.crop


def _strategy(spec: RunSpec) -> str:
    return spec.strategy


def _kind(device: str) -> str:
    """`cuda:1 (NVIDIA H200)` -> `cuda (NVIDIA H200)`: equal cards are one kind."""
    kind, _, rest = device.partition(":")
    return f"{kind} {rest.partition(' ')[2]}".strip()
