"""Cholec80 and CholecSeg8k: surgical phases in frames of cholecystectomies; a video is a group."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from harness import Access, DataError, Dataset, PatternDataset, hookimpl

if TYPE_CHECKING:
    import datasets

TRAINING_VIDEOS = 40  # of 80, in the official split


class Cholec(PatternDataset):
    """Labels are the phases as Cholec80 ships them, `phase_annotations/video01-phase.txt`.

    Where there is a `labels.csv` (columns file, label), it says them instead.
    """

    def load(self, access: Access) -> Mapping[str, datasets.Dataset]:
        _read.cache_clear()  # since then they may have changed
        return super().load(access)

    def label(self, place: Path, name: str, found: re.Match[str]) -> str | None:
        if (listed := place / "labels.csv").is_file():
            return _read(listed, "file", "label", ",").get(name)
        phases = place / "phase_annotations" / f"{found['group']}-phase.txt"
        return _read(phases, "Frame", "Phase", "\t").get(str(int(found["frame"])))

    def split(self, found: re.Match[str]) -> str:
        official = self.splits == "official-test"
        return "test" if official and int(found["group"][-2:]) > TRAINING_VIDEOS else "train"


@cache
def _read(path: Path, key: str, value: str, delimiter: str) -> dict[str, str]:
    """Two columns of a table; a line a frame, at 25 frames a second, in those of Cholec80."""
    if not path.is_file():
        raise DataError(
            f"{path} is missing: put the phase_annotations of Cholec80, or a labels.csv (file, "
            "label), beside the frames"
        )
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            return {row[key]: row[value] for row in csv.DictReader(file, delimiter=delimiter)}
        except KeyError as error:
            raise DataError(f"{path} needs the columns {key} and {value}") from error


@hookimpl
def harness_datasets() -> list[Dataset]:
    return [
        Cholec(
            name="cholec80",
            modality="endoscopy",
            mirrors=True,
            title="Cholec80, surgical phase",
            pattern=r"(?P<group>video\d\d)/(?:\w*_)?(?P<frame>\d+)\.(?:png|jpe?g)$",
            example="video01/video01_000025.png",
            splits="official-test",
            groups="video",
            licence="CC-BY-NC-SA-4.0, by request",
            citation="Twinanda et al. 2017, IEEE Trans. Med. Imaging 36(1), 86-97",
            source="http://camma.u-strasbg.fr/datasets",
            problems=(
                "frames are cut from the videos by hand: a file's name ends in its number at 25 a second",
            ),
        ),
        Cholec(
            name="cholecseg8k",
            modality="endoscopy",
            mirrors=True,
            title="CholecSeg8k, surgical phase",
            pattern=r"(?P<group>video\d\d)/\w+/frame_(?P<frame>\d+)_endo\.png$",
            example="video01/video01_00080/frame_80_endo.png",
            splits="grouped",
            groups="video",
            licence="CC-BY-NC-SA-4.0",
            citation="Hong et al. 2020, arXiv 2012.12453",
            source="https://huggingface.co/datasets/minwoosun/CholecSeg8k",
            problems=("17 videos only", "made for segmentation: the phases are those of Cholec80"),
        ),
    ]
