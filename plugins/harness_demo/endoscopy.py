"""Endoscopic surgery: tissue under the scope's light; the instrument in it is the class."""

from __future__ import annotations

import numpy as np

from harness_demo.canvas import (
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

MUCOSA = (0.78, 0.36, 0.30)
PALE = (0.88, 0.56, 0.46)
FAT = (0.90, 0.70, 0.42)
BLOOD = (0.48, 0.10, 0.09)
SHAFT = (0.30, 0.31, 0.34)
STEEL = (0.80, 0.82, 0.86)
GLEAM = (1.0, 0.98, 0.95)

TONES = (
    (-2.9, -2.2, -1.5, -0.5, 0.25, 0.7, 1.05, 1.4, 1.9),
    (-1.9, -1.6, -1.2, -0.7, 0.0, 0.6, 1.2, 2.4, 3.7),
    (-1.8, -1.5, -1.15, -0.65, 0.0, 0.5, 1.1, 2.8, 4.0),
)


def draw(kind: str, patient: Draws, sample: Draws) -> Pixels:
    """A frame [64, 64, 3]."""
    scene = _tissue(patient, sample)
    scene = _instrument(scene, kind, sample)
    if sample.chance(0.25):
        scene = mix(scene, (0.8, 0.78, 0.78), 0.4 * rise(sample.noise(2, 2), -0.1, 0.6))
    offset = sample.spread(-0.06, 0.06, 2)
    away = np.sqrt(square_distance(X, Y, (float(offset[0]), float(offset[1])), 1))
    scene = scene * (1.05 - 0.25 * away * away)
    light, contrast = sample.between(-0.04, 0.04), sample.between(0.13, 0.18)
    red, green = patient.between(0.54, 0.66), patient.between(0.28, 0.38)
    levels = (red, green, green - patient.between(0.02, 0.08))
    rim = patient.between(0.98, 1.18)
    seen = away < rim
    for channel, tones, level in zip(scene, TONES, levels, strict=True):
        channel[seen] = develop(channel[seen], tones, sample, level + light, contrast)
    return finish(scene * rise(away, rim, rim - 0.05), 0.025, sample)


def _tissue(patient: Draws, sample: Draws) -> Field:
    relief = sample.noise(3, 2)
    folds = wave(1.2 * relief + 0.6 * (X * sample.between(-1, 1) + Y * sample.between(-1, 1)))
    tissue = mix(fill(MUCOSA), PALE, 0.7 * rise(relief, -0.2, 0.5))
    fat = rise(sample.noise(2.5, 3), patient.between(0.05, 0.3), 0.5)
    tissue = mix(tissue, FAT, fat * patient.between(0.4, 0.95))
    vessels = rise(np.abs(sample.noise(4, 3)), 0.05, 0.01) * rise(sample.noise(3), -0.3, 0.2)
    tissue = mix(tissue, BLOOD, 0.6 * vessels)
    tissue = mix(tissue, BLOOD, 0.75 * rise(sample.noise(2.5, 2), 0.4, 0.55))
    tissue = tissue * (1 + 0.16 * folds)
    places = sample.spread(-0.9, 0.9, 2, 12)
    cosine, sine = sample.directions(12)
    long = sample.spread(0.025, 0.08, 12)
    wet = stamp(Points(places[0], places[1], cosine, sine), long, 0.5 * long, np.full(12, 0.9))
    return mix(tissue, GLEAM, wet)


def _instrument(scene: Field, kind: str, sample: Draws) -> Field:
    """Shaft and tip, coming in from below at up to 45 degrees, with their shadow."""
    lean, size = sample.between(-1, 1), sample.between(1.25, 1.55)
    length = float(np.sqrt(1 + lean * lean))
    place = sample.spread(-0.2, 0.2, 2)
    x, y = X - float(place[0]), float(place[1]) - Y
    along, across = turned(x, y, lean / length, 1 / length)
    along, across = along / size + 0.3, across / size * sample.side()
    tip = TIPS[kind](along, across, sample)
    shaft = np.maximum(np.abs(across) - 0.15, along - 0.02)
    whole = np.minimum(tip, shaft)
    scene = scene * (1 - 0.45 * rise(whole, 0.16, -0.02))
    scene = mix(scene, SHAFT, rise(shaft, 0.025, -0.02))
    scene = mix(scene, STEEL, rise(tip, 0.025, -0.02))
    gloss = rise(shaft, 0.02, -0.02) * (0.75 * rise(np.abs(across + 0.04), 0.14, 0.0) - 0.5)
    shine = rise(tip, 0.02, -0.02) * (0.28 * wave(across * 2.5 + along) - 0.28)
    lit: Field = scene * (1 + np.where(tip < shaft, shine, gloss))
    return lit


def _grasper(along: Field, across: Field, sample: Draws) -> Field:
    """Two jaws that bow apart and close again at their blunt ends."""
    reach = sample.between(0.55, 0.66)
    part = along / reach
    middle = 0.03 + 0.05 * part + sample.between(0.12, 0.18) * 4 * part * (1 - part)
    jaw = np.abs(np.abs(across) - middle) - 0.06
    return np.maximum(jaw, np.abs(along - reach / 2) - reach / 2)


def _scissors(along: Field, across: Field, sample: Draws) -> Field:
    """Two pointed blades that open from a pivot."""
    reach = sample.between(0.55, 0.66)
    part = along / reach
    middle = sample.between(0.24, 0.34) * part
    blade = np.abs(np.abs(across) - middle) - 0.105 * (1 - part)
    return np.maximum(blade, np.abs(along - reach / 2) - reach / 2)


def _hook(along: Field, across: Field, sample: Draws) -> Field:
    """A rod with its end bent at a right angle."""
    reach, bend = sample.between(0.5, 0.6), sample.between(0.26, 0.34)
    rod = np.maximum(np.abs(across) - 0.07, np.abs(along - reach / 2) - reach / 2)
    foot = np.maximum(np.abs(along - reach) - 0.07, np.abs(across - bend / 2) - bend / 2 - 0.05)
    return np.minimum(rod, foot)


TIPS = {"grasper": _grasper, "hook": _hook, "scissors": _scissors}
