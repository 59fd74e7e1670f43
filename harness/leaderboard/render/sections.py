"""A board as a document: the main table first, then details, then what it all rests on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from harness.api.leaderboard import BoardRun, DataNote, Gap, GroupFigure, Leaderboard, Row, Track
from harness.leaderboard import labels
from harness.leaderboard.render.document import Banners, Bullets, Heading, Paragraph, Part
from harness.leaderboard.render.evidence import answered, tested
from harness.leaderboard.render.external import external_tests
from harness.leaderboard.render.tables import (
    cost_table,
    data_table,
    group_table,
    main_table,
    tuning_table,
    weights_table,
)
from harness.utils import text

FAILURES, EXAMPLES, SEEDS = 20, 2, 10  # how many are spelled out; the csv has them all


def document(board: Leaderboard) -> Iterator[Part]:
    """Everything a reader is shown, in order."""
    yield Heading(1, board.title or "Leaderboard")
    if board.conclusion:
        yield Paragraph(" ".join(board.conclusion))
    if board.banners:
        yield Banners(board.banners)
    if not board.tracks:
        yield Paragraph("No runs yet.")
    for track in board.tracks:
        yield from _track(board, track)
    yield from answered(board.claims or ())
    yield from _failures(board.failed)
    yield from _foundation(board)


def _track(board: Leaderboard, track: Track) -> Iterator[Part]:
    yield Heading(2, track.title)
    if track.banners:
        yield Banners(track.banners)
    yield main_table(board, track)
    yield Paragraph(_caption(board, track))
    if track.notes:
        yield Bullets(track.notes)
    incomplete = [row for row in track.rows if not row.ranked]
    if incomplete:
        yield Paragraph("Incomplete, therefore not ranked and in nobody's rank:")
        yield Bullets(tuple(_why(row) for row in incomplete))
    yield from tested(board, track)
    yield from _tuning(track)
    yield from external_tests(board, track)
    yield from _groups(board, track, "By modality", lambda row: row.modalities)
    yield from _groups(board, track, "By backbone", lambda row: row.backbones)
    yield from _groups(board, track, "By starting point", lambda row: row.starts)
    if any(row.spend.trainable for row in track.rows):
        yield Heading(3, "Cost")
        yield cost_table(track.rows)


def _tuning(track: Track) -> Iterator[Part]:
    rows = [row for row in track.rows if row.tuning is not None]
    if not rows:
        return
    yield Heading(3, "Tuning")
    yield tuning_table(rows)
    yield Paragraph(
        "Each run was chosen on validation among its trials, anew for every block, split and seed. "
        "Rates: multiples of the protocol's, and how often each was chosen. Edge: share of choices "
        "that fell on the lowest or highest rate that was tried. Still learning: share of chosen runs "
        "whose best epoch was the last. s: seconds of the chosen runs and, in brackets, of all trials."
    )
    if (narrow := labels.narrow_grid(rows)) is not None:
        yield Banners((narrow,))


def _caption(board: Leaderboard, track: Track) -> str:
    direction = "higher" if board.higher_is_better else "lower"
    seeds = text.shorten([str(seed) for seed in track.seeds], SEEDS)
    caption = (
        f"{board.metric}, {direction} is better, over {_blocks(track)}; "
        f"{'seed' if len(track.seeds) == 1 else 'seeds'} {seeds}{_splits(track)}. Mean rank over "
        "blocks, 1 is best."
    )
    if track.control:
        caption += (
            f" Against {track.control}: mean difference in points (hundredths), and blocks won, tied "
            "(within one point) and lost."
        )
    return f"{caption} s/run: median seconds a run, as if it had been alone."


def _splits(track: Track) -> str:
    """`, each on a split of its own` or `, each on 5 splits`; empty: all runs are of one split."""
    pairs = {pair for block in track.blocks for pair in block.pairs}
    splits, seeds = {split for split, _ in pairs}, {seed for _, seed in pairs}
    if len(splits) < 2:  # noqa: PLR2004 - nothing varies
        return ""
    if len(pairs) == len(seeds):
        return ", each on a split of its own"
    return f", each on {len(splits)} splits"


def _blocks(track: Track) -> str:
    axes = {
        "dataset": len({block.dataset for block in track.blocks}),
        "backbone": len({block.backbone for block in track.blocks}),
    }
    if any(block.labels for block in track.blocks):
        axes["label budget"] = len({block.labels for block in track.blocks})
    if any(block.start for block in track.blocks):
        axes["starting point"] = len({block.start for block in track.blocks})
    blocks = text.plural(len(track.blocks), "block")
    if math.prod(axes.values()) != len(track.blocks):
        return f"{blocks} ({' x '.join(axes)})"
    counted = (text.plural(count, name) for name, count in axes.items())
    return f"{blocks} ({' x '.join(counted)})"


def _why(row: Row) -> str:
    """Like `lp-ft: 13 of 15. 1 failed (...). 1 missing (...)` with examples."""
    reasons = [f"{row.label}: {row.runs} of {row.wanted}."]
    for kind in ("failed", "undefined", "missing"):
        gaps = [gap for gap in row.gaps if gap.kind == kind]
        if gaps:
            reasons.append(f"{len(gaps)} {kind} ({_examples(gaps)}).")
    if row.not_asked:
        reasons.append(f"{row.not_asked} not asked for.")
    return " ".join(reasons)


def _examples(gaps: Sequence[Gap]) -> str:
    texts = [
        f"{gap.block}, seed {gap.seed}{f', split {gap.split}' if gap.split else ''}"
        f"{gap.reason and ': ' + gap.reason}"
        for gap in gaps
    ]
    return text.shorten(texts, EXAMPLES, "; ")


def _groups(
    board: Leaderboard, track: Track, title: str, of: Callable[[Row], tuple[GroupFigure, ...]]
) -> Iterator[Part]:
    """Nothing where there is one group only: it says what the main table says."""
    groups = [of(row) for row in track.rows]
    if groups and len(groups[0]) > 1:
        yield Heading(3, f"{title}: {board.metric} (mean rank)")
        yield group_table(track.rows, groups, lowest=not board.higher_is_better)


def _failures(failed: Sequence[BoardRun]) -> Iterator[Part]:
    if failed:
        yield Heading(2, f"Failed runs: {len(failed)}")
        yield Bullets(tuple(_failure(run) for run in failed[:FAILURES]))
        if len(failed) > FAILURES:
            yield Paragraph(f"And {len(failed) - FAILURES} more: leaderboard.csv lists them all.")


def _failure(run: BoardRun) -> str:
    if run.error is None:
        return f"{run.name}: {run.status}"
    where = [f"phase {run.error.phase}"] if run.error.phase else []
    where += [f"step {run.error.step}"] if run.error.step is not None else []
    place = f" ({', '.join(where)})" if where else ""
    status = "" if run.status == "failed" else f"{run.status}, "
    return f"{run.name}: {status}{run.error.kind}{place}: {run.error.headline}"


def _foundation(board: Leaderboard) -> Iterator[Part]:
    """Data, starting points, assumed values, footnotes."""
    if board.data:
        yield Heading(2, "Data")
        yield data_table(board.data)
        sources = [(note.label, _source(note)) for note in board.data if note.source]
        problems = [(note.label, problem) for note in board.data for problem in note.problems]
        if sources or problems:
            yield Bullets((*_shared(sources), *_shared(problems)))
    loaded = [note for note in board.weights if note.sha256 != "none"]
    if loaded:
        yield Heading(2, "Starting points")
        yield weights_table(loaded)
    if board.assumed:
        yield Heading(2, "Assumed values of the protocol")
        several = len({value.suite for value in board.assumed}) > 1
        yield Bullets(
            _shared(
                [(f"{v.suite}.{v.field}" if several else v.field, v.source) for v in board.assumed]
            )
        )
    if board.notes:
        yield Heading(2, "Notes")
        yield Bullets(board.notes)


def _source(note: DataNote) -> str:
    revision = f" @ {note.revision[:8]}" if note.revision else ""
    return f"{note.source}{revision}"


def _shared(pairs: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """`a, b: text` for names of which the same is said."""
    names: dict[str, list[str]] = {}
    for name, fact in pairs:
        names.setdefault(fact, []).append(name)
    return tuple(f"{', '.join(same)}: {fact}" for fact, same in names.items())
