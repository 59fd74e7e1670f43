"""From a name, or an object, to its promises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.api.backbone import Backbone
from harness.api.dataset import Access, Dataset
from harness.api.metric import Metric
from harness.api.strategy import Strategy
from harness.errors import PluginError, UsageError
from harness.plugins.registry import PluginRegistry
from harness.plugins.validation import KINDS
from harness.testing import backbone, dataset, metric, strategy, suite
from harness.testing.figures import MetricCase
from harness.testing.network import BackboneCase
from harness.testing.promise import Owner, Promise, promises_of
from harness.testing.tables import DatasetCase
from harness.testing.trial import StrategyCase
from harness.utils.names import unknown

Checkable = type[Strategy] | Strategy | Backbone | Dataset | Metric


@dataclass(frozen=True)
class Subject:
    """Something a plugin offers, and its promises."""

    owner: Owner
    promises: tuple[Promise, ...]


def subjects(
    loaded: PluginRegistry, name: str, *, light: bool = False, access: Access | None = None
) -> list[Subject]:
    """All that a plugin offers, or what is offered under a name; nothing for a plugin of hooks.

    Raises:
        UsageError: nothing has this name.
        PluginError: it is a plugin that was left out, and why.
    """
    offers = _offers(loaded, name)
    if not offers and name not in loaded.plugins:
        for broken in loaded.broken:
            if broken.info.plugin == name:
                raise PluginError(str(broken))
        raise _nothing(loaded, name)
    found = []
    for kind, one in offers:
        info = loaded.owner(kind, one)
        owner = Owner(one, f"{KINDS[kind].what} {one!r} of {info}", info.module)
        offered = getattr(loaded, kind)[one]
        if kind == "suites":
            made = promises_of(suite.RULES, suite.SuiteCase(offered, loaded), owner, light=light)
        else:
            made = promises_for(offered, owner, light=light, access=access)
        found.append(Subject(owner, tuple(made)))
    return found


def promises_for(
    offered: Checkable,
    owner: Owner | None = None,
    *,
    light: bool = False,
    access: Access | None = None,
) -> list[Promise]:
    """The promises of an object.

    Raises:
        UsageError: it is nothing that makes promises.
    """
    if isinstance(offered, Backbone):
        who = owner or _owner("backbone", offered.name, type(offered))
        return promises_of(backbone.RULES, BackboneCase(offered), who, light=light)
    if isinstance(offered, Dataset):
        who = owner or _owner("dataset", offered.name, type(offered))
        return promises_of(dataset.RULES, DatasetCase(offered, access), who, light=light)
    if isinstance(offered, Metric):
        who = owner or _owner("metric", offered.name, offered.build)
        return promises_of(metric.RULES, MetricCase(offered), who, light=light)
    kind = offered if isinstance(offered, type) else type(offered)
    if not issubclass(kind, Strategy):
        raise UsageError(
            f"{offered!r} makes no promises: give a strategy, a backbone, a dataset or a metric"
        )
    who = owner or _owner("strategy", getattr(kind, "name", kind.__name__), kind)
    return promises_of(strategy.RULES, StrategyCase(offered), who, light=light)


def _owner(what: str, name: str, code: object) -> Owner:
    return Owner(name, f"{what} {name!r}", str(getattr(code, "__module__", "")))


def _offers(loaded: PluginRegistry, name: str) -> list[tuple[str, str]]:
    """(kind, name) of everything meant, each once."""
    of_plugin: Mapping[str, list[str]] = loaded.offers(name) if name in loaded.plugins else {}
    meant = [(kind, one) for kind, names in of_plugin.items() for one in names]
    meant += [(kind, name) for kind in KINDS if name in getattr(loaded, kind)]
    return list(dict.fromkeys(meant))


def _nothing(loaded: PluginRegistry, name: str) -> UsageError:
    offered = {one for kind in KINDS for one in getattr(loaded, kind)}
    return unknown(name, {*loaded.plugins, *offered}, "plugin or offer")
