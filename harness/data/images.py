"""An image file to pixels: RGB, upright, eight bits; then the transform every network sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.api.records import Interpolation, Protocol
from harness.data.pixels import dicom
from harness.data.pixels.formats import (
    COLOUR,
    deep_bits,
    is_signed,
    may_be_deep,
    open_image,
    orientation,
)
from harness.data.pixels.values import DEPTHS, SIGNED, Range, find_range, scale
from harness.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

TURNS = {  # EXIF's number of how an image lies -> what puts it upright
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
RGB = 3  # torchvision's number for "give me RGB"
FULL: Range = (0.0, 65535.0)
SIXTEEN_BITS = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})


@dataclass(frozen=True)
class Scaled:
    """A file of more than eight bits, and what becomes black and white in the set it is of."""

    source: bytes | Path | dicom.WindowedFile
    span: Range


@dataclass(frozen=True)
class Depth:
    """The values of a file of more than eight bits.

    Attributes:
        whole, signed: what kind of numbers they are.
        before: the range that version 0.1 took them to span.
    """

    low: float
    high: float
    whole: bool
    signed: bool
    before: Range

    @property
    def kind(self) -> tuple[bool, bool]:
        """Files of one kind in a set have one range."""
        return self.whole, self.signed

    @property
    def kind_name(self) -> str:
        """The kind, as records name it."""
        return ("whole" if self.whole else "float") + "-signed" * self.signed


Source = bytes | Path | dicom.WindowedFile | Scaled
Fetch = Callable[[range], Sequence[Source]]
# Of 65,536 parts grey has so many of red, green and blue (ITU-R 601, as Pillow has it): their sum is
# exact, so that what is grey already stays as it is.
GREY = (19595, 38470, 7471)


class PixelForm(NamedTuple):
    """Form of decoded images: everything of a preprocessing but mean and std."""

    resize: int
    crop: int
    interpolation: Interpolation = "bilinear"
    grey: bool = False

    @classmethod
    def of(cls, protocol: Protocol) -> PixelForm:
        """The form that a protocol asks for."""
        return cls(protocol.resize, protocol.crop, protocol.interpolation, protocol.grey)


def read(source: Source) -> np.ndarray:
    """Pixels of an image file, uint8 [3, H, W] (not always contiguous), RGB, upright.

    Grey becomes three equal channels; an alpha channel is dropped; palettes and CMYK are converted
    as Pillow does; files of several pages or frames are refused; EXIF orientation is applied.  More
    than eight bits are scaled linearly and never clipped, by the range of the set (`Scaled`), else
    by that of the file (`values.find_range`).

    DICOM files are read by `dicom.decode`.

    Raises:
        DataError: the file cannot be read, or is no image, truncated or corrupt.
    """
    plain = source.source if isinstance(source, Scaled) else source
    try:
        return load(source)
    except OSError as error:
        raise DataError(f"{plain!s} cannot be read: {error.strerror or error}") from error
    except DataError as error:
        raise DataError(f"{plain}: {error}" if isinstance(plain, Path) else str(error)) from error


def load(source: Source) -> np.ndarray:
    """As `read`; the error does not name the file.

    Raises:
        OSError: the file cannot be read.
        DataError: no image, truncated or corrupt.
    """
    if isinstance(source, Scaled):
        return decode(file_bytes(source), source.span)
    return decode(file_bytes(source))


def decode(data: bytes, span: Range | None = None) -> np.ndarray:
    """As `read`, of a file's bytes; the error does not name the file.

    Raises:
        DataError: no image, truncated or corrupt.
    """
    if dicom.is_dicom(data):
        return dicom.decode(data)
    try:
        with open_image(data) as image:
            if _is_plain_jpeg(image):
                pixels = _decode_jpeg(data)
                if pixels is not None:
                    return pixels
            return _pixels(image, data, span)
    except DataError:
        raise
    except Exception as error:
        # Decoders raise almost anything on bytes that are not what they should be.
        raise DataError(f"cannot be decoded ({type(error).__name__}: {error})") from error


def find_depth(data: bytes) -> Depth | None:
    """The values of a file of more than eight bits; None: it has eight, or cannot be decoded."""
    import numpy as np

    if not may_be_deep(data):
        return None
    try:
        with open_image(data) as image:
            bits = deep_bits(image, data)
            if not bits:
                return None
            if bits == COLOUR and image.format != "PNG":
                high = 257.0 * float(np.asarray(image.convert("RGB")).max())
                return Depth(0.0, high, whole=True, signed=False, before=FULL)
            values = _numbers(image, data)
            low, high = float(values.min()), float(values.max())
            if bits == COLOUR:
                return Depth(low, high, whole=True, signed=False, before=FULL)
            whole = values.dtype.kind != "f"
            before = FULL if image.mode in SIXTEEN_BITS else _range_before(values)
            return Depth(low, high, whole=whole, signed=is_signed(image), before=before)
    except Exception:  # noqa: BLE001 - decoding it says what is wrong
        return None


def resize_crop(
    image: np.ndarray,
    resize: int,
    crop: int,
    interpolation: Interpolation = "bilinear",
    *,
    grey: bool = False,
) -> np.ndarray:
    """Short side to `resize`, then the centre: uint8 [3, H, W] to contiguous [3, crop, crop].

    torchvision's evaluation transform (bilinear or bicubic, with antialias), done on uint8: ten
    times as fast as on floats, and bilinear at most one grey level from them.  `grey`: three equal
    channels.
    """
    import torch
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as transform

    by = InterpolationMode(interpolation)
    resized = transform.resize(torch.from_numpy(image), [resize], by, antialias=True)
    pixels: np.ndarray = transform.center_crop(resized, [crop, crop]).contiguous().numpy()
    return _greyed(pixels) if grey else pixels


def _greyed(pixels: np.ndarray) -> np.ndarray:
    """uint8 [3, H, W] with three equal channels, rounded."""
    import numpy as np

    parts = np.array(GREY, dtype=np.uint32).reshape(3, 1, 1)
    whole = ((pixels * parts).sum(axis=0, keepdims=True) + 2**15) // 2**16
    return np.repeat(whole.astype(np.uint8), 3, axis=0)


def _is_plain_jpeg(image: Image.Image) -> bool:
    """True if torchvision decodes it to the same pixels as Pillow does: not CMYK, not turned."""
    if image.format != "JPEG" or image.mode not in {"L", "RGB"}:
        return False
    return orientation(image) == 1


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


def _pixels(image: Image.Image, data: bytes, span: Range | None) -> np.ndarray:
    import numpy as np

    bits = deep_bits(image, data)
    # Colours that use all of their 16 bits are as they always were: Pillow keeps the upper eight.
    if bits and (bits != COLOUR or (span is not None and span != FULL)):
        values = _numbers(image, data)
        if not np.isfinite(values).all():
            raise DataError("holds pixels that are not finite (NaN or inf); replace them")
        ends = float(values.min()), float(values.max())
        whole = values.dtype.kind != "f"
        depths = SIGNED if is_signed(image) else DEPTHS
        found = span or find_range(*ends, whole=whole, depths=depths)
        pixels = scale(values, found)
        return np.broadcast_to(pixels, (3, *pixels.shape[-2:])).copy()
    upright = _upright(image)
    if upright.mode in {"P", "PA"}:
        upright = upright.convert("RGBA")  # a palette may hold transparent entries
    return np.array(upright.convert("RGB")).transpose(2, 0, 1)


def _upright(image: Image.Image) -> Image.Image:
    from PIL import Image

    image.load()  # a TIFF turns itself
    turn = TURNS.get(orientation(image))
    return image if turn is None else image.transpose(getattr(Image.Transpose, turn))


def _numbers(image: Image.Image, data: bytes) -> np.ndarray:
    """The values of an image of more than eight bits: [H, W], or [C, H, W] of a colour PNG."""
    import numpy as np

    if image.mode[0] in "IF":
        values = np.array(_upright(image))
        if image.format == "TIFF" and values.dtype.kind == "i" and values.min() < 0:
            _check_sign(image)
        return values
    if image.format != "PNG":
        raise DataError(
            f"is a {image.format} of 16-bit colours in a set that uses fewer bits, of which eight "
            "would be lost; save 8-bit colours, or 16 bits as PNG"
        )
    return _upright_array(_decode_png(data), orientation(image))


def _check_sign(image: Image.Image) -> None:
    if image.tag_v2.get(339, (1,))[0] == 1:  # type: ignore[attr-defined]
        raise DataError(
            "holds unsigned 32-bit numbers from 2147483648 on, which are not read; save 16 bits"
        )


def _decode_png(data: bytes) -> np.ndarray:
    """uint16 [1 or 3, H, W] of a 16-bit PNG, without its alpha channel."""
    import torch
    import torchvision.io  # noqa: F401 - registers the operator

    tensor = torch.ops.image.decode_png(torch.frombuffer(bytearray(data), dtype=torch.uint8), 0)
    pixels: np.ndarray = tensor.numpy()
    return pixels[: 1 if len(pixels) <= 2 else 3]  # noqa: PLR2004 - grey and alpha


def _upright_array(pixels: np.ndarray, turn: int) -> np.ndarray:
    """[C, H, W] as `_upright` turns images."""
    if turn in {5, 6, 7, 8}:
        pixels = pixels.swapaxes(-1, -2)
    if turn in {2, 3, 6, 7}:
        pixels = pixels[..., ::-1]
    return pixels[..., ::-1, :] if turn in {3, 4, 7, 8} else pixels


def _range_before(values: np.ndarray) -> Range:
    """The range that version 0.1 took values to span that have no full range of their own."""
    low, high = float(values.min()), float(values.max())
    ranges = (1.0, 255.0, 65535.0) if values.dtype.kind == "f" else (65535.0,)
    return next(((0.0, top) for top in ranges if low >= 0.0 and high <= top), (low, high))


def file_bytes(source: Source) -> bytes:
    """The bytes of an image file.

    Raises:
        OSError: it cannot be read.
    """
    source = source.source if isinstance(source, Scaled) else source
    return source if isinstance(source, bytes) else source.read_bytes()
