"""Find a backbone's starting weights, and make sure of their bytes.

Where weights may come from (`where`): None or 'default' takes what the backbone declares (a file
that ships with its plugin, or torchvision's, from the checkpoint folder of `torch.hub` or the
network), 'none' starts from random weights, and a folder is looked through for `NAME.safetensors`,
`NAME.pth` or `NAME.pt`, each also with a hash suffix (`resnet50-11ad3fa6.pth`).
"""

from __future__ import annotations

import hashlib
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from harness import files
from harness.backbone import Backbone, Weights
from harness.errors import WeightsError

_ENDINGS = (".safetensors", ".pth", ".pt")
_HASH_SUFFIX = re.compile(r"-([0-9a-f]{8,64})$")


@dataclass(frozen=True)
class WeightsFile:
    """A file that is there and whose bytes are what they should be, as far as that is known."""

    path: Path
    sha256: str
    declared: Weights
    miniature: bool = False


@dataclass(frozen=True)
class Availability:
    """What a plan says of a backbone's weights.

    Attributes:
        ready: nothing has to be fetched.
        download: bytes still to be fetched, about; 0 if ready or unobtainable.
        problem: why the weights cannot be had and what to do; empty where they can.
    """

    ready: bool
    download: int = 0
    problem: str = ""


@dataclass(frozen=True)
class _Place:
    """Where a file is or will be; `url` and `megabytes` where it can be fetched."""

    path: Path
    declared: Weights
    url: str = ""
    megabytes: float = 0.0


def find(
    backbone: Backbone, where: str | Path | None = None, *, offline: bool = False
) -> WeightsFile | None:
    """The weights file of a backbone, fetched if need be; None for 'none'.

    Raises:
        WeightsError: there is none, or its bytes are not the declared ones.
    """
    place = _place(backbone, where)
    if place is None:
        return None
    if not place.path.is_file():
        problem = _obstacle(backbone, place, offline=offline)
        if problem:
            raise WeightsError(problem)
        _download(backbone, place)
    sha256 = _sha256(place.path)
    _check_bytes(place, sha256)
    return WeightsFile(place.path, sha256, place.declared, backbone.miniature)


def available(
    backbone: Backbone, where: str | Path | None = None, *, offline: bool = False
) -> Availability:
    """What `find` would have to do, without doing it: for plans."""
    try:
        place = _place(backbone, where)
    except WeightsError as error:
        return Availability(ready=False, problem=str(error))
    if place is None or place.path.is_file():
        return Availability(ready=True)
    problem = _obstacle(backbone, place, offline=offline)
    size = 0 if problem else int(place.megabytes * 2**20)
    return Availability(ready=False, download=size, problem=problem)


def _place(backbone: Backbone, where: str | Path | None) -> _Place | None:
    if where == "none":
        return None
    if where is None or where == "default":
        return _default(backbone)
    folder = Path(where)
    if not folder.is_dir():
        raise WeightsError(
            f"--weights {where}: no such folder. Give a folder with {backbone.name}.safetensors or "
            f"{backbone.name}.pth, or 'none' for random weights."
        )
    path = _in_folder(backbone, folder)
    if path is not None:
        return _Place(path, Weights(name=path.name))
    if backbone.miniature:
        return _default(backbone)  # a folder is for real networks; miniatures bring their own
    looked = ", ".join(f"{backbone.name}{ending}" for ending in _ENDINGS)
    raise WeightsError(
        f"{folder} has no weights for {backbone.name}: looked for {looked} (also with a hash "
        "suffix). Put one there, or use --weights none for random weights."
    )


def _in_folder(backbone: Backbone, folder: Path) -> Path | None:
    for ending in _ENDINGS:
        if (path := folder / f"{backbone.name}{ending}").is_file():
            return path
    suffixed = [
        path
        for path in sorted(folder.glob(f"{backbone.name}-*"))
        if path.suffix in _ENDINGS
        and (found := _HASH_SUFFIX.search(path.stem))
        and path.stem[: found.start()] == backbone.name
    ]
    if len(suffixed) > 1:
        listed = " and ".join(path.name for path in suffixed)
        raise WeightsError(
            f"{folder} holds {listed} for {backbone.name}: rename the one to use to "
            f"{backbone.name}{suffixed[0].suffix}."
        )
    return suffixed[0] if suffixed else None


def _default(backbone: Backbone) -> _Place:
    declared = backbone.weights
    if declared is None or (declared.file is None and declared.enum is None):
        raise WeightsError(
            f"{backbone.name} declares no weights: give a folder with --weights DIR, or use "
            "--weights none for random weights."
        )
    if declared.file is not None:
        return _Place(Path(declared.file), declared)
    import torch
    from torchvision.models import get_weight

    try:
        published = get_weight(declared.enum)
    except (ValueError, KeyError, AttributeError) as error:
        raise WeightsError(
            f"{backbone.name}: torchvision knows no weights named {declared.enum}"
        ) from error
    url = str(published.url)
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    return _Place(path, declared, url, float(published.meta.get("_file_size", 0.0)))


def _obstacle(backbone: Backbone, place: _Place, *, offline: bool) -> str:
    """Why a file that is not there cannot be fetched; empty if it can."""
    if not place.url:
        return (
            f"{place.path}, the starting point of {backbone.name}, is missing: install the plugin "
            "that offers it again."
        )
    if not offline:
        return ""
    return (
        f"The weights of {backbone.name} are not at {place.path}, and offline nothing is fetched. "
        f"{_advice(backbone, place)}"
    )


def _advice(backbone: Backbone, place: _Place) -> str:
    return (
        f"Fetch {place.url} ({place.megabytes:.0f} MB) into {place.path.parent}, or into a folder "
        f"of your own given by --weights DIR (as {place.path.name} or {backbone.name}"
        f"{place.path.suffix}), or use --weights none for random weights."
    )


def _download(backbone: Backbone, place: _Place) -> None:
    """Bring a published file; what has come of it is kept beside its place until it is whole.

    Whether it is right is for the caller to see; what an earlier call has begun is checked here,
    and fetched anew if it was at fault.
    """
    part = place.path.with_name(f"{place.path.name}.part")
    try:
        with files.locked(place.path.parent):
            if place.path.is_file():  # another process was faster
                return
            begun = part.is_file() and bool(_expected(place))
            if not begun:
                part.unlink(missing_ok=True)
            if not (begun and _right(place, part)):
                _bring(place.url, part)
            if begun and not _right(place, part):
                part.unlink()
                _bring(place.url, part)
            part.replace(place.path)
    except Exception as error:  # the client lets through whatever its transport raises
        raise WeightsError(
            f"The weights of {backbone.name} could not be fetched ({error}); what has come is kept. "
            f"{_advice(backbone, place)}"
        ) from error


def _bring(url: str, part: Path) -> None:
    """The rest of a file, appended to what is there of it."""
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils.tqdm import disable_progress_bars, enable_progress_bars

    (enable_progress_bars if sys.stderr.isatty() else disable_progress_bars)()
    headers = {"Accept-Encoding": "identity"}  # parts are of plain bytes
    with part.open("ab") as stream:
        http_get(url, stream, resume_size=stream.tell(), headers=headers)


def _right(place: _Place, part: Path) -> bool:
    return _sha256(part).startswith(_expected(place))


def _expected(place: _Place) -> str:
    """The sha256 a file should have, or its first digits; empty where nobody says."""
    suffix = _HASH_SUFFIX.search(place.path.stem)
    return place.declared.sha256 or (suffix.group(1) if suffix else "")


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}") from error


def _check_bytes(place: _Place, sha256: str) -> None:
    """Against the declared sha256, or against the first digits in a published file's name."""
    expected = _expected(place)
    if not sha256.startswith(expected):
        raise WeightsError(
            f"{place.path} has sha256 {sha256}, expected {expected}: it is cut short or was "
            "changed. Delete it and fetch it (or install its plugin) again."
        )
