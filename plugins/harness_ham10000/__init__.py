"""HAM10000: dermoscopy of pigmented lesions, seven diagnoses (Tschandl et al. 2018), from the Hub."""

from harness import Dataset, HubDataset, hookimpl

HAM10000 = HubDataset(
    name="ham10000",
    modality="dermoscopy",
    mirrors=True,
    title="HAM10000, split by lesion",
    classes=(
        "actinic_keratoses",
        "basal_cell_carcinoma",
        "benign_keratosis-like_lesions",
        "dermatofibroma",
        "melanocytic_Nevi",
        "melanoma",
        "vascular_lesions",
    ),
    repo="marmal88/skin_cancer",
    revision="bdd59e10860746202dfdc452e0ac3a9eaa25268d",
    files={
        "train": ("data/train-*",),
        "validation": ("data/validation-*",),
        "test": ("data/test-*",),
    },
    label_column="dx",
    id_column="image_id",
    group_column="lesion_id",
    unique_column="image_id",
    # The source's own splits leak: they are joined, and made again by lesion.
    splits="grouped",
    groups="lesion",
    images={"train": 10_015},
    licence="CC-BY-NC-4.0",
    citation="Tschandl, Rosendahl and Kittler 2018, Scientific Data 5:180161",
    problems=(
        "the source lists 10,015 images in 13,354 rows; each is used once",
        "1,025 of the 1,285 images of its test split are in its train split too: both are not used",
    ),
)


@hookimpl
def harness_datasets() -> list[Dataset]:
    return [HAM10000]
