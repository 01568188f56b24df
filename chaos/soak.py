"""`make soak`: a million seeds of the simulator, then an hour of chaos in rounds, and workers that keep their size."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from chaos.attack import FRONTS, PICTURES, Run, Size, up
from chaos.front import Front, Kind, shares
from chaos.judge import judged, tell
from chaos.steady import LIMITS, Watched
from demo.screen import console as terminal
from evidence.record import Evidence, Figure, Table, keep
from local.processes import ROOT

MINUTES, SEEDS = 60.0, 1_000_000
"""Of chaos, of all alternatives together; and seeds that go with as much."""
ROUND: Mapping[Kind, int] = {Kind.KILL: 8, Kind.PAUSE: 3, Kind.CUT: 4, Kind.TERM: 2, Kind.CRASH: 1}
"""No service is rolled and no emulator restarted: the workers that are watched would end with it."""
PAYMENTS = 500
SPARED = 2
SAMPLE_SECONDS = 2.0


def main(minutes: float = MINUTES, seeds: int | None = None) -> int:
    """Exit code 0 where nothing was found, and everything is flat."""
    console, began = terminal(), time.monotonic()
    wanted = int(SEEDS * minutes / MINUTES) if seeds is None else seeds
    console.rule(f"[bold]{wanted:,} seeds[/] of the simulator", align="left")
    good = subprocess.run(
        [sys.executable, "-m", "simulation", "--seeds", str(wanted), "--keep", "simulation"], cwd=ROOT, check=False
    )
    figures: dict[str, Figure] = {
        "seeds": wanted,
        "seeds_held": good.returncode == 0,
        "seeds_seconds": round(time.monotonic() - began, 1),
    }
    counts: Counter[str] = Counter()
    rows: list[tuple[Figure, ...]] = []
    passed, watched = good.returncode == 0, {}
    for name, front in FRONTS.items():
        flat, watched[name] = _soaked(console, front, minutes * 60 / len(FRONTS), figures, counts, rows)
        passed &= flat
    picture = PICTURES / "soak.png"
    draw(watched, picture)
    console.print(f"  The picture: {picture.relative_to(ROOT)}")
    keep(
        Evidence(
            part="soak",
            claim="For as long as one cares to watch, nothing is lost or paid twice, and no worker grows.",
            command=f"make soak MINUTES={minutes:g}",
            passed=passed,
            seconds=round(time.monotonic() - began, 1),
            figures={"minutes_of_chaos": minutes, **figures},
            counts=dict(counts),
            tables=[
                Table(
                    "The line through the second half of the time",
                    ("alternative", "what", "whose", "begins at", "rises by", "allowed", "flat"),
                    rows,
                )
            ],
        )
    )
    return 0 if passed else 1


def _soaked(
    console: Console,
    front: type[Front],
    seconds: float,
    figures: dict[str, Figure],
    counts: Counter[str],
    rows: list[tuple[Figure, ...]],
) -> tuple[bool, Watched]:
    name = front.alternative
    console.rule(f"[bold]{name}[/]: {seconds / 60:.0f} minutes in rounds", align="left")
    watched, looked, rounds = Watched(), 0.0, 0
    attacks = {kind: count for kind, count in ROUND.items() if kind in front.kinds}
    with up(console, front) as under:
        began = time.monotonic()

        def look() -> None:
            nonlocal looked
            now = time.monotonic() - began
            if now - looked >= SAMPLE_SECONDS:
                looked = now
                if len(under.spared) < SPARED:  # one that ended by itself leaves its place to another
                    under.spared |= set(under.workers()[: SPARED - len(under.spared)])
                watched.look(under, now)

        run = Run(console, under, Size(0, attacks), beside=look)
        while time.monotonic() - began < seconds:
            rounds += 1
            run.size = replace(run.size, transactions=run.size.transactions + PAYMENTS)
            run.attack(shares(attacks))
        ends = time.monotonic() - began
        found = judged(under.aws, run.brought, under.scenario.everything(), earlier=run.halfway, apart=front.apart)
    counts += Counter({str(kind): count for kind, count in under.struck.counts.items()})
    trends, unseen = watched.trends(ends), watched.unseen(ends)
    for what, whose, line in trends:
        limit = LIMITS[what]
        allowed = max(limit.room, limit.share * line.begins)
        flat = line.is_flat(limit)
        rows.append((name, what, whose, round(line.begins, 2), round(line.rises, 2), round(allowed, 2), flat))
        mark = "[green]flat   [/]" if flat else "[bold red]RISES  [/]"
        console.print(f"  {mark} {what} of {whose}: {line.begins:.1f}, rises by {line.rises:.2f} of {allowed:.2f}")
    for what in unseen:
        console.print(f"  [bold red]UNSEEN [/] {what}: no worker lived through the second half")
    tell(console, found.findings)
    figures |= {
        f"{name}_rounds": rounds,
        f"{name}_transactions": len(run.brought),
        f"{name}_effects": len(found.effects),
        f"{name}_findings": len(found.findings),
        f"{name}_doubles": found.doubles,
        **{
            f"{name}_{what}_rises_at_most": round(max(line.rises for kind, _, line in trends if kind == what), 2)
            for what in LIMITS
            if what not in unseen
        },
    }
    return not found.findings and not unseen and all(line.is_flat(LIMITS[what]) for what, _, line in trends), watched


def draw(watched: Mapping[str, Watched], file: Path) -> None:
    """A column for each alternative, a row for what is measured."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, grid = plt.subplots(
        len(LIMITS), len(watched), figsize=(11, 7), dpi=150, sharex="col", layout="constrained", squeeze=False
    )
    figure.suptitle("Workers under attack, over time", x=0.01, ha="left", fontsize=13, fontweight="bold")
    for column, (name, one) in enumerate(watched.items()):
        for row, what in enumerate(LIMITS):
            axes = grid[row][column]
            for samples in one.series[what].values():
                axes.plot([s.seconds / 60 for s in samples], [s.value for s in samples], linewidth=1.2)
            axes.set_ylim(bottom=0)
            axes.set_ylabel(what.replace("_", " "))
            axes.grid(axis="y", alpha=0.25)
            axes.spines[["top", "right"]].set_visible(False)
        grid[0][column].set_title(name, loc="left")
        grid[-1][column].set_xlabel("minutes")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)
    plt.close(figure)
