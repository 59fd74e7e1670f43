"""Audits as one HTML file that fetches nothing: style and pictures inside, no script.

Names come from files and folders: every text is escaped, and the policy in the head lets nothing
run or be fetched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from importlib.resources import files

from harness.data.audit import examples, wording
from harness.data.audit.audit import Audited
from harness.data.audit.examples import GalleryRow, Picture
from harness.data.audit.report import Audit, SplitView
from harness.data.audit.wording import Finding
from harness.utils.text import clean

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'"


def render(found: Sequence[Audited]) -> str:
    """The page; equal findings and images give equal text."""
    style = (files(__package__) / "page.css").read_text(encoding="utf-8")
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>Data audit</title>\n<style>\n{style}</style>\n</head>\n<body>",
            "<header>\n<h1>Data audit</h1>",
            *_contents(found),
            "</header>\n<main>",
            *(line for one in found for line in _dataset(one)),
            "</main>\n</body>\n</html>\n",
        ]
    )


def _contents(found: Sequence[Audited]) -> Iterator[str]:
    yield '<table class="contents">'
    yield "<thead><tr><th>dataset</th><th>images</th><th>verdict</th></tr></thead><tbody>"
    for one in found:
        report = one.report
        yield (
            f'<tr><td><a href="#{_text(report.dataset)}">{_text(report.dataset)}</a></td>'
            f'<td class="number">{report.images:,}</td><td>{_verdict(report)}</td></tr>'
        )
    yield "</tbody></table>"


def _dataset(one: Audited) -> Iterator[str]:
    report = one.report
    yield f'<section id="{_text(report.dataset)}">\n<h2>{_text(report.dataset)}</h2>'
    about = [report.title, report.modality, f"licence {report.licence}", report.origin]
    about += [f"revision {report.revision}"] * bool(report.revision)
    yield f'<p class="about">{_text(", ".join(filter(None, about)))}</p>'
    yield f"<p>{_verdict(report)}</p>"
    yield from _findings(wording.general(report))
    yield from _view(report.source)
    if report.made is not None:
        yield from _view(report.made, kept=report.kept)
    for kind, rows in examples.of_crossings(one.table, report.source):
        yield f"<h3>{kind} that cross the source's splits</h3>"
        yield from _gallery(rows, "pairs")
    yield "<h3>Examples of each class</h3>"
    yield from _gallery(examples.of_classes(one.table), "classes")
    yield "</section>"


def _verdict(report: Audit) -> str:
    kind = "bad" if report.crosses or report.made is None else "good"
    return f'<span class="verdict {kind}">{_text(wording.verdict(report))}</span>'


def _view(view: SplitView, *, kept: bool = False) -> Iterator[str]:
    yield f"<h3>{wording.whose(view)}</h3>\n<p>{_text(wording.rule(view))}</p>"
    if kept:
        yield f"<p>{wording.KEPT}</p>"
        return
    yield '<div class="scroll"><table>'
    heads = "".join(f"<th>{split}</th>" for split in view.splits)
    yield f"<thead><tr><td></td>{heads}</tr></thead><tbody>"
    for name, *cells in wording.facts(view):
        row = "".join(f"<td>{_text(cell)}</td>" for cell in cells)
        yield f"<tr><th>{_text(name)}</th>{row}</tr>"
    yield "</tbody></table></div>"
    yield from _findings([*wording.crossings(view), *wording.rest(view)])


def _findings(found: Iterable[Finding]) -> Iterator[str]:
    yield '<ul class="findings">'
    for one in found:
        kind = ' class="bad"' if one.alarming else ""
        items = [*map(_text, one.items), *[f"and {one.more:,} more"] * bool(one.more)]
        below = "".join(f"<li>{item}</li>" for item in items)
        yield f"<li{kind}>{_text(one.text)}{f'<ul>{below}</ul>' if below else ''}</li>"
    yield "</ul>"


def _gallery(rows: Iterable[GalleryRow], kind: str) -> Iterator[str]:
    yield f'<div class="gallery {kind}">'
    for row in rows:
        pictures = "".join(map(_picture, row.pictures))
        yield f"<article><h4>{_text(row.title)}</h4><div>{pictures}</div></article>"
    yield "</div>"


def _picture(one: Picture) -> str:
    caption = _text(one.caption)
    image = f'<img src="{one.uri}" alt="{caption}">' if one.uri else "<p>cannot be decoded</p>"
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def _text(text: str) -> str:
    return escape(clean(text))
