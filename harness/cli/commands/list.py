"""`harness list`: everything that can be named in a command."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from math import prod
from typing import Any, Literal, get_args, get_origin

import click
from pydantic.fields import FieldInfo

from harness.api.backbone import Backbone
from harness.api.dataset import Dataset
from harness.api.metric import Metric
from harness.api.records import Suite
from harness.api.strategy import Search, Strategy
from harness.api.tracker import Tracker
from harness.cli.session import Session, example, pass_session, print_json, print_table
from harness.plugins.registry import PluginRegistry

Entry = dict[str, Any]


@click.command(epilog=example("harness list strategies"))
@click.argument(
    "kind",
    required=False,
    type=click.Choice(["datasets", "backbones", "strategies", "metrics", "suites", "trackers"]),
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_session
def command(session: Session, kind: str | None, *, as_json: bool) -> None:
    """List datasets, backbones, strategies, metrics, suites, trackers."""
    loaded = session.plugins
    kinds = [kind] if kind else list(_LISTINGS)
    entries = {one: _entries(loaded, one) for one in kinds}
    if as_json:
        print_json(entries)
        return
    for one in kinds:
        listing = _LISTINGS[one]
        if not kind:
            click.echo(f"{one}\n")
        print_table(listing.headers, [listing.row(e) for e in entries[one]], *listing.widths)
        if one != kinds[-1]:
            click.echo()


def _entries(loaded: PluginRegistry, kind: str) -> list[Entry]:
    catalogue: Mapping[str, object] = getattr(loaded, kind)
    return [
        {"name": name, **_LISTINGS[kind].entry(offered), **_owner(loaded, kind, name)}
        for name, offered in catalogue.items()
    ]


def _owner(loaded: PluginRegistry, kind: str, name: str) -> Entry:
    info = loaded.owner(kind, name)
    return {"plugin": info.plugin, "distribution": info.distribution, "version": info.version}


def _dataset(one: Dataset) -> Entry:
    return one.model_dump(mode="json", include=set(Dataset.model_fields) - {"name"})


def _dataset_row(entry: Entry) -> list[str]:
    pin = "drawn" if entry["procedural"] else (entry["revision"] or "unpinned")[:12]
    classes = " ".join(entry["classes"]) or "read from the data"
    return [entry["name"], entry["modality"], pin, entry["licence"], classes, entry["source"]]


def _backbone(one: Backbone) -> Entry:
    return one.model_dump(mode="json", include=set(Backbone.model_fields) - {"name"})


def _backbone_row(entry: Entry) -> list[str]:
    weights = entry["weights"]["name"] if entry["weights"] else "none"
    return [entry["name"], weights, " ".join(entry["stages"]), entry["title"]]


def _strategy(one: type[Strategy]) -> Entry:
    defaults = one().model_dump(mode="json")
    paragraph = inspect.cleandoc(one.__doc__ or "").partition("\n\n")[0]
    return {
        "description": " ".join(paragraph.split()),
        "paper": one.paper,
        "settings": [
            _setting(name, field, defaults[name])
            # The plugin's own first; a list is sorted stably.
            for name, field in sorted(
                one.model_fields.items(), key=lambda item: item[0] in Strategy.model_fields
            )
        ],
    }


def _setting(name: str, field: FieldInfo, default: object) -> Entry:
    searches = [asdict(one) for one in field.metadata if isinstance(one, Search)]
    literal = get_origin(field.annotation) is Literal
    return {
        "name": name,
        "default": default,
        "search": searches[0] if searches else None,
        "choices": list(get_args(field.annotation)) if literal else None,
        "description": field.description or "",
    }


def _strategy_row(entry: Entry) -> list[str]:
    settings = "\n".join(map(_setting_line, entry["settings"]))
    return [entry["name"], settings, entry["description"], entry["paper"]]


def _setting_line(setting: Entry) -> str:
    if setting["choices"]:
        space = f"  ({' | '.join(map(str, setting['choices']))})"
    elif search := setting["search"]:
        space = f"  ({search['low']:g} to {search['high']:g}{', log' if search['log'] else ''})"
    else:
        space = ""
    return f"{setting['name']} = {setting['default']}{space}"


def _metric(one: Metric) -> Entry:
    names = ("title", "higher_is_better", "low", "high")
    return {name: getattr(one, name) for name in names}


def _metric_row(entry: Entry) -> list[str]:
    better = "higher" if entry["higher_is_better"] else "lower"
    return [entry["name"], better, f"{entry['low']:g} to {entry['high']:g}", entry["title"]]


def _suite(one: Suite) -> Entry:
    axes = {name: list(getattr(one, name)) for name in ("datasets", "backbones", "strategies")}
    splits = 1 if one.splits == "paired" else one.splits
    trials = len(one.tuning.grid) if one.tuning is not None else 1
    sizes = [
        *map(len, axes.values()),
        len(one.seeds),
        splits,
        len(one.labels) or 1,
        len(one.starts) or 1,
        trials,
    ]
    return {
        "title": one.title,
        "description": one.description,
        "protocol": one.protocol.name,
        **axes,
        "seeds": list(one.seeds),
        "runs": prod(sizes) or None,
    }


def _suite_row(entry: Entry) -> list[str]:
    axes = [str(len(entry[axis]) or "given") for axis in ("datasets", "backbones", "strategies")]
    runs = "" if entry["runs"] is None else str(entry["runs"])
    return [entry["name"], *axes, str(len(entry["seeds"])), runs, entry["title"]]


def _tracker(one: Tracker) -> Entry:
    installed = find_spec(one.module) is not None
    return {"title": one.title, "installed": installed, "install": one.install}


def _tracker_row(entry: Entry) -> list[str]:
    ready = "installed" if entry["installed"] else entry["install"]
    return [entry["name"], ready, entry["title"]]


@dataclass(frozen=True)
class _Listing:
    """The display of one kind: an entry as JSON, a row of the table, the widths of its end."""

    entry: Callable[[Any], Entry]
    row: Callable[[Entry], list[str]]
    headers: tuple[str, ...]
    widths: tuple[int, ...]


_LISTINGS = {
    "datasets": _Listing(
        _dataset,
        _dataset_row,
        ("dataset", "modality", "revision", "licence", "classes", "source"),
        (20, 40, 40),
    ),
    "backbones": _Listing(
        _backbone, _backbone_row, ("backbone", "weights", "stages", "title"), (50, 40)
    ),
    "strategies": _Listing(
        _strategy, _strategy_row, ("strategy", "settings", "description", "paper"), (44, 40, 30)
    ),
    "metrics": _Listing(_metric, _metric_row, ("metric", "better", "range", "title"), (50,)),
    "suites": _Listing(
        _suite,
        _suite_row,
        ("suite", "datasets", "backbones", "strategies", "seeds", "runs", "title"),
        (50,),
    ),
    "trackers": _Listing(_tracker, _tracker_row, ("tracker", "library", "title"), (50,)),
}
