"""The safetensors file beside a result: what every figure can be computed from again.

Tensors `<split>.logits` float [N, C], `<split>.targets` int64 [N] and `<split>.rows` int32 [N] for
`test` and `validation`; the metadata holds `run_id`.  The file of a further test set is the same with
`test` alone, which is that set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from harness.api.execution import Predictions
from harness.errors import StoreError
from harness.utils.text import short

if TYPE_CHECKING:
    import numpy as np

SPLITS = ("test", "validation")
UNREADABLE = (
    KeyError, ValueError, TypeError, AttributeError, OverflowError, MemoryError, RecursionError,
)  # fmt: skip
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
    """The predictions in a file's content.

    Raises:
        StoreError: it is no such file; says why, without its place.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    parts: dict[str, dict[str, np.ndarray]] = {kind: {} for kind in KINDS}
    try:
        for name, array in load(content).items():
            split, _, kind = name.rpartition(".")
            parts[kind][split] = array
    except (*UNREADABLE, SafetensorError) as error:
        raise StoreError(f"not a file of predictions ({short(str(error))})") from error
    return Predictions(**parts)


def check(predictions: Predictions, classes: int | None, splits: Sequence[str] = SPLITS) -> None:
    """Make sure that predictions can be those of a run; classes: how many, None: not known.

    Raises:
        StoreError: one of the splits is missing or empty, shapes or kinds of numbers do not fit, or
            a target is no class; says what, without the file's place.
    """
    for split in splits:
        parts = [
            part.get(split) for part in (predictions.logits, predictions.targets, predictions.rows)
        ]
        shapes = tuple(() if part is None else tuple(part.shape) for part in parts)
        there = [part for part in parts if part is not None]
        samples, wide = shapes[0][:1], shapes[0][1:]
        fits = len(wide) == 1 and shapes[1] == shapes[2] == samples and classes in {None, *wide}
        if not fits or len(there) < len(parts) or not there[0].size:
            raise StoreError(f"its {split} logits, targets and rows do not fit: {shapes}")
        logits, targets, rows = there
        if [part.dtype.kind for part in there] != ["f", "i", "i"]:
            raise StoreError(f"its {split} logits, targets or rows are numbers of another kind")
        if targets.min() < 0 or targets.max() >= logits.shape[1] or rows.min() < 0:
            raise StoreError(f"its {split} targets are no classes, or its rows no row numbers")
