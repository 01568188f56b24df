"""`python -m demo.trace TRANSACTION`: a transaction's trace as a waterfall, in the terminal and as a picture.

Reads what the collector kept (local/collector.py). Time in which nothing happened (a retry's wait) is cut short, so
that milliseconds of work stay to be seen beside minutes of waiting.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from local import console
from local.errors import LocalError
from local.processes import ROOT

GAP = 0.06
"""The share of the width that a cut pause takes."""
PAUSE = 0.1
"""What is longer than this share of all the work is a pause."""
WIDE = 120
"""Columns of a terminal that has room for what was said beside the bars."""
LETTER = 0.0086
"""The share of the picture's width that a letter takes."""
COLORS = {"transaction": "#475569", "confirm": "#2563eb", "claim": "#7c3aed", "gateway": "#0d9488", "settle": "#d97706"}
RED = "#dc2626"
NS = 1_000_000_000


@dataclass(frozen=True)
class Bar:
    """One span, where it is drawn."""

    span: dict[str, Any]
    depth: int
    left: float
    right: float
    """Shares of the width."""

    @property
    def name(self) -> str:
        attempt = self.span["attributes"].get("attempt")
        return f"{self.span['name']} {attempt}" if attempt else str(self.span["name"])

    @property
    def seconds(self) -> float:
        return float(self.span["end"] - self.span["start"]) / NS

    @property
    def color(self) -> str:
        return RED if self.span["error"] else COLORS.get(self.span["name"].split()[0], "#475569")

    @property
    def said(self) -> str:
        attributes = self.span["attributes"]
        return str(self.span["error"] or attributes.get("why") or attributes.get("result") or "")


def read(file: Path, transaction: str) -> list[dict[str, Any]]:
    """The spans of a transaction's own trace.

    Raises:
        LocalError: nothing is known of it.
    """
    spans = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    traces = {span["trace"] for span in spans if span["attributes"].get("tx") == transaction}
    if not traces:
        raise LocalError(
            f"There is no trace of {transaction!r} in {file}: traces come while the local AWS works (make demo, or "
            "make shell and confirm import)."
        )
    return [span for span in spans if span["trace"] in traces]


def bars(spans: Sequence[dict[str, Any]]) -> list[Bar]:
    """Parents above their children, in the order of their beginnings."""
    scale = _scale(spans)
    ids = {span["id"] for span in spans}
    children: dict[str, list[dict[str, Any]]] = {}
    for span in sorted(spans, key=lambda span: (span["start"], -span["end"])):
        children.setdefault(span["parent"] if span["parent"] in ids else "", []).append(span)

    def below(parent: str, depth: int) -> Iterator[Bar]:
        for span in children.get(parent, []):
            yield Bar(span, depth, scale(span["start"]), scale(span["end"]))
            yield from below(span["id"], depth + 1)

    return list(below("", 0))


def pauses(spans: Sequence[dict[str, Any]]) -> list[tuple[int, int]]:
    """Between the attempts: when nothing was done for long."""
    work = sorted((span["start"], span["end"]) for span in spans if span["name"] != "transaction")
    first = min(span["start"] for span in spans)
    busy, found, until = sum(end - start for start, end in work), [], first
    for start, end in work:
        if start - until > PAUSE * busy:
            found.append((until, start))
        until = max(until, end)
    return found


def _scale(spans: Sequence[dict[str, Any]]) -> Callable[[int], float]:
    """Time -> share of the width, with the pauses cut."""
    first = int(min(span["start"] for span in spans))
    last = int(max(span["end"] for span in spans))
    cut = pauses(spans)
    working = max(last - first - sum(end - start for start, end in cut), 1)
    room = 1 - GAP * len(cut) if GAP * len(cut) < 0.7 else 0.3
    gap = (1 - room) / len(cut) if cut else 0.0

    def scale(at: int) -> float:
        place: float = 0.0
        waited = 0
        for start, end in cut:
            if at >= end:
                place, waited = place + gap, waited + end - start
            elif at > start:
                return place + (start - first - waited) / working * room + gap * (at - start) / (end - start)
        return place + (at - first - waited) / working * room

    return scale


def seconds(value: float) -> str:
    return f"{value * 1000:.1f} ms" if value < 1 else f"{value:.2f} s"


def show(spans: Sequence[dict[str, Any]], transaction: str, console: Console) -> None:
    """In the terminal."""
    drawn, wide = bars(spans), console.width >= WIDE
    width = 44 if wide else max(console.width - 46, 12)
    first = min(span["start"] for span in spans)
    began = datetime.fromtimestamp(first / NS, UTC)
    console.print(f"\n[bold]{transaction}[/]  trace {spans[0]['trace']}  since {began:%Y-%m-%d %H:%M:%S} UTC\n")
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("span", no_wrap=True)
    table.add_column("after", justify="right", no_wrap=True)
    table.add_column("took", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True, width=width)
    if wide:
        table.add_column("said", overflow="fold")
    for bar in drawn:
        left = min(round(bar.left * width), width - 1)
        long = max(round(bar.right * width) - left, 1)
        mark = "─" if bar.span["name"] == "transaction" else "█"
        line = Text(" " * left + (mark * long if bar.seconds * NS else "▏"), style=bar.color)
        after = seconds((bar.span["start"] - first) / NS)
        said = [Text(bar.said, style="dim")] if wide else []
        table.add_row("  " * bar.depth + bar.name, after, seconds(bar.seconds), line, *said)
    console.print(table)
    for bar in drawn:
        if not wide and bar.said and bar.span["name"] == "confirm":
            console.print(f"  {bar.name}: {bar.said}")
    for start, end in pauses(spans):
        after = seconds((start - first) / NS)
        console.print(f"  [dim]cut short: {seconds((end - start) / NS)} of waiting, from {after} on[/]")
    links = sorted({link["trace"] for span in spans for link in span["links"]})
    if links:
        console.print(f"  [dim]worked on in the runs with the traces {', '.join(links)}[/]")


def draw(spans: Sequence[dict[str, Any]], transaction: str, file: Path) -> None:
    """As a picture."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    drawn, cut = bars(spans), pauses(spans)
    ink, grey = "#1f2933", "#9aa5b1"
    figure, axes = plt.subplots(figsize=(11, 1.6 + 0.36 * len(drawn)), dpi=150, layout="constrained")
    first = min(span["start"] for span in spans)
    total = seconds((max(span["end"] for span in spans) - first) / NS)
    figure.suptitle(f"{transaction}, {total}", x=0.01, ha="left", color=ink, fontsize=13, fontweight="bold")
    scale = _scale(spans)
    for n, (start, end) in enumerate(cut):
        left, right = scale(start), scale(end)
        axes.axvspan(left, right, color=grey, alpha=0.18, linewidth=0)
        label = f"{seconds((end - start) / NS)} waiting"
        axes.text((left + right) / 2, -0.85 - 0.55 * (n % 2), label, ha="center", fontsize=8, color=ink)
    for row, bar in enumerate(drawn):
        root = bar.span["name"] == "transaction"
        width = max(bar.right - bar.left, 0.003)
        axes.barh(row, width, left=bar.left, height=0.28 if root else 0.62, color=bar.color, alpha=0.9)
        words = f"{seconds(bar.seconds)}  {bar.said}".strip()
        room = {"inside": width, "right": 1 - bar.left - width, "left": bar.left}
        place = next(
            (place for place in room if len(words) * LETTER < room[place] - 0.01), max(room, key=lambda p: room[p])
        )
        fits = max(int(room[place] / LETTER) - 2, 1)
        axes.annotate(
            words if len(words) <= fits else words[: fits - 1] + "…",
            (bar.left + (width if place == "right" else 0), row),
            xytext=(-5 if place == "left" else 5, 0),
            textcoords="offset points",
            va="center_baseline",
            ha="right" if place == "left" else "left",
            fontsize=8.5,
            color="white" if place == "inside" else RED if bar.span["error"] else ink,
        )
    axes.set_yticks(range(len(drawn)), ["    " * bar.depth + bar.name for bar in drawn], ha="left", color=ink)
    axes.tick_params(axis="y", length=0, pad=120)
    axes.set_xticks([])
    axes.set_xlim(0, 1)
    axes.set_ylim(len(drawn) - 0.4, -1.8 if cut else -0.7)
    axes.spines[["top", "right", "bottom", "left"]].set_visible(False)
    trace = spans[0]["trace"]
    axes.set_xlabel(f"trace {trace}; red: no end yet, or a failure", color=ink, fontsize=8, loc="left")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)
    plt.close(figure)


def main(arguments: list[str], folder: Path = ROOT / ".local" / "traces") -> int:
    """Both; the picture lies beside the traces."""
    parser = argparse.ArgumentParser(prog="python -m demo.trace", description="A transaction's trace as a waterfall.")
    parser.add_argument("transaction", help="its id")
    transaction = parser.parse_args(arguments).transaction

    def run() -> int:
        spans = read(folder / "spans.jsonl", transaction)
        show(spans, transaction, Console(highlight=False))
        name = "".join(c if c.isalnum() or c in "-_." else "_" for c in transaction)
        draw(spans, transaction, file := folder / f"{name}.png")
        print(f"\nAs a picture: {file}")
        return 0

    return console.run(run, "show a trace")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
