"""Promises of a suite: what it names exists, and its settings fit."""

from __future__ import annotations

from dataclasses import dataclass

from harness.api.records import Suite, canonical
from harness.benchmark.suite.settings import strategy_of
from harness.plugins.registry import PluginRegistry
from harness.testing.promise import Broken, Rule
from harness.utils.names import did_you_mean


@dataclass(frozen=True)
class SuiteCase:
    """A suite under test, and the plugins that may offer what it names."""

    suite: Suite
    loaded: PluginRegistry


def names_exist(case: SuiteCase) -> None:
    suite, loaded = case.suite, case.loaded
    named = (
        ("dataset", suite.datasets, loaded.datasets),
        ("backbone", suite.backbones, loaded.backbones),
        ("strategy", (*suite.strategies, *suite.settings), loaded.strategies),
        ("metric", (suite.protocol.metric, suite.primary), loaded.metrics),
    )
    for what, names, known in named:
        for name in names:
            if name not in known:
                raise Broken(f"it names the {what} {name!r}{did_you_mean(name, known)}")


def settings_fit(case: SuiteCase) -> None:
    canonical(case.suite)
    for name, values in case.suite.settings.items():
        if name in case.loaded.strategies:
            strategy_of(case.loaded, name, values)


RULES: tuple[Rule[SuiteCase], ...] = (
    Rule("names-exist", "all that a suite names is offered by some plugin", names_exist),
    Rule(
        "settings-fit",
        "its settings are settings of its strategies, and all its numbers are finite",
        settings_fit,
    ),
)
