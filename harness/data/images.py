"""Image files to pixels: RGB, upright, eight bits; then the transform every network sees.

Many of them become array files (`write_arrays`), by all cores, a few images at a time in memory.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

from harness.data.pixels import dicom
from harness.errors import DataError
from harness.utils.parallel import in_order

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

ORIENTATION = 0x0112  # the EXIF tag
RGB = 3  # torchvision's number for "give me RGB"
FULL_RANGE = {"I;16": 65535, "I;16L": 65535, "I;16B": 65535, "I;16N": 65535}

Source = bytes | Path | dicom.WindowedFile
Fetch = Callable[[range], Sequence[Source]]
Progress = Callable[[int, int], None]
Transform: TypeAlias = "Callable[[np.ndarray], np.ndarray]"

CHUNK = 8  # images a thread takes at a time


@dataclass(frozen=True)
class Output:
    """A new `.npy` file of uint8, a row an image.

    Attributes:
        path: the file; it must not be there.
        shape: of a row.
        transform: uint8 [3, *, *] -> uint8 of that shape.
    """

    path: Path
    shape: tuple[int, int, int]
    transform: Transform


def read(source: Source) -> np.ndarray:
    """Pixels of an image file, uint8 [3, H, W] (not always contiguous), RGB, upright.

    Grey becomes three equal channels; an alpha channel is dropped; palettes and CMYK are converted
    as Pillow does; of several frames the first is taken; EXIF orientation is applied.  More than
    eight bits are scaled linearly and never clipped: 16-bit integers by 1/257 (0 to 65535 is the
    full range, whatever the image uses of it); 32-bit integers and floats by the smallest of the
    ranges 0 to 1 (floats only), 0 to 255 (floats only), 0 to 65535 that holds all values, else by
    the image's own minimum and maximum.

    DICOM files are read by `dicom.decode`.

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

    if dicom.is_dicom(data):
        return dicom.decode(data)
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


def write_arrays(
    outputs: Sequence[Output], count: int, fetch: Fetch, progress: Progress | None = None
) -> dict[int, str]:
    """Decode `count` images once, into one file or several; the bad rows and why.

    Threads, not processes: the decoders and the resize work without Python's lock, and a process
    would hold another copy of torch.

    Args:
        outputs: what to make of each image.
        count: how many there are.
        fetch: a run of row numbers -> their image files, or the bytes of them; called in this
            thread, in order.
        progress: called with (images done, images in all).

    Raises:
        DataError: `fetch` failed to read its source.
        OSError: a file cannot be written.
    """
    bad: dict[int, str] = {}
    done = 0
    # Written, not memory-mapped: a full disk is then an error and not a signal that kills.
    with (
        ExitStack() as opened,
        _single_threads() as start,
        closing(
            in_order(partial(_decode, outputs=outputs), chunks(count, fetch), start=start)
        ) as results,
    ):
        files = [opened.enter_context(_new_file(output, count)) for output in outputs]
        for arrays, reasons in results:
            for file, pixels in zip(files, arrays, strict=True):
                file.write(pixels.data)
            bad |= {done + row: reason for row, reason in reasons.items()}
            done += len(arrays[0])
            if progress is not None:
                progress(done, count)
    return bad


def reorder(path: Path, order: Sequence[int]) -> None:
    """Put the rows of a `.npy` file in another order, in place and a row at a time in memory.

    Args:
        path: a file of `write_arrays`.
        order: for each row of the new order its row in the old one; each occurs once.

    Raises:
        OSError: the file cannot be read or written.
    """
    import numpy as np

    with path.open("r+b") as file:
        np.lib.format.read_magic(file)
        shape, _, _ = np.lib.format.read_array_header_1_0(file)
        first, size = file.tell(), int(np.prod(shape[1:]))

        def read(row: int) -> bytes:
            file.seek(first + row * size)
            return file.read(size)

        def write(row: int, content: bytes) -> None:
            file.seek(first + row * size)
            file.write(content)

        moved = bytearray(len(order))
        for start in range(len(order)):
            if not moved[start]:
                _cycle(order, start, moved, read, write)
        file.flush()
        os.fsync(file.fileno())


def chunks(count: int, fetch: Fetch) -> Iterator[Sequence[Source]]:
    """`count` image files, or their bytes, a few at a time.

    Raises:
        DataError: `fetch` failed to read its source.
    """
    for first in range(0, count, CHUNK):
        try:
            sources = fetch(range(first, min(first + CHUNK, count)))
        except OSError as error:
            raise DataError(f"the images cannot be read from their tables: {error}") from error
        yield sources


def _is_plain_jpeg(image: Image.Image) -> bool:
    """True if torchvision decodes it to the same pixels as Pillow does: not CMYK, not turned."""
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


@contextmanager
def _new_file(output: Output, count: int) -> Iterator[BinaryIO]:
    import numpy as np

    with output.path.open("xb") as file:
        shape = (count, *output.shape)
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        yield file
        file.flush()
        os.fsync(file.fileno())


def _cycle(
    order: Sequence[int],
    start: int,
    moved: bytearray,
    read: Callable[[int], bytes],
    write: Callable[[int, bytes], None],
) -> None:
    """Move the rows that take each other's places, from `start` round to it."""
    row, held = start, read(start)
    while order[row] != start:
        write(row, read(order[row]))
        moved[row] = True
        row = order[row]
    write(row, held)
    moved[row] = True


def _decode(
    sources: Sequence[Source], outputs: Sequence[Output]
) -> tuple[list[np.ndarray], dict[int, str]]:
    """For each output uint8 [len(sources), *shape], zero where an image is bad; and why it is."""
    import numpy as np

    arrays = [np.zeros((len(sources), *output.shape), dtype=np.uint8) for output in outputs]
    bad: dict[int, str] = {}
    for row, source in enumerate(sources):
        try:
            image = decode(source if isinstance(source, bytes) else source.read_bytes())
        except OSError as error:
            bad[row] = f"cannot be read: {error.strerror}"
        except DataError as error:
            bad[row] = str(error)
        else:
            for pixels, output in zip(arrays, outputs, strict=True):
                pixels[row] = output.transform(image)
    return arrays, bad


@contextmanager
def _single_threads() -> Iterator[Callable[[], None]]:
    """Give the function by which a new thread does torch's work alone: the images are in parallel.

    torch keeps the number for threads to come, so that it is put back.
    """
    import torch

    threads = torch.get_num_threads()
    try:
        yield partial(torch.set_num_threads, 1)
    finally:
        torch.set_num_threads(threads)
