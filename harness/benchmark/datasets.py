"""The datasets of a call: looked at for its plan, made ready for its runs, and where these find them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from harness.api.dataset import SPLITS, Access, Dataset
from harness.api.execution import ExternalImages
from harness.api.records import DataRecord, RunResult, Suite
from harness.benchmark.identity import divisions
from harness.benchmark.launch.places import Declaration, ImagesPlace
from harness.benchmark.suite.resolve import ResolvedSuite
from harness.data.division.split import Division
from harness.data.images import PixelForm
from harness.data.preparation.external import PreparedExternal
from harness.data.preparation.info import DatasetInfo
from harness.data.preparation.prepare import PreparedDataset, prepare_unchecked
from harness.data.preparation.survey import survey_dataset
from harness.errors import DataError
from harness.plugins import provenance
from harness.plugins.registry import PluginRegistry
from harness.results.store import Store
from harness.utils import signs


def survey(
    dataset: Dataset, resolved: ResolvedSuite, access: Access, *, timed: bool = True
) -> DatasetInfo:
    """The facts of a dataset; it is decoded where its images are, in every form."""
    first, *others = (
        survey_dataset(
            dataset, protocol, access,
            limit=resolved.request.limit, divisions=_other_divisions(resolved.suite),
            timed=timed,
        )
        for protocol in resolved.protocols.values()
    )  # fmt: skip
    seconds = sum(one.seconds for one in (first, *others))
    decoded = first.decoded and all(one.decoded for one in others)
    return replace(first, decoded=decoded, seconds=seconds)


def recorded(
    dataset: Dataset, resolved: ResolvedSuite, loaded: PluginRegistry, results: Sequence[RunResult]
) -> DatasetInfo | None:
    """A drawn dataset as finished runs record it; None: it has to be looked at.

    The same code draws the same images.  Files may have changed since, so they are always read.
    """
    if (
        not dataset.procedural
        or dataset.name in resolved.split_files
        or dataset.external_sets(Access())
    ):
        return None
    code = provenance.source_hash(loaded.owner("datasets", dataset.name).module)
    protocol, limit = resolved.suite.protocol, resolved.request.limit
    asked = protocol.validation_share, protocol.test_share, limit
    known: dict[Division, DatasetInfo] = {}
    for run in results:
        data, plugin, made = run.data, run.plugins.get("dataset"), run.spec
        if (
            made.dataset == dataset.name
            and data is not None
            and plugin is not None
            and plugin.source == code
            and (made.protocol.validation_share, made.protocol.test_share, made.limit) == asked
        ):
            known.setdefault(Division.of(made), _info(data, run.cost.alone.decode))
    own, others = Division(protocol.split_seed), _other_divisions(resolved.suite)
    if not known.keys() >= {own, *others}:
        return None
    return replace(known[own], others={division: known[division] for division in others})


def _info(data: DataRecord, seconds: float) -> DatasetInfo:
    lacking = {s: tuple(c for c, n in data.counts[s].items() if not n) for s in SPLITS}
    return DatasetInfo(
        data.classes,
        {split: sum(data.counts[split].values()) for split in SPLITS},
        data.fingerprint,
        decoded=None,
        lacking={split: names for split, names in lacking.items() if names},
        # Its groups are not recorded: as if every image were one.
        tested={name: (1,) * count for name, count in data.counts["test"].items()},
        seconds=seconds,
    )


def prepare(
    dataset: Dataset, resolved: ResolvedSuite, access: Access, say: Callable[[str], None]
) -> PreparedDataset:
    """Read, split and decode a dataset in every form that its networks see; its checks are left.

    Raises:
        DataError: as `prepare_unchecked`; or it changed between two forms.
    """
    started = time.perf_counter()
    formed: dict[PixelForm, PreparedDataset] = {}
    for form, protocol in resolved.protocols.items():
        with signs.doing(f"decoding {dataset.name}") as decoded:
            formed[form] = prepare_unchecked(
                dataset,
                protocol,
                access,
                limit=resolved.request.limit,
                progress=decoded,
                divisions=_other_divisions(resolved.suite),
            )
    prepared, *others = formed.values()
    if any(other.fingerprint != prepared.fingerprint for other in others):
        raise DataError(f"dataset {dataset.name!r} was changed while it was read: run again")
    skipped = prepared.images.record.skipped
    if skipped:
        say(f"{dataset.name}: {len(skipped)} bad images left out: {', '.join(skipped[:5])}")
    for note in prepared.notes:
        say(f"{dataset.name}: {note}")
    aside = sum(one.aside for one in formed.values())
    spent = time.perf_counter() - started - aside
    return replace(prepared, seconds=spent, aside=aside, forms=formed)


def place_images(
    dataset: PreparedDataset,
    division: Division,
    form: PixelForm,
    resolved: ResolvedSuite,
    access: Access,
    store: Store,
) -> ImagesPlace:
    """The images of a dataset divided so, whose split files are written, by where they lie."""
    divided = dataset.formed(form).divided(division)
    name = divided.splits.dataset
    own = division.split == resolved.suite.protocol.split_seed
    stem = name if own else f"{name}.{division.split}"
    file = store.write_split(stem, divided.splits.model_dump_json(indent=1))
    record = divided.images.record.model_copy(update={"split_file": f"splits/{file}"})
    external = {each: _with_split_file(one, store) for each, one in divided.external.items()}
    declared = Declaration(
        dataset=resolved.datasets[name],
        protocol=resolved.protocols[form],
        access=access,
        limit=resolved.request.limit,
        division=division,
        fingerprint=divided.fingerprint,
        record=record,
        external={each: one.record for each, one in external.items()},
    )
    return ImagesPlace(replace(divided.images, record=record, external=external), declared)


def _with_split_file(further: PreparedExternal, store: Store) -> ExternalImages:
    """The images of a further test set, whose split file is written."""
    splits = further.splits
    file = store.write_split(splits.dataset, splits.model_dump_json(indent=1))
    record = further.images.record.model_copy(update={"split_file": f"splits/{file}"})
    return replace(further.images, record=record)


def _other_divisions(suite: Suite) -> list[Division]:
    """The divisions of a suite's datasets beside the protocol's own."""
    return [one for one in divisions(suite) if one != Division(suite.protocol.split_seed)]
