"""Starting weights: read a file and fit its tensors to a chain of stages."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.backbone import Backbone
from harness.errors import WeightsError
from harness.execution import StartingPoint
from harness.records import WeightsRecord
from harness.weights_file import Availability, WeightsFile, available, find

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Availability", "WeightsFile", "available", "find", "load", "read"]

_WRAPPERS = ("state_dict", "model_state_dict", "model")
_UNREADABLE = (
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    KeyError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
)


def load(backbone: Backbone, classes: int, file: WeightsFile) -> StartingPoint:
    """The tensors of a file under the chain's names, floats as float32.

    The head's linear layer is new for every dataset and never loaded.  `record.new` lists, by
    chain name, every other tensor that the file lacks.

    Raises:
        WeightsError: the file cannot be read, or is of another architecture.
    """
    import torch

    published = backbone.modernise(read(file.path))
    with torch.device("meta"):
        chain = backbone.build(classes)
    layer = backbone.head_layer() + "."
    wanted = {n: tuple(t.shape) for n, t in chain.state_dict().items() if not n.startswith(layer)}
    names = {name: backbone.published_name(name) for name in wanted}
    _check_fit(backbone, file, published, {names[n]: shape for n, shape in wanted.items()})
    state = {n: _plain(published[p]) for n, p in names.items() if p in published}
    for name in wanted:
        owner, _, leaf = name.rpartition(".")
        if leaf == "num_batches_tracked" and f"{owner}.running_mean" in state:
            state.setdefault(name, torch.tensor(0))
    _check_finite(file, state)
    new = tuple(n for n in wanted if n not in state and not n.endswith("num_batches_tracked"))
    return StartingPoint(state, _record(file, new))


def read(path: Path) -> dict[str, Tensor]:
    """A weights file's tensors by the names it uses; `state_dict` and `module.` are unwrapped.

    Raises:
        WeightsError: the file is cut short, corrupt, or holds something else than tensors.
    """
    from safetensors import SafetensorError

    try:
        content = _content(path)
    except (*_UNREADABLE, SafetensorError) as error:
        reason = str(error).partition("\n")[0]
        raise WeightsError(
            f"{path} cannot be read as weights ({type(error).__name__}: {reason}). It may be cut "
            "short or corrupt: fetch it again."
        ) from error
    return _unwrap(path, content)


def _content(path: Path) -> Any:  # noqa: ANN401 - whatever the file holds
    import torch
    from safetensors.torch import load_file

    if path.suffix == ".safetensors":
        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _unwrap(path: Path, content: object) -> dict[str, Tensor]:
    import torch

    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not content:
        raise WeightsError(f"{path} holds no tensors by name")
    odd = [name for name, value in content.items() if not isinstance(value, torch.Tensor)]
    if odd:
        raise WeightsError(f"{path} holds something that is no tensor: {odd[0]!r}")
    wrapped = all(str(name).startswith("module.") for name in content)
    return {str(n).removeprefix("module.") if wrapped else str(n): t for n, t in content.items()}


def _plain(tensor: Tensor) -> Tensor:
    return (tensor.float() if tensor.is_floating_point() else tensor).contiguous()


def _check_fit(
    backbone: Backbone,
    file: WeightsFile,
    published: Mapping[str, Tensor],
    wanted: Mapping[str, tuple[int, ...]],
) -> None:
    """Compare by published name: shapes, what the chain lacks, and how much of it is filled."""
    complaint = (
        _wrong_shapes(published, wanted)
        or _strangers(backbone, published, wanted)
        or _too_few(published, wanted)
    )
    if complaint:
        raise WeightsError(
            f"{file.path.name} does not fit {backbone.name}: {complaint}. It seems to be of another "
            f"architecture: give a file of {backbone.name} in torchvision's names."
        )


def _wrong_shapes(published: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]]) -> str:
    wrong = [n for n, shape in wanted.items() if n in published and published[n].shape != shape]
    if not wrong:
        return ""
    here, there = tuple(published[wrong[0]].shape), wanted[wrong[0]]
    return f"{wrong[0]} is {here}, not {there}" + _others(wrong)


def _strangers(
    backbone: Backbone, published: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]]
) -> str:
    """Tensors the chain does not have; a published classifier may be of any kind."""
    classifier = backbone.published_name(backbone.head_layer()).partition(".")[0] + "."
    strange = [
        name
        for name in published
        if name not in wanted
        and not name.startswith(classifier)
        and not name.endswith("num_batches_tracked")
    ]
    return (
        f"it holds {strange[0]}, which {backbone.name} lacks" + _others(strange) if strange else ""
    )


def _too_few(published: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]]) -> str:
    needed = [name for name in wanted if not name.endswith("num_batches_tracked")]
    filled = sum(name in published for name in needed)
    return f"it fills {filled} of {len(needed)} tensors" if 2 * filled < len(needed) else ""


def _others(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def _check_finite(file: WeightsFile, state: Mapping[str, Tensor]) -> None:
    for name, tensor in state.items():
        if not tensor.isfinite().all():
            raise WeightsError(f"{file.path.name}: {name} holds values that are not finite")


def _record(file: WeightsFile, new: tuple[str, ...]) -> WeightsRecord:
    return WeightsRecord(
        name=file.declared.name,
        sha256=file.sha256,
        new=new,
        source=file.declared.source,
        licence=file.declared.licence,
        miniature=file.miniature,
    )
