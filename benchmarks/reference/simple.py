"""Two rows that any network must beat: the majority class, and brightness and colour alone.

They are made from the images that the runs of a results folder had, and stand beside the runs as
`simple.json`, unranked.  `brightness and colour`: mean and standard deviation of each channel of the
transformed image, logistic regression on the same labelled images, its strength chosen on validation.

    python benchmarks/reference/simple.py benchmarks/results/real-small --data FOLDER

FOLDER holds one folder a dataset, named as the set without `real-`.  The file also lists the rows of
each split file whose images keep their label, so that another program can train on the same ones.
"""

import argparse
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from harness.api.records import Protocol, RunResult
from harness.data.division.split import Splits, labelled

STRENGTHS = tuple(10.0**power for power in range(-3, 4))  # C of scikit-learn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="results of the suite real-small")
    parser.add_argument("--data", type=Path, required=True, help="holds one folder a dataset")
    given = parser.parse_args()
    made = [figures(given.folder, given.data, run) for run in one_run_a_split(given.folder)]
    rows = {"strengths": STRENGTHS, "splits": sorted(made, key=lambda one: one["split_file"])}
    text = json.dumps(rows, indent=1) + "\n"
    (given.folder / "simple.json").write_text(text, encoding="utf-8")
    for one in rows["splits"]:
        print(f"{one['split_file']}: majority {one['majority']:.3f}, colour {one['colour']:.3f}")


def one_run_a_split(folder: Path) -> Iterator[RunResult]:
    """A run for each split file: which images it had depends on the split alone."""
    seen: set[str] = set()
    for path in sorted((folder / "runs").rglob("*.json")):
        run = RunResult.model_validate_json(path.read_bytes())
        if run.data is not None and run.data.split_file not in seen:
            seen.add(run.data.split_file)
            yield run
    if not seen:
        raise SystemExit(f"{folder} holds no finished run")


def figures(folder: Path, data: Path, run: RunResult) -> dict[str, Any]:
    """Balanced accuracy on test of both rows, for the split and the labels of a run."""
    splits = Splits.model_validate_json((folder / run.data.split_file).read_bytes())
    spec = run.spec
    kept = labelled(splits, splits.rows("train"), spec.labels, spec.protocol.split_seed)
    rows = {"train": kept, "validation": splits.rows("validation"), "test": splits.rows("test")}
    place = data / splits.dataset.removeprefix("real-")
    x = {
        split: np.array([brightness(place / splits.samples[row].id, spec.protocol) for row in some])
        for split, some in rows.items()
    }
    y = {
        split: np.array([splits.classes.index(splits.samples[row].label) for row in some])
        for split, some in rows.items()
    }
    scores = {}
    for strength in STRENGTHS:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=5000))
        model.fit(x["train"], y["train"])
        scores[strength] = (
            balanced_accuracy(y["validation"], model.predict(x["validation"])),
            balanced_accuracy(y["test"], model.predict(x["test"])),
        )
    best = max(STRENGTHS, key=lambda strength: scores[strength][0])  # the weakest of equal ones
    most = np.full(len(y["test"]), np.bincount(y["train"]).argmax())
    return {
        "dataset": splits.dataset,
        "split_file": run.data.split_file,
        "split_sha256": splits.sha256,
        "split": spec.protocol.split_seed,
        "labels": spec.labels,
        "labelled": kept,
        "majority": balanced_accuracy(y["test"], most),
        "colour": scores[best][1],
        "strength": best,
        "features_sha256": hashlib.sha256(b"".join(x[s].tobytes() for s in x)).hexdigest(),
    }


def brightness(path: Path, protocol: Protocol) -> list[float]:
    """Mean and standard deviation of red, green and blue, 0 to 255, as a network would see them."""
    with Image.open(path) as image:
        rgb = image.convert("RGB")
        scale = protocol.resize / min(rgb.size)
        rgb = rgb.resize([round(side * scale) for side in rgb.size], Image.Resampling.BILINEAR)
    left, top = ((side - protocol.crop) // 2 for side in rgb.size)
    pixels = np.asarray(rgb, dtype=np.float64)[
        top : top + protocol.crop, left : left + protocol.crop
    ]
    return [*pixels.mean(axis=(0, 1)), *pixels.std(axis=(0, 1))]


def balanced_accuracy(targets: np.ndarray, predicted: np.ndarray) -> float:
    """Mean recall of the classes that are among the targets."""
    return float(
        np.mean([np.mean(predicted[targets == label] == label) for label in np.unique(targets)])
    )


if __name__ == "__main__":
    main()
