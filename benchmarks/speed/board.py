"""Time that a large board takes: read, rank, render, and open in a browser; and its size.

10,000 made-up runs of eight strategies with nine metrics and thirty epochs each are written to a
folder as `bench` writes them; the clock runs over what `harness board` does with it, step by step.

    python benchmarks/speed/board.py --datasets 50 --backbones 5 --seeds 5
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "support"))

import chromium
from made import made_plan
from made_page import SAMPLES, large_predictions, large_study
from report import Log, device_name, save

from harness.api.execution import Outcome
from harness.api.records import RunResult
from harness.leaderboard import boards
from harness.leaderboard.html import html_page, page_data
from harness.leaderboard.render import formats
from harness.leaderboard.statistics import add_statistics
from harness.plugins.registry import load_plugins
from harness.results.merge import MergedStore
from harness.results.store import Store, uncollected

DRAWN = "document.querySelector('#ranking tbody tr') && document.readyState === 'complete'"
CLAIMS = ("lp-ft-improves", "auto-rgn-gain", "no-universal-winner")
TURNS = 5


log = Log()
rows: list[dict[str, float | str]] = []


@contextmanager
def timed(what: str) -> Iterator[None]:
    start, worked = time.perf_counter(), time.process_time()
    yield
    passed, worked = time.perf_counter() - start, time.process_time() - worked
    told(what, passed, worked)


def told(what: str, passed: float, worked: float) -> None:
    log(f"{what:28} {passed:7.2f} s {worked:7.2f} s of a core")
    rows.append({"what": what, "seconds": passed, "core_seconds": worked})


def fill(store: Store, results: Sequence[RunResult]) -> None:
    """Write the runs as a suite would have; every dataset has a test set of its own."""
    given = {
        name: large_predictions(seed)
        for seed, name in enumerate(sorted({r.spec.dataset for r in results}))
    }
    samples = [{"id": str(row), "group": str(row)} for row in range(SAMPLES)]
    store.write_split("demo-histology", json.dumps({"samples": samples}))
    for result in results:
        store.add(Outcome(result, given[result.spec.dataset]))
    store.extend_plan(made_plan(results, {"claims": CLAIMS}))


def board(folder: Path, out: Path) -> None:
    """The steps of `harness board`, one by one."""
    loaded = load_plugins(environ={})
    with uncollected():
        with timed("read the results"):
            store = MergedStore([Store(folder)])
        with timed("rank"):
            ranked = boards.rank_folder(store, loaded)
        with timed("statistics and claims"):
            made = add_statistics(ranked, store)
        with timed("data of the page"):
            data = page_data.page_data(
                made, store.results(), store.predictions, metrics=loaded.metrics
            )
        with timed("the plotting library"):
            html_page.plots()
        for name, end in formats.FILES.items():
            with timed(name):
                text = html_page.page(data) if name == "html" else formats.render(made, name)
            (out / f"leaderboard.{end}").write_text(text, encoding="utf-8")
    log(f"{'details of runs':28} {len(data['details']['runs']):7}")
    for end in formats.FILES.values():
        size = (out / f"leaderboard.{end}").stat().st_size / 1e6
        log(f"{'leaderboard.' + end:28} {size:7.2f} MB")


def command(runs: int, *args: str) -> None:
    """The command itself, TURNS times, each in a process of its own, with what it takes to start."""
    what = " ".join([f"{runs} runs: board", *args[1:]])
    for _ in range(TURNS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "harness", "board", *args], check=True, stdout=subprocess.DEVNULL
        )
        passed, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        worked = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        told(what, passed, worked)


def parts(store: Store, results: Sequence[RunResult], place: Path) -> Iterator[tuple[int, Path]]:
    """A quarter, a half and all of the datasets: how cost grows with the number of runs."""
    names = sorted({result.spec.dataset for result in results})
    for share in (4, 2):
        kept = set(names[: len(names) // share])
        chosen = [result for result in results if result.spec.dataset in kept]
        part = Store(place / f"part{share}")
        fill(part, chosen)
        yield len(chosen), part.folder
    yield len(results), store.folder


def opened(path: Path, profile: Path) -> list[float]:
    """Seconds from the address to the whole page, tables drawn; the browser runs already."""
    found = []
    with chromium.browser(profile) as connection:
        for _ in range(TURNS):
            start = time.perf_counter()
            page = chromium.Page(connection, path)
            page.until(DRAWN)
            found.append(time.perf_counter() - start)
            page.close()
    return found


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("datasets", 50), ("backbones", 5), ("seeds", 5)):
        given.add_argument(f"--{name}", type=int, default=default)
    args = given.parse_args()
    results = large_study(args.datasets, args.backbones, args.seeds)
    log(f"{len(results)} runs; {device_name('cpu')}")
    with tempfile.TemporaryDirectory() as place:
        store = Store(Path(place) / "results")
        with timed("(write the runs)"):
            fill(store, results)
        with timed("all of it"):
            board(store.folder, Path(place))
        folders = list(parts(store, results, Path(place)))
        os.sync()  # what was written just now does not go to disk while the commands are timed
        for runs, folder in folders:
            command(runs, str(folder), "--format", "md", "--ranks-only")
            command(runs, str(folder), "--format", "md")
            command(runs, str(folder))
        if chromium.find() is None:
            log("no Chromium: the page was not opened")
        else:
            seconds = opened(Path(place) / "leaderboard.html", Path(place) / "profile")
            log(f"{'open, median of ' + str(TURNS):28} {statistics.median(seconds):7.2f} s")
            log(f"{'open, slowest':28} {max(seconds):7.2f} s")
            rows.append({"what": "open in Chromium", "seconds": statistics.median(seconds)})
    save("board", "cpu", log, rows, n=len(results))


if __name__ == "__main__":
    main()
