"""Every kind of image file that Pillow and tifffile write, and what becomes of its pixels.

    python benchmarks/images/formats.py

prints the table of docs/inputs.md: a combination is decoded right, or refused with a reason.
'wrong' must not occur.  It takes a minute.
"""

from __future__ import annotations

import io
import itertools
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tifffile
from PIL import Image, ImageCms

from harness.data import images
from harness.errors import DataError

HEIGHT, WIDTH = 40, 48
RAMP = np.linspace(0, 1, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
COLOURS = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], -1)
TOPS = {
    "bool": 1,
    "uint8": 255,
    "uint16": 65535,
    "uint32": 2**32 - 1,
    "int8": 127,
    "int16": 32767,
    "int32": 2**31 - 1,
    "float16": 1,
    "float32": 1,
    "float64": 1,
}
LOSSY = 70  # grey levels at most, at edges of colours
EXACT = 3
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "I;16", "I", "F")
FORMATS = (  # Pillow's name, options, lossy
    ("TIFF", {}, False),
    ("TIFF", {"compression": "tiff_lzw"}, False),
    ("TIFF", {"compression": "tiff_adobe_deflate"}, False),
    ("TIFF", {"compression": "packbits"}, False),
    ("TIFF", {"compression": "group4"}, False),
    ("TIFF", {"compression": "zstd"}, False),
    ("TIFF", {"compression": "jpeg", "quality": 98}, True),
    ("PNG", {}, False),
    ("GIF", {}, True),
    ("JPEG", {"quality": 98, "subsampling": 0}, True),
    ("JPEG", {"quality": 98, "subsampling": 0, "progressive": True}, True),
    ("WEBP", {"lossless": True}, False),
    ("WEBP", {"quality": 98}, True),
)
HELD = {"I;16": {"TIFF", "PNG"}, "I": {"TIFF", "PNG"}, "F": {"TIFF"}, "LAB": {"TIFF"}}


@dataclass(frozen=True)
class Case:
    """A file, what it shows (0 to 1), and how far a lossy format may be from it."""

    kind: str
    variant: str
    data: bytes
    expected: np.ndarray
    tolerance: int


def by_pillow() -> Iterator[Case]:
    """Modes of Pillow in the formats and compressions that take them."""
    for mode, (kind, options, lossy) in itertools.product(MODES, FORMATS):
        if kind not in HELD.get(mode, {kind}):
            continue  # Pillow clips or converts as it writes
        image, expected = picture(mode)
        buffer = io.BytesIO()
        try:
            image.save(buffer, kind, **options)
        except (OSError, ValueError, KeyError):
            continue  # it cannot be written
        name = " ".join([kind, *(str(v) for k, v in options.items() if k == "compression")])
        yield Case(f"{kind}, {mode}", name, buffer.getvalue(), expected, LOSSY if lossy else EXACT)


def picture(mode: str) -> tuple[Image.Image, np.ndarray]:
    """An image in a mode, and what it shows."""
    colours = Image.fromarray((COLOURS * 255).astype(np.uint8))
    if mode == "I;16":
        return Image.fromarray((RAMP * 65535).astype(np.uint16)), RAMP
    if mode == "I":
        return Image.fromarray((RAMP * 65535).astype(np.int32)), RAMP
    if mode == "F":
        return Image.fromarray(RAMP.astype(np.float32)), RAMP
    if mode == "LAB":
        profiles = [ImageCms.createProfile(name) for name in ("sRGB", "LAB")]
        return ImageCms.profileToProfile(colours, *profiles, outputMode="LAB"), COLOURS
    image = colours.convert("P").convert("PA") if mode == "PA" else colours.convert(mode)
    return image, np.asarray(image.convert("RGB")) / 255


def by_tifffile() -> Iterator[Case]:
    """Sample formats, bit depths, photometric interpretations, planes and byte orders of TIFF."""
    axes = (
        TOPS.items(),
        ("minisblack", "miniswhite", "rgb"),
        (None, "deflate"),
        ("contig", "separate"),
        ("<", ">"),
        ({}, {"tile": (16, 16)}, {"bigtiff": True}),
    )
    for (kind, top), photometric, compression, planes, order, form in itertools.product(*axes):
        colour = photometric == "rgb"
        if (colour and kind == "bool") or (not colour and planes == "separate"):
            continue  # no such thing
        shown = COLOURS if colour else RAMP
        values = shown > 0.5 if kind == "bool" else (shown * top).astype(kind)
        expected = values.astype(float) / top
        buffer = io.BytesIO()
        tifffile.imwrite(
            buffer,
            values.transpose(2, 0, 1) if planes == "separate" else values,
            photometric=photometric,
            compression=compression,
            planarconfig=planes if colour else None,
            byteorder=order,
            **form,
        )
        variant = f"{compression or 'raw'} {planes} {order} {'+'.join(form)}"
        white = photometric == "miniswhite"
        yield Case(
            f"TIFF, {kind} {photometric}",
            variant,
            buffer.getvalue(),
            1 - expected if white else expected,
            EXACT,
        )


def by_pages() -> Iterator[Case]:
    """Files of several pages or frames."""
    one, other = picture("RGB")[0], picture("RGB")[0].rotate(180)
    for kind in ("TIFF", "GIF", "WEBP", "PNG"):
        buffer = io.BytesIO()
        one.save(buffer, kind, save_all=True, append_images=[other])
        yield Case(f"{kind}, two pages or frames", kind, buffer.getvalue(), COLOURS, EXACT)


def outcome(case: Case) -> str:
    """'right', 'wrong by N levels', or why it is refused."""
    try:
        found = images.decode(case.data).transpose(1, 2, 0)
    except DataError as error:
        return f"refused: {error}"
    expected = case.expected * 255
    expected = expected if expected.ndim == 3 else expected[..., None]
    if found.shape != (HEIGHT, WIDTH, 3):
        return f"wrong: shape {found.shape}"
    away = np.abs(found - expected).max()
    return "right" if away <= case.tolerance else f"wrong by {away:.0f} levels"


def table(cases: Iterator[Case]) -> list[tuple[str, str, str]]:
    """Rows: kind, outcome, and the variants it holds for where not for all of a kind."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for case in cases:
        found[case.kind][outcome(case)].append(case.variant)
    return [
        (kind, result, "" if len(results) == 1 else "; ".join(variants))
        for kind, results in found.items()
        for result, variants in results.items()
    ]


def main() -> None:
    print("| kind | outcome | variants |\n| --- | --- | --- |")
    for row in table(itertools.chain(by_pillow(), by_tifffile(), by_pages())):
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
