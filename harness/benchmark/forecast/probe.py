"""A look at how fast networks train here: a few steps on batches of four images of noise.

Nothing is read and nothing is written.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from harness.api.dataset import SPLITS, Split
from harness.api.execution import Engine, ImageSet, Observer, Resources
from harness.api.metric import Metric
from harness.api.records import DataRecord, RunSpec, StageWork
from harness.api.strategy import ModelView, Phase, Phases, Strategy
from harness.benchmark.forecast.work import OperationCounter
from harness.plugins.registry import PluginRegistry

if TYPE_CHECKING:
    import numpy as np

BATCH = 4
MOST_STEPS = 6
# Operations a second that are counted on before anything is known (assumed: what one core makes).
# A network that would take too long is tried on fewer pixels.
PACE = 1e10
LEAST_PIXELS = 32
FILL = 8e-8  # seconds to draw a parameter and find memory for its copies (assumed: a busy core)


@dataclass(frozen=True)
class On:
    """Device and threads that runs are carried out on: `device` as torch names it, `threads` of the process."""

    device: str
    threads: int
    engine: Engine


@dataclass(frozen=True)
class Probe:
    """The outcome for one network.

    Attributes:
        spec: a run of it that is planned.
        network: the work of its stages at the run's pixels; empty: it cannot be counted.
        operations, seconds: of a step and a validation, the median of those made; 0: none was.
        beside: seconds to put the network together.
        fault: what its code raised.
    """

    spec: RunSpec
    network: tuple[StageWork, ...]
    operations: float = 0.0
    seconds: float = 0.0
    beside: float = 0.0
    fault: str = ""


def probe_networks(
    specs: Sequence[RunSpec],
    loaded: PluginRegistry,
    on: On,
    limit: float,
) -> list[Probe]:
    """Count the work of networks, and see how long a little of it takes.

    Args:
        specs: a planned run of each network.
        loaded: the plugins.
        on: what the runs are to be carried out on.
        limit: seconds for all of them; 0: they are only counted.
    """
    counted = [_counted(spec, loaded) for spec in specs]
    if not limit:
        return counted
    found = []
    ends = time.perf_counter() + limit
    small_first = sorted(counted, key=lambda one: sum(stage.operations for stage in one.network))
    for place, probe in enumerate(small_first):
        seconds = (ends - time.perf_counter()) / (len(specs) - place)  # what is left, for the rest
        found.append(_probed(probe, loaded, on, seconds) if probe.network else probe)
    return found


def _counted(spec: RunSpec, loaded: PluginRegistry) -> Probe:
    from harness.engine import count_stages

    try:
        return Probe(spec, count_stages(loaded.backbones[spec.backbone], spec.seen.crop))
    except Exception as error:  # noqa: BLE001 - of a plugin: its runs will fail, and say more
        return Probe(spec, (), fault=f"{spec.backbone}: {type(error).__name__}: {error}")


def _probed(probe: Probe, loaded: PluginRegistry, on: On, seconds: float) -> Probe:
    """With a few steps on as many pixels as the seconds allow; as it is: they allow none."""
    from harness.engine import Isolation, run

    spec = probe.spec
    backbone = loaded.backbones[spec.backbone]
    size = BATCH if on.device == "cpu" else spec.protocol.batch_size  # four leave a card idle
    for pixels in _smaller(spec.seen.crop):
        tried = _spec(spec, pixels, size)
        network = _counted(tried, loaded).network  # it may not take fewer pixels
        if not network or _foreseen(tried, network) > seconds:
            continue
        resources = Resources(
            images=_noise(size, pixels), backbone=backbone, start=None,
            strategy=_FewSteps(seconds=seconds), metrics={METRIC: Metric.of(METRIC, _nothing)},
            device=on.device, suite=METRIC, observer=Observer(), engine=on.engine,
        )  # fmt: skip
        isolation = Isolation(on.threads)
        try:
            with isolation.around(tried):
                result = run(tried, resources).result
        except Exception as error:  # noqa: BLE001 - of a plugin, or for want of memory
            return replace(probe, fault=f"{spec.backbone}: {type(error).__name__}: {error}")
        finally:
            isolation.leave()
        spent = [epoch.seconds for epoch in result.history]
        kept = sorted(spent[1:] or spent)  # the first is slow: memory and kernels are found
        return replace(
            probe,
            operations=_operations(tried, network),
            seconds=kept[len(kept) // 2],
            beside=result.cost.alone.load,
        )
    return probe


METRIC = "probe"


def _nothing(_: np.ndarray, __: np.ndarray) -> float:
    return 0.0


class _FewSteps(Strategy):
    """A step and a validation at a time, until the seconds are over."""

    name: ClassVar[str] = "probe"
    seconds: float

    def phases(self, model: ModelView, epochs: float) -> Phases:
        ends = time.perf_counter() + self.seconds
        for number in range(MOST_STEPS):
            before = time.perf_counter()
            yield Phase(f"step-{number + 1}", 1.0, {"*": 1.0}, anneal="run", continues=number > 0)
            if 2 * time.perf_counter() - before > ends:  # another would end after them
                return


def _smaller(crop: int) -> Iterator[int]:
    """The pixels of the runs, then half, a third and so on of them."""
    yield crop
    yield from (crop // part for part in (2, 3, 4, 6) if crop // part >= LEAST_PIXELS)


def _foreseen(spec: RunSpec, network: Sequence[StageWork]) -> float:
    """Seconds of two steps, at least so many are made, and of putting the network together."""
    parameters = sum(stage.parameters for stage in network)
    return 2 * _operations(spec, network) / PACE + FILL * parameters


def _spec(spec: RunSpec, pixels: int, size: int) -> RunSpec:
    protocol = spec.seen.model_copy(
        update={
            "batch_size": size, "eval_batch_size": size, "epochs": float(MOST_STEPS),
            "patience": None, "resize": pixels, "crop": pixels, "metric": METRIC,
            "checkpoint": "last", "augment": (), "lr": 1e-6,
        }
    )  # fmt: skip
    return spec.model_copy(
        update={
            "dataset": "probe", "strategy": "probe", "settings": {}, "protocol": protocol,
            "limit": None, "labels": None, "weights": "none", "mirrored": False,
            "preprocessing": None,
        }
    )  # fmt: skip


def _operations(spec: RunSpec, network: Sequence[StageWork]) -> float:
    """Of one step and one validation."""
    size = spec.protocol.batch_size
    count = OperationCounter(spec, network, {"train": size, "validation": size, "test": size})
    whole = range(len(network))
    return count.step(whole, 0) + count.forward(whole, size, size)


def _noise(size: int, pixels: int) -> ImageSet:
    import numpy as np

    rng, classes = np.random.default_rng(0), ("a", "b")
    images: dict[Split, np.ndarray] = {
        split: rng.integers(0, 256, (size, 3, pixels, pixels), dtype=np.uint8) for split in SPLITS
    }
    return ImageSet(
        classes=classes,
        images=images,
        labels={split: np.arange(size) % 2 for split in SPLITS},
        rows={split: np.arange(size, dtype=np.int32) for split in SPLITS},
        record=DataRecord(
            modality="noise", classes=classes, counts={}, fingerprint="", split_file="",
            split_sha256="", rule="", procedural=True,
        ),
    )  # fmt: skip
