"""DICOM files: pixels against pydicom's own steps, windows, refusals, patients as groups."""

import io
import json
import logging
import os
import re
from pathlib import Path

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")

from pydicom.data import get_testdata_file  # noqa: E402
from pydicom.pixels import apply_modality_lut, apply_voi_lut  # noqa: E402
from pydicom.uid import JPEG2000Lossless, RLELossless  # noqa: E402
from scans import scan, write_scan  # noqa: E402

from harness import Access, DataError, FolderDataset, Protocol, UsageError  # noqa: E402
from harness.data import images  # noqa: E402
from harness.data.cache import cache  # noqa: E402
from harness.data.folder import with_windows  # noqa: E402
from harness.data.pixels import dicom  # noqa: E402
from harness.data.preparation.prepare import prepare_dataset  # noqa: E402
from harness.data.preparation.survey import survey_dataset  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.*:UserWarning:pydicom")


def data_of(dataset):
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def packaged(name):
    """A test file that ships with pydicom; nothing is downloaded."""
    path = get_testdata_file(name, download=False)
    assert path is not None, name
    return Path(path).read_bytes()


def grey(data, window=None):
    pixels = images.decode(dicom.WindowedFile(data, window).read_bytes() if window else data)
    assert pixels.dtype == np.uint8
    assert (pixels[0] == pixels[1]).all()
    assert (pixels[0] == pixels[2]).all()
    return pixels[0].astype(int)


def stretched(values, low=None, high=None):
    low, high = values.min() if low is None else low, values.max() if high is None else high
    return np.rint((np.clip(values, low, high) - low) * 255 / (high - low))


RAMP = np.arange(256, dtype=np.uint16).reshape(16, 16) * 16  # 12 bits


# -- pydicom's files against pydicom's own functions ----------------------------------------------

GREY = [
    "CT_small.dcm",
    "MR_small.dcm",
    "MR_small_RLE.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_expb.dcm",
    "MR_small_implicit.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "MR_small_padded.dcm",
    "693_J2KI.dcm",
    "J2K_pixelrep_mismatch.dcm",
    "JPEG2000.dcm",
    "JPGExtended.dcm",
    "JPEGLSNearLossless_08.dcm",
    "JPEGLSNearLossless_16.dcm",
    "image_dfl.dcm",
    "examples_overlay.dcm",
    "rtdose_1frame.dcm",
    "rtdose_expb_1frame.dcm",
    "rtdose_rle_1frame.dcm",
]


@pytest.mark.parametrize("name", GREY)
def test_grey(name):
    data = packaged(name)
    dataset = pydicom.dcmread(io.BytesIO(data))
    stored = dataset.pixel_array
    values = apply_modality_lut(stored, dataset).astype(float)
    padding = stored == dataset.get("PixelPaddingValue", 10**9)
    if "WindowWidth" in dataset:
        shown = apply_voi_lut(values, dataset, index=0)
        extremes = np.array([-1e9, 1e9])
        low, high = apply_voi_lut(extremes, dataset, index=0)
    else:
        shown, low, high = values, values[~padding].min(), values[~padding].max()
    expected = stretched(shown, low, high)
    expected[padding] = 0
    np.testing.assert_allclose(grey(data), expected, atol=1)
    assert len(np.unique(grey(data))) > 5


COLOUR = [
    "SC_rgb_dcmtk_+eb+cr.dcm",
    "SC_rgb_dcmtk_+eb+cy+n1.dcm",
    "SC_rgb_dcmtk_+eb+cy+n2.dcm",
    "SC_rgb_dcmtk_+eb+cy+np.dcm",
    "SC_rgb_dcmtk_+eb+cy+s2.dcm",
    "SC_rgb_dcmtk_+eb+cy+s4.dcm",
    "SC_rgb_gdcm_KY.dcm",
    "SC_rgb_jls_lossy_line.dcm",
    "SC_rgb_jls_lossy_sample.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "SC_rgb_jpeg_gdcm.dcm",
    "SC_rgb_jpeg_lossy_gdcm.dcm",
    "SC_rgb_rle.dcm",
    "SC_rgb_rle_16bit.dcm",
    "SC_rgb_rle_32bit.dcm",
    "SC_ybr_full_422_uncompressed.dcm",
    "ExplVR_BigEnd.dcm",
]


@pytest.mark.parametrize("name", COLOUR[:-1])
def test_colour_bars(name):
    """The same bars in every compression and colour space, whose middles pydicom documents."""
    pixels = images.decode(packaged(name))
    assert pixels.shape == (3, 100, 100)
    bars = {5: (255, 0, 0), 25: (0, 255, 0), 45: (0, 0, 255), 65: (0, 0, 0), 95: (255, 255, 255)}
    for row, expected in bars.items():
        np.testing.assert_allclose(pixels[:, row, 50], expected, atol=6)  # JPEG


@pytest.mark.parametrize(
    "name", ["ExplVR_BigEnd.dcm", "examples_rgb_color.dcm", "GDCMJ2K_TextGBR.dcm"]
)
def test_colour_as_pydicom_has_it(name):
    data = packaged(name)
    expected = pydicom.dcmread(io.BytesIO(data)).pixel_array.transpose(2, 0, 1)
    np.testing.assert_array_equal(images.decode(data), expected)


def test_palette():
    data = packaged("examples_palette.dcm")
    dataset = pydicom.dcmread(io.BytesIO(data))
    colours = pydicom.pixels.apply_color_lut(dataset.pixel_array, dataset)
    scale = 255 / np.iinfo(colours.dtype).max
    expected = np.rint(colours[..., :3] * scale).transpose(2, 0, 1)
    np.testing.assert_array_equal(images.decode(data), expected)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("MR_truncated.dcm", "is cut short"),
        ("JPEG-lossy.dcm", "compressed pixels cannot be decoded"),
        ("JPEG2000-embedded-sequence-delimiter.dcm", "compressed pixels cannot be decoded"),
        ("SC_rgb_rle_2frame.dcm", "holds 2 frames.*files of their own"),
        ("rtdose.dcm", "holds 15 frames"),
        ("examples_ybr_color.dcm", "holds 30 frames"),
        ("rtplan.dcm", r"without an image \(RT Plan Storage\): move it elsewhere"),
        ("waveform_ecg.dcm", "without an image"),
        ("badVR.dcm", "damaged"),
        ("nested_priv_SQ.dcm", "damaged"),
    ],
)
def test_refused(name, said):
    with pytest.raises(DataError, match=said):
        images.decode(packaged(name))


# -- written files --------------------------------------------------------------------------------


def test_range_of_the_values_where_no_window_is_stored():
    np.testing.assert_array_equal(
        grey(data_of(scan(RAMP // 2 + 100, bits=12))), np.arange(256).reshape(16, 16)
    )


def test_rescale_and_named_window():
    stored = (RAMP.astype(np.int16) // 2) - 0
    data = data_of(scan(stored, RescaleSlope="2", RescaleIntercept="-1024", bits=16))
    units = stored * 2.0 - 1024
    # PS3.3 C.11.2.1.2.1
    for window, (centre, width) in {
        "lung": (-600, 1500),
        "brain": (40, 80),
        "35/350": (35, 350),
    }.items():
        linear = ((units - (centre - 0.5)) / (width - 1) + 0.5) * 255
        np.testing.assert_allclose(grey(data, window), np.clip(np.rint(linear), 0, 255), atol=1)


def test_the_stored_window_is_the_first_and_may_be_declared_away():
    data = data_of(scan(RAMP, bits=12, WindowCenter=[1000, 50], WindowWidth=[400, 10]))
    linear = np.clip(((RAMP - 999.5) / 399 + 0.5) * 255, 0, 255)
    np.testing.assert_allclose(grey(data), np.rint(linear), atol=1)
    np.testing.assert_allclose(grey(data, "stored"), np.rint(linear), atol=1)
    np.testing.assert_array_equal(grey(data, "min-max"), np.arange(256).reshape(16, 16))


@pytest.mark.parametrize("function", ["LINEAR_EXACT", "SIGMOID"])
def test_other_functions_of_the_window(function):
    data = data_of(scan(RAMP, bits=12, WindowCenter=2000, WindowWidth=800, VOILUTFunction=function))
    x = (RAMP - 2000.0) / 800
    expected = np.clip(x + 0.5, 0, 1) if function == "LINEAR_EXACT" else 1 / (1 + np.exp(-4 * x))
    np.testing.assert_allclose(grey(data), np.rint(expected * 255), atol=1)


def test_monochrome1_is_inverted():
    plain = grey(data_of(scan(RAMP, bits=12)))
    inverse = grey(data_of(scan(RAMP, bits=12, PhotometricInterpretation="MONOCHROME1")))
    np.testing.assert_array_equal(inverse, 255 - plain)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("limit", [None, -1990])
def test_padding_is_black_and_outside_of_the_range(photometric, limit):
    stored = RAMP.astype(np.int16) // 16
    stored[:2] = -2000
    fields = {"PixelPaddingValue": -2000, "PhotometricInterpretation": photometric}
    if limit is not None:
        stored[0, 0] = -1995
        fields["PixelPaddingRangeLimit"] = limit
    shown = grey(data_of(scan(stored, **fields)))
    assert (shown[:2] == 0).all()
    expected = stretched(stored[2:].astype(float))
    expected = 255 - expected if photometric == "MONOCHROME1" else expected
    np.testing.assert_array_equal(shown[2:], expected)


def test_padding_written_as_if_unsigned():
    stored = RAMP.astype(np.int16) // 16
    stored[0] = -2000
    dataset = scan(stored)
    dataset.add_new("PixelPaddingValue", "US", 65536 - 2000)
    np.testing.assert_array_equal(grey(data_of(dataset))[1:], stretched(stored[1:].astype(float)))


@pytest.mark.parametrize("signed", [False, True])
def test_what_lies_above_the_bits_stored_is_no_pixel(signed):
    values = RAMP.astype(np.int64) - 2048 if signed else RAMP.astype(np.int64)
    spoilt = ((values & 0xFFF) | (0x3000 * (np.arange(256).reshape(16, 16) % 2))).astype(np.uint16)
    dataset = scan(spoilt, bits=12, PixelRepresentation=int(signed))
    np.testing.assert_array_equal(grey(data_of(dataset)), stretched(values.astype(float)))


def test_another_high_bit_is_refused():
    with pytest.raises(DataError, match=r"keeps its 12 bits up to bit 15.*convert it"):
        images.decode(data_of(scan(RAMP, bits=12, HighBit=15)))


def test_rgb_of_sixteen_bits():
    pixels = np.random.default_rng(0).integers(0, 65536, (5, 7, 3), dtype=np.uint16)
    expected = np.rint(pixels / 257).transpose(2, 0, 1)
    np.testing.assert_array_equal(images.decode(data_of(scan(pixels))), expected)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_compressed_without_loss(syntax):
    dataset = scan(np.kron(RAMP, np.ones((4, 4), np.uint16)), bits=12)
    plain = grey(data_of(dataset))
    dataset.compress(syntax)
    np.testing.assert_array_equal(grey(data_of(dataset)), plain)


def test_a_window_without_width_is_refused_with_the_remedy():
    with pytest.raises(DataError, match=r"width of 0.*--window min-max"):
        images.decode(data_of(scan(RAMP, bits=12, WindowCenter=1, WindowWidth=0)))


@pytest.mark.parametrize("start", [b"\x02\x00\x02\x00", b"\x08\x00\x02\x00", b"BM", b"II*\x00"])
def test_other_formats_are_not_taken_for_it(start):
    assert not dicom.is_dicom(start + bytes(100))


def test_a_header_that_asks_for_all_memory():
    dataset = scan(RAMP, bits=12)
    dataset.Rows = dataset.Columns = 65535
    with pytest.raises(DataError, match="65535 x 65535 pixels"):
        images.decode(data_of(dataset))


def test_constant_pixels_are_black():
    assert (grey(data_of(scan(np.full((4, 4), 7, np.uint16)))) == 0).all()


def test_without_preamble():
    data = data_of(scan(RAMP, bits=12))
    np.testing.assert_array_equal(grey(data[132:]), grey(data))
    np.testing.assert_array_equal(grey(data[132:], "500/100"), grey(data, "500/100"))


def test_without_pydicom_the_command_that_installs_it(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    with pytest.raises(DataError, match=re.escape("pip install 'finetune-harness[dicom]'")):
        images.decode(packaged("CT_small.dcm"))
    folder = own(tmp_path)
    monkeypatch.setattr(dicom, "is_installed", lambda: False)
    with pytest.raises(DataError, match=r"32 DICOM files.*pip install"):
        folder.load(Access())


# -- folders --------------------------------------------------------------------------------------


def own(folder, name="{patient}-{number}.dcm", **fields):
    """Two classes of eight patients, two images each, that can be told apart."""
    rng = np.random.default_rng(0)
    for patient in range(8):
        for number in range(2):
            for shift, label in ((0, "benign"), (1000, "malignant")):
                pixels = rng.integers(shift, shift + 500, (20, 20), dtype=np.uint16)
                where = folder / label / name.format(patient=patient, number=number)
                write_scan(where, pixels, f"MRN{patient}{label}", bits=12, **fields)
    return FolderDataset(name="own", modality="ct", path=folder)


def groups(dataset, access):
    return {
        s.id: s.group for s in prepare_dataset(dataset, Protocol(name="p"), access).splits.samples
    }


@pytest.fixture
def access(tmp_path):
    return Access(cache=tmp_path / "cache")


def test_patients_are_groups_under_a_hash(tmp_path, access):
    found = groups(own(tmp_path / "data"), access)
    assert found["benign/0-0.dcm"] == found["benign/0-1.dcm"]
    assert len(set(found.values())) == 16
    assert all(re.fullmatch(r"patient-[0-9a-f]{16}", group) for group in found.values())


def test_the_issuer_tells_patients_apart(tmp_path):
    write_scan(tmp_path / "a", RAMP, "1", IssuerOfPatientID="here")
    write_scan(tmp_path / "b", RAMP, "1", IssuerOfPatientID="there")
    write_scan(tmp_path / "c", RAMP, " 1 ", IssuerOfPatientID="here")
    a, b, c = (dicom.patient_group(tmp_path / name) for name in "abc")
    assert a == c != b


def test_groups_of_a_list_come_first(tmp_path, access):
    folder = own(tmp_path / "data")
    files = sorted((tmp_path / "data").glob("*/*.dcm"))
    rows = [
        f"{f.relative_to(tmp_path / 'data').as_posix()},{f.parent.name},g{n // 4}"
        for n, f in enumerate(files)
    ]
    (tmp_path / "data" / "manifest.csv").write_text("file,label,group\n" + "\n".join(rows) + "\n")
    assert set(groups(folder, access).values()) == {f"g{number}" for number in range(8)}


def test_files_without_extension_and_the_directory_of_a_medium(tmp_path, access):
    folder = own(tmp_path / "data", name="1.2.840.{patient}.{number}")
    (tmp_path / "data" / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    assert len(groups(folder, access)) == 32
    (tmp_path / "data" / "benign" / "notes.odd").write_text("no image")
    with pytest.raises(
        DataError, match=r"1 files are no images that can be read: benign/notes\.odd"
    ):
        folder.load(access)


@pytest.mark.parametrize(
    ("patients", "said"),
    [
        (
            ["", "a", "b", "c"],
            "1 of 4 DICOM files have no patient id: x/0.dcm; write a manifest.csv",
        ),
        (
            ["anon"] * 4,
            "all 4 DICOM files have the same patient id, as some programs write to hide",
        ),
    ],
)
def test_ids_that_are_none(tmp_path, access, patients, said):
    for number, patient in enumerate(patients):
        write_scan(tmp_path / "xy"[number // 2] / f"{number}.dcm", RAMP + number, patient)
    with pytest.raises(DataError, match=said) as caught:
        FolderDataset(name="own", modality="ct", path=tmp_path).load(access)
    assert "anon" not in str(caught.value)


def test_no_patient_ids_at_all(tmp_path, access):
    for number in range(4):
        write_scan(tmp_path / "xy"[number // 2] / f"{number}.dcm", RAMP + number, "")
    loaded = FolderDataset(name="own", modality="ct", path=tmp_path).load(access)["train"]
    assert loaded["group"] == loaded["id"]


def test_no_dicom_file_in_spite_of_its_name(tmp_path, access):
    for number in range(4):
        write_scan(tmp_path / "xy"[number // 2] / f"{number}.dcm", RAMP + number, f"{number}")
    (tmp_path / "x" / "0.dcm").write_bytes(b"something else" * 20)
    with pytest.raises(DataError, match=r"1 files are no images that can be read: x/0\.dcm"):
        FolderDataset(name="own", modality="ct", path=tmp_path).load(access)
    with pytest.raises(DataError, match=r"0\.dcm is no DICOM file: it has no 'DICM' at byte 128"):
        dicom.patient_group(tmp_path / "x" / "0.dcm")


def test_a_pipe_is_not_waited_for(tmp_path, access):
    folder = own(tmp_path / "data")
    os.mkfifo(tmp_path / "data" / "benign" / "pipe.dcm")
    with pytest.raises(DataError, match=r"benign/pipe\.dcm is a named pipe and no file"):
        folder.load(access)


def test_files_without_preamble_have_patients_too(tmp_path, access):
    folder = own(tmp_path / "data")
    for file in (tmp_path / "data").rglob("*.dcm"):
        file.write_bytes(file.read_bytes()[132:])
    assert len(set(groups(folder, access).values())) == 16


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read(tmp_path, access):
    folder = own(tmp_path / "data")
    (tmp_path / "data" / "benign" / "0-0.dcm").chmod(0)
    with pytest.raises(DataError, match=r"0-0\.dcm cannot be read: Permission denied"):
        folder.load(access)


@pytest.mark.parametrize("preamble", [True, False])
@pytest.mark.parametrize("ending", [".png", ".JPG", ".tiff"])
def test_patients_of_files_under_the_name_of_another_kind(tmp_path, access, ending, preamble):
    folder = own(tmp_path / "data", name="{patient}-{number}" + ending)
    if not preamble:
        for path in (tmp_path / "data").glob(f"*/*{ending}"):
            path.write_bytes(path.read_bytes()[132:])
    found = groups(folder.model_copy(update={"window": "200/400"}), access)
    for label in ("benign", "malignant"):
        for patient in range(8):
            same = {found[f"{label}/{patient}-{number}{ending}"] for number in range(2)}
            assert len(same) == 1
            assert same.pop().startswith("patient-")
    assert len(set(found.values())) == 16


def test_other_images_beside_them_stay_groups_of_their_own(tmp_path, access):
    from PIL import Image

    folder = own(tmp_path / "data", name="{patient}-{number}.png")
    Image.new("L", (20, 20), 9).save(tmp_path / "data/benign/plain.png")
    found = groups(folder, access)
    assert found["benign/plain.png"] == "benign/plain.png"
    assert len(set(found.values())) == 17


def test_a_file_of_another_kind_that_may_not_be_read_is_a_bad_image(tmp_path, monkeypatch):
    assert dicom.is_read_as_dicom(write_scan(tmp_path / "0.png", RAMP))
    assert not dicom.is_read_as_dicom(tmp_path / "no-such.png")  # whoever decodes it says so


def test_another_window_is_other_data(tmp_path, access):
    folder = own(tmp_path / "data")
    protocol = Protocol(name="p", resize=20, crop=20)
    plain = prepare_dataset(folder, protocol, access)
    other = prepare_dataset(folder.model_copy(update={"window": "200/400"}), protocol, access)
    again = prepare_dataset(folder.model_copy(update={"window": "stored"}), protocol, access)
    assert plain.fingerprint == again.fingerprint != other.fingerprint
    assert not np.array_equal(plain.images.images["train"], other.images.images["train"])
    assert other.images.record.source == "DICOM window 200/400"
    assert plain.images.record.source == ""
    planned = survey_dataset(folder.model_copy(update={"window": "200/400"}), protocol, access)
    assert planned.fingerprint == other.fingerprint


def test_a_window_for_other_images_is_refused(tmp_path, access):
    from PIL import Image

    for name in ("x/0.png", "x/1.png", "y/0.png", "y/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (4, 4)).save(tmp_path / name)
    folder = FolderDataset(name="own", modality="ct", path=tmp_path, window="lung")
    with pytest.raises(DataError, match="holds no DICOM file, and only these have a window"):
        folder.load(access)


def test_options():
    folders = [FolderDataset(name=name, modality="ct", path=".") for name in ("a", "b")]
    assert [f.window for f in with_windows(folders, ["lung", "b:40/400"])] == ["lung", "40/400"]
    for option, said in {
        "lungs": "did you mean 'lung'",
        "40/0": "no window",
        "nan/3": "no window",
        "c:lung": "none is named 'c'",
    }.items():
        with pytest.raises(UsageError, match=said):
            with_windows(folders, [option])
    with pytest.raises(UsageError, match="none is given"):
        with_windows([], ["lung"])


def other_versions(monkeypatch, **versions):
    """Another version of what decodes DICOM files is installed, or none."""
    real = dicom.version

    def version(name):
        found = versions.get(name.replace("-", "_"), real)
        if found is None:
            raise dicom.PackageNotFoundError(name)
        return found if isinstance(found, str) else found(name)

    monkeypatch.setattr(dicom, "version", version)


@pytest.mark.slow
@pytest.mark.parametrize("versions", [{"pydicom": "99.0"}, {"pylibjpeg": None}])
def test_pixels_of_another_pydicom_are_decoded_again(tmp_path, access, monkeypatch, versions):
    """Both what trains and what is compared for near duplicates, and only of sets with DICOM files."""
    from PIL import Image

    plain = tmp_path / "plain"
    for number in range(16):
        for place in ("x", "y"):
            (plain / place).mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng([number, ord(place)]).integers(0, 255, (20, 20))
            Image.fromarray(noise.astype(np.uint8)).save(plain / place / f"{number}.png")
    sets = {
        "own": own(tmp_path / "data", name="{patient}-{number}.png"),
        "plain": FolderDataset(name="plain", modality="ct", path=plain),
    }
    protocol = Protocol(name="p", resize=20, crop=20)

    def decoded():
        before = {one: survey_dataset(sets[one], protocol, access).decoded for one in sets}
        prints = {one: prepare_dataset(sets[one], protocol, access).fingerprint for one in sets}
        twins = len(list((access.cache / "twins").iterdir()))
        return before, prints, twins

    first = decoded()
    assert first[0] == {"own": False, "plain": False}
    assert decoded()[0] == {"own": True, "plain": True}
    assert all(one.current for one in cache.entries(access.cache))
    other_versions(monkeypatch, **versions)
    assert [one.current for one in cache.entries(access.cache)] == [False, True]
    again = decoded()
    assert again[0] == {"own": False, "plain": True}
    assert again[1] == first[1]
    assert (first[2], again[2]) == (2, 3)
    assert decoded()[0] == {"own": True, "plain": True}


@pytest.mark.slow
def test_a_bench_over_dicom_files_keeps_patients_to_itself(tmp_path, toy_cli, caplog):
    caplog.set_level(logging.DEBUG)
    own(tmp_path / "data", BodyPartExamined="CHEST", StudyDate="no date")
    out = tmp_path / "out"
    call = ("--data", f"ct:own={tmp_path / 'data'}", "--window", "min-max", "--out", out)
    done = toy_cli("bench", "toy", "--datasets", "own", *call, "--jobs", 1)
    run = json.loads(next((out / "runs").rglob("*.json")).read_text())
    assert run["data"]["source"] == "DICOM window min-max"
    assert toy_cli("verify", out, "--replay", 1, *call[:4]).exit_code == 0
    audit = toy_cli("data", "audit", *call[:4], "--out", tmp_path / "audit")
    toy_cli("publish", out, "--to", tmp_path / "published")
    texts = [done.output, audit.output, caplog.text]
    texts += [
        f.read_bytes().decode("latin-1")
        for f in tmp_path.rglob("*")
        if f.is_file() and f.parent.parent.name != "data" and f.suffix != ".npy"
    ]
    texts += [str(f) for f in out.rglob("*")]
    assert not [text for text in texts if "MRN" in text or "Quarterstaff" in text]
    published = b"".join(f.read_bytes() for f in (tmp_path / "published").rglob("*") if f.is_file())
    assert b"patient-" not in published
