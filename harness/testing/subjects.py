"""Subjects: what a name or an object stands for, each with its promises."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from harness.api.backbone import Backbone
from harness.api.dataset import Access, Dataset, LocalDataset
from harness.api.execution import ImageSet
from harness.api.metric import Metric
from harness.api.strategy import Strategy
from harness.errors import PluginError, UsageError
from harness.plugins.registry import PluginRegistry
from harness.plugins.validation import KINDS
from harness.testing import backbone, dataset, loading, metric, strategy, suite
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
    loaded: PluginRegistry,
    name: str,
    *,
    light: bool = False,
    access: Access | None = None,
    images: Mapping[str, ImageSet] | None = None,
) -> list[Subject]:
    """Look up what a plugin offers, or what has a name, and the plugins that it is of.

    Args:
        loaded: the plugins.
        name: of a plugin or of what it offers.
        light: leave out what computes with the values of a whole network or reads data.
        access: where data are.
        images: dataset -> its images, 8 x 8 pixels, to check strategies on; None: drawn ones.

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
    found = [
        one
        for kind, offer in offers
        if kind
        != "trackers"  # that it begins is checked when it is loaded; the rest takes its library
        for one in _of_offer(loaded, kind, offer, light=light, access=access, images=images or {})
    ]
    owners = [loaded.owner(kind, offer) for kind, offer in offers]
    owners += [loaded.plugins[name]] if name in loaded.plugins else []
    cases = [loading.PluginCase(info, loaded) for info in dict.fromkeys(owners)]
    for case in filter(loading.is_imported, cases):
        owner = Owner(case.info.plugin, str(case.info), case.info.module)
        found.append(Subject(owner, tuple(promises_of(loading.RULES, case, owner, light=light))))
    return found


def of_own_data(dataset: Dataset, access: Access, *, light: bool = False) -> Subject:
    """A dataset that `--data` names; where no plugin declares it, nothing is asked of that."""
    owner = _owner("dataset", dataset.name, type(dataset))
    found = promises_for(dataset, owner, light=light, access=access)
    declared = isinstance(dataset, LocalDataset)
    return Subject(owner, tuple(p for p in found if declared or p.name != "declaration"))


def _of_offer(
    loaded: PluginRegistry,
    kind: str,
    offer: str,
    *,
    light: bool,
    access: Access | None,
    images: Mapping[str, ImageSet],
) -> Iterator[Subject]:
    info, offered = loaded.owner(kind, offer), getattr(loaded, kind)[offer]
    owner = Owner(offer, f"{KINDS[kind].what} {offer!r} of {info}", info.module)
    if kind == "suites":
        case = suite.SuiteCase(offered, loaded)
        yield Subject(owner, tuple(promises_of(suite.RULES, case, owner, light=light)))
    elif kind == "strategies" and images:
        for name, own in images.items():
            on = replace(owner, where=f"{owner.where}, on images of {name!r}")
            cases = StrategyCase(offered, own)
            yield Subject(on, tuple(promises_of(strategy.RULES, cases, on, light=light)))
    else:
        yield Subject(owner, tuple(promises_for(offered, owner, light=light, access=access)))


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
