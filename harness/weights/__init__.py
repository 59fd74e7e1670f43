"""A backbone's starting weights: found, their bytes checked, fitted to its chain of stages.

Where weights may come from (`where`): None or 'default' takes what the backbone declares (a file
that ships with its plugin, or torchvision's, from the checkpoint folder of `torch.hub` or the
network, or one of the Hugging Face Hub, from the cache or the network), 'none' starts from random weights, and a folder is looked through for `NAME.safetensors`,
`NAME.pth`, `NAME.pt`, `NAME.ckpt`, `NAME.bin` or `NAME.pth.tar`, each also with a hash suffix
(`resnet50-11ad3fa6.pth`).
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api.backbone import Backbone, Weights
from harness.api.dataset import default_cache
from harness.api.execution import StartingPoint
from harness.api.records import WeightsRecord
from harness.checkpoints.network import find_network
from harness.checkpoints.reading import read_content
from harness.errors import WeightsError
from harness.utils import files, hub_files, locks
from harness.utils.hub_address import PREFIX, HubFile
from harness.utils.parallel import machine_name
from harness.utils.text import megabytes

if TYPE_CHECKING:
    from torch import Tensor

_ENDINGS = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".pth.tar")
_HASH_SUFFIX = re.compile(r"-([0-9a-f]{8,64})$")


@dataclass(frozen=True)
class WeightsFile:
    """A file that is there and whose bytes are what they should be, as far as that is known.

    Attributes:
        note: what of a user's file was unwrapped, passed over or lacking; empty for a plain one.
    """

    path: Path
    sha256: str
    declared: Weights
    miniature: bool = False
    note: str = ""


@dataclass(frozen=True)
class Availability:
    """A backbone's weights as a plan sees them: here, to be fetched, or not to be had.

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
    """The path where a file is or will be; `url` and `bytes`, or `hub`, where it can be fetched."""

    path: Path
    declared: Weights
    url: str = ""
    bytes: int = 0
    note: str = ""
    hub: HubFile | None = None


def find_weights(
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
    return WeightsFile(place.path, sha256, place.declared, backbone.miniature, place.note)


def availability(
    backbone: Backbone, where: str | Path | None = None, *, offline: bool = False
) -> Availability:
    """As `find_weights`, but nothing is fetched: for plans."""
    try:
        place = _place(backbone, where)
    except WeightsError as error:
        return Availability(ready=False, problem=str(error))
    if place is None or place.path.is_file():
        return Availability(ready=True)
    problem = _obstacle(backbone, place, offline=offline)
    size = 0 if problem else place.bytes
    return Availability(ready=False, download=size, problem=problem)


def found_again(backbone: Backbone, file: WeightsFile) -> WeightsFile:
    """The same bytes on the machine that this runs on: where they lay, or where they are declared.

    Raises:
        WeightsError: neither place has them.
    """
    places = [file.path]
    for declared in (backbone.weights, file.declared):  # a start's may be others
        with contextlib.suppress(WeightsError):
            places.append(_default(backbone.model_copy(update={"weights": declared})).path)
    for path in places:
        if path.is_file() and _sha256(path) == file.sha256:
            return replace(file, path=path)
    here = " nor ".join(str(path) for path in dict.fromkeys(places))
    raise WeightsError(
        f"the weights of {backbone.name} (sha256 {file.sha256[:12]}...) are not on {machine_name()}: "
        f"looked for {here}. Put the file there, or share its folder with that machine."
    )


def load_weights(backbone: Backbone, classes: int, file: WeightsFile) -> StartingPoint:
    """The tensors of a file under the chain's names, floats as float32.

    The head's linear layer is new for every dataset and never loaded.  `record.new` lists, by
    chain name, every other tensor that the file lacks.

    Raises:
        WeightsError: the file cannot be read, or is of another architecture.
    """
    import torch

    with torch.device("meta"):
        chain = backbone.build(classes)
    layer = backbone.head_layer() + "."
    wanted = {n: tuple(t.shape) for n, t in chain.state_dict().items() if not n.startswith(layer)}
    names = {name: backbone.published_name(name) for name in wanted}
    shapes = {names[name]: shape for name, shape in wanted.items()}
    found = find_network(file.path, read_content(file.path), shapes, backbone.modernise)
    published = found.tensors
    _check_fit(backbone, file, published, shapes)
    state = {n: _plain(published[p]) for n, p in names.items() if p in published}
    for name in wanted:
        owner, _, leaf = name.rpartition(".")
        if leaf == "num_batches_tracked" and f"{owner}.running_mean" in state:
            state.setdefault(name, torch.tensor(0))
    _check_finite(file, state)
    new = tuple(n for n in wanted if n not in state and not n.endswith("num_batches_tracked"))
    return StartingPoint(state, _record(file, new, found.note))


def remarks(record: WeightsRecord) -> str:
    """Remarks on a user's file before it is used; empty for a plain and whole one."""
    new = ""
    if record.new:
        new = f"lacks {record.new[0]}{_others(list(record.new))}, which start at random"
    return "; ".join(filter(None, (record.source, new)))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """A weights file's tensors by the names it uses, out of the usual wrappers.

    Raises:
        WeightsError: the file is cut short, corrupt, or holds something else than tensors.
    """
    return find_network(path, read_content(path), {}).tensors


def _place(backbone: Backbone, where: str | Path | None) -> _Place | None:
    if where == "none":
        return None
    if where is None or where == "default":
        return _default(backbone)
    if str(where).startswith(PREFIX):
        raise WeightsError(
            f"--weights {where}: it takes a folder. A file of the Hub is a starting point with a name: "
            f"--starts mine={where}"
        )
    folder = Path(where)
    if not folder.is_dir():
        raise WeightsError(
            f"--weights {where}: no such folder. Give a folder with {backbone.name}.safetensors or "
            f"{backbone.name}.pth, or 'none' for random weights."
        )
    path = file_in(folder, backbone)
    if path is not None:
        others = [path.with_name(f"{backbone.name}{ending}") for ending in _ENDINGS]
        unused = [other.name for other in others if other != path and other.is_file()]
        note = f"not used: {', '.join(unused)}" if unused else ""
        return _Place(path, Weights(name=path.name), note=note)
    if backbone.miniature:
        return _default(backbone)  # a folder is for real networks; miniatures bring their own
    looked = ", ".join(f"{backbone.name}{ending}" for ending in _ENDINGS)
    raise WeightsError(
        f"{folder} has no weights for {backbone.name}: looked for {looked} (also with a hash "
        "suffix). Put one there, or use --weights none for random weights."
    )


def file_in(folder: Path, backbone: Backbone) -> Path | None:
    """The file of weights that a folder has for a backbone; None: it has none.

    Raises:
        WeightsError: it has several.
    """
    for ending in _ENDINGS:
        if (path := folder / f"{backbone.name}{ending}").is_file():
            return path
    suffixed = [
        path
        for path in sorted(folder.glob(f"{backbone.name}-*"))
        if (found := _HASH_SUFFIX.search(_stem(path)))
        and _stem(path)[: found.start()] == backbone.name
    ]
    if len(suffixed) > 1:
        listed = " and ".join(path.name for path in suffixed)
        raise WeightsError(
            f"{folder} holds {listed} for {backbone.name}: rename the one to use to "
            f"{backbone.name}{suffixed[0].name.removeprefix(_stem(suffixed[0]))}."
        )
    return suffixed[0] if suffixed else None


def _stem(path: Path) -> str:
    """A file's name without the ending of a weights file; empty if it has none."""
    return next((path.name.removesuffix(e) for e in _ENDINGS if path.name.endswith(e)), "")


def _default(backbone: Backbone) -> _Place:
    declared = backbone.weights
    if declared is None or not (declared.file or declared.enum or declared.hub):
        raise WeightsError(
            f"{backbone.name} declares no weights: give a folder with --weights FOLDER, or use "
            "--weights none for random weights."
        )
    if declared.file is not None:
        return _Place(Path(declared.file), declared)
    if declared.hub is not None:
        return _of_hub(backbone, declared, HubFile.read(declared.hub))
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
    mebibytes = float(published.meta.get("_file_size", 0.0))
    return _Place(path, declared, url, int(mebibytes * 2**20))


def _of_hub(backbone: Backbone, declared: Weights, file: HubFile) -> _Place:
    if not file.pinned:
        raise WeightsError(
            f"the weights of {backbone.name}, {file}, name no commit, and the lock file does not settle "
            f"one: run 'harness data fetch --backbones {backbone.name}'"
        )
    declared = declared.model_copy(update={"source": declared.source or str(file)})
    return _Place(file.place(default_cache()), declared, hub=file)


def _obstacle(backbone: Backbone, place: _Place, *, offline: bool) -> str:
    """The reason that a file that is not there cannot be fetched; empty if it can."""
    if place.hub is None and not place.url:
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
    if place.hub is not None:
        return (
            f"Run 'harness data fetch' where there is a network, or bring {place.path} from a machine "
            "that has it."
        )
    return (
        f"Fetch {place.url} ({megabytes(place.bytes)}) into {place.path.parent}, or into a folder "
        f"of your own given by --weights FOLDER (as {place.path.name} or {backbone.name}"
        f"{place.path.suffix}), or use --weights none for random weights."
    )


def _download(backbone: Backbone, place: _Place) -> None:
    """Bring a published file; what has come of it is kept beside its place until it is whole.

    Whether it is right is for the caller to see; what an earlier call has begun is checked here,
    and fetched anew if it was at fault.
    """
    if place.hub is not None:
        hub_files.fetch(place.hub, place.path)
        return
    part = place.path.with_name(f"{place.path.name}.part")
    try:
        advice = "set HARNESS_CACHE to a folder that can be written"
        with files.advising(place.path.parent, advice), locks.locked(place.path.parent):
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
    suffix = _HASH_SUFFIX.search(_stem(place.path))
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


def _plain(tensor: Tensor) -> Tensor:
    return (tensor.float() if tensor.is_floating_point() else tensor).contiguous()


def _check_fit(
    backbone: Backbone,
    file: WeightsFile,
    published: Mapping[str, Tensor],
    wanted: Mapping[str, tuple[int, ...]],
) -> None:
    """Compare by published name: shapes, what the chain lacks, and how much of it is filled."""
    complaint = (
        _wrong_shapes(published, wanted)
        or _strangers(backbone, published, wanted)
        or _too_few(published, wanted)
    )
    if complaint:
        if inputs := _other_inputs(published, wanted):
            raise WeightsError(f"{file.path.name} does not fit {backbone.name}: {inputs}")
        raise WeightsError(
            f"{file.path.name} does not fit {backbone.name}: {complaint}. It seems to be of another "
            f"architecture: give a file of {backbone.name} in torchvision's names."
        )


def _other_inputs(published: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]]) -> str:
    """The remedy where all fits but the channels that the first layer takes; else empty."""
    wrong = [n for n, shape in wanted.items() if n in published and published[n].shape != shape]
    if len(wrong) != 1 or len(wanted[wrong[0]]) != 4:  # noqa: PLR2004 - a convolution's kernel
        return ""
    here, there = tuple(published[wrong[0]].shape), wanted[wrong[0]]
    if here[:1] + here[2:] != there[:1] + there[2:]:
        return ""
    line = ""
    if here[1] == 1:  # the same answers, for a grey image in three equal channels
        line = f": `c[{wrong[0]!r}] = c[{wrong[0]!r}].repeat(1, {there[1]}, 1, 1) / {there[1]}`"
    return (
        f"{wrong[0]} is {here}, not {there}: it was trained on images of {here[1]} channel{'s' * (here[1] > 1)}, and "
        f"gets {there[1]} here. Save it again with kernels for {there[1]} channels{line}."
    )


def _wrong_shapes(published: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]]) -> str:
    wrong = [n for n, shape in wanted.items() if n in published and published[n].shape != shape]
    if not wrong:
        return ""
    here, there = tuple(published[wrong[0]].shape), wanted[wrong[0]]
    return f"{wrong[0]} is {here}, not {there}" + _others(wrong)


def _strangers(
    backbone: Backbone, published: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]]
) -> str:
    """Tensors the chain does not have; a published classifier may be of any kind."""
    classifier = backbone.published_name(backbone.head_layer()).partition(".")[0] + "."
    strange = [
        name
        for name in published
        if name not in wanted
        and not name.startswith(classifier)
        and not name.endswith("num_batches_tracked")
    ]
    return (
        f"it holds {strange[0]}, which {backbone.name} lacks" + _others(strange) if strange else ""
    )


def _too_few(published: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]]) -> str:
    needed = [name for name in wanted if not name.endswith("num_batches_tracked")]
    filled = sum(name in published for name in needed)
    return f"it fills {filled} of {len(needed)} tensors" if 2 * filled < len(needed) else ""


def _others(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def _check_finite(file: WeightsFile, state: Mapping[str, Tensor]) -> None:
    for name, tensor in state.items():
        if not tensor.isfinite().all():
            raise WeightsError(
                f"{file.path.name}: {name} holds values that are not finite (NaN or infinity): the "
                "training that wrote it had diverged, or its half precision overflowed. Give an "
                "earlier checkpoint."
            )


def _record(file: WeightsFile, new: tuple[str, ...], note: str) -> WeightsRecord:
    return WeightsRecord(
        name=file.declared.name,
        sha256=file.sha256,
        new=new,
        source="; ".join(filter(None, (file.declared.source, note))),
        licence=file.declared.licence,
        miniature=file.miniature,
    )
