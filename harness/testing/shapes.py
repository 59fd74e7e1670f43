"""A backbone's stages, names and shapes, seen on the meta device: nothing is computed."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from harness.testing.network import CLASSES, BackboneCase
from harness.testing.promise import Broken, listed

if TYPE_CHECKING:
    from torch import Tensor, nn

OTHER = 5  # classes
SIZES = ((48, 48), (64, 96), (224, 224))


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

    for size in SIZES:
        for batch in (1, 2):
            images = torch.empty(batch, 3, *size, device="meta")
            _check_shape(case, case.sketch, images, (batch, CLASSES))
    with torch.device("meta"):
        other = case.backbone.build(OTHER).eval()
    _check_shape(case, other, torch.empty(2, 3, *SIZES[0], device="meta"), (2, OTHER))


def _check_shape(
    case: BackboneCase, chain: nn.Sequential, images: Tensor, expected: tuple[int, int]
) -> None:
    given = f"images {list(images.shape)}"
    try:
        shape = tuple(case.logits(chain, images).shape)
    except (RuntimeError, ValueError, IndexError) as error:
        raise Broken(f"{given} cannot be passed: {str(error).partition(chr(10))[0]}") from error
    if shape != expected:
        raise Broken(f"{given} give logits {list(shape)}, not {list(expected)}")


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
