"""Make the baselines that CI compares the demonstrations with: benchmarks/results/demo, demo-fair.

    python benchmarks/renew_baseline.py --because "why results have moved"
    python benchmarks/renew_baseline.py --because "..." --suite demo-fair --from results/demo-fair

It trains the demonstration on one CPU thread a process, or takes a folder that holds it, computes
every figure again, shows what has moved, keeps what a comparison needs, and writes the changelog
entry of kind result without which the baseline is not valid (a test looks for its digest there).
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
CHANGELOG = ROOT / "CHANGELOG.md"
SUITES = {"demo": "the demonstration", "demo-fair": "the tuned demonstration"}
KEPT = ("plan.json", "runs", "splits")


def digest(folder: Path) -> str:
    """12 hex digits of a sha256 over the names and contents of all files."""
    found = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        found.update(path.relative_to(folder).as_posix().encode() + b"\0")
        found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()[:12]


def entry(folder: Path, because: str) -> str:
    """The line of the changelog."""
    return f"- **result** Baseline of {SUITES[folder.name]} (`{digest(folder)}`): {because}\n"


def put(made: Path, baseline: Path) -> None:
    """Replace a baseline by what a comparison needs of a results folder."""
    shutil.rmtree(baseline, ignore_errors=True)
    baseline.mkdir(parents=True)
    for name in KEPT:
        copy = shutil.copytree if (made / name).is_dir() else shutil.copyfile
        copy(made / name, baseline / name)


def announce(changelog: Path, line: str) -> None:
    """Add a line to the newest version's entries."""
    text = changelog.read_text(encoding="utf-8")
    first = text.index("\n## ") + 1
    following = text.find("\n## ", first)
    newest = text[:following] if following >= 0 else text
    rest = text[following:] if following >= 0 else ""
    changelog.write_text(newest.rstrip("\n") + "\n" + line + rest, encoding="utf-8")


def harness(*args: str | Path) -> int:
    """Call `harness`; its exit code."""
    return subprocess.run(
        [sys.executable, "-m", "harness", *map(str, args)], check=False
    ).returncode


def renew(suite: str, made: Path, because: str) -> None:
    baseline = RESULTS / suite
    if harness("verify", made):
        sys.exit(f"{made} does not verify: the baseline stays as it was")
    if any((made / "failed").glob("*.json")):
        sys.exit(f"{made} holds failed runs: the baseline stays as it was")
    if baseline.exists():
        harness("compare", baseline, made)
    put(made, baseline)
    announce(CHANGELOG, entry(baseline, because))
    size = sum(path.stat().st_size for path in baseline.rglob("*") if path.is_file())
    print(f"{baseline.relative_to(ROOT)}: {size / 1e6:.2f} MB; commit it with {CHANGELOG.name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--because", required=True, help="what moved the results: the changelog's")
    parser.add_argument("--suite", choices=SUITES, default="demo")
    parser.add_argument("--from", dest="made", type=Path, help="a results folder of the suite")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = given.made or Path(folder)
        bench = ("bench", given.suite, "--device", "cpu", "--out", made)
        if given.made is None and harness(*bench):
            sys.exit(f"{given.suite} did not end well: the baseline stays as it was")
        renew(given.suite, made, given.because)


if __name__ == "__main__":
    main()
