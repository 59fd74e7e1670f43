"""Try `harness slurm` on a SLURM of one node, this machine, that is started for it.

    apt install slurm-wlm munge; pip install 'finetune-harness[slurm]'
    python benchmarks/slurm/one_node.py [FOLDER]

As root, for slurmd wants that.  It starts munged, slurmctld and slurmd on 127.0.0.1 with files in FOLDER
alone, sends the suite `toy` of the tests in three shards, puts one back into the queue while it
runs (`scontrol requeue`), lets the time of another run out, and compares what is merged with the runs of
one call.  All three daemons are ended with it.
"""

from __future__ import annotations

import csv
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOY = ROOT / "tests" / "support" / "toy_plugin.py"
CALL = ("toy", "--device", "cpu", "--seeds", "0,1", "--jobs", "1")
WAIT = 300.0

# The second run of a call waits until the file is there, so that tasks are met between runs.
GATE = """
import time
from pathlib import Path
from harness import hookimpl

started = []

@hookimpl
def harness_run_start(spec):
    started.append(spec)
    while len(started) == 2 and not Path({gate!r}).exists():
        time.sleep(0.1)
"""

CONF = """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmctldPort=16817
SlurmdPort=16818
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
KillWait=5
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory={memory} State=UNKNOWN
PartitionName=short Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def start(folder: Path, stack: ExitStack) -> None:
    """The three daemons; they end with `stack`."""
    host = os.uname().nodename.partition(".")[0]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20 - 512
    for name in ("state", "spool"):
        (folder / name).mkdir()
    conf = folder / "slurm.conf"
    conf.write_text(CONF.format(host=host, folder=folder, memory=memory))
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    os.environ["SLURM_CONF"] = str(conf)
    munge = [f"--{name}={folder}/munge.{end}" for name, end in (
        ("key-file", "key"), ("socket", "socket"), ("pid-file", "pid"), ("log-file", "log"),
        ("seed-file", "seed"))]  # fmt: skip
    for words in (
        ["munged", "--foreground", "--force", *munge],
        ["slurmctld", "-D", "-i"],
        ["slurmd", "-D"],
    ):
        log = stack.enter_context((folder / f"{words[0]}.out").open("w"))
        daemon = subprocess.Popen(words, stdout=log, stderr=log)
        stack.callback(stop, daemon)
        time.sleep(2)
        if daemon.poll() is not None:
            sys.exit(f"{words[0]} ended:\n{(folder / f'{words[0]}.out').read_text()}")


def stop(daemon: subprocess.Popen[bytes]) -> None:
    daemon.terminate()
    try:
        daemon.wait(20)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def harness(*words: object, code: int | None = 0) -> str:
    command = [sys.executable, "-m", "harness", "-p", "harness_slurm", "-p", TOY, *words]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if code not in (None, done.returncode):
        sys.exit(f"{words}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def queue() -> dict[str, str]:
    """Task -> state, of all that wait or run."""
    said = subprocess.run(
        ["squeue", "--noheader", "--array", "--format=%F_%K %T %r"],
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(line.split(maxsplit=1) for line in said.stdout.splitlines())


def until(what: str, found) -> float:  # noqa: ANN001 - a function without arguments
    """Seconds until it holds."""
    began = time.monotonic()
    while not found():
        if time.monotonic() - began > WAIT:
            sys.exit(f"after {WAIT:.0f} s not: {what}; the queue: {queue()}")
        time.sleep(0.5)
    return time.monotonic() - began


def scontrol(*words: str) -> None:
    subprocess.run(["scontrol", *words], check=True)


def records(*folders: Path) -> dict[str, str]:
    """File of a run -> what it holds but for times and the machine."""
    found = {}
    for folder in folders:
        for path in sorted((folder / "runs").rglob("*.json")):
            record = json.loads(path.read_text())
            for name in ("cost", "environment", "finished"):
                del record[name]
            for part in (*record["history"], *record["phases"]):
                part.pop("seconds", None)
            assert path.name not in found, f"{path} was made twice"
            found[path.name] = json.dumps(record, sort_keys=True)
    return found


FREE = re.compile(r"seconds|peak_bytes|per_second|^device|^commit|^dirty|^finished")


def board(*folders: Path) -> list[dict[str, str]]:
    """The rows of a board but for times and the machine."""
    rows = csv.DictReader(harness("board", *folders, "--format", "csv").splitlines())
    return [{name: cell for name, cell in row.items() if not FREE.search(name)} for row in rows]


def main(folder: Path) -> None:
    out = folder / "many"
    with ExitStack() as stack:
        start(folder, stack)
        until(
            "an idle node", lambda: "idle" in subprocess.getoutput("sinfo --noheader --format=%T")
        )
        print("the daemons run:", subprocess.getoutput("sinfo --version"))
        gate = folder / "gate"
        (folder / "waits.py").write_text(GATE.format(gate=str(gate)))
        call = (*CALL, "-p", folder / "waits.py")
        print(
            harness("slurm", "submit", *call, "--shards", 3, "--out", out, "--partition", "short")
        )
        jobs = json.loads((out / "slurm.json").read_text())["sent"][0]["jobs"]
        began = time.monotonic()
        # As a preempted one is; and one that has less time left than the notice is told at once.
        for part, change in (("1", "requeue"), ("2", "limit")):
            made = out / f"shard-{part}" / "runs"
            until("a first run", lambda made=made: list(made.rglob("*.json")))
            if change == "requeue":
                scontrol("requeue", jobs[part])
            else:
                limit = 1 + math.ceil((time.monotonic() - began) / 60)
                scontrol("update", f"JobId={jobs[part]}", f"TimeLimit={limit}")
            until("it waits", lambda job=jobs[part]: queue().get(job, "").startswith("PENDING"))
            print(
                f"{change}: shard {part} is put back, {len(list(made.rglob('*.json')))} runs made"
            )
            # A task that was put back waits two minutes by default, which is not what is tried.
            scontrol("update", f"JobId={jobs[part]}", "TimeLimit=10", "StartTime=now")
        gate.touch()
        print(f"all tasks ended after {until('an empty queue', lambda: not queue()):.0f} s more")
        print(harness("slurm", "status", out))
        harness("bench", *CALL, "--out", folder / "whole")
        whole = records(folder / "whole")
        merged = records(*(out / f"shard-{part}" for part in (1, 2, 3)))
        assert merged == whole, f"{len(merged)} and {len(whole)} runs differ"
        boards = [
            board(folder / "whole"),
            board(*(out / f"shard-{part}" for part in (1, 2, 3))),
        ]
        assert boards[0] == boards[1]
        print(f"{len(merged)} runs and their board are the same as in one call")
    print("done")


if __name__ == "__main__":
    given = (
        Path(sys.argv[1]).resolve()
        if len(sys.argv) > 1
        else Path(tempfile.mkdtemp(prefix="slurm-"))
    )
    given.mkdir(parents=True, exist_ok=True)
    try:
        main(given)
    finally:
        if len(sys.argv) == 1:
            shutil.rmtree(given)
