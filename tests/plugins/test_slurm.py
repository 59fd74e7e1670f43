"""`harness slurm`: scripts by a made-up sbatch, tasks by submitit's local executor."""

import contextlib
import csv
import functools
import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib import metadata

import pytest
from command import Cli, bench, python, runs, settled
from places import TOY

from harness import UsageError
from harness_slurm import plan

pytest.importorskip("submitit")

GIVEN = ("--no-plan", "--time", "1:30:00", "--mem", "8G")
FAKE = """#!/bin/sh
echo "$(basename "$0") $*" >> "$FAKE/calls"
cat "$FAKE/$(basename "$0")" 2> /dev/null
cat "$FAKE/err-$(basename "$0")" >&2 2> /dev/null
exit "$(cat "$FAKE/code-$(basename "$0")" 2> /dev/null || echo 0)"
"""


@pytest.fixture(autouse=True)
def _packages_read_once(monkeypatch):
    """A plugin that is named by its module is looked for in the files of all packages: .6 s a call."""
    monkeypatch.setattr(metadata, "packages_distributions", PACKAGES)


PACKAGES = functools.cache(metadata.packages_distributions)


def slurm(*args, **settings):
    return Cli((TOY, "harness_slurm"))("slurm", *args, **settings)


class Cluster:
    """Arguments that the programs of a SLURM were called with; what they say, and their exit codes."""

    def __init__(self, folder):
        self.folder = folder

    def says(self, program, text="", code=0, err=""):
        (self.folder / program).write_text(text)
        (self.folder / f"err-{program}").write_text(err)
        (self.folder / f"code-{program}").write_text(str(code))

    @property
    def calls(self):
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    folder = tmp_path / "cluster"
    folder.mkdir()
    for name in ("sbatch", "srun", "scontrol", "squeue", "sacct"):
        (folder / "bin").mkdir(exist_ok=True)
        (folder / "bin" / name).write_text(FAKE)
        (folder / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE", str(folder))
    made = Cluster(folder)
    made.says("sbatch", "4711\n")
    return made


@pytest.fixture
def submit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def made(*args, shards=24, call=("toy", "--device", "cpu", "--seeds", "0,1"), **settings):
        given = ("--shards", shards, "--out", "many dir")
        return slurm("submit", *call, *given, *args, **settings)

    return made


def shard_of(folder, part, parts, *, asked=3, made=0, failed=0):
    """The files of a shard that are read, as a call would have left them."""
    place = folder / f"shard-{part}"
    lines = [{"run_id": f"run{n}", "shard": f"{part}/{parts}"} for n in range(asked)]
    other = {"run_id": "other", "shard": f"{part + 1}/{parts}"}
    for kind, first, last in (("runs", 0, made), ("failed", made, made + failed)):
        (place / kind / "data").mkdir(parents=True, exist_ok=True)
        for n in range(first, last):
            (place / kind / "data" / f"run{n}.json").write_text("{}")
    (place / "plan.json").write_text(json.dumps({"runs": [*lines, other]}))


def test_the_script_is_an_array_that_can_be_queued_again(submit, cluster, tmp_path):
    done = submit(
        *GIVEN, "--parallel", "8", "--partition", "short", "--cpus", "2", "--gpus", "1",
        "--sbatch", "account=mine", "--sbatch", "exclusive", "--setup", "module load cuda",
    )  # fmt: skip
    folder = tmp_path / "many dir"
    lines = (folder / "job.sh").read_text().splitlines()
    assert lines[0] == "#!/bin/bash"
    assert {line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")} == {
        "--array=0-23%8", "--signal=USR2@120", "--requeue", "--time=90", "--mem=8G", "--nodes=1",
        "--partition=short", "--cpus-per-task=2", "--gpus-per-node=1", "--account=mine", "--exclusive",
        "--open-mode=append", "--job-name=harness", f"--output='{folder}/logs/%A_%a_0_log.out'",
    }  # fmt: skip
    assert lines.index("module load cuda") < lines.index("# command")
    assert cluster.calls == [f"sbatch --parsable {folder}/job.sh"]
    assert (folder / "logs").is_dir()  # without it SLURM fails, and cannot say so
    assert "sent 24 of 24 shards: job 4711\n" in done.stdout
    assert "each task has 90 minutes and 8G (as given; nothing was planned here)" in done.stdout
    assert "harness board 'many dir'/shard-* --out 'many dir'/all\n" in done.stdout
    manifest = json.loads((folder / "slurm.json").read_text())
    assert manifest["words"] == [
        "toy", "--device", "cpu", "--seeds", "0,1", "-p", TOY, "-p", "harness_slurm", "--jobs", "2",
    ]  # fmt: skip
    assert (manifest["shards"], manifest["minutes"], manifest["memory"]) == (24, 90, "8G")
    (sent,) = manifest["sent"]
    assert (sent["by"], len(sent["jobs"]), sent["jobs"]["24"]) == ("slurm", 24, "4711_23")


@pytest.mark.parametrize(
    ("code", "restarts", "again"), [(140, "", True), (140, "5", False), (1, "", False)]
)
def test_a_task_makes_its_shard_and_is_queued_again_when_its_time_is_over(
    submit, cluster, tmp_path, code, restarts, again
):
    submit(*GIVEN)
    cluster.says("srun", code=code)
    task = {"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_JOB_ID": "4711"}
    task |= {"SLURM_RESTART_COUNT": restarts} if restarts else {}
    script = ["bash", tmp_path / "many dir" / "job.sh"]
    done = subprocess.run(script, env=os.environ | task, check=False, cwd="/")
    assert done.returncode == code
    _, srun, *rest = cluster.calls
    assert srun.endswith(f" --jobs 1 --shard 3/24 --out {tmp_path}/many dir/shard-3")
    assert f" {sys.executable} -m harness bench toy --device cpu " in srun
    assert rest == (["scontrol requeue 4711_2"] if again else [])


def test_a_script_is_printed_and_an_edited_one_sent(submit, cluster, tmp_path):
    printed = submit(*GIVEN, "--print").stdout
    assert cluster.calls == []
    assert not (tmp_path / "many dir").exists()
    (tmp_path / "mine.sh").write_text(printed.replace("--time=90", "--time=95"))
    submit(*GIVEN, "--script", "mine.sh")
    sent = (tmp_path / "many dir" / "job.sh").read_text()
    assert sent.replace("--time=95", "--time=90") == printed
    assert sent != printed


def test_what_is_left_is_sent_again_and_nothing_that_waits_or_runs(submit, cluster, tmp_path):
    folder = tmp_path / "many dir"
    submit(*GIVEN, shards=9)
    shard_of(folder, 1, 9, made=3)  # done
    shard_of(folder, 2, 9, made=2, failed=1)  # done, one failed
    shard_of(folder, 3, 9, made=2)  # its task is gone
    shard_of(folder, 4, 9, made=1)  # runs
    cluster.says("squeue", "4711_3 RUNNING\n4711_4 PENDING\n")
    cluster.says(
        "sacct", "4711_0 COMPLETED\n4711_2 TIMEOUT\n4711_3 PENDING\n4711_5 CANCELLED by 7\n"
    )
    status = slurm("status", folder, exit_code=1).stdout
    assert [line.split() for line in status.splitlines()[1:7]] == [
        ["1/9", "3", "3", "0", "4711_0", "COMPLETED"],
        ["2/9", "3", "2", "1", "4711_1", "GONE"],
        ["3/9", "3", "2", "0", "4711_2", "TIMEOUT"],
        ["4/9", "3", "1", "0", "4711_3", "RUNNING"],
        ["5/9", "?", "0", "0", "4711_4", "PENDING"],
        ["6/9", "?", "0", "0", "4711_5", "CANCELLED"],
    ]
    cluster.says("sbatch", "4712;cluster\n")
    assert "sent 5 of 9 shards: job 4712\n" in submit(*GIVEN, shards=9).stdout
    assert "#SBATCH --array=2,5-8%5\n" in (folder / "job.sh").read_text()
    cluster.says("squeue", "".join(f"471{a}_{n} RUNNING\n" for a in (1, 2) for n in range(9)))
    assert "nothing to send: all 9 shards" in submit(*GIVEN, shards=9).stdout
    cluster.says("squeue", code=1, err="slurm_load_jobs error: Unable to contact\n")
    assert "does not say what becomes of job 4711" in submit(*GIVEN, shards=9, exit_code=2).stderr
    cluster.says("squeue", code=1, err="slurm_load_jobs error: Invalid job id specified\n")
    call = ("toy", "--device", "cpu", "--seeds", "0,1", "--retry-failed")
    submit(*GIVEN, shards=9, call=call)
    assert "#SBATCH --array=1-8%8\n" in (folder / "job.sh").read_text()


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("--shard", "1/2"), "give --shards N and --out FOLDER"),
        (("--dry-run",), "say --print"),
        (("--device", "auto"), "--device has to be said, cpu or cuda"),
        (("--nonsense",), "No such option '--nonsense'"),
        (("--mem", "8 G"), "--mem 8 G: give a whole number with K, M, G or T"),
        (("--sbatch", "array=0-3"), "are the script's own"),
        (("--print", "--local"), "exclude each other"),
        (("--script", "none.sh"), "--script none.sh: there is no such file"),
    ],
)
def test_what_cannot_be_sent_is_refused(submit, cluster, args, told):
    assert told in submit(*GIVEN, *args, exit_code=2).stderr
    assert cluster.calls == []


def test_another_call_into_the_same_folder_is_refused(submit, cluster, tmp_path):
    submit(*GIVEN, shards=3)
    for other in ({"shards": 4}, {"call": ("toy", "--device", "cpu", "--seeds", "0,2")}):
        done = submit(*GIVEN, **{"shards": 3, **other}, exit_code=2)
        assert "holds 3 shards of `harness bench toy --device cpu --seeds 0,1 " in done.stderr
    (tmp_path / "many dir" / "plan.json").touch()
    assert "is a results folder" in submit(*GIVEN, shards=3, exit_code=2).stderr


def test_sbatch_may_be_missing_or_refuse(submit, cluster, tmp_path):
    cluster.says("sbatch", code=1, err="invalid partition\n")
    done = submit(*GIVEN, exit_code=2)
    assert "refuses" in done.stderr
    assert "invalid partition" in done.stderr
    (tmp_path / "empty").mkdir()
    assert "there is no sbatch" in submit(*GIVEN, exit_code=2, PATH=str(tmp_path / "empty")).stderr
    assert not (tmp_path / "many dir" / "slurm.json").exists()


def test_without_submitit_one_message_says_how_to_get_it(submit, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert "pip install 'finetune-harness[slurm]'" in submit(*GIVEN, exit_code=2).stderr


@pytest.mark.slow
def test_nothing_of_submitit_is_imported_unless_asked_for(tmp_path):
    code = (
        "import sys\nfrom harness.cli import cli\ntry:\n    cli(['-p', 'harness_slurm', '--help'])\n"
        "finally:\n    print('submitit' in sys.modules)"
    )
    said = python("-c", code, cwd=tmp_path).stdout
    assert "slurm " in said
    assert said.endswith("False\n")


# -- time and memory ------------------------------------------------------------------------------


class Shard:
    def __init__(self, seconds, memory):
        self.seconds, self.memory, self.runs = seconds, memory, ()


class Plan:
    def __init__(self, *shards):
        self.found = shards

    def shards(self, parts):
        assert parts == len(self.found)
        return self.found


def test_time_and_memory_are_those_of_the_largest_shard_with_slack():
    planned = Plan(Shard(3000, 2 * 2**30), Shard(4000, 3.2 * 2**30))
    size = plan.planned_size(planned, 2, None, None)
    assert (size.minutes, size.memory) == (135, "7G")  # 133.3 and 6.4, rounded up
    assert "66.7 minutes here if no run ends early, x 2 (assumed)" in size.told
    assert "3.2 GiB are counted, x 2 (assumed)" in size.told
    assert plan.planned_size(Plan(Shard(5, 2**20)), 1, None, None).minutes == 10
    said = plan.planned_size(planned, 2, 30, "1G")
    assert (said.minutes, said.memory, said.told) == (30, "1G", "as given")


def test_what_the_plan_does_not_know_has_to_be_said():
    with pytest.raises(UsageError, match="give --time"):
        plan.planned_size(Plan(Shard(5, 1), Shard(None, 1)), 2, None, None)
    with pytest.raises(UsageError, match="give --mem"):
        plan.planned_size(Plan(Shard(5, 1), Shard(5, None)), 2, 10, None)
    with pytest.raises(UsageError, match="--no-plan needs --time and --mem"):
        plan.given_size(10, None)


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("90", 90),
        ("90:30", 91),
        ("1:30:00", 90),
        ("2-12", 3600),
        ("1-00:10", 1450),
        ("1-1:1:1", 1502),
    ],
)
def test_times_as_slurm_has_them(text, minutes):
    assert plan.read_minutes(text) == minutes


@pytest.mark.parametrize("text", ["", "0", "1h", "-5", "1:2:3:4", "a-1", "1-"])
def test_times_that_are_none(text):
    with pytest.raises(UsageError, match="--time"):
        plan.read_minutes(text)


# -- tasks that are carried out -------------------------------------------------------------------


def tree(pid):
    """A process and all below it, parents first."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True)
    pairs = [tuple(map(int, line.split())) for line in listed.stdout.splitlines()]
    found = [pid]
    for one in found:
        found += [child for child, parent in pairs if parent == one]
    return found


def until(found, seconds=120):
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end
        time.sleep(0.05)


def finished(path):
    return json.loads(path.read_text())["finished"]


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
        time.sleep(0.02)
"""


@pytest.fixture
def local(tmp_path, monkeypatch):
    """Ids of the tasks that run, by shard; they are ended with the test."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gate.py").write_text(GATE.format(gate=str(tmp_path / "gate")))

    def jobs():
        sent = json.loads((tmp_path / "many" / "slurm.json").read_text())["sent"]
        return {part: int(job) for one in sent for part, job in one["jobs"].items()}

    yield jobs
    for pid in (pid for job in jobs().values() for pid in tree(job)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


FREE = re.compile(r"seconds|peak_bytes|per_second|^device|^commit|^dirty|^finished")


def rows(*folders):
    """The rows of a board but for times and the machine."""
    text = Cli((TOY,))("board", *folders, "--format", "csv").stdout
    found = list(csv.DictReader(text.splitlines()))
    assert len(found) == 6
    return [{name: cell for name, cell in row.items() if not FREE.search(name)} for row in found]


@pytest.mark.slow
@pytest.mark.nightly  # half a minute of a core; the made-up cluster above sends the same calls
@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
def test_a_killed_task_is_sent_again_a_preempted_one_goes_on_and_the_folders_are_one_call(
    local, tmp_path
):
    call = ("toy", "--seeds", "0,1", "--device", "cpu", "--in-process", "-p", tmp_path / "gate.py")
    send = ("submit", *call, "--shards", 2, "--out", "many", *GIVEN, "--local")
    slurm(*send)
    many = tmp_path / "many"
    folders = [many / "shard-1", many / "shard-2"]
    for folder in folders:
        until(lambda folder=folder: runs(folder))
    jobs = local()
    for pid in tree(jobs["2"]):
        os.kill(pid, signal.SIGKILL)
    os.kill(tree(jobs["1"])[1], signal.SIGUSR2)  # submitit's, below the process that watches it
    os.waitpid(jobs["2"], 0)
    before = {path: finished(path) for one in folders for path in runs(one)}
    assert len(before) == 2
    (tmp_path / "gate").touch()
    told = slurm("status", "many", exit_code=1).stdout
    assert f"2/2    3      1     0       {jobs['2']}" in told
    assert "KILLED" in told
    assert "sent 1 of 2 shards" in slurm(*send).stdout
    until(lambda: len(list((many / "logs").glob("*_result.pkl"))) == 2)
    assert {path: finished(path) for path in before} == before
    slurm("status", "many")
    bench(tmp_path / "whole", "--seeds", "0,1", "--device", "cpu")
    ones = {**settled(folders[0]), **settled(folders[1])}
    assert ones == settled(tmp_path / "whole")
    assert len(ones) == len(runs(folders[0])) + len(runs(folders[1])) == 6
    assert rows(*folders) == rows(tmp_path / "whole")
