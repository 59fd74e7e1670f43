"""Brain MRI slices, three kinds of tumour or none (Bhuvaji et al. 2020), from the Hub."""

from harness import Dataset, HubDataset, hookimpl

BRAIN_TUMOR = HubDataset(
    name="brain-tumor-classification",
    modality="mri",
    title="Brain MRI, tumour type",
    classes=("glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor"),
    repo="sartajbhuvaji/Brain-Tumor-Classification",
    files={"train": ("Training.zip",), "test": ("Testing.zip",)},
    splits="official-test",
    images={"train": 2870, "test": 394},
    licence="MIT by its card (not verified)",
    citation="Bhuvaji et al. 2020, Kaggle, doi 10.34740/kaggle/dsv/1183165",
    problems=(
        "no patient id: neighbouring slices of one patient cross the official split",
        "where the single scans come from is not documented",
    ),
)


@hookimpl
def harness_datasets() -> list[Dataset]:
    return [BRAIN_TUMOR]
