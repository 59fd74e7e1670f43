"""Datasets that break their promises, one each; see broken_strategies.py."""

import contextlib
import socket
from typing import ClassVar

from harness import Dataset, hookimpl


def sample(split, number):
    """One row of the toy tables."""
    import io

    import numpy as np
    from PIL import Image

    pixels = np.full((8, 8, 3), 20 * number, dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    name = f"{split}-{number}"
    image = {"bytes": file.getvalue(), "path": None}
    return {"image": image, "label": ("a", "b")[number % 2], "group": name, "id": name}


class Broken(Dataset):
    """Twelve grey squares, as long as nothing is broken."""

    message: ClassVar[str]
    also: ClassVar[tuple[str, ...]] = ()
    modality: str = "xray"
    classes: tuple[str, ...] = ("a", "b")
    licence: str = "CC0-1.0"
    source: str = "drawn"

    def rows(self, split):
        return [sample(split, number) for number in range(4)]

    def load(self, access):
        import datasets

        return {
            split: datasets.Dataset.from_list(self.rows(split)).cast_column(
                "image", datasets.Image(decode=False)
            )
            for split in ("train", "validation", "test")
        }


class Declaration(Broken):
    name: str = "breaks-declaration"
    message = "it declares no licence"
    licence: str = "unknown"


class DeclarationSource(Broken):
    name: str = "breaks-declaration-source"
    message = "it declares neither source nor citation"
    source: str = ""


class DeclarationModality(Broken):
    name: str = "breaks-declaration-modality"
    message = "its modality is 'X-ray', no id such as 'xray'"
    modality: str = "X-ray"


class DeclarationClasses(Broken):
    name: str = "breaks-declaration-classes"
    message = "its classes are ['a', 'b', 'a']: two or more, each named once"
    classes: tuple[str, ...] = ("a", "b", "a")


class Offline(Broken):
    name: str = "breaks-offline"
    message = "it asked for the address of 'localhost' though Access.offline is true"

    def load(self, access):
        with contextlib.suppress(OSError):
            socket.create_connection(("localhost", 9), timeout=0.1)
        return super().load(access)


class Tables(Broken):
    name: str = "breaks-tables"
    message = "it has a split 'dev'; the splits are train, validation, test"

    def load(self, access):
        tables = super().load(access)
        return {"train": tables["train"], "dev": tables["test"]}


class TablesRaising(Broken):
    name: str = "breaks-tables-raising"
    message = "KeyError: 'training'"

    def load(self, access):
        return {"train": super().load(access)["training"]}


class TablesWithoutTrain(Broken):
    name: str = "breaks-tables-train"
    message = "it has no split 'train'"

    def load(self, access):
        return {"test": super().load(access)["test"]}


class TablesOfRows(Broken):
    name: str = "breaks-tables-rows"
    message = "train is a list, no datasets.Dataset"

    def load(self, access):
        return {"train": self.rows("train")}


class TablesInAList(Broken):
    name: str = "breaks-tables-list"
    message = "load() returns list, no mapping of split to table"

    def load(self, access):
        return list(super().load(access).values())


class TablesEmpty(Broken):
    name: str = "breaks-tables-empty"
    message = "'validation' is empty"

    def load(self, access):
        tables = super().load(access)
        return tables | {"validation": tables["validation"].select([])}


class Columns(Broken):
    name: str = "breaks-columns"
    message = "train has no column 'group'"

    def rows(self, split):
        return [{k: v for k, v in row.items() if k != "group"} for row in super().rows(split)]


class ColumnsImage(Broken):
    name: str = "breaks-columns-image"
    message = "train has no column 'image'"

    def load(self, access):
        return {s: t.remove_columns("image") for s, t in super().load(access).items()}


class ColumnsDecoded(Broken):
    name: str = "breaks-columns-decoded"
    message = "decode=True), not datasets.Image(decode=False)"

    def load(self, access):
        import datasets

        tables = super().load(access)
        return {s: t.cast_column("image", datasets.Image()) for s, t in tables.items()}


class ColumnsNumbered(Broken):
    name: str = "breaks-columns-numbered"
    message = "train: column 'group' holds 0, no text"
    also = ("groups-stay",)

    def rows(self, split):
        return [row | {"group": number} for number, row in enumerate(super().rows(split))]


class Labels(Broken):
    name: str = "breaks-labels"
    message = "train has a label 'c', which is not among the classes"

    def rows(self, split):
        return [*super().rows(split), sample(split, 5) | {"label": "c"}]


class LabelsRead(Broken):
    name: str = "breaks-labels-read"
    message = "test has a label 'c', which is not among the classes"
    classes: tuple[str, ...] = ()

    def rows(self, split):
        rows = super().rows(split)
        return [*rows, sample(split, 5) | {"label": "c"}] if split == "test" else rows


class LabelsAbsent(Broken):
    name: str = "breaks-labels-absent"
    message = "no sample of class 'c' in train"
    classes: tuple[str, ...] = ("a", "b", "c")


class IdsUnique(Broken):
    name: str = "breaks-ids-unique"
    message = "the id '0', '1', '2' and 1 more names more than one sample"

    def rows(self, split):
        return [row | {"id": str(number)} for number, row in enumerate(super().rows(split))]


class SameIds(Broken):
    name: str = "breaks-same-ids"
    message = "a second load() gives another test: 'test-0-"

    def rows(self, split):
        import uuid

        return [row | {"id": f"{row['id']}-{uuid.uuid4()}"} for row in super().rows(split)]


class SameSplits(Broken):
    name: str = "breaks-same-ids-splits"
    message = "a second load() gives another validation: 'validation-0'"
    loads: ClassVar[list[None]] = []

    def load(self, access):
        tables = super().load(access)
        self.loads.append(None)
        if len(self.loads) % 2:
            del tables["validation"]
        return tables


class GroupsStayInTest(Broken):
    name: str = "breaks-groups-stay-test"
    message = "validation and test share the group 'patient-0'"
    splits: str = "official-test"

    def rows(self, split):
        group = {"group": "patient-0" if split != "train" else "patient-1"}
        return [row | group for row in super().rows(split)]


class GroupsStay(Broken):
    name: str = "breaks-groups-stay"
    message = "train and validation share the group 'patient-0', 'patient-1'"

    def rows(self, split):
        rows = super().rows(split)
        return [row | {"group": f"patient-{number // 2}"} for number, row in enumerate(rows)]


class ImagesDecode(Broken):
    name: str = "breaks-images-decode"
    message = "the image of 'test-0' in test: cannot be decoded"

    def rows(self, split):
        rows = super().rows(split)
        if split == "test":
            rows[0]["image"]["bytes"] = rows[0]["image"]["bytes"][:40]
        return rows


class GlobalRandomness(Broken):
    name: str = "breaks-global-randomness"
    message = "load() draws from or seeds numpy.random"

    def load(self, access):
        import numpy as np

        np.random.seed(1)  # noqa: NPY002
        return super().load(access)


BROKEN = [one() for one in Broken.__subclasses__()]


@hookimpl
def harness_datasets():
    return BROKEN
