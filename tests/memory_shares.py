"""The model of the rate limit's shares: both datastores behave as it does (tests/contract/test_shares.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from workers.domain.ports import Clock, Taken
from workers.domain.shares import UNTOUCHED, Ask, Slice, slice_at


@dataclass
class MemoryShares:
    """A dict, for workers of one process."""

    clock: Clock
    reach: int = 4
    slices: dict[int, Slice] = field(default_factory=dict)

    async def take(self, asked: Sequence[Ask], now: float) -> Taken:
        at = self.clock.now().timestamp()
        self.slices = {number: of for number, of in self.slices.items() if number >= slice_at(at) - 1}
        before = dict(self.slices)
        for number, *more in asked:
            old = self.slices.get(number, UNTOUCHED)
            self.slices[number] = Slice(*(a + b for a, b in zip(old, more, strict=True)))
        return Taken(before, at, at)
