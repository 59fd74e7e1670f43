"""MedMNIST and MedMNIST+: small images of twelve sources in npz files (Yang et al. 2023)."""

from harness import ArrayDataset, Dataset, hookimpl
from harness_medmnist.sets import SETS

SIZES = ("_224", "_128", "_64", "")  # of the files of one set in a folder, the largest is taken


@hookimpl
def harness_datasets() -> list[Dataset]:
    return [
        ArrayDataset(
            **declared,
            files=tuple(f"{declared['name']}{size}.npz" for size in SIZES),
            citation="Yang et al. 2023, Scientific Data 10:41",
            source="https://medmnist.com",
        )
        for declared in SETS
    ]
