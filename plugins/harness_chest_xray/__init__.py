"""Paediatric chest X-rays, normal or pneumonia (Kermany et al. 2018), from the Hub."""

from harness import Dataset, HubDataset, hookimpl

CHEST_XRAY = HubDataset(
    name="chest-xray-pneumonia",
    modality="xray",
    title="Chest X-ray, pneumonia",
    classes=("NORMAL", "PNEUMONIA"),
    repo="hf-vision/chest-xray-pneumonia",
    revision="c1a67c18df1a52ec332ffc00418f4eaa61a9f2bc",
    # The source's validation split has 16 images: it goes back to train, and a new one is made.
    files={"train": ("data/train-*", "data/validation-*"), "test": ("data/test-*",)},
    splits="official-test",
    groups="patient, by file name: person12_bacteria_3.jpeg, IM-0115-0001.jpeg",
    group_pattern=r"^(person\d+|(?:NORMAL2-)?IM-\d+)",
    groups_restart=True,
    images={"train": 5232, "test": 624},
    licence="CC-BY-4.0",
    citation="Kermany et al. 2018, Cell 172(5), doi 10.1016/j.cell.2018.02.010",
    problems=(
        "the source's validation split has 16 images; it is joined to train and made again",
        "patients are numbered anew in test: whether one is in train too cannot be known",
    ),
)


@hookimpl
def harness_datasets() -> list[Dataset]:
    return [CHEST_XRAY]
