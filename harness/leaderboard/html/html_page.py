"""A board as one HTML file that fetches nothing: style, script, plotting library and data inside.

The plots are Vega-Lite's.  Names come from plugins and folders: in the page they are JSON strings
that only ever become text nodes, and the policy in the head lets nothing run but the scripts put
there by this module, and nothing be fetched at all.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import html
import json
import math
import re
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from importlib.resources import files

from harness.api.dataset import default_cache
from harness.api.leaderboard import Leaderboard
from harness.api.records import Json
from harness.errors import StoreError
from harness.leaderboard.html import page_data
from harness.utils.files import write
from harness.utils.text import clean

# In the order in which they are put together.
SCRIPTS = (
    "format", "data", "figure", "table", "board", "overview", "charts", "heat", "plots", "lines",
    "starts", "cell", "external", "samples", "record", "main",
)  # fmt: skip
PLACE = re.compile(r"\{\{(\w+)\}\}")
NAMELESS = frozenset({int, float, bool, type(None)})
# The hash is there for a CI service, in whose log a page may be printed.
ENTITIES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "#": "\\u0023"}


def render(board: Leaderboard) -> str:
    """The page of a board alone: without histories and predictions."""
    return page(page_data.page_data(board))


def page(data: Mapping[str, Json]) -> str:
    """The page of what `page_data` made; equal data gives equal text."""
    script, library = _script(), plots()
    parts = {
        "title": html.escape(clean(str(data.get("title") or "Leaderboard"))).replace("#", "&#35;"),
        "policy": _policy(script, library),
        "style": _file("page.css"),
        "data": _embedded(data),
        "script": script,
        "plots": library,
    }
    return PLACE.sub(lambda found: parts[found[1]], _file("page.html"))


def _embedded(data: Mapping[str, Json]) -> str:
    """JSON in ASCII that cannot end the element it stands in."""
    # Sums of figures that are next to the largest there are may be infinite: unknown, to a plot.
    text = _json(_cleaned(data))
    return re.sub("[<>&#]", lambda found: ENTITIES[found[0]], text)


def _json(value: Json) -> str:
    try:
        return json.dumps(value, separators=(",", ":"), sort_keys=True, allow_nan=False)
    except ValueError:
        return _json(_finite(value))


def _finite(value: Json) -> Json:
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return list(map(_finite, value))
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _cleaned(value: Json) -> Json:
    """Every name on one line, without control or formatting characters."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        return {clean(name): _cleaned(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        if NAMELESS.issuperset(map(type, value)):
            return value  # most lists of a large page are numbers
        return [_cleaned(one) for one in value]
    return value


def _policy(*scripts: str) -> str:
    """Nothing is fetched, framed or sent, and no other script runs."""
    hashes = " ".join(f"'sha256-{_hash(script)}'" for script in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


@cache
def _script() -> str:
    """Every script of the page in one function, so that nothing of it is global."""
    parts = "\n".join(_file(f"{name}.js") for name in SCRIPTS)
    return f'(() => {{\n"use strict";\n{parts}}})();\n'


@cache
def plots() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, made here from what vl-convert holds.

    Making it takes longer than a small board: it is kept in the cache, where that can be written,
    below a line with its hash.  What does not fit its hash is made again.
    """
    import vl_convert

    kept = default_cache() / "page" / f"plots-{metadata.version('vl-convert-python')}.js"
    with contextlib.suppress(OSError):
        head, _, body = kept.read_bytes().partition(b"\n")
        if head == _hash_line(body):
            return body.decode()
    made: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    script = made.replace("</script", "<\\/script")
    with contextlib.suppress(StoreError):
        write(kept, _hash_line(script.encode()) + b"\n" + script.encode())
    return script


def _hash_line(script: bytes) -> bytes:
    return b"// sha256 " + hashlib.sha256(script).hexdigest().encode()


@cache
def _file(name: str) -> str:
    return files(__package__).joinpath("assets", name).read_text(encoding="utf-8")
