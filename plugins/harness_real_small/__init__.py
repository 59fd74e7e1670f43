"""The five sets of images that the board `real-small` was made on.

They are small selections of published sets, made for it.  Neither the images nor a recipe that makes
the selection again come with the harness; the list of files does, in `files/`, so that whoever holds
them can show that they are the same.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from harness import Access, DataError, Dataset, LocalDataset, Row, hookimpl, make_table

if TYPE_CHECKING:
    import datasets

LISTS = Path(__file__).parent / "files"
SPLITS = ("train", "validation", "test")
SHOWN = 5  # files that a message names
SELECTION = "a selection, its short side at most 256 px, JPEG; only its test split is kept"


class ListedFile(NamedTuple):
    """A line of a list.

    Attributes:
        file: SPLIT/CLASS/NAME, from the folder.
        group: as `Dataset.load` has it.
        sha256: of the file's bytes, hexadecimal.
    """

    file: str
    group: str
    sha256: str


class ListedImages(LocalDataset):
    """Image files `SPLIT/CLASS/NAME` in a folder, each of which must have the bytes that a list says.

    Attributes:
        listed: name of the list, a csv file in `files/` (file, group, sha256).
    """

    listed: str

    def list_files(self) -> list[ListedFile]:
        """The lines of the list."""
        with (LISTS / f"{self.listed}.csv").open(encoding="utf-8", newline="") as file:
            return [ListedFile(**line) for line in csv.DictReader(file)]

    def load(self, access: Access) -> Mapping[str, datasets.Dataset]:
        """As `Dataset.load`; images are paths.

        Raises:
            DataError: a file is missing, has other bytes, or lies beside those of the list.
        """
        place, listed = self.place(), self.list_files()
        self._check(place, listed)
        rows: dict[str, list[Row]] = {}
        for one in listed:
            split, label, _ = one.file.split("/")
            rows.setdefault(split, []).append(Row(place / one.file, label, one.group, one.file))
        return {split: make_table(some) for split, some in rows.items()}

    def _check(self, place: Path, listed: Iterable[ListedFile]) -> None:
        wanted = {one.file: one.sha256 for one in listed}
        there = {
            path.relative_to(place).as_posix()
            for split in SPLITS
            for path in (place / split).rglob("*")
            if path.is_file() and not path.name.startswith(".")
        }
        differ = [
            name for name in sorted(there & set(wanted)) if _sha256(place / name) != wanted[name]
        ]
        faults = {
            "missing": sorted(set(wanted) - there),
            "of other bytes than the list says": differ,
            "not in the list": sorted(there - set(wanted)),
        }
        said = "; ".join(_say(what, names) for what, names in faults.items() if names)
        if said:
            raise DataError(
                f"dataset {self.name!r}: {place} does not hold the {len(wanted)} files that its list "
                f"names: {said}; give the folder that was listed, or use this one as a set of your own "
                "(--data ANOTHER-NAME=FOLDER)"
            )


def _say(what: str, names: list[str]) -> str:
    count = "1 file is" if len(names) == 1 else f"{len(names)} files are"
    return f"{count} {what} ({', '.join(names[:SHOWN])}{', ...' * (len(names) > SHOWN)})"


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def _declared(modality: str, **more: object) -> ListedImages:
    return ListedImages.model_validate(
        {
            "name": f"real-{modality}",
            "modality": modality,
            "listed": modality,
            "splits": "official-test",
            **more,
        }
    )


SETS = (
    _declared(
        "xray",
        title="Chest X-ray of children, 902 images",
        classes=("NORMAL", "PNEUMONIA"),
        groups="patient, by file name",
        licence="CC-BY-4.0",
        citation="Kermany et al. 2018, Cell 172(5), doi 10.1016/j.cell.2018.02.010",
        source="https://data.mendeley.com/datasets/rscbjbr9sj",
        problems=(SELECTION, "features of a random network separate the classes (AUC .98): brightness, framing"),
    ),
    _declared(
        "mri",
        title="Brain MRI, three tumours, 1,384 slices",
        classes=("glioma", "meningioma", "pituitary"),
        groups="block of 20 neighbouring slices",
        licence="CC-BY-4.0",
        citation="Cheng et al. 2015, PLoS ONE 10(10):e0140381; data: doi 10.6084/m9.figshare.1512427",
        source="https://figshare.com/articles/dataset/1512427",
        problems=(
            SELECTION,
            "no patient id: slices of one patient can meet at the edge of a block",
            "features of a random network separate the classes (AUC .90): position of the slice",
        ),
    ),
    _declared(
        "histology",
        title="Colorectal biopsy (H&E), six grades, 924 images",
        classes=(
            "Adenocarcinoma", "High-grade_IN", "Low-grade_IN", "Normal", "Polyp", "Serrated_adenoma",
        ),
        groups="case",
        licence="CC-BY-4.0",
        citation="Shi et al. 2023 (EBHI-Seg), Frontiers in Medicine 10:1114673",
        source="https://figshare.com/articles/dataset/21540159",
        problems=(
            SELECTION,
            "three cases are spelt in two ways (GTXC2014144, GTxc2014144): each is one group here",
        ),
    ),
    _declared(
        "dermoscopy",
        title="Dermoscopy, five diagnoses, 1,437 images",
        classes=("akiec", "bcc", "bkl", "df", "vasc"),
        groups="lesion",
        licence="CC-BY-NC-4.0",
        citation="Tschandl, Rosendahl and Kittler 2018 (HAM10000), Scientific Data 5:180161",
        source="https://doi.org/10.7910/DVN/DBW86T",
        problems=(SELECTION, "without melanoma and naevi"),
    ),
    _declared(
        "endoscopy",
        title="Colonoscopy, size of the polyp, 1,000 frames",
        classes=("polyp_large", "polyp_small"),
        groups="frame: no patient is known",
        licence="research and educational use only",
        citation="Jha et al. 2020 (Kvasir-SEG), MultiMedia Modeling, 451-462",
        source="https://datasets.simula.no/kvasir-seg/",
        problems=(
            SELECTION,
            "the label is the size of the polyp by its area in the expert's mask: no diagnosis",
            "frames of one patient cannot be kept together",
        ),
    ),
)  # fmt: skip


@hookimpl
def harness_datasets() -> list[Dataset]:
    return list(SETS)
