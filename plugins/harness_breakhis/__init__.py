"""BreakHis: breast histology, benign or malignant, by magnification (Spanhol et al. 2016)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from harness import Access, DataError, Dataset, LocalDataset, Row, hookimpl, make_table

if TYPE_CHECKING:
    import datasets

# SOB_B_A-14-22549G-40-001.png: biopsy, benign, adenosis, slide 14-22549G, 40 x, number 1
NAME = re.compile(r"SOB_(?P<side>[BM])_[A-Z]+-(?P<slide>\d+-\w+)-(?P<zoom>\d+)-\d+\.png")
SIDES = {"B": "benign", "M": "malignant"}


class BreakHis(LocalDataset):
    """The images of one magnification, wherever they lie in the folder; a slide is a group."""

    magnification: int
    modality: str = "histology"
    classes: tuple[str, ...] = ("benign", "malignant")
    groups: str = "slide, by file name: SOB_B_A-14-22549G-40-001.png"
    licence: str = "CC-BY-4.0"
    citation: str = "Spanhol et al. 2016, IEEE Trans. Biomed. Eng. 63(7), 1455-1462"
    source: str = (
        "https://web.inf.ufpr.br/vri/databases/breast-cancer-histopathological-database-breakhis/"
    )
    problems: tuple[str, ...] = (
        "slide 14-13412 is filed under ductal and under lobular carcinoma, with the same images",
    )

    def load(self, access: Access) -> Mapping[str, datasets.Dataset]:
        rows = list(self._rows())
        if not rows:
            raise DataError(
                f"dataset {self.name!r}: no image of magnification {self.magnification} below "
                f"{self.path}; its files are named like SOB_B_A-14-22549G-40-001.png"
            )
        return {"train": make_table(rows)}

    def _rows(self) -> Iterator[Row]:
        for path in sorted(self.place().rglob("SOB_*.png")):
            found = NAME.fullmatch(path.name)
            if found is None:
                raise DataError(
                    f"dataset {self.name!r}: {path} is not named as BreakHis names them"
                )
            if int(found["zoom"]) == self.magnification:
                yield Row(path, SIDES[found["side"]], found["slide"], path.name)


@hookimpl
def harness_datasets() -> list[Dataset]:
    return [
        BreakHis(
            name=f"breakhis-{zoom}x",
            title=f"BreakHis, {zoom} x",
            magnification=zoom,
            splits="grouped",
        )
        for zoom in (40, 100, 200, 400)
    ]
