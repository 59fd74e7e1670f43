"""Promises of a backbone: its stages, names and shapes, its weights, and what it computes.

Stages, names and shapes are seen on the meta device, where nothing is computed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api.backbone import Backbone, Weights
from harness.testing.promise import Broken, Rule, Unchecked, listed, opens_nothing
from harness.testing.toys import one_thread

if TYPE_CHECKING:
    from torch import Tensor, nn

CLASSES = 2
OTHER_CLASSES = 5
SEED = 11
SIZES = ((48, 48), (64, 96), (224, 224))
SIDE = 64  # of images that are computed with
CLOSE = 1e-9  # float64: sums in another order


class BackboneCase:
    """A backbone under test, and the chains that the promises share."""

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone

    @cached_property
    def sketched(self) -> nn.Sequential | Exception:
        """The chain built on the meta device, or the exception that building it raised."""
        import torch

        try:
            with torch.device("meta"):
                return self.backbone.build(CLASSES).eval()
        except Exception as error:  # noqa: BLE001 - one promise is blamed for it
            return error

    @property
    def sketch(self) -> nn.Sequential:
        """The chain on the meta device: shapes without values.

        Raises:
            Unchecked: it cannot be built there.
        """
        if isinstance(self.sketched, Exception):
            raise Unchecked("build() fails on the meta device", "meta-device")
        return self.sketched

    @cached_property
    def chain(self) -> nn.Sequential:
        """The chain with values, in eval mode; built after a fixed seed."""
        return self.fresh()

    def fresh(self, seed: int = SEED) -> nn.Sequential:
        """Build the chain once more."""
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.backbone.build(CLASSES).eval()

    def logits(self, chain: nn.Sequential, inputs: Tensor) -> Tensor:
        """Logits of a forward pass in eval mode, without gradients."""
        import torch

        with torch.no_grad(), one_thread():
            logits: Tensor = chain(inputs)
        return logits

    @cached_property
    def repeats(self) -> bool:
        """True if two forward passes give the same bits."""
        import torch

        one, two = (self.logits(self.chain, self.images) for _ in range(2))
        return torch.equal(one, two)

    def needs_repeatable(self) -> None:
        """Raise `Unchecked` where comparing two passes would say nothing."""
        if not self.repeats:
            raise Unchecked("two equal passes differ anyway", "eval-deterministic")

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Heights and widths that the backbone takes: whatever is asked, or squares it declares."""
        declared = self.backbone.preprocessing
        if declared is None:
            return SIZES
        sides = [declared.nearest(side) for side in (1, *(width for _, width in SIZES))]
        sides += [] if declared.size is None else [declared.size]
        return tuple((side, side) for side in dict.fromkeys(sides))

    @cached_property
    def images(self) -> Tensor:
        """Three images, float32 [3, 3, S, S] with S 64, or as near as the backbone takes."""
        import torch

        declared = self.backbone.preprocessing
        side = declared.nearest(SIDE) if declared else SIDE
        return torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(SEED))


def meta_device(case: BackboneCase) -> None:
    if isinstance(case.sketched, Exception):
        raise case.sketched
    state = case.sketched.state_dict(keep_vars=True)
    if real := [name for name, tensor in state.items() if tensor.device.type != "meta"]:
        raise Broken(f"{listed(real)} is made on another device than torch's default")


def stages(case: BackboneCase) -> None:
    from torch import nn

    declared, chain = case.backbone.stages, case.sketch
    if not isinstance(chain, nn.Sequential):
        raise Broken(f"build() returns {type(chain).__name__}, no nn.Sequential")
    found = tuple(name for name, _ in chain.named_children())
    if found != declared:
        raise Broken(f"the children of the chain are {listed(found, 9)}, not {listed(declared, 9)}")
    if declared[-1] != "head":
        raise Broken(f"the last stage is {declared[-1]!r}, not 'head'")
    if declared[-len(case.backbone.classifier) :] != case.backbone.classifier:
        raise Broken(f"the classifier {listed(case.backbone.classifier)} is not the chain's end")


def parameters_once(case: BackboneCase) -> None:
    chain = case.sketch
    owners: dict[int, list[str]] = {}
    for name, parameter in chain.named_parameters(remove_duplicate=False):
        owners.setdefault(id(parameter), []).append(name)
    names = {name for found in owners.values() for name in found}
    if stray := sorted(n for n in names if n.split(".")[0] not in case.backbone.stages):
        raise Broken(f"{listed(stray)} belongs to no stage")
    for found in owners.values():
        if len({name.split(".")[0] for name in found}) > 1:
            raise Broken(f"{' and '.join(map(repr, found))} are one tensor in several stages")
    if empty := [s for s in case.backbone.stages if not any(n.startswith(f"{s}.") for n in names)]:
        raise Broken(f"stage {listed(empty)} has no parameter that could learn")


def logits_shape(case: BackboneCase) -> None:
    import torch

    for size in case.sizes:
        for batch in (1, 2):
            images = torch.empty(batch, 3, *size, device="meta")
            _check_shape(case, case.sketch, images, (batch, CLASSES))
    with torch.device("meta"):
        wider = case.backbone.build(OTHER_CLASSES).eval()
    _check_shape(case, wider, torch.empty(2, 3, *case.sizes[0], device="meta"), (2, OTHER_CLASSES))


def _check_shape(
    case: BackboneCase, chain: nn.Sequential, images: Tensor, expected: tuple[int, int]
) -> None:
    given = f"images {list(images.shape)}"
    try:
        shape = tuple(case.logits(chain, images).shape)
    except Exception as error:
        said = str(error).partition("\n")[0] or type(error).__name__
        raise Broken(f"{given} cannot be passed: {_stopped(case, chain, images)}{said}") from error
    if shape != expected:
        raise Broken(f"{given} give logits {list(shape)}, not {list(expected)}")


def _stopped(case: BackboneCase, chain: nn.Sequential, images: Tensor) -> str:
    """The stage that cannot take what the one before it gives; empty: each one can."""
    from torch import nn

    step = images
    for name, stage in chain.named_children():
        try:
            step = case.logits(nn.Sequential(stage), step)
        except Exception:  # noqa: BLE001 - as the chain as a whole did
            return f"stage {name!r} is given {list(step.shape)}: "
    return ""


def head_layer(case: BackboneCase) -> None:
    from torch import nn

    modules = dict(case.sketch.named_modules())
    name = case.backbone.head_layer()
    layer = modules.get(name)
    if not isinstance(layer, nn.Linear) or layer.out_features != CLASSES:
        what = "no module" if layer is None else f"{layer}"
        raise Broken(f"head_layer() is {name!r}, which is {what}")
    if not name.startswith("head."):
        raise Broken(f"head_layer() is {name!r}, which is not in stage 'head'")
    last = [n for n, module in modules.items() if any(True for _ in module.parameters(False))][-1]
    if last != name:
        raise Broken(f"head_layer() is {name!r}, but {last!r} comes after it")


def published_names(case: BackboneCase) -> None:
    published = {name: case.backbone.published_name(name) for name in case.sketch.state_dict()}
    for name, count in Counter(published.values()).items():
        if count > 1:
            clash = [own for own, public in published.items() if public == name]
            raise Broken(f"{listed(clash)} have one published name, {name!r}")


def declared_weights(case: BackboneCase) -> None:
    backbone = case.backbone
    for declared in (backbone.weights, *(weights for _, weights in backbone.starts)):
        if declared is not None:
            _check_weights(backbone.model_copy(update={"weights": declared}), declared)


def _check_weights(backbone: Backbone, declared: Weights) -> None:
    """A file of the Hub is looked at where it has been fetched."""
    from harness.weights import availability, find_weights, load_weights

    if not (declared.file or declared.enum or declared.hub):
        raise Broken(
            f"weights {declared.name!r} name neither a file nor an enum of torchvision nor a file of "
            "the Hub"
        )
    if declared.enum is not None:
        from torchvision.models import get_weight

        get_weight(declared.enum)
        return
    if declared.file is not None and not declared.sha256:
        raise Broken(f"weights {declared.name!r} give no sha256 of {Path(declared.file).name}")
    if declared.hub is not None and not availability(backbone).ready:
        return
    file = find_weights(backbone, offline=True)
    if file is not None:
        load_weights(backbone, CLASSES, file)


def builds_offline(case: BackboneCase) -> None:
    with opens_nothing(" in build()"):
        case.fresh()


def seeded(case: BackboneCase) -> None:
    first, second = (case.fresh().state_dict() for _ in range(2))
    if name := next(_changed(first, second), ""):
        raise Broken(f"{name} differs between two networks built after the same torch.manual_seed")


def chain_of_stages(case: BackboneCase) -> None:
    import torch

    case.needs_repeatable()
    whole = case.logits(case.chain, case.images)
    step = case.images
    for stage in case.chain.children():
        with torch.no_grad(), one_thread():
            step = stage(step)
    if not torch.equal(whole, step):
        raise Broken("calling the stages one after another gives other logits than the chain")


def state_dict(case: BackboneCase) -> None:
    import torch

    case.needs_repeatable()
    loaded = case.fresh(SEED + 1)
    loaded.load_state_dict(case.chain.state_dict())
    first, second = (case.logits(chain, case.images) for chain in (case.chain, loaded))
    if not torch.equal(first, second):
        raise Broken("a second network with the same state_dict() gives other logits")


def eval_deterministic(case: BackboneCase) -> None:
    if not case.repeats:
        raise Broken("two forward passes in eval mode give other logits")
    chain = case.fresh()
    before = {name: tensor.clone() for name, tensor in chain.state_dict().items()}
    case.logits(chain, case.images)
    if changed := list(_changed(before, chain.state_dict())):
        raise Broken(f"a forward pass in eval mode changes {listed(changed)}")


def _changed(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> Iterator[str]:
    import torch

    return (name for name, tensor in before.items() if not torch.equal(tensor, after[name]))


def samples_alone(case: BackboneCase) -> None:
    import copy

    import torch

    case.needs_repeatable()
    chain = copy.deepcopy(case.chain).double()
    images = case.images.double()
    together = case.logits(chain, images)
    alone = torch.cat([case.logits(chain, image[None]) for image in images])
    distance = float((together - alone).abs().max() / together.abs().max())
    if distance > CLOSE:
        raise Broken(f"in eval mode logits of an image are {distance:.1e} off if it is alone")


RULES: tuple[Rule[BackboneCase], ...] = (
    Rule(
        "meta-device",
        "build() makes its tensors on torch's default device, as the harness asks for shapes on "
        "'meta'",
        meta_device,
    ),
    Rule(
        "stages",
        "build() returns an nn.Sequential whose children are the declared stages in their order, "
        "the classifier's at the end and 'head' the last",
        stages,
    ),
    Rule(
        "parameters-once",
        "the stages cover every parameter, each exactly once, and each stage has one",
        parameters_once,
        needs=("stages",),
    ),
    Rule(
        "logits-shape",
        "images [B, 3, H, W] give logits [B, classes], for every B and number of classes, and every "
        "H and W or those that `preprocessing` declares",
        logits_shape,
        needs=("stages",),
    ),
    Rule(
        "head-layer",
        "the last module with parameters is the linear layer that is new for every dataset",
        head_layer,
        needs=("stages", "logits-shape"),
    ),
    Rule(
        "published-names",
        "every parameter and buffer has a name of its own in published weight files",
        published_names,
    ),
    Rule(
        "weights", "declared weights are there, have the declared sha256 and fit", declared_weights
    ),
    Rule(
        "builds-offline",
        "build() gives a freshly initialised network; weights are found by the harness",
        builds_offline,
        light=False,
    ),
    Rule(
        "seeded",
        "build() draws from torch's default generator alone, which the harness has seeded",
        seeded,
        light=False,
    ),
    Rule(
        "chain-of-stages",
        "the chain is its stages called one after another: frozen ones are computed once",
        chain_of_stages,
        light=False,
        needs=("logits-shape",),
    ),
    Rule(
        "state-dict",
        "state_dict() holds everything that tells one network from another",
        state_dict,
        light=False,
        needs=("logits-shape",),
    ),
    Rule(
        "eval-deterministic",
        "in eval mode a forward pass draws nothing and changes nothing",
        eval_deterministic,
        light=False,
        needs=("logits-shape",),
    ),
    Rule(
        "samples-alone",
        "in eval mode the logits of an image do not depend on the rest of its batch",
        samples_alone,
        light=False,
        needs=("logits-shape",),
    ),
)
