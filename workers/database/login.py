"""Who the worker is to the database: tokens signed by IAM in the place of passwords."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from workers.config import DatabaseConfig

TOKEN_SECONDS = 14 * 60.0
"""How long a token is offered again: RDS takes it for 15 minutes."""


def iam_token(config: DatabaseConfig, client: Any) -> Callable[[], str]:
    """A password for each connection: an IAM token, good for 15 minutes, signed here without a call."""
    return lambda: str(client.generate_db_auth_token(DBHostname=config.host, Port=config.port, DBUsername=config.user))


class NotSigned(OSError):  # noqa: N818 - what happened
    """No token could be signed: the role's credentials were due, and nobody gave new ones. It passes by itself."""


@dataclass
class Passwords:
    """What each new connection logs in with.

    Signing is no call, but the credentials of the task's role are: they are fetched anew some minutes before they end,
    over HTTP with waits, for up to ten seconds. So it is done beside the loop, and while it fails the last token is
    good for the rest of its 15 minutes.
    """

    sign: Callable[[], str]
    _last: str = field(default="", repr=False)
    _signed_at: float = -TOKEN_SECONDS

    async def __call__(self) -> str:
        try:
            self._last, self._signed_at = await asyncio.to_thread(self.sign), monotonic()
        except Exception as error:
            if monotonic() - self._signed_at >= TOKEN_SECONDS:
                raise NotSigned(f"no token for the database: {type(error).__name__}") from error
        return self._last
