"""For how long nobody could be asked, as one worker has seen it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta


@dataclass
class Silence:
    """Lasts from the first failure to the latest one, until something worked: while nobody tries it does not grow.

    By the monotonic clock, so that whoever sets the other one ends no transaction.
    """

    seconds: Callable[[], float] = time.monotonic
    _first: float | None = None
    _latest: float = 0.0

    def failed(self) -> None:
        self._latest = self.seconds()
        if self._first is None:
            self._first = self._latest

    def ended(self) -> None:
        self._first = None

    def lasted(self) -> timedelta:
        return timedelta() if self._first is None else timedelta(seconds=self._latest - self._first)
