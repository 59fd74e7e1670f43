"""BreakHis: breast histology, benign or malignant, by magnification (Spanhol et al. 2016)."""

from harness import Dataset, PatternDataset, hookimpl

BREAKHIS = PatternDataset(
    name="breakhis",
    modality="histology",
    mirrors=True,
    classes=("benign", "malignant"),
    # biopsy, benign, adenosis, slide 14-22549G, 40 x, number 1
    example="SOB_B_A-14-22549G-40-001.png",
    pattern=r"(?:^|/)(?P<id>SOB_(?P<label>[BM])_[A-Z]+-(?P<group>\d+-\w+)-(?P<magnification>\d+)-\d+\.png)$",
    every="SOB_*.png",
    labels={"B": "benign", "M": "malignant"},
    splits="grouped",
    groups="slide, by file name",
    licence="CC-BY-4.0",
    citation="Spanhol et al. 2016, IEEE Trans. Biomed. Eng. 63(7), 1455-1462",
    source="https://web.inf.ufpr.br/vri/databases/breast-cancer-histopathological-database-breakhis/",
    problems=(
        "slide 14-13412 is filed under ductal and under lobular carcinoma, with the same images",
    ),
)


@hookimpl
def harness_datasets() -> list[Dataset]:
    return [
        BREAKHIS.model_copy(
            update={
                "name": f"breakhis-{zoom}x",
                "title": f"BreakHis, {zoom} x",
                "only": {"magnification": zoom},
            }
        )
        for zoom in ("40", "100", "200", "400")
    ]
