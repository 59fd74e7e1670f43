"""Dermoscopy: a pigmented lesion on skin; its pattern and border are the class."""

from __future__ import annotations

import numpy as np

from harness_demo.canvas import (
    SIDE,
    Draws,
    Field,
    Pixels,
    Points,
    X,
    Y,
    develop,
    fill,
    finish,
    mix,
    rise,
    square_distance,
    stamp,
    turned,
    wave,
)

BROWN = (0.46, 0.27, 0.18)
DARK = (0.20, 0.11, 0.09)
BLUE = (0.42, 0.40, 0.46)
HAIR = (0.16, 0.10, 0.08)
WHITE = (0.97, 0.96, 0.94)

TONES = (-3.1, -2.55, -1.7, -0.48, 0.56, 0.67, 0.72, 0.78, 1.9)


def draw(kind: str, patient: Draws, sample: Draws) -> Pixels:
    """A picture [64, 64, 3]."""
    cosine, sine = (float(v[0]) for v in sample.directions(1))
    centre = sample.spread(-0.18, 0.18, 2)
    x, y = turned(X - float(centre[0]), Y - float(centre[1]), cosine, sine)
    size, oval = sample.between(0.64, 0.84), patient.between(0.75, 1)
    away = np.sqrt(square_distance(x, y / oval, (0, 0), size))
    skin = _skin(patient, sample)
    lesion = LESIONS[kind](skin, x, y, away, sample)
    return _picture(lesion, patient, sample)


def _skin(patient: Draws, sample: Draws) -> Field:
    tone = patient.between(-0.04, 0.05)
    base = (0.86 + tone, 0.66 + tone + patient.between(-0.04, 0.04), 0.57 + tone)
    return fill(base) * (1 + 0.06 * sample.noise(5, 3))


def _network(skin: Field, x: Field, y: Field, away: Field, sample: Draws) -> Field:
    """A honeycomb of dark lines that fades at the border."""
    inside = _smooth_border(away, sample)
    lines = _honeycomb(x, y, sample)
    skin = mix(skin, BROWN, inside * _ground(sample))
    return mix(skin, DARK, inside * lines * sample.between(0.5, 0.8))


def _globules(skin: Field, _x: Field, _y: Field, away: Field, sample: Draws) -> Field:
    """Round dark clods on a lighter ground."""
    inside = _smooth_border(away, sample)
    dots = _clods(sample)
    skin = mix(skin, BROWN, inside * _ground(sample))
    return mix(skin, DARK, inside * dots * sample.between(0.6, 0.9))


def _irregular(skin: Field, x: Field, y: Field, away: Field, sample: Draws) -> Field:
    """A ragged border, blotches, a blue-grey veil; sometimes remains of one of the patterns."""
    ragged = away + 0.5 * sample.noise(7, 2) + 0.2 * sample.noise(3)
    inside = rise(ragged, 1.06, 0.86)
    pattern = _honeycomb(x, y, sample) if sample.chance(0.5) else _clods(sample)
    part = rise(sample.noise(3), 0.1, 0.5)
    skin = mix(skin, BROWN, inside * _ground(sample))
    skin = mix(skin, DARK, inside * pattern * part * sample.between(0.0, 0.5))
    blotch = rise(sample.noise(3.5, 3) + 0.3 * x, -0.3, 0.35)
    skin = mix(skin, DARK, inside * blotch * sample.between(0.55, 0.8))
    veil = rise(sample.noise(3, 2), 0.1, 0.6)
    return mix(skin, BLUE, inside * veil * sample.between(0.3, 0.6))


def _smooth_border(away: Field, sample: Draws) -> Field:
    return rise(away + 0.28 * sample.noise(4, 2), 1.08, 0.82)


def _ground(sample: Draws) -> Field:
    return sample.between(0.45, 0.6) * (1 + 0.45 * sample.noise(4, 3))


def _honeycomb(x: Field, y: Field, sample: Draws) -> Field:
    """Dark lines around round holes: three waves at 60 degrees."""
    scale = sample.between(0.2, 0.26)
    u, v = x / scale + 0.5 * sample.noise(5), y / scale + 0.5 * sample.noise(5)
    slant = -0.5 * u + 0.866 * v
    holes = wave(u + 0.25) + wave(slant + 0.25) + wave(0.25 - u - slant)
    return rise(holes, 0.6, -0.9)


def _clods(sample: Draws) -> Field:
    across, down = sample.lattice(sample.between(0.2, 0.26))
    cosine, sine = sample.directions(across.size)
    long = sample.spread(0.05, 0.095, across.size)
    short = long * sample.spread(0.75, 1, across.size)
    return stamp(
        Points(across, down, cosine, sine), long, short, sample.spread(0.5, 1, across.size)
    )


LESIONS = {"network": _network, "globules": _globules, "irregular": _irregular}


def _picture(skin: Field, patient: Draws, sample: Draws) -> Pixels:
    """Hair, ruler, bubbles, light: what has nothing to do with the lesion."""
    skin = mix(skin, HAIR, 0.85 * _hairs(sample))
    if sample.chance(0.3):
        skin = mix(skin, HAIR, 0.8 * _ruler(sample))
    bubbles = sample.spread(-1, 1, 2, 3)
    cosine, sine = sample.directions(3)
    radius = sample.spread(0.02, 0.05, 3)
    gleam = stamp(Points(bubbles[0], bubbles[1], cosine, sine), radius, radius, np.full(3, 0.7))
    skin = mix(skin, WHITE, gleam)
    light = sample.between(-0.05, 0.05)
    contrast = sample.between(0.12, 0.175)
    red = patient.between(0.68, 0.8)
    green = red - patient.between(0.14, 0.22)
    levels = (red, green, green - patient.between(0.02, 0.1))
    skin = np.stack(
        [
            develop(channel, TONES, sample, level + light, contrast)
            for channel, level in zip(skin, levels, strict=True)
        ]
    )
    corner = sample.between(1.05, 1.6)
    tube = rise(np.sqrt(X * X + Y * Y), corner + 0.06, corner - 0.06)
    return finish(skin * tube, 0.025, sample)


def _hairs(sample: Draws) -> Field:
    ink = np.zeros((SIDE, SIDE))
    for _ in range(sample.whole(0, 4)):
        cosine, sine = (float(v[0]) for v in sample.directions(1))
        along, across = turned(X, Y, cosine, sine)
        root = sample.between(-1.2, 0.5)
        bend, off = sample.between(-0.35, 0.35), sample.between(-0.9, 0.9)
        line = rise(np.abs(across - off - bend * along * along), 0.035, 0.008)
        reach = rise(np.abs(along - root), sample.between(0.4, 1.2), 0.3)
        ink = np.maximum(ink, line * reach)
    return ink


def _ruler(sample: Draws) -> Field:
    """Millimetre marks along an edge."""
    along, edge = (X, Y) if sample.chance(0.5) else (Y, X)
    edge = edge * sample.side()
    tick = (along + sample.between(0, 1)) / 0.16
    marks = rise(np.abs(tick - np.rint(tick)), 0.17, 0.07)
    long = np.where(np.rint(tick) % 5 == 0, 0.78, 0.88)
    return marks * rise(edge, long - 0.02, long + 0.02)
