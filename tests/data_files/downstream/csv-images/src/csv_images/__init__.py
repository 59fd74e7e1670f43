"""Images listed in a CSV file with the columns file, label and patient.

`CSV_IMAGES` names the file; images are found from the folder it lies in.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from harness import Access, DataError, Dataset, hookimpl

if TYPE_CHECKING:
    import datasets

HARNESS_API_VERSION = 1
COLUMNS = {"file", "label", "patient"}


class CsvImages(Dataset):
    """All rows in one table; the harness splits them by patient."""

    name: str = "csv-images"
    title: str = "Images from a CSV file"
    modality: str = "ultrasound"
    licence: str = "that of your images"
    source: str = "a CSV file of your own (CSV_IMAGES)"
    groups: str = "patient"
    splits: str = "grouped"

    def load(self, access: Access) -> Mapping[str, datasets.Dataset]:
        import datasets

        rows = self.rows()
        text = datasets.Value("string")
        features = datasets.Features(
            image=datasets.Image(decode=False), label=text, group=text, id=text
        )
        columns = {
            "image": [str(self.table().parent / row["file"]) for row in rows],
            "label": [row["label"] for row in rows],
            "group": [row["patient"] for row in rows],
            "id": [row["file"] for row in rows],
        }
        return {"train": datasets.Dataset.from_dict(columns, features=features)}

    def table(self) -> Path:
        """The CSV file."""
        if not (place := os.environ.get("CSV_IMAGES")):
            raise DataError(f"dataset {self.name!r}: set CSV_IMAGES to the path of its CSV file")
        return Path(place).expanduser().resolve()

    def rows(self) -> list[dict[str, str]]:
        """The rows of the file."""
        try:
            with self.table().open(encoding="utf-8", newline="") as file:
                reader = csv.DictReader(file)
                rows = list(reader)
        except OSError as error:
            raise DataError(f"dataset {self.name!r}: {error.filename}: {error.strerror}") from error
        if missing := COLUMNS - set(reader.fieldnames or ()):
            raise DataError(f"{self.table()} has no column {', '.join(sorted(missing))}")
        return rows


@hookimpl
def harness_datasets() -> list[Dataset]:
    return [CsvImages()]
