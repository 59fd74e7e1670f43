"""Subjects: what a name or an object stands for, each with its promises."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from harness.api.backbone import Backbone
from harness.api.dataset import Access, Dataset
from harness.api.metric import Metric
from harness.api.strategy import Strategy
from harness.errors import PluginError, UsageError
from harness.plugins.registry import PluginRegistry
from harness.plugins.validation import KINDS
from harness.testing import backbone, dataset, metric, strategy, suite
from harness.testing.promise import Owner, Promise, promises_of
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
    """Look up what a plugin offers, or what has a name; empty for a plugin of hooks alone.

    Raises:
        UsageError: nothing has this name.
        PluginError: it is a plugin that was left out, and why.
    """
    offers = _offers(loaded, name)
    if not offers and name not in loaded.plugins:
        for broken in loaded.broken:
            if broken.info.plugin == name:
                raise PluginError(str(broken))
        with suppress(KeyError):
            loaded.backbones[name]  # a plugin that refuses it says why
        raise _nothing(loaded, name)
    checkable = []
    for kind, offer in offers:
        if kind == "trackers":
            continue  # that it begins is checked when it is loaded; the rest takes its library
        info = loaded.owner(kind, offer)
        owner = Owner(offer, f"{KINDS[kind].what} {offer!r} of {info}", info.module)
        offered = getattr(loaded, kind)[offer]
        if kind == "suites":
            promises = promises_of(
                suite.RULES, suite.SuiteCase(offered, loaded), owner, light=light
            )
        else:
            promises = promises_for(offered, owner, light=light, access=access)
        checkable.append(Subject(owner, tuple(promises)))
    return checkable


def promises_for(
    offered: Checkable,
    owner: Owner | None = None,
    *,
    light: bool = False,
    access: Access | None = None,
) -> list[Promise]:
    """List the promises of an object.

    Raises:
        UsageError: it is nothing that makes promises.
    """
    if isinstance(offered, Backbone):
        who = owner or _owner("backbone", offered.name, type(offered))
        return promises_of(backbone.RULES, backbone.BackboneCase(offered), who, light=light)
    if isinstance(offered, Dataset):
        who = owner or _owner("dataset", offered.name, type(offered))
        return promises_of(dataset.RULES, dataset.DatasetCase(offered, access), who, light=light)
    if isinstance(offered, Metric):
        who = owner or _owner("metric", offered.name, offered.build)
        return promises_of(metric.RULES, metric.MetricCase(offered), who, light=light)
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
    """(kind, name) of everything that the name stands for, each once."""
    of_plugin: Mapping[str, list[str]] = loaded.offers(name) if name in loaded.plugins else {}
    meant = [(kind, one) for kind, names in of_plugin.items() for one in names]
    meant += [(kind, name) for kind in KINDS if name in getattr(loaded, kind)]
    return list(dict.fromkeys(meant))


def _nothing(loaded: PluginRegistry, name: str) -> UsageError:
    offered = {one for kind in KINDS for one in getattr(loaded, kind)}
    return unknown(name, {*loaded.plugins, *offered}, "plugin or offer")
