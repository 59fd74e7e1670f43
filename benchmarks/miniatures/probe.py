"""Linear probes on the demo's datasets: shipped starting points against random weights.

    python benchmarks/miniatures/probe.py

The features of the frozen network (what its last linear layer takes) are standardised, and a
logistic regression (C = 0.1) is fitted on the training split.  Prints balanced accuracy on the test
split; for random weights mean and range over five seeds.
"""

from __future__ import annotations

import io
from collections.abc import Mapping

import datasets
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pretrain import SIDE, miniatures, normalised
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torchvision.transforms.v2.functional import resize

import harness_demo
from harness import Access, Backbone
from harness.weights import find_weights, load_weights

SEEDS = range(5)
Split = tuple[Tensor, list[str]]


def decoded(table: datasets.Dataset) -> Split:
    pictures = [Image.open(io.BytesIO(row["bytes"])).convert("RGB") for row in table["image"]]
    images = torch.from_numpy(np.stack([np.asarray(p) for p in pictures])).permute(0, 3, 1, 2)
    return resize(images, [SIDE, SIDE], antialias=True), list(table["label"])


@torch.no_grad()
def features(chain: nn.Sequential, images: Tensor) -> NDArray[np.float32]:
    """Inputs of the last linear layer, [N, D]."""
    body = nn.Sequential(*list(chain)[:-1], *list(chain[-1])[:-1]).eval()
    return torch.cat([body(normalised(part)) for part in images.split(64)]).numpy()


def score(chain: nn.Sequential, train: Split, test: Split) -> float:
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    probe.fit(features(chain, train[0]), train[1])
    return balanced_accuracy_score(test[1], probe.predict(features(chain, test[0])))


def shipped(backbone: Backbone) -> nn.Sequential:
    chain, file = backbone.build(2), find_weights(backbone)
    assert file is not None
    chain.load_state_dict(load_weights(backbone, 2, file).state, strict=False)
    return chain


def random(backbone: Backbone, seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return backbone.build(2)


def compare(name: str, table: Mapping[str, datasets.Dataset]) -> None:
    train, test = decoded(table["train"]), decoded(table["test"])
    for backbone in miniatures().values():
        start = score(shipped(backbone), train, test)
        chance = [score(random(backbone, seed), train, test) for seed in SEEDS]
        spread = f"{np.mean(chance):.2f} ({min(chance):.2f} to {max(chance):.2f})"
        print(f"| {name} | {backbone.name} | {start:.2f} | {spread} |", flush=True)


def main() -> None:
    torch.set_num_threads(1)
    print("| dataset | miniature | shipped | random |\n|---|---|---|---|")
    for dataset in harness_demo.harness_datasets():
        compare(dataset.name, dataset.load(Access()))


if __name__ == "__main__":
    main()
