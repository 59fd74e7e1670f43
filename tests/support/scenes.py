"""Images that are as unlike each other as photographs are, and what becomes of them in copies."""

import io

import numpy as np
from PIL import Image


def scene(number, size=(120, 90)):
    """A picture of soft shapes, its own for every number; a Pillow image."""
    rng = np.random.default_rng([7, number])
    coarse = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    grain = rng.normal(0, 4, (size[1], size[0], 3))
    return Image.fromarray(np.clip(np.asarray(picture) + grain, 0, 255).astype(np.uint8))


def encoded(picture, form="JPEG", **options):
    """The bytes of an image file."""
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def half(picture):
    return picture.resize((picture.width // 2, picture.height // 2))


# What becomes of a picture -> what must be done to the copy to undo it.
TURNS = {
    Image.Transpose.FLIP_LEFT_RIGHT: "mirrored",
    Image.Transpose.FLIP_TOP_BOTTOM: "flipped",
    Image.Transpose.ROTATE_180: "turned by 180 degrees",
    Image.Transpose.TRANSPOSE: "transposed",
    Image.Transpose.ROTATE_90: "turned clockwise",  # Pillow turns the other way
    Image.Transpose.ROTATE_270: "turned anticlockwise",
    Image.Transpose.TRANSVERSE: "transposed and turned by 180 degrees",
}
