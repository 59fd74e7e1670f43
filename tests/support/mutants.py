"""Mutants: small faults put into a copy of the package, each of which a named test must find.

`python tests/mutants/run.py` carries out the table of `tests/mutants/table.py`; `-k WORD` takes some
of it.  Every mutant has a copy and a process of its own, forked from one that has imported what
others wrote (PyTorch, SciPy) and nothing of this project.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import wait
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("harness", "plugins", "tests", "docs", "benchmarks", "pyproject.toml", "CHANGELOG.md")
PRELOADED = (
    "torch", "torchvision", "numpy", "scipy.stats", "scipy.optimize", "sklearn.metrics", "pydantic",
    "datasets", "evaluate", "safetensors.torch", "rich", "PIL.Image", "tabulate", "numpy.testing",
    "hypothesis", "hypothesis.strategies", "hypothesis.internal.conjecture.engine",
)  # fmt: skip
SECONDS = 90.0
CONTEXT = get_context("fork")


class MutantError(Exception):
    """The table does not fit the code: the text to be replaced, or a test, is not there."""


@dataclass(frozen=True)
class Mutant:
    """A fault, and the tests that find it.

    Attributes:
        old: text that stands once in the file (relative to the root of the repository).
        tests: `file::name` (one case or more must fail) or `file::name[case]`.
        every: of each named test all cases must fail.
        survives: the reason why no test finds it; then none may.
    """

    subject: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    every: bool = False
    survives: str = ""

    def __str__(self) -> str:
        return f"[{self.subject}] {self.file}: {self.old.strip()!r} -> {self.new.strip()!r}"

    def applied_to(self, root: Path) -> None:
        """Put the fault into the copy at `root`.

        Raises:
            MutantError: the old text is not in the file exactly once, or nothing would change.
        """
        path = root / self.file
        if not path.is_file():
            raise MutantError(f"there is no {self.file}; name the file that holds the text now")
        text = path.read_text(encoding="utf-8")
        count = text.count(self.old)
        if count != 1:
            where = "is no longer in the file" if count == 0 else f"is there {count} times"
            raise MutantError(f"the old text {where}; write it as the file has it now, once")
        if self.old == self.new:
            raise MutantError("the new text is the old one")
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
            compiled.unlink()
        path.unlink()  # other copies are links to the same file
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")


@dataclass(eq=False)  # pytest wants a plugin to be hashable
class Outcome:
    """The report of pytest in a copy.

    Attributes:
        cases: by node id, True where the test itself failed; seconds: of each.
        trouble: what kept tests from being run.
    """

    cases: dict[str, bool] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    trouble: list[str] = field(default_factory=list)

    def of(self, selector: str) -> dict[str, bool]:
        """The cases of a named test."""
        return {
            case: failed
            for case, failed in self.cases.items()
            if case == selector or case.startswith(f"{selector}[")
        }

    # Hooks of pytest: the outcome is its plugin.

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.when == "call" and report.outcome != "skipped":
            self.cases[report.nodeid] = report.failed
        elif report.failed:
            self.trouble.append(f"{report.nodeid} failed in {report.when}: {_last(report)}")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.trouble.append(f"{report.nodeid} cannot be imported: {_last(report)}")


def _last(report: pytest.TestReport | pytest.CollectReport) -> str:
    return (str(report.longrepr).strip().splitlines() or ["?"])[-1]


def verdict(mutant: Mutant, outcome: Outcome) -> str:
    """Empty if all is as the table says, else what is not."""
    if outcome.trouble:
        return "; ".join(outcome.trouble[:3])
    missed = []
    for selector in mutant.tests:
        cases = outcome.of(selector)
        if not cases:
            return f"there is no test {selector}"
        found = all(cases.values()) if mutant.every else any(cases.values())
        missed += [] if found else [selector]
    if mutant.survives:
        named = len(missed) == len(mutant.tests)
        return "" if named else f"it is found, though said to survive: {mutant.survives}"
    return f"survives {', '.join(missed)}" if missed else ""


# -- copies ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def master(root: Path) -> Iterator[Path]:
    """A copy of the repository's files, for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = Path(folder) / "sound"
        for name in COPIED:
            if (root / name).is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
                shutil.copytree(root / name, copy / name, ignore=ignored)
            elif (root / name).is_file():
                copy.mkdir(exist_ok=True)
                shutil.copy2(root / name, copy / name)
        yield copy


def linked(sound: Path, name: str) -> Path:
    """A copy of the copy: its files are links."""
    return Path(shutil.copytree(sound, sound.parent / name, copy_function=os.link))


# -- processes -------------------------------------------------------------------------------------


def pytest_in(copy: Path, tests: Iterable[str]) -> Outcome:
    """Run tests of a copy, here: for a process of its own, which it turns upside down.

    Raises:
        MutantError: it was not the copy's package that ran.
    """
    log = copy / "pytest.txt"
    log.unlink(missing_ok=True)  # that of the sound copy, to which it is a link
    opened = log.open("w", encoding="utf-8", buffering=1)
    for number in (1, 2):
        os.dup2(opened.fileno(), number)
    sys.stdout = sys.stderr = opened
    os.chdir(copy)
    here = [str(copy), str(copy / "plugins")]
    sys.path[:] = here + [path for path in sys.path if not _holds_harness(path)]
    os.environ |= {"PYTHONPATH": os.pathsep.join(here), "CI": "true", "PYTHONHASHSEED": "0"}
    importlib.invalidate_caches()
    before, outcome = set(sys.modules), Outcome()
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:cov", "-p", "no:anyio"]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # of what was imported before
    code = pytest.main([*options, "--rootdir", str(copy), *tests], plugins=[outcome])
    if code not in (0, 1) or not outcome.cases:
        errors = [line for line in log.read_text("utf-8").splitlines() if "ERROR" in line]
        outcome.trouble.append(f"pytest ended with {int(code)}: {'; '.join(errors[:3])}")
    for name in sys.modules.keys() - before:
        file = getattr(sys.modules[name], "__file__", None)
        if name.split(".")[0] == "harness" and file and not file.startswith(str(copy)):
            raise MutantError(f"{name} came from {file}")
    return outcome


def _holds_harness(path: str) -> bool:
    folder = Path(path or ".")
    return (folder / "harness" / "__init__.py").exists() or (folder / "harness_full_ft").exists()


def _child(send: object, copy: Path, tests: tuple[str, ...]) -> None:
    try:
        found = pytest_in(copy, tests)
    except BaseException:  # noqa: BLE001 - the parent says it
        found = Outcome(trouble=[traceback.format_exc()])
    send.send(found)
    send.close()
    os._exit(0)  # nothing of the parent is to be closed twice


def carried_out(
    tasks: dict[str, tuple[Path, tuple[str, ...]]], jobs: int, seconds: float = SECONDS
) -> Iterator[tuple[str, Outcome]]:
    """Name and outcome of each (copy, tests), `jobs` at a time; each has `seconds`."""
    waiting, running = list(tasks.items()), {}
    while waiting or running:
        while waiting and len(running) < jobs:
            name, (copy, tests) = waiting.pop(0)
            receive, send = CONTEXT.Pipe(duplex=False)
            process = CONTEXT.Process(target=_child, args=(send, copy, tests))
            process.start()
            send.close()
            running[receive] = (name, process, time.monotonic() + seconds)
        ready = wait(list(running), timeout=1.0)
        late = [r for r, (*_, end) in running.items() if r not in ready and time.monotonic() > end]
        for receive in [*ready, *late]:
            name, process, _ = running.pop(receive)
            yield name, _received(receive, process, is_late=receive in late, seconds=seconds)


def _received(receive: object, process: object, *, is_late: bool, seconds: float) -> Outcome:
    if is_late:
        process.kill()
        return Outcome(trouble=[f"no end after {seconds:g} s; take a mutant that ends"])
    try:
        outcome = receive.recv()
    except EOFError:
        outcome = Outcome(trouble=["the process died"])
    process.join()
    return outcome


# -- the whole -------------------------------------------------------------------------------------


@dataclass
class Report:
    """Mutants by what became of them: name and what is wrong."""

    found: list[str] = field(default_factory=list)
    survive: list[str] = field(default_factory=list)
    wrong: dict[str, str] = field(default_factory=dict)
    slowest: list[tuple[float, str]] = field(default_factory=list)


def check(mutants: Iterable[Mutant], root: Path = ROOT, jobs: int = 2) -> Report:
    """Run the named tests on a sound copy, then each mutant's on a copy with its fault."""
    mutants, report = tuple(mutants), Report()
    with master(root) as sound:
        unsound = _sound(sound, mutants, jobs, report)
        if unsound:
            report.wrong["without a mutant"] = "; ".join(unsound)
            return report
        tasks = {}
        for number, mutant in enumerate(mutants):
            copy = linked(sound, f"mutant-{number}")
            try:
                mutant.applied_to(copy)
            except MutantError as error:
                report.wrong[str(mutant)] = str(error)
            else:
                tasks[str(number)] = (copy, mutant.tests)
        for number, outcome in carried_out(tasks, jobs):
            mutant = mutants[int(number)]
            if said := verdict(mutant, outcome):
                report.wrong[str(mutant)] = said
            else:
                (report.survive if mutant.survives else report.found).append(str(mutant))
    return report


def _sound(sound: Path, mutants: tuple[Mutant, ...], jobs: int, report: Report) -> list[str]:
    """Faults of the named tests where there is no mutant."""
    tests = sorted({test for mutant in mutants for test in mutant.tests})
    files = sorted({test.split("::")[0] for test in tests})
    parts: dict[str, tuple[Path, tuple[str, ...]]] = {}
    for number in range(jobs):
        mine = set(files[number::jobs])
        chosen = tuple(test for test in tests if test.split("::")[0] in mine)
        if chosen:
            parts[str(number)] = (sound, chosen)
    said = []
    for number, outcome in carried_out(parts, jobs, 5 * SECONDS):
        said += outcome.trouble + [f"{case} fails" for case, bad in outcome.cases.items() if bad]
        said += [f"there is no test {t}" for t in parts[number][1] if not outcome.of(t)]
        report.slowest += [(seconds, case) for case, seconds in outcome.seconds.items()]
    report.slowest = sorted(report.slowest, reverse=True)[:5]
    return said


def carry_out(mutants: tuple[Mutant, ...], word: str, jobs: int, *, verbose: bool) -> bool:
    """Check the mutants whose line holds a word, and print what became of them; True: all is well."""
    began = time.monotonic()
    chosen = [mutant for mutant in mutants if word in str(mutant)]
    if not chosen:
        raise click.UsageError(f"no mutant's line holds {word!r}")
    for name in PRELOADED:
        importlib.import_module(name)
    if "harness" in sys.modules:
        raise MutantError("harness is imported already: every process would have the sound one")
    gc.freeze()  # of all this nothing is looked at again in each process
    report = check(chosen, jobs=jobs)
    for name in report.found if verbose else ():
        click.echo(f"found     {name}")
    for name in report.survive:
        click.echo(f"survives  {name}")
    for name, said in report.wrong.items():
        click.echo(f"WRONG     {name}\n          {said}")
    for seconds, case in report.slowest if verbose else ():
        click.echo(f"{seconds:7.2f} s {case}")
    click.echo(
        f"{len(chosen)} mutants: {len(report.found)} found, {len(report.survive)} named as "
        f"surviving, {len(report.wrong)} wrong ({time.monotonic() - began:.0f} s)"
    )
    return not report.wrong
