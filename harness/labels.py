"""Names on the board: what tells rows, blocks and tracks apart, and no more than that."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from harness.tracks import BlockKey, RowKey, TrackRuns

PLAIN_WORD = re.compile(r"[A-Za-z][\w.-]*")
RESERVED = ("true", "false", "null", "unset")
SHORT = 8  # hex digits of a hash that are shown


def row_labels(rows: Iterable[RowKey]) -> dict[RowKey, str]:
    """Strategy names, with the settings and code that tell rows of one strategy apart."""
    by_strategy: dict[str, list[RowKey]] = defaultdict(list)
    for row in rows:
        by_strategy[row.strategy].append(row)
    labels: dict[RowKey, str] = {}
    for same in by_strategy.values():
        labels |= _labels_of_one_strategy(same)
    return labels


def _labels_of_one_strategy(rows: Sequence[RowKey]) -> dict[RowKey, str]:
    settings = {row: json.loads(row.settings) for row in rows}
    names = sorted({name for values in settings.values() for name in values})
    texts = {
        row: {name: _text(values[name]) if name in values else "unset" for name in names}
        for row, values in settings.items()
    }
    differing = [name for name in names if len({text[name] for text in texts.values()}) > 1]
    several_sources = len({row.source for row in rows}) > 1
    labels = {}
    for row in rows:
        parts = [f"{name}={texts[row][name]}" for name in differing]
        if several_sources and row.source:
            parts.append(f"source {row.source[:SHORT]}")
        labels[row] = _with_parts(row.strategy, parts)
    return labels


def _text(value: object) -> str:
    """JSON, with the quotes left off a word that cannot be taken for anything else."""
    plain = isinstance(value, str) and PLAIN_WORD.fullmatch(value) and value not in RESERVED
    return str(value) if plain else json.dumps(value, sort_keys=True)


def _with_parts(name: str, parts: Sequence[str]) -> str:
    return f"{name} ({', '.join(parts)})" if parts else name


def block_labels(blocks: Iterable[BlockKey]) -> dict[BlockKey, str]:
    """`dataset / backbone`, with a hash only where several states of the two occur."""
    by_pair: dict[tuple[str, str], list[BlockKey]] = defaultdict(list)
    for block in blocks:
        by_pair[block.dataset, block.backbone].append(block)
    labels: dict[BlockKey, str] = {}
    for (dataset, backbone), same in by_pair.items():
        differing = [
            role
            for role in ("data", "weights", "source")
            if len({getattr(block, role) for block in same}) > 1
        ]
        for block in same:
            parts = [f"{role} {getattr(block, role)[:SHORT] or 'unknown'}" for role in differing]
            labels[block] = _with_parts(f"{dataset} / {backbone}", parts)
    return labels


def track_titles(tracks: Sequence[TrackRuns]) -> list[str]:
    """What a track is: always limit, budget, weights and precision; the rest where it differs."""
    several_engines = len({track.key.engine for track in tracks}) > 1
    titles = [_track_title(track, several_engines) for track in tracks]
    return [
        f"{title} (protocol {track.key.protocol[:SHORT]})" if titles.count(title) > 1 else title
        for title, track in zip(titles, tracks, strict=True)
    ]


def _track_title(track: TrackRuns, several_engines: bool) -> str:  # noqa: FBT001 - private
    key = track.key
    parts = [
        "full data" if key.limit is None else f"at most {key.limit} images a split",
        f"{'shortened to' if track.shortened else 'at most'} {number(track.epochs)} epochs",
        "pre-trained weights" if key.pretrained else "random weights",
        key.precision,
    ]
    if several_engines:
        parts.append(f"engine {key.engine or 'unknown'}")
    name = track.protocol.name if track.protocol else "nothing run yet"
    return f"{name}: {', '.join(parts)}"


def number(value: float) -> str:
    """A count that may have a fraction: `15`, `0.5`."""
    return f"{value:.10g}"


def track_banners(track: TrackRuns) -> tuple[str, ...]:
    """What must be read before the numbers of this track."""
    found = []
    if not track.key.pretrained:
        found.append(
            "Random weights: no starting point was loaded. This is no result about transfer."
        )
    if track.key.limit is not None:
        found.append(
            f"Limited: at most {track.key.limit} images of each split were used. "
            "Ranked among runs of the same limit only."
        )
    if track.shortened:
        found.append(
            f"Shortened: {number(track.epochs)} epochs instead of what the protocol says. "
            "Ranked among runs of the same length only."
        )
    if track.units and len({unit.seed for unit in track.units}) == 1:
        found.append("One seed: differences are within noise unless tested.")
    return tuple(found)
