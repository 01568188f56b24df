"""The alternatives' bills over the volume, and where they cross."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from analysis.costs.models import Model, break_even, total
from analysis.costs.prices import MILLION

LEAST, MOST = MILLION / 100, 300 * MILLION
INK, GREY = "#1f2933", "#9aa5b1"
COLORS = ("#2563eb", "#ea580c", "#15803d")


def label(name: str, model: Model) -> str:
    return f"{name}: {total(model(0)):,.0f} US$ before the first"


def described(models: Mapping[str, Model]) -> str:
    """What a picture says in words; it stands in the file, so that a stale one is found."""
    return "; ".join(label(name, model) for name, model in models.items())


def draw(models: Mapping[str, Model], title: str, file: Path, *, volume: float | None = None) -> None:
    """Write the picture: a line a model, the first one's crossings with the others, and `volume` marked."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    steps = 200
    volumes = [LEAST * (MOST / LEAST) ** (n / steps) for n in range(steps + 1)]
    figure, axes = plt.subplots(figsize=(10, 5.5), layout="constrained", dpi=150)
    figure.suptitle(title, x=0.01, ha="left", color=INK, fontsize=13, fontweight="bold")
    bills = {name: [total(model(one)) for one in volumes] for name, model in models.items()}
    top, bottom = max(max(bill) for bill in bills.values()), min(min(bill) for bill in bills.values())
    for color, (name, bill) in zip(COLORS, bills.items(), strict=False):
        axes.plot(
            volumes,
            bill,
            color=color,
            linewidth=2.5,
            label=label(name, models[name]),
        )
    first, *others = models.items()
    for n, (color, (name, model)) in enumerate(zip(COLORS[1:], others, strict=False)):
        even = break_even(first[1], model)
        if even is None or not LEAST < even < MOST:
            continue
        usd = total(model(even))
        axes.plot([even], [usd], "o", color=color, markersize=8, zorder=5)
        axes.vlines(even, bottom * 0.8, usd, color=color, linewidth=1, linestyle=(0, (3, 3)))
        axes.annotate(
            f"{even / MILLION:,.0f} M: above it\n{name} is cheaper",
            (even, usd),
            xytext=(-8, 10 + 4 * n),
            textcoords="offset points",
            ha="right",
            color=color,
            fontsize=9,
        )
    if volume:
        axes.axvline(volume, color=INK, linewidth=1, linestyle=(0, (1, 2)))
        axes.annotate(
            f" {volume / MILLION:g} M",
            (volume, top),
            va="top",
            color=INK,
            fontsize=9,
        )
    axes.set(xscale="log", yscale="log", xlim=(LEAST, MOST), ylim=(bottom * 0.8, top * 1.15))
    axes.set_xlabel("transactions a month", color=INK)
    axes.set_ylabel("US$ a month", color=INK)
    ticks = [usd for usd in (20, 50, 100, 200, 300, 500, 700, 1_000, 2_000) if bottom * 0.8 <= usd <= top * 1.15]
    axes.set_yticks(ticks, [f"{usd:,}" for usd in ticks], minor=False)
    axes.yaxis.minorticks_off()
    marks = [MILLION / 100, MILLION / 10, MILLION, 10 * MILLION, 100 * MILLION]
    axes.set_xticks(marks, ["10 k", "100 k", "1 M", "10 M", "100 M"])
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors=INK)
    axes.grid(color=GREY, alpha=0.25)
    axes.legend(frameon=False, labelcolor=INK, loc="upper left")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Description": described(models)})
    plt.close(figure)
