"""Starting points by name: which weights `--starts imagenet,radimagenet,none` means for a backbone.

`none` is random weights and `default` what the backbone declares, `imagenet` too where that is of
ImageNet.  Any other name is that of a folder in `--weights FOLDER`, one that the backbone declares or
that the lock file knows, or has its place beside it: `NAME=hf://ORG/NAME@REVISION/FILE`, `NAME=FILE`
or `NAME=FOLDER`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from harness.api.backbone import Backbone, Weights
from harness.api.records import START_NAME, RunSpec, Suite, started
from harness.errors import UsageError, WeightsError
from harness.utils.hub_address import PREFIX, HubFile
from harness.utils.names import did_you_mean
from harness.weights import file_in

NONE, DEFAULT, IMAGENET = "none", "default", "imagenet"
# As torchvision and timm call weights that were trained on ImageNet, of whatever many classes.
_OF_IMAGENET = re.compile(r"imagenet|(^|_)in(1|12|21|22)k(_|$)", re.IGNORECASE)
_BACKBONE = "{backbone}"  # stands for its name, in a place that several are to find theirs by


class Locked(Protocol):
    """A file of the Hub in a lock file: its address as it was asked for, and the commit."""

    @property
    def reference(self) -> str: ...

    @property
    def revision(self) -> str: ...


@dataclass(frozen=True)
class Start:
    """A starting point that was asked for.

    Attributes:
        source: its file on the Hub, or a file or folder here; empty: known by its name.
    """

    name: str
    source: str = ""

    def __str__(self) -> str:
        return f"{self.name}={self.source}" if self.source else self.name

    @property
    def recorded(self) -> str:
        """Its text in a suite, which tells nobody of folders here."""
        return str(self) if self.source.startswith(PREFIX) else self.name


@dataclass(frozen=True)
class Beginning:
    """A backbone that declares the weights it starts from, as `harness.weights` takes it.

    Attributes:
        where: as there: None for what it declares.
        start: the starting point's name; empty: none was asked for by name.
        own: a user's file, which may be of another network.
        key: its name in the lock file.
        reference: address on the Hub as it was written; what is declared names a commit, where the
            lock file does.
    """

    backbone: Backbone
    where: str | None
    start: str = ""
    own: bool = False
    key: str = ""
    reference: str = ""

    @property
    def name(self) -> str:
        """Of the backbone and its start: `resnet50@radimagenet`."""
        return started(self.backbone.name, self.start)

    @property
    def hub(self) -> HubFile | None:
        """Its file on the Hub; None: it is from elsewhere."""
        declared = self.backbone.weights
        here = self.where is None and declared is not None and declared.hub is not None
        return HubFile.read(str(declared and declared.hub)) if here else None

    def at(self, commit: str) -> Beginning:
        """With the file as a commit of the Hub has it."""
        declared, file = self.backbone.weights, self.hub
        if declared is None or file is None:
            return self
        pinned = declared.model_copy(update={"hub": str(file.at(commit))})
        return replace(self, backbone=self.backbone.model_copy(update={"weights": pinned}))


def read_starts(texts: Sequence[str]) -> tuple[Start, ...]:
    """Starting points as `--starts` and suites have them.

    Raises:
        UsageError: no name, or a name twice.
    """
    found: dict[str, Start] = {}
    for text in texts:
        name, equals, source = text.partition("=")
        if re.fullmatch(START_NAME, name) is None or (equals and not source):
            raise UsageError(
                f"--starts {text}: write NAME or NAME=SOURCE, as in imagenet, none or "
                "mine=hf://ORG/NAME@REVISION/FILE; names are of small letters, digits, - . and _"
            )
        if source and name in {NONE, DEFAULT, IMAGENET}:
            raise UsageError(
                f"--starts {text}: {name} is known already; give these weights a name of their own"
            )
        if source.startswith(PREFIX):
            HubFile.read(source.replace(_BACKBONE, "x"))
        if name in found and found[name].source != source:
            raise UsageError(f"--starts {found[name]},{text}: one name for two starting points")
        found[name] = Start(name, source)
    return tuple(found.values())


def start_of(spec: RunSpec, suite: Suite | None) -> list[Start]:
    """The starting point of a run, with its place on the Hub where its suite names one; or none."""
    listed = read_starts(suite.starts if suite else ())
    named = [start for start in listed if start.name == spec.start]
    return named or ([Start(spec.start)] if spec.start else [])


def beginnings(
    backbones: Iterable[Backbone],
    where: str | None,
    starts: Sequence[Start],
    locked: Mapping[str, Locked],
) -> list[Beginning]:
    """Every backbone with every start; without any, as `where` says for all.

    `locked`: what the lock file has, by `Beginning.key`.

    Raises:
        WeightsError: a start that there is not for a backbone; all in one message.
    """
    found, problems = [], []
    for backbone in backbones:
        for start in starts or (None,):
            try:
                found.append(_settled(_begin(backbone, where, start, locked), locked))
            except WeightsError as error:
                problems.append(str(error))
    if problems:
        raise WeightsError("\n".join(problems))
    return found


def _begin(
    backbone: Backbone,
    where: str | None,
    start: Start | None,
    locked: Mapping[str, Locked],
) -> Beginning:
    folder = None if where in {None, DEFAULT, NONE} else Path(str(where))
    if start is None:
        plain = None if where == DEFAULT else where
        return Beginning(backbone, plain, own=folder is not None, key=backbone.name)
    if start.name == NONE:
        return Beginning(backbone, NONE, NONE)
    if folder is not None and not folder.is_dir():
        raise WeightsError(f"--weights {folder}: no such folder")
    key = started(backbone.name, start.name)
    declared = (
        _named(backbone, folder, start)
        or dict(backbone.starts).get(start.name)
        or _fetched(locked.get(key), start)
    )
    if declared is not None:
        own = declared.file is not None or declared.hub is not None
        begun = backbone.model_copy(update={"weights": declared})
        return Beginning(begun, None, start.name, own=own, key=key)
    if start.name in {DEFAULT, IMAGENET}:
        own = folder is not None and file_in(folder, backbone) is not None
        if own or _declares(backbone, start.name):
            place = str(folder) if own else None
            return Beginning(backbone, place, start.name, own=own, key=backbone.name)
    raise WeightsError(_unknown(backbone, folder, start))


def _named(backbone: Backbone, folder: Path | None, start: Start) -> Weights | None:
    """The weights that a start's place gives, beside its name or in the folder of all weights."""
    source = start.source.replace(_BACKBONE, backbone.name)
    if source.startswith(PREFIX):
        return Weights(name=start.name, hub=source)
    place = Path(source) if source else folder and folder / start.name
    if place is None or not (source or place.is_dir()):
        return None
    path = file_in(place, backbone) if place.is_dir() else place
    if path is None:
        raise WeightsError(
            f"start {start.name}: {place} has no weights for {backbone.name}: put "
            f"{backbone.name}.safetensors or {backbone.name}.pth there, or leave the start or the "
            "backbone out"
        )
    if not path.is_file():
        raise WeightsError(f"start {start.name}: there is no file or folder {place}")
    return Weights(name=f"{start.name} ({path.name})", file=str(path))


def _fetched(entry: Locked | None, start: Start) -> Weights | None:
    """The file of the Hub that `data fetch` has locked under a start's name."""
    return Weights(name=start.name, hub=entry.reference) if entry and entry.reference else None


def _declares(backbone: Backbone, name: str) -> bool:
    weights = backbone.weights
    if weights is None:
        return False
    return name == DEFAULT or _OF_IMAGENET.search(weights.name) is not None


def _unknown(backbone: Backbone, folder: Path | None, start: Start) -> str:
    known = [NONE, *(name for name in (DEFAULT, IMAGENET) if _declares(backbone, name))]
    known += [name for name, _ in backbone.starts]
    if folder is not None:
        known += sorted(
            one.name for one in folder.iterdir() if one.is_dir() and file_in(one, backbone)
        )
    declared = backbone.weights
    if start.name in {DEFAULT, IMAGENET}:
        says = f"declares {declared.name!r}" if declared else "declares no weights"
        why = f"{backbone.name} {says}"
    else:
        where = f"in {folder}" if folder else "no --weights FOLDER is given"
        why = f"there is no folder {start.name} {where}" if folder else where
    return (
        f"start {start.name} is not known for {backbone.name} ({why})"
        f"{did_you_mean(start.name, known)}; there are: {', '.join(dict.fromkeys(known))}. Give its "
        f"place with --starts {start.name}=hf://ORG/NAME@REVISION/FILE or ={_BACKBONE}.pth, or as "
        f"{backbone.name}.pth in a folder {start.name} of --weights FOLDER"
    )


def _settled(one: Beginning, locked: Mapping[str, Locked]) -> Beginning:
    """With the commit that the lock file names."""
    declared = one.backbone.weights
    if one.where is not None or declared is None or declared.hub is None:
        return one
    entry, file = locked.get(one.key), HubFile.read(declared.hub)
    found = replace(one, own=True, reference=declared.hub)
    if entry is None or entry.reference != declared.hub or file.pinned:
        return found
    return found.at(entry.revision)
