"""Networks of timm by name: `timm:NAME`, which is `timm.NAME` in records.

Nothing is listed, and timm is imported when a name of it is asked for.
"""

from __future__ import annotations

import difflib
import hashlib
import inspect
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness import Backbone, Preprocessing, UsageError, Weights, hookimpl

if TYPE_CHECKING:
    from torch import nn

PREFIX = "timm."
MULTIPLE = 32  # of the sides of images, where a network takes more than one: what most divide by


class TimmBackbone(Backbone):
    """A network of timm as a chain of stages, under timm's own names.

    Attributes:
        network: its name in timm, with a tag or without (`vit_base_patch16_224.augreg_in21k`).
        arguments: what `timm.create_model` is given besides, as `(("depth", 2),)`.
        layout: how it was taken apart, see `chain.py`.
    """

    network: str
    arguments: tuple[tuple[str, Any], ...] = ()
    layout: Literal["tokens", "groups", "whole"]

    def build(self, classes: int) -> nn.Sequential:
        """The network with random weights: float [B, 3, H, W] -> logits [B, `classes`]."""
        from harness_timm import chain

        model = _create(self.network, classes, dict(self.arguments))
        return chain.assemble(model, chain.LAYOUTS[self.layout](model))

    def published_name(self, name: str) -> str:
        """The name of a tensor in timm: without the stage."""
        return name.partition(".")[2]


def timm_backbone(
    network: str,
    *,
    name: str | None = None,
    weights: Weights | None = None,
    **arguments: Any,  # noqa: ANN401 - timm's own
) -> TimmBackbone:
    """A network of timm, taken apart and held against timm's own forward pass.

    Args:
        network: its name in timm.
        name: of the backbone, where another plugin offers it; None: `timm.NETWORK`.
        weights: in timm's names, for a network that was trained elsewhere; None: those that timm
            declares, unless `arguments` make it another network.
        arguments: for `timm.create_model`, where it is not to be as timm has it.

    Raises:
        UsageError: timm is not installed or has no such network, or no chain computes the same.
    """
    _check_name(network)
    from harness_timm import chain

    model = _create(network, 2, arguments)
    taken = _preprocessing(model)
    try:
        found = chain.take_apart(model, taken.nearest(1))
    except chain.NoChainError as error:
        raise UsageError(f"timm:{network} cannot be used: {error}") from error
    return TimmBackbone(
        name=name or PREFIX + network,
        title=f"{network} (timm {_version()})",
        network=network,
        arguments=tuple(arguments.items()),
        layout=found.layout,
        stages=tuple(found.stages),
        weights=weights or (None if arguments else _weights(model)),
        preprocessing=taken,
        sources=(*_sources(model), *(_own_code() if name else ())),
    )


@hookimpl
def harness_backbone(name: str) -> Backbone | None:
    return timm_backbone(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else None


def _check_name(network: str) -> None:
    if find_spec("timm") is None:
        raise UsageError(
            f"timm:{network} takes timm, which is not installed: pip install "
            "'finetune-harness[timm]'"
        )
    import timm

    if timm.is_model(network):
        return
    known = [*timm.list_models(), *timm.list_models(pretrained=True)]
    near = difflib.get_close_matches(network, known, 3)
    meant = f"; did you mean {' or '.join(f'timm:{one}' for one in near)}?" if near else ""
    raise UsageError(f"timm {_version()} has no network {network!r}{meant}")


def _create(network: str, classes: int, arguments: Mapping[str, Any]) -> nn.Module:
    import timm

    model: nn.Module = timm.create_model(network, num_classes=classes, **arguments)
    return model


def _preprocessing(model: nn.Module) -> Preprocessing:
    """What timm says of its images; the least side by trying, where it takes more than one."""
    from harness_timm import chain

    told: Any = model.pretrained_cfg
    size = chain.side_of(model) or told["input_size"][1]
    multiple, bounds = 1, None
    if not told.get("fixed_input_size"):
        multiple, bounds = MULTIPLE, (chain.least_side(model, MULTIPLE, size), None)
    return Preprocessing(
        mean=told["mean"],
        std=told["std"],
        size=size,
        resize=int(size / told["crop_pct"]),
        multiple=multiple,
        bounds=bounds,
        interpolation=told["interpolation"],
    )


def _weights(model: nn.Module) -> Weights | None:
    """The file that timm's own organisation on the Hub has for this network and tag.

    None: there is none, or it lies elsewhere and may have to be changed to fit.
    """
    told: Any = model.pretrained_cfg
    repo = str(told.get("hf_hub_id") or "")
    if not repo.startswith("timm/") or told.get("hf_hub_filename"):
        return None
    return Weights(
        name=told.get("tag") or "default",
        hub=f"hf://{repo}/model.safetensors",
        licence=told.get("license") or "",
    )


def _sources(model: nn.Module) -> tuple[tuple[str, str], ...]:
    """Version of timm, and sha256 of the file that says what the network is."""
    module = sys.modules[type(model).__module__]
    text = Path(inspect.getfile(module)).read_bytes().replace(b"\r\n", b"\n")
    return ("timm", _version()), (module.__name__, hashlib.sha256(text).hexdigest())


def _own_code() -> tuple[tuple[str, str], ...]:
    """sha256 of this package, which takes networks apart: for backbones that another plugin offers."""
    parts = sorted(Path(__file__).parent.glob("*.py"))
    text = b"".join(part.read_bytes().replace(b"\r\n", b"\n") for part in parts)
    return (("harness_timm", hashlib.sha256(text).hexdigest()),)


def _version() -> str:
    import timm

    return str(timm.__version__)
