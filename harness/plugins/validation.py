"""Checks of a plugin while it is loaded; each message says what is wrong."""

from __future__ import annotations

import inspect
import re
import reprlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from types import ModuleType
from typing import Any, cast

import pluggy
from pydantic import BaseModel

from harness.api.backbone import Backbone
from harness.api.dataset import Dataset
from harness.api.hooks import API_VERSION
from harness.api.metric import Metric
from harness.api.records import Suite
from harness.api.strategy import Strategy
from harness.api.tracker import Tracker
from harness.utils.faults import told
from harness.utils.names import did_you_mean

KEBAB = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
PREFIX = "harness_"
LIKE = 0.75  # how alike the names of a function and of a hook are where one is meant for the other
SLIP = 0.8  # how alike a method's name is to that of one that is called
_STARRED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True)
class OfferKind:
    """Something plugins offer: the hook that offers it, its type, and its name in messages."""

    hook: str
    type: type
    what: str


# What the harness calls, with which arguments in place.
CALLED: dict[type, dict[str, tuple[str, ...]]] = {
    Strategy: {"adapt": ("model", "rng"), "phases": ("model", "epochs")},
    Backbone: {"build": ("classes",), "modernise": ("state",), "published_name": ("name",)},
    Dataset: {"load": ("access",)},
    Tracker: {"begin": ("run",)},
}

KINDS: dict[str, OfferKind] = {
    "datasets": OfferKind("harness_datasets", Dataset, "dataset"),
    "backbones": OfferKind("harness_backbones", Backbone, "backbone"),
    "strategies": OfferKind("harness_strategies", Strategy, "strategy"),
    "metrics": OfferKind("harness_metrics", Metric, "metric"),
    "suites": OfferKind("harness_suites", Suite, "suite"),
    "trackers": OfferKind("harness_trackers", Tracker, "tracker"),
}


class InvalidPlugin(Exception):  # noqa: N818 - a verdict, never shown as such
    """A promise that a plugin broke.

    `remedy` stands where there is a better one than usual; `{block}` in it is how to block it.
    """

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(problem)
        self.remedy = remedy


def describe(error: BaseException, module: str) -> str:
    """An exception of a plugin in one line, see `told`."""
    if isinstance(error, InvalidPlugin):
        return str(error)
    if isinstance(error, pluggy.PluginValidationError):
        return " ".join(str(error).split())
    return told(error, module)


def validate(manager: pluggy.PluginManager, plugin: object) -> None:
    """Check API version, hook names and signatures of a plugin that is not registered yet.

    Raises:
        InvalidPlugin: the first promise that is broken.
    """
    _check_version(getattr(plugin, "HARNESS_API_VERSION", API_VERSION))
    module = isinstance(plugin, ModuleType)
    for attribute in dir(plugin):
        if module and not inspect.isroutine(getattr(plugin, attribute, None)):
            continue  # most names: pluggy's own look at each is slow
        options = manager.parse_hookimpl_opts(plugin, attribute)
        if options is None:
            _check_marked(manager, plugin, attribute)
        else:
            _check_hook(manager, plugin, attribute, dict(options))


def collect_offers(
    manager: pluggy.PluginManager, plugin: object
) -> Iterator[tuple[str, str, object]]:
    """Offers of a registered plugin: (kind, name, object), each checked by itself.

    Raises:
        InvalidPlugin: something offered is of the wrong type or not usable.
        Exception: whatever the plugin raises.
    """
    for kind, rule in KINDS.items():
        for implementation in getattr(manager.hook, rule.hook).get_hookimpls():
            if implementation.plugin is plugin:
                for offered in _iterable(rule, implementation.function()):
                    yield kind, _checked_name(rule, offered), offered


def _check_version(declared: object) -> None:
    if not isinstance(declared, int) or declared < 1:
        raise InvalidPlugin(f"HARNESS_API_VERSION is {declared!r}, which is not a positive integer")
    if declared > API_VERSION:
        raise InvalidPlugin(
            f"it is written for version {declared} of the plugin API, this harness has version "
            f"{API_VERSION}",
            "upgrade finetune-harness, or {block}",
        )


def _check_marked(manager: pluggy.PluginManager, plugin: object, name: str) -> None:
    """A function that bears a hook's name but is none is never called: nobody means that."""
    if not (name.startswith(PREFIX) and inspect.isroutine(getattr(plugin, name))):
        return
    hooks = _specified(manager)
    if name in hooks:
        raise InvalidPlugin(f"{name} is never called: it lacks the decorator @hookimpl")
    near = get_close_matches(
        name.removeprefix(PREFIX), [one.removeprefix(PREFIX) for one in hooks], 1, LIKE
    )
    if near:
        raise InvalidPlugin(
            f"{name} is never called: it lacks the decorator @hookimpl, and is no hook; did you mean "
            f"{PREFIX + near[0]!r}?"
        )


def _check_hook(
    manager: pluggy.PluginManager, plugin: object, attribute: str, options: dict[str, Any]
) -> None:
    name = options.get("specname") or attribute
    caller = _specified(manager).get(name)
    if caller is None:
        if options.get("optionalhook"):
            return
        near = did_you_mean(name, _specified(manager))
        raise InvalidPlugin(f"unknown hook {name!r}{near}")
    wraps = options.get("wrapper") or options.get("hookwrapper")
    if wraps and name not in {"harness_execute", "harness_render"}:
        raise InvalidPlugin(
            f"{name} cannot be wrapped; only harness_execute and harness_render can"
        )
    if surplus := list(_not_passed(getattr(plugin, attribute), caller.spec.argnames)):
        has = ", ".join(caller.spec.argnames) or "none"
        raise InvalidPlugin(
            f"{name} is not passed {', '.join(surplus)}; its arguments, in place: {has}"
        )


def _specified(manager: pluggy.PluginManager) -> dict[str, Any]:
    return {name: caller for name, caller in vars(manager.hook).items() if caller.has_spec()}


def _not_passed(function: Callable[..., object], passed: Sequence[str]) -> Iterator[str]:
    """Parameters without a default that pluggy gives no value: it passes by position."""
    for one in inspect.signature(function).parameters.values():
        if one.kind in _STARRED or one.default is not one.empty:
            continue
        if one.name not in passed or one.kind is one.KEYWORD_ONLY:
            yield repr(one.name)


def _iterable(rule: OfferKind, offered: object) -> Iterable[object]:
    # A pydantic object is iterable too, over its fields.
    if isinstance(offered, (str, BaseModel)) or not isinstance(offered, Iterable):
        raise InvalidPlugin(f"{rule.hook} returns {_short(offered)}; it must return a list")
    return cast("Iterable[object]", offered)


def _checked_name(rule: OfferKind, offered: object) -> str:
    if rule.type is Strategy:
        return _checked_strategy(offered)
    if not isinstance(offered, rule.type):
        hint = "; offer an instance of it" if inspect.isclass(offered) else ""
        if rule.type is Metric and inspect.isfunction(offered):
            own = offered.__name__
            hint = f"; make it one: Metric.of({own.replace('_', '-')!r}, {own})"
        raise InvalidPlugin(
            f"{rule.hook} offers {_short(offered)}, not a harness.{rule.type.__name__}{hint}"
        )
    _check_methods(offered, rule.type)
    name = str(getattr(offered, "name", None))
    # pydantic has checked the names of datasets, backbones and trackers.
    if rule.type in {Metric, Suite} and not KEBAB.fullmatch(name):
        raise InvalidPlugin(f"{rule.what} name {name!r} is not kebab-case, such as 'macro-f1'")
    if isinstance(offered, Metric):
        _check_functions(offered)
    return name


def _check_functions(metric: Metric) -> None:
    """Functions that cannot take their arguments make every figure undefined."""
    wanted = ("probabilities", "targets")
    build: object = metric.build
    if not _takes(build) and (build is not None or metric.direct is None):
        plain = _takes(build, *wanted)
        hint = f"; a plain function is Metric.of({metric.name!r}, {_called(build)})"
        raise InvalidPlugin(
            f"metric {metric.name!r}: build is {_called(build)}{_signed(build)}, and is "
            f"called with nothing{hint if plain else ''}"
        )
    if metric.direct is not None and not _takes(metric.direct, *wanted):
        raise InvalidPlugin(
            f"metric {metric.name!r}: {_called(metric.direct)}{_signed(metric.direct)} is called with "
            "probabilities and targets, in place"
        )


def _takes(function: object, *arguments: str) -> bool:
    """True if it can be called so, or does not say."""
    if not callable(function):
        return False
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        return False
    except ValueError:  # of C, without a signature
        return True
    return True


def _called(function: object) -> str:
    return getattr(function, "__name__", None) or _short(function)


def _signed(function: object) -> str:
    return str(inspect.signature(function)) if inspect.isfunction(function) else ""


def _checked_strategy(offered: object) -> str:
    if isinstance(offered, Strategy):
        raise InvalidPlugin(f"harness_strategies offers {_short(offered)}; offer the class itself")
    if not (inspect.isclass(offered) and issubclass(offered, Strategy)):
        raise InvalidPlugin(
            f"harness_strategies offers {_short(offered)}, not a subclass of harness.Strategy"
        )
    if inspect.isabstract(offered):
        missing = ", ".join(sorted(offered.__abstractmethods__))
        meant = [one for one in _own_methods(offered, Strategy) if did_you_mean(one, ["phases"])]
        hint = f"; is {meant[0]}() meant to be it?" if meant else ""
        raise InvalidPlugin(f"strategy class {offered.__name__} does not define {missing}(){hint}")
    name = getattr(offered, "name", None)
    if not isinstance(name, str) or not KEBAB.fullmatch(name):
        raise InvalidPlugin(
            f"strategy class {offered.__name__} needs a class attribute `name` in kebab-case, "
            f"such as 'lp-ft'; it has {name!r}"
        )
    if required := [key for key, field in offered.model_fields.items() if field.is_required()]:
        raise InvalidPlugin(f"strategy {name!r} needs a default for {', '.join(required)}")
    # Defaults that contradict each other raise here, not in the middle of a suite.
    _check_methods(offered(), Strategy)
    return name


def _check_methods(made: object, base: type) -> None:
    """A method that cannot take its arguments would raise in the middle of a suite."""
    for name, arguments in CALLED.get(base, {}).items():
        signature = inspect.signature(getattr(made, name))
        try:
            signature.bind(*arguments)
        except TypeError:
            called = f"{type(made).__name__}.{name}{signature}"
            raise InvalidPlugin(
                f"{called} is called with {' and '.join(arguments)}, in place"
            ) from None
    for own in _own_methods(type(made), base):
        for name in CALLED.get(base, {}):
            # As long and the same letters: a slip of the fingers, not a helper's name.
            if len(own) == len(name) and get_close_matches(own, [name], cutoff=SLIP):
                raise InvalidPlugin(
                    f"{type(made).__name__}.{own}() is never called; did you mean {name!r}?"
                )


def _own_methods(kind: type, base: type) -> list[str]:
    """Public functions that a class has and its base has not."""
    own = [name for name in dir(kind) if not (name.startswith("_") or hasattr(base, name))]
    return [name for name in own if inspect.isfunction(getattr(kind, name, None))]


def _short(value: object) -> str:
    return value.__name__ if inspect.isclass(value) else reprlib.repr(value)
