"""The demonstration, cut to two datasets: by `local`, by Ray, and by shards that submitit carries out."""

import csv
import os
import re
import sys
import time

import pytest
from command import Cli, settled

pytestmark = [
    pytest.mark.slow,
    pytest.mark.nightly,  # 48 runs three times: minutes of a core
    pytest.mark.filterwarnings("ignore"),  # Ray's own, and a child of submitit's that goes on
]

CUT = ("demo", "--datasets", "demo-xray,demo-mri", "--device", "cpu")
# Columns that say how long it took, and where it was.
FREE = re.compile(r"seconds|peak_bytes|per_second|^device|^commit|^dirty|^finished")


def board(*folders):
    """The rows of a board but for times and the machine, and its claims."""
    csv_text, claims = (
        Cli()("board", *folders, "--format", name).stdout for name in ("csv", "claims")
    )
    rows = [
        {name: cell for name, cell in row.items() if not FREE.search(name)}
        for row in csv.DictReader(csv_text.splitlines())
    ]
    return rows, claims


def by_slurm(folder):
    """Two shards by submitit's local executor."""
    call = ("slurm", "submit", *CUT, "--shards", 2, "--out", folder, "--local")
    Cli(("harness_slurm",))(*call, "--no-plan", "--time", "1:00:00", "--mem", "8G")
    until = time.monotonic() + 1200
    while len(list((folder / "logs").glob("*_result.pkl"))) < 2:
        assert time.monotonic() < until
        time.sleep(0.5)
    return folder / "shard-1", folder / "shard-2"


def test_the_demonstration_is_the_same_by_local_by_ray_and_by_slurm(tmp_path, monkeypatch):
    pytest.importorskip("ray")
    pytest.importorskip("submitit")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    local, by_ray = tmp_path / "local", tmp_path / "ray"
    Cli()("bench", *CUT, "--jobs", 2, "--out", local)
    Cli(("harness_ray",))("bench", *CUT, "--jobs", 2, "--launcher", "ray", "--out", by_ray)
    shards = by_slurm(tmp_path / "slurm")

    made = settled(local)
    assert len(made) == 2 * 3 * 8
    assert settled(by_ray) == made
    first, second = map(settled, shards)
    assert first | second == made
    assert len(first) + len(second) == len(made)

    asked = {path.name: path.read_bytes() for path in (local / "splits").iterdir()}
    assert len(asked) == 2
    for folder in (by_ray, *shards):
        for path in (folder / "splits").iterdir():
            assert path.read_bytes() == asked[path.name]
    assert board(by_ray) == board(local)
    assert board(*shards) == board(local)
