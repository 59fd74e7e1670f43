"""Images of a dataset as they lie in memory or on disk: whole arrays, or rows picked of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np


class PickedRows:
    """Some rows of an array, in an order of their own; pixels are copied as they are asked for.

    Attributes:
        whole: uint8 [M, 3, crop, crop], possibly memory-mapped.
        rows: int64 [N], numbers into it.
    """

    def __init__(self, whole: np.ndarray, rows: np.ndarray) -> None:
        self.whole, self.rows = whole, rows

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.rows), *self.whole.shape[1:]

    @property
    def nbytes(self) -> int:
        return len(self.rows) * int(self.whole[:1].nbytes)

    def __getitem__(self, index: slice) -> np.ndarray:
        found: np.ndarray = self.whole[self.rows[index]]
        return found


Images: TypeAlias = "np.ndarray | PickedRows"
