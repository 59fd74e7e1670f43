"""`harness plugins`: the plugins that are here, broken or blocked."""

from __future__ import annotations

import click

from harness.cli.session import (
    PackageGroup,
    Session,
    example,
    pass_session,
    print_json,
    print_table,
)
from harness.plugins.discovery import PluginInfo
from harness.plugins.registry import BrokenPlugin, PluginRegistry


@click.group(
    cls=PackageGroup,
    package=__name__,
    invoke_without_command=True,
    epilog=example("harness -p ./my_strategy.py plugins"),
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
@pass_session
def command(session: Session, ctx: click.Context, *, as_json: bool) -> None:
    """List plugins, what they offer, and why some are left out."""
    if ctx.invoked_subcommand:
        return
    loaded = session.plugins
    if as_json:
        print_json(_as_json(loaded))
        return
    rows = [
        *([*_origin(one), "ok", _offered(loaded, one)] for one in loaded.plugins.values()),
        *([*_origin(one.info), "broken", f"{one.problem}; {one.remedy}"] for one in loaded.broken),
        *([name, "", "", "blocked", ""] for name in sorted(loaded.blocked)),
    ]
    print_table(("plugin", "distribution", "version", "state", "offers, or problem"), rows, 70)


def _origin(info: PluginInfo) -> list[str]:
    return [info.plugin, info.distribution or "", info.version or ""]


def _offered(loaded: PluginRegistry, info: PluginInfo) -> str:
    offers = loaded.offers(info.plugin)
    lines = [f"{kind}: {' '.join(names)}" for kind, names in offers.items()]
    hooks = loaded.hooks(info.plugin)
    return "\n".join([*lines, f"hooks: {' '.join(hooks)}"] if hooks else lines)


def _as_json(loaded: PluginRegistry) -> dict[str, object]:
    return {
        "plugins": [_info_json(one) | _offers_json(loaded, one) for one in loaded.plugins.values()],
        "broken": [_broken_json(one) for one in loaded.broken],
        "blocked": sorted(loaded.blocked),
    }


def _info_json(info: PluginInfo) -> dict[str, object]:
    return {
        "plugin": info.plugin,
        "distribution": info.distribution,
        "version": info.version,
        "module": info.module,
        "builtin": info.builtin,
    }


def _offers_json(loaded: PluginRegistry, info: PluginInfo) -> dict[str, object]:
    return {"offers": loaded.offers(info.plugin), "hooks": loaded.hooks(info.plugin)}


def _broken_json(broken: BrokenPlugin) -> dict[str, object]:
    return _info_json(broken.info) | {"problem": broken.problem, "remedy": broken.remedy}
