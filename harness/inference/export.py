"""`harness export`: the network that a run tested, under published names, with a card.

model.safetensors    the tensors, float32, as torchvision (or timm) names them
config.json          network, classes in the order of the outputs, preprocessing
README.md            the card
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api.backbone import Backbone
from harness.errors import UsageError, WeightsError
from harness.inference import card
from harness.inference.tested import KeptRun, remarks
from harness.plugins.registry import PluginRegistry
from harness.utils import files
from harness.utils.names import first_few

if TYPE_CHECKING:
    from torch import Tensor, nn

TIMM = "timm."  # a backbone `timm.NAME` is timm's NAME


@dataclass(frozen=True)
class Exported:
    """A folder that was written.

    Attributes:
        library: whose network takes the file; empty: nobody's known here.
        cell, seed: of the run.
    """

    folder: Path
    library: str
    cell: str = ""
    seed: int = 0


def export(run: KeptRun, loaded: PluginRegistry, folder: Path) -> Exported:
    """Write the network of a run, its configuration and its card into a new folder.

    Raises:
        UsageError: the folder holds something.
        WeightsError: the weights are not the run's, see `KeptRun.network`; or the strategy left an
            architecture that has no published names.
        StoreError: the folder cannot be written.
    """
    from safetensors.torch import save

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"--out {folder}: it is there and not empty; name a new folder")
    network = run.network(loaded)
    backbone = loaded.backbones[run.result.spec.backbone]
    tensors = published(run, backbone, network)
    library, code = _library(backbone.name, len(run.classes), tensors)
    texts = {
        "config.json": json.dumps(_config(run, library), indent=1, ensure_ascii=False) + "\n",
        "README.md": card.render(
            run.result, backbone.title, library, code, [*remarks(run, loaded)]
        ),
    }
    content: bytes = save(tensors, metadata={"run_id": run.result.run_id, "format": "pt"})
    files.prepare(folder)
    files.write(folder / "model.safetensors", content)
    for name, text in texts.items():
        files.write(folder / name, text.encode())
    return Exported(folder, library, run.result.spec.cell, run.result.spec.seed)


def published(run: KeptRun, backbone: Backbone, network: nn.Module) -> dict[str, Tensor]:
    """The tensors of a run's network by published name, float32; what `adapt` added is merged in.

    Raises:
        WeightsError: the adapted network has other tensors than the backbone's own.
    """
    import torch

    from harness.engine import merge_parametrizations

    merge_parametrizations(network)
    state = network.state_dict()
    with torch.device("meta"):
        plain = backbone.build(len(run.classes)).state_dict()
    strange = sorted(state.keys() ^ plain.keys())
    if strange:
        raise WeightsError(
            f"strategy {run.result.spec.strategy!r} changed the architecture of {backbone.name}: "
            f"{first_few(strange)} have no published name; `harness predict` uses the run as it is"
        )
    found = {backbone.published_name(name): _plain(tensor) for name, tensor in state.items()}
    if len(found) < len(state):
        raise WeightsError(f"{backbone.name} gives several tensors one published name")
    return found


def _plain(tensor: Tensor) -> Tensor:
    return (tensor.float() if tensor.is_floating_point() else tensor).contiguous()


def _library(name: str, classes: int, tensors: Mapping[str, Tensor]) -> tuple[str, str]:
    """The library whose network has exactly these names and shapes, and code that builds it; or empty."""
    import torch

    if name.startswith(TIMM):
        library, of = "timm", name.removeprefix(TIMM)
        code = f"timm.create_model({of!r}, num_classes={classes})"
        try:
            import timm
        except ImportError:
            return "", ""
        known, build = timm.list_models(), timm.create_model
    else:
        from torchvision import models

        library, of = "torchvision", name
        code = f"torchvision.models.get_model({of!r}, num_classes={classes})"
        known, build = models.list_models(), models.get_model
    if of.partition(".")[0] not in known:  # the rest is the tag of timm's weights
        return "", ""
    with torch.device("meta"):
        wanted = build(of, num_classes=classes).state_dict()
    same = {n: t.shape for n, t in wanted.items()} == {n: t.shape for n, t in tensors.items()}
    return (library, code) if same else ("", "")


def _config(run: KeptRun, library: str) -> dict[str, object]:
    protocol = run.result.spec.seen
    return {
        "architecture": run.result.spec.backbone.removeprefix(TIMM),
        "library": library or None,
        "classes": list(run.classes),
        "preprocessing": {
            "colour": (
                f"RGB, 0 to 1; {'all' if protocol.grey else 'grey'} images as three equal channels"
            ),
            "resize": protocol.resize,
            "interpolation": f"{protocol.interpolation}, antialiased, the shorter side",
            "crop": protocol.crop,
            "mean": list(protocol.mean),
            "std": list(protocol.std),
        },
        "run_id": run.result.run_id,
    }
