"""DICOM files: to pixels as everything else is read, and whose images they are.

pydicom reads them (the extra `dicom`).  What a dataset declares about the window stands in the
preamble of the bytes that are decoded: 128 bytes that the standard leaves to applications.  So
another window gives other bytes, and with them another hash, another fingerprint, other entries in
the cache, without a word anywhere else.

Nothing of the header but pixels and a hash of the patient id gets out of here: no message quotes it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import re
import warnings
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import DataError, UsageError
from harness.utils.names import did_you_mean

if TYPE_CHECKING:
    import numpy as np

EXTENSIONS = frozenset({".dcm", ".dicom", ".ima"})
DIRECTORY = "DICOMDIR"  # the table of contents of a medium, no image
INSTALL = "pip install 'finetune-harness[dicom]'"
# All that pydicom calls: with one more, files may be decoded that could not be.
DECODERS = (
    "pydicom",
    "pylibjpeg",
    "pylibjpeg-libjpeg",
    "pylibjpeg-openjpeg",
    "pylibjpeg-rle",
    "python-gdcm",
    "pyjpegls",
)
PREAMBLE, MAGIC = 128, b"DICM"
STORED, MIN_MAX = "stored", "min-max"
# Centre and width in Hounsfield units, as radiologists set them.
WINDOWS = {
    "abdomen": (50.0, 400.0),
    "bone": (400.0, 1800.0),
    "brain": (40.0, 80.0),
    "liver": (60.0, 160.0),
    "lung": (-600.0, 1500.0),
    "mediastinum": (50.0, 350.0),
    "soft-tissue": (50.0, 400.0),
    "stroke": (40.0, 40.0),
    "subdural": (75.0, 215.0),
}
_MARK = b"harness window "
_NUMBERS = re.compile(r"(-?\d+(?:\.\d+)?)/(\d+(?:\.\d+)?)")
# Files without preamble begin with the length of group 2, or a low element of group 8.
_BARE = re.compile(rb"\x02\x00\x00\x00UL|\x08\x00[\x00\x05\x08\x12-\x18]\x00", re.DOTALL)
MOST_PIXELS = 178_956_970  # as Pillow has it: more is taken for an attack
_FAR = 1e15  # a value beyond every window


def is_dicom(data: bytes) -> bool:
    """True for the bytes of a DICOM file, also of one without the preamble."""
    return data[PREAMBLE : PREAMBLE + 4] == MAGIC or _BARE.match(data) is not None


def is_dicom_file(path: Path) -> bool:
    """True for a DICOM file, whatever its name; one without preamble must have its extension.

    Of one that cannot be read the extension counts: whoever reads it says what is wrong.
    """
    named = path.suffix.lower() in EXTENSIONS
    if not path.is_file():  # to open a pipe is to wait for ever
        return False
    try:
        start = _start(path)
    except DataError:
        return named
    return start[PREAMBLE:] == MAGIC or (named and is_dicom(start))


def is_read_as_dicom(path: Path) -> bool:
    """True for an image file that is decoded as DICOM, whatever its name; False: it cannot be read."""
    try:
        return is_dicom(_start(path))
    except DataError:
        return False


def _start(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(PREAMBLE + 4)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def is_installed() -> bool:
    """True if what reads DICOM files is there."""
    return importlib.util.find_spec("pydicom") is not None


def decoders() -> dict[str, str]:
    """Versions of what decodes DICOM files; 'none' for what is not installed."""
    found = {}
    for name in DECODERS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found


def check_window(window: str, where: str) -> str:
    """A window as a dataset declares it: stored, min-max, a name, or CENTRE/WIDTH.

    Raises:
        UsageError: it is none of these.
    """
    numbers = _NUMBERS.fullmatch(window)
    if window in {STORED, MIN_MAX, *WINDOWS} or (numbers and float(numbers[2]) >= 1):
        return window
    names = [STORED, MIN_MAX, *WINDOWS]
    raise UsageError(
        f"{where}: {window!r} is no window{did_you_mean(window, names)}; use {', '.join(names)}, or "
        "CENTRE/WIDTH as in 40/400 (a width of 1 or more)"
    )


@dataclass(frozen=True)
class WindowedFile:
    """An image file, its bytes with the window in their preamble; others as they are."""

    source: bytes | Path
    window: str

    def __str__(self) -> str:
        return "an image" if isinstance(self.source, bytes) else str(self.source)

    def read_bytes(self) -> bytes:
        """As of a path."""
        data = self.source if isinstance(self.source, bytes) else self.source.read_bytes()
        if not is_dicom(data):
            return data
        body = data[PREAMBLE:] if data[PREAMBLE : PREAMBLE + 4] == MAGIC else MAGIC + data
        return (_MARK + self.window.encode()).ljust(PREAMBLE, b"\0") + body


def patient_group(path: Path) -> str | None:
    """A hash that stands for the patient of a file; None: the file does not say.

    Raises:
        DataError: the file is damaged.
    """
    library = _library()
    tags = ["PatientID", "IssuerOfPatientID"]
    if not is_dicom(_start(path)):
        raise DataError(f"{path} is no DICOM file: it has no 'DICM' at byte {PREAMBLE}")
    try:
        header = library.dcmread(path, stop_before_pixels=True, specific_tags=tags, force=True)
        patient = " ".join(str(header.get("PatientID") or "").split())
        issuer = " ".join(str(header.get("IssuerOfPatientID") or "").split())
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or 'cut short'}") from None
    except Exception as error:  # noqa: BLE001 - damaged headers raise anything, and may be quoted
        raise DataError(
            f"{path} cannot be read as DICOM ({type(error).__name__}); it is damaged"
        ) from None
    if not patient:
        return None
    return f"patient-{hashlib.sha256(f'{issuer}|{patient}'.encode()).hexdigest()[:16]}"


def describe(data: bytes) -> tuple[str, str]:
    """For people: the photometric interpretation, and DICOM."""
    header = _library().dcmread(io.BytesIO(data), stop_before_pixels=True, force=True)
    return str(header.get("PhotometricInterpretation", "")), "DICOM"


def decode(data: bytes) -> np.ndarray:
    """Pixels of a DICOM file, uint8 [3, H, W], RGB.

    Grey: the rescale (or modality table) is applied; then the window that the preamble declares,
    else the file's first one or its table, else the range of its values; MONOCHROME1 is inverted,
    padding is black.  Colour: RGB, YBR and palettes, scaled by the bits stored.

    Raises:
        DataError: it holds no image or several, or is damaged, or pydicom is not installed.
    """
    library = _library()
    try:
        dataset = library.dcmread(io.BytesIO(data), force=True)
        _check(dataset)
        pixels = dataset.pixel_array
        image = _colour(dataset, pixels) if _is_colour(dataset) else _grey(dataset, pixels, data)
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001 - damaged bytes raise anything, and its text may quote the header
        raise DataError(_fault(error)) from None
    return image


def _library() -> Any:  # noqa: ANN401 - pydicom is optional
    try:
        import pydicom
    except ImportError as error:
        raise DataError(f"is a DICOM file, and pydicom is not installed: {INSTALL}") from error
    # What it warns of quotes the header: names of patients have no place in a log.
    warnings.filterwarnings("ignore", module=r"(pydicom|pylibjpeg|libjpeg|openjpeg|rle)(\.|$)")
    return pydicom


def _fault(error: Exception) -> str:
    text = str(error)
    if "plugin" in text or "decode" in text:
        return (
            f"its compressed pixels cannot be decoded ({type(error).__name__}): they are damaged, or "
            f"no decoder for them is installed ({INSTALL} brings all there are)"
        )
    if "less than expected" in text:
        return "is cut short: it holds fewer bytes of pixels than its header says"
    return f"cannot be decoded as DICOM ({type(error).__name__}); it is damaged"


def _check(dataset: Any) -> None:  # noqa: ANN401 - a pydicom.Dataset
    if not any(name in dataset for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        kind = getattr(getattr(dataset, "SOPClassUID", None), "name", "") or "an unknown kind"
        raise DataError(f"is a DICOM file without an image ({kind}): move it elsewhere")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1:
        raise DataError(
            f"holds {frames} frames, and a sample is one image: write the frames to use as files of "
            "their own (dcm4che's or highdicom's splitters, or pydicom), all in the patient's group"
        )
    rows, columns = (int(dataset.get(name) or 0) for name in ("Rows", "Columns"))
    if rows * columns > MOST_PIXELS:
        raise DataError(f"says that it has {rows} x {columns} pixels, which is taken for an attack")
    stored = dataset.get("BitsStored")
    if stored and dataset.get("HighBit", stored - 1) != stored - 1:
        raise DataError(
            f"keeps its {stored} bits up to bit {dataset.HighBit}, as old machines did: convert it "
            "(dcmconv of DCMTK, or gdcmconv)"
        )


def _is_colour(dataset: Any) -> bool:  # noqa: ANN401 - a pydicom.Dataset
    palette = dataset.get("PhotometricInterpretation") == "PALETTE COLOR"
    return bool(palette or dataset.get("SamplesPerPixel", 1) > 1)


def _colour(dataset: Any, pixels: np.ndarray) -> np.ndarray:  # noqa: ANN401
    import numpy as np
    from pydicom.pixels.processing import apply_color_lut

    bits = int(dataset.BitsStored)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, dataset)
        bits = 8 * pixels.dtype.itemsize
    scaled = pixels if bits == 8 else np.rint(pixels * (255.0 / (2**bits - 1)))  # noqa: PLR2004
    return np.ascontiguousarray(scaled[..., :3].astype(np.uint8).transpose(2, 0, 1))


def _grey(dataset: Any, stored: np.ndarray, data: bytes) -> np.ndarray:  # noqa: ANN401
    import numpy as np
    from pydicom.pixels.processing import apply_modality_lut

    stored = _own_bits(dataset, stored)
    padding = _padding(dataset, stored)
    values = np.asarray(apply_modality_lut(stored, dataset), dtype=np.float64)
    if not np.isfinite(values).all():
        raise DataError("some pixels are not finite numbers")
    shown, low, high = _windowed(dataset, values, padding, _declared(data))
    scale = 255.0 / (high - low) if high > low else 0.0
    grey = np.rint((np.clip(shown, low, high) - low) * scale)
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        grey = 255.0 - grey
    grey[padding] = 0.0
    return np.broadcast_to(grey.astype(np.uint8), (3, *grey.shape)).copy()


def _declared(data: bytes) -> str:
    """The window in the preamble; 'stored' where none is declared."""
    if not data.startswith(_MARK):
        return STORED
    return data[len(_MARK) : PREAMBLE].rstrip(b"\0").decode()


def _windowed(
    dataset: Any,  # noqa: ANN401 - a pydicom.Dataset
    values: np.ndarray,
    padding: np.ndarray,
    window: str,
) -> tuple[np.ndarray, float, float]:
    """Values after the window, and what is black and what is white of them."""
    import numpy as np
    from pydicom.pixels.processing import apply_voi, apply_windowing

    if window == STORED and dataset.get("VOILUTSequence"):
        table = dataset.VOILUTSequence[0]
        bits = int(table.LUTDescriptor[2])
        shown = apply_voi(np.rint(values).astype(np.int64), dataset)
        return shown.astype(np.float64), 0.0, float(2**bits - 1)
    numbers = _numbers(dataset, window)
    if numbers is None:
        inside = values[~padding]
        return values, float(inside.min(initial=_FAR)), float(inside.max(initial=-_FAR))
    if numbers[1] < 1:
        raise DataError(
            f"its window has a width of {numbers[1]:g}: declare one, with --window min-max, say"
        )
    dataset.WindowCenter, dataset.WindowWidth = numbers
    if window != STORED:
        dataset.VOILUTFunction = "LINEAR"
    ends = apply_windowing(np.array([-_FAR, _FAR]), dataset)
    return apply_windowing(values, dataset), float(ends[0]), float(ends[1])


def _numbers(dataset: Any, window: str) -> tuple[float, float] | None:  # noqa: ANN401
    """Centre and width; None: the range of the values."""
    if window == MIN_MAX:
        return None
    if window in WINDOWS:
        return WINDOWS[window]
    if found := _NUMBERS.fullmatch(window):
        return float(found[1]), float(found[2])
    centre, width = (_first(dataset.get(name)) for name in ("WindowCenter", "WindowWidth"))
    return None if centre is None or width is None else (centre, width)


def _first(value: Any) -> float | None:  # noqa: ANN401 - a number, several, or none
    if value is None or value == "":
        return None
    several = hasattr(value, "__len__") and not isinstance(value, str)
    return float(value[0] if several else value) if not several or len(value) else None


def _own_bits(dataset: Any, stored: np.ndarray) -> np.ndarray:  # noqa: ANN401
    """Without what lies in the bits above those stored: overlays of old files."""
    import numpy as np

    bits, allocated = int(dataset.get("BitsStored") or 0), 8 * stored.dtype.itemsize
    if stored.dtype.kind not in "iu" or not 0 < bits < allocated:
        return stored
    low = stored.astype(np.int64) & ((1 << bits) - 1)
    if int(dataset.get("PixelRepresentation") or 0) == 1:
        low -= (low >> (bits - 1)) << bits
    return low.astype(stored.dtype.newbyteorder("="))


def _padding(dataset: Any, stored: np.ndarray) -> np.ndarray:  # noqa: ANN401
    """The pixels that only fill a rectangle up."""
    import numpy as np

    value = dataset.get("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, dtype=bool)
    other = dataset.get("PixelPaddingRangeLimit")
    ends = sorted(_signed(dataset, end) for end in (value, value if other is None else other))
    padding: np.ndarray = (stored >= ends[0]) & (stored <= ends[1])
    return padding if not padding.all() else np.zeros(stored.shape, dtype=bool)


def _signed(dataset: Any, value: int) -> int:  # noqa: ANN401
    """A padding value as pixels have it: some files write negative ones as if unsigned."""
    bits = int(dataset.get("BitsAllocated") or 16)
    if int(dataset.get("PixelRepresentation") or 0) == 1 and value >= 1 << (bits - 1):
        return int(value) - (1 << bits)
    return int(value)
