"""The suites that come with the harness."""

from harness import Protocol, Schedule, Suite, Tuning, hookimpl

STRATEGIES = (
    "full-ft",
    "linear-probe",
    "lp-ft",
    "gradual-last-first",
    "gradual-first-last",
    "l1-sp",
    "l2-sp",
    "auto-rgn",
)
CLAIMS = ("lp-ft-improves", "auto-rgn-gain", "densenet-gains-most", "no-universal-winner")
NEXT_PAPER = "assumed: from the same authors' next paper and its public code"
DEMONSTRATION = (
    "Demonstration: procedural images and miniature networks. It shows how the harness works and "
    "says nothing about medicine or about the full networks."
)

DEMO = Suite(
    name="demo",
    title="Demonstration",
    description="Five procedural datasets, miniatures of the three networks, all eight strategies.",
    datasets=("demo-xray", "demo-mri", "demo-histology", "demo-dermoscopy", "demo-endoscopy"),
    backbones=("resnet50-mini", "densenet121-mini", "vgg19-mini"),
    strategies=STRATEGIES,
    # The authors' strength belongs to SGD at 0.01, near enough to the demo's.
    settings={"l2-sp": {"alpha": 0.1}, "l1-sp": {"alpha": 1e-4}},
    seeds=(0,),
    # The rate: benchmarks/miniatures/rate.py, on validation, the mean over all strategies.
    protocol=Protocol(
        name="demo", optimizer="sgd", lr=3e-2, batch_size=32, eval_batch_size=64, epochs=5, patience=None,
        resize=48, crop=48,
    ),
    notes=(DEMONSTRATION,),
    claims=CLAIMS,
)  # fmt: skip

FOLDERS = Suite(
    name="folders",
    title="Own folders",
    description="Your image folders (--data NAME=FOLDER), the three networks, all eight strategies.",
    backbones=("resnet50", "densenet121", "vgg19"),
    strategies=STRATEGIES,
    seeds=(0,),
    protocol=Protocol(
        name="folders", lr=1e-3, batch_size=32, eval_batch_size=64, epochs=15, patience=3,
        schedule=Schedule(kind="cosine", horizon=100), resize=232, crop=224,
    ),
    assumed={
        "lr": NEXT_PAPER,
        "schedule": NEXT_PAPER,
        "patience": NEXT_PAPER,
        "resize": "assumed: torchvision's evaluation transform",
        "epochs": "chosen here: half the paper's budget",
    },
    claims=CLAIMS,
)  # fmt: skip


CHOSEN = "assumed: chosen here, the paper's value is not known"
NOT_READ = (
    "assumed: the paper's own list could not be read; a public set for each of its modalities"
)

# Davila, Colan and Hasegawa 2024.  Its tables and settings could not be read: every value below
# comes from elsewhere, and says from where.
PAPER = Suite(
    name="paper-2024",
    title="Fine-tuning strategies for medical images, after Davila et al. 2024",
    description="Five public datasets, the three networks, all eight strategies, three seeds.",
    datasets=(
        "chest-xray-pneumonia", "brain-tumor-classification", "nct-crc-he", "ham10000",
        "hyper-kvasir",
    ),
    backbones=("resnet50", "densenet121", "vgg19"),
    strategies=STRATEGIES,
    settings={
        "linear-probe": {"head_scope": "classifier"},
        "lp-ft": {"head_scope": "classifier"},
    },
    seeds=(684, 559, 629),
    protocol=Protocol(
        name="paper-2024", optimizer="adam", lr=1e-3, weight_decay=0.0, batch_size=96,
        eval_batch_size=64, epochs=30, patience=3,
        schedule=Schedule(kind="cosine", horizon=100), metric="balanced-accuracy",
        checkpoint="best", resize=232, crop=224,
    ),
    assumed={
        **dict.fromkeys(
            (
                "optimizer", "lr", "weight_decay", "batch_size", "eval_batch_size", "epochs",
                "patience", "schedule", "metric", "checkpoint", "label_smoothing", "resize",
                "crop", "mean", "std", "augment", "seeds", "weights",
            ),
            NEXT_PAPER,
        ),
        **dict.fromkeys(
            (
                "class_weights", "norm", "momentum", "charge_looks", "validation_share",
                "test_share", "split_seed", "lp-ft.probe", "lp-ft.ft_rate", "interpolation",
                "grey", "preprocessing",
            ),
            CHOSEN,
        ),
        "datasets": NOT_READ,
        "linear-probe.head_scope": "assumed: the paper freezes all but its 'classifier layers'",
        "lp-ft.head_scope": "assumed: the paper freezes all but its 'classifier layers'",
        **dict.fromkeys(
            ("l1-sp.alpha", "l1-sp.beta", "l2-sp.alpha", "l2-sp.beta"),
            "assumed: Li et al. 2018 set them for SGD at 0.01; an order lower for Adam at 0.001",
        ),
        "labels": "assumed: all of them; half (--labels 50%) is a variant, as coded in davilac/BioTune "
        "at 61e9b10, not proven for the 2024 study",
        "auto-rgn.batches": "assumed: as in the code of Lee et al. 2023",
        "auto-rgn.norm": "assumed: as in the code of Lee et al. 2023",
    },
    claims=CLAIMS,
    rates={"resnet50": 1761, "densenet121": 879, "vgg19": 1666},
    rates_source="a public training script from end to end on one H100, 224 px, batch 64",
)  # fmt: skip

SMALL = "assumed: chosen here, for runs of minutes on two cores"
START = (
    "Start: a reconstruction of ImageNet weights (decoded from a vector-quantised release, 72.2 % "
    "top-1), not torchvision's file. Images and weights cannot be passed on: the stored predictions "
    "can be ranked, scored again, plotted and verified by anybody; training again needs the files."
)

# The reference board: real images, few labels, one network.  It answers no claim of the study.
REAL_SMALL = Suite(
    name="real-small",
    title="Small sets of real images, 200 labels",
    description="Five selections of published sets, ResNet-50, 128 px, 200 labels, all strategies.",
    datasets=("real-xray", "real-mri", "real-histology", "real-dermoscopy", "real-endoscopy"),
    backbones=("resnet50",),
    strategies=STRATEGIES,
    seeds=(0, 1, 2),
    splits="paired",
    labels=("200",),
    tuning=Tuning(grid=(0.1, 0.3, 1.0, 3.0)),
    protocol=Protocol(
        name="real-small", optimizer="adam", lr=1e-3, batch_size=16, eval_batch_size=64, epochs=8,
        patience=None, schedule=Schedule(kind="cosine"), metric="balanced-accuracy",
        resize=146, crop=128, validation_share=0.25,
    ),
    notes=(START,),
    assumed={
        **dict.fromkeys(("optimizer", "lr"), NEXT_PAPER),
        **dict.fromkeys(("batch_size", "epochs", "patience", "schedule", "crop", "labels"), SMALL),
        "resize": "assumed: torchvision's ratio of resize to crop",
        "validation_share": "assumed: a quarter of what is not test, as the files were divided",
        "tuning": "assumed: a tenth, a third, once and three times the protocol's rate",
    },
)  # fmt: skip

# -- every strategy at its best under the same budget ----------------------------------------------

KNOBS = {"l1-sp": "alpha", "l2-sp": "alpha", "lp-ft": "ft_rate"}
WIDE = Tuning(grid=(0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0), knobs=KNOBS)
QUICK = Tuning(grid=(0.1, 0.3, 1.0, 3.0), knobs=KNOBS)
HALF_DECADES = "chosen here: half decades about the protocol's rate"

FAIR = Suite(
    name="fair",
    title="Every strategy at its best: eight trials, five splits",
    description="The paper's datasets and networks; each strategy tuned on validation, 5 splits.",
    datasets=PAPER.datasets,
    backbones=PAPER.backbones,
    strategies=STRATEGIES,
    settings=PAPER.settings,
    seeds=(0, 1, 2, 3, 4),
    splits="paired",
    tuning=WIDE,
    protocol=Protocol(
        name="fair", optimizer="adam", lr=1e-3, batch_size=96, eval_batch_size=64, epochs=30,
        patience=3, schedule=Schedule(kind="cosine", horizon=100), metric="balanced-accuracy",
        resize=232, crop=224, augment=("flip-where-allowed",),
    ),
    assumed=PAPER.assumed
    | {
        "augment": "chosen here: a mirror image where left and right mean nothing",
        "seeds": "chosen here: one for each of five random splits",
        "tuning": HALF_DECADES,
    },
    rates=PAPER.rates,
    rates_source=PAPER.rates_source,
)  # fmt: skip

FAIR_QUICK = FAIR.model_copy(
    update={
        "name": "fair-quick",
        "title": "Every strategy at its best: four trials, five splits",
        "description": "As fair, with the four middle rates: half of its runs.",
        "tuning": QUICK,
    }
)

# The protocol of paper-2024 as it is: the untuned runs are that suite's own.
PAPER_FAIR = PAPER.model_copy(
    update={
        "name": "paper-2024-fair",
        "title": f"{PAPER.title}, tuned",
        "description": "As paper-2024, each strategy with eight rates; its claims, tuned and not.",
        "tuning": WIDE,
        "assumed": PAPER.assumed | {"tuning": HALF_DECADES},
    }
)

FOLDERS_FAIR = FOLDERS.model_copy(
    update={
        "name": "folders-fair",
        "title": "Own folders, every strategy at its best",
        "description": "Your image folders, each strategy with four trials on five splits.",
        "seeds": (0, 1, 2, 3, 4),
        "splits": "paired",
        "tuning": QUICK,
        "assumed": FOLDERS.assumed | {"tuning": HALF_DECADES},
        "claims": (),
    }
)

# The rates that benchmarks/miniatures/rate.py found best for single strategies, once and three
# times the common one, lie inside.
DEMO_FAIR = DEMO.model_copy(
    update={
        "name": "demo-fair",
        "title": "Demonstration of a tuned comparison",
        "description": "Two procedural datasets, one miniature, four rates, three splits.",
        "datasets": ("demo-histology", "demo-dermoscopy"),
        "backbones": ("resnet50-mini",),
        "seeds": (0, 1, 2),
        "splits": "paired",
        "tuning": Tuning(grid=(0.3, 1.0, 3.0, 10.0)),
        "claims": (),
    }
)


# -- the networks and strategies that people ask about now -------------------------------------------

USUAL = "assumed: as papers on fine-tuning vision transformers have it; none is followed"

MODERN = Suite(
    name="modern",
    title="Ways of fine-tuning three networks of today, each at its best",
    description="The five modalities, ConvNeXt-T, ViT-B and ResNet-50, strategies of today, 5 splits.",
    datasets=PAPER.datasets,
    backbones=("timm.convnext_tiny", "timm.vit_base_patch16_224", "resnet50"),
    strategies=(
        "full-ft", "linear-probe", "lp-ft", "lora", "bitfit", "layer-decay", "l2-sp",
    ),
    seeds=(0, 1, 2, 3, 4),
    splits="paired",
    tuning=Tuning(grid=(0.1, 0.3, 1.0, 3.0, 10.0)),
    protocol=Protocol(
        name="modern", optimizer="adamw", lr=3e-4, weight_decay=0.05, batch_size=64,
        eval_batch_size=64, epochs=30, patience=5,
        schedule=Schedule(kind="cosine", warmup=1), metric="balanced-accuracy",
        resize=256, crop=224, augment=("flip-where-allowed",), preprocessing="backbone",
    ),
    assumed={
        **dict.fromkeys(("optimizer", "weight_decay", "schedule"), USUAL),
        **dict.fromkeys(
            set(Protocol.model_fields) - {"name", "optimizer", "weight_decay", "schedule"}
            | {"seeds", "bitfit.norm", "lora.norm"},
            "assumed: chosen here",
        ),
        "lr": "assumed: chosen here; five rates of half a decade about it are tried, from 3e-5 to 3e-3",
        "tuning": HALF_DECADES,
        "datasets": "assumed: those of paper-2024",
        "preprocessing": "assumed: each network sees images as it was trained to",
        "layer-decay.decay": "assumed: as Bao et al. 2022 for ViT-B",
        "l2-sp.alpha": "assumed: the default, which was measured for Adam at 0.001",
        "l2-sp.beta": "assumed: the default, which was measured for Adam at 0.001",
    },
)  # fmt: skip


@hookimpl
def harness_suites() -> list[Suite]:
    return [
        DEMO, FOLDERS, PAPER, REAL_SMALL, FAIR, FAIR_QUICK, PAPER_FAIR, FOLDERS_FAIR, DEMO_FAIR,
        MODERN,
    ]  # fmt: skip
