"""The safetensors file beside a result: what every figure can be computed from again.

Tensors `<split>.logits` float [N, C], `<split>.targets` int64 [N] and `<split>.rows` int32 [N] for
`test` and `validation`; the metadata holds `run_id`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from harness.api.execution import Predictions
from harness.errors import StoreError

if TYPE_CHECKING:
    import numpy as np

KINDS = ("logits", "targets", "rows")


def pack(run_id: str, predictions: Predictions) -> bytes:
    """The file's content; equal predictions give equal bytes.

    Raises:
        StoreError: logits, targets and rows of some split are not of the same samples.
    """
    import numpy as np
    from safetensors.numpy import save

    parts: dict[str, Mapping[str, np.ndarray]] = {
        kind: getattr(predictions, kind) for kind in KINDS
    }
    for split in sorted(set().union(*parts.values())):
        shapes = {kind: part[split].shape if split in part else () for kind, part in parts.items()}
        samples = shapes["logits"][:1]
        if len(shapes["logits"]) != 2 or {shapes["targets"], shapes["rows"]} != {samples}:  # noqa: PLR2004 - samples, classes
            raise StoreError(f"run {run_id}: predictions on {split} do not fit together: {shapes}")
    # Bytes are written without a look at the strides, and several metadata entries would come in
    # another order from call to call.
    tensors = {
        f"{split}.{kind}": np.ascontiguousarray(array)
        for kind, part in parts.items()
        for split, array in part.items()
    }
    content: bytes = save(tensors, metadata={"run_id": run_id})
    return content


def unpack(content: bytes) -> Predictions:
    """The predictions in a file's content."""
    from safetensors.numpy import load

    parts: dict[str, dict[str, np.ndarray]] = {kind: {} for kind in KINDS}
    for name, array in load(content).items():
        split, _, kind = name.rpartition(".")
        parts[kind][split] = array
    return Predictions(**parts)
