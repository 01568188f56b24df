"""For how long nobody could be asked, as one worker has seen it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

MOST_GAP = 180.0
"""Seconds between two failures that count, at most: two with hours of rest between them are no hours of silence."""


@dataclass
class Silence:
    """Grows from failure to failure, until something worked; by a gap in which nobody tried no more than MOST_GAP.

    By the monotonic clock, so that whoever sets the other one ends no transaction.
    """

    seconds: Callable[[], float] = time.monotonic
    _latest: float | None = None
    _lasted: float = 0.0

    def failed(self) -> None:
        now = self.seconds()
        if self._latest is not None:
            self._lasted += min(now - self._latest, MOST_GAP)
        self._latest = now

    def ended(self) -> None:
        self._latest, self._lasted = None, 0.0

    def lasted(self) -> timedelta:
        return timedelta(seconds=self._lasted)
