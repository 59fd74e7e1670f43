"""Published data and weights that a call needs: whether they are here, and the command that fetches.

Nothing is fetched unasked: `require` refuses with the one command that brings all that is missing.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from harness import weights
from harness.api.backbone import Backbone
from harness.api.dataset import SPLITS, Access, Dataset, LocalDataset, Split
from harness.api.records import Protocol
from harness.data import fetch, lock
from harness.data.fetch import wanted_revision
from harness.data.hub import HubDataset
from harness.errors import DataError, WeightsError
from harness.utils import signs
from harness.utils.names import first_few
from harness.utils.text import megabytes
from harness.weights import WeightsFile
from harness.weights.starts import Beginning, Start, beginnings


@dataclass(frozen=True)
class Requirement:
    """Something that comes from elsewhere.

    Attributes:
        what: for people: where it is from and on what terms.
        ready: it is here.
        fetchable: `harness data fetch` brings it; else `what` says how to get it.
        bytes: still to be fetched; None: not known.
        backbone, start: of weights that `--starts` asks for: the backbone, and the start as the
            option has it.
    """

    kind: Literal["data", "weights"]
    name: str
    what: str
    ready: bool
    fetchable: bool = True
    bytes: int | None = None
    backbone: str = ""
    start: str = ""

    def __str__(self) -> str:
        size = "" if self.bytes is None else f"{megabytes(self.bytes)}, "
        return f"{self.kind} {self.name}: {size}{self.what}"


def list_requirements(
    datasets: Mapping[str, Dataset],
    backbones: Sequence[Backbone],
    where: str | None,
    access: Access,
    *,
    ask: bool = False,
    starts: Sequence[Start] = (),
) -> list[Requirement]:
    """Everything that comes from elsewhere, here already or not; what needs nothing is left out.

    Args:
        datasets: by name.
        backbones: those whose weights are used.
        where: where weights come from, as in `find_weights`.
        access: cache and lock file.
        ask: sizes that the lock file does not know are asked from the Hub, which takes the network.
        starts: starting points of every backbone; none: as `where` says.

    Raises:
        WeightsError: a start that there is not for a backbone.
    """
    begun = beginnings(backbones, where, starts, lock.read(access.lock).weights)
    texts = {start.name: str(start) for start in starts}
    return [*_data(datasets, access, ask=ask), *_weights(begun, texts, access)]


def _data(datasets: Mapping[str, Dataset], access: Access, *, ask: bool) -> Iterator[Requirement]:
    for name, dataset in datasets.items():
        ready = dataset.at_hand(access)
        if isinstance(dataset, LocalDataset):
            what = f"get it from {dataset.source} and give its place: --data {name}=PATH"
            yield Requirement("data", name, what, ready, fetchable=False)
        elif isinstance(dataset, HubDataset):
            size = None if ready else _size(dataset, access, ask=ask and not access.offline)
            # A Hub that was not reached is not asked twice.
            ask = ask and (ready or size is not None)
            yield Requirement("data", name, _terms(dataset, access), ready, bytes=size)
        elif not ready:
            what = f"get it from {dataset.source}"
            yield Requirement("data", name, what, ready, fetchable=False)


def _size(dataset: HubDataset, access: Access, *, ask: bool) -> int | None:
    entry = dataset.locked(access)
    if entry is not None:
        folder = dataset.folder(access, entry.revision)
        return sum(file.bytes for file in entry.files if not (folder / file.path).is_file())
    if not ask:
        return None
    try:
        return fetch.list_files(dataset, wanted_revision(dataset, access)).bytes
    except DataError:  # a plan says what it knows; fetching says what is wrong
        return None


def _terms(dataset: HubDataset, access: Access) -> str:
    revision = wanted_revision(dataset, access)
    pin = f"revision {revision[:12]}" if revision else f"unpinned: fetching settles {access.lock}"
    return f"{dataset.licence}, {dataset.source} ({pin})"


def _weights(
    begun: Sequence[Beginning], texts: Mapping[str, str], access: Access
) -> Iterator[Requirement]:
    """Published weights; packaged ones, random ones and those in own folders need nothing."""
    for one in begun:
        declared, hub = one.backbone.weights, one.hub
        if one.where is not None or declared is None or not (declared.enum or hub):
            continue
        need = partial(
            Requirement, "weights", one.name,
            backbone=one.backbone.name, start=texts.get(one.start, ""),
        )  # fmt: skip
        if hub is not None and not hub.pinned:
            what = f"{declared.licence or 'licence unknown'}, {hub} (unpinned: fetching settles {access.lock})"
            yield need(what, ready=False)
            continue
        state = weights.availability(one.backbone)
        if state.problem:
            yield need(state.problem, ready=False, fetchable=False)
        else:
            what = f"{declared.licence}, {declared.enum} of {declared.source}"
            if hub is not None:
                what = f"{declared.licence or 'licence unknown'}, {hub}"
            size = None if state.ready or hub else state.download
            yield need(what, ready=state.ready, bytes=size)


def require(
    suite: str, needs: Sequence[Requirement], access: Access, fetch_suite: str | None = None
) -> None:
    """Make sure that everything is here.

    Args:
        suite: its name.
        needs: data and weights.
        access: its lock file is the one that fetching writes.
        fetch_suite: what `harness data fetch --suite` would bring all of it by; None: each is named.

    Raises:
        DataError: what is missing, and the one command that fetches what can be fetched.
    """
    missing = [need for need in needs if not need.ready]
    if not missing:
        return
    lines = [f"suite {suite} needs what is not here:", *(f"  {need}" for need in missing)]
    if any(need.fetchable for need in missing):
        command = shlex.join(_command(missing, access, fetch_suite))
        lines += ["this fetches it, checks it and locks it:", f"  {command}"]
    raise DataError("\n".join(lines))


def _command(missing: Sequence[Requirement], access: Access, suite: str | None) -> list[str]:
    command = ["harness", "data", "fetch"]
    if suite is None:
        fetchable = [need for need in missing if need.fetchable]
        command += [need.name for need in fetchable if need.kind == "data"]
        asked = [need for need in fetchable if need.kind == "weights"]
        backbones = ",".join(dict.fromkeys(need.backbone or need.name for need in asked))
        command += ["--backbones", backbones] * bool(backbones)
        starts = ",".join(dict.fromkeys(need.start for need in asked if need.start))
        command += ["--starts", starts] * bool(starts)
    else:
        command += ["--suite", suite]
    return command + ["--lock", str(access.lock)] * (access.lock != Access().lock)


def find_weights(
    backbones: Iterable[Backbone],
    where: str | None,
    access: Access,
    starts: Sequence[Start] = (),
    absent: Collection[str] = (),
) -> dict[str, WeightsFile | None]:
    """Each backbone's weights file by name, with its start where there are any; None: random weights.

    Published files are held against the lock file, a user's own against the architecture.  `absent`:
    names that are left out, as in a dry run.

    Raises:
        WeightsError: weights that cannot be had, or are of another architecture, or two starts that
            are one file; all in one message.
    """
    files: dict[str, WeightsFile | None] = {}
    problems: list[str] = []
    locked = lock.read(access.lock)
    for one in beginnings(backbones, where, starts, locked.weights):
        if one.name in absent:
            continue
        try:
            with signs.doing(f"reading the weights of {one.name}"):
                file = weights.find_weights(one.backbone, one.where, offline=access.offline)
            if file is not None and one.where is None:
                fetch.check_weights(locked, one, file.path, file.sha256)
            if file is not None and one.own:  # whether it fits does not depend on the classes
                start = weights.load_weights(one.backbone, 2, file)
                said = (file.note, weights.remarks(start.record))
                file = replace(file, note="; ".join(filter(None, said)))
            _check_other(one, file, files)
            files[one.name] = file
        except WeightsError as error:
            problems.append(str(error))
    if problems:
        raise WeightsError("\n".join(problems))
    if where not in {None, "default", "none"}:
        _check_used(Path(str(where)), files)
    return files


def _check_other(
    one: Beginning, file: WeightsFile | None, files: Mapping[str, WeightsFile | None]
) -> None:
    """Two starts of a backbone that are one would be compared with themselves."""
    for name, other in files.items():
        same = name.partition("@")[0] == one.backbone.name and (file and file.sha256) == (
            other and other.sha256
        )
        if one.start and same:
            told = f"{file.path} is both" if file else "both are random weights"
            raise WeightsError(f"starts {name} and {one.name}: {told}; leave one out")


def _check_used(folder: Path, files: Mapping[str, WeightsFile | None]) -> None:
    """A folder that fills no backbone was given for nothing: miniatures bring their own."""
    if any(file is not None and folder in file.path.parents for file in files.values()):
        return
    there = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    names = ", ".join(f"{name}{ending}" for name in files for ending in (".safetensors", ".pth"))
    raise WeightsError(
        f"--weights {folder}: no file there is for a backbone of this call. It holds "
        f"{first_few(there) if there else 'nothing'}; looked for {names} (and other endings). "
        "Rename the file after its backbone, or leave --weights out."
    )


def expected_images(
    dataset: Dataset, protocol: Protocol, limit: int | None
) -> dict[Split, int] | None:
    """About how many images each split will have, as the dataset declares; None: it does not."""
    if not isinstance(dataset, HubDataset) or not dataset.images:
        return None
    rules: dict[str, tuple[Split, ...]] = {"official": SPLITS, "official-test": ("test",)}
    kept = set(rules.get(dataset.splits, ())) - {"train"}
    given = {split: count for split, count in dataset.images.items() if split in kept}
    pool = sum(dataset.images.values()) - sum(given.values())
    shares: dict[Split, float] = {
        "validation": protocol.validation_share,
        "test": protocol.test_share,
    }
    made = {split: round(share * pool) for split, share in shares.items() if split not in given}
    counts = {**given, **made, "train": pool - sum(made.values())}
    return {split: min(counts[split], limit or counts[split]) for split in SPLITS}
