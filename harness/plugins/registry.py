"""Load plugins, leave out what is broken, and list what the rest offers.

Hooks are called in pluggy's order, last loaded first: `-p` in reverse order, then
`HARNESS_PLUGINS`, other distributions, built-ins; `tryfirst` and `trylast` move a hook within it.
So a plugin of one's own is asked before an installed one, and that before the harness.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import pluggy

from harness.api import hooks
from harness.api.records import digest
from harness.errors import HarnessError, PluginError
from harness.plugins import validation
from harness.plugins.discovery import (
    DISTRIBUTION,
    FAULTS,
    Candidate,
    PluginInfo,
    absolute,
    find,
)
from harness.plugins.validation import KINDS, InvalidPlugin, describe
from harness.utils.names import choose, outline

if TYPE_CHECKING:
    from harness.api.backbone import Backbone
    from harness.api.dataset import Dataset
    from harness.api.metric import Metric
    from harness.api.records import Suite
    from harness.api.strategy import Strategy
    from harness.api.tracker import Tracker

logger = logging.getLogger("harness")


@dataclass(frozen=True)
class BrokenPlugin:
    """A plugin that was left out: what is wrong with it, and what to do."""

    info: PluginInfo
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.info} is left out: {self.problem}; to put it right: {self.remedy}"


class Backbones(Mapping[str, "Backbone"]):
    """Backbones by name: those that are listed, and those that a plugin knows once it is asked.

    Only the former are gone through.  What a plugin refuses is not in it; to ask for that raises
    the plugin's own error.
    """

    def __init__(
        self, listed: Mapping[str, Backbone], ask: Callable[[str], Backbone | None]
    ) -> None:
        self._listed, self._ask = listed, ask

    def __getitem__(self, name: str) -> Backbone:
        found = self._listed.get(name) or self._ask(name)
        if found is None:
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._listed)

    def __len__(self) -> int:
        return len(self._listed)

    def __contains__(self, name: object) -> bool:
        try:
            return isinstance(name, str) and bool(self[name].name)
        except (KeyError, HarnessError):
            return False

    def get(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - as Mapping's
        return self[name] if name in self else default  # noqa: SIM401 - Mapping's lets refusals by


class PluginRegistry:
    """The plugins of a process.

    Attributes:
        manager: pluggy's; `manager.hook.harness_execute(spec=..., resources=...)`.
        args: the `-p` options, with absolute paths: `load_plugins(args)` gives the same plugins in
            another process of the same environment.
        plugins: name -> who it is, for every sound plugin, in loading order.
        broken: what was left out.
        blocked: names given by `-p no:NAME`.
    """

    def __init__(self, args: tuple[str, ...], blocked: frozenset[str]) -> None:
        self.manager = pluggy.PluginManager("harness")
        self.manager.add_hookspecs(hooks)
        self.args = args
        self.blocked = blocked
        self.plugins: dict[str, PluginInfo] = {}
        self.broken: list[BrokenPlugin] = []
        self._offers: dict[str, dict[str, tuple[object, PluginInfo]]] = {k: {} for k in KINDS}
        self._asked: dict[str, tuple[Backbone, PluginInfo]] = {}

    @property
    def datasets(self) -> dict[str, Dataset]:
        return cast("dict[str, Dataset]", self._catalogue("datasets"))

    @property
    def backbones(self) -> Backbones:
        listed = cast("dict[str, Backbone]", self._catalogue("backbones"))
        return Backbones(listed, self._ask)

    @property
    def strategies(self) -> dict[str, type[Strategy]]:
        return cast("dict[str, type[Strategy]]", self._catalogue("strategies"))

    @property
    def metrics(self) -> dict[str, Metric]:
        return cast("dict[str, Metric]", self._catalogue("metrics"))

    @property
    def suites(self) -> dict[str, Suite]:
        return cast("dict[str, Suite]", self._catalogue("suites"))

    @property
    def trackers(self) -> dict[str, Tracker]:
        return cast("dict[str, Tracker]", self._catalogue("trackers"))

    def owner(self, kind: str, name: str) -> PluginInfo:
        """The plugin that offers `name`, among 'datasets', 'backbones', 'strategies', ..."""
        if kind == "backbones" and name not in self._offers[kind]:
            return self._asked[self.backbones[name].name][1]
        return self._offers[kind][name][1]

    def source(self, kind: str, name: str) -> str:
        """sha256 of the code of something offered: its plugin's, and what else makes a backbone."""
        from harness.plugins import provenance

        own = provenance.source_hash(self.owner(kind, name).module)
        others = dict(self.backbones[name].sources) if kind == "backbones" else {}
        return digest({"plugin": own, **others}) if others else own

    def choose_backbones(self, patterns: Sequence[str], listed: Sequence[str] = ()) -> list[str]:
        """As `names.choose`; a name that no plugin lists is asked for, and `A:B` becomes `A.B`.

        Raises:
            HarnessError: as there; or a plugin refuses the name.
        """
        known, names = self.backbones, list(self._offers["backbones"])
        parts = [part.strip() for pattern in patterns for part in pattern.split(",")]
        wanted = [part for part in parts if part]
        asked = {part: self._ask(part) for part in wanted if part not in names}
        written = [one.name if (one := asked.get(part)) else part for part in wanted]
        available = [*known, *(one.name for one in asked.values() if one is not None)]
        return choose(written or patterns, available, "backbone", listed)

    def _ask(self, name: str) -> Backbone | None:
        """The backbone that a plugin knows by this name, asked once; None: none does."""
        name = name.replace(":", ".")
        for info, call in () if name in self._asked else self.each("harness_backbone"):
            try:
                found = call(name=name)
            except HarnessError:
                raise  # the plugin's own word
            except FAULTS as error:
                told = describe(error, info.module)
                raise PluginError(f"{info} raised in harness_backbone({name!r}): {told}") from error
            if found is None:
                continue
            if getattr(found, "name", None) != name:
                raise PluginError(f"{info} answers harness_backbone({name!r}) with {found!r:.200}")
            self._asked[name] = cast("Backbone", found), info
            break
        return self._asked[name][0] if name in self._asked else None

    def taken_for(self, strategy: str) -> str | None:
        """The strategy of the harness that a reader takes a name for; None: there is none."""
        for name, (_, info) in self._offers["strategies"].items():
            if info.distribution == DISTRIBUTION and outline(name) == outline(strategy):
                return name
        return None

    def offers(self, plugin: str) -> dict[str, list[str]]:
        """The offers of one plugin: kind -> names, without the kinds it has nothing of."""
        info = self.plugins[plugin]
        found = {
            kind: sorted(name for name, (_, owner) in offers.items() if owner == info)
            for kind, offers in self._offers.items()
        }
        return {kind: names for kind, names in found.items() if names}

    def hooks(self, plugin: str) -> list[str]:
        """The hooks a plugin implements besides those that offer something."""
        offering = {kind.hook for kind in KINDS.values()}
        callers = self.manager.get_hookcallers(self.manager.get_plugin(plugin)) or ()
        return sorted(caller.name for caller in callers if caller.name not in offering)

    @property
    def idle(self) -> list[PluginInfo]:
        """The plugins that implement no hook at all."""
        return [
            info
            for name, info in self.plugins.items()
            if not self.manager.get_hookcallers(self.manager.get_plugin(name))
        ]

    def each(self, hook: str) -> Iterator[tuple[PluginInfo, Callable[..., object]]]:
        """(plugin, its implementation, to be called by keyword) in hook order.

        For hooks whose every call is guarded by itself.
        """
        for one in reversed(getattr(self.manager.hook, hook).get_hookimpls()):
            if one.plugin_name in self.plugins:  # it may have been rejected since
                yield self.plugins[one.plugin_name], partial(_call, one)

    def notify(self, hook: str, **arguments: object) -> None:
        """Tell all observers; one that raises is logged with its plugin's name and passed over."""
        for info, call in self.each(hook):
            try:
                call(**arguments)
            except FAULTS:
                logger.exception("%s raised in %s; the run goes on", info, hook)

    def admit(self, candidate: Candidate) -> None:
        """Import, check and register one plugin; a broken one leaves nothing but its listing."""
        info = candidate.info
        if taken := self.plugins.get(info.plugin):
            remedy = "rename it" if info.distribution is None else "uninstall one of the two"
            self._list_broken(info, InvalidPlugin(f"its name is taken by {taken}", remedy))
            return
        try:
            plugin = candidate.fetch()
            if self.manager.is_registered(plugin):
                logger.debug("%s is loaded under another name already", info)
                return
            validation.validate(self.manager, plugin)
            self.manager.register(plugin, name=info.plugin)
            self.plugins[info.plugin] = info
            for kind, name, offered in validation.collect_offers(self.manager, plugin):
                self._offer(kind, name, offered, info)
        except FAULTS as error:
            self.reject(info, error)

    def reject(self, info: PluginInfo, error: BaseException) -> None:
        """Take a plugin out with everything it offers and list it as broken."""
        self.plugins.pop(info.plugin, None)
        if self.manager.has_plugin(info.plugin):
            self.manager.unregister(name=info.plugin)
        for kind, offers in self._offers.items():
            self._offers[kind] = {n: entry for n, entry in offers.items() if entry[1] != info}
        self._list_broken(info, error)

    def require_sound(self) -> None:
        """Raise a PluginError that names every broken plugin, if there is one."""
        if self.broken:
            raise PluginError("\n".join(map(str, self.broken)))

    def _list_broken(self, info: PluginInfo, error: BaseException) -> None:
        problem = " ".join(describe(error, info.module).split())  # one line, whatever it says
        broken = BrokenPlugin(info, problem, _remedy(info, error))
        logger.debug("%s", broken, exc_info=error)
        self.broken.append(broken)

    def _offer(self, kind: str, name: str, offered: object, info: PluginInfo) -> None:
        if name in self._offers[kind]:
            first = self.owner(kind, name)
            what = f"{KINDS[kind].what} {name!r}"
            if first == info:
                raise InvalidPlugin(f"it offers {what} twice")
            either = f"block one of the two with -p no:{info.plugin} or -p no:{first.plugin}"
            rename = f"give {name!r} a name of its own, or {{block}}"
            raise InvalidPlugin(
                f"it offers {what}, and so does {first}", rename if first.builtin else either
            )
        if kind == "strategies" and info.distribution != DISTRIBUTION:
            meant = self.taken_for(name)
            if meant is not None:  # its runs would not verify: better said before they are made
                raise InvalidPlugin(
                    f"its strategy {name!r} looks like {meant!r}, which comes with the harness",
                    f"give {name!r} a name of its own, or {{block}}",
                )
        self._offers[kind][name] = (offered, info)

    def _catalogue(self, kind: str) -> dict[str, object]:
        return {name: offered for name, (offered, _) in sorted(self._offers[kind].items())}


Loaded = PluginRegistry  # as `harness.testing.promises` names it


def load_plugins(
    extra: Sequence[object] = (), *, strict: bool = False, environ: Mapping[str, str] = os.environ
) -> PluginRegistry:
    """Load the installed plugins and the `extra` ones.

    Args:
        extra: `-p` options: a module, `./file.py`, the name of an installed plugin, or `no:NAME`,
            which blocks a plugin.  A program may also give plugin objects.
        strict: a broken plugin is an error.
        environ: `HARNESS_PLUGINS` holds further options, separated by commas or os.pathsep;
            `HARNESS_NO_AUTOLOAD=1` leaves out what other distributions install.

    Raises:
        PluginError: `extra` names a file or module that does not exist; or, if strict, some
            plugin is broken.
        UsageError: a plugin to block does not exist.
    """
    candidates, blocked = find(extra, environ)
    loaded = PluginRegistry(tuple(absolute(one) for one in extra if isinstance(one, str)), blocked)
    for candidate in candidates:
        loaded.admit(candidate)
    if strict:
        loaded.require_sound()
    return loaded


def _call(implementation: pluggy.HookImpl, **arguments: object) -> object:
    return implementation.function(*(arguments[name] for name in implementation.argnames))


def _remedy(info: PluginInfo, error: BaseException) -> str:
    block = f"block it with -p no:{info.plugin}"
    if isinstance(error, InvalidPlugin) and error.remedy:
        return error.remedy.replace("{block}", block)
    if info.distribution is None:
        return f"correct {info.path or info.module}, or {block}"
    return f"upgrade or uninstall {info.distribution}, or {block}"
