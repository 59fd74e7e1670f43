"""One image file to pixels: RGB, upright, eight bits; then the transform every network sees."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

ORIENTATION = 0x0112  # the EXIF tag
RGB = 3  # torchvision's number for "give me RGB"
FULL_RANGE = {"I;16": 65535, "I;16L": 65535, "I;16B": 65535, "I;16N": 65535}


def read(source: bytes | Path) -> np.ndarray:
    """Pixels of an image file, uint8 [3, H, W] (not always contiguous), RGB, upright.

    Grey becomes three equal channels; an alpha channel is dropped; palettes and CMYK are converted
    as Pillow does; of several frames the first is taken; EXIF orientation is applied.  More than
    eight bits are scaled linearly and never clipped: 16-bit integers by 1/257 (0 to 65535 is the
    full range, whatever the image uses of it); 32-bit integers and floats by the smallest of the
    ranges 0 to 1 (floats only), 0 to 255 (floats only), 0 to 65535 that holds all values, else by
    the image's own minimum and maximum.

    Raises:
        DataError: the file cannot be read, or is no image, truncated or corrupt.
    """
    if isinstance(source, bytes):
        return decode(source)
    try:
        return decode(source.read_bytes())
    except OSError as error:
        raise DataError(f"{source} cannot be read: {error.strerror or error}") from error
    except DataError as error:
        raise DataError(f"{source}: {error}") from error


def decode(data: bytes) -> np.ndarray:
    """As `read`, of a file's bytes; the error does not name the file.

    Raises:
        DataError: no image, truncated or corrupt.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as image:
            if _is_plain_jpeg(image):
                pixels = _decode_jpeg(data)
                if pixels is not None:
                    return pixels
            return _pixels(image)
    except UnidentifiedImageError as error:  # its own text holds an address in memory
        raise DataError("cannot be decoded (UnidentifiedImageError: no known format)") from error
    except Exception as error:
        # Decoders raise almost anything on bytes that are not what they should be.
        raise DataError(f"cannot be decoded ({type(error).__name__}: {error})") from error


def resize_crop(image: np.ndarray, resize: int, crop: int) -> np.ndarray:
    """Short side to `resize`, then the centre: uint8 [3, H, W] to contiguous [3, crop, crop].

    torchvision's evaluation transform (bilinear with antialias), done on uint8: ten times as fast
    as on floats, and at most one grey level from them.
    """
    import torch
    from torchvision.transforms.v2 import functional as transform

    resized = transform.resize(torch.from_numpy(image), [resize], antialias=True)
    pixels: np.ndarray = transform.center_crop(resized, [crop, crop]).contiguous().numpy()
    return pixels


def _is_plain_jpeg(image: Image.Image) -> bool:
    """Whether torchvision decodes it to the same pixels as Pillow does: not CMYK, not turned."""
    if image.format != "JPEG" or image.mode not in {"L", "RGB"}:
        return False
    return bool(image.getexif().get(ORIENTATION, 1) == 1)


def _decode_jpeg(data: bytes) -> np.ndarray | None:
    """Decode with torchvision, a third faster than by Pillow; None: Pillow shall judge."""
    import torch
    import torchvision.io  # noqa: F401 - registers the operator

    # The operator itself: its wrapper warns at every call that a later torchvision drops it.
    operator: Any = getattr(torch.ops.image, "decode_jpeg", None)
    if operator is None:
        return None
    try:
        tensor = operator(torch.frombuffer(bytearray(data), dtype=torch.uint8), RGB, False)
    except RuntimeError:
        return None
    pixels: np.ndarray = tensor.numpy()
    return pixels


def _pixels(image: Image.Image) -> np.ndarray:
    import numpy as np
    from PIL import ImageOps

    upright = ImageOps.exif_transpose(image)
    if upright.mode[0] in "IF":
        grey = _scaled(np.array(upright), FULL_RANGE.get(upright.mode))
        return np.broadcast_to(grey, (3, *grey.shape)).copy()
    if upright.mode in {"P", "PA"}:
        upright = upright.convert("RGBA")  # a palette may hold transparent entries
    return np.array(upright.convert("RGB")).transpose(2, 0, 1)


def _scaled(values: np.ndarray, full: int | None) -> np.ndarray:
    """More than eight bits [H, W] to uint8, linearly."""
    import numpy as np

    if not np.isfinite(values).all():
        raise ValueError("some pixels are not finite numbers")
    low, high = (0.0, float(full)) if full else _range(values)
    scale = 255.0 / (high - low) if high > low else 0.0
    scaled: np.ndarray = np.rint((values.astype(np.float64) - low) * scale).astype(np.uint8)
    return scaled


def _range(values: np.ndarray) -> tuple[float, float]:
    """The range that a mode without a full range of its own is taken to span."""
    low, high = float(values.min()), float(values.max())
    ranges = (1.0, 255.0, 65535.0) if values.dtype.kind == "f" else (65535.0,)
    for top in ranges:
        if low >= 0.0 and high <= top:
            return 0.0, top
    return low, high
