"""HyperKvasir: gastrointestinal endoscopy, 23 findings (Borgli et al. 2020), from the Hub."""

from harness import Dataset, HubDataset, hookimpl

COLITIS = ("0-1", "1", "1-2", "2", "2-3", "3")

HYPER_KVASIR = HubDataset(
    name="hyper-kvasir",
    modality="endoscopy",
    mirrors=True,
    title="HyperKvasir, labelled images",
    classes=(
        *("barretts", "barretts-short-segment", "bbps-0-1", "bbps-2-3", "cecum"),
        *("dyed-lifted-polyps", "dyed-resection-margins", "esophagitis-a", "esophagitis-b-d"),
        *("hemorrhoids", "ileum", "impacted-stool", "polyps", "pylorus", "retroflex-rectum"),
        *("retroflex-stomach", *(f"ulcerative-colitis-grade-{grade}" for grade in COLITIS)),
        "z-line",
    ),
    repo="sahilur/hyper-kvasir-labeled-images",
    files={"train": ("train.zip",), "validation": ("valid.zip",), "test": ("test.zip",)},
    splits="official",
    images={"train": 8500, "validation": 1070, "test": 1070},
    licence="CC-BY-4.0",
    citation="Borgli et al. 2020, Scientific Data 7:283",
    problems=(
        "no video or patient id: frames of one examination can cross the splits",
        "classes are very uneven; the rarest has a handful of images",
    ),
)


@hookimpl
def harness_datasets() -> list[Dataset]:
    return [HYPER_KVASIR]
