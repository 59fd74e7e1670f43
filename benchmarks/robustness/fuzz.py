"""Damage sound files in thousands of ways and read them: a table of what came of it, for docs.

    python benchmarks/robustness/fuzz.py [CASES] [SEED] [FILE]

FILE: a kind of file, or what its name begins with, as `list`; without it, all.

Every cell: cases that were read, that some file was said not to hold, that were refused with a
message, and tracebacks, which are printed and must be none.
"""

import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))

from damage import FOLDER, READERS, Bench

from harness.plugins.registry import load_plugins

SLOW = 20.0  # seconds that reading one damaged file may take


def main(cases: int, number: int, only: str = "") -> int:
    """Print the table; the number of tracebacks."""
    faults: Counter[str] = Counter()
    print("| file | cases | read | said not to hold | refused | tracebacks | slowest |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as place:
        bench = Bench(Path(place), load_plugins([]))
        for reader in filter(lambda name: name.startswith(only), READERS):
            counts, slowest = fuzz(bench, reader, cases, number, faults)
            shown = " | ".join(str(counts[key]) for key in ("read", "not held", "refused", "fault"))
            print(f"| {reader} | {counts.total()} | {shown} | {slowest:.1f} s |", flush=True)
    for fault, times in faults.most_common():
        print(f"\n{times} times:\n{fault}")
    return faults.total()


def fuzz(
    bench: Bench, reader: str, cases: int, number: int, faults: Counter[str]
) -> tuple[Counter[str], float]:
    """Outcomes of one reader, and the seconds of the slowest case."""
    counts: Counter[str] = Counter()
    slowest = [0.0]

    @seed(number)
    @settings(
        max_examples=cases, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(
        content=READERS[reader](bench.sound_bytes(reader)), command=st.sampled_from(sorted(FOLDER))
    )
    def once(content: bytes, command: str) -> None:
        started = time.monotonic()
        try:
            counts.update(bench.read(reader, content, command).values())
        except Exception:  # noqa: BLE001 - what is looked for
            counts["fault"] += 1
            faults["".join(traceback.format_exc().splitlines(keepends=True)[-7:])] += 1
        slowest[0] = max(slowest[0], time.monotonic() - started)
        if time.monotonic() - started > SLOW:
            faults[f"{reader}, {command}: slow"] += 1

    once()
    return counts, slowest[0]


if __name__ == "__main__":
    defaults = ("2000", "0", "")
    words = (*sys.argv[1:4], *defaults[len(sys.argv) - 1 :])
    sys.exit(bool(main(int(words[0]), int(words[1]), words[2])))
