"""Cells of the reference board once more, by a plain PyTorch loop that knows nothing of the harness.

Written from docs/protocol.md: torchvision's ResNet-50 and transforms, the same starting weights, the
same images, Adam, cosine over the run, the best epoch on validation tested.  Random numbers are its
own (the order of images, the head's first values), so figures differ as those of two seeds do.

    python benchmarks/reference/anchor.py benchmarks/results/real-small --data FOLDER --weights FILE

FOLDER holds one folder a dataset, named as the set without `real-`.  The images that keep their label
are read from `simple.json` (benchmarks/reference/simple.py), all settings from the stored runs.
Figures are added to `anchor.json`; what stands there is not trained again, so that the work can be
done in several calls: `--only real-histology/linear-probe` names what to train.  `--repeats 20` trains
each cell with 20 seeds of its own, 0 to 19, on the same images: how far they lie apart is what seeds
do.  Without `--data` it trains nothing and shows what is there.
"""

import argparse
import copy
import json
import math
import statistics
import time
from collections import Counter
from datetime import UTC, datetime
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
CELLS += [(dataset, "full-ft") for dataset in ("real-endoscopy", "real-histology")]  # the cheapest
FEATURES = 2048
ENOUGH = 10  # runs of a cell that say by themselves how far seeds lie apart
FILE = "anchor.json"
Json = dict[str, Any]
Stored = dict[tuple[str, str], dict[float, dict[int, Json]]]
Tensors = dict[str, torch.Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="results of the suite real-small")
    parser.add_argument("--data", type=Path, help="holds one folder a dataset")
    parser.add_argument("--weights", type=Path, help="resnet50.safetensors, torchvision's names")
    parser.add_argument("--only", nargs="*", default=[], metavar="DATASET/STRATEGY")
    parser.add_argument("--rates", nargs="*", type=float, default=[], help="train these only")
    parser.add_argument("--repeats", type=int, default=1, help="seeds of the loop in each cell [1]")
    given = parser.parse_args()
    torch.set_num_threads(1)
    file = given.folder / FILE
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
        if not given.only or f"{dataset}/{strategy}" in given.only:
            known = add(given, known, stored, (dataset, strategy))
    if known:  # there may be more seeds than when it was written
        write(file, differences(known, stored))
    show(differences(known, stored), stored)


def add(
    given: argparse.Namespace, known: list[Json], stored: Stored, name: tuple[str, str]
) -> list[Json]:
    """Known runs, and every run of a dataset and strategy that is asked for and not yet there."""
    data = None
    for rate, runs in sorted(stored.get(name, {}).items()):
        if SEED not in runs or (given.rates and rate not in given.rates):
            continue
        cell = {"dataset": name[0], "strategy": name[1], "rate": rate}
        one = next((one for one in known if cell.items() <= one.items()), None)
        if one is None:
            one = cell | {"runs": []}
            known = [*known, one]
        for seed in range(len(one["runs"]), given.repeats):
            started = time.perf_counter()
            data = data or read_images(given, runs[SEED])
            found = train(data, runs[SEED], rate, seed)
            seconds = round(time.perf_counter() - started, 1)
            done = {"seconds": seconds, "finished": f"{datetime.now(UTC):%Y-%m-%d %H:%M}"}
            one["runs"].append({"seed": seed} | found | done)
            write(given.folder / FILE, differences(known, stored))
    return known


def write(file: Path, cells: list[Json]) -> None:
    """All that is known, after each cell: a call that is stopped loses one."""
    file.write_text(json.dumps(cells, indent=1) + "\n", encoding="utf-8")


def read_stored(folder: Path) -> Stored:
    """(dataset, strategy) -> rate -> seed -> the record of a finished run."""
    found: Stored = {}
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


def train(
    data: tuple[nn.Module | None, Tensors, Tensors], run: Json, rate: float, seed: int
) -> Json:
    """Balanced accuracy of the best epoch: on validation, and once on test."""
    protocol = run["spec"]["protocol"]
    body, images, targets = data
    torch.manual_seed(seed)
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
    """The part that trains below the head, its inputs and the class numbers [N] of each split.

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


def differences(known: list[Json], stored: Stored) -> list[Json]:
    """Every anchor with its mean `test` and the stored run of seed 0; in points, how they differ.

    `noise`: standard deviation of that difference, were both the same program with other seeds;
    `stored`, `difference` or `noise` is None where it is not known.
    """
    found = []
    for one in known:
        runs = stored.get((one["dataset"], one["strategy"]), {}).get(one["rate"], {})
        values = {seed: run["metrics"]["balanced-accuracy"]["value"] for seed, run in runs.items()}
        test = statistics.fmean(run["test"] for run in one["runs"])
        seeds = [values[seed] for seed in sorted(values)]
        found.append(one | {"test": test, "stored": values.get(SEED), "seeds": seeds})
    for one in found:
        sd, known_by = spread(
            one, [other for other in found if other["strategy"] == one["strategy"]]
        )
        one |= {"difference": None, "noise": None, "noise_by": known_by}
        if one["stored"] is not None:
            one["difference"] = 100 * (one["test"] - one["stored"])
            if sd is not None:
                one["noise"] = 100 * sd * math.sqrt(1 + 1 / len(one["runs"]))
    return found


def spread(cell: Json, cells: list[Json]) -> tuple[float | None, str]:
    """Standard deviation of a run by its seed, and what says so.

    The cell's own runs where there are enough; else pooled over all `cells` of its strategy, the
    runs of the loop and the stored ones of several seeds (which differ in their labelled images,
    too).
    """
    own = [run["test"] for run in cell["runs"]]
    if len(own) >= ENOUGH:
        return statistics.stdev(own), "own runs"
    groups = [[run["test"] for run in one["runs"]] for one in cells]
    groups = [some for some in (*groups, *(one["seeds"] for one in cells)) if len(some) > 1]
    freedom = sum(len(some) - 1 for some in groups)
    if not freedom:
        return None, "nothing"
    squares = sum(statistics.variance(some) * (len(some) - 1) for some in groups)
    return math.sqrt(squares / freedom), "runs of its strategy"


def show(known: list[Json], stored: Stored) -> None:
    """Print the differences, and what is not done."""
    print(
        "dataset strategy rate: anchor (n), stored (seed 0), difference in points (its sd by seeds)"
    )
    for one in known:
        name = f"{one['dataset']} {one['strategy']} {one['rate']:g}"
        if one["stored"] is None:
            print(f"{name}: {one['test']:.3f} ({len(one['runs'])}), no stored run")
            continue
        noise = "-" if one["noise"] is None else f"{one['noise']:.1f}"
        print(
            f"{name}: {one['test']:.3f} ({len(one['runs'])}), {one['stored']:.3f}, "
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
