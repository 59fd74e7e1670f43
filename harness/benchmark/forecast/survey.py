"""Questions to plugins before runs are foretold: networks counted, phases yielded, steps tried.

Their code may do anything, so where runs follow it is called as in a run: in another process, or in
this one with its state put back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.api.records import RunSpec
from harness.benchmark.forecast.probe import On, Probe, probe_networks
from harness.benchmark.forecast.work import Networks, RunWork, plan_work
from harness.data.preparation.info import DatasetInfo
from harness.plugins.registry import PluginRegistry, load_plugins


@dataclass(frozen=True)
class Question:
    """A question; it can be sent to another process.

    Attributes:
        specs: runs that are to be made, of datasets that are here.
        datasets: what is known of these.
        networks: known already.
        on: what the runs are to be carried out on.
        limit: seconds to try networks that are not known to be counted; 0: they are only counted.
        tried: runs, one a network, that are to be tried.
    """

    specs: Sequence[RunSpec]
    datasets: Mapping[str, DatasetInfo]
    networks: Networks
    on: On
    limit: float = 0.0
    tried: Sequence[RunSpec] = ()


@dataclass(frozen=True)
class Answer:
    """Run id -> work, as far as it is known, and what came of each network that was asked for.

    `spoiled`: what plugins changed in this process and cannot be put back; no run may use it.
    """

    works: Mapping[str, RunWork] = field(default_factory=dict)
    probes: Sequence[Probe] = ()
    spoiled: tuple[str, ...] = ()

    @property
    def faults(self) -> tuple[str, ...]:
        """Faults that the code of networks raised."""
        return tuple(probe.fault for probe in self.probes if probe.fault)


def ask(question: Question, loaded: PluginRegistry) -> Answer:
    """Ask the plugins in this process as it is."""
    if question.tried:
        return Answer(probes=probe_networks(question.tried, loaded, question.on, question.limit))
    uncounted = [one for one in distinct(question.specs) if not question.networks.knows(one)]
    probes = probe_networks(uncounted, loaded, question.on, 0.0) if uncounted else []
    for probe in probes:
        question.networks.add(probe.spec, probe.network)
    works = plan_work(question.specs, question.datasets, loaded, question.networks)
    return Answer(works, probes)


def ask_apart(question: Question, loaded: PluginRegistry) -> Answer:
    """The same, and the state of this process is put back."""
    from harness.engine import Isolation

    isolation = Isolation(question.on.threads)
    try:
        with isolation.around((*question.specs, *question.tried)[0]) as traces:
            answer = ask(question, loaded)
        return replace(answer, spoiled=tuple(traces.left)) if traces.fresh else answer
    finally:
        isolation.leave()


def ask_in_worker(question: Question, plugins: Sequence[str]) -> Answer:
    """The same, in a process that has to load the plugins and does nothing else."""
    return ask(question, load_plugins(plugins))


def distinct(specs: Sequence[RunSpec]) -> list[RunSpec]:
    """A run of each network, number of pixels and numeric mode."""
    found = {
        (spec.backbone, spec.seen.crop, spec.numeric.model_dump_json()): spec for spec in specs
    }
    return list(found.values())
