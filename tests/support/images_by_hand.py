"""Image files that tests make themselves."""

import io

import numpy as np
from PIL import Image


def jpeg(number):
    """A JPEG file of noise, 20 x 24, another for every number."""
    pixels = np.random.default_rng(number).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()
