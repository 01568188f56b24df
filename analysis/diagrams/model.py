"""What a diagram is made of. Places are in cells of a grid, counted from the top left; halves are fine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Node:
    """An icon with its caption."""

    id: str
    at: Point
    """Column and row of the icon's middle."""
    title: str
    icon: str
    """Below `resources/` of the package `diagrams`, without `.png`."""
    note: str = ""
    """A line or two (`\\n`) below the title."""
    shows: Sequence[str] = ()
    """What of the program's graph it stands for: `module/type name`, as in `lambda/function:Function confirm`, with
    `*` for any text. Empty for what the program does not make (the gateway, people)."""
    everywhere: bool = False
    """It has to do with all others: its frame says how, instead of an arrow each."""


@dataclass(frozen=True, slots=True)
class Box:
    """A node without an icon: a state, a stage, a step."""

    id: str
    at: Point
    title: str
    note: str = ""
    size: tuple[float, float] = (1.1, 0.5)
    """In cells."""
    colour: str = "#ffffff"
    shows: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """A frame around a part of the grid."""

    title: str
    start: Point
    end: Point
    colour: str
    dashed: bool = False
    fill: str = "none"
    shows: Sequence[str] = ()
    """As a node's: what is the frame itself, or has to do with all inside."""


@dataclass(frozen=True, slots=True)
class Edge:
    """An arrow. It leaves and arrives in the middle of a side, and bends at `via`."""

    start: str
    end: str
    label: str = ""
    via: Sequence[Point] = ()
    at: Point | None = None
    """Where the label's middle is; None for the middle of the longest stretch."""
    kind: Literal["flow", "data", "aside"] = "flow"
    outside: bool = False
    """It cannot be seen in the program's graph: what producers, people and the gateway do."""
    against: bool = False
    """In the program the end names the start: an arrow drawn as data or time flows."""


@dataclass(frozen=True, slots=True)
class Diagram:
    name: str
    """Of the files."""
    title: str
    size: tuple[float, float]
    """Cells across and down."""
    nodes: Sequence[Node | Box]
    edges: Sequence[Edge]
    groups: Sequence[Group] = ()
    cell: tuple[int, int] = (125, 105)
    """Pixels of a cell."""
