"""Pixels against Pillow, hand-made files and torchvision's own transform."""

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import v2

from harness import DataError
from harness.data import images
from harness.data.decoding import CHUNK, Output, reorder, write_arrays

RNG = np.random.default_rng(0)


def noise(height, width, channels=3, top=256, dtype=np.uint8):
    shape = (height, width) if channels is None else (height, width, channels)
    return RNG.integers(0, top, shape).astype(dtype)


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chw(pixels):
    return np.asarray(pixels).transpose(2, 0, 1)


def png16(values, colour):
    """A 16-bit PNG, written by hand: values uint16 [H, W] (colour 0) or [H, W, 3] (colour 2)."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(tag, data):
        return struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))

    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


# -- JPEG: torchvision's decoder must not be told from Pillow's ---------------------------------


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("quality", [40, 95])
@pytest.mark.parametrize(
    "options",
    [{}, {"subsampling": 0}, {"subsampling": 1}, {"progressive": True}, {"restart_marker_rows": 1}],
    ids=str,
)
def test_a_jpeg_has_the_pixels_pillow_gives(mode, quality, options, monkeypatch):
    pixels = noise(37, 53, 3 if mode == "RGB" else None)
    data = encoded(Image.fromarray(pixels), "JPEG", quality=quality, **options)
    with Image.open(io.BytesIO(data)) as opened:
        expected = chw(opened.convert("RGB"))
    monkeypatch.setattr(images, "_pixels", None)  # the fast path alone
    found = images.read(data)
    assert found.dtype == np.uint8
    assert np.array_equal(found, expected)


def test_a_jpeg_coded_as_rgb_has_the_pixels_pillow_gives():
    data = encoded(Image.fromarray(noise(24, 24)), "JPEG", keep_rgb=True, quality=90)
    with Image.open(io.BytesIO(data)) as opened:
        assert np.array_equal(images.read(data), chw(opened.convert("RGB")))


def test_a_jpeg_is_read_without_torchvisions_decoder(monkeypatch):
    data = encoded(Image.fromarray(noise(24, 31)), "JPEG")
    expected = images.read(data)
    monkeypatch.setattr(torch.ops.image, "decode_jpeg", None, raising=False)
    assert np.array_equal(images.read(data), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_is_applied(orientation, kind):
    turns = {  # what a viewer does to the stored pixels [H, W, 3], from the EXIF standard
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90,
    }
    stored = Image.fromarray(noise(16, 24))
    options = {"JPEG": {"quality": 95}, "PNG": {}, "WEBP": {"lossless": True}}[kind]
    exif = Image.Exif()
    exif[0x0112] = orientation
    plain = images.read(encoded(stored, kind, **options)).transpose(1, 2, 0)
    turned = images.read(encoded(stored, kind, exif=exif, **options)).transpose(1, 2, 0)
    assert np.array_equal(turned, turns[orientation](plain))


# -- every mode to RGB --------------------------------------------------------------------------


def test_grey_becomes_three_equal_channels():
    grey = noise(5, 7, None)
    found = images.read(encoded(Image.fromarray(grey), "PNG"))
    assert found.shape == (3, 5, 7)
    assert all(np.array_equal(channel, grey) for channel in found)


def test_alpha_is_dropped():
    rgba = noise(6, 4, 4)
    grey_alpha = noise(6, 4, 2)
    found = images.read(encoded(Image.fromarray(rgba), "PNG"))
    assert np.array_equal(found, chw(rgba[..., :3]))
    found = images.read(encoded(Image.frombytes("LA", (4, 6), grey_alpha.tobytes()), "PNG"))
    assert np.array_equal(found, np.stack([grey_alpha[..., 0]] * 3))


@pytest.mark.parametrize("transparency", [None, 1, b"\xff\x80\x00"])
def test_a_palette_is_looked_up(transparency):
    colours = np.array([[255, 0, 0], [0, 200, 10], [7, 8, 9]], dtype=np.uint8)
    index = noise(5, 6, None, top=3)
    image = Image.fromarray(index).convert("P")
    image.putdata(index.ravel().tolist())
    image.putpalette(colours.ravel().tolist())
    options = {} if transparency is None else {"transparency": transparency}
    found = images.read(encoded(image, "PNG", **options))
    assert np.array_equal(found, chw(colours[index]))


def test_black_and_white_and_gif():
    bits = noise(9, 9, None, top=2) * 255
    image = Image.fromarray(bits.astype(np.uint8)).convert("1", dither=Image.Dither.NONE)
    assert np.array_equal(images.read(encoded(image, "PNG"))[0], bits)
    assert np.array_equal(images.read(encoded(Image.fromarray(bits), "GIF"))[0], bits)


def test_cmyk_is_converted_as_pillow_does():
    image = Image.frombytes("CMYK", (16, 16), noise(16, 16, 4).tobytes())
    data = encoded(image, "TIFF")
    assert np.array_equal(images.read(data), chw(image.convert("RGB")))
    jpeg = encoded(image, "JPEG", quality=95)
    with Image.open(io.BytesIO(jpeg)) as opened:
        assert np.array_equal(images.read(jpeg), chw(opened.convert("RGB")))


# -- more than eight bits: scaled, never clipped -------------------------------------------------


def test_sixteen_bits_are_scaled_by_257():
    values = np.array([[0, 1, 128], [129, 257, 300], [40000, 65406, 65535]], dtype=np.uint16)
    expected = np.array([[0, 0, 0], [1, 1, 1], [156, 254, 255]], dtype=np.uint8)  # round(v / 257)
    assert expected[2, 0] == round(40000 / 257)
    for data in (
        png16(values, 0),
        encoded(Image.fromarray(values), "TIFF"),
        encoded(Image.fromarray(values), "PNG"),
    ):
        found = images.read(data)
        assert all(np.array_equal(channel, expected) for channel in found)


def test_big_endian_tiff_and_pgm_agree():
    values = noise(4, 6, None, top=65536, dtype=np.uint16)
    pgm = b"P5\n6 4\n65535\n" + values.astype(">u2").tobytes()
    tiff = encoded(Image.frombytes("I;16B", (6, 4), values.astype(">u2").tobytes()), "TIFF")
    expected = np.rint(values / 257).astype(np.uint8)
    assert np.array_equal(images.read(pgm)[0], expected)
    assert np.array_equal(images.read(tiff)[0], expected)


def test_sixteen_bit_colour_keeps_its_scale():
    values = noise(5, 5, 3, top=256, dtype=np.uint16) * np.uint16(257)
    assert np.array_equal(images.read(png16(values, 2)), chw(values // 257))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[0, 257], [514, 65535]], [[0, 1], [2, 255]]),  # 16 bits in a 32-bit mode
        ([[-1000, 0], [500, 3000]], [[0, 64], [96, 255]]),  # Hounsfield units: own range
        ([[70000, 70000], [70000, 70000]], [[0, 0], [0, 0]]),
    ],
)
def test_32_bit_integers(values, expected):
    image = Image.fromarray(np.array(values, dtype=np.int32))
    assert images.read(encoded(image, "TIFF"))[1].tolist() == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 10.4, 200.0], [0, 10, 200]),
        ([0.0, 2570.0, 65535.0], [0, 10, 255]),
        ([-1.0, 0.0, 1.0], [0, 128, 255]),
    ],
)
def test_floats(values, expected):
    image = Image.fromarray(np.array([values], dtype=np.float32))
    assert images.read(encoded(image, "TIFF"))[2].tolist() == [expected]


def test_numbers_that_are_not_finite_are_refused():
    image = Image.fromarray(np.array([[0.0, np.nan]], dtype=np.float32))
    with pytest.raises(DataError, match="not finite"):
        images.read(encoded(image, "TIFF"))


# -- what is no image ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_a_truncated_file_is_named(kind, share, tmp_path):
    data = encoded(Image.fromarray(noise(64, 64)), kind)
    path = tmp_path / "broken.img"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(DataError, match=r"broken\.img: cannot be decoded"):
        images.read(path)


def test_text_and_a_missing_file_are_named(tmp_path):
    path = tmp_path / "a.jpg"
    with pytest.raises(DataError, match=r"a\.jpg cannot be read: No such file"):
        images.read(path)
    path.write_text("not an image")
    with pytest.raises(DataError, match=r"a\.jpg: cannot be decoded \(UnidentifiedImageError"):
        images.read(path)


@settings(deadline=None)
@given(st.data())
def test_corrupt_bytes_give_pixels_or_our_error(data):
    kind = data.draw(st.sampled_from(["PNG", "TIFF", "BMP", "GIF", "WEBP"]))
    broken = bytearray(encoded(Image.new("RGB", (8, 8), (200, 30, 90)), kind))
    for _ in range(data.draw(st.integers(1, 4))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    if kind == "BMP":
        broken[18:26] = struct.pack("<ii", 8, 8)  # keep the size: millions of pixels take memory
    try:
        found = images.read(bytes(broken))
    except DataError:
        return
    assert found.ndim == 3
    assert found.dtype == np.uint8


# -- the transform ------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(45, 60), (60, 45), (33, 33), (20, 90), (224, 224)])
@pytest.mark.parametrize(("resize", "crop"), [(36, 32), (32, 32), (25, 24), (240, 224)])
def test_resize_crop_is_torchvisions_transform(height, width, resize, crop):
    image = np.ascontiguousarray(chw(noise(height, width)))
    reference = v2.Compose([v2.Resize(resize, antialias=True), v2.CenterCrop(crop)])
    expected = reference(torch.from_numpy(image)).numpy()
    found = images.resize_crop(image, resize, crop)
    assert found.shape == (3, crop, crop)
    assert found.flags.c_contiguous
    assert np.array_equal(found, expected)


def test_uint8_is_within_one_level_of_floats():
    smooth = Image.fromarray(noise(9, 12)).resize((120, 90), Image.Resampling.BICUBIC)
    image = np.ascontiguousarray(chw(smooth))
    reference = v2.Compose([v2.Resize(36, antialias=True), v2.CenterCrop(32)])
    exact = reference(torch.from_numpy(image).double()).numpy()
    assert np.abs(images.resize_crop(image, 36, 32) - exact).max() <= 1.0


def test_bicubic_is_torchvisions():
    image = np.ascontiguousarray(chw(noise(45, 60)))
    by = v2.InterpolationMode.BICUBIC
    reference = v2.Compose([v2.Resize(36, by, antialias=True), v2.CenterCrop(32)])
    expected = reference(torch.from_numpy(image)).numpy()
    found = images.resize_crop(image, 36, 32, "bicubic")
    assert np.array_equal(found, expected)
    assert not np.array_equal(found, images.resize_crop(image, 36, 32))


def test_grey_is_pillows_after_the_cut_and_leaves_what_is_grey():
    pixels = noise(40, 50)
    found = images.resize_crop(np.ascontiguousarray(chw(pixels)), 36, 32, grey=True)
    cut = images.resize_crop(np.ascontiguousarray(chw(pixels)), 36, 32).transpose(1, 2, 0)
    expected = np.asarray(Image.fromarray(cut).convert("L"))
    assert np.array_equal(found, np.stack([expected] * 3))
    levels = np.broadcast_to(np.arange(256, dtype=np.uint8), (3, 256, 256)).copy()
    assert np.array_equal(images.resize_crop(levels, 256, 256, grey=True), levels)


def test_nothing_changes_at_the_same_size():
    image = np.ascontiguousarray(chw(noise(32, 32)))
    assert np.array_equal(images.resize_crop(image, 32, 32), image)


def test_memory_order_makes_no_difference():
    pixels = noise(50, 40)
    strided, packed = chw(pixels), np.ascontiguousarray(chw(pixels))
    assert np.array_equal(images.resize_crop(strided, 30, 28), images.resize_crop(packed, 30, 28))


# -- real files ---------------------------------------------------------------------------------


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["xray", "mri", "histology", "dermoscopy", "endoscopy"])
def test_real_jpegs_have_the_pixels_pillow_gives(name):
    root = os.environ.get("HARNESS_REALDATA")
    if not root:
        pytest.skip("HARNESS_REALDATA is not set")
    for path in sorted((Path(root) / name / "validation").rglob("*.jpg"))[::10]:
        with Image.open(path) as opened:
            expected = chw(opened.convert("RGB"))
        assert np.array_equal(images.read(path), expected), path


# -- many at once ----------------------------------------------------------------------------------

SHAPE = (3, 6, 5)


def png(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return pixels.transpose(2, 0, 1), buffer.getvalue()


def write(path, sources, **options):
    def fetch(run):
        return sources[run.start : run.stop]

    return write_arrays([Output(path, SHAPE, lambda image: image)], len(sources), fetch, **options)


@pytest.mark.parametrize("count", [1, CHUNK, CHUNK + 1, 5 * CHUNK - 3])
def test_the_array_holds_every_image_in_order(count, tmp_path):
    made = [png(seed) for seed in range(count)]
    sources = [data for _, data in made]
    for row in range(0, count, 3):  # bytes and files may be mixed
        sources[row] = tmp_path / f"{row}.png"
        sources[row].write_bytes(made[row][1])
    seen = []
    assert write(tmp_path / "a.npy", sources, progress=lambda *at: seen.append(at)) == {}
    found = np.load(tmp_path / "a.npy")
    assert found.dtype == np.uint8
    assert np.array_equal(found, np.stack([pixels for pixels, _ in made]))
    assert seen == [(min(at + CHUNK, count), count) for at in range(0, count, CHUNK)]


def test_all_bad_rows_are_reported_with_their_reason(tmp_path):
    sources = [png(seed)[1] for seed in range(30)]
    sources[3] = sources[3][:40]
    sources[17] = b"text"
    sources[29] = tmp_path / "gone.png"
    bad = write(tmp_path / "a.npy", sources)
    assert set(bad) == {3, 17, 29}
    assert bad[29] == "cannot be read: No such file or directory"
    assert "UnidentifiedImageError" in bad[17]
    found = np.load(tmp_path / "a.npy")
    assert not found[[3, 17, 29]].any()
    assert np.array_equal(found[18], png(18)[0])


def test_torchs_threads_are_as_before(tmp_path):
    torch.set_num_threads(2)
    inside = []

    def transform(image):
        inside.append(torch.get_num_threads())
        return image

    output = Output(tmp_path / "a.npy", SHAPE, transform)
    write_arrays([output], 20, lambda run: [png(0)[1]] * len(run))
    assert set(inside) == {1}
    assert torch.get_num_threads() == 2


def test_a_source_that_fails_is_told_from_a_disk_that_fails(tmp_path):
    def fetch(run):
        raise OSError("the table's file is gone")

    with pytest.raises(DataError, match="the table's file is gone"):
        write_arrays([Output(tmp_path / "a.npy", SHAPE, lambda image: image)], 1, fetch)
    with pytest.raises(OSError, match="No such file"):
        write(tmp_path / "no" / "a.npy", [png(0)[1]])


def test_one_decoding_fills_several_files(tmp_path, monkeypatch):
    made = [png(seed) for seed in range(20)]
    sources = [data for _, data in made]
    sources[7] = b"text"
    decode, seen = images.decode, []
    monkeypatch.setattr(images, "decode", lambda data: seen.append(data) or decode(data))
    outputs = [
        Output(tmp_path / "as-it-is.npy", SHAPE, lambda image: image),
        Output(tmp_path / "first.npy", (1, 6, 5), lambda image: image[:1]),
    ]
    assert set(write_arrays(outputs, 20, lambda run: sources[run.start : run.stop])) == {7}
    assert sorted(seen) == sorted(sources)
    whole, first = (np.load(output.path) for output in outputs)
    assert np.array_equal(whole[:, :1], first)
    assert np.array_equal(whole[8], made[8][0])
    assert not whole[7].any()


@given(order=st.integers(0, 12).flatmap(lambda count: st.permutations(range(count))))
def test_rows_take_any_other_order_in_place(order, tmp_path_factory):
    path = tmp_path_factory.mktemp("order") / "a.npy"
    rows = np.random.default_rng(len(order)).integers(0, 256, (len(order), 3, 2), dtype=np.uint8)
    np.save(path, rows)
    reorder(path, order)
    assert np.array_equal(np.load(path), rows[list(order)])


@pytest.mark.slow
def test_decoding_begins_with_its_libraries_whole(tmp_path):
    """Threads that import parts of torchvision at once may find each other's half made."""
    code = f"""
import io, sys
from pathlib import Path
from PIL import Image
from harness.data.decoding import Output, write_arrays
buffer = io.BytesIO()
Image.new("RGB", (8, 8)).save(buffer, "png")
def transform(image):
    found.append("torchvision.transforms.v2.functional" in sys.modules)
    return image
found = []
output = Output(Path({str(tmp_path / "a.npy")!r}), (3, 8, 8), transform)
write_arrays([output], 1, lambda run: [buffer.getvalue()] * len(run))
print(found)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[True]\n"
