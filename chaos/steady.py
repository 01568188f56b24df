"""Whether a worker keeps its size: memory, file descriptors and connections, over a long time.

The first half of the time is for warming up: caches fill, pools open. Over the second half a straight line is laid
through the samples; what it rises from its beginning to its end must be less than a share of where it begins.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from chaos.front import Front
from demo import chaos


class Sample(NamedTuple):
    seconds: float
    value: float


Series = Sequence[Sample]
FEWEST = 8
"""Samples in the second half, of a series that is judged."""


@dataclass(frozen=True, slots=True)
class Limit:
    share: float
    """Of where the line begins."""
    room: float
    """In any case: a connection more is no leak. One in every batch would be hundreds."""


LIMITS: Mapping[str, Limit] = {
    "memory_mb": Limit(0.05, 2.0),
    "descriptors": Limit(0.05, 8.0),  # the pools to gateway and datastore fill and empty
    "connections": Limit(0.10, 12.0),  # of eight workers with up to six each, some of which have just begun
}


@dataclass(frozen=True, slots=True)
class Trend:
    """The line through the second half."""

    begins: float
    rises: float

    def is_flat(self, limit: Limit) -> bool:
        return self.rises <= max(limit.room, limit.share * self.begins)


def trend(series: Series, ends: float | None = None) -> Trend | None:
    """By least squares; None where too little was seen of the second half of the time up to `ends`."""
    if not series:
        return None
    last = series[-1].seconds if ends is None else ends
    half = [sample for sample in series if sample.seconds >= last / 2]
    if len(half) < FEWEST or half[-1].seconds < last * 0.95 or half[0].seconds > last * 0.55:
        return None
    at, of = (sum(one[n] for one in half) / len(half) for n in (0, 1))
    spread = sum((one.seconds - at) ** 2 for one in half)
    slope = sum((one.seconds - at) * (one.value - of) for one in half) / spread if spread else 0.0
    first, end = half[0].seconds, half[-1].seconds
    return Trend(of + slope * (first - at), slope * (end - first))


@dataclass
class Watched:
    """Samples by what was measured, and by process where each has its own."""

    series: dict[str, dict[str, list[Sample]]] = field(default_factory=lambda: {name: {} for name in LIMITS})

    def add(self, what: str, whose: str, seconds: float, value: float) -> None:
        self.series[what].setdefault(whose, []).append(Sample(seconds, value))

    def look(self, front: Front, seconds: float) -> None:
        """One sample of each, of the workers that no signal is sent to."""
        for pid in sorted(front.spared):
            size = chaos.ps("-o", "rss=", "-p", str(pid))
            if size and (count := descriptors(pid)):
                self.add("memory_mb", str(pid), seconds, int(size[0]) / 1024)
                self.add("descriptors", str(pid), seconds, count)
            else:
                front.spared.discard(pid)
        if open_ := front.connections():
            self.add("connections", "all workers", seconds, open_)

    def trends(self, ends: float) -> list[tuple[str, str, Trend]]:
        """Of every series that reaches over the whole second half."""
        return [
            (what, whose, found)
            for what, by in self.series.items()
            for whose, samples in by.items()
            if (found := trend(samples, ends))
        ]

    def unseen(self, ends: float) -> list[str]:
        """What nothing can be said of."""
        return [what for what in LIMITS if what not in {name for name, _, _ in self.trends(ends)}]


def descriptors(pid: int) -> int:
    """That a process has open; 0 where it is gone."""
    folder = Path("/proc") / str(pid) / "fd"
    if Path("/proc/self/fd").exists():
        try:
            return len(list(folder.iterdir()))
        except OSError:
            return 0
    listed = subprocess.run(["lsof", "-p", str(pid)], capture_output=True, text=True, check=False)
    return max(0, len(listed.stdout.splitlines()) - 1)
