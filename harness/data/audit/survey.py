"""Size, format and colours of each image file of a dataset: read once, by all cores."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from harness.data import images
from harness.data.decoding import Progress, chunks
from harness.data.images import Source
from harness.data.pixels import dicom
from harness.data.table import DatasetTable
from harness.errors import DataError
from harness.utils.parallel import in_order

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

BINS = 16  # of a colour histogram, for each channel
GRID = 128  # pixels along the short side that a histogram is taken from, about


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """One image: upright size, Pillow's mode, file format, bytes of the file.

    `histogram` is float32 [48]: the share of its pixels in each of 16 bins of red, green and blue.
    `levels` counts the grey levels of its pixels, `unused` says what else is in the file.
    """

    width: int
    height: int
    mode: str
    format: str
    bytes: int
    histogram: np.ndarray
    levels: int = 256
    unused: str = ""


def survey_images(
    table: DatasetTable, progress: Progress | None = None
) -> tuple[Mapping[str, ImageFacts], Mapping[str, str]]:
    """Content -> what the image is like, and content -> why it is none.

    Raises:
        DataError: the tables cannot be read.
    """
    ids = table.first_ids()
    looks: dict[str, ImageFacts] = {}
    bad: dict[str, str] = {}
    sources = chunks(len(ids), table.fetch(list(ids.values())))
    found = chain.from_iterable(in_order(_look_at_some, sources))
    for done, (content, look) in enumerate(zip(ids, found, strict=True), start=1):
        if isinstance(look, ImageFacts):
            looks[content] = look
        else:
            bad[content] = look
        if progress is not None:
            progress(done, len(ids))
    return looks, bad


def _look_at_some(sources: Sequence[Source]) -> list[ImageFacts | str]:
    return [_look(source) for source in sources]


def _look(source: Source) -> ImageFacts | str:
    import numpy as np
    from PIL import Image

    try:
        pixels = images.load(source)
        data = images.file_bytes(source)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except DataError as error:
        return str(error)
    if dicom.is_dicom(data):
        mode, kind = dicom.describe(data)
        unused = ""
    else:
        with Image.open(io.BytesIO(data)) as image:
            mode, kind = image.mode, image.format or ""
            unused = _unused(image, data)
    _, height, width = pixels.shape
    levels = len(np.unique(pixels.mean(0, dtype=np.float32).astype(np.uint8)))
    return ImageFacts(
        width, height, mode, kind, len(data), _histogram(pixels), levels=levels, unused=unused
    )


def _unused(image: Image.Image, data: bytes) -> str:
    """The content of a file beside the image that is used; '' if nothing."""
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        return f"{frames - 1} more pages, frames or layers"
    ends = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}
    end = ends.get(image.format or "", b"")
    after = data[data.rfind(end) + len(end) :].strip(b"\0\xff\r\n") if end in data and end else b""
    return f"{len(after):,} bytes after its end" if after else ""


def _histogram(pixels: np.ndarray) -> np.ndarray:
    import numpy as np

    step = max(1, min(pixels.shape[1:]) // GRID)
    some = pixels[:, ::step, ::step].reshape(3, -1) // (256 // BINS)
    counts = [np.bincount(channel, minlength=BINS) for channel in some]
    return (np.concatenate(counts) / some.shape[1]).astype(np.float32)
