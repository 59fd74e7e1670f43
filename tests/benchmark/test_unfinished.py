"""Runs that are interrupted: what is kept of them, what a plan says, and what is left at the end."""

import json

import pytest
from command import runs
from odd_plugin import STRATEGY, odd_bench
from toys import HEAD, toy_run

from harness.benchmark.unfinished import describe, forget, made_by
from harness.utils.unfinished import Checkpoint, Header, folder_of

# Ends its process at the third step that it makes, where it is told to.
LEAVING = STRATEGY.replace("\n    def phases(self", """
    def adapt(self, model, rng):
        steps = []

        def leave(module, given):
            steps.extend([0] * torch.is_grad_enabled())
            if len(steps) == 3 and "HARNESS_LEAVE" in os.environ:
                os._exit(7)

        model.stem.register_forward_pre_hook(leave)
        return model

    def phases(self""")  # fmt: skip
CALL = ("--strategies", "a-odd", "--checkpoint-every", "1e-9")


@pytest.mark.slow
def test_a_call_goes_on_where_its_processes_ended(tmp_path, monkeypatch, harness_cli):
    """Twice: the launcher tries again, then the same command does."""
    monkeypatch.setenv("HARNESS_LEAVE", "1")
    first = odd_bench(tmp_path, LEAVING, "pass", *CALL, jobs=2)
    assert "goes on from its checkpoint: phase ft, epoch 0.6667 of 2" in first.stderr
    assert "failed: toy-data / toy / a-odd (seed 0)" in first.stderr
    (kept,) = (tmp_path / "out" / ".unfinished").iterdir()
    assert sorted(path.name for path in kept.iterdir()) == ["0.start", "4.state", "checkpoint.json"]

    planned = odd_bench(tmp_path, LEAVING, "pass", *CALL, "--dry-run", exit_code=0)
    cell = "toy-data / toy / a-odd, seed 0: phase ft, epoch 1.333 of 2"
    assert f"1 interrupted run with a checkpoint:\n  {cell}" in planned.stdout
    without = odd_bench(tmp_path, LEAVING, "pass", *CALL[:2], "--dry-run", exit_code=0)
    assert "from which only a call with --checkpoint-every goes on:\n" in without.stdout
    harness_cli("verify", tmp_path / "out")

    monkeypatch.delenv("HARNESS_LEAVE")
    done = odd_bench(tmp_path, LEAVING, "pass", *CALL, "--retry-failed", exit_code=0)
    assert f"{cell}" in done.stderr
    assert not (tmp_path / "out" / ".unfinished").exists()
    odd_bench(tmp_path, LEAVING, "pass", *CALL[:2], exit_code=0, out="whole")
    (found,), (wanted,) = runs(tmp_path / "out"), runs(tmp_path / "whole")
    assert json.loads(found.read_text())["cost"]["resumed"] == 2
    logits = [path.with_suffix(".safetensors").read_bytes() for path in (found, wanted)]
    assert found.name == wanted.name
    assert logits[0] == logits[1]


def kept(results, spec, **made):
    checkpoint = Checkpoint(folder_of(results, spec.run_id), made)
    state = checkpoint.write("8.state", lambda path: path.write_bytes(b"all of it"))
    checkpoint.finish(Header(made, "ft", 1.25, 4.0, state, (), "2026-11-30T03:00:00+00:00"))
    return checkpoint


def test_lines_say_who_goes_on_and_who_cannot(tmp_path):
    specs = [toy_run(HEAD, seed=seed)[0] for seed in range(3)]
    made = made_by("cuda:1", "fast", 1)
    kept(tmp_path, specs[0], **made)
    kept(tmp_path, specs[1], **made | {"torch": "1.0"})

    head, one, other = describe(tmp_path, specs, made, used=True)
    assert head == "2 interrupted runs with a checkpoint:"
    place = "phase ft, epoch 1.25 of 4, 2026-11-30T03:00:00+00:00"
    assert one == f"  toy / toy / made, seed 0: {place}"
    assert other.startswith("  toy / toy / made, seed 1: begins anew")
    assert "it was made with torch 1.0, and this is " in other
    assert describe(tmp_path, specs[2:], made, used=True) == []
    assert describe(tmp_path / "none", specs, made, used=True) == []


def test_a_card_by_its_number_and_threads_are_part_of_it():
    assert made_by("cuda:1", "fast", 1) == made_by("cuda:0", "fast", 1)
    assert made_by("cpu", "fast", 1) != made_by("cpu", "fast", 2)
    assert made_by("cpu", "fast", 1) != made_by("cpu", "reference", 1)


def test_only_what_belongs_to_the_latest_checkpoint_stays(tmp_path):
    spec, _ = toy_run(HEAD)
    checkpoint = kept(tmp_path, spec)
    later = checkpoint.write("9.state", lambda path: path.write_bytes(b"more of it"))
    checkpoint.finish(Header({}, "ft", 1.5, 4.0, later, ()))

    assert {path.name for path in checkpoint.folder.iterdir()} == {"9.state", "checkpoint.json"}
    assert checkpoint.checked(later).read_bytes() == b"more of it"


def test_a_checkpoint_is_forgotten_with_its_folder_and_no_other(tmp_path):
    specs = [toy_run(HEAD, seed=seed)[0] for seed in range(2)]
    for spec in specs:
        kept(tmp_path, spec)
    forget(tmp_path, [specs[0].run_id])
    assert not folder_of(tmp_path, specs[0].run_id).exists()
    assert folder_of(tmp_path, specs[1].run_id).exists()

    forget(tmp_path, [specs[1].run_id, "none"])
    assert list(tmp_path.iterdir()) == []
