"""A dataset looked at before its images are decoded: for plans."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from harness.api.dataset import SPLITS, Access, Dataset
from harness.api.records import Protocol
from harness.data.division.split import Division, Splits, lacking_classes
from harness.data.duplicates import find_duplicates, known_duplicates
from harness.data.images import PixelForm, read, resize_crop
from harness.data.preparation.arrangement import (
    ReadDataset,
    Rows,
    arrange_known,
    check_lacking,
    describe_contradicting,
    with_labels,
)
from harness.data.preparation.external import Trained, external_sets, survey_external
from harness.data.preparation.info import DatasetInfo, count_tested
from harness.data.table import DatasetTable
from harness.errors import DataError
from harness.utils.parallel import cores

TRIED = 8  # images that are decoded to see how long all of them will take


def survey_dataset(
    dataset: Dataset,
    protocol: Protocol,
    access: Access,
    *,
    limit: int | None = None,
    divisions: Sequence[Division] = (),
    timed: bool = True,
) -> DatasetInfo:
    """As `prepare_dataset`, without decoding and without refusing bad images.

    With `timed` some images are decoded, to tell how long all of them will take.

    Raises:
        DataError: the dataset contradicts itself, or cannot be split.
    """
    began = time.perf_counter()
    data = ReadDataset.of(dataset, access)
    data = data.joined(lambda table: known_duplicates(table, access.cache))
    table = data.table
    arranged, bad, decoded = arrange_known(
        lambda bad: data.arrange(protocol, bad, limit), table, access
    )
    splits, rows = arranged.splits, arranged.rows
    check_lacking(splits, access)
    facts = DatasetInfo(
        table.classes,
        decoded=decoded,
        notes=(*table.notes, *describe_contradicting(data.contradicting())),
        **_facts(splits, rows),
        seconds=time.perf_counter() - began,  # to read it takes as long once more
    )
    if timed and not decoded:
        facts = replace(
            facts, seconds=facts.seconds + _time_decoding(table, arranged.ids, protocol)
        )
    others, splits_of = {}, [splits]
    for division in divisions:
        again, seeded = data.divided_anew(protocol, division)
        found = with_labels(again.arrange(seeded, bad, limit), division, access)
        others[division] = replace(facts, **_facts(*found))
        splits_of.append(found[0])
    sets, absent = external_sets(data.declared, access)
    trained = Trained(data.declared, table, splits_of)
    external = {
        name: survey_external(one, trained, protocol, access, limit) for name, one in sets.items()
    }
    return replace(facts, others=others, external=external, notes=(*facts.notes, *absent))


def survey_splits(
    dataset: Dataset, protocol: Protocol, access: Access, divisions: Sequence[Division]
) -> dict[Division, Splits]:
    """The splits of a dataset, as far as bad images and near duplicates are known.

    Raises:
        DataError: the dataset contradicts itself, or cannot be split.
    """
    data = ReadDataset.of(dataset, access)
    data = data.joined(lambda table: find_duplicates(table, access.cache))
    found = {}
    for division in divisions:
        again, seeded = data.divided_anew(protocol, division)
        found[division] = again.arrange(seeded, data.table.unreadable).splits
    return found


def _facts(splits: Splits, rows: Rows) -> dict[str, Any]:
    """The fields of a `DatasetInfo` that come from the splits."""
    return {
        "counts": {split: len(rows[split]) for split in SPLITS},
        "fingerprint": splits.fingerprint,
        "lacking": lacking_classes(splits),
        "tested": count_tested(splits, rows["test"]),
    }


def _time_decoding(table: DatasetTable, ids: Sequence[str], protocol: Protocol) -> float:
    """About how many seconds decoding images takes, by all cores: as some of them do by one.

    A file that cannot be decoded takes none; it is reported where it is decoded in earnest.
    """
    tried = ids[:: max(1, len(ids) // TRIED)][:TRIED]
    sources = table.sources([*tried[:1], *tried])
    began = time.perf_counter()
    for number, source in enumerate(sources):
        if number == 1:  # the first one waited for imports
            began = time.perf_counter()
        with contextlib.suppress(DataError):
            resize_crop(read(source), **PixelForm.of(protocol)._asdict())
    spent = time.perf_counter() - began
    return spent / max(1, len(tried)) * len(ids) / cores()
