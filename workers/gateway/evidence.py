"""What an answer of the gateway is worth as evidence: one table, status x word x verb -> outcome x health.

An answer is the gateway's own only as a whole: of the type application/json, one JSON object, under our id, with a word
in `status` that stands in TABLE for that verb and HTTP status, and not out of a cache. Everything else (a proxy's page,
a firewall's 403, a load balancer's 503, a route that somebody deleted) is a stranger's. A stranger knows nothing of the
payment: he may have passed the call on before he answered. So his answer proves nothing, whatever its number: it is
`Unknown`, and counts as a gateway that does not work. Only his wish to be left alone is heeded (429 with Retry-After),
for a pause does no harm.

docs/extending.md shows the table: `make docs` writes it there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, NoReturn

from workers.domain.causes import Cause
from workers.domain.outcomes import Confirmed, NotFound, Outcome, Rejected, Retryable, Unknown
from workers.domain.redaction import redact, without_account
from workers.domain.text import MAX_REFERENCE, words
from workers.domain.transaction import Transaction
from workers.gateway.limits import Called
from workers.transport.http import HttpError, Response

MAX_PAUSE_SECONDS = 60.0
"""The longest Retry-After that is obeyed; the first call after it asks anew."""
MAX_REASON = 100
"""A refusal's words are cut here."""

Verb = Literal["confirm", "ask"]


class Proof(NamedTuple):
    """One answer that the protocol knows."""

    verbs: tuple[Verb, ...]
    status: int
    word: str
    """What its document says in `status`."""
    outcome: type[Outcome]
    healthy: bool
    """Whether the gateway works, whatever it thinks of the payment: failures open the circuit breaker."""
    reason: str = ""
    """Of the outcome, where it is not taken from the document."""
    counts: bool = True
    """Of Retryable: False leaves the attempt uncounted."""
    cause: Cause = Cause.NOT_DONE
    """Of Retryable."""
    means: str = ""
    """For the docs."""


BOTH: tuple[Verb, ...] = ("confirm", "ask")
CONFIRM: tuple[Verb, ...] = ("confirm",)
ASK: tuple[Verb, ...] = ("ask",)

TABLE: tuple[Proof, ...] = (
    Proof(BOTH, 200, "confirmed", Confirmed, True, means="done, with reference, amount and currency"),
    Proof(CONFIRM, 422, "rejected", Rejected, True, means="refused for good, with a reason"),
    Proof(ASK, 200, "rejected", Rejected, True, means="refused for good, with a reason"),
    Proof(ASK, 200, "processing", Unknown, True, "gateway is still at it", means="under way"),
    Proof(ASK, 404, "not_found", NotFound, True, means="no effect under this key, yet"),
    Proof(
        CONFIRM, 409, "processing", Unknown, True, "gateway answered 409: another call is under way",
        means="another call with this key is under way",
    ),
    Proof(
        CONFIRM, 409, "key_reused", Unknown, True, "gateway answered 409: the key was used for another payment",
        means="the key was used for another payment",
    ),
    Proof(
        CONFIRM, 400, "invalid", Retryable, True, "gateway answered 400",
        means="not understood, so nothing was done",
    ),
    Proof(
        ASK, 400, "invalid", Unknown, True, "gateway answered 400",
        means="not understood; says nothing of the effect",
    ),
    Proof(
        BOTH, 429, "rate_limited", Retryable, True, "gateway's rate limit (429)", False, Cause.THROTTLED,
        means="too many calls",
    ),
    Proof(
        BOTH, 401, "unauthorized", Retryable, False, "gateway refuses our credentials (401)", False, Cause.KEY_REFUSED,
        means="no key, or a wrong one",
    ),
    Proof(
        BOTH, 403, "forbidden", Retryable, False, "gateway refuses our credentials (403)", False, Cause.KEY_REFUSED,
        means="the key may not do this",
    ),
    Proof(
        CONFIRM, 503, "unavailable", Retryable, False, "gateway unavailable (503)",
        means="refused before anything was done",
    ),
    Proof(ASK, 503, "unavailable", Unknown, False, "gateway answered 503", means="no answer to the question"),
    Proof(BOTH, 500, "error", Unknown, False, "gateway answered 500", means="an error, maybe after the effect"),
)  # fmt: skip
"""Every answer that is the gateway's own. Whatever is not here is `Unknown`, and counts against the gateway."""

ROWS: Mapping[tuple[Verb, int, str], Proof] = {(verb, row.status, row.word): row for row in TABLE for verb in row.verbs}


class _Odd(Exception):  # noqa: N818 - an answer that proves nothing
    """The answer is not what the protocol says: short reason, nothing of the answer in it."""


def read(
    verb: Verb, answer: Response, transaction: Transaction, own_keys: Sequence[str] = (), key: str | None = None
) -> Called:
    """The outcome of a call that was answered. Never raises. `own_keys` are ours: what quotes one, loses it. `key` is
    the idempotency key that was sent or asked about, where it is not the transaction's id."""
    status = answer.status
    pause = _pause(answer) if status == 429 else 0.0
    try:
        document = _document(answer, transaction, key)
        word = document.get("status")
        row = ROWS.get((verb, status, word)) if isinstance(word, str) else None
        if row is None:
            raise _Odd("with an unknown status")
        return Called(_outcome(row, document, transaction, own_keys), row.healthy, pause)
    except _Odd as odd:
        return Called(Unknown(f"gateway answered {status} {odd}"), healthy=False, pause_seconds=pause)


def no_answer(error: HttpError) -> Called:
    """The outcome of a call that was not: what may have left may have been done."""
    if error.sent:
        return Called(Unknown(error.reason), healthy=False)
    return Called(Retryable(f"not sent: {error.reason}", counts=False, cause=Cause.NOT_SENT), healthy=False)


def _outcome(row: Proof, document: dict[str, Any], transaction: Transaction, own_keys: Sequence[str]) -> Outcome:
    if row.outcome is Confirmed:
        return _confirmed(document)
    if row.outcome is Rejected:
        return _rejected(document, transaction, own_keys)
    if row.outcome is Retryable:
        return Retryable(row.reason, row.counts, row.cause)
    return NotFound() if row.outcome is NotFound else Unknown(row.reason)


def _pause(answer: Response) -> float:
    asked = answer.headers.get("retry-after", "")
    seconds = float(asked) if asked.isascii() and asked.isdigit() and len(asked) < 9 else 1.0
    return min(max(seconds, 0.1), MAX_PAUSE_SECONDS)


def _confirmed(document: dict[str, Any]) -> Confirmed:
    """Amount and currency are the gateway's, right or wrong: the core compares them with ours."""
    reference, amount, currency = (document.get(name) for name in ("reference", "amount", "currency"))
    if not isinstance(reference, str) or not 0 < len(reference) <= MAX_REFERENCE or not reference.isprintable():
        raise _Odd("without a usable reference")
    if type(amount) is not int:  # bool is an int, and a float is not money
        raise _Odd("without a whole amount")
    if not isinstance(currency, str) or not re.fullmatch("[A-Z]{3}", currency):
        raise _Odd("without a currency")
    return Confirmed(reference, amount, currency)  # a receipt: stored whole, masked where it is shown


def _rejected(document: dict[str, Any], transaction: Transaction, own_keys: Sequence[str]) -> Rejected:
    reason = document.get("reason")
    if not isinstance(reason, str) or not reason.strip():
        raise _Odd("without a reason")
    return Rejected(_clean(reason, transaction, own_keys))


def _clean(reason: str, transaction: Transaction, own_keys: Sequence[str]) -> str:
    """The gateway's words as they may be kept: gateways quote card numbers in theirs (PCI DSS 3.4.1)."""
    reason = words(reason)
    for key in sorted(own_keys, key=len, reverse=True):  # one may begin with another
        reason = without_account(reason, key, "[secret]")
    reason = without_account(reason, transaction.account)
    reason = redact(reason)
    digits = sum(character.isdigit() for character in reason)
    if digits > 4 or re.search(r"\d{3}", reason):  # codes like "51" or "AC04" may stay
        reason = re.sub(r"\d", "x", reason)
    return reason[:MAX_REASON].strip()


def _document(answer: Response, transaction: Transaction, key: str | None) -> dict[str, Any]:
    """The answer's JSON object about the transaction."""
    if answer.headers.get("content-type", "").partition(";")[0].strip(" \t").lower() != "application/json":
        raise _Odd("without the type application/json")
    if "age" in answer.headers:  # RFC 9111: not made for this request; a confirmation may have come about since
        raise _Odd("out of a cache")
    try:
        document = _DECODER.decode(answer.body.decode("utf-8"))
    except (ValueError, RecursionError):
        raise _Odd("with a body that is not JSON") from None
    if not isinstance(document, dict):
        raise _Odd("with a body that is not a JSON object")
    if document.get("id") not in (transaction.id, key or transaction.id):
        raise _Odd("about another transaction")
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):  # two amounts: which one is true?
        raise ValueError("a name twice")
    return document


def _no_constant(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
