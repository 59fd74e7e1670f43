"""Cells of the reference board once more, by a plain PyTorch loop that knows nothing of the harness.

Written from docs/protocol.md: torchvision's ResNet-50 and transforms, the same starting weights, the
same images, Adam, cosine over the run, the best epoch on validation tested.  Random numbers are its
own (the order of images, the head's first values), so figures differ as those of two seeds do.

    python benchmarks/reference/anchor.py benchmarks/results/real-small --data FOLDER --weights FILE

FOLDER holds one folder a dataset, named as the set without `real-`.  The images that keep their label
are read from `simple.json` (benchmarks/reference/simple.py), all settings from the stored runs.
Figures are added to `anchor.json`; cells that stand there are not trained again, so that the work
can be done in several calls: `--only real-histology/linear-probe` names what to train.  Without
`--data` it trains nothing and shows what is there.
"""

import argparse
import copy
import json
import math
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torchvision import transforms

SEED = SPLIT = 0
ALL = ("real-xray", "real-mri", "real-histology", "real-dermoscopy", "real-endoscopy")
CELLS = [(dataset, "linear-probe") for dataset in ALL]
CELLS += [(dataset, "full-ft") for dataset in ("real-histology", "real-dermoscopy")]
FEATURES = 2048
Json = dict[str, Any]
Tensors = dict[str, torch.Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="results of the suite real-small")
    parser.add_argument("--data", type=Path, help="holds one folder a dataset")
    parser.add_argument("--weights", type=Path, help="resnet50.safetensors, torchvision's names")
    parser.add_argument("--only", nargs="*", default=[], metavar="DATASET/STRATEGY")
    given = parser.parse_args()
    torch.set_num_threads(1)
    file = given.folder / "anchor.json"
    known: list[Json] = json.loads(file.read_bytes()) if file.is_file() else []
    stored = read_stored(given.folder)
    names = {f"{dataset}/{strategy}" for dataset, strategy in CELLS}
    if strange := set(given.only) - names:
        parser.error(
            f"no such cells: {', '.join(sorted(strange))}; there are {', '.join(sorted(names))}"
        )
    if given.data and not given.weights:
        parser.error("--weights is needed to train")
    for dataset, strategy in CELLS if given.data else []:
        if given.only and f"{dataset}/{strategy}" not in given.only:
            continue
        data = None
        for rate, runs in sorted(stored.get((dataset, strategy), {}).items()):
            cell = {"dataset": dataset, "strategy": strategy, "rate": rate}
            if SEED not in runs or any(cell.items() <= one.items() for one in known):
                continue
            started = time.perf_counter()
            data = data or read_images(given, runs[SEED])
            found = train(data, runs[SEED], rate)
            known.append(cell | found | {"seconds": round(time.perf_counter() - started, 1)})
            write(file, differences(known, stored))
    if known:  # there may be more seeds than when it was written
        write(file, differences(known, stored))
    show(differences(known, stored), stored)


def write(file: Path, cells: list[Json]) -> None:
    """All that is known, after each cell: a call that is stopped loses one."""
    file.write_text(json.dumps(cells, indent=1) + "\n", encoding="utf-8")


def read_stored(folder: Path) -> dict[tuple[str, str], dict[float, dict[int, Json]]]:
    """(dataset, strategy) -> rate -> seed -> the record of a finished run."""
    found: dict[tuple[str, str], dict[float, dict[int, Json]]] = {}
    for path in sorted((folder / "runs").rglob("*.json")):
        run = json.loads(path.read_bytes())
        spec = run["spec"]
        cell = found.setdefault((spec["dataset"], spec["strategy"]), {})
        cell.setdefault(spec["settings"].get("rate", 1.0), {})[spec["seed"]] = run
    return found


# -- one cell -------------------------------------------------------------------------------------


def start(given: argparse.Namespace) -> nn.Module:
    """ResNet-50 with the starting weights and without its head: [N, 3, H, W] -> [N, 2048]."""
    network = torchvision.models.resnet50()
    network.load_state_dict(load_file(given.weights))
    network.fc = nn.Identity()
    return network.to(memory_format=torch.channels_last)


def train(data: tuple[nn.Module | None, Tensors, Tensors], run: Json, rate: float) -> Json:
    """Balanced accuracy of the best epoch: on validation, and once on test."""
    protocol = run["spec"]["protocol"]
    body, images, targets = data
    torch.manual_seed(SEED)
    network = nn.Linear(FEATURES, len(run["data"]["classes"]))
    if body is not None:
        network = nn.Sequential(copy.deepcopy(body), network)
    steps = math.ceil(len(targets["train"]) / protocol["batch_size"])
    steps -= len(targets["train"]) % protocol["batch_size"] == 1  # batch norm cannot learn from one
    total = round(protocol["epochs"] * steps)
    optimizer = torch.optim.Adam(network.parameters(), lr=protocol["lr"] * rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: (1 + math.cos(math.pi * step / total)) / 2
    )
    best, kept = -1.0, {}
    for _ in range(round(protocol["epochs"])):
        network.train()
        order = torch.randperm(len(targets["train"]))
        for step in range(steps):
            rows = order[step * protocol["batch_size"] : (step + 1) * protocol["batch_size"]]
            with torch.autocast("cpu", torch.bfloat16):
                logits = network(images["train"][rows])
            loss = nn.functional.cross_entropy(logits.float(), targets["train"][rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        score = balanced_accuracy(predict(network, images["validation"]), targets["validation"])
        if score > best:
            best, kept = score, copy.deepcopy(network.state_dict())
    network.load_state_dict(kept)
    test = balanced_accuracy(predict(network, images["test"]), targets["test"])
    return {"validation": best, "test": test, "torch": torch.__version__}


def read_images(given: argparse.Namespace, run: Json) -> tuple[nn.Module | None, Tensors, Tensors]:
    """What trains below the head, its inputs and the class numbers [N] of each split.

    Inputs are normalised images [N, 3, H, W], those that the run had.  A linear probe trains nothing
    below its head, and frozen layers stay in eval mode, so what they make of an image never changes:
    its inputs are features [N, 2048].
    """
    protocol, data = run["spec"]["protocol"], run["data"]
    splits = json.loads((given.folder / data["split_file"]).read_bytes())
    rows: dict[str, list[int]] = {
        split: [row for row, one in enumerate(splits["samples"]) if one["split"] == split]
        for split in ("validation", "test")
    }
    simple = json.loads((given.folder / "simple.json").read_bytes())["splits"]
    (rows["train"],) = (
        one["labelled"] for one in simple if one["split_sha256"] == data["split_sha256"]
    )
    prepare = transforms.Compose(
        [
            transforms.Resize(protocol["resize"]),
            transforms.CenterCrop(protocol["crop"]),
            transforms.ToTensor(),
            transforms.Normalize(protocol["mean"], protocol["std"]),
        ]
    )
    place = given.data / splits["dataset"].removeprefix("real-")
    images, targets = {}, {}
    for split, some in rows.items():
        samples = [splits["samples"][row] for row in some]
        counts = Counter(one["label"] for one in samples)
        if counts != Counter({k: n for k, n in data["counts"][split].items() if n}):
            raise SystemExit(f"{data['split_file']}: the run had other {split} images: {counts}")
        opened = [prepare(Image.open(place / one["id"]).convert("RGB")) for one in samples]
        images[split] = torch.stack(opened).contiguous(memory_format=torch.channels_last)
        targets[split] = torch.tensor([data["classes"].index(one["label"]) for one in samples])
    body = start(given)
    if run["spec"]["strategy"] == "linear-probe":
        return None, {split: predict(body, some) for split, some in images.items()}, targets
    return body, images, targets


@torch.no_grad()
def predict(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Outputs in eval mode, float32."""
    network.eval()
    with torch.autocast("cpu", torch.bfloat16):
        return torch.cat([network(some).float() for some in images.split(64)])


def balanced_accuracy(logits: torch.Tensor, targets: torch.Tensor) -> float:
    """Mean recall of the classes."""
    right = logits.argmax(1) == targets
    return float(
        torch.stack([right[targets == c].double().mean() for c in targets.unique()]).mean()
    )


# -- beside the stored runs -----------------------------------------------------------------------


def differences(
    known: list[Json], stored: dict[tuple[str, str], dict[float, dict[int, Json]]]
) -> list[Json]:
    """Every anchor beside the stored run of seed 0, in points.

    `noise`: standard deviation of the difference of two seeds, pooled over the cells of a strategy;
    None: no cell has two seeds.
    """
    found = []
    for one in known:
        runs = stored[one["dataset"], one["strategy"]][one["rate"]]
        values = {seed: run["metrics"]["balanced-accuracy"]["value"] for seed, run in runs.items()}
        found.append(
            one | {"stored": values[SEED], "seeds": [values[seed] for seed in sorted(values)]}
        )
    for strategy in {one["strategy"] for one in found}:
        cells = [one for one in found if one["strategy"] == strategy]
        freedom = sum(len(one["seeds"]) - 1 for one in cells)
        squares = sum(
            statistics.variance(one["seeds"]) * (len(one["seeds"]) - 1)
            for one in cells
            if len(one["seeds"]) > 1
        )
        for one in cells:
            one["difference"] = 100 * (one["test"] - one["stored"])
            one["noise"] = 100 * math.sqrt(2 * squares / freedom) if freedom else None
    return found


def show(known: list[Json], stored: dict[tuple[str, str], dict[float, dict[int, Json]]]) -> None:
    """Print the differences, and what is not done."""
    print(
        "dataset strategy rate: anchor, stored (seed 0), difference in points (sd between two seeds)"
    )
    for one in known:
        noise = "-" if one["noise"] is None else f"{one['noise']:.1f}"
        print(
            f"{one['dataset']} {one['strategy']} {one['rate']:g}: {one['test']:.3f}, {one['stored']:.3f}, "
            f"{one['difference']:+.1f} ({noise})"
        )
    for dataset, strategy in CELLS:
        rates = stored.get((dataset, strategy), {})
        done = {
            one["rate"] for one in known if (one["dataset"], one["strategy"]) == (dataset, strategy)
        }
        left = sorted(set(rates) - done)
        if not rates:
            print(f"not run: {dataset} {strategy} (no stored run)")
        elif left:
            print(f"not run: {dataset} {strategy}, rates {', '.join(f'{rate:g}' for rate in left)}")


if __name__ == "__main__":
    main()
