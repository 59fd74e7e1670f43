"""The single-label, two-dimensional sets of MedMNIST v2, classes in the order of their numbers.

ChestMNIST is multi-label and cannot be used.
"""

from typing import Any

ORGANS = (
    *("bladder", "femur-left", "femur-right", "heart", "kidney-left", "kidney-right", "liver"),
    *("lung-left", "lung-right", "pancreas", "spleen"),
)
NO_PATIENT = "no patient id"


def declared(
    name: str,
    modality: str,
    title: str,
    classes: tuple[str, ...],
    problems: tuple[str, ...] = (NO_PATIENT,),
    licence: str = "CC-BY-4.0",
) -> dict[str, Any]:
    """The fields of a set."""
    fields = {"name": name, "modality": modality, "title": title, "classes": classes}
    return fields | {"problems": problems, "licence": licence}


SETS = (
    declared(
        "pathmnist",
        "histology",
        "PathMNIST, colorectal tissue",
        (
            *("adipose", "background", "debris", "lymphocytes", "mucus", "smooth muscle"),
            *("normal colon mucosa", "cancer-associated stroma"),
            "colorectal adenocarcinoma epithelium",
        ),
    ),
    declared(
        "dermamnist",
        "dermoscopy",
        "DermaMNIST, pigmented lesions",
        (
            *("actinic keratoses and intraepithelial carcinoma", "basal cell carcinoma"),
            *("benign keratosis-like lesions", "dermatofibroma", "melanoma"),
            *("melanocytic nevi", "vascular lesions"),
        ),
        licence="CC-BY-NC-4.0",
        problems=("its own split has images of one lesion in train and in test; no lesion id",),
    ),
    declared(
        "octmnist",
        "oct",
        "OCTMNIST, retina",
        ("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"),
    ),
    declared("pneumoniamnist", "xray", "PneumoniaMNIST, chest", ("normal", "pneumonia")),
    declared(
        "retinamnist",
        "fundus",
        "RetinaMNIST, diabetic retinopathy",
        ("0", "1", "2", "3", "4"),
        problems=(NO_PATIENT, "the classes are grades: their order is not used"),
    ),
    declared("breastmnist", "ultrasound", "BreastMNIST, breast", ("malignant", "normal, benign")),
    declared(
        "bloodmnist",
        "microscopy",
        "BloodMNIST, blood cells",
        (
            *("basophil", "eosinophil", "erythroblast", "immature granulocytes", "lymphocyte"),
            *("monocyte", "neutrophil", "platelet"),
        ),
    ),
    declared(
        "tissuemnist",
        "microscopy",
        "TissueMNIST, kidney cortex cells",
        (
            *("Collecting Duct, Connecting Tubule", "Distal Convoluted Tubule"),
            *("Glomerular endothelial cells", "Interstitial endothelial cells", "Leukocytes"),
            *("Podocytes", "Proximal Tubule Segments", "Thick Ascending Limb"),
        ),
    ),
    declared("organamnist", "ct", "OrganAMNIST, axial slices", ORGANS),
    declared("organcmnist", "ct", "OrganCMNIST, coronal slices", ORGANS),
    declared("organsmnist", "ct", "OrganSMNIST, sagittal slices", ORGANS),
)
