"""A made-up study with predictions, histories, statistics and claims, for the page.

Nothing is trained: each strategy has an effect and each cell some noise, and predictions are drawn
so that they hit that often.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import lru_cache

import numpy as np
from made import BACKBONES, MODALITIES, made_failure, made_plan, made_result, sha

from harness import stats
from harness.api.execution import Predictions
from harness.api.leaderboard import ClaimAnswer
from harness.api.metric import softmax
from harness.api.records import (
    Cost,
    CostFigures,
    EpochRecord,
    MetricValue,
    PhaseRecord,
    PluginRecord,
    Protocol,
    Schedule,
)
from harness.leaderboard.build import build_leaderboard
from harness.leaderboard.cells import RunScores, make_block
from harness.leaderboard.conclusion import conclude
from harness.leaderboard.html import html_page, page_data
from harness.leaderboard.statistics import track_statistics

PROTOCOL = Protocol(
    name="made",
    epochs=12,
    schedule=Schedule(kind="cosine", horizon=40),
    augment=("flip-horizontal", "affine"),
)
EFFECT = {
    "full-ft": 0.0,
    "linear-probe": -0.09,
    "lp-ft": 0.022,
    "gradual-last-first": 0.008,
    "gradual-first-last": -0.015,
    "l1-sp": 0.002,
    "l2-sp": 0.012,
    "auto-rgn": 0.016,
}
CLASSES = {
    "demo-xray": ("normal", "pneumonia"),
    "demo-mri": ("glioma", "meningioma", "no tumour", "pituitary"),
    "demo-histology": ("adipose", "background", "debris", "lymphocytes", "mucus", "muscle", "normal mucosa", "stroma", "tumour"),
    "demo-dermoscopy": ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"),
    "demo-endoscopy": ("cecum", "polyps", "pylorus", "retroflex", "z-line"),
}  # fmt: skip
BASE = dict(zip(MODALITIES, (0.88, 0.81, 0.86, 0.66, 0.77), strict=True))
PARAMETERS = dict(zip(BACKBONES, (180_000, 270_000, 410_000), strict=True))
SECONDS = {"linear-probe": 0.21, "auto-rgn": 1.42, "lp-ft": 0.83}
LESS = {"none": 0.2, "radimagenet": 0.03}  # right answers, by starting point
CLAIMS = (
    ("lp-ft-improves", "lp-ft improves on full-ft by more than a point in more than half of the cells", "supported", "", "share of cells", 0.8, 0.519, 0.957, 15, 15, "12 won, 1 lost by more than a point"),
    ("auto-rgn-gain", "auto-rgn's best gain over full-ft is more than a point", "undecided", "3 of 5 seeds", "points", None, -0.7, 8.9, 15, 15, "demo-mri / vgg19-mini"),
    ("densenet-gains-most", "densenet121 gains more than every other backbone from alternatives to full-ft", "contradicted", "", "points", -1.8, -3.1, -0.6, 15, 15, "nearest: resnet50-mini"),
    ("no-universal-winner", "no strategy wins everywhere", "undecided", "9 of 15 cells", "points", None, None, None, 9, 15, ""),
)  # fmt: skip


def number(*parts):
    """Uniform in [0, 1), the same for the same parts."""
    return int(sha(*parts)[:8], 16) / 2**32


def chance(dataset, backbone, strategy, seed):
    """Share of images that a run hits."""
    cell = (number("cell", dataset, backbone, strategy) - 0.5) * 0.06
    noise = (number("seed", dataset, backbone, strategy, seed) - 0.5) * 0.03
    lift = 0.02 * BACKBONES.index(backbone)
    return min(0.99, BASE[dataset] + lift + EFFECT[strategy] + cell + noise)


def predictions_of(result, samples=160):
    """Logits that hit as often as `chance` says, a little overconfident."""
    spec = result.spec
    classes = len(result.data.classes)
    rng = np.random.default_rng(int(sha(spec.dataset, "test")[:8], 16))
    targets = rng.permutation(np.arange(samples) % classes)
    hard = rng.random(samples)
    rng = np.random.default_rng(int(result.run_id, 16))
    often = chance(spec.dataset, spec.backbone, spec.strategy, spec.seed)
    hit = 0.75 * hard + 0.25 * rng.random(samples) < often - LESS.get(spec.start, 0.0)
    wrong = (targets + 1 + rng.integers(max(1, classes - 1), size=samples)) % classes
    logits = rng.normal(size=(samples, classes)) * 0.7
    logits[np.arange(samples), np.where(hit, targets, wrong)] += 2.6
    return Predictions(
        logits={"test": logits.astype(np.float32)},
        targets={"test": targets},
        rows={"test": np.arange(samples, dtype=np.int32)},
    )


def scored(result):
    """The run with the metrics of its predictions."""
    given = predictions_of(result)
    logits, targets = given.logits["test"], given.targets["test"]
    guess = logits.argmax(axis=1)
    recall = {
        name: float((guess[targets == k] == k).mean()) for k, name in enumerate(result.data.classes)
    }
    balanced = float(np.mean(list(recall.values())))
    metrics = {
        "accuracy": float((guess == targets).mean()),
        "balanced-accuracy": balanced,
        "brier": 1.1 - balanced,
    }
    values = {name: MetricValue(value=value) for name, value in metrics.items()}
    values["per-class-recall"] = MetricValue(value=balanced, by_class=recall)
    return result.model_copy(
        update={"metrics": values, "validation": {"balanced-accuracy": values["balanced-accuracy"]}}
    )


def history_of(dataset, backbone, strategy, seed, epochs):
    """A rising score and a falling loss."""
    half = epochs // 2
    return tuple(
        EpochRecord(
            phase="lp" if strategy == "lp-ft" and epoch <= half else "ft",
            epoch=epoch,
            train_loss=1.4 * 0.8**epoch + 0.05 * number(strategy, seed, epoch),
            score=chance(dataset, backbone, strategy, seed) * (1 - 0.6 * 0.7**epoch)
            + 0.02 * number(epoch, seed),
            lr=1e-3,
            seconds=0.03,
        )
        for epoch in range(1, epochs + 1)
    )


def made_run(dataset, backbone, strategy, seed=0, **changes):
    """A finished run whose metrics, history and cost belong together."""
    trainable = PARAMETERS[backbone] if strategy != "linear-probe" else 1_200
    seconds = SECONDS.get(strategy, 0.61) * (0.9 + 0.4 * number(dataset, backbone, seed))
    epochs = 12 if number(dataset, strategy, seed) > 0.4 else 8
    alone = CostFigures(
        train=seconds * 0.7, evaluate=seconds * 0.15, load=seconds * 0.1,
        features=seconds * 0.05, total=seconds,
    )  # fmt: skip
    given = {
        "spec": {"protocol": PROTOCOL},
        "data": {"classes": CLASSES[dataset], "source": "drawn by a program", "licence": "CC0-1.0"},
        "history": history_of(dataset, backbone, strategy, seed, epochs),
        "phases": (
            PhaseRecord(
                name="ft", epochs_planned=12, epochs=epochs, steps=epochs * 6,
                trainable=trainable, cached_stages=0, rates={"*": 1.0}, stopped=epochs < 12,
            ),
        ),
        "cost": Cost(
            alone=alone, incurred=alone, trainable=trainable, peak_bytes=96_000_000,
            images_per_second=2100.0,
        ),
        "plugins": {
            "strategy": PluginRecord(
                plugin=strategy, distribution="finetune-harness", version="0.1.0",
                source=sha("code", strategy), dirty=False,
            )
        },
        "tested": f"best on validation: phase ft, epoch {epochs - 1}",
        **changes,
    }  # fmt: skip
    return scored(made_result(dataset, backbone, strategy, seed, **given))


@lru_cache(maxsize=4)
def study(seeds=3):
    """(board, results, statistics, claims) of eight strategies, three backbones, five datasets."""
    cells = itertools.product(MODALITIES, BACKBONES, EFFECT, range(seeds))
    results = [made_run(*cell) for cell in cells]
    suite = {
        "title": "Eight fine-tuning strategies on five modalities",
        "protocol": PROTOCOL,
        "assumed": {"lr": "the authors' next paper", "patience": "chosen here"},
    }
    board = build_leaderboard(results, made_plan(results, suite))
    blocks = list(cell_blocks(board, results))
    found = track_statistics(board.metric, board.tracks[0], blocks)
    statistics = {board.tracks[0].id: found}
    answers = tuple(ClaimAnswer(**claim) for claim in claims())
    whole = board.model_copy(update={"statistics": statistics, "claims": answers})
    whole = whole.model_copy(update={"conclusion": conclude(whole)})
    return whole, results, statistics, claims()


STARTS = ("imagenet", "radimagenet", "none")


@lru_cache(maxsize=1)
def started_study():
    """(board, results) of three strategies from three starting points, statistics with them."""
    cells = itertools.product(
        tuple(MODALITIES)[1:3],
        BACKBONES[:2],
        STARTS,
        ("full-ft", "linear-probe", "lp-ft"),
        range(3),
    )
    results = [
        made_run(
            dataset, backbone, strategy, seed,
            spec={"protocol": PROTOCOL, "start": start, "weights": sha("start", backbone, start)},
            weights={"name": start},
        )
        for dataset, backbone, start, strategy, seed in cells
    ]  # fmt: skip
    board = build_leaderboard(results, made_plan(results, {"starts": STARTS}))
    track = board.tracks[0]
    found = track_statistics(board.metric, track, list(cell_blocks(board, results)))
    return board.model_copy(update={"statistics": {track.id: found}}), results


def claims():
    names = (
        "claim", "text", "verdict", "reason", "unit", "effect", "low", "high", "cells", "of", "detail",
    )  # fmt: skip
    made = [{**dict(zip(names, claim, strict=True)), "seeds": 3, "track": ""} for claim in CLAIMS]
    made[0] |= {
        "average": 2.1, "average_low": 0.4, "average_high": 3.8,
        "average_of": "lp-ft over full-ft", "basis": "images and seeds",
    }  # fmt: skip
    return made


def cell_blocks(board, results):
    """Label and numbers of every block of the first track."""
    track = board.tracks[0]
    by_cell = {
        (r.spec.dataset, r.spec.backbone, r.spec.start, r.spec.strategy, r.spec.seed): r
        for r in results
    }
    for block in track.blocks:
        runs, targets = {}, None
        for row in track.rows:
            runs[row.label] = {}
            for seed in block.seeds if row.ranked else ():
                run = by_cell[block.dataset, block.backbone, block.start, row.label, seed]
                given = predictions_of(run)
                shares, targets = softmax(given.logits["test"]), given.targets["test"]
                alone = np.arange(len(targets))
                added = {n: stats.group_scores(n, shares, targets, alone) for n in METRICS_TESTED}
                figure = run.validation["balanced-accuracy"].value
                runs[row.label][seed] = RunScores(figure, added)
        kinds = stats.strata(targets, np.arange(len(targets)))
        place = (block.dataset, block.backbone)
        made = make_block(place, runs, block.seeds, kinds, block.dataset)
        yield block.label, replace(made, start=block.start or "")


METRICS_TESTED = ("balanced-accuracy", "brier", "ece", "macro-auroc")


# -- many runs --------------------------------------------------------------------------------

METRICS = (
    "accuracy", "average-precision", "balanced-accuracy", "brier", "cohen-kappa", "ece",
    "macro-auroc", "macro-f1",
)  # fmt: skip
SAMPLES = 600
LARGE = tuple(f"class {letter}" for letter in "abcdefghi")


def large_study(datasets=50, backbones=5, seeds=5, epochs=30):
    """Results of eight strategies: 10,000 runs, nine metrics and thirty epochs each.

    Made by copying, which checks nothing: a tenth of the time.
    """
    base = made_run("demo-histology", BACKBONES[0], "full-ft")
    rng = np.random.default_rng(0)
    return [
        _large_run(base, f"hospital-{cell[0]:02}", f"network-{cell[1]}", *cell[2:], rng, epochs)
        for cell in itertools.product(range(datasets), range(backbones), EFFECT, range(seeds))
    ]


def _large_run(base, dataset, backbone, strategy, seed, rng, epochs):  # noqa: PLR0917
    changes = {
        "dataset": dataset, "backbone": backbone, "strategy": strategy, "seed": seed,
        "data": sha(dataset), "weights": sha(backbone),
        "sources": {"backbone": sha("code", backbone), "strategy": sha("code", strategy)},
    }  # fmt: skip
    spec = base.spec.model_copy(update=changes)
    figures = dict(zip(METRICS, rng.uniform(0.5, 0.95, len(METRICS)).tolist(), strict=True))
    metrics = {name: MetricValue(value=value) for name, value in figures.items()}
    metrics["per-class-recall"] = MetricValue(
        value=figures["balanced-accuracy"], by_class=dict.fromkeys(LARGE, 0.5)
    )
    losses, scores = rng.uniform(0.01, 2, (2, epochs)).tolist()
    history = tuple(
        EpochRecord(
            phase="tune", epoch=float(n), train_loss=loss, score=score, lr=0.001, seconds=1.5
        )
        for n, (loss, score) in enumerate(zip(losses, scores, strict=True), start=1)
    )
    alone = CostFigures(**dict(zip(("train", "evaluate", "load", "features", "total"), rng.uniform(1, 500, 5).tolist(), strict=True)))  # fmt: skip
    return base.model_copy(
        update={
            "run_id": spec.run_id, "spec": spec, "metrics": metrics, "validation": metrics,
            "history": history,
            "cost": base.cost.model_copy(update={"alone": alone, "incurred": alone}),
            "data": base.data.model_copy(
                update={"classes": LARGE, "fingerprint": spec.data, "split_sha256": sha("split", dataset)}
            ),
            "weights": base.weights.model_copy(update={"sha256": spec.weights, "name": backbone}),
            "finished": f"2025-01-{1 + seed:02}T{int(rng.integers(24)):02}:{int(rng.integers(60)):02}:00Z",
            "tested": f"best on validation: phase tune, epoch {int(rng.integers(1, epochs))}",
        }
    )  # fmt: skip


@lru_cache(maxsize=1)
def large_predictions(seed=1):
    """Logits on a test set of nine classes: the same for every run."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, len(LARGE), SAMPLES)
    logits = rng.normal(size=(SAMPLES, len(LARGE))).astype(np.float32)
    logits[np.arange(SAMPLES), targets] += 1.2
    rows = np.arange(SAMPLES, dtype=np.int32)
    return Predictions(logits={"test": logits}, targets={"test": targets}, rows={"test": rows})


HOSTILE = "</script><script>alert(1)</script><!-- \"' & \x1b[31m \u202e\ud800\u2028 {{data}} ${x}"


def hostile_runs(name):
    metrics = {"balanced-accuracy": MetricValue(value=0.5), name: MetricValue(value=0.5)}
    run = made_result(
        name, name, name,
        metrics=metrics, suite=name, tested=name,
        spec={"settings": {name: name}},
        data={"modality": name, "classes": (name, "b"), "problems": (name,), "licence": name, "source": name, "rule": name},
        weights={"name": name, "licence": name},
        history=(EpochRecord(phase=name, epoch=1, train_loss=0.5, score=0.5, lr=0.1, seconds=1),),
    )  # fmt: skip
    return [run, made_failure(name, "other", name, message=name)]


def hostile_page(name=HOSTILE):
    runs = hostile_runs(name)
    board = build_leaderboard(
        runs, made_plan(runs, {"title": name, "notes": (name,), "assumed": {name: name}})
    )
    logits = {"test": np.array([[1.0, 2.0]], dtype=np.float32)}
    given = Predictions(
        logits=logits, targets={"test": np.array([0])}, rows={"test": np.array([0])}
    )
    return html_page.page(page_data.page_data(board, runs, lambda _: given))
