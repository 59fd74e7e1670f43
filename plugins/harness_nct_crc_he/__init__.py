"""Colorectal histology, nine tissues (Kather et al. 2018), from the Hub."""

from harness import Dataset, HubDataset, hookimpl

NCT_CRC_HE = HubDataset(
    name="nct-crc-he",
    modality="histology",
    mirrors=True,
    title="NCT-CRC-HE-100K, stains not normalised, tested on CRC-VAL-HE-7K",
    classes=("ADI", "BACK", "DEB", "LYM", "MUC", "MUS", "NORM", "STR", "TUM"),
    repo="1aurent/NCT-CRC-HE",
    files={"train": ("data/NCT_CRC_HE_100K_NONORM-*",), "test": ("data/CRC_VAL_HE_7K-*",)},
    splits="official-test",
    images={"train": 100_000, "test": 7180},
    licence="CC-BY-4.0",
    citation="Kather, Halama and Marx 2018, doi 10.5281/zenodo.1214456",
    problems=(
        "no patient id within the 100,000 training patches; the test patches are of other patients",
        "colour and JPEG artefacts tell the tissues apart: compare with a colour histogram",
    ),
)


@hookimpl
def harness_datasets() -> list[Dataset]:
    return [NCT_CRC_HE]
