"""The source task of the miniatures: twenty-four kinds of pattern, drawn by a program.

Nothing here is an anatomy: gratings, noise, shapes, counts, lattices, tessellations, curves.  What
tells the classes apart is form; colour, brightness, contrast, direction of contrast, position,
turn, size, shading and noise are drawn at random for every image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]

ZOOM = (-0.2, 0.4)  # log of the scale of the coordinates
WINDOWED = 0.15  # share of images whose pattern shows in an ellipse only
CLUTTERED = 0.3  # share with clouds, specks and arcs that belong to no class
GREY = 0.3  # share on a grey background
SPECKS = 0.5  # share of specks among the clutter, the rest are arcs
CONTRAST = 0.15  # two colours differ at least by this, on average over the channels


@dataclass(frozen=True)
class Canvas:
    """Coordinates of every pixel, turned and shifted at random; the image spans about -1 to 1."""

    x: Plane
    y: Plane
    pixel: float
    rng: np.random.Generator

    def between(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def inside(self, distance: Plane) -> Plane:
        """1 where a signed distance is negative, 0 where positive, one pixel of transition."""
        return np.clip(0.5 - distance / self.pixel, 0, 1)

    def segment(self, start: Plane, end: Plane) -> Plane:
        """Distance of every pixel to a straight piece of line."""
        along = end - start
        length = max(float(along @ along), 1e-6)
        share = ((self.x - start[0]) * along[0] + (self.y - start[1]) * along[1]) / length
        share = np.clip(share, 0, 1)
        return np.hypot(self.x - start[0] - share * along[0], self.y - start[1] - share * along[1])

    def spots(self, count: int, radius: float, apart: float = 1.0) -> list[tuple[float, float]]:
        """Centres that do not touch, at most `count`; some draws fail when it is crowded."""
        found: list[tuple[float, float]] = []
        for _ in range(30 * count):
            spot = (self.between(-0.8, 0.8), self.between(-0.8, 0.8))
            if all(np.hypot(spot[0] - a, spot[1] - b) > 2.2 * radius * apart for a, b in found):
                found.append(spot)
            if len(found) == count:
                break
        return found


def _wave(phase: Plane) -> Plane:
    return (0.5 + 0.5 * np.sin(2 * np.pi * phase)).astype(np.float32)


def _grating(low: float, high: float) -> Callable[[Canvas], Plane]:
    def draw(c: Canvas) -> Plane:
        return _wave(c.x * c.between(low, high) + c.between(0, 1))

    return draw


def _plaid(c: Canvas) -> Plane:
    f = c.between(1.5, 4)
    return _wave(c.x * f + c.between(0, 1)) * _wave(c.y * f + c.between(0, 1))


def _chequers(c: Canvas) -> Plane:
    f, p, q = c.between(1.2, 3), c.between(0, 1), c.between(0, 1)
    product = np.sin(np.pi * (f * c.x + p)) * np.sin(np.pi * (f * c.y + q))
    return np.clip(0.5 + 4 * product, 0, 1)


def _bricks(c: Canvas) -> Plane:
    rows, joint = c.between(2, 4), c.between(0.06, 0.14)
    y = c.y * rows + c.between(0, 1)
    x = c.x * rows / 2 + 0.5 * (np.floor(y) % 2) + c.between(0, 1)
    edge = np.minimum(np.minimum(y % 1, 1 - y % 1), 2 * np.minimum(x % 1, 1 - x % 1))
    return c.inside((joint - edge) / rows)


def _zigzag(c: Canvas) -> Plane:
    f, teeth = c.between(1.5, 3.5), c.between(1.0, 2.5)
    fold = np.abs((c.x * teeth + c.between(0, 1)) % 1 - 0.5)
    return _wave(f * (c.y + fold * c.between(0.8, 1.6) / teeth) + c.between(0, 1))


def _waves(c: Canvas) -> Plane:
    bend = c.between(0.12, 0.3) * np.sin(c.between(2.5, 6) * c.x + c.between(0, 6))
    return _wave(c.between(1.5, 4) * (c.y + bend) + c.between(0, 1))


def _rings(c: Canvas) -> Plane:
    return _wave(np.hypot(c.x, c.y) * c.between(1.8, 4.5) + c.between(0, 1))


def _spokes(c: Canvas) -> Plane:
    return _wave(np.arctan2(c.y, c.x) / (2 * np.pi) * c.rng.integers(4, 12) + c.between(0, 1))


def _spiral(c: Canvas) -> Plane:
    turn = np.arctan2(c.y, c.x) / (2 * np.pi) * c.rng.choice([-3, -2, -1, 1, 2, 3])
    return _wave(turn + np.hypot(c.x, c.y) * c.between(1.5, 3.5))


def _discs(low: int, high: int, radius: tuple[float, float]) -> Callable[[Canvas], Plane]:
    def draw(c: Canvas) -> Plane:
        size = c.between(*radius)
        mask = np.zeros_like(c.x)
        for a, b in c.spots(int(c.rng.integers(low, high + 1)), size):
            grown = size * c.between(0.75, 1.1)
            mask = np.maximum(mask, c.inside(np.hypot(c.x - a, c.y - b) - grown))
        return mask

    return draw


def _circles(c: Canvas) -> Plane:
    radius, width = c.between(0.22, 0.42), c.between(0.04, 0.09)
    mask = np.zeros_like(c.x)
    for a, b in c.spots(int(c.rng.integers(2, 6)), radius, 0.8):
        ring = np.abs(np.hypot(c.x - a, c.y - b) - radius * c.between(0.7, 1.1)) - width
        mask = np.maximum(mask, c.inside(ring))
    return mask


def _polygons(corners: int) -> Callable[[Canvas], Plane]:
    def draw(c: Canvas) -> Plane:
        size = c.between(0.22, 0.42)
        mask = np.zeros_like(c.x)
        for a, b in c.spots(int(c.rng.integers(1, 6)), size):
            turn = c.between(0, 2 * np.pi)
            sides = [turn + 2 * np.pi * k / corners for k in range(corners)]
            distance = np.max(
                [(c.x - a) * np.cos(s) + (c.y - b) * np.sin(s) for s in sides], axis=0
            )
            mask = np.maximum(mask, c.inside(distance - size * np.cos(np.pi / corners)))
        return mask

    return draw


def _crosses(c: Canvas) -> Plane:
    size, width = c.between(0.25, 0.45), c.between(0.05, 0.1)
    mask = np.zeros_like(c.x)
    for a, b in c.spots(int(c.rng.integers(1, 6)), size, 0.9):
        turn = c.between(0, np.pi)
        u = np.abs((c.x - a) * np.cos(turn) + (c.y - b) * np.sin(turn))
        v = np.abs((c.y - b) * np.cos(turn) - (c.x - a) * np.sin(turn))
        arms = np.minimum(np.maximum(u - size, v - width), np.maximum(v - size, u - width))
        mask = np.maximum(mask, c.inside(arms))
    return mask


def _lattice(c: Canvas) -> Plane:
    """Dots on a regular grid, square or staggered."""
    step, size = c.between(0.28, 0.55), c.between(0.22, 0.36)
    y = c.y / step + c.between(0, 1)
    x = c.x / step + 0.5 * c.rng.integers(0, 2) * (np.floor(y) % 2) + c.between(0, 1)
    return c.inside(step * (np.hypot(x % 1 - 0.5, y % 1 - 0.5) - size))


def _cells(c: Canvas) -> Plane:
    """The borders of a Voronoi tessellation."""
    seeds = c.rng.uniform(-1.5, 1.5, (int(c.rng.integers(14, 36)), 2))
    away = np.hypot(c.x[..., None] - seeds[:, 0], c.y[..., None] - seeds[:, 1])
    nearest = np.partition(away, 1, axis=-1)
    return c.inside((nearest[..., 1] - nearest[..., 0]).astype(np.float32) - c.between(0.05, 0.1))


def _patches(c: Canvas) -> Plane:
    """A Voronoi tessellation whose cells differ in tone and have no borders."""
    seeds = c.rng.uniform(-1.5, 1.5, (int(c.rng.integers(14, 36)), 2))
    away = np.hypot(c.x[..., None] - seeds[:, 0], c.y[..., None] - seeds[:, 1])
    tones = c.rng.uniform(0, 1, len(seeds)).astype(np.float32)
    return tones[np.argmin(away, axis=-1)]


def _branches(c: Canvas) -> Plane:
    """A tree of straight pieces that fork and taper."""
    mask = np.zeros_like(c.x)
    ends = [(np.array([c.between(-0.5, 0.5), -1.2]), np.pi / 2, c.between(0.06, 0.1))]
    for _ in range(4):
        grown = []
        for start, heading, width in ends:
            length = c.between(0.35, 0.65)
            end = start + length * np.array([np.cos(heading), np.sin(heading)])
            mask = np.maximum(mask, c.inside(c.segment(start, end) - width))
            fork = c.between(0.3, 0.7)
            grown += [(end, heading + fork, width * 0.75), (end, heading - fork, width * 0.75)]
        ends = grown
    return mask


def _sticks(c: Canvas) -> Plane:
    mask = np.zeros_like(c.x)
    for _ in range(int(c.rng.integers(5, 14))):
        start, end = c.rng.uniform(-1.1, 1.1, (2, 2))
        mask = np.maximum(mask, c.inside(c.segment(start, end) - c.between(0.03, 0.06)))
    return mask


def _noise(low: float, high: float, stretch: float = 1.0) -> Callable[[Canvas], Plane]:
    """Noise of a band of frequencies (cycles an image), longer in one direction by `stretch`."""

    def draw(c: Canvas) -> Plane:
        side = c.x.shape[0]
        turn = c.between(0, np.pi)
        fy, fx = np.meshgrid(*[np.fft.fftfreq(side, 1 / side)] * 2, indexing="ij")
        u = fx * np.cos(turn) + fy * np.sin(turn)
        v = fy * np.cos(turn) - fx * np.sin(turn)
        band = np.hypot(u * stretch, v)
        weight = np.exp(-(((band - c.between(low, high)) / (0.25 * high)) ** 2))
        field = np.fft.ifft2(np.fft.fft2(c.rng.normal(size=(side, side))) * weight).real
        return np.clip(0.5 + 0.25 * field / field.std(), 0, 1).astype(np.float32)

    return draw


CLASSES: dict[str, Callable[[Canvas], Plane]] = {
    "grating-coarse": _grating(0.7, 1.6),
    "grating-fine": _grating(3.2, 6.0),
    "plaid": _plaid,
    "chequers": _chequers,
    "bricks": _bricks,
    "zigzag": _zigzag,
    "waves": _waves,
    "rings": _rings,
    "spokes": _spokes,
    "spiral": _spiral,
    "discs-few": _discs(1, 3, (0.2, 0.42)),
    "discs-many": _discs(9, 16, (0.14, 0.2)),
    "circles": _circles,
    "triangles": _polygons(3),
    "squares": _polygons(4),
    "crosses": _crosses,
    "lattice": _lattice,
    "cells": _cells,
    "patches": _patches,
    "branches": _branches,
    "sticks": _sticks,
    "noise-coarse": _noise(2, 4),
    "noise-fine": _noise(9, 14),
    "streaks": _noise(5, 9, stretch=0.2),
}


def draw(kind: str, side: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """One image of a class, uint8 [3, side, side]."""
    line = np.linspace(-1, 1, side, dtype=np.float32)
    y, x = np.meshgrid(line, line, indexing="ij")
    turn, scale = rng.uniform(0, 2 * np.pi), np.exp(rng.uniform(*ZOOM))
    a, b = rng.uniform(-0.25, 0.25, 2)
    turned = (
        ((x - a) * np.cos(turn) + (y - b) * np.sin(turn)) * scale,
        ((y - b) * np.cos(turn) - (x - a) * np.sin(turn)) * scale,
    )
    canvas = Canvas(*(t.astype(np.float32) for t in turned), 2 * scale / side, rng)
    mask = CLASSES[kind](canvas)
    if rng.random() < WINDOWED:
        mask = mask * _window(x, y, rng)
    return _coloured(mask, x, y, rng)


def _window(x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    """An ellipse with a soft edge, outside of which the pattern is not seen."""
    turn, soft = rng.uniform(0, np.pi), rng.uniform(0.05, 0.3)
    a, b = rng.uniform(-0.3, 0.3, 2)
    u = (x - a) * np.cos(turn) + (y - b) * np.sin(turn)
    v = (y - b) * np.cos(turn) - (x - a) * np.sin(turn)
    distance = np.hypot(u / rng.uniform(0.6, 1.0), v / rng.uniform(0.5, 0.8)) - 1
    return np.clip(0.5 - distance / soft, 0, 1).astype(np.float32)


def _clouds(side: int, rng: np.random.Generator) -> Plane:
    """Smooth noise between -1 and 1, about."""
    f = np.hypot(*np.meshgrid(*[np.fft.fftfreq(side, 1 / side)] * 2, indexing="ij"))
    weight = np.exp(-((f / rng.uniform(1.5, 4)) ** 2))
    weight[0, 0] = 0
    field = np.fft.ifft2(np.fft.fft2(rng.normal(size=(side, side))) * weight).real
    return (field / (2 * field.std())).astype(np.float32)


def _hairs(x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    """A few specks and thin arcs that belong to no class."""
    mask = np.zeros_like(x)
    pixel = 2 / x.shape[0]
    for _ in range(int(rng.integers(0, 4))):
        a, b = rng.uniform(-1, 1, 2)
        if rng.random() < SPECKS:
            distance = np.hypot(x - a, y - b) - rng.uniform(0.02, 0.08)
        else:
            radius, turn = rng.uniform(0.8, 3), rng.uniform(0, 2 * np.pi)
            away = np.hypot(x - a - radius * np.cos(turn), y - b - radius * np.sin(turn))
            distance = np.abs(away - radius) - 0.02
        mask = np.maximum(mask, np.clip(0.5 - distance / pixel, 0, 1))
    return mask


def _coloured(mask: Plane, x: Plane, y: Plane, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Two random colours that differ enough, clouds, clutter, uneven light, noise."""
    back = rng.uniform(0, 1, 3)
    if rng.random() < GREY:
        back[:] = back.mean()
    change = rng.normal(size=3) * rng.uniform(0, 0.6) + rng.choice([-1, 1]) * rng.uniform(0.6, 1)
    change *= rng.uniform(0.2, 0.7) / np.abs(change).mean()
    front = np.clip(back + change, 0, 1)
    if np.abs(front - back).mean() < CONTRAST:
        front = back + 0.35 * np.sign(0.5 - back.mean())
    image = back[:, None, None] + (front - back)[:, None, None] * mask
    if rng.random() < CLUTTERED:
        image = image + rng.uniform(0, 0.15, 3)[:, None, None] * _clouds(len(x), rng)
        colour = rng.uniform(0, 1, 3)[:, None, None]
        image = image + (colour - image) * _hairs(x, y, rng)
    turn = rng.uniform(0, 2 * np.pi)
    light = 1 + rng.uniform(0, 0.35) * (x * np.cos(turn) + y * np.sin(turn))
    noise = rng.normal(0, rng.uniform(0.005, 0.06), image.shape)
    return (np.clip(image * light + noise, 0, 1) * 255).round().astype(np.uint8)


def sample(per_class: int, side: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images uint8 [N, 3, side, side] and class numbers int64 [N], `per_class` of each class."""
    images, labels = [], []
    for number, kind in enumerate(CLASSES):
        rng = np.random.default_rng([seed, number])
        images += [draw(kind, side, rng) for _ in range(per_class)]
        labels += [number] * per_class
    return np.stack(images), np.array(labels)
