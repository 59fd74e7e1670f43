"""Files of weights as people have them, read without running code.

They are told by their first bytes, never by their ending; one that cannot be read is refused with
what it is.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, ClassVar, Self

from harness.errors import WeightsError

WRAPPERS = ("state_dict", "model_state_dict", "model")  # taken first where several fit as well
DEPTH = 4  # mappings in mappings that are searched
TORCH_MAGIC = 0x1950A86A20F9469CFC6C  # of files that torch.save wrote before 1.6

_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
_OTHER_KINDS = {
    b"version https://git-lfs": "it is a Git LFS pointer, which only names the file. Run "
    "`git lfs pull` where it lies, or download the file itself",
    b"\x89HDF\r\n": "it is an HDF5 file (Keras?), and torch has no names for what is in it. Give "
    "weights that torch.save or safetensors wrote",
    b"\x1f\x8b": "it is compressed by gzip. Unpack it",
    b"PK\x05\x06": "it is an empty zip archive. Fetch it again",
}
_WIDTHS = {  # bytes of a number; those that are not here take one
    "ComplexDouble": 16, "ComplexFloat": 8, "Double": 8, "Long": 8, "Float": 4, "Int": 4, "Half": 2,
    "BFloat16": 2, "Short": 2,
}  # fmt: skip
_FAULTS = (
    OSError, EOFError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, ImportError,
    OverflowError, MemoryError, RecursionError, pickle.UnpicklingError, zipfile.BadZipFile,
)  # fmt: skip


def read_content(path: Path) -> object:
    """The content of a file of weights, read without running code.

    Raises:
        WeightsError: it is damaged or no such file, or it holds more than tensors: what it holds,
            and how to save it again.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    start = b"?"
    try:
        with path.open("rb") as file:
            start = file.read(64)
        # The first eight bytes of safetensors are a length, which may begin as a pickle does.
        if start[6:9] == b"\0\0{" or not start.startswith((_ZIP, _PICKLE)):
            return load_file(path)
    except (SafetensorError, *_FAULTS) as error:
        raise _refusal(path, _other_kind(start), error) from error
    try:
        # An open file: of a path torch looks at the ending.  What it warns of, the refusal says.
        with path.open("rb") as file, warnings.catch_warnings(action="ignore"):
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises almost anything on a file that is not what it wrote
        raise _refusal(path, _explained(path), error) from error


def _refusal(path: Path, said: str, error: BaseException) -> WeightsError:
    if said:
        return WeightsError(f"{path} cannot be read as weights: {said}.")
    reason = str(error).partition("\n")[0].partition(". ")[0]
    return WeightsError(
        f"{path} cannot be read as weights ({type(error).__name__}: {reason}). It may be cut "
        "short or corrupt: fetch it again."
    )


def _other_kind(start: bytes) -> str:
    if not start:
        return "it is empty. Fetch it again"
    known = (said for magic, said in _OTHER_KINDS.items() if start.startswith(magic))
    text = start.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a web page: a download that failed, or needs a login. Fetch it again"
    return next(known, "")


# -- what a pickle holds, without its code --------------------------------------------------------


class _Inert:
    """Stands for an object of a pickle whose class is not imported: takes anything, does nothing."""

    kind: ClassVar[str] = ""

    def __new__(cls, *_: object, **__: object) -> Self:
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        """Take and drop what the object was made from."""

    def __call__(self, *_: object, **__: object) -> _Inert:
        return self

    def __setstate__(self, _: object) -> None:
        """Drop the state."""

    def __setitem__(self, _: object, __: object) -> None:
        """Drop the item."""

    append = extend = add = __setstate__


class _Tensor(_Inert):
    """Stands for a tensor, or for its memory."""


class _Looker(pickle.Unpickler):
    """Gives the structure of a pickle: plain containers and values, all else `_Inert`.

    Nothing that the file names is imported or called, so that it is safe on any file.
    """

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self.stored: dict[object, int] = {}

    def find_class(self, module: str, name: str) -> type:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module in {"torch._utils", "torch._tensor"} and name.startswith("_rebuild"):
            return _Tensor
        if module in {"torch", "torch.storage", "_codecs", "torch.serialization"}:
            # Types of memory, numbers and bytes: parts of tensors.
            return type("Part", (_Tensor,), {"kind": name.removesuffix("Storage")})
        known = {
            "scalar": "a numpy number",
            "_reconstruct": "a numpy array",
            "_frombuffer": "a numpy array",
            "dtype": "a numpy type",
        }
        kind = known.get(name) if module.partition(".")[0] == "numpy" else None
        return type("Foreign", (_Inert,), {"kind": kind or f"{module}.{name}"})

    def persistent_load(self, pid: object) -> object:
        """The memory of a tensor: ('storage', type, key, device, numbers, ...)."""
        if isinstance(pid, tuple) and len(pid) > 4 and isinstance(pid[4], int):  # noqa: PLR2004
            width = _WIDTHS.get(getattr(pid[1], "kind", ""), 1)
            self.stored[pid[2]] = width * pid[4]
        return _Tensor()


def _explained(path: Path) -> str:
    """Name the kind of a file that torch's safe reader refused; empty: damaged, or nobody knows."""
    try:
        with path.open("rb") as file:
            if file.read(4) != _ZIP:
                file.seek(0)
                return _of_pickles(path, file)
        with zipfile.ZipFile(path) as archive:
            return _of_archive(path, archive)
    except _FAULTS:
        return ""


def _of_archive(path: Path, archive: zipfile.ZipFile) -> str:
    members = archive.namelist()
    ends = {member.rpartition("/")[2]: member for member in members}
    if "constants.pkl" in ends:
        return (
            "it is a TorchScript program. Save its tensors alone: "
            f"`torch.save(torch.jit.load({path.name!r}).state_dict(), 'NEW/{path.name}')`, and "
            "give --weights NEW"
        )
    if "data.pkl" not in ends:
        listed = ", ".join(members[:3])
        return (
            f"it is a zip archive ({listed}{', ...' * (len(members) > 3)}) that torch.save did not "  # noqa: PLR2004
            "write. Unpack it, and give the folder with the file of weights"
        )
    content = archive.read(ends["data.pkl"])
    for _ in pickletools.genops(content):
        pass
    return _of_object(path, _Looker(io.BytesIO(content)).load())


def _of_pickles(path: Path, file: io.BufferedReader) -> str:
    """Of a plain pickle, or of a file that torch.save wrote before 1.6: the fourth of its pickles."""
    for _ in pickletools.genops(file):
        pass
    file.seek(0)
    top = _Looker(file).load()
    if top != TORCH_MAGIC:
        return _of_object(path, top, plain=True)
    for _ in range(2):
        _Looker(file).load()
    looker = _Looker(file)
    top = looker.load()
    _Looker(file).load()  # names of the numbers that follow
    needed = sum(looker.stored.values())
    whole = path.stat().st_size >= file.tell() + needed
    return _of_object(path, top) if whole else ""


def _of_object(path: Path, top: object, *, plain: bool = False) -> str:
    """The refusal of a whole file that holds more than tensors."""
    if plain:
        read = f"numpy.load({path.name!r}, allow_pickle=True)"
    else:
        read = f"torch.load({path.name!r}, weights_only=False)"
    foreign, tensors = _parts(top)
    if not foreign and not plain:
        return ""
    if isinstance(top, _Inert):
        holds = f"it is a whole pickled object ({top.kind})"
    else:
        shown = [f"{name!r} is {kind}" for name, kind in list(foreign.items())[:3]]
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""  # noqa: PLR2004
        holds = f"it holds objects that are no tensors ({', '.join(shown)}{more})" if shown else ""
        holds = holds or "it is a pickle that torch.save did not write"
    return (
        f"{holds}, and to read such a file is to run code. If you trust it, save its tensors alone: "
        f"`c = {read}; torch.save({tensors}, 'NEW/{path.name}')`, and give --weights NEW"
    )


def _parts(top: object) -> tuple[dict[str, str], str]:
    """The entries that are no tensors and plain values, and Python for the tensors (from `c`)."""
    if isinstance(top, _Inert):
        return {"": top.kind}, "c.state_dict()"
    if not isinstance(top, Mapping):
        return {str(place): kind for place, kind in _foreign(top)}, "NETWORK.state_dict()"
    foreign: dict[str, str] = {}
    for name, value in top.items():
        for _, kind in _foreign(value):
            foreign.setdefault(str(name), kind)
    return foreign, _tensors_of(top)


def _tensors_of(top: Mapping[Any, object]) -> str:
    """Python for the tensors of a checkpoint `c` whose structure `top` is."""
    states = [name for name, value in top.items() if isinstance(value, Mapping) and _named(value)]
    if states:
        chosen = next((name for name in WRAPPERS if name in states), states[0])
        plain = not any(True for _ in _foreign(top[chosen]))
        inside = f"c[{chosen!r}]"
        return inside if plain else f"{{k: torch.as_tensor(v) for k, v in {inside}.items()}}"
    if any(isinstance(value, _Tensor) for value in top.values()):
        return "{k: v for k, v in c.items() if torch.is_tensor(v)}"
    models = {name for name, value in top.items() if isinstance(value, _Inert)}
    chosen = next((name for name in ("model", "net", "ema") if name in models), None)
    if chosen:
        return f"c[{chosen!r}].state_dict()"
    return "{k: torch.as_tensor(v) for k, v in c.items()}"


def _named(value: Mapping[object, object]) -> bool:
    """True if a mapping looks like a network's state: tensors or arrays under dotted names."""
    return any(
        isinstance(part, _Tensor) or (isinstance(part, _Inert) and part.kind == "a numpy array")
        for part in value.values()
    )


def _foreign(value: object, depth: int = DEPTH) -> Iterator[tuple[str, str]]:
    """The objects in a value that are neither plain nor tensors: where, and of what class."""
    kind = value if isinstance(value, type) else type(value)
    if issubclass(kind, _Inert):
        if not issubclass(kind, _Tensor):
            yield "", kind.kind
    elif depth:
        for place, part in _inside(value):
            for _, found in _foreign(part, depth - 1):
                yield str(place), found


def _inside(value: object) -> Iterable[tuple[object, object]]:
    if isinstance(value, Mapping):
        return value.items()
    if isinstance(value, list | tuple | set | frozenset):
        return enumerate(value)
    return ()
