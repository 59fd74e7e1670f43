"""Image files as they may be opened: formats, sizes, pages and damage, judged before pixels are made."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

from harness.errors import DataError

if TYPE_CHECKING:
    from PIL import Image
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

# Pillow opens these, but as a rule it cannot decode them, or not without another program.
NO_IMAGES = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})
# What they hold beside the first image is a preview, a layer or a smaller copy of it.
ONE_IMAGE = frozenset({"MPO", "PSD", "ICO", "ICNS", "CUR"})
GREY, COLOUR = "grey", "colour"
MOST_PIXELS = 178_956_970  # as Pillow has it: half a gigabyte in RGB
MOST_ASPECT = 100  # long to short side: the short one is scaled to that of the network's input
ORIENTATION = 0x0112  # the EXIF tag
KINDS = {1: "unsigned", 2: "signed", 3: "float", 5: "complex", 6: "complex"}
WHITE_IS_ZERO = 0
PLANE_BY_PLANE = 2
SIGNED_NUMBERS = 2
SIDE_PAGES = 0b101  # bits of a TIFF page's kind: a smaller copy, a mask
PADDING = frozenset({0x00, 0xFF})


@cache
def known_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are read."""
    from PIL import Image

    Image.init()
    return tuple(sorted(set(Image.OPEN) - NO_IMAGES))


def open_image(data: bytes) -> Image.Image:
    """An image file whose header, pages and checksums are sound; its pixels are not decoded yet.

    Raises:
        DataError: it is none; the message does not name the file.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(io.BytesIO(data), formats=known_formats())
    except Image.DecompressionBombError as error:
        pixels = re.search(r"\d+", str(error))
        raise _too_many(int(pixels[0]) if pixels else 0) from error
    except UnidentifiedImageError as error:  # its own text holds an address in memory
        raise DataError(f"cannot be decoded ({_unknown(data)})") from error
    _check_size(*image.size)
    _check_pages(image, data)
    if image.format in {"JPEG", "MPO"}:
        _check_jpeg(data, image.mode)
    elif image.format == "PNG":
        if chunk := _damaged_chunk(data):
            raise DataError(f"cannot be decoded (damaged PNG data: checksum of {chunk})")
    elif image.format == "TIFF":
        _check_tiff(image, data)
    if image.mode == "LAB":
        raise DataError("holds CIELAB colours, which are not read; save it as RGB")
    return image


def may_be_deep(data: bytes) -> bool:
    """False, by the first bytes, for files that have no more than eight bits a channel."""
    if data.startswith(b"\x89PNG"):
        return data[24:25] == b"\x10"
    return not data.startswith((b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM"))


def deep_bits(image: Image.Image, data: bytes) -> str:
    """`GREY` or `COLOUR` of more than eight bits, or '': no more."""
    if image.mode[0] in "IF":
        return GREY
    if image.format == "TIFF" and max(image.tag_v2.get(258, (1,))) > 8:  # type: ignore[attr-defined] # noqa: PLR2004
        return COLOUR
    return COLOUR if image.format == "PNG" and may_be_deep(data) else ""


def is_signed(image: Image.Image) -> bool:
    """True if its numbers have 16 bits, one of which is a sign."""
    if image.format != "TIFF":
        return False
    tags = image.tag_v2  # type: ignore[attr-defined]
    return bool(tags.get(339, (1,))[0] == SIGNED_NUMBERS and max(tags.get(258, (1,))) == 16)  # noqa: PLR2004


def orientation(image: Image.Image) -> int:
    """EXIF's number for how an image is to be turned, 1 to 8; 1 too where EXIF is junk."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - whatever is wrong with what a camera wrote beside the pixels
        return 1
    return value if isinstance(value, int) and value in range(1, 9) else 1


def _check_size(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise _too_many(width * height)
    if max(width, height) > MOST_ASPECT * min(width, height):
        raise DataError(
            f"has {width} x {height} pixels: a strip of over {MOST_ASPECT} : 1, of which a network "
            "would see a small part; cut it into pieces"
        )


def _too_many(pixels: int) -> DataError:
    return DataError(
        f"has {pixels:,} pixels, more than the {MOST_PIXELS:,} that are read; scale it down, or cut "
        "it into tiles"
    )


def _unknown(data: bytes) -> str:
    """The reason that nothing opens it."""
    if data.startswith((b"%!PS", b"\xc5\xd0\xd3\xc6", b"%PDF")):
        return "PostScript and PDF are not read; export it as PNG"
    if data.startswith(b"\x89PNG") and (chunk := _damaged_chunk(data)):
        return f"damaged PNG data: checksum of {chunk}"
    if data[:4] == b"MM\0+":
        return "a big-endian BigTIFF is not read; save it as a plain TIFF"
    if data[:4] in {b"II*\0", b"MM\0*", b"II+\0"} and (tags := _tags(data)):
        return (
            f"a TIFF with {tags} is not read; save 8-bit colours, or grey of 8 or 16 bits or floats"
        )
    return "UnidentifiedImageError: no known format"


def _tags(data: bytes) -> str:
    """A TIFF's kind of pixels, for people; '' where it cannot be read."""
    try:
        tags = next(_directories(data))
        bits, kinds = tags.get(258, (1,)), tags.get(339, (1,))
        kind = KINDS.get(kinds[0], "unknown")
        return f"{len(bits)} x {max(bits)} bits, {kind}, photometric {tags.get(262)}"
    except Exception:  # noqa: BLE001 - a damaged header: any error there is
        return ""


def _check_pages(image: Image.Image, data: bytes) -> None:
    if image.format in ONE_IMAGE:
        return
    if image.format == "TIFF":
        # Not by Pillow, which stops at a page whose kind of pixels it does not know.
        pages = sum(not tags.get(254, 0) & SIDE_PAGES for tags in _directories(data))
    else:
        pages = getattr(image, "n_frames", 1)
    if pages > 1:
        raise DataError(
            f"holds {pages} pages or frames, of which one can be used; save those that you mean as "
            "files of their own, in one group"
        )


def _directories(data: bytes) -> Iterator[ImageFileDirectory_v2]:
    """The tags of each page of a TIFF."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    file = io.BytesIO(data)
    header = data[:16] if data[2] == ord("+") else data[:8]
    place, seen = ImageFileDirectory_v2(header).next, set[int]()
    while place and place not in seen:
        seen.add(place)
        tags = ImageFileDirectory_v2(header)
        file.seek(place)
        tags.load(file)
        yield tags
        place = tags.next


def _check_jpeg(data: bytes, mode: str) -> None:
    """Decode in strict mode, at an eighth of the size: a quarter of the time of decoding it.

    The decoders that give pixels pass over lost bits, and grey or shifted blocks come out.
    """
    import simplejpeg

    colours = "CMYK" if mode == "CMYK" else "GRAY"
    try:
        simplejpeg.decode_jpeg(
            data, colorspace=colours, min_height=1, min_width=1, min_factor=8, strict=True
        )
    except ValueError as error:
        if damage := _damage(str(error), data):
            raise DataError(f"cannot be decoded (damaged JPEG data: {damage})") from error


def _damage(reason: str, data: bytes) -> str:
    """The decoder's finding, where pixels are lost; '' where they are not, or it cannot say."""
    if found := re.fullmatch(
        r"Corrupt JPEG data: (\d+) extraneous bytes before marker 0xd9", reason
    ):
        end = data.rfind(b"\xff\xd9")
        if PADDING.issuperset(data[max(0, end - int(found[1])) : end]):
            return ""
    lost = reason.startswith(("Corrupt JPEG data", "Premature end"))
    return reason.removeprefix("Corrupt JPEG data: ") if lost else ""


def _damaged_chunk(data: bytes) -> str:
    """The first chunk of a PNG whose checksum does not hold; '': none."""
    place = 8
    while place + 12 <= len(data):
        length = int.from_bytes(data[place : place + 4])
        name, end = data[place + 4 : place + 8], place + 8 + length
        sound = zlib.crc32(data[place + 4 : end]) == int.from_bytes(data[end : end + 4])
        if end + 4 <= len(data) and not sound:
            return name.decode("ascii", "replace")
        place = end + 4
    return ""


def _check_tiff(image: Image.Image, data: bytes) -> None:
    """Refuse what Pillow opens and decodes wrongly: `benchmarks/images/formats.py` found them."""
    tags = image.tag_v2  # type: ignore[attr-defined]
    deep = max(tags.get(258, (1,))) > 8  # noqa: PLR2004 - bits of a byte
    if deep and tags.get(262) == WHITE_IS_ZERO:
        raise DataError(
            "is a TIFF of over 8 bits with white as zero, which is not read; save it with black as "
            "zero"
        )
    kind = tags.get(339, (1,))[0]
    if kind == SIGNED_NUMBERS and not deep:
        raise DataError("is a TIFF of signed 8-bit numbers, which is not read; save them unsigned")
    raw = image.info.get("compression", "raw") == "raw"
    if deep and tags.get(284) == PLANE_BY_PLANE and len(tags[258]) > 1 and raw:
        raise DataError(
            "is a TIFF of over 8 bits stored plane by plane, which is not read; save it pixel by "
            "pixel (planar configuration 1)"
        )
    turned = data[:2] == b"MM" and not raw
    if turned and deep and (max(tags[258]) > 16 or kind != 1):  # noqa: PLR2004
        raise DataError(
            "is a compressed big-endian TIFF of signed numbers, floats or 32 bits, which is not "
            "read; save it uncompressed, or in little-endian order"
        )
