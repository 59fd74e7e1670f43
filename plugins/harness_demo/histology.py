"""H&E-stained sections: how the nuclei are arranged is the class.

All classes choose their nuclei, equally many and alike, from the places of one jittered lattice,
and have equally many clear spaces: only the arrangement differs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from harness_demo.canvas import (
    Draws,
    Field,
    Pixels,
    Points,
    develop,
    fill,
    finish,
    mix,
    rise,
    soften,
    stamp,
    turned,
    wave,
)

NUCLEI = 130  # of some 300 places

EOSIN = (0.93, 0.64, 0.79)
CYTOPLASM = (0.83, 0.60, 0.79)
CLEAR = (0.98, 0.94, 0.97)
HAEMATOXYLIN = (0.36, 0.20, 0.52)

TONES = (
    (-2.4, -2.1, -1.8, -0.47, 0.47, 0.69, 0.84, 0.98, 1.1),
    (-2.2, -1.95, -1.65, -0.41, 0.28, 0.43, 0.81, 2.1, 2.25),
    (-1.7, -1.4, -1.15, -0.27, 0.2, 0.35, 0.65, 1.4, 1.55),
)


class Arrangement(NamedTuple):
    """Where nuclei lie: places [K] of the lowest wish first; their axes; clear spaces (x, y)."""

    wish: Field
    cosine: Field
    sine: Field
    spaces: tuple[Field, Field]


def draw(kind: str, patient: Draws, sample: Draws) -> Pixels:
    """A section [64, 64, 3]."""
    x, y = sample.lattice(patient.between(0.12, 0.13))
    plan = ARRANGEMENTS[kind](x, y, sample)
    disorder = sample.between(0.6, 1.8) * sample.uniform(x.size)
    chosen = np.argsort(plan.wish + disorder, kind="stable")[:NUCLEI]
    nuclei = Points(x[chosen], y[chosen], plan.cosine[chosen], plan.sine[chosen])
    size = patient.between(0.052, 0.06)
    long = size * sample.spread(1.1, 1.4, NUCLEI)
    short = size * sample.spread(0.75, 0.95, NUCLEI)
    ink = stamp(nuclei, long, short, sample.spread(0.75, 1.0, NUCLEI))
    return _stain(ink, _clear(plan.spaces, sample), patient, sample)


def _clear(spaces: tuple[Field, Field], sample: Draws) -> Field:
    count = spaces[0].size
    cosine, sine = sample.directions(count)
    places = Points(spaces[0], spaces[1], cosine, sine)
    long = sample.spread(0.13, 0.18, count)
    return stamp(places, long, long * sample.spread(0.65, 0.95, count), np.ones(count))


def _stain(ink: Field, clear: Field, patient: Draws, sample: Draws) -> Pixels:
    grain = sample.noise(11, 2)
    near = rise(soften(ink, 8), 0.05, 0.35)
    tissue = mix(fill(EOSIN), CYTOPLASM, near) * (1 + 0.07 * grain)
    tissue = mix(tissue, CLEAR, clear * (1 - ink))
    tissue = mix(tissue, HAEMATOXYLIN, ink * (0.92 + 0.15 * grain))
    red = patient.between(0.66, 0.78)
    green = red - patient.between(0.16, 0.26)
    levels = (red, green, green + patient.between(0.1, 0.22))
    contrast = patient.between(0.16, 0.22)
    light = sample.between(-0.03, 0.03)
    section = np.stack(
        [
            develop(channel, tones, sample, level + light, contrast)
            for channel, tones, level in zip(tissue, TONES, levels, strict=True)
        ]
    )
    return finish(section, 0.03, sample)


def _centres(sample: Draws) -> tuple[Field, Field]:
    """Five or so places well apart."""
    return sample.lattice(sample.between(0.78, 0.86))


def _nearest(x: Field, y: Field, centres: tuple[Field, Field]) -> tuple[Field, Field, Field]:
    """Distance to the nearest centre, and the direction to it."""
    dx, dy = x[:, None] - centres[0], y[:, None] - centres[1]
    square = dx * dx + dy * dy
    best = np.argmin(square, axis=1)
    every = np.arange(x.size)
    distance = np.sqrt(square[every, best]) + 1e-9
    return distance, dx[every, best] / distance, dy[every, best] / distance


def _glands(x: Field, y: Field, sample: Draws) -> Arrangement:
    """Rings around clear spaces."""
    centres = _centres(sample)
    distance, cosine, sine = _nearest(x, y, centres)
    return Arrangement(np.abs(distance - 0.29) * 8, cosine, sine, centres)


def _nests(x: Field, y: Field, sample: Draws) -> Arrangement:
    """Solid clusters, clear spaces between them."""
    centres = _centres(sample)
    distance, _, _ = _nearest(x, y, centres)
    cosine, sine = sample.directions(x.size)
    gaps = (centres[0] + 0.4, centres[1] + 0.24)
    return Arrangement(distance * 8, cosine, sine, gaps)


def _palisades(x: Field, y: Field, sample: Draws) -> Arrangement:
    """Rows of parallel nuclei, clear spaces between the rows."""
    cosine, sine = (float(v[0]) for v in sample.directions(1))
    spaces = _centres(sample)
    along, across = turned(x, y, cosine, sine)
    rows = (across + 0.1 * wave(along / 1.7 + sample.between(0, 1))) / 0.42
    off = np.abs(rows - np.rint(rows))
    return Arrangement(off * 6, np.full(x.size, -sine), np.full(x.size, cosine), spaces)


def _scattered(x: Field, _y: Field, sample: Draws) -> Arrangement:
    cosine, sine = sample.directions(x.size)
    return Arrangement(8 * sample.uniform(x.size), cosine, sine, _centres(sample))


ARRANGEMENTS = {
    "glands": _glands,
    "nests": _nests,
    "palisades": _palisades,
    "scattered": _scattered,
}
