"""A suite with its filters and settings resolved: from a request to exactly what is measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from harness.api.dataset import Dataset, LocalDataset
from harness.api.records import Protocol, Suite, digest
from harness.benchmark.request import BenchRequest
from harness.benchmark.suite.file import named_suite, read_suite
from harness.benchmark.suite.settings import changed_settings, strategy_of
from harness.benchmark.suite.trials import trials_of
from harness.benchmark.suite.values import check_finite
from harness.data.division.given import split_files
from harness.data.folder import (
    UNKNOWN_MODALITY,
    FolderDataset,
    parse_data_option,
    parse_external_option,
    with_options,
    with_windows,
)
from harness.data.images import PixelForm
from harness.data.pixels.dicom import STORED
from harness.data.preparation.external import with_external
from harness.errors import UsageError
from harness.plugins.registry import PluginRegistry
from harness.utils.faults import explain
from harness.utils.names import choose
from harness.weights.starts import Start, read_starts

LONGEST = 100  # characters in the name of a results folder
DEFAULT, DEFAULT_WITH_DATA = "demo", "folders"


@dataclass(frozen=True)
class ResolvedSuite:
    """A suite whose axes name exactly what runs.

    Attributes:
        request: what it was made from; its limit and shard hold for every run.
        datasets: the datasets of the suite by name, folders among them.
        shortened: `--epochs` changed the budget.
        precision: of every run; 'auto' is to be settled; None: by the device.
        split_files: dataset -> the file that gives its splits.
        protocols: form of images -> the protocol as networks that see it have it.
        starts: the starting points of every backbone; empty: one, as `weights` says.
    """

    suite: Suite
    request: BenchRequest
    datasets: Mapping[str, Dataset]
    shortened: bool
    precision: str | None = None
    split_files: Mapping[str, Path] = field(default_factory=dict)
    protocols: Mapping[PixelForm, Protocol] = field(default_factory=dict)
    starts: tuple[Start, ...] = ()

    @property
    def weights(self) -> str | None:
        """Origin of the weights: `none`, a folder, or None for what the backbones declare."""
        return "none" if self.suite.weights == "none" else self.request.weights

    @property
    def folder_name(self) -> str:
        """The results folder in `results/`: the suite's name, or those of own images."""
        given = {parse_data_option(option).name for option in self.request.data}
        own = sorted(name for name in given if isinstance(self.datasets.get(name), FolderDataset))
        if not own or set(self.suite.datasets) - set(own):
            return self.suite.name
        name = "+".join(own)
        if len(name) <= LONGEST:
            return name
        return f"{own[0][:LONGEST]}+{len(own) - 1}-more-{digest({'names': own})[:8]}"

    @property
    def fetched_as(self) -> str | None:
        """The suite whose data and weights these are; None: a part of them, or weights of one's own."""
        if (
            self.request.datasets
            or self.request.backbones
            or self.weights is not None
            or self.request.starts
        ):
            return None
        return self.request.suite or self.suite.name


def resolve_suite(request: BenchRequest, loaded: PluginRegistry) -> ResolvedSuite:
    """The suite that was asked for, with filters, seeds, settings and budget applied.

    Raises:
        UsageError: something is not known, or a value does not fit; with the nearest name.
    """
    suite, folders = _base(request, loaded)
    given = [parse_external_option(option) for option in request.external]
    every = with_options(
        [*folders, *(further for _, further in given)],
        request.columns,
        join_labels=request.join_labels,
    )
    every = with_windows(every, request.window)
    folders, further = every[: len(folders)], every[len(folders) :]
    registered = with_folders(loaded.datasets, folders)
    own = tuple(folder.name for folder in folders)
    datasets = _axis(request.datasets, (*suite.datasets, *own), registered, "dataset")
    if not datasets:
        raise UsageError(
            f"suite {suite.name!r} lists no dataset; give --data NAME=FOLDER or --datasets NAMES "
            "(`harness list datasets` shows them)"
        )
    starts = _starts(request, suite)
    changes: dict[str, Any] = {
        "datasets": datasets,
        "backbones": _backbones(request.backbones, suite.backbones, loaded),
        "strategies": _axis(request.strategies, suite.strategies, loaded.strategies, "strategy"),
        "seeds": request.seeds or suite.seeds,
        "weights": _weights(request, suite),
        "starts": tuple(start.recorded for start in starts),
        "splits": _splits(request, suite),
        "labels": request.labels or suite.labels,
    }
    changes |= changed_settings(suite, request, loaded)
    chosen = suite.model_copy(update=changes)
    if request.labels:
        chosen = _valid_labels(chosen)
    _check(chosen, loaded)
    if request.trials is not None and chosen.tuning is None:
        raise UsageError(
            f"--trials {request.trials}: suite {chosen.name!r} does not tune; leave it out, or take a "
            "suite that does, as fair or demo-fair"
        )
    if request.trials is not None and chosen.tuning and request.trials > len(chosen.tuning.grid):
        raise UsageError(
            f"--trials {request.trials}: suite {chosen.name!r} gives each strategy "
            f"{len(chosen.tuning.grid)} trials"
        )
    return ResolvedSuite(
        suite=chosen,
        request=request,
        datasets=with_external(
            {name: registered[name] for name in datasets},
            zip((of for of, _ in given), further, strict=True),
        ),
        shortened=chosen.protocol.epochs != suite.protocol.epochs,
        precision=request.precision,
        split_files=split_files(
            (Path(given) for given in request.splits if Path(given).is_file()), datasets
        ),
        protocols=_protocols(chosen, loaded),
        starts=starts,
    )


def with_folders(
    registered: Mapping[str, Dataset], folders: Iterable[FolderDataset]
) -> dict[str, Dataset]:
    """The datasets that can be named once `--data` is heard: own folders, and places of known sets.

    Raises:
        UsageError: nothing is there, or the name of a dataset that comes from elsewhere is taken.
    """
    found = dict(registered)
    for folder in folders:
        if not folder.path.expanduser().exists():
            raise UsageError(f"--data {folder.name}=...: {folder.path} does not exist")
        known = found.get(folder.name)
        if isinstance(known, LocalDataset):
            _check_only_a_place(folder, known)
            found[folder.name] = known.model_copy(update={"path": folder.path})
        elif known is not None:
            raise UsageError(
                f"--data {folder.name}=...: a dataset of this name is registered already; "
                "choose another name"
            )
        else:
            found[folder.name] = folder
    return found


def _check_only_a_place(folder: FolderDataset, known: LocalDataset) -> None:
    """Raise UsageError where more than a place is said of a dataset that a plugin declares."""
    if folder.columns or folder.join_labels or folder.window != STORED:
        raise UsageError(
            f"--data {folder.name}=...: its plugin says how this dataset is read; --columns, "
            "--join-labels and --window are for folders that no plugin declares"
        )
    if folder.modality not in {UNKNOWN_MODALITY, known.modality}:
        raise UsageError(
            f"--data {folder.modality}:{folder.name}=...: its plugin says that the modality of this "
            f"dataset is {known.modality}; leave it out"
        )


def _base(request: BenchRequest, loaded: PluginRegistry) -> tuple[Suite, list[FolderDataset]]:
    name = request.suite or (DEFAULT_WITH_DATA if request.data else DEFAULT)
    options = [parse_data_option(option) for option in request.data]
    if name.endswith(".toml"):
        suite, own = read_suite(Path(name), loaded)
        return suite, [*own, *options]
    return named_suite(name, loaded), options


def _axis(
    patterns: Sequence[str], listed: Sequence[str], registered: Iterable[str], what: str
) -> tuple[str, ...]:
    """Names in a filter may be anything registered; a glob, and no filter: what the suite lists."""
    if not (patterns or listed):
        return ()
    return tuple(choose(patterns or listed, registered, what, listed if patterns else ()))


def _backbones(
    patterns: Sequence[str], listed: Sequence[str], loaded: PluginRegistry
) -> tuple[str, ...]:
    """As `_axis`, with the networks that a plugin knows by name."""
    chosen = loaded.choose_backbones(patterns or listed, listed if patterns else ())
    return tuple(chosen if patterns or listed else ())


def _weights(request: BenchRequest, suite: Suite) -> Literal["default", "none"]:
    """A folder that is given counts, also where the suite starts from random weights."""
    if request.starts or suite.starts:
        return "default"
    if request.weights is None:
        return suite.weights
    return "none" if request.weights == "none" else "default"


def _starts(request: BenchRequest, suite: Suite) -> tuple[Start, ...]:
    """Raise UsageError where starts and `--weights none` contradict each other."""
    found = read_starts(request.starts or suite.starts)
    if found and request.weights == "none":
        raise UsageError(
            f"--weights none and --starts {','.join(start.name for start in found)}: say what runs start "
            "from by --starts alone, where none is random weights"
        )
    return found


def _splits(request: BenchRequest, suite: Suite) -> object:
    """`--splits 5` or `--splits paired`; files are read apart.

    Raises:
        UsageError: a value that is neither, nor a file; or several of them.
    """
    said = [given for given in request.splits if not Path(given).is_file()]
    for given in said:
        if given != "paired" and not (given.isdecimal() and int(given) > 0):
            raise UsageError(
                f"--splits {given}: give a number of random splits, paired (one a seed), or a file "
                "that is there"
            )
    if len(said) > 1:
        raise UsageError(f"--splits {' and '.join(said)}: say one of them")
    if not said:
        return suite.splits
    return said[0] if said[0] == "paired" else int(said[0])


def _valid_labels(suite: Suite) -> Suite:
    try:
        return Suite.model_validate(suite.model_dump())
    except ValidationError as error:
        raise UsageError(explain(error, "--labels")) from error


def _protocols(suite: Suite, loaded: PluginRegistry) -> dict[PixelForm, Protocol]:
    """The protocol as the suite's networks see images through it, one for each form of these."""
    found: dict[PixelForm, Protocol] = {}
    for name in suite.backbones:
        own = suite.protocol.resolve(loaded.backbones[name].preprocessing)
        seen = suite.protocol.seen_through(own)
        found.setdefault(PixelForm.of(seen), seen)
    return found or {PixelForm.of(suite.protocol): suite.protocol}


def _check_sides(suite: Suite, loaded: PluginRegistry) -> None:
    """Refuse images that a network says it cannot take."""
    for name in suite.backbones:
        declared = loaded.backbones[name].preprocessing
        side = suite.protocol.crop
        if suite.protocol.preprocessing == "protocol" and declared and not declared.takes(side):
            raise UsageError(
                f"{name} takes no images of {side} px, which protocol {suite.protocol.name} gives "
                f"(the nearest that it takes: {declared.nearest(side)}); with --set "
                "protocol.preprocessing=backbone each network gets its own size, and --set "
                "protocol.crop=PX gives all of them another"
            )


def _check(suite: Suite, loaded: PluginRegistry) -> None:
    _check_sides(suite, loaded)
    if suite.tuning is not None:
        choose(list(suite.tuning.knobs), loaded.strategies, "strategy in tuning.knobs")
        if suite.tuning.selection is not None:
            choose([suite.tuning.selection], loaded.metrics, "metric")
        for name in suite.strategies:  # what cannot be tried is told before data are read
            trials_of(strategy_of(loaded, name, suite.settings.get(name, {})), suite.tuning)
    if suite.splits == "paired" and min(suite.seeds) < 0:
        raise UsageError("paired splits are numbered by their seeds: give seeds of 0 or more")
    for name, values in suite.settings.items():
        if name in loaded.strategies:
            strategy_of(loaded, name, values)
    choose([suite.protocol.metric, suite.primary], loaded.metrics, "metric")
    check_finite(suite.model_dump(), f"suite {suite.name!r}")
