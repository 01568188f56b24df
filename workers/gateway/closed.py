"""A gateway that cannot be called yet: there is no key. What needs no call is confirmed by it as by any other."""

from __future__ import annotations

import contextlib
from datetime import datetime, timedelta

from workers.domain.causes import Cause, because
from workers.domain.outcomes import Outcome, Retryable
from workers.domain.ports import Calls
from workers.domain.transaction import Transaction
from workers.gateway.silence import Silence


class ClosedGateway:
    """`workers.domain.ports.Gateway` that lets no call in, as one behind an open circuit breaker."""

    def __init__(self) -> None:
        self.silence = Silence()
        """Told by whoever tries to get the key."""

    def turn(self, until: datetime | None = None) -> contextlib.AbstractAsyncContextManager[object]:  # noqa: ARG002
        return contextlib.nullcontext()

    def ready(self) -> bool:
        return False

    def away(self) -> timedelta:
        return self.silence.lasted()

    def seen(self) -> Calls:
        return Calls()

    async def confirm(self, transaction: Transaction, key: str) -> Outcome:  # noqa: ARG002
        return self._closed()

    async def ask(self, transaction: Transaction, key: str) -> Outcome:  # noqa: ARG002
        return self._closed()

    async def close(self) -> None: ...

    @staticmethod
    def _closed() -> Outcome:
        cause, sentence = because(Cause.KEY_MISSING)
        return Retryable(sentence, counts=False, cause=cause)
