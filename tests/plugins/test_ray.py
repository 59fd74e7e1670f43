"""The launcher `ray`, on a cluster of two nodes of this machine with a card each, made up.

Skipped where Ray is not installed: `pip install ray==2.60.0`.
"""

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from command import Cli, runs, settled
from places import TOY
from safetensors.torch import save_file
from toys import ToyBackbone

from harness import LaunchSetup, UsageError
from harness.api.metric import PENDING
from harness.utils import files
from harness.utils.parallel import machine_name
from harness_ray import wanted

CARD = ("--launcher", "ray", "--device", "cpu")

SPOILT = """
import os, signal, time
from pathlib import Path
from harness import Phase, Strategy, hookimpl

def spoil(model, batch):
    {line}

spoil.capturable = False

class Bad(Strategy):
    name = "a-bad"

    def phases(self, model, epochs):
        yield Phase("ft", epochs, {{"*": 1.0}}, objective=spoil)

@hookimpl
def harness_strategies():
    return [Bad]
"""

# As the protocol's loss is; what stands before it happens in the first attempt alone.
ONCE = """
    import torch.nn.functional as F
    mark = Path({mark!r})
    if not mark.exists():
        mark.touch()
        {line}
    return F.cross_entropy(model(batch.inputs), batch.targets)
"""


@pytest.mark.parametrize(
    ("device", "declared", "takes"),
    [
        ("cpu", "", {"CPU": 2}),
        ("cuda", "", {"CPU": 2, "GPU": 1}),
        ("cuda", "card=1, CPU=4", {"CPU": 4, "card": 1}),
    ],
)
def test_a_worker_takes_a_card_or_what_is_declared(device, declared, takes):
    assert wanted(LaunchSetup("ray", device, threads=2), declared) == takes


def test_a_declaration_that_cannot_be_read_is_refused():
    with pytest.raises(UsageError, match="HARNESS_RAY_RESOURCES=card: give NAME=NUMBER"):
        wanted(LaunchSetup("ray", "cuda"), "card")


def test_the_device_has_to_be_declared(tmp_path):
    call = Cli((TOY, "harness_ray"))
    done = call("bench", "toy", "--out", tmp_path, "--launcher", "ray", exit_code=2)
    assert "--launcher ray --device auto: say cpu or cuda" in done.stderr


@pytest.fixture(scope="module")
def cluster():
    pytest.importorskip("ray")
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "resources": {"card": 1}, "object_store_memory": 80 * 2**20}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_RAY_RESOURCES", "card=1")
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
        made = Cluster(initialize_head=True, head_node_args=node)
        made.second = made.add_node(**node)
        made.wait_for_nodes()
        try:
            yield made
        finally:
            made.shutdown()


@pytest.fixture
def call(cluster, tmp_path):
    """`harness bench toy` by Ray; `line`: what a strategy of somebody's does in a step."""

    def made(*args, line=None, exit_code=0):
        plugins = [TOY, "harness_ray"]
        if line is not None:
            (tmp_path / "bad.py").write_text(SPOILT.format(line=line))
            plugins.append(str(tmp_path / "bad.py"))
        given = ("--out", tmp_path / "out", *CARD, "--ray-address", cluster.address, *args)
        return Cli(tuple(plugins))("bench", "toy", *given, exit_code=exit_code)

    return made


def failed(folder):
    (path,) = (folder / "out" / "failed").rglob("*.json")
    return json.loads(path.read_text())


pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # Ray's own
]


def test_the_files_are_those_of_the_launcher_local(call, tmp_path):
    call("--seeds", "0,1")
    Cli((TOY,))("bench", "toy", "--seeds", "0,1", "--out", tmp_path / "local", "--in-process")
    made = settled(tmp_path / "out")
    assert made == settled(tmp_path / "local")
    assert len(made) == 6


def test_a_worker_that_is_killed_costs_no_run(call, tmp_path):
    once = ONCE.format(mark=str(tmp_path / "mark"), line="os.kill(os.getpid(), signal.SIGKILL)")
    done = call("--strategies", "a-bad,full-ft", line=once.strip())
    assert len(runs(tmp_path / "out")) == 2
    assert (
        done.stderr.count("tried once more: toy-data / toy / a-bad (seed 0): its actor ended") == 1
    )


def test_what_ends_its_process_fails_alone_for_both_reasons(call, tmp_path):
    call("--strategies", "a-bad,full-ft", line="os._exit(13)", exit_code=1)
    assert len(runs(tmp_path / "out")) == 1
    record = failed(tmp_path)
    assert record["status"] == "failed"
    first, second = record["error"]["message"].split(
        "; tried once again, alone, in a fresh worker: "
    )
    assert first.startswith("the worker of the run ended: its actor ended: ")
    assert second.startswith("its actor ended: ")


def test_an_endless_loop_is_ended_in_time(call, tmp_path):
    call("--strategies", "a-bad,full-ft", "--timeout", "8", line="while True: pass", exit_code=1)
    assert len(runs(tmp_path / "out")) == 1
    assert failed(tmp_path)["status"] == "timeout"


def test_a_worker_over_its_memory_limit_is_ended(call, tmp_path):
    line = "kept = []\n    while True:\n        kept.append(b'x' * 2**24); time.sleep(0.005)"
    call("--strategies", "a-bad,full-ft", "--memory-limit", "1.5", line=line, exit_code=1)
    assert len(runs(tmp_path / "out")) == 1
    record = failed(tmp_path)
    assert record["status"] == "oom"
    assert record["error"]["message"].count("more than --memory-limit 1.5") == 2


def test_a_full_disk_at_the_driver_loses_nothing_and_counts_nothing_twice(
    call, tmp_path, monkeypatch
):
    """The second outcome finds no space, while the run after it is under way."""
    put, there = files.put, set()

    def scarce(path, content):
        if path.suffix == ".json" and "runs" in path.parts:
            there.add(path.name)
            if len(there) > 1:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        put(path, content)

    with monkeypatch.context() as disk:
        disk.setattr(files, "put", scarce)
        told = call("--seeds", "0,1", "--jobs", "1", exit_code=2).stderr
    assert "no space left for " in told
    assert "finished runs are kept, and the same command goes on from there" in told
    (kept,) = runs(tmp_path / "out")
    before = kept.read_bytes()
    assert [path.stem for path in (tmp_path / "out" / "runs").rglob("*.safetensors")] == [kept.stem]
    assert not list((tmp_path / "out" / "failed").rglob("*"))
    assert "5 runs made, 1 were there already" in call("--seeds", "0,1", "--jobs", "1").stdout
    assert kept.read_bytes() == before
    assert len(runs(tmp_path / "out")) == 6


def test_a_node_without_the_weights_file_says_which_is_lacking(call, tmp_path):
    """The file is there for the driver, and gone where an actor imports its plugins."""
    file = tmp_path / "weights" / "toy.safetensors"
    file.parent.mkdir()
    save_file(ToyBackbone().build(4).state_dict(), file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    (tmp_path / "gone.py").write_text(
        f"import os, sys\nfrom pathlib import Path\n"
        f"if 'ray' in sys.modules and os.getpid() != {os.getpid()}:\n"
        f"    Path({str(file)!r}).unlink(missing_ok=True)\n"
    )
    plugins = ("--strategies", "full-ft", "-p", tmp_path / "gone.py", "--weights", file.parent)
    done = call(*plugins, exit_code=1)
    record = failed(tmp_path)
    assert record["error"]["kind"] == "WeightsError"
    assert f"the weights of toy (sha256 {digest[:12]}" in record["error"]["message"]
    assert f"are not on {machine_name()}: looked" in record["error"]["message"]
    assert runs(tmp_path / "out") == []
    assert "failed: toy-data / toy / full-ft (seed 0): the weights of toy" in done.stderr


def test_what_no_node_can_give_is_refused_at_once(call, monkeypatch):
    monkeypatch.setenv("HARNESS_RAY_RESOURCES", "card=2")
    done = call(exit_code=2)
    assert "no node of the cluster can have a worker (CPU 1, card 2)" in done.stderr


def test_a_driver_that_is_killed_leaves_only_what_is_missing(cluster, tmp_path):
    command = [
        sys.executable, "-m", "harness", "-p", TOY, "-p", "harness_ray", "bench", "toy",
        "--seeds", "0,1,2,3", "--jobs", "1", "--out", tmp_path / "out", *CARD, "--ray-address", cluster.address,
    ]  # fmt: skip
    called = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 120
        while len(runs(tmp_path / "out")) < 2 and time.monotonic() < until:
            time.sleep(0.05)
    finally:
        called.send_signal(signal.SIGKILL)
        called.wait()
    there = {path: path.read_bytes() for path in runs(tmp_path / "out")}
    # One that was trained, and killed before its figures, is given them by the second call.
    whole = {path: text for path, text in there.items() if PENDING.encode() not in text}
    assert 2 <= len(there) < 12
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"{12 - len(there)} runs made, {len(there)} were there already" in done.stdout
    assert len(whole) >= len(there) - 1
    assert {path: path.read_bytes() for path in whole} == whole


def test_a_node_that_is_taken_away_stops_no_run(call, cluster, tmp_path):
    """Both have a run in hand.  Last: the place of the one stays empty."""
    line = f"""
    import torch.nn.functional as F
    folder = Path({str(tmp_path)!r})
    (folder / f"in-hand-{{os.getpid()}}").touch()
    while not (folder / "gone").exists():
        time.sleep(0.05)
    return F.cross_entropy(model(batch.inputs), batch.targets)
"""

    def take_away():
        until = time.monotonic() + 240
        while len(list(tmp_path.glob("in-hand-*"))) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        cluster.remove_node(cluster.second)
        (tmp_path / "gone").touch()

    thread = threading.Thread(target=take_away)
    thread.start()
    done = call("--strategies", "a-bad", "--seeds", "0,1", line=line.strip())
    thread.join()
    assert len(runs(tmp_path / "out")) == 2
    assert len(list(tmp_path.glob("in-hand-*"))) == 2
    (told,) = [one for one in done.stderr.splitlines() if one.startswith("tried once more")]
    assert told.endswith(" is gone")
