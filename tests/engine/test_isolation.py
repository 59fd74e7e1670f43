"""Changes of a run to the process: named, put back, and no bit moves of the runs after it."""

import random
import sys
import warnings  # noqa: F401 - lines of set-up use it
from functools import cached_property
from importlib import import_module

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from command import runs
from odd_plugin import METRIC, STRATEGY, odd_bench
from toys import FULL, HEAD, accuracy, strategy, toy_run, watching

import harness_linear_probe  # noqa: F401 - it is watched once it is there
from harness import Phase
from harness.engine import Isolation, run

NAMES = ("locale", "os", "signal", "sys", "warnings")
SET_UP = {
    "torch.set_float32_matmul_precision('medium')": "float32 matmul precision",
    "torch.set_default_dtype(torch.float64)": "torch's default dtype",
    "torch.set_default_device('meta')": "torch's default device",
    "torch.set_num_threads(2)": "torch's threads",
    "torch.set_grad_enabled(True); torch.autocast('cpu', torch.bfloat16).__enter__()": "autocast on cpu",
    "torch.autocast('cpu', enabled=False).__enter__()": "depth of autocast",
    "torch.set_autocast_enabled('cpu', True)": "autocast on cpu",
    "torch.backends.mkldnn.set_flags(False)": "mkldnn",
    "torch.backends.mkldnn.matmul.fp32_precision = 'bf16'": "float32 precision of mkldnn (matmul)",
    "torch.use_deterministic_algorithms(True)": "deterministic algorithms",
    "torch.backends.cudnn.benchmark = True": "cudnn.benchmark",
    "torch.backends.cuda.enable_flash_sdp(False)": "flash attention",
    "torch.set_flush_denormal(True)": "flushing of denormal numbers",
    "torch.autograd.set_detect_anomaly(True)": "anomaly detection",
    "torch.nn.modules.module.register_module_forward_hook(lambda *_: None)": "hooks on all modules",
    "torch.nn.modules.module.register_module_forward_hook(lambda m, i, o: o * 2)": "hooks on all modules",
    "np.seterr(all='raise')": "numpy's error handling",
    "warnings.simplefilter('ignore')": "warning filters",
    "locale.setlocale(locale.LC_ALL, 'C.UTF-8')": "locale",
    "os.environ['OMP_NUM_THREADS'] = '7'": "environment variables",
    "os.chdir('/')": "working directory",
    "os.umask(0o077)": "umask",
    "sys.path.insert(0, '/nowhere')": "sys.path",
    "signal.signal(signal.SIGUSR1, signal.SIG_IGN)": "signal handlers",
    "sys.setrecursionlimit(5000)": "recursion limit",
    "F.cross_entropy = lambda *a, **k: a[0].square().mean()": "torch.nn.functional.cross_entropy",
    "F.cross_entropy = F.multi_margin_loss": "torch.nn.functional.cross_entropy",
    "torch.nn.Linear.forward = lambda self, x: x @ self.weight.T * 2": "torch.nn.modules.linear.Linear.forward",
    "torch.nn.Linear.__call__ = lambda self, x: x @ self.weight.T": "torch.nn.modules.linear.Linear.__call__",
    "torch.Tensor.add_ = torch.Tensor.sub_": "torch.Tensor.add_",
    "import harness.engine.phase as p; p.EMA_DECAY = 0.5": "harness.engine.phase.EMA_DECAY",
    "import harness.engine.steps as p; p.make_steps = None": "harness.engine.steps.make_steps",
    "import harness_linear_probe as p; p.LinearProbe.phases = None": "harness_linear_probe.LinearProbe.phases",
}  # fmt: skip


def highest():
    """As torch begins: the older way to set it moves what the newer one reads."""
    torch.set_float32_matmul_precision("highest")
    for backend in ("mkldnn", "cuda"):
        torch._C._set_fp32_precision_setter(backend, "matmul", "none")


class Lazy:
    """Made when first used: pytest changes the filters of warnings between fixture and test."""

    @cached_property
    def _made(self):
        return Isolation(1)

    def __getattr__(self, name):
        return getattr(self._made, name)


@pytest.fixture
def isolation():
    kept = Lazy()
    yield kept
    kept.leave()
    highest()


@pytest.mark.parametrize(("line", "name"), SET_UP.items())
def test_what_is_changed_is_named_and_put_back(isolation, line, name):
    spec, _ = toy_run(FULL)
    before = isolation.numerics.read(), isolation.process.read()
    with isolation.around(spec) as traces:
        exec(line, globals() | {name: import_module(name) for name in NAMES})

    assert name in traces.left
    assert traces.touched
    assert not traces.fresh
    assert (isolation.numerics.read(), isolation.process.read()) == before
    assert not isolation.patches.there()


def test_a_sound_run_leaves_nothing(isolation):
    for chosen in (FULL, HEAD):
        spec, resources = toy_run(chosen)
        with isolation.around(spec) as traces:
            run(spec, resources)
        assert (traces.left, traces.touched, traces.patched, traces.fresh) == (
            [],
            False,
            False,
            False,
        )


def test_what_cannot_be_put_back_asks_for_another_process(isolation):
    spec, _ = toy_run(FULL)
    mode = torch.inference_mode()
    with isolation.around(spec) as traces:
        mode.__enter__()
    mode.__exit__(None, None, None)

    assert "torch's inference mode" in traces.left
    assert traces.fresh


def isolation_generators():
    numbers = np.random.get_state()[1].tolist()  # noqa: NPY002 - the global one
    return random.getstate(), numbers, torch.get_rng_state().tolist()


def test_generators_begin_alike_and_end_as_they_were(isolation):
    spec, _ = toy_run(FULL)
    before = isolation_generators()
    drawn = []
    for _ in range(2):
        with isolation.around(spec) as traces:
            drawn.append((random.random(), np.random.random()))  # noqa: NPY002
            torch.rand(3)
        assert traces.left == []

    assert isolation_generators() == before
    assert drawn[0] == drawn[1]


def test_state_of_before_the_first_run_is_set_and_named(isolation):
    spec, _ = toy_run(FULL)
    torch.set_float32_matmul_precision("medium")
    with isolation.around(spec) as traces:
        assert torch.get_float32_matmul_precision() == "highest"

    assert "float32 matmul precision (before the run)" in traces.left
    isolation.leave()
    assert torch.get_float32_matmul_precision() == "medium"


def outcome_after(isolation, first, *, then=HEAD):
    """The second of two runs that share what they can."""
    shared = {}
    for chosen in (first, then) if first else (then,):
        spec, resources = toy_run(chosen, shared=shared, checkpoint="last")
        with isolation.around(spec):
            outcome = run(spec, resources)
    return outcome


def test_features_made_under_another_precision_are_not_shared(isolation):
    """Though the strategy puts its own state back: nothing is left changed at its end."""

    def steps(view, epochs):
        with torch.autocast("cpu", torch.bfloat16):
            yield Phase("p", epochs, train={"head": 1.0})

    alone = outcome_after(isolation, None)
    after = outcome_after(isolation, watching(steps))
    for name, tensor in alone.state.items():
        assert torch.equal(tensor, after.state[name]), name


def test_a_network_that_an_objective_reached_into_is_not_used_again(isolation):
    class Reaching:
        capturable = False

        def __call__(self, model, batch):
            if not model._forward_hooks:
                model.register_forward_hook(lambda module, inputs, output: output * 3)
            return F.cross_entropy(model(batch.inputs), batch.targets)

    reaching = strategy(Phase("p", 4, {"*": 1.0}, objective=Reaching()), name="reaching")
    alone = outcome_after(isolation, None, then=FULL)
    after = outcome_after(isolation, reaching, then=FULL)
    for name, tensor in alone.state.items():
        assert torch.equal(tensor, after.state[name]), name


@pytest.mark.parametrize("chosen", [FULL, HEAD])
def test_metrics_and_observers_move_nothing_in_the_run_they_look_at(isolation, chosen):
    class Nosy(type(accuracy())):
        def compute(self, logits, targets, classes):
            torch.set_default_dtype(torch.float16)
            torch.set_float32_matmul_precision("medium")
            torch.rand(7)
            random.random()
            return super().compute(logits, targets, classes)

    states = []
    for metric in (accuracy(), Nosy(name="balanced-accuracy", build=lambda: None)):
        spec, resources = toy_run(chosen, checkpoint="last")
        resources.metrics["balanced-accuracy"] = metric
        with isolation.around(spec) as traces:
            states.append(run(spec, resources).state)
    assert all(torch.equal(states[0][n], states[1][n]) for n in states[0])
    assert "torch's default dtype" in traces.left


# -- as a user meets it ------------------------------------------------------------------------

BENCH = ("--strategies", "a-odd,full-ft,linear-probe", "--seeds", "0,1")
# One of each kind; what each does to the process is tested above.
LINES = {
    "torch.set_float32_matmul_precision('medium')": "float32 matmul precision",
    "torch.set_default_dtype(torch.float64)": "torch's default dtype",
    "torch.autocast('cpu', torch.bfloat16).__enter__()": "depth of autocast, autocast on cpu",
    "torch.backends.mkldnn.set_flags(False)": "mkldnn",
    "F.cross_entropy = lambda *a, **k: a[0].square().mean()": "torch.nn.functional.cross_entropy",
    "os.environ['OMP_NUM_THREADS'] = '7'": "environment variables",
}


def bits(out):
    """File -> content, of the runs of strategies that come along."""
    return {
        p.name: p.with_suffix(".safetensors").read_bytes()
        for p in runs(out)
        if "a-odd" not in p.parts
    }


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    odd_bench(folder, STRATEGY, "pass", *BENCH, exit_code=0)
    return bits(folder / "out")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("jobs", "line"),
    [*((1, line) for line in LINES), *((2, line) for line in [*LINES][:2] + [*LINES][4:5])],
)
def test_runs_after_it_have_the_bits_of_runs_without_it(sound, tmp_path, jobs, line):
    done = odd_bench(tmp_path, STRATEGY, line, *BENCH, jobs=jobs, exit_code=None)

    assert bits(tmp_path / "out") == sound
    assert (
        f"toy-data / toy / a-odd (seed 0) changed what other runs share: {LINES[line]}"
        in done.stderr
    )
    assert "full-ft (seed 0) changed" not in done.stderr
    odd = [p for p in runs(tmp_path / "out") if "a-odd" in p.parts]
    for path in odd:
        assert f"left changed, and put back: {LINES[line]}" in path.read_text()


@pytest.mark.slow
def test_set_up_at_import_counts_for_no_run(sound, tmp_path):
    early = STRATEGY.replace("\nclass", "\ntorch.set_default_dtype(torch.float64)\n\nclass", 1)
    try:
        done = odd_bench(tmp_path, early, "pass", *BENCH, exit_code=0)
    finally:
        torch.set_default_dtype(torch.float32)

    assert bits(tmp_path / "out") == sound
    assert "torch's default dtype (before the run)" in done.stderr


@pytest.mark.slow
def test_what_cannot_be_put_back_sends_the_later_runs_into_another_process(sound, tmp_path):
    line = "sys.odd = torch.inference_mode(); sys.odd.__enter__()"
    try:
        done = odd_bench(tmp_path, STRATEGY, line, *BENCH, exit_code=None)
    finally:
        sys.odd.__exit__(None, None, None)
        del sys.odd

    assert "the runs after it go on in a new process" in done.stderr
    assert bits(tmp_path / "out") == sound


@pytest.mark.slow
def test_the_caller_gets_its_process_back(tmp_path):
    torch.set_float32_matmul_precision("high")
    try:
        odd_bench(tmp_path, METRIC, "pass", "--strategies", "full-ft", exit_code=0)
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        highest()
