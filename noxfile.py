"""Tasks of a contributor: `nox -l` lists them, `nox -s quick` runs one, in the environment nox is in."""

import sysconfig
from pathlib import Path

import nox
from nox.command import CommandFailed

nox.options.default_venv_backend = (
    "none"  # the tools are pinned in the environment: pip install -e '.[dev]'
)
nox.options.sessions = ["lint", "types", "layers", "quick"]


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff, its rules and its format."""
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Mypy, strict."""
    session.run("mypy")


@nox.session
def layers(session: nox.Session) -> None:
    """Import-linter: who may import whom."""
    session.run("lint-imports")


@nox.session
def docs(session: nox.Session) -> None:
    """The site, with strict links; `nox -s docs -- FOLDER` says where it goes."""
    folder = session.posargs[:1] or ["site"]
    # Without --quiet, which would hide what --strict is to fail on.
    session.run(
        *("mkdocs", "build", "--strict", "--site-dir", *folder),
        env={"NO_MKDOCS_2_WARNING": "1"},
    )


@nox.session
def quick(session: nox.Session) -> None:
    """Tests that are not marked slow; arguments after `--` go to pytest."""
    session.run(
        "python", "-m", "pytest", "-n", "2", "-m", "not slow and not nightly", *session.posargs
    )


@nox.session(venv_backend="venv")
def oldest(session: nox.Session) -> None:
    """The quick lane on the oldest versions that pyproject.toml promises, in a venv of its own (8 GB).

    Without the oracles of the statistics, which need newer libraries.  `-- PATHS`: only these tests.
    """
    promised = session.run("python", "tests/support/oldest.py", silent=True).split()
    tools = ["pytest", "pytest-xdist", "hypothesis", "tifffile", "PyYAML", "ruff"]
    session.install(*promised, *tools, "--editable", ".")
    session.run(
        *("python", "-m", "pytest", "-n", "2", "-m", "not slow and not nightly"),
        *("--ignore=tests/stats/test_estimate.py", "--ignore=tests/stats/test_ranks.py"),
        # This huggingface_hub leaves a cut download to the next call; torch 2.9 warns of its own calls.
        "--deselect=tests/data/test_fetch.py::test_a_download_that_is_cut_is_resumed",
        *("-W", "ignore:Please use the new API settings to control TF32", *session.posargs),
    )


@nox.session
def test(session: nox.Session) -> None:
    """All tests, with coverage; arguments after `--` go to pytest."""
    session.run(
        *("python", "-m", "pytest", "-n", "2", "--cov", "--cov-report=term:skip-covered"),
        *session.posargs,
    )


@nox.session(venv_backend="venv", reuse_venv=True)
def ray(session: nox.Session) -> None:
    """The tests of the launcher `ray`, skipped elsewhere; arguments after `--` go to pytest.

    In an environment over the one nox is in, which stays as it is: Ray brings, and bounds, much else.
    """
    here = sysconfig.get_path("purelib")
    asked = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = session.run("python", "-c", asked, silent=True).strip()
    Path(own, "beside.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    try:
        session.run_install("python", "-m", "pip", "install", "--quiet", "ray==2.60.0")
    except CommandFailed:
        session.skip("Ray cannot be installed here, and its tests did not run")
    session.run("python", "-m", "pytest", "-q", "tests/plugins/test_ray.py", *session.posargs)


@nox.session
def mutants(session: nox.Session) -> None:
    """Faults put into copies of the package, each of which a test must find; `-- -k WORD`: some."""
    session.run("python", "tests/mutants/run.py", *session.posargs)


@nox.session
def nightly(session: nox.Session) -> None:
    """Tests of more sets and networks, and all small faults that mutmut makes in a few modules.

    It needs `pip install mutmut==3.8.1`.
    """
    session.run("python", "-m", "pytest", "-n", "2", "-m", "nightly")
    session.run("python", "benchmarks/mutation.py", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """The demonstrations, trained and held against their baselines; `-- FOLDER` says where they go.

    The tuned one lies beside that folder: FOLDER-fair.
    """
    folder = session.posargs[0] if session.posargs else "results/demo"
    for suite, place in (("demo", folder), ("demo-fair", f"{folder}-fair")):
        session.run("harness", "bench", suite, "--device", "cpu", "--out", place)
        session.run("harness", "check", f"benchmarks/results/{suite}", place)


@nox.session
def real(session: nox.Session) -> None:
    """The reference board verified, and its cheapest runs made again; `-- FOLDER`: where they go.

    Images and weights are those of HARNESS_REALDATA and HARNESS_WEIGHTS; without, no run is made.
    """
    folder = session.posargs[0] if session.posargs else "results/real-small-again"
    session.run(
        *("python", "benchmarks/reference/again.py", "benchmarks/results/real-small"),
        *("--out", folder),
    )


@nox.session
def generate(session: nox.Session) -> None:
    """Write the pages of docs that follow from the code."""
    session.run("python", "docs/generate.py")
