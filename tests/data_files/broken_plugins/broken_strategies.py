"""Strategies that break their promises, one each: the class is named after the promise.

What its breach cannot help but break as well stands in `also`.
"""

import contextlib
import math
import random
import socket
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, PrivateAttr

from harness import Phase, Protocol, Search, Strategy, Suite, hookimpl

SYSTEM = random.SystemRandom()


class Broken(Strategy):
    """Full fine-tuning, as long as nothing is broken."""

    message: ClassVar[str]
    also: ClassVar[tuple[str, ...]] = ()

    def phases(self, model, epochs):
        yield Phase("ft", epochs, {"*": 1.0})


class Defaults(Broken):
    """Cannot be registered: the harness refuses it when it loads."""

    name = "breaks-defaults"
    message = "'rate' has no default"
    rate: float


class SettingsJson(Broken):
    name = "breaks-settings-json"
    message = "do not survive JSON: Out of range float values"
    limit: float = math.inf


class SettingsChanging(Broken):
    name = "breaks-settings-json-changing"
    message = "layers = ['head!'] comes back from JSON as ['head!!']"
    layers: object = ("head",)

    def model_post_init(self, context):
        object.__setattr__(self, "layers", [f"{one}!" for one in self.layers])


class SearchSpace(Broken):
    name = "breaks-search-space"
    message = "the default rate = 2.0 lies outside 0.001 to 1.0"
    rate: Annotated[float, Search(0.001, 1.0, log=True)] = 2.0


class SearchUpwards(Broken):
    name = "breaks-search-space-upwards"
    message = "rate is searched from 1.0 to 0.1"
    rate: Annotated[float, Search(1.0, 0.1)] = 0.5


class SearchLog(Broken):
    name = "breaks-search-space-log"
    message = "on a log scale from 0.0"
    rate: Annotated[float, Search(0.0, 1.0, log=True)] = 0.5


class SearchEnds(Broken):
    name = "breaks-search-space-ends"
    message = "rate: Input should be greater than 0"
    rate: Annotated[float, Field(gt=0), Search(0.0, 1.0)] = 0.5


class SearchText(Broken):
    name = "breaks-search-space-text"
    message = "but its default is None"
    rate: Annotated[float | None, Search(0.0, 1.0)] = None


class SearchTwice(Broken):
    name = "breaks-search-space-twice"
    message = "rate has 2 search spaces"
    rate: Annotated[float, Search(0.1, 1.0), Search(0.5, 2.0)] = 0.7


class Runs(Broken):
    name = "breaks-runs"
    message = "phase 'ft' trains 'layer4', which is no parameter; did you mean 'layer2'?"

    def phases(self, model, epochs):
        yield Phase("ft", epochs, {"layer4": 1.0, "head": 1.0})


class RunsEverywhere(Broken):
    name = "breaks-runs-elsewhere"
    message = "on a network with the stages block1, fc, head: phase 'ft' trains 'layer2'"

    def phases(self, model, epochs):
        yield Phase("ft", epochs, {"layer2": 1.0, "head": 1.0})


class RunsList(Broken):
    name = "breaks-runs-list"
    message = "phases() returns list; write it with `yield`"

    def phases(self, model, epochs):
        return [Phase("ft", epochs, {"*": 1.0})]


class RunsTuple(Broken):
    name = "breaks-runs-tuple"
    message = "phases() yields ('ft', 4.0), which is none of Phase, SolveHead and Interpolate"

    def phases(self, model, epochs):
        yield ("ft", epochs)


class WithinBudget(Broken):
    name = "breaks-within-budget"
    message = "phase 'ft' asks for 4 epochs and 2 are left"

    def phases(self, model, epochs):
        yield Phase("lp", epochs / 2, {"head": 1.0})
        yield Phase("ft", epochs, {"*": 1.0})


class AnyBudget(Broken):
    name = "breaks-any-budget"
    message = "with a budget of 1 epoch: phase 'lp' asks for 2 epochs and 1 are left"

    def phases(self, model, epochs):
        yield Phase("lp", 2.0, {"head": 1.0})
        yield Phase("ft", epochs - 2.0, {"*": 1.0})


class AnyBudgetStopped(Broken):
    name = "breaks-any-budget-stopped"
    message = "with early stopping after one epoch: IndexError"

    def phases(self, model, epochs):
        report = yield Phase("ft", epochs, {"*": 1.0})
        report.history[int(epochs) - 1]


class FiniteLoss(Broken):
    name = "breaks-finite-loss"
    message = "the loss of phase 'ft' is nan at step"

    def phases(self, model, epochs):
        yield Phase("ft", epochs, {"*": 1e300})


class FiniteLogits(Broken):
    """The last loss is taken before the last step."""

    name = "breaks-finite-loss-logits"
    message = "72 logits on test are not finite"

    def phases(self, model, epochs):
        step = float(epochs).is_integer() / model.steps_per_epoch
        yield Phase("ft", epochs - step, {"*": 1.0})
        yield Phase("end", step, {"*": 1e308})


class KeepsNothing(Broken):
    name = "breaks-keeps-nothing"
    message = "a second run with the same object differs in weights stem.conv.weight; the first left '_rates' behind"
    _rates: list = PrivateAttr(default_factory=list)

    def phases(self, model, epochs):
        self._rates.append(1.0)
        yield Phase("ft", epochs, {"*": 1 / len(self._rates)})


class KeepsNothingInTheClass(Broken):
    name = "breaks-keeps-nothing-class"
    message = "the first left 'rates' behind"
    rates: ClassVar[list] = []

    def phases(self, model, epochs):
        self.rates.append(1.0)
        yield Phase("ft", epochs, {"*": 1 / len(self.rates)})


class KeepsNothingOfANetwork(Broken):
    name = "breaks-keeps-nothing-network"
    message = "ends early: phase 'ft' trains 'block1.0.weight', which is no parameter"

    def phases(self, model, epochs):
        if not hasattr(self, "_names"):
            object.__setattr__(self, "_names", tuple(model.parameters))
        yield Phase("ft", epochs, dict.fromkeys(self._names, 1.0))


class Deterministic(Broken):
    name = "breaks-deterministic"
    message = "differs between two runs of the same spec"

    def phases(self, model, epochs):
        yield Phase("ft", epochs, {"*": SYSTEM.uniform(0.5, 1.0)})


class TrainMode:
    """An objective that puts the network, frozen stages included, into training mode."""

    capturable = False

    def __call__(self, model, batch):
        from torch.nn.functional import cross_entropy

        return cross_entropy(model.train()(batch.inputs), batch.targets)


class FrozenStays(Broken):
    name = "breaks-frozen-stays"
    message = "layer1.norm.running_mean does not learn in phase 'ft', but has changed"

    def phases(self, model, epochs):
        ends = dict.fromkeys((model.stages[0], "head"), 1.0)
        yield Phase("ft", epochs, ends, objective=TrainMode())


class LookingLeavesNoTrace(Broken):
    name = "breaks-looking-leaves-no-trace"
    message = "if somebody looks at gradients before each phase"

    def adapt(self, model, rng):
        calls = []

        def fading(module, inputs):
            calls.append(None)
            return (inputs[0] * (1 + 1 / len(calls)),)

        model.head.register_forward_pre_hook(fading)
        return model


class HalfInputs:
    """An objective that takes its inputs for images, whatever they are."""

    capturable = True

    def __call__(self, model, batch):
        from torch.nn.functional import cross_entropy

        return cross_entropy(model(batch.inputs.clamp(-0.1, 0.1)), batch.targets)


class CachingChangesNothing(Broken):
    name = "breaks-caching-changes-nothing"
    message = "off in float64 (at most 1e-08) if frozen stages are computed once"

    def phases(self, model, epochs):
        yield Phase("lp", epochs, {"head": 1.0}, objective=HalfInputs())


class NoTestData(Broken):
    name = "breaks-no-test-data"
    message = "it reads the labels of the test split during training"
    also = ("read-only-view",)

    def phases(self, model, epochs):
        labels = model._state.resources.images.labels["test"]
        yield Phase("ft", epochs, {"*": 1.0 + float(labels.mean())})


class NoTestDataUnseen(Broken):
    name = "breaks-no-test-data-unseen"
    message = "depends on the images and labels of the test split"
    also = ("read-only-view",)

    def phases(self, model, epochs):
        labels = model._state.resources.images.labels
        # Past the mapping, where a lock on it does not see it.
        first = getattr(labels, "arrays", labels)["test"][0]
        yield Phase("ft", epochs, {"*": 1.0 + float(first)})


class GlobalRandomness(Broken):
    name = "breaks-global-randomness"
    message = "phases() draws from or seeds torch's default generator"

    def phases(self, model, epochs):
        import torch

        torch.manual_seed(0)
        yield Phase("ft", epochs, {"*": 1.0})


class GlobalRandomnessOfNumpy(Broken):
    name = "breaks-global-randomness-numpy"
    message = "phases() draws from or seeds Python's random and numpy.random"

    def phases(self, model, epochs):
        import numpy as np

        random.seed(0)
        np.random.seed(0)  # noqa: NPY002
        yield Phase("ft", epochs, {"*": random.random() + np.random.rand()})  # noqa: NPY002


class Drawing:
    """An objective that draws from numpy in every step."""

    capturable = False

    def __call__(self, model, batch):
        import numpy as np
        from torch.nn.functional import cross_entropy

        np.random.rand()  # noqa: NPY002
        return cross_entropy(model(batch.inputs), batch.targets)


class GlobalRandomnessInSteps(Broken):
    name = "breaks-global-randomness-steps"
    message = "a run leaves numpy.random in another state"

    def phases(self, model, epochs):
        yield Phase("ft", epochs, {"*": 1.0}, objective=Drawing())


class NothingOpened(Broken):
    name = "breaks-nothing-opened"
    message = "broken_strategies.py' in phases()"

    def phases(self, model, epochs):
        text = Path(__file__).read_text(encoding="utf-8")
        yield Phase("ft", epochs, {"*": len(text) / len(text)})


class NothingOpenedSocket(Broken):
    name = "breaks-nothing-opened-socket"
    message = "it asked for the address of '127.0.0.1' in phases()"

    def phases(self, model, epochs):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", 9), timeout=0.1)
        yield Phase("ft", epochs, {"*": 1.0})


class NothingOpenedProgram(Broken):
    name = "breaks-nothing-opened-program"
    message = "it started the program"

    def phases(self, model, epochs):
        import subprocess
        import sys

        with contextlib.suppress(OSError):
            subprocess.run([sys.executable, "-c", ""], check=True)
        yield Phase("ft", epochs, {"*": 1.0})


class ReadOnlyView(Broken):
    name = "breaks-read-only-view"
    message = "phases() changes head.fc.weight itself, outside of any phase"
    networks: ClassVar[list[object]] = []

    def adapt(self, model, rng):
        self.networks[:] = [model]
        return model

    def phases(self, model, epochs):
        for parameter in self.networks[0].get_submodule("head").parameters():
            parameter.data.zero_()
        yield Phase("ft", epochs, {"*": 1.0})


class ReadOnlyViewPrivate(Broken):
    name = "breaks-read-only-view-private"
    message = "it reads `_state` of the view, which ModelView does not have"

    def phases(self, model, epochs):
        yield Phase("ft", model._state.budget.epochs_left, {"*": 1.0})


class ReadOnlyViewWriting(Broken):
    name = "breaks-read-only-view-writing"
    message = "it writes into `parameters['stem.conv.weight']` of the view"

    def phases(self, model, epochs):
        parameters = model.parameters
        parameters[next(iter(parameters))] = None
        yield Phase("ft", epochs, {"*": 1.0})


class ReadOnlyViewDeleting(Broken):
    name = "breaks-read-only-view-deleting"
    message = "it deletes `parameters['stem.conv.weight']` of the view"

    def phases(self, model, epochs):
        parameters = model.parameters
        del parameters["stem.conv.weight" if "stem" in model.stages else next(iter(parameters))]
        yield Phase("ft", epochs, {"*": 1.0})


class ReadOnlyViewSetting(Broken):
    name = "breaks-read-only-view-setting"
    message = "it sets `seen` of the view"

    def phases(self, model, epochs):
        model.seen = True
        yield Phase("ft", epochs, {"*": 1.0})


BROKEN = [one for one in Broken.__subclasses__() if one is not Defaults]


@hookimpl
def harness_strategies():
    return BROKEN


@hookimpl
def harness_suites():
    protocol = Protocol(name="broken", epochs=1)
    return [
        Suite(
            name="breaks-names-exist",
            datasets=("demo-xrays",),
            backbones=("resnet50-mini",),
            strategies=("full-ft",),
            protocol=protocol,
        ),
        Suite(
            name="breaks-settings-fit",
            datasets=("demo-xray",),
            strategies=("lp-ft",),
            settings={"lp-ft": {"probe": 1.5}},
            protocol=protocol,
        ),
    ]
