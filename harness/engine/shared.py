"""Work that runs of one (dataset, backbone) on one device share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from harness.api.dataset import Split
from harness.api.execution import Resources, StartingPoint
from harness.api.records import Augmentation, NumericMode, RunSpec
from harness.api.strategy import Strategy
from harness.engine.batches import Features, MirroredFeatures, Pixels
from harness.engine.model import Network, new_network, set_back


class PixelKey(NamedTuple):
    """All that a split's pixels depend on, whatever the network; `external`: of a further test set."""

    split: Split
    external: str
    data: str
    limit: int | None
    labels: str | None
    precision: str
    layout: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augment: tuple[Augmentation, ...]


class FeatureKey(NamedTuple):
    """All that features of stages that never learned depend on.

    `seed`: None where nothing below the head was drawn; `mirrored`: of mirror images, too.
    """

    split: Split
    external: str
    mirrored: bool
    stage: int
    data: str
    limit: int | None
    labels: str | None
    weights: str
    seed: int | None
    numeric: NumericMode
    eval_batch_size: int


class NetworkKey(NamedTuple):
    """All that a network at its starting point depends on; `seed` as in `FeatureKey`."""

    weights: str
    numeric: NumericMode
    seed: int | None


@dataclass
class SharedWork:
    """Work that runs of one (dataset, backbone) on one device do once; only the engine looks inside.

    Attributes:
        network: which runs use one after another, and all that it depends on.
    """

    KEY: ClassVar[str] = "work"

    pixels: dict[PixelKey, Pixels] = field(default_factory=dict)
    features: dict[FeatureKey, Features | MirroredFeatures] = field(default_factory=dict)
    network: tuple[NetworkKey, Network] | None = None

    @classmethod
    def of(cls, shared: dict[Any, Any]) -> SharedWork:
        """The work in `Resources.shared`, where others may keep things of their own."""
        work = shared.setdefault(cls.KEY, cls())
        if not isinstance(work, cls):
            raise TypeError(f"shared[{cls.KEY!r}] is taken")
        return work

    def forget(self) -> None:
        """Let go of all that a network computes: it was, or is to be, computed in another way."""
        self.features.clear()
        self.network = None

    def beside(self) -> SharedWork:
        """For another backbone on the same images: the pixels, and nothing else."""
        return SharedWork(pixels=self.pixels)


def split_pixels(spec: RunSpec, resources: Resources, split: Split, external: str = "") -> Pixels:
    """The pixels of a split, or of a further test set, sent to the device once."""
    numeric = spec.numeric
    protocol = spec.seen.model_copy(update={"augment": augmentations(spec)})
    key = PixelKey(
        split, external, spec.data, spec.limit, spec.labels, numeric.precision, numeric.layout,
        protocol.mean, protocol.std, protocol.augment,
    )  # fmt: skip
    pixels = SharedWork.of(resources.shared).pixels
    if key not in pixels:
        whole = resources.images
        images = whole.external[external].images if external else whole.stored(split)
        pixels[key] = Pixels(split, images, protocol, numeric, resources.device)
    return pixels[key]


def augmentations(spec: RunSpec) -> tuple[Augmentation, ...]:
    """The protocol's augmentations, with a flip only where the dataset allows it."""
    wanted = spec.protocol.augment
    mirror: tuple[Augmentation, ...] = ("flip-horizontal",) if spec.mirrored else ()
    allowed = [(mirror if kind == "flip-where-allowed" else (kind,)) for kind in wanted]
    return tuple(dict.fromkeys(kind for kinds in allowed for kind in kinds))


def build_network(spec: RunSpec, resources: Resources) -> Network:
    """A network at its starting point: the one an earlier run has left, set back, or a new one."""
    start, strategy = resources.start, resources.strategy

    def new() -> Network:
        classes, state = len(resources.images.classes), None if start is None else start.state
        return new_network(spec, resources.backbone, classes, state, strategy, resources.device)

    if type(strategy).adapt is not Strategy.adapt or resources.engine == "reference":
        return new()
    shared = SharedWork.of(resources.shared)
    key = NetworkKey(spec.weights, spec.numeric, seed_below_head(spec, start))
    if shared.network is not None and shared.network[0] == key:
        return set_back(shared.network[1], spec)
    shared.network = None  # its memory is needed for the new one
    shared.network = (key, new())
    return shared.network[1]


def seed_below_head(spec: RunSpec, start: StartingPoint | None) -> int | None:
    """The seed where anything below the head was drawn, so that its values depend on it."""
    drawn = start is None or any(not name.startswith("head.") for name in start.record.new)
    return spec.seed if drawn else None
