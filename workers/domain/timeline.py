"""The time that workers go by together where the datastore has no clock: DynamoDB's.

Its answers bear a Date, which knows whole seconds, and the stamp of whoever wrote last. So the workers that are at work
keep one *line* of time, and it matters that all go by the same, not which it is. A worker's part of it is its own
elapsed time and an offset, so it is nothing to it where its wall clock jumps.

- Whoever knows no line makes no call. It looks until the stamp moves: others are at work, and it takes on their time.
- Where the stamp stands still for as long as shares may be held, or is older than that by the Date, nobody is at work.
  Then its own clock counts, put right by the Date: it *founds* a line by a write that only counts while the stamp is
  still the one that it saw. So of all who begin at one moment one founds, and the others follow.
- Who is behind another's stamp follows it: a stamp was written before it was read.

Pure: no clock, no I/O. Times are in seconds; `sent` and `received` are elapsed time, of any beginning.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

REST = 0.5
"""Seconds after its stamp in which a worker need not look again, even if it held no share for so long."""
HELD = 60.0
"""Seconds after its stamp that a worker holds a share, at most. (Below a limit of 0.07 a second it may be longer.)"""
GAP = 0.02
"""Seconds between two looks: a line is known as exactly as that. Or this part of the time in which others must show
themselves, where a small limit makes that long."""
LOOKS = 40
PRECISE = 0.05
"""Seconds: whoever looked last longer ago cannot tell well when a stamp was written. Doubled with each stamp that was
missed so, since a slow worker is content with less."""
OFF = 1.5
"""Seconds that a line may be away from the second of the Date before nobody believes it: founded within 1 s of it."""
AT_ONCE = 1.0
"""Seconds after a look in which a line may be founded by it."""


class Seen(NamedTuple):
    """What an answer tells."""

    stamp: int
    """The time of whoever wrote last, in microseconds; 0 for nobody."""
    ends: float
    """When the last share that anybody holds is over, by the line of the stamp."""
    second: float
    """The Date."""

    @property
    def at(self) -> float:
        return self.stamp / 1e6

    @property
    def over(self) -> float:
        """From when on a worker that has not written since is not at work."""
        return min(max(self.ends, self.at + REST), self.at + HELD)

    @property
    def nobody(self) -> bool:
        """Whether the Date tells that nobody is at work by the line of the stamp."""
        return self.over < self.second - OFF or self.at > self.second + 1 + OFF

    def believes(self, time: float) -> bool:
        return self.second - OFF <= time <= self.second + 1 + OFF


NOTHING = Seen(0, 0.0, 0.0)


@dataclass
class TimeLine:
    """One worker's knowledge of it."""

    known: bool = False
    founding: bool = False
    """Nobody is at work, as far as it knows: its next write counts only while the stamp is the one that it saw."""
    _offset: float = 0.0
    _last: Seen = NOTHING
    _sent: float = -math.inf
    """The question that told it."""
    _since: float | None = None
    """Since when it waits for another stamp."""
    _missed: int = 0
    """Stamps, while it waits."""

    @property
    def stamp(self) -> int:
        """The last that it saw."""
        return self._last.stamp

    def time(self, elapsed: float) -> float:
        return elapsed + self._offset

    def may_write(self, elapsed: float) -> bool:
        """Whether it knows the time; else it must look. Once nobody was at work another line may have begun."""
        if self.founding:
            return elapsed - self._sent <= AT_ONCE
        return self.known and self.time(elapsed) <= self._last.over

    def looked(self, own: float, sent: float, received: float, seen: Seen) -> float:
        """After how many seconds to look again; 0 where it may write. `own` is its clock when the answer came."""
        before, asked = self._last, self._sent
        self._last, self._sent = seen, sent
        same, gap = before.stamp == seen.stamp, max(GAP, (seen.over - seen.at) / LOOKS)
        if self.known and same and seen.believes(self.time(received)):
            self.founding = True  # nobody has written since: it goes on where all were
        elif self.known and self._agrees(asked, received, before, seen):
            self.founding = False
        elif seen.nobody or (same and self._since is not None and sent - self._since >= seen.over - seen.at):
            right = own if seen.second <= own <= seen.second + 1 else seen.second + 0.5
            if not seen.nobody:
                right = max(right, seen.over)  # what was taken before is over
            self._offset, self.known, self.founding = right - received, False, True
        elif not same and received - asked <= max(PRECISE * 2**self._missed, 2 * gap):
            self._offset, self.known, self.founding = seen.at - received, True, False
        else:
            self._missed += self._since is not None and not same
            if self._since is None or not same:
                self._since = received
            self.known = self.founding = False
            return gap
        self._since, self._missed = None, 0
        return 0.0

    def _agrees(self, asked: float, received: float, before: Seen, seen: Seen) -> bool:
        """Whether the new stamp is by the line that it knows: written since it asked last, and no other line began."""
        time = self.time(received)
        return time <= before.over and seen.at <= time <= seen.at + received - asked

    def wrote(self, stamp: int, sent: float, received: float, seen: Seen) -> bool:
        """Whether what it took is its own; `seen` is what stood before, with the end of what was asked for."""
        if not self.founding and self.time(received) < seen.at and seen.believes(seen.at):
            self._offset = seen.at - received
        self.known, self.founding = seen.believes(self.time(received)), False
        self._last, self._sent = seen._replace(stamp=stamp), sent
        return self.known
