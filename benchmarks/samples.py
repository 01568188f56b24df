"""Several values of one figure, and what may be said of them: on a shared machine never one run, and ratios at best."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Samples:
    """The values of one figure in the order measured; at least one."""

    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> Samples:
        """Raises ValueError without a value."""
        if not values:
            raise ValueError("a figure needs at least one value")
        return cls(tuple(values))

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def over(self, others: Samples) -> Samples:
        """Pair by pair: the two of a pair were measured one after the other, under the same load."""
        return Samples(tuple(ours / theirs for ours, theirs in zip(self.values, others.values, strict=True)))

    def percentile(self, share: float) -> float:
        """The least value that `share` of all do not exceed (nearest rank)."""
        rank = max(1, -(-len(self.values) * round(share * 1000) // 1000))
        return sorted(self.values)[rank - 1]

    def text(self, form: str = "{:.2f}") -> str:
        """`median (least..most)`."""
        return f"{form.format(self.median)} ({form.format(min(self.values))}..{form.format(max(self.values))})"
