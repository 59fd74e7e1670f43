"""Folders of 8 px images as the toy dataset draws them: further test sets."""

import numpy as np
from PIL import Image

CLASSES = ("left", "middle", "right")


def drawn(number, label, seed=0):
    """One image [8, 8, 3], unlike those of the toy dataset and of other seeds."""
    rng = np.random.default_rng([seed, number])
    pixels = rng.integers(0, 90, (8, 8, 3), dtype=np.uint8)
    pixels[2:6, label * 2 : label * 2 + 3] += 120
    return pixels


def ward(folder, each=5, seed=7, classes=CLASSES):
    """`class/NN.png`, `each` of a class; returns the folder."""
    for number in range(each * len(CLASSES)):
        label = number % len(CLASSES)
        if CLASSES[label] in classes:
            place = folder / CLASSES[label]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(drawn(number, label, seed)).save(place / f"{number:02}.png")
    return folder
