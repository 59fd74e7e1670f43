"""What a backbone's network does with values, and where its weights are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.testing.network import CLASSES, SEED, BackboneCase
from harness.testing.promise import Broken, listed
from harness.testing.trial import one_thread
from harness.testing.watch import watching

if TYPE_CHECKING:
    from torch import nn

CLOSE = 1e-9  # float64: sums in another order


def builds_offline(case: BackboneCase) -> None:
    with watching(files=False) as noticed:
        try:
            case.fresh()
        finally:
            if noticed:
                raise Broken(f"{noticed[0]} in build()")


def seeded(case: BackboneCase) -> None:
    if name := _different(case.fresh(), case.fresh()):
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
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED + 1)
        other = case.backbone.build(CLASSES).eval()
    other.load_state_dict(case.chain.state_dict())
    one, two = (case.logits(chain, case.images) for chain in (case.chain, other))
    if not torch.equal(one, two):
        raise Broken("a second network with the same state_dict() gives other logits")


def eval_deterministic(case: BackboneCase) -> None:
    import torch

    if not case.repeats:
        raise Broken("two forward passes in eval mode give other logits")
    chain = case.fresh()
    before = {name: tensor.clone() for name, tensor in chain.state_dict().items()}
    case.logits(chain, case.images)
    after = chain.state_dict()
    if changed := [name for name, tensor in before.items() if not torch.equal(tensor, after[name])]:
        raise Broken(f"a forward pass in eval mode changes {listed(changed)}")


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


def _different(one: nn.Sequential, other: nn.Sequential) -> str:
    import torch

    theirs = other.state_dict()
    changed = (n for n, tensor in one.state_dict().items() if not torch.equal(tensor, theirs[n]))
    return next(changed, "")


def weights(case: BackboneCase) -> None:
    from harness import weights as files

    declared = case.backbone.weights
    if declared is None:
        return
    if declared.file is None and declared.enum is None:
        raise Broken(f"weights {declared.name!r} name neither a file nor an enum of torchvision")
    if declared.file is None:
        from torchvision.models import get_weight

        get_weight(declared.enum)
        return
    if not declared.sha256:
        raise Broken(f"weights {declared.name!r} give no sha256 of {Path(declared.file).name}")
    file = files.find_weights(case.backbone, offline=True)
    if file is not None:
        files.load_weights(case.backbone, CLASSES, file)
