"""What a call needs from elsewhere: published data and weights, and whether they are here."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from harness import weights
from harness.api.backbone import Backbone
from harness.api.dataset import SPLITS, Access, Dataset, LocalDataset, Split
from harness.api.records import Protocol
from harness.data import fetch
from harness.data.fetch import wanted_revision
from harness.data.hub import HubDataset
from harness.errors import DataError
from harness.utils.progress import megabytes


@dataclass(frozen=True)
class Requirement:
    """Something that comes from elsewhere.

    Attributes:
        what: for people: where it is from and on what terms.
        ready: it is here.
        fetchable: `harness data fetch` brings it; else `what` says how to get it.
        bytes: still to be fetched; None: not known.
    """

    kind: Literal["data", "weights"]
    name: str
    what: str
    ready: bool
    fetchable: bool = True
    bytes: int | None = None

    def __str__(self) -> str:
        size = "" if self.bytes is None else f"{megabytes(self.bytes)}, "
        return f"{self.kind} {self.name}: {size}{self.what}"


def data_needs(
    datasets: Mapping[str, Dataset], access: Access, *, ask: bool = False
) -> dict[str, Requirement]:
    """What each dataset needs; those that need nothing from elsewhere are left out.

    `ask`: sizes that the lock file does not know are asked from the Hub, which takes the network.
    """
    found: dict[str, Requirement] = {}
    for name, dataset in datasets.items():
        ready = dataset.at_hand(access)
        if isinstance(dataset, LocalDataset):
            what = f"get it from {dataset.source} and give its place: --data {name}=PATH"
            found[name] = Requirement("data", name, what, ready, fetchable=False)
        elif isinstance(dataset, HubDataset):
            size = None if ready else _size(dataset, access, ask=ask and not access.offline)
            ask = ask and (
                ready or size is not None
            )  # a Hub that was not reached is not asked twice
            found[name] = Requirement("data", name, _terms(dataset, access), ready, bytes=size)
        elif not ready:
            found[name] = Requirement(
                "data", name, f"get it from {dataset.source}", ready, fetchable=False
            )
    return found


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


def weights_needs(backbones: Sequence[Backbone], where: str | None) -> dict[str, Requirement]:
    """What each backbone needs; packaged weights, random ones and own folders are left out."""
    found: dict[str, Requirement] = {}
    for backbone in backbones:
        declared = backbone.weights
        if where not in {None, "default"} or declared is None or declared.enum is None:
            continue
        state = weights.availability(backbone)
        what = f"{declared.licence}, {declared.enum} of {declared.source}"
        if state.problem:
            found[backbone.name] = Requirement(
                "weights", backbone.name, state.problem, ready=False, fetchable=False
            )
        else:
            size = None if state.ready else state.download
            found[backbone.name] = Requirement(
                "weights", backbone.name, what, state.ready, bytes=size
            )
    return found


def missing_message(suite: str, needs: Sequence[Requirement], command: Sequence[str]) -> str:
    """One message on all that is missing; `command` fetches what can be; empty: all is here."""
    missing = [need for need in needs if not need.ready]
    if not missing:
        return ""
    lines = [f"suite {suite} needs what is not here:", *(f"  {need}" for need in missing)]
    if any(need.fetchable for need in missing):
        lines += ["this fetches it, checks it and locks it:", f"  {shlex.join(command)}"]
    return "\n".join(lines)


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
