"""The parts of a readable board before they become text, for terminal, markdown and LaTeX.

All text in here is as it was given: escaping belongs to whoever writes it out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias


@dataclass(frozen=True)
class Heading:
    """`level`: 1 for the board, 2 for a track, 3 for a table."""

    level: Literal[1, 2, 3]
    text: str


@dataclass(frozen=True)
class Banners:
    """Warnings that must be read before the numbers."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Paragraph:
    text: str


@dataclass(frozen=True)
class Bullets:
    items: tuple[str, ...]


@dataclass(frozen=True)
class Column:
    """`words`: text rather than numbers, to the left and wrapped where it must be."""

    title: str
    words: bool = False


@dataclass(frozen=True)
class Cell:
    """`best`: of its column, among ranked rows."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class Table:
    """`stub`: leading columns that are repeated where a wide table is broken into several."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    stub: int = 1


Part: TypeAlias = Heading | Banners | Paragraph | Bullets | Table
