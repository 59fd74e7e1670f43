"""Brain MRI, axial T1 after contrast: the kind of lesion is the class."""

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
    turned,
)

TONES = (-2.6, -2.2, -1.75, -0.5, 0.15, 0.55, 1.15, 1.85, 2.2)


class Head:
    """Anatomy of one patient and the level of the slice."""

    def __init__(self, patient: Draws) -> None:
        self.width = patient.between(0.68, 0.8)
        self.length = patient.between(0.84, 0.94)
        self.skull = patient.between(0.1, 0.14)
        self.ventricle = patient.between(0.7, 1.3)
        self.folds = patient.between(10, 13)
        self.grey = patient.between(0.4, 0.5)
        self.white = self.grey + patient.between(0.14, 0.2)
        self.level = patient.between(0.38, 0.48)  # of the scanner, as is the contrast
        self.contrast = patient.between(0.115, 0.155)


def draw(kind: str, patient: Draws, sample: Draws) -> Pixels:
    """A slice [64, 64]."""
    head = Head(patient)
    tilt = sample.between(-0.2, 0.2)
    length = float(np.sqrt(1 + tilt * tilt))
    x, y = turned(
        X + sample.between(-0.08, 0.08), Y + sample.between(-0.08, 0.08), 1 / length, tilt / length
    )
    bent = 0.03 * sample.noise(4)
    shell = square_distance(x / head.width, (y + 0.06 * x * x) / head.length, (0, 0), 1) + bent
    radius = np.sqrt(np.maximum(shell, 0))
    brain = _brain(x, y, radius, head, sample)
    inner = 1 - head.skull
    slice_ = brain * rise(radius, inner + 0.02, inner - 0.03) + _shell(radius, inner)
    slice_ = LESIONS[kind](slice_, x, y, head, sample)
    coil = 1 + 0.16 * (x * sample.between(-1, 1) + y * sample.between(-1, 1))
    slice_ = slice_ * coil + 0.03 * sample.noise(6, 3)
    inside = radius < inner
    tissue = slice_[inside]
    level = head.level + sample.between(-0.02, 0.02)
    contrast = head.contrast * sample.between(0.92, 1.08)
    slice_[inside] = develop(tissue, TONES, sample, level, contrast)
    slice_[~inside] *= sample.between(0.6, 0.9)
    return finish(slice_, 0.035, sample)


def _shell(radius: Field, inner: float) -> Field:
    """Scalp fat, bright, around dark bone."""
    scalp = rise(radius, 1.03, 0.98) * rise(radius, inner + 0.05, inner + 0.09)
    return 0.85 * scalp + 0.08 * rise(radius, inner + 0.1, inner + 0.06)


def _brain(x: Field, y: Field, radius: Field, head: Head, sample: Draws) -> Field:
    folds = sample.noise(head.folds)
    depth = rise(radius, 0.42, 0.85)
    cortex = rise(depth - 0.9 * np.abs(folds), 0.1, 0.45)
    tissue = head.white + (head.grey - head.white) * cortex
    sulci = rise(np.abs(folds), 0.17, 0.03) * rise(radius, 0.5, 0.72)
    fissure = rise(np.abs(x + 0.02 * folds), 0.04, 0.01) * rise(np.abs(y), 0.3, 0.45)
    basal = bump(square_distance(np.abs(x), y / 1.4, (0.2, 0.02), 0.16))
    tissue = tissue - 0.16 * basal
    fluid = np.maximum(np.maximum(0.8 * sulci, fissure), _ventricles(x, y, head))
    return tissue + (0.1 - tissue) * fluid


def _ventricles(x: Field, y: Field, head: Head) -> Field:
    """Two horns that bend away from the midline before and behind."""
    side = np.abs(x) - 0.06 - 0.55 * y * y
    width = 0.07 * head.ventricle
    horns = rise(np.abs(side), width, width - 0.045) * rise(np.abs(y - 0.02), 0.42, 0.34)
    third = rise(np.abs(x), 0.045, 0.015) * rise(np.abs(y - 0.1), 0.14, 0.08)
    return np.maximum(horns, third)


def _place(head: Head, sample: Draws, reach: float) -> tuple[float, float]:
    cosine, sine = sample.directions(1)
    return (
        float(cosine[0]) * head.width * reach,
        float(sine[0]) * head.length * reach,
    )


def _ring(slice_: Field, x: Field, y: Field, head: Head, sample: Draws) -> Field:
    """A bright, uneven rim around a dark core, in dark swelling: like a glioblastoma."""
    place = _place(head, sample, sample.between(0.4, 0.6))
    rough = 0.35 * sample.noise(7, 2)
    away = square_distance(x, y, place, sample.between(0.22, 0.31)) + rough
    swelling = rise(away, 2.8, 1.2)
    core = rise(away, 1.0, 0.5)
    rim = rise(away, 1.3, 0.95) * rise(away, 0.4, 0.75)
    slice_ = slice_ * (1 - 0.3 * swelling)
    slice_ = slice_ + (0.2 - slice_) * core
    return slice_ + (head.white + 0.2 - slice_) * rim * (0.8 + 0.3 * sample.noise(6))


def _solid(slice_: Field, x: Field, y: Field, head: Head, sample: Draws) -> Field:
    """An even, round, bright mass near the surface, in a thin cleft: like a meningioma."""
    place = _place(head, sample, sample.between(0.5, 0.68))
    away = square_distance(x, y, place, sample.between(0.22, 0.3)) + 0.12 * sample.noise(5)
    inside = head.white + 0.26 + 0.06 * sample.noise(9)
    slice_ = slice_ * (1 - 0.25 * rise(away, 2.0, 1.2))
    return slice_ + (inside - slice_) * rise(away, 1.25, 0.85)


def _plaques(slice_: Field, x: Field, y: Field, head: Head, sample: Draws) -> Field:
    """Six to nine small bright spots in the white matter: like multiple sclerosis."""
    spots = np.zeros_like(x)
    for _ in range(sample.whole(6, 9)):
        place = _place(head, sample, sample.between(0.3, 0.68))
        away = square_distance(x, y, place, sample.between(0.07, 0.11))
        spots = np.maximum(spots, rise(away, 1.25, 0.6))
    return slice_ + (head.white + 0.26 + 0.06 * sample.noise(9) - slice_) * spots


LESIONS = {"plaques": _plaques, "ring-lesion": _ring, "solid-lesion": _solid}
