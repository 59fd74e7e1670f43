"""Chest X-rays: ribs, lungs, heart shadow; what lies in the lungs is the class."""

from __future__ import annotations

import numpy as np

from harness_demo.canvas import (
    Draws,
    Field,
    Pixels,
    X,
    Y,
    bump,
    develop,
    finish,
    rise,
    square_distance,
    wave,
)

TONES = (-2.1, -1.95, -1.5, -0.85, 0.33, 0.76, 1.14, 1.41, 1.7)


class Chest:
    """Anatomy of one patient, in coordinates of the film."""

    def __init__(self, patient: Draws) -> None:
        self.width = patient.between(0.76, 0.88)  # of the thorax, half
        self.apex = patient.between(-0.9, -0.76)
        self.base = (patient.between(0.42, 0.62), patient.between(0.48, 0.68))
        self.heart = patient.between(0.26, 0.38)
        self.ribs = patient.between(0.165, 0.2)
        self.slope = patient.between(0.25, 0.45)
        self.lift = patient.between(0, 1)
        self.spine = patient.between(0.06, 0.09)
        self.fat = patient.between(0, 1)


def draw(kind: str, patient: Draws, sample: Draws) -> Pixels:
    """A film [64, 64]."""
    chest = Chest(patient)
    scale = sample.between(0.94, 1.06)
    x = (X + 0.0 * Y) * scale + sample.between(-0.07, 0.07) + Y * sample.between(-0.05, 0.05)
    y = (Y + 0.0 * X) * scale + sample.between(-0.07, 0.07)
    lungs = _lungs(x, y, chest)
    # a finding takes a share of the air away
    air = lungs * (1 - FINDINGS[kind](x, y, sample))
    film = _body(x, y, chest) - 0.46 * air
    film = film + _bones(x, y, chest, lungs) + _vessels(x, y, sample) * lungs
    film = film + 0.03 * sample.noise(6, 3)
    level, contrast = sample.between(0.42, 0.58), sample.between(0.17, 0.23)
    return finish(develop(film, TONES, sample, level, contrast), 0.025, sample)


def _lungs(x: Field, y: Field, chest: Chest) -> Field:
    """How much air a ray meets, 0 to 1."""
    outer = chest.width * (1 - 0.42 * bump((y - chest.apex) / 1.1 * ((y - chest.apex) / 1.1)))
    middle = (
        0.12
        + 0.03 * y
        + chest.heart * bump(square_distance(x, y, (0.08, 0.4), 0.75)) * (0.35 + 0.65 * (x > 0))
    )
    side = np.abs(x)
    centre = (outer + middle) / 2
    across = (side - centre) / (outer - middle) * 2
    dome = np.where(x < 0, chest.base[0], chest.base[1]) + 0.9 * (side - 0.34) * (side - 0.34)
    top = chest.apex + 0.5 * (side - 0.36) * (side - 0.36)
    return rise(1 - across * across, 0, 0.3) * rise(dome - y, 0, 0.07) * rise(y - top, 0, 0.16)


def _body(x: Field, y: Field, chest: Chest) -> Field:
    """Soft parts: trunk, neck, mediastinum, heart, liver."""
    shoulders = rise(y + 0.86 - 0.35 * np.abs(x) * np.abs(x), -0.06, 0.05)
    neck = rise(np.abs(x), 0.34, 0.26)
    trunk = rise(np.abs(x), chest.width + 0.3 + 0.1 * chest.fat, chest.width + 0.2)
    body = 0.62 * np.maximum(shoulders * trunk, neck * rise(y, 0.2, -0.2))
    heart = rise(square_distance(x / 1.1, y, (0.13, 0.22), chest.heart + 0.08), 1.25, 0.8)
    knob = bump(square_distance(x, y, (0.14, -0.34), 0.14))
    column = rise(np.abs(x), 0.19, 0.1)
    trachea = rise(np.abs(x - 0.01), 0.06, 0.03) * rise(y, -0.3, -0.45)
    belly = rise(y, chest.base[0] - 0.1, chest.base[0] + 0.3)
    return body + 0.2 * np.maximum(heart, column) + 0.08 * knob - 0.12 * trachea + 0.1 * belly


def _bones(x: Field, y: Field, chest: Chest, lungs: Field) -> Field:
    side = np.abs(x)
    cage = rise(side, chest.width + 0.12, chest.width + 0.02) * rise(side, 0.08, 0.16)
    behind = (y + 0.28 * (side - 0.15) * (side - 0.15) * 4 - chest.slope * side) / chest.ribs
    before = (y + 1.1 * chest.slope * side) / (chest.ribs * 1.15)
    ribs = rise(wave(behind + chest.lift), 0.1, 0.8) * 0.13 + 0.045 * rise(wave(before), 0.3, 0.9)
    ribs = ribs * cage * rise(y, chest.apex - 0.08, chest.apex + 0.1) * (0.5 + 0.5 * lungs)
    clavicle = y - chest.apex - 0.16 + 0.22 * side - 0.1 * side * side
    clavicles = rise(np.abs(clavicle), 0.055, 0.02) * rise(side, 0.1, 0.16) * rise(side, 0.8, 0.7)
    discs = 0.05 * rise(side, chest.spine + 0.03, chest.spine) * (0.6 + 0.4 * wave(y / 0.13))
    return ribs + 0.14 * clavicles + discs


def _vessels(x: Field, y: Field, sample: Draws) -> Field:
    """Branching shadows that fade away from the hila."""
    hilum = bump(square_distance(np.abs(x), y, (0.22, 0.0), 0.55))
    branches = rise(np.abs(sample.noise(9, 2)), 0.16, 0.02)
    return hilum * (0.1 + 0.12 * branches)


def _consolidation(x: Field, y: Field, sample: Draws) -> Field:
    """One large patch with ragged edges and air-filled branches in it."""
    centre = (sample.side() * sample.between(0.3, 0.46), sample.between(-0.35, 0.3))
    away = square_distance(x, y / 1.1, centre, sample.between(0.36, 0.46))
    patch = rise(away + 0.8 * sample.noise(6, 3), 1.2, 0.3)
    return patch * (0.75 + 0.25 * sample.noise(14, 2))


def _nodules(x: Field, y: Field, sample: Draws) -> Field:
    """Two to four round opacities, on both sides."""
    field = np.zeros_like(x)
    side = sample.side()
    for _ in range(sample.whole(2, 4)):
        centre = (side * sample.between(0.24, 0.5), sample.between(-0.5, 0.25))
        ball = rise(square_distance(x, y, centre, sample.between(0.12, 0.17)), 1.25, 0.45)
        field = np.maximum(field, ball * sample.between(0.8, 1))
        side = -side
    return field


def _nothing(x: Field, _y: Field, _sample: Draws) -> Field:
    return np.zeros_like(x)


FINDINGS = {"normal": _nothing, "nodules": _nodules, "consolidation": _consolidation}
