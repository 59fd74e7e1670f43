"""The kit for authors of plugins: the promises that a plugin keeps, as tests.

    @pytest.mark.harness("my-strategy")
    def test_promise(promise):
        promise.check()

is a test for each promise of an installed plugin, or of what it offers; the mark comes with the
pytest plugin that is installed with the harness.  Objects are given by `promises`:

    @pytest.mark.parametrize("promise", promises(MyStrategy(rate=0.1)), ids=str)
    def test_promise(promise):
        promise.check()

The same from the command line: `harness plugins check my-strategy`.  The checks run on a toy
network and toy images, on the CPU, in seconds.  Importing this does not import torch.
"""

from __future__ import annotations

from harness.api.backbone import Backbone
from harness.api.dataset import Access, Dataset
from harness.api.metric import Metric
from harness.api.strategy import Strategy
from harness.errors import UsageError
from harness.plugins.registry import Loaded, load_plugins
from harness.testing.promise import BrokenPromise, Promise, check_all
from harness.testing.subjects import Checkable, promises_for, subjects

__all__ = [
    "BrokenPromise",
    "Promise",
    "check_backbone",
    "check_dataset",
    "check_metric",
    "check_strategy",
    "promises",
]


def promises(
    of: str | Checkable, *, light: bool = False, loaded: Loaded | None = None
) -> list[Promise]:
    """The promises of a plugin, of what it offers, or of an object, for `pytest.mark.parametrize`.

    With a name come those of the plugin as a whole.

    Args:
        of: the name of an installed plugin or of something it offers; or a strategy (class, or
            instance with its settings), backbone, dataset or metric.
        light: leave out what computes with the values of a whole network or reads data.
        loaded: the plugins to look names up in; None: those that are installed.

    Raises:
        UsageError: nothing has this name, or it offers nothing that makes promises.
        PluginError: it is a plugin that was left out, and why.
    """
    if not isinstance(of, str):
        return promises_for(of, light=light)
    found = subjects(loaded or load_plugins(), of, light=light)
    if not found:
        raise UsageError(f"plugin {of!r} offers nothing that makes promises")
    return [promise for subject in found for promise in subject.promises]


def check_strategy(strategy: type[Strategy] | Strategy) -> None:
    """Check every promise of a strategy: of its class, or of an instance with its settings.

    Raises:
        BrokenPromise: the first one that is broken.
    """
    __tracebackhide__ = True
    check_all(promises_for(strategy))


def check_backbone(backbone: Backbone, *, light: bool = False) -> None:
    """Check every promise of a backbone; `light`: those that need no weights.

    Raises:
        BrokenPromise: the first one that is broken.
    """
    __tracebackhide__ = True
    check_all(promises_for(backbone, light=light))


def check_dataset(dataset: Dataset, *, light: bool = False, access: Access | None = None) -> None:
    """Check every promise of a dataset; `light`: those that need no data.

    Args:
        dataset: its tables are read and a few images of each split decoded.
        light: look at the declaration only.
        access: where downloads are kept, and whether there may be any.

    Raises:
        BrokenPromise: the first one that is broken.
    """
    __tracebackhide__ = True
    check_all(promises_for(dataset, light=light, access=access))


def check_metric(metric: Metric) -> None:
    """Check every promise of a metric.

    Raises:
        BrokenPromise: the first one that is broken.
    """
    __tracebackhide__ = True
    check_all(promises_for(metric))
