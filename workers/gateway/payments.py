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

Both carry W3C's `traceparent`, so that the gateway's own traces join ours.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, NoReturn
from urllib.parse import quote, urlsplit

from workers.domain.outcomes import Confirmed, NotFound, Outcome, Rejected, Retryable, Unknown
from workers.domain.ports import Calls, Clock
from workers.domain.redaction import redact
from workers.domain.text import MAX_REFERENCE
from workers.domain.transaction import Transaction
from workers.gateway.http import Answer, HttpClient, HttpError
from workers.gateway.limits import BreakerPolicy, Called, CircuitBreaker, Guard, RateLimiter, Turn
from workers.tracing import trace_headers

MAX_PAUSE_SECONDS = 60.0
"""The longest Retry-After that is obeyed; the first call after it asks anew."""
MAX_REASON = 100
"""A refusal's words are cut here."""
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
    rate_limit_per_second: float = 0.0
    """Calls a second, in this process; 0 for no limit."""
    wait_seconds: float = 30.0
    """The longest that a call waits for the rate limit before it is given back untried."""
    api_key: str = field(default="", repr=False)
    """Sent as a bearer token; "" for none."""
    breaker: BreakerPolicy = field(default_factory=BreakerPolicy)

    def __post_init__(self) -> None:
        for name, least in (
            ("timeout_seconds", 0.001),
            ("concurrency", 1),
            ("rate_limit_per_second", 0),
            ("wait_seconds", 0),
        ):
            if not getattr(self, name) >= least:
                raise ValueError(f"{name} must be {least:g} or more, found {getattr(self, name)!r}")
        if self.api_key and urlsplit(self.url).scheme != "https" and urlsplit(self.url).hostname not in _THIS_MACHINE:
            raise ValueError("url must be https:// when an API key is sent, found http://")


class PaymentGateway:
    """Confirms transactions at the gateway, once per key, and asks it what became of them."""

    def __init__(self, settings: GatewaySettings, clock: Clock) -> None:
        headers = {"Accept": "application/json"}
        if settings.api_key:
            headers["Authorization"] = f"Bearer {settings.api_key}"
        self._http = HttpClient(settings.url, timeout_seconds=settings.timeout_seconds, headers=headers)
        self._guard = Guard(
            clock,
            RateLimiter(clock, settings.rate_limit_per_second),
            CircuitBreaker(clock, settings.breaker),
            concurrency=settings.concurrency,
            wait_seconds=settings.wait_seconds,
        )

    def ready(self) -> bool:
        return self._guard.ready()

    def turn(self) -> Turn:
        return self._guard.turn()

    def seen(self) -> Calls:
        return self._guard.seen()

    async def confirm(self, transaction: Transaction, key: str) -> Outcome:
        return await self._guard.run(lambda: self._confirm(transaction, key))

    async def ask(self, transaction: Transaction, key: str) -> Outcome:
        return await self._guard.run(lambda: self._ask(transaction, key))

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
        try:
            answer = await self._http.request(
                "POST",
                "/confirmations",
                headers={"Idempotency-Key": key, "Content-Type": "application/json", **trace_headers()},
                body=_ENCODER.encode(body).encode(),
            )
        except HttpError as error:
            return _no_answer(error)
        except ValueError:  # this key will never fit into a header; nothing was sent
            return Called(Retryable("not sent: the key holds characters that a header cannot"), healthy=True)
        return _read_confirm(answer, transaction)

    async def _ask(self, transaction: Transaction, key: str) -> Called:
        try:
            answer = await self._http.request("GET", f"/confirmations/{quote(key, safe='')}", headers=trace_headers())
        except HttpError as error:
            return _no_answer(error)
        return _read_ask(answer, transaction)


# --- what an answer is worth as evidence -----------------------------------------------------------------------------


class _Odd(Exception):  # noqa: N818 - an answer that proves nothing
    """The answer is not what the protocol says: short reason, nothing of the answer in it."""


def _no_answer(error: HttpError) -> Called:
    if error.sent:
        return Called(Unknown(error.reason), healthy=False)
    return Called(Retryable(f"not sent: {error.reason}", counts=False), healthy=False)


def _read_confirm(answer: Answer, transaction: Transaction) -> Called:
    """The outcome of a POST: one row for each answer that the protocol knows, Unknown for the rest."""
    status = answer.status
    try:
        match status:
            case 200:
                return Called(_confirmed(_document(answer, transaction)), healthy=True)
            case 422:
                return Called(_rejected(_document(answer, transaction), transaction), healthy=True)
            case 409:  # in flight, or the key was used for something else: an effect may exist
                return Called(Unknown("gateway answered 409: another call under way or a conflict"), healthy=True)
            case 503 if _document(answer).get("status") == "unavailable":
                return Called(Retryable("gateway unavailable (503)"), healthy=False)
    except _Odd as odd:
        return Called(Unknown(f"gateway answered {status} {odd}"), healthy=False)
    if turned_away := _turned_away(answer):
        return turned_away
    if 400 <= status < 500:
        return Called(Retryable(f"gateway answered {status}"), healthy=True)
    return Called(Unknown(f"gateway answered {status}"), healthy=False)


def _read_ask(answer: Answer, transaction: Transaction) -> Called:
    """The outcome of a GET. It is about the effect, so nothing but a clear word on it is evidence."""
    status = answer.status
    try:
        if status == 200:
            document = _document(answer, transaction)
            match document.get("status"):
                case "confirmed":
                    return Called(_confirmed(document), healthy=True)
                case "rejected":
                    return Called(_rejected(document, transaction), healthy=True)
                case "processing":
                    return Called(Unknown("gateway is still at it"), healthy=True)
            raise _Odd("with an unknown status")
        if status == 404:  # only in the gateway's own words: a wrong path or a proxy answers 404 as well
            if _document(answer, transaction).get("status") != "not_found":
                raise _Odd("with an unknown status")
            return Called(NotFound(), healthy=True)
    except _Odd as odd:
        return Called(Unknown(f"gateway answered {status} {odd}"), healthy=False)
    return _turned_away(answer) or Called(Unknown(f"gateway answered {status}"), healthy=400 <= status < 500)


def _turned_away(answer: Answer) -> Called | None:
    """Answers that come before the gateway looks at the payment: no attempt is used up."""
    if answer.status == 429:
        asked = answer.headers.get("retry-after", "")
        seconds = float(asked) if asked.isascii() and asked.isdigit() and len(asked) < 9 else 1.0
        outcome = Retryable("gateway's rate limit (429)", counts=False)
        return Called(outcome, healthy=True, pause_seconds=min(max(seconds, 0.1), MAX_PAUSE_SECONDS))
    if answer.status in (401, 403):
        # Not healthy: until somebody mends the credentials, every further call is a waste.
        outcome = Retryable(f"gateway refuses our credentials ({answer.status})", counts=False)
        return Called(outcome, healthy=False)
    return None


def _confirmed(document: dict[str, Any]) -> Confirmed:
    """Amount and currency are the gateway's, right or wrong: the core compares them with ours."""
    reference, amount, currency = (document.get(name) for name in ("reference", "amount", "currency"))
    if document.get("status") != "confirmed":
        raise _Odd("with an unknown status")
    if not isinstance(reference, str) or not 0 < len(reference) <= MAX_REFERENCE or not reference.isprintable():
        raise _Odd("without a usable reference")
    if type(amount) is not int:  # bool is an int, and a float is not money
        raise _Odd("without a whole amount")
    if not isinstance(currency, str) or not re.fullmatch("[A-Z]{3}", currency):
        raise _Odd("without a currency")
    return Confirmed(reference, amount, currency)  # a receipt: stored whole, masked where it is shown


def _rejected(document: dict[str, Any], transaction: Transaction) -> Rejected:
    reason = document.get("reason")
    if document.get("status") != "rejected":
        raise _Odd("with an unknown status")
    if not isinstance(reason, str) or not reason.strip():
        raise _Odd("without a reason")
    return Rejected(_clean(reason, transaction))


def _clean(reason: str, transaction: Transaction) -> str:
    """The gateway's words as they may be kept: gateways quote card numbers in theirs (PCI DSS 3.4.1)."""
    if account := re.escape(transaction.account):
        # a short one, like 42, where it stands alone: it is in many a code, and "AC42" must stay
        alone = account if len(transaction.account) > 3 else rf"(?<!\w){account}(?!\w)"
        reason = re.sub(alone, "[account]", reason)
    reason = redact(reason)
    digits = sum(character.isdigit() for character in reason)
    if digits > 4 or re.search(r"\d{3}", reason):  # codes like "51" or "AC04" may stay
        reason = re.sub(r"\d", "x", reason)
    reason = "".join(character if character.isprintable() else " " for character in reason)
    return " ".join(reason.split())[:MAX_REASON]


def _document(answer: Answer, transaction: Transaction | None = None) -> dict[str, Any]:
    """The answer's JSON object, about `transaction` if one is given."""
    try:
        document = _DECODER.decode(answer.body.decode("utf-8"))
    except (ValueError, RecursionError):
        raise _Odd("with a body that is not JSON") from None
    if not isinstance(document, dict):
        raise _Odd("with a body that is not a JSON object")
    if transaction is not None and document.get("id") != transaction.id:
        raise _Odd("about another transaction")
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):  # two amounts: which one is true?
        raise ValueError("a name twice")
    return document


def _no_constant(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


_ENCODER = json.JSONEncoder(separators=(",", ":"))
_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
