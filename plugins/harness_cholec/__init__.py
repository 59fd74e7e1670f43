"""Cholec80 and CholecSeg8k: surgical phases in frames of cholecystectomies; a video is a group."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from harness import Access, DataError, Dataset, LocalDataset, Row, hookimpl, make_table

if TYPE_CHECKING:
    import datasets

TRAINING_VIDEOS = 40  # of 80, in the official split


class Cholec(LocalDataset):
    """Frames as images in a folder, with labels from one of two places in it.

    Either `labels.csv` (columns file, label) or the phases of Cholec80 as it ships them,
    `phase_annotations/video01-phase.txt`: a line a frame, at 25 frames a second.

    Attributes:
        frame: finds video and number of a frame in its path from the folder.
        official: the first 40 videos are for training, the others for testing.
    """

    frame: str
    official: bool = False
    modality: str = "endoscopy"
    groups: str = "video"

    def load(self, access: Access) -> Mapping[str, datasets.Dataset]:
        place = self.place()
        tables: dict[str, list[Row]] = {}
        for row in self._rows(place):
            test = self.official and int(row.group.removeprefix("video")) > TRAINING_VIDEOS
            tables.setdefault("test" if test else "train", []).append(row)
        if not tables:
            raise DataError(
                f"dataset {self.name!r}: no frame below {self.path}: paths must match {self.frame}"
            )
        return {split: make_table(rows) for split, rows in tables.items()}

    def _rows(self, place: Path) -> Iterator[Row]:
        listed = _listed(place / "labels.csv")
        for path in sorted(place.rglob("*")):
            name = path.relative_to(place).as_posix()
            found = re.search(self.frame, name)
            if found is None:
                continue
            label = (
                _phases(place / "phase_annotations" / f"{found['video']}-phase.txt").get(
                    int(found["frame"])
                )
                if listed is None
                else listed.get(name)
            )
            if label is None:
                raise DataError(f"dataset {self.name!r}: {name} has no label")
            yield Row(path, label, found["video"], name)


def _listed(path: Path) -> dict[str, str] | None:
    if not path.is_file():
        return None
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            return {row["file"]: row["label"] for row in csv.DictReader(file)}
        except KeyError as error:
            raise DataError(f"{path} needs the columns file and label") from error


@cache
def _phases(path: Path) -> dict[int, str]:
    """Frame number -> phase."""
    if not path.is_file():
        raise DataError(
            f"{path} is missing: put the phase_annotations of Cholec80, or a labels.csv (file, "
            "label), beside the frames"
        )
    with path.open(encoding="utf-8", newline="") as file:
        return {int(row["Frame"]): row["Phase"] for row in csv.DictReader(file, delimiter="\t")}


@hookimpl
def harness_datasets() -> list[Dataset]:
    return [
        Cholec(
            name="cholec80",
            title="Cholec80, surgical phase",
            frame=r"(?P<video>video\d\d)/(?:\w*_)?(?P<frame>\d+)\.(?:png|jpe?g)$",
            official=True,
            splits="official-test",
            licence="CC-BY-NC-SA-4.0, by request",
            citation="Twinanda et al. 2017, IEEE Trans. Med. Imaging 36(1), 86-97",
            source="http://camma.u-strasbg.fr/datasets",
            problems=(
                "frames are cut from the videos by hand: a file's name ends in its number at 25 a second",
            ),
        ),
        Cholec(
            name="cholecseg8k",
            title="CholecSeg8k, surgical phase",
            frame=r"(?P<video>video\d\d)/\w+/frame_(?P<frame>\d+)_endo\.png$",
            splits="grouped",
            licence="CC-BY-NC-SA-4.0",
            citation="Hong et al. 2020, arXiv 2012.12453",
            source="https://huggingface.co/datasets/minwoosun/CholecSeg8k",
            problems=("17 videos only", "made for segmentation: the phases are those of Cholec80"),
        ),
    ]
