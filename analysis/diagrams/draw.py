"""Draws a diagram as one self-contained SVG (the icons are in it), and that as PNG."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import math
from collections.abc import Iterator, Sequence
from functools import cache
from html import escape
from importlib.metadata import distribution
from pathlib import Path

from analysis.diagrams.model import Box, Diagram, Edge, Group, Node, Point

ICON = 60
"""Pixels; also the room that arrows keep from a node's middle."""
FONT = "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif"  # the first comes with matplotlib, for the PNG
INK, GREY, PAPER = "#232f3e", "#5f6b7a", "#ffffff"
STROKES = {
    "flow": f'stroke="{INK}" stroke-width="2"',
    "data": 'stroke="#2563a8" stroke-width="1.7"',
    "aside": f'stroke="{GREY}" stroke-width="1.4" stroke-dasharray="5 4"',
}
COLOURS = {"flow": INK, "data": "#2563a8", "aside": GREY}
BEND = 9
"""Radius of an arrow's corners."""


def svg(diagram: Diagram) -> str:
    """The whole picture. The same input gives the same bytes."""
    canvas = _Canvas(diagram)
    width, height = map(math.ceil, canvas.pixels(diagram.size))
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="0 0 {width:g} {height + 46:g}" width="{width:g}" height="{height + 46:g}" '
        f'font-family="{FONT}" role="img">'
    )
    return "\n".join(
        [
            head,
            f"<title>{escape(diagram.title)}</title>",
            _markers(),
            f'<rect width="100%" height="100%" fill="{PAPER}"/>',
            f'<text x="24" y="32" font-size="19" font-weight="bold" fill="{INK}">{escape(diagram.title)}</text>',
            '<g transform="translate(0 46)">',
            *(canvas.group(one) for one in diagram.groups),
            *(canvas.arrow(one) for one in diagram.edges),
            *(canvas.node(one) for one in diagram.nodes),
            *(label for one in diagram.edges if (label := canvas.label(one))),
            "</g>",
            "</svg>\n",
        ]
    )


def png(picture: str) -> bytes:
    """A picture as PNG at twice the size, with the SVG's digest in it: so a stale one is found without drawing."""
    import resvg_py
    from matplotlib import font_manager
    from PIL import Image, PngImagePlugin

    fonts = [str(font_manager.findfont(f"DejaVu Sans{weight}")) for weight in ("", ":bold")]
    drawn = resvg_py.svg_to_bytes(svg_string=picture, font_files=fonts, skip_system_fonts=True, zoom=2)
    image = Image.open(io.BytesIO(bytes(drawn))).convert("RGB").quantize(256)
    written, facts = io.BytesIO(), PngImagePlugin.PngInfo()
    facts.add_text("svg", digest(picture))
    image.save(written, "PNG", pnginfo=facts, optimize=True)
    return written.getvalue()


def digest(picture: str) -> str:
    return hashlib.sha256(picture.encode()).hexdigest()


@cache
def _icon(name: str) -> str:
    """The icon as a data URL, small enough for a page.

    Raises:
        LookupError: there is no such icon; names the folder to look in.
    """
    from PIL import Image

    path = Path(str(distribution("diagrams").locate_file(f"resources/{name}.png")))
    if not path.is_file():
        raise LookupError(f"no icon {name}: choose one below {path.parents[1]}")
    small = io.BytesIO()
    Image.open(path).convert("RGBA").resize((2 * ICON, 2 * ICON), Image.Resampling.LANCZOS).save(small, "PNG")
    return "data:image/png;base64," + base64.b64encode(small.getvalue()).decode()


def _markers() -> str:
    shapes = (
        f'<marker id="{kind}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="9" markerHeight="9" '
        f'markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0L10 5L0 10z" fill="{colour}"/></marker>'
        for kind, colour in COLOURS.items()
    )
    return f"<defs>{''.join(shapes)}</defs>"


class _Canvas:
    def __init__(self, diagram: Diagram) -> None:
        self.cell = diagram.cell
        self.places = {node.id: node for node in diagram.nodes}

    def pixels(self, point: Point) -> Point:
        return point[0] * self.cell[0], point[1] * self.cell[1]

    def group(self, group: Group) -> str:
        (x, y), (right, bottom) = self.pixels(group.start), self.pixels(group.end)
        dash = ' stroke-dasharray="6 4"' if group.dashed else ""
        return (
            f'<rect x="{x:g}" y="{y:g}" width="{right - x:g}" height="{bottom - y:g}" rx="8" fill="{group.fill}" '
            f'stroke="{group.colour}" stroke-width="1.6"{dash}/>'
            f'<text x="{x + 12:g}" y="{y + 20:g}" font-size="12.5" font-weight="bold" fill="{group.colour}">'
            f"{escape(group.title)}</text>"
        )

    def node(self, node: Node | Box) -> str:
        x, y = self.pixels(node.at)
        if isinstance(node, Node):
            icon = (
                f'<image x="{x - ICON / 2:g}" y="{y - ICON / 2:g}" width="{ICON}" height="{ICON}" '
                f'href="{_icon(node.icon)}" xlink:href="{_icon(node.icon)}"/>'
            )
            return icon + _text(x, y + ICON / 2 + 16, node.title, node.note)
        width, height = self.pixels(node.size)
        frame = (
            f'<rect x="{x - width / 2:g}" y="{y - height / 2:g}" width="{width:g}" height="{height:g}" rx="9" '
            f'fill="{node.colour}" stroke="{INK}" stroke-width="1.6"/>'
        )
        lines = len(node.note.split("\n")) if node.note else 0
        return frame + _text(x, y + 5 - 7.5 * lines, node.title, node.note)

    def arrow(self, edge: Edge) -> str:
        path = _rounded(self._points(edge))
        return f'<path d="{path}" fill="none" {STROKES[edge.kind]} marker-end="url(#{edge.kind})"/>'

    def label(self, edge: Edge) -> str:
        if not edge.label:
            return ""
        x, y = self.pixels(edge.at) if edge.at else _middle(self._points(edge))
        lines = edge.label.split("\n")
        width = max(map(len, lines)) * 6.3 + 4
        top = y - 7.5 * len(lines)
        text = "".join(
            f'<text x="{x:g}" y="{top + 11.5 + 15 * number:g}" font-size="11" text-anchor="middle" '
            f'fill="{COLOURS[edge.kind]}">{escape(line)}</text>'
            for number, line in enumerate(lines)
        )
        return (
            f'<rect x="{x - width / 2:g}" y="{top - 1:g}" width="{width:g}" height="{15 * len(lines) + 2:g}" rx="3" '
            f'fill="{PAPER}" fill-opacity="0.9"/>{text}'
        )

    def _points(self, edge: Edge) -> list[Point]:
        start, end = self.places[edge.start], self.places[edge.end]
        bends = [self.pixels(point) for point in edge.via]
        first, last = self.pixels(start.at), self.pixels(end.at)
        return [
            self._side(start, bends[0] if bends else last),
            *bends,
            self._side(end, bends[-1] if bends else first),
        ]

    def _side(self, node: Node | Box, towards: Point) -> Point:
        """Where an arrow touches: the side that looks to its next corner, at that corner's height where it can."""
        x, y = self.pixels(node.at)
        if isinstance(node, Box):
            wide, high = (half / 2 for half in self.pixels(node.size))
            above = below = high
        else:
            wide = above = ICON / 2 + 4
            below = ICON / 2 + 22 + 14 * (len(node.note.split("\n")) if node.note else 0)
        dx, dy = towards[0] - x, towards[1] - y
        if abs(dx) <= wide and dy:
            return x + dx, (y + below if dy > 0 else y - above)
        if -above <= dy <= below and dx:
            return x + math.copysign(wide, dx), y + dy
        if abs(dx) * above > abs(dy) * wide:
            return x + math.copysign(wide, dx), y
        return x, (y + below if dy > 0 else y - above)


def _text(x: float, y: float, title: str, note: str) -> str:
    lines = [f'<text x="{x:g}" y="{y:g}" font-size="13" font-weight="bold" text-anchor="middle" fill="{INK}">']
    lines += [f"{escape(title)}</text>"]
    for number, line in enumerate(note.split("\n") if note else (), 1):
        lines.append(
            f'<text x="{x:g}" y="{y + 15 * number:g}" font-size="11" text-anchor="middle" fill="{GREY}">'
            f"{escape(line)}</text>"
        )
    return "".join(lines)


def _middle(points: Sequence[Point]) -> Point:
    """Of the longest stretch."""
    start, end = max(itertools.pairwise(points), key=lambda pair: math.dist(*pair))
    return (start[0] + end[0]) / 2, (start[1] + end[1]) / 2


def _rounded(points: Sequence[Point]) -> str:
    return " ".join(_corners(points))


def _corners(points: Sequence[Point]) -> Iterator[str]:
    yield f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for before, here, after in zip(points, points[1:], points[2:], strict=False):
        radius = min(BEND, math.dist(before, here) / 2, math.dist(here, after) / 2)
        (x, y), (out_x, out_y) = _towards(here, before, radius), _towards(here, after, radius)
        yield f"L{x:.1f} {y:.1f} Q{here[0]:.1f} {here[1]:.1f} {out_x:.1f} {out_y:.1f}"
    yield f"L{points[-1][0]:.1f} {points[-1][1]:.1f}"


def _towards(start: Point, end: Point, length: float) -> Point:
    part = length / (math.dist(start, end) or 1)
    return start[0] + (end[0] - start[0]) * part, start[1] + (end[1] - start[1]) * part
