"""Image files of every kind: decoded right or refused by name; sound ones never refused."""

import importlib.util
import io
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness import DataError
from harness.data import images
from harness.data.pixels.formats import known_formats

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "images" / "formats.py"
RNG = np.random.default_rng(0)


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def blocks(side=20, size=16):
    small = RNG.integers(0, 256, (side, side, 3))
    return Image.fromarray(np.kron(small, np.ones((size, size, 1))).astype(np.uint8))


def refused(data):
    with pytest.raises(DataError) as raised:
        images.decode(data)
    return str(raised.value)


# -- the table of docs/inputs.md --------------------------------------------------------------------


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("formats", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["formats"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_nothing_that_pillow_or_tifffile_writes_is_decoded_wrongly(script):
    found = {}
    for cases in (script.by_pillow(), script.by_tifffile(), script.by_pages()):
        for case in cases:
            found[f"{case.kind}, {case.variant}"] = script.outcome(case)
    assert not {name: result for name, result in found.items() if result.startswith("wrong")}
    assert not {name: result for name, result in found.items() if "no known format" in result}
    right = {name for name, result in found.items() if result == "right"}
    assert len(right) > 120
    assert len(found) > 350


# -- what may be opened at all ----------------------------------------------------------------------


def test_postscript_named_png_starts_no_program(monkeypatch):
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", None)  # calling it would fail otherwise
    data = encoded(Image.new("RGB", (8, 8)), "EPS")
    assert "PostScript and PDF are not read; export it as PNG" in refused(data)
    assert "EPS" not in known_formats()


def test_a_bomb_is_refused_by_its_header():
    data = bytearray(encoded(Image.new("1", (8, 8)), "PNG"))
    data[16:24] = struct.pack(">II", 20_000, 20_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    message = refused(bytes(data))
    assert message.startswith(
        "has 400,000,000 pixels, more than the 178,956,970 that are read; scale"
    )


@pytest.mark.parametrize("size", [(8000, 1), (1, 101), (2020, 20 - 1)])
def test_a_strip_is_refused(size):
    assert f"has {size[0]} x {size[1]} pixels: a strip" in refused(
        encoded(Image.new("L", size), "PNG")
    )


def test_a_long_image_is_read():
    assert images.decode(encoded(Image.new("L", (100, 1)), "PNG")).shape == (3, 1, 100)


# -- pages and frames -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "WEBP", "PNG"])
def test_several_pages_or_frames_are_refused(kind):
    frames = [Image.fromarray(RNG.integers(0, 256, (9, 9), np.uint8)) for _ in range(3)]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    assert refused(data).startswith("holds 3 pages or frames, of which one can be used; save")


def test_smaller_copies_and_masks_in_a_tiff_are_no_pages():
    import tifffile

    pixels, buffer = RNG.integers(0, 256, (16, 16), np.uint8), io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(pixels)
        writer.write(pixels[::2, ::2], subfiletype=1)
        writer.write(pixels > 100, subfiletype=4)
    assert np.array_equal(images.decode(buffer.getvalue())[0], pixels)


# -- damage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_lost_bits_of_a_jpeg_are_found(mode, progressive):
    data = encoded(blocks().convert(mode), "JPEG", quality=85, progressive=progressive)
    images.decode(data)
    middle = len(data) // 2
    broken = data[:middle] + b"\x55" * 300 + data[middle + 300 :]
    assert "damaged JPEG data: " in refused(broken)


def test_padding_at_the_end_of_a_jpeg_is_no_damage():
    data = encoded(blocks(), "JPEG", quality=85)
    expected = images.decode(data)
    for padded in (data[:-2] + bytes(50) + data[-2:], data + b"a trailer of some camera"):
        assert np.array_equal(images.decode(padded), expected)
    assert "damaged JPEG data" in refused(data[:-2] + b"\x12" * 50 + data[-2:])


@pytest.mark.parametrize("name", [b"IHDR", b"IDAT", b"pHYs"])
def test_checksums_of_a_png_are_looked_at(name):
    data = encoded(Image.new("RGB", (8, 8), (1, 2, 3)), "PNG", dpi=(72, 72))
    place = data.index(name) + 4
    end = place + int.from_bytes(data[place - 8 : place - 4])
    broken = data[:end] + b"\0\0\0\0" + data[end + 4 :]
    assert f"damaged PNG data: checksum of {name.decode()}" in refused(broken)


# -- EXIF ---------------------------------------------------------------------------------------


def exif(entries):
    body = struct.pack("<H", len(entries))
    body += b"".join(struct.pack("<HHI", t, k, n) + v for t, k, n, v in entries)
    return b"Exif\0\0II*\0\x08\0\0\0" + body + b"\0\0\0\0"


@pytest.mark.parametrize(
    ("kind", "options"), [("JPEG", {}), ("PNG", {}), ("WEBP", {"lossless": 1})]
)
@pytest.mark.parametrize(
    ("junk", "turned"),
    [
        (b"Exif\0\0junk of an old camera", False),
        (exif([(0x112, 3, 1, struct.pack("<HH", 6, 0)), (0x128, 2, 2, b"a\0\0\0")]), True),
        (exif([(0x112, 3, 1, struct.pack("<HH", 77, 0))]), False),
        (exif([(0x112, 2, 2, b"6\0\0\0")]), False),
    ],
)
def test_junk_in_exif_leaves_sound_pixels(kind, options, junk, turned):
    image = Image.fromarray(RNG.integers(0, 256, (6, 9), np.uint8)).convert("RGB")
    plain = images.decode(encoded(image, kind, **options))
    found = images.decode(encoded(image, kind, exif=junk, **options))
    assert np.array_equal(found, np.rot90(plain, -1, (1, 2)) if turned else plain)


@pytest.mark.parametrize("turn", range(1, 9))
def test_sixteen_bit_colours_are_turned_as_eight_bit_ones_are(turn):
    eight = np.arange(60).reshape(3, 4, 5)
    turned = np.array(
        images._upright(_with_orientation(eight.transpose(1, 2, 0).astype(np.uint8), turn))
    )
    assert np.array_equal(images._upright_array(eight, turn), turned.transpose(2, 0, 1))


def _with_orientation(pixels, turn):
    note = Image.Exif()
    note[0x112] = turn
    return Image.open(io.BytesIO(encoded(Image.fromarray(pixels), "PNG", exif=note)))
