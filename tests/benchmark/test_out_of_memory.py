"""Runs that memory runs out for: tried again, in parts, or failed with all that was tried."""

import json

import pytest
import torch
from command import runs
from odd_plugin import STRATEGY, odd_bench
from safetensors.numpy import load_file
from toys import FULL, toy_run

from harness.api.execution import Outcome
from harness.api.records import RunResult
from harness.benchmark.launch.out_of_memory import is_out_of_memory, with_less_memory
from harness.errors import CannotSplitError

# Memory for six images that learn, whatever the strategy.
NARROW = """
    def adapt(self, model, rng):
        def narrow(module, given):
            if torch.is_grad_enabled() and len(given[0]) > 6:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

        model.stem.register_forward_pre_hook(narrow)
        return model

    def phases(self"""


def outcome():
    spec, _ = toy_run(FULL)
    return Outcome(RunResult(run_id=spec.run_id, suite="toy", spec=spec, status="ok"))


class Attempts:
    """Raises these in turn, then succeeds."""

    def __init__(self, *errors):
        self.errors, self.parts, self.freed, self.told = list(errors), [], 0, []

    def __call__(self, parts):
        self.parts.append(parts)
        if self.errors and (error := self.errors.pop(0)) is not None:
            raise error
        return outcome()

    def free(self):
        self.freed += 1

    def carried_out(self, batch=16):
        return with_less_memory(self, self.free, self.told.append, batch).result


def full():
    return torch.OutOfMemoryError("no memory")


def test_what_is_tried_in_turn():
    attempts = Attempts(full(), MemoryError(), full(), full())
    result = attempts.carried_out()

    assert attempts.parts == [1, 1, 2, 4, 8]
    assert attempts.freed == 4
    assert (result.parts, result.attempts) == (
        8,
        (
            "tried again, with nothing kept from other runs",
            "tried again, batches in 2 parts",
            "tried again, batches in 4 parts",
            "tried again, batches in 8 parts",
        ),
    )
    assert attempts.told[0] == "out of memory; tried again, with nothing kept from other runs"


def test_what_has_memory_enough_is_as_ever():
    result = Attempts().carried_out()

    assert not {"parts", "attempts"} & json.loads(result.model_dump_json()).keys()


@pytest.mark.parametrize(("batch", "parts"), [(1, [1, 1]), (2, [1, 1, 2]), (5, [1, 1, 2, 4, 5])])
def test_batches_of_one_image_are_the_last_resort(batch, parts):
    attempts = Attempts(*(full() for _ in range(20)))
    with pytest.raises(torch.OutOfMemoryError) as raised:
        attempts.carried_out(batch)

    assert attempts.parts == parts
    assert raised.value.__notes__[0].startswith("out of memory before; tried again, with nothing")


def test_the_reason_against_parts_stands_beside_the_error():
    first, second = full(), full()
    with pytest.raises(torch.OutOfMemoryError) as raised:
        Attempts(first, second, CannotSplitError("a layer sees it all")).carried_out()

    assert raised.value is second
    assert raised.value.__notes__ == ["not tried with batches in parts: a layer sees it all"]


def test_another_error_ends_the_attempts():
    attempts = Attempts(full(), ValueError("other"), full())
    with pytest.raises(ValueError, match="other"):
        attempts.carried_out()
    assert attempts.parts == [1, 1]


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (MemoryError(), True),
        (full(), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("shapes differ"), False),
        (ValueError("DefaultCPUAllocator"), False),
    ],
    ids=str,
)
def test_what_is_out_of_memory(error, found):
    assert is_out_of_memory(error) is found


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["eval", "train"])
def test_a_run_in_parts_is_kept_and_says_so_and_one_that_cannot_be_fails(tmp_path, norm):
    plain = STRATEGY.replace('{{"*": 1.0}}', f'{{{{"*": 1.0}}}}, norm="{norm}"')
    narrow = plain.replace("\n    def phases(self", NARROW.replace("{", "{{").replace("}", "}}"))
    given = ("--strategies", "a-odd", "--set", "protocol.batch_size=16", "--precision", "float64")
    done = odd_bench(tmp_path, narrow, "pass", *given, out="narrow", exit_code=norm == "train")

    assert (
        "toy-data / toy / a-odd (seed 0): out of memory; tried again, with nothing" in done.stderr
    )
    if norm == "train":
        (file,) = (tmp_path / "narrow" / "failed").glob("*.json")
        record = json.loads(file.read_text())
        assert record["status"] == "oom"
        assert "2.00 GiB; not tried with batches in parts: the layer 'stem.norm'" in done.stderr
        return
    odd_bench(tmp_path, plain, "pass", *given, out="wide", exit_code=0)
    (found,), (wanted,) = runs(tmp_path / "narrow"), runs(tmp_path / "wide")
    record, whole = (json.loads(path.read_text()) for path in (found, wanted))
    assert (record["parts"], len(record["attempts"])) == (4, 3)
    assert record["phases"][0]["notes"] == ["batches in 4 parts, for lack of memory"]
    assert "parts" not in whole
    logits, others = (load_file(path.with_suffix(".safetensors")) for path in (found, wanted))
    for name, tensor in others.items():
        torch.testing.assert_close(
            torch.tensor(logits[name]), torch.tensor(tensor), rtol=1e-6, atol=1e-6
        )
