"""Random draws, fields and shapes for images drawn with numpy alone.

Only +, -, *, /, square root, rounding, comparison and sorting touch a pixel, each a numpy step of its
own.  IEEE 754 fixes what they give; it does not for sine or exponential, nor for the order of a
sum.  So a sample has the same pixels on every machine.  Coordinates run from -1 to 1, x to the
right, y down.
"""

from __future__ import annotations

from hashlib import sha256
from math import prod
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

COLOUR = 3  # axes of a colour image
SIDE = 64  # pixels; edges are at least one wide, so nothing needs to be drawn larger

Field: TypeAlias = NDArray[np.float64]
Pixels: TypeAlias = NDArray[np.uint8]
Colour: TypeAlias = tuple[float, float, float]
Tones: TypeAlias = tuple[float, ...]  # one standardised value for each of SHARES

SHARES: Field = np.array([0, 0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98, 1])  # of darker pixels
_AXIS: Field = (np.arange(SIDE, dtype=np.float64) + 0.5) * (2 / SIDE) - 1
X: Field = _AXIS[None, :]
Y: Field = _AXIS[:, None]


class Points(NamedTuple):
    """Places [K] and, for each, cosine and sine of an axis."""

    x: Field
    y: Field
    cosine: Field
    sine: Field


class Draws:
    """A stream of random values that depends on its key only."""

    def __init__(self, *key: str | int) -> None:
        digest = sha256("/".join(map(str, key)).encode()).digest()
        self._bits = np.random.PCG64(int.from_bytes(digest[:16], "big"))

    def uniform(self, *shape: int) -> Field:
        """Values in [0, 1) from raw bits, the one stream that numpy promises to keep."""
        raw = np.asarray(self._bits.random_raw(prod(shape)), dtype=np.uint64)
        return (raw >> np.uint64(11)).astype(np.float64).reshape(shape) * 2.0**-53

    def one(self) -> float:
        """A single value in [0, 1)."""
        return (int(self._bits.random_raw()) >> 11) * 2.0**-53

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self.one()

    def spread(self, low: float, high: float, *shape: int) -> Field:
        return low + (high - low) * self.uniform(*shape)

    def whole(self, low: int, high: int) -> int:
        """An integer from low to high, both included."""
        return low + int(self.one() * (high - low + 1))

    def chance(self, share: float) -> bool:
        return self.one() < share

    def side(self) -> int:
        return 1 if self.chance(0.5) else -1

    def directions(self, count: int) -> tuple[Field, Field]:
        """Cosine and sine, each [count], of angles evenly spread over the circle (nearly)."""
        half = self.spread(-1, 1, count)  # tangent of half the angle, up to a quarter turn
        cosine, sine = (1 - half * half) / (1 + half * half), 2 * half / (1 + half * half)
        sign = np.rint(self.uniform(count)) * 2 - 1
        return cosine * sign, sine * sign

    def lattice(self, spacing: float) -> tuple[Field, Field]:
        """Places [K] over the image and a margin, at least about half a spacing apart."""
        high = spacing * 0.87
        row = np.arange(int(2.2 / high) + 2, dtype=np.float64)[:, None]
        column = np.arange(int(2.2 / spacing) + 3, dtype=np.float64)
        x = (column - 1 - self.one() + row % 2 * 0.5) * spacing - 1.1
        y = (row - self.one()) * high - 1.1 + 0.0 * column
        jitter = self.spread(-0.27 * spacing, 0.27 * spacing, 2, x.size)
        return x.ravel() + jitter[0], y.ravel() + jitter[1]

    def noise(self, cells: float, octaves: int = 1) -> Field:
        """Smooth noise in about [-1, 1]: `cells` bumps across the image, finer ones added."""
        field: Field = np.zeros((SIDE, SIDE))
        weight, total = 1.0, 0.0
        for _ in range(octaves):
            field += weight * self._lattice(cells)
            total += weight
            weight, cells = weight / 2, cells * 2
        return field / total

    def _lattice(self, cells: float) -> Field:
        nodes = int(cells) + 3
        values = self.spread(-1, 1, nodes, nodes)
        offset = self.uniform(2)
        steps = (np.arange(SIDE, dtype=np.float64) + 0.5) * (cells / SIDE)
        rows, columns = steps + offset[0], steps + offset[1]
        top, left = rows.astype(np.int64), columns.astype(np.int64)
        down, right = _ease(rows - top)[:, None], _ease(columns - left)
        slopes = values[:, 1:] - values[:, :-1]
        across = values.take(left, axis=1) + slopes.take(left, axis=1) * right
        slopes = across[1:] - across[:-1]
        field: Field = across.take(top, axis=0) + slopes.take(top, axis=0) * down
        return field


def _ease(t: Field) -> Field:
    return t * t * (3 - 2 * t)


def rise(field: Field, start: Field | float, end: Field | float) -> Field:
    """0 below start, 1 above end, smooth between; the other way round where end < start."""
    return _ease(np.minimum(np.maximum((field - start) / (end - start), 0), 1))


def bump(square: Field) -> Field:
    """A hill of height 1 over a squared distance: 0 from distance 1 on."""
    hill: Field = np.maximum(1 - square, 0)
    return hill * hill


def wave(turns: Field) -> Field:
    """Nearly the sine of `turns` whole turns: two parabolas a turn."""
    part = 2 * (turns - np.floor(turns)) - 1
    arch: Field = 4 * part * (np.abs(part) - 1)
    return arch


def turned(x: Field, y: Field, cosine: Field | float, sine: Field | float) -> tuple[Field, Field]:
    """Coordinates along and across an axis with that direction."""
    return x * cosine + y * sine, y * cosine - x * sine


def square_distance(x: Field, y: Field, centre: tuple[float, float], radius: float) -> Field:
    """Squared distance from the centre in units of the radius."""
    dx, dy = (x - centre[0]) / radius, (y - centre[1]) / radius
    return dx * dx + dy * dy


def stamp(points: Points, long: Field, short: Field, depth: Field) -> Field:
    """Ellipses [K] drawn into one field, the higher value on top; radii in coordinates."""
    reach = int(np.ceil(float(long.max()) * SIDE / 2)) + 1
    column, row = (points.x + 1) * (SIDE / 2) - 0.5, (points.y + 1) * (SIDE / 2) - 0.5
    left, top = np.rint(column).astype(np.int64), np.rint(row).astype(np.int64)
    near = np.arange(-reach, reach + 1)
    dx = ((left - column)[:, None] + near)[:, None, :] * (2 / SIDE)
    dy = ((top - row)[:, None] + near)[:, :, None] * (2 / SIDE)
    cosine, sine = points.cosine[:, None, None], points.sine[:, None, None]
    along, across = turned(dx, dy, cosine, sine)
    along, across = along / long[:, None, None], across / short[:, None, None]
    ink = rise(along * along + across * across, 1.35, 0.55) * depth[:, None, None]
    padded = np.zeros((SIDE + 2 * reach, SIDE + 2 * reach))
    rows = np.clip(top[:, None] + near, -reach, SIDE + reach - 1)[:, :, None] + reach
    columns = np.clip(left[:, None] + near, -reach, SIDE + reach - 1)[:, None, :] + reach
    np.maximum.at(padded, (rows, columns), ink)
    return padded[reach:-reach, reach:-reach]


def soften(field: Field, times: int) -> Field:
    """Binomial blur (1 2 1)/4 along both axes, again and again; edges repeated."""
    for _ in range(times):
        wide = np.concatenate([field[:1], field, field[-1:]])
        field = (wide[:-2] + 2 * wide[1:-1] + wide[2:]) / 4
        wide = np.concatenate([field[:, :1], field, field[:, -1:]], axis=1)
        field = (wide[:, :-2] + 2 * wide[:, 1:-1] + wide[:, 2:]) / 4
    return field


def develop(field: Field, tones: Tones, draws: Draws, level: float, contrast: float) -> Field:
    """The same picture with its values, in their order, spread out as `tones` says.

    Level and contrast are the mean and standard deviation that come out, nearly; the curve is bent
    a little at random.  All classes of a dataset share `tones` and the ranges that level and contrast
    are drawn from: neither a mean colour nor a histogram can tell them apart.
    """
    curve = level + contrast * (np.asarray(tones) + draws.spread(-0.1, 0.1, len(tones)))
    curve = np.maximum.accumulate(curve)
    shares = (np.arange(field.size, dtype=np.float64) + 0.5) / field.size
    part = np.searchsorted(SHARES, shares, side="right") - 1
    steps = (curve[1:] - curve[:-1]) / (SHARES[1:] - SHARES[:-1])
    values = curve[part] + steps[part] * (shares - SHARES[part])
    coarse = np.rint(np.clip((field.ravel() + 1) * 2.0**14, 0, 2**16 - 1)).astype(np.uint16)
    developed = np.empty(field.size)
    developed[np.argsort(coarse, kind="stable")] = values
    return developed.reshape(field.shape)


def fill(colour: Colour) -> Field:
    """An image [3, SIDE, SIDE] of one colour."""
    return np.zeros((3, SIDE, SIDE)) + np.asarray(colour, dtype=np.float64)[:, None, None]


def mix(below: Field, colour: Colour, cover: Field) -> Field:
    """An image [3, SIDE, SIDE] painted over with a colour where `cover` [SIDE, SIDE] is 1."""
    return below + (np.asarray(colour, dtype=np.float64)[:, None, None] - below) * cover


def finish(field: Field, grain: float, draws: Draws) -> Pixels:
    """Values in [0, 1] and noise of at most `grain` as uint8; channels last."""
    noise = draws.uniform(*field.shape) + draws.uniform(*field.shape) - 1
    levels = np.rint(np.clip(field + grain * noise, 0, 1) * 255).astype(np.uint8)
    return levels if levels.ndim < COLOUR else np.ascontiguousarray(levels.transpose(1, 2, 0))
