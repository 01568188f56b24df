"""The payment gateway. THIS IS THE FILE TO REPLACE with your own way of confirming a transaction.

Keep the class's name, its constructor and its methods (the port `workers.domain.ports.Gateway`); fill `_confirm`
and `_ask` with your gateway's API. The rest of the program knows nothing of it. For instance:

    async def _confirm(self, transaction: Transaction, key: str) -> Called:
        try:
            charge = await my_sdk.capture(transaction.account, transaction.amount, idempotency_key=key)
        except my_sdk.Declined as refusal:                       # evidence: refused for good
            return Called(Rejected(refusal.code), healthy=True)
        except my_sdk.NotConnected:                              # evidence: nothing was sent
            return Called(Retryable("no connection", counts=False), healthy=False)
        except Exception:                                        # a time-out above all: nobody knows
            return Called(Unknown("no answer"), healthy=False)
        return Called(Confirmed(charge.id, charge.amount, charge.currency), healthy=True)

Three rules keep money safe. What is not proven is `Unknown`: a time-out is not a failure. `Retryable` and `Rejected`
need evidence that nothing was done. Reasons end up in records and logs: no account, body or secret in them.

The protocol spoken here, JSON over HTTP/1.1:

    POST {url}/confirmations          Idempotency-Key: <id>   {"id", "account", "amount", "currency"}
    GET  {url}/confirmations/{id}

Both carry W3C's `traceparent`, so that the gateway's own traces join ours. Which answers are evidence, and of what, is
a table (workers/gateway/evidence.py): one that is not the gateway's own, a proxy's 404 for instance, proves nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from urllib.parse import quote, urlsplit

from workers.domain.causes import Cause
from workers.domain.outcomes import Outcome, Retryable
from workers.domain.ports import Calls, Clock
from workers.domain.transaction import Transaction
from workers.gateway.evidence import no_answer, read
from workers.gateway.limits import BreakerPolicy, Called, CircuitBreaker, Guard, Limiter, Turn
from workers.tracing import trace_headers
from workers.transport.http import HttpClient, HttpError

_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """How to reach the gateway, and how hard.

    Raises:
        ValueError: names the field, what was found and what is allowed.
    """

    url: str
    timeout_seconds: float = 10.0
    """For one whole call. Leases must be longer."""
    concurrency: int = 50
    """Calls at once, in this process."""
    wait_seconds: float = 30.0
    """The longest that a call waits for the rate limit before it is left untried, if nobody says until when."""
    api_key: str = field(default="", repr=False)
    """Sent as a bearer token; "" for none."""
    breaker: BreakerPolicy = field(default_factory=BreakerPolicy)

    def __post_init__(self) -> None:
        for name, least in (
            ("timeout_seconds", 0.001),
            ("concurrency", 1),
            ("wait_seconds", 0),
        ):
            if not getattr(self, name) >= least:
                raise ValueError(f"{name} must be {least:g} or more, found {getattr(self, name)!r}")
        if self.api_key and urlsplit(self.url).scheme != "https" and urlsplit(self.url).hostname not in _THIS_MACHINE:
            raise ValueError("url must be https:// when an API key is sent, found http://")


class PaymentGateway:
    """Confirms transactions at the gateway, once per key, and asks it what became of them.


    Args:
        limiter: the rate limit, which outlives this client; by default none.
    """

    def __init__(self, settings: GatewaySettings, clock: Clock, limiter: Limiter | None = None) -> None:
        self._settings = settings
        self._before = settings
        """With the key before the present one: calls under way end with it, and a gateway may quote it later still."""
        self._http = HttpClient(settings.url, timeout_seconds=settings.timeout_seconds, headers=_headers(settings))
        self._guard = Guard(
            clock,
            limiter or Limiter(clock, 0),
            CircuitBreaker(clock, settings.breaker),
            concurrency=settings.concurrency,
            wait_seconds=settings.wait_seconds,
            prepare=lambda calls: self._http.prepare(calls),
        )

    def ready(self) -> bool:
        return self._guard.ready()

    def away(self) -> timedelta:
        return self._guard.breaker.silence.lasted()

    def turn(self, until: datetime | None = None) -> Turn:
        return self._guard.turn(until)

    def seen(self) -> Calls:
        return self._guard.seen()

    async def confirm(self, transaction: Transaction, key: str) -> Outcome:
        return await self._guard.run(lambda: self._confirm(transaction, key))

    async def ask(self, transaction: Transaction, key: str) -> Outcome:
        return await self._guard.run(lambda: self._ask(transaction, key))

    def use_key(self, api_key: str) -> None:
        """From now on send this key. Calls under way end with the old one; connections, limits and breaker stay.

        Raises:
            ValueError: it cannot be sent; the old one stays.
        """
        if api_key != self._settings.api_key:
            settings = replace(self._settings, api_key=api_key)
            self._http.use_headers(_headers(settings))
            self._settings, self._before = settings, self._settings
            self._guard.breaker.look_again()

    @property
    def _keys(self) -> tuple[str, ...]:
        return self._settings.api_key, self._before.api_key

    async def close(self) -> None:
        """Ends the kept-alive connections."""
        await self._http.close()

    async def _confirm(self, transaction: Transaction, key: str) -> Called:
        body = {
            "id": transaction.id,
            "account": transaction.account,
            "amount": transaction.amount,
            "currency": transaction.currency,
        }
        keys = self._keys
        try:
            answer = await self._http.request(
                "POST",
                "/confirmations",
                headers={"Idempotency-Key": key, "Content-Type": "application/json", **trace_headers()},
                body=_ENCODER.encode(body).encode(),
            )
        except HttpError as error:
            return no_answer(error)
        except ValueError:  # this key will never fit into a header; nothing was sent
            odd = "not sent: the key holds characters that a header cannot"
            return Called(Retryable(odd, cause=Cause.NOT_SENT), healthy=True)
        return read("confirm", answer, transaction, (*keys, *self._keys), key)

    async def _ask(self, transaction: Transaction, key: str) -> Called:
        keys = self._keys
        try:
            answer = await self._http.request(
                "GET", f"/confirmations/{quote(key, safe='')}", headers={"Cache-Control": "no-cache", **trace_headers()}
            )
        except HttpError as error:
            return no_answer(error)
        return read("ask", answer, transaction, (*keys, *self._keys), key)


def _headers(settings: GatewaySettings) -> dict[str, str]:
    """Sent with each call."""
    key = {"Authorization": f"Bearer {settings.api_key}"} if settings.api_key else {}
    return {"Accept": "application/json", **key}


_ENCODER = json.JSONEncoder(separators=(",", ":"))
