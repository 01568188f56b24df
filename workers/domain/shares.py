"""One rate limit for all workers together: time is cut into slices, and workers take shares of them beforehand.

Calls happen at the instants of one grid, `limit / (1 + LATENESS)` a second, the same for everybody since it follows
from the time alone. A share is a part of a slice: some of its instants, spread evenly over it, and nobody else's. Each
instant is for one call, which may begin up to LATENESS later. So no second holds more calls than the limit, wherever it
begins: a stretch of a second and LATENESS holds `limit` instants and no more.

The datastore only counts what is taken of each slice (`workers.domain.ports.Shares`). What is here decides how much to
ask for: pure, no clock, no I/O.

- A *far* slice is asked for once, beforehand. Whoever could use more than his part takes an equal part (`level`) and is
  counted as hungry; others take what they need. So the parts follow the demand, and no worker knows the others.
- A *near* slice has been asked for by all who want it. What is left of it (of workers that ended, of fractions) is for
  whoever comes first.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

LATENESS = 0.015
"""Seconds that a call may begin after its instant; so much of the limit is given up for it."""
SLICE = 0.125
"""Seconds."""
PARTS = 1 << 20
"""Of a slice. In parts and not in calls, so that workers with different limits (a deployment that changes it) together
stay between the two."""
PAD = PARTS // 8
"""While nobody goes short more is taken than there is need for, so that who comes next need not wait long."""
FIRST_LEVEL = PARTS // 8
"""Of a far slice, for whoever has just begun: he does not know yet who begins at the same moment."""


CALM = 32
"""Slices that a stream of few calls reaches ahead while nobody goes short."""
NEVER = -(10**12)
LEAST = 2
"""Calls that a limit has room for between two questions of a worker, at least."""


class Ask(NamedTuple):
    """A worker's wish for a share of a slice."""

    slice: int
    """Its number: time / SLICE."""
    parts: int
    light: int = 0
    """The same where the slice is far and more would be of no use; else 0."""
    hungry: int = 0
    """1 where the slice is far and more would be used."""


class Slice(NamedTuple):
    """What all have asked for so far."""

    taken: int = 0
    """Parts; those over PARTS were asked for in vain."""
    light: int = 0
    """Of these, the parts of workers that need no more."""
    hungry: int = 0
    """Workers that could use more."""


UNTOUCHED = Slice()


def slice_at(time: float) -> int:
    return math.floor(time / SLICE)


def _reversed(number: int, bits: int) -> int:
    return int(f"{number:0{bits}b}"[::-1], 2)


_REVERSED = tuple(_reversed(n, 10) for n in range(1024))


def place(instant: int) -> int:
    """The part of its slice that an instant of the grid belongs to.

    Its number with the bits reversed: any part of any slice has its fair number of instants, evenly spread.
    """
    return _REVERSED[instant & 1023] << 10 | _REVERSED[instant >> 10 & 1023]


def instants(limit: float, number: int, first: int = 0, parts: int = PARTS) -> Iterator[float]:
    """The times of the instants in the parts from `first` on of slice `number`, one after the other."""
    pace = limit / (1 + LATENESS)
    last = min(first + parts, PARTS)
    for instant in range(math.ceil(number * SLICE * pace), math.ceil((number + 1) * SLICE * pace)):
        if first <= place(instant) < last:
            yield instant / pace


def count(limit: float, number: int) -> int:
    """How many instants a slice has."""
    pace = limit / (1 + LATENESS)
    return math.ceil((number + 1) * SLICE * pace) - math.ceil(number * SLICE * pace)


def _parts(calls: float, instants: int) -> int:
    """So many parts of a slice hold so many of its instants, more or less."""
    return min(PARTS, math.ceil(min(calls / instants, 1.0) * PARTS))


@dataclass
class Planner:
    """What one worker asks for, and when.

    Args:
        limit: calls a second, of all workers together.
        reach: slices; half of so many are near, and half are far. A worker that has much to do asks once in `reach / 2`
            slices, and what it holds when it is killed is lost: at most `reach` slices of its part.
    """

    limit: float
    reach: int
    known: Mapping[int, Slice] = field(default_factory=dict)
    """What is taken, as far as the datastore's last answer tells ..."""
    known_at: int = NEVER
    """... and the slice in which that was."""
    asked_to: int = 0
    """The farthest slice that was asked for."""
    _mine: dict[int, Ask] = field(default_factory=dict)
    """Of far slices."""
    _began: int = 0
    """When it last knew of nobody."""

    def __post_init__(self) -> None:
        self.reach = max(self.reach, 2 * math.ceil(LEAST / (self.limit * SLICE)))

    @property
    def is_blind(self) -> bool:
        """Whether nothing is known yet, the time least of all: then look first."""
        return self.known_at == NEVER

    def is_stale(self, time: float) -> bool:
        """Whether what is known tells of nobody who is at work now."""
        return slice_at(time) - self.known_at > self.reach

    def asks(self, time: float, need: float, coming: float = 0, steady: float = 0) -> list[Ask]:
        """What to ask for at `time`: `need` calls as soon as may be, `coming` later, `steady` more in each slice."""
        now = slice_at(time)
        half = self.reach // 2
        near = range(now, now + half + 1)
        level, scarce = self._level(now), self._is_scarce()
        # a stream that needs little, among others that do, asks seldom
        spare = count(self.limit, now) * PAD // PARTS
        calm = not scarce and 0 < steady <= spare
        ahead = max(self.reach, CALM) if calm else self.reach
        far = range(max(now + half + 1, self.asked_to + 1), now + ahead + 1)
        pad = 0 if scarce else PAD
        self._mine = {number: ask for number, ask in self._mine.items() if number >= now - self.reach}
        found: list[Ask] = []
        for number in near:
            if need + steady <= 0 and not pad:
                break
            have = (
                sum(1 for at in instants(self.limit, number) if at > time)
                if number == now
                else count(self.limit, number)
            )
            if not have or self._taken(number) >= PARTS:
                continue
            # a part may hold an instant less than it should
            parts = _parts(need + 1, have) if need > 0 else 0
            if self.is_stale(time):
                parts = min(parts, FIRST_LEVEL)
            if number > self.asked_to:  # nobody else need have asked for it either
                parts = max(parts, pad, min(level, _parts(steady, have)))
            if parts:
                found.append(Ask(number, parts))
                need -= min(parts, PARTS - self._taken(number)) / PARTS * have
        # who comes later gets a near share later, unless others will have taken all of them by then
        need = max(need, 0.0) + (coming if scarce else 0)
        for number in far if not self.is_stale(time) else ():
            have = count(self.limit, number)
            wanted = need + steady
            if not have or wanted <= 0:
                continue
            parts = _parts(wanted + 1, have)
            if parts >= level:
                ask = Ask(number, level, hungry=1)
            else:
                ask = Ask(number, parts if scarce else min(level, max(2 * parts, pad)), light=parts)
            need = max(0.0, need - max(0.0, ask.parts / PARTS * have - steady))
            found.append(ask)
        return found

    def answered(self, time: float, asked: Sequence[Ask], before: Mapping[int, Slice]) -> list[float]:
        """The datastore's answer, as what stood before: the times at which calls may be made."""
        if self.is_stale(time):
            self._began, self._mine = slice_at(time), {}
        known = dict(before)
        for number, *more in asked:
            known[number] = Slice(*map(operator.add, known.get(number, UNTOUCHED), more))
        self.known, self.known_at = known, slice_at(time)
        if not asked or asked[-1].slice > slice_at(time) + max(self.reach, CALM) + 1:
            return []  # nothing, or asked for by a clock that was ahead: those instants are of no use
        # what was counted there, and by nobody else's answer: a question that was lost counts nothing
        self._mine.update({ask.slice: ask for ask in asked if ask.light or ask.hungry})
        self.asked_to = max(self.asked_to, asked[-1].slice)
        return sorted(
            at
            for ask in asked
            for at in instants(self.limit, ask.slice, before.get(ask.slice, UNTOUCHED).taken, ask.parts)
        )

    def forget(self) -> None:
        """The time is not what it was."""
        self.known_at, self.asked_to = NEVER, 0

    def next_far(self) -> float:
        """From when on another far slice may be asked for."""
        return (self.asked_to - self.reach // 2) * SLICE

    def _taken(self, number: int) -> int:
        return self.known.get(number, UNTOUCHED).taken

    def _is_scarce(self) -> bool:
        """Whether somebody else could use more than there is."""
        return any(
            of.hungry > (number in self._mine and self._mine[number].hungry)
            for number, of in self.known.items()
            if number >= self.known_at
        )

    def _level(self, now: int) -> int:
        """A hungry worker's part of a far slice, as the last one that all have asked for tells."""
        last = self.known_at + self.reach // 2
        _, light, hungry = self.known.get(last, UNTOUCHED)
        mine = self._mine.get(last)
        if mine is None or not mine.hungry:
            hungry += 1
        if mine is not None:
            light -= mine.light
        level = max(0, PARTS - light) // max(hungry, 1)
        return min(level, FIRST_LEVEL) if now <= self._began + self.reach // 2 else level
