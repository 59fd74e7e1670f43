"""Run ids as this code makes them: of the demonstration, of old results, of suites that are not here.

`python tests/support/run_ids.py` writes them to tests/data_files/golden/run_ids.json.  A change there is a result: every
result that anybody holds is run again.  It needs a changelog entry of kind result.
"""

import hashlib
import itertools
import json
from dataclasses import replace
from pathlib import Path

from places import DATA_FILES

from harness import NumericMode, RunResult, Weights
from harness.benchmark.identity import divisions, run_specs
from harness.benchmark.request import BenchOptions, BenchRequest
from harness.benchmark.run import dry_run
from harness.benchmark.suite.resolve import resolve_suite
from harness.data.preparation.info import DatasetInfo
from harness.plugins.registry import load_plugins
from harness.weights import WeightsFile

GOLDEN = DATA_FILES / "golden" / "run_ids.json"
REAL_SMALL = DATA_FILES / "golden" / "real_small.json"


def named(found):
    """Name of a run -> its id; a name that stands for two runs is refused."""
    ids = {}
    for spec in found:
        rate = spec.settings.get("rate", 1)
        name = f"{spec.cell} / seed {spec.seed}" + (rate != 1) * f" / rate {rate:g}"
        assert name not in ids
        ids[name] = spec.run_id
    return ids


def made(text):
    """64 hex digits that stand for something that is not here."""
    return hashlib.sha256(text.encode()).hexdigest()


def demonstration():
    """All 120, from the data as they are drawn here, by the line that `bench --dry-run` takes."""
    return dry_run(
        BenchRequest(suite="demo"), BenchOptions(device="cpu"), load_plugins()
    ).plan.specs


def historic():
    """The stored specs of every result file that was ever published."""
    for path in sorted((DATA_FILES / "historic").rglob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if "run_id" in content:
            yield RunResult.model_validate(content).spec


def paper():
    """20 of `paper-2024`, were its data and weights those that are made up here.

    Four for each dataset: two seeds, two numeric modes, all networks, settings, a limit.
    """
    loaded = load_plugins()
    kinds = [
        BenchRequest(suite="paper-2024", seeds=(684,), strategies=("full-ft", "l2-sp", "auto-rgn")),
        BenchRequest(
            suite="paper-2024",
            seeds=(7,),
            limit=40,
            epochs=2.5,
            sets=("l2-sp.alpha=0.5", "protocol.lr=3e-4"),
            strategies=("l2-sp",),
        ),
    ]
    networks = itertools.cycle(["resnet50", "densenet121", "vgg19"])
    modes = [
        NumericMode(),
        NumericMode(precision="bf16", layout="channels-last", compile="graph", deterministic=False),
    ]
    for request, mode in zip(kinds, modes, strict=True):
        resolved = resolve_suite(request, loaded)
        suite = resolved.suite
        datasets = {
            name: DatasetInfo((), {}, made(f"data of {name}"), decoded=True)
            for name in suite.datasets
        }
        weights = {
            name: WeightsFile(Path(name), made(f"weights of {name}"), Weights(name=name))
            for name in suite.backbones
        }
        numeric = dict.fromkeys(itertools.product(suite.datasets, suite.backbones), mode)
        found = {
            (one.dataset, one.backbone, one.strategy): one
            for one in run_specs(resolved, loaded, numeric, datasets, weights).specs
        }
        for dataset, strategy in itertools.product(suite.datasets, suite.strategies):
            yield found[dataset, next(networks), strategy]


def real_small():
    """All 480 of `real-small`: the fingerprints of its data and weights are kept beside the ids."""
    loaded = load_plugins()
    resolved = resolve_suite(BenchRequest(suite="real-small"), loaded)
    suite = resolved.suite
    kept = json.loads(REAL_SMALL.read_text(encoding="utf-8"))
    datasets = {}
    for name, fingerprints in kept["data"].items():
        facts = [DatasetInfo((), {}, one, decoded=True) for one in fingerprints]
        others = dict(zip(divisions(suite), facts, strict=True))
        datasets[name] = replace(facts[0], others=others)
    weights = {"resnet50": WeightsFile(Path("resnet50"), kept["weights"], Weights(name="resnet50"))}
    mode = NumericMode(precision="bf16", layout="channels-last")
    numeric = dict.fromkeys(itertools.product(suite.datasets, suite.backbones), mode)
    return run_specs(resolved, loaded, numeric, datasets, weights).specs


PARTS = {
    "demo": demonstration,
    "historic": historic,
    "paper-2024": paper,
    "real-small": real_small,
}


if __name__ == "__main__":
    ids = {name: named(made_here()) for name, made_here in PARTS.items()}
    GOLDEN.write_text(json.dumps(ids, indent=1, sort_keys=True) + "\n", encoding="utf-8")
