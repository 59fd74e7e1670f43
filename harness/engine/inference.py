"""Prediction of images by the weights that a run tested, in the way that the run predicted."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from harness.api.backbone import Backbone
from harness.api.images import Images
from harness.api.records import RunSpec
from harness.api.strategy import Strategy
from harness.engine.batches import Pixels, chunks
from harness.engine.devices import kernels, own_stream
from harness.engine.model import fit_to, new_network
from harness.engine.state import Criterion, Numerics
from harness.errors import WeightsError
from harness.utils.names import first_few


def rebuilt_network(
    spec: RunSpec,
    backbone: Backbone,
    strategy: Strategy,
    classes: int,
    tensors: Mapping[str, Tensor],
    device: str,
) -> nn.Sequential:
    """The network of a run with the weights that it tested, adapted as its strategy does; in eval mode.

    Raises:
        WeightsError: the tensors are not those of this network: names, shapes or types differ.
    """
    model = new_network(spec, backbone, classes, None, strategy, device).model
    fit_to(model, tensors)
    _check_tensors(model.state_dict(), tensors)
    model.load_state_dict(dict(tensors))
    return model.eval()


def predict_images(spec: RunSpec, network: nn.Module, images: Images, device: str) -> np.ndarray:
    """Logits, float32 [N, C], of images uint8 [N, 3, crop, crop].

    In the order given, in batches of the protocol's `eval_batch_size`: given the test images of a run
    in their order, on the device of the run, the bits are those that it stored.
    """
    numerics = Numerics(Criterion(None, 0.0), spec.numeric.precision, torch.device(device))
    with own_stream(device), kernels(spec, device), torch.no_grad(), numerics.autocast():
        pixels = Pixels("test", images, spec.seen, spec.numeric, device)
        batches = chunks(len(pixels), spec.protocol.eval_batch_size)
        logits = torch.cat([network(pixels.inputs(index)) for index in batches])
    found: np.ndarray = logits.float().cpu().numpy()
    return found


def _check_tensors(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    lacking, strange = sorted(wanted.keys() - given.keys()), sorted(given.keys() - wanted.keys())
    wrong = [
        f"{name} is {_kind(given[name])}, not {_kind(wanted[name])}"
        for name in wanted
        if name in given and _kind(given[name]) != _kind(wanted[name])
    ]
    told = [
        f"{what} {first_few(names)}"
        for what, names in (("it lacks", lacking), ("it has besides", strange), ("in it", wrong))
        if names
    ]
    if told:
        raise WeightsError("; ".join(told))


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
