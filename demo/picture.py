"""The demo's picture: backlog and confirmations over time, with what was done to the run marked on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Sample:
    """What was seen at one moment."""

    seconds: float
    backlog: int
    final: int
    """CONFIRMED and REJECTED."""
    tasks: int | None = None
    """Workers running, where somebody counts them."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened to the run."""

    seconds: float
    text: str


def draw(samples: Sequence[Sample], settled: Sequence[float], marks: Sequence[Mark], title: str, file: Path) -> None:
    """Write the picture to `file`.

    `settled` holds, in seconds from the start, when each transaction became final: by the records, not by sampling.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    ink, blue, orange, green, grey = "#1f2933", "#2563eb", "#ea580c", "#15803d", "#9aa5b1"
    end = max([s.seconds for s in samples] + list(settled) + [1.0])
    figure, (upper, lower) = plt.subplots(
        2, 1, figsize=(10, 6), sharex=True, height_ratios=[3, 2], layout="constrained", dpi=150
    )
    figure.suptitle(title, x=0.01, ha="left", color=ink, fontsize=13, fontweight="bold")
    upper.fill_between(
        [s.seconds for s in samples], [s.backlog for s in samples], color=orange, alpha=0.15, linewidth=0
    )
    upper.plot([s.seconds for s in samples], [s.backlog for s in samples], color=orange, linewidth=2, label="open")
    times = sorted(settled)
    upper.step([0, *times, end], [0, *range(1, len(times) + 1), len(times)], where="post", color=blue, linewidth=2)
    upper.annotate(
        f"final {len(times):,}", (end, len(times)), xytext=(-6, -14), textcoords="offset points", color=blue, ha="right"
    )
    if samples:
        top = max(samples, key=lambda s: s.backlog)
        upper.annotate(f"open {top.backlog:,}", (top.seconds, top.backlog), xytext=(6, 5), **_offset(orange))
    width = max(end / 80, 0.25)
    edges = [n * width for n in range(int(end / width) + 2)]
    lower.hist(times, bins=edges, weights=[1 / width] * len(times), color=blue, alpha=0.75)
    if any(s.tasks is not None for s in samples):
        right = lower.twinx()
        right.step(
            [s.seconds for s in samples], [s.tasks or 0 for s in samples], where="post", color=green, linewidth=2
        )
        right.set_ylabel("workers", color=green)
        right.set_ylim(0, max(s.tasks or 0 for s in samples) + 1)
        right.yaxis.get_major_locator().set_params(integer=True)
        right.spines[["top", "left", "bottom"]].set_visible(False)
        right.tick_params(colors=green)
    upper.set_ylabel("transactions", color=ink)
    lower.set_ylabel("final per second", color=ink)
    lower.set_xlabel("seconds since the first transaction came in", color=ink)
    top_of_chart = upper.get_ylim()[1]
    for n, mark in enumerate(marks):
        for axes in (upper, lower):
            axes.axvline(mark.seconds, color=ink, linewidth=1, linestyle=(0, (3, 3)))
        at = (mark.seconds, top_of_chart * (0.62 - 0.13 * (n % 4)))
        paper = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5}
        upper.annotate(mark.text, at, xytext=(5, 0), **_offset(ink), fontsize=9, bbox=paper)
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(grey)
        axes.tick_params(colors=ink)
        axes.grid(axis="y", color=grey, alpha=0.25)
        axes.set_xlim(0, end * 1.01)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)
    plt.close(figure)


def _offset(color: str) -> dict[str, object]:
    return {"textcoords": "offset points", "color": color, "ha": "left"}
