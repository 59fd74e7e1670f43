"""Five datasets that a program draws, one a modality: nothing to download, no patient involved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from harness import Access, Dataset, hookimpl

if TYPE_CHECKING:
    import datasets


class ProceduralDataset(Dataset):
    """A dataset drawn with numpy when it is loaded, the same pixels on every machine.

    Attributes:
        counts: images of each class in train and in test; validation has half as many.
    """

    counts: tuple[int, ...]
    licence: str = "Apache-2.0"
    source: str = "drawn by harness_demo when it is loaded"
    groups: str = "patient (invented; one to three images each)"
    problems: tuple[str, ...] = ("procedural: drawn by a program, says nothing about patients",)
    procedural: bool = True

    def load(self, access: Access) -> Mapping[str, datasets.Dataset]:
        from harness_demo.table import draw_tables

        return draw_tables(self.name, self.modality, self.classes, self.counts)


DATASETS = (
    ProceduralDataset(
        name="demo-xray",
        modality="xray",
        title="Chest X-rays (procedural)",
        classes=("normal", "nodules", "consolidation"),
        counts=(32, 32, 32),
    ),
    ProceduralDataset(
        name="demo-mri",
        modality="mri",
        title="Axial brain MRI, T1 after contrast (procedural)",
        classes=("plaques", "ring-lesion", "solid-lesion"),
        counts=(32, 32, 32),
    ),
    ProceduralDataset(
        name="demo-histology",
        modality="histology",
        title="H&E-stained sections (procedural)",
        classes=("glands", "nests", "palisades", "scattered"),
        counts=(24, 24, 24, 24),
    ),
    ProceduralDataset(
        name="demo-dermoscopy",
        modality="dermoscopy",
        title="Pigmented skin lesions (procedural)",
        classes=("network", "globules", "irregular"),
        counts=(42, 30, 24),
    ),
    ProceduralDataset(
        name="demo-endoscopy",
        modality="endoscopy",
        title="Instruments in endoscopic surgery (procedural)",
        classes=("grasper", "hook", "scissors"),
        counts=(32, 32, 32),
    ),
)


@hookimpl
def harness_datasets() -> Iterable[Dataset]:
    return DATASETS
