"""What each answer is worth, cell by cell: every status, word and verb, from the gateway and from strangers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway_simulator import PROFILES, Fault
from gateway_simulator.server import Request
from tests.fakes import Even, payment
from tests.gateway.support import HandClock, quietly, simulated, transaction
from tests.memory_store import MemoryStore
from workers.domain.causes import Cause
from workers.domain.confirming import Confirmer
from workers.domain.outcomes import Confirmed, NotFound, Outcome, Rejected, Retryable, Unknown
from workers.domain.policy import Policy
from workers.domain.text import MAX_REFERENCE
from workers.domain.transaction import Status
from workers.gateway import evidence
from workers.gateway.evidence import Verb, no_answer, read
from workers.gateway.limits import Called, error_of
from workers.gateway.payments import GatewaySettings, PaymentGateway
from workers.transport.http import HttpError, Response

ONE = transaction()
JSON = {"content-type": "application/json"}
WORDS = (
    *("confirmed", "rejected", "processing", "not_found", "key_reused", "invalid", "rate_limited", "unauthorized"),
    *("forbidden", "unavailable", "error", "pending", "CONFIRMED", ""),
)
WHOLE = {"id": "t-1", "reference": "ref-1", "amount": 1234, "currency": "USD", "reason": "no funds"}
"""Every field that any answer has: what decides is status and word."""
DONE, REFUSED = Confirmed("ref-1", 1234, "USD"), Rejected("no funds")
UNKNOWN, NOTHING_DONE, TURNED_AWAY = Unknown(""), Retryable(""), Retryable("", counts=False)

CELLS: Mapping[tuple[Verb, int, str], tuple[Outcome, bool, str | None]] = {
    ("confirm", 200, "confirmed"): (DONE, True, None),
    ("confirm", 422, "rejected"): (REFUSED, True, None),
    ("confirm", 409, "processing"): (UNKNOWN, True, "unknown"),
    ("confirm", 409, "key_reused"): (UNKNOWN, True, "unknown"),
    ("confirm", 400, "invalid"): (NOTHING_DONE, True, "failed"),
    ("confirm", 429, "rate_limited"): (TURNED_AWAY, True, "throttled"),
    ("confirm", 401, "unauthorized"): (TURNED_AWAY, False, "turned-away"),
    ("confirm", 403, "forbidden"): (TURNED_AWAY, False, "turned-away"),
    ("confirm", 503, "unavailable"): (NOTHING_DONE, False, "failed"),
    ("confirm", 500, "error"): (UNKNOWN, False, "unknown"),
    ("ask", 200, "confirmed"): (DONE, True, None),
    ("ask", 200, "rejected"): (REFUSED, True, None),
    ("ask", 200, "processing"): (UNKNOWN, True, "unknown"),
    ("ask", 404, "not_found"): (NotFound(), True, None),
    ("ask", 400, "invalid"): (UNKNOWN, True, "unknown"),
    ("ask", 429, "rate_limited"): (TURNED_AWAY, True, "throttled"),
    ("ask", 401, "unauthorized"): (TURNED_AWAY, False, "turned-away"),
    ("ask", 403, "forbidden"): (TURNED_AWAY, False, "turned-away"),
    ("ask", 503, "unavailable"): (UNKNOWN, False, "unknown"),
    ("ask", 500, "error"): (UNKNOWN, False, "unknown"),
}
"""Written down a second time, on purpose: outcome, health, and the kind that the metric counts."""
ELSE: tuple[Outcome, bool, str | None] = (UNKNOWN, False, "unknown")


def seen(verb: Verb, status: int, body: Any, headers: Mapping[str, str] = JSON) -> Called:
    return read(verb, Response(status, headers, body if isinstance(body, bytes) else json.dumps(body).encode()), ONE)


def judged(called: Called) -> tuple[Outcome, bool, str | None]:
    """As CELLS has it: of a reason that is ours the words do not matter."""
    outcome = called.outcome
    if isinstance(outcome, Unknown):
        outcome = UNKNOWN
    elif isinstance(outcome, Retryable):
        outcome = Retryable("", outcome.counts)
    return outcome, called.healthy, error_of(called)


@pytest.mark.parametrize("verb", evidence.BOTH)
def test_every_status_with_every_word(verb: Verb) -> None:
    for status in range(200, 600):
        for word in WORDS:
            found = judged(seen(verb, status, {**WHOLE, "status": word}))
            assert found == CELLS.get((verb, status, word), ELSE), (verb, status, word)


STRANGERS: Mapping[str, tuple[Any, Mapping[str, str]]] = {
    "no type": ({}, {}),
    "a page": ({}, {"content-type": "text/html"}),
    "another JSON": ({}, {"content-type": "application/problem+json"}),
    "two types": ({}, {"content-type": "application/json, text/html"}),
    "no id": ({"id": None}, JSON),
    "another id": ({"id": "t-2"}, JSON),
    "an id like ours": ({"id": "T-1"}, JSON),
    "a cache": ({}, {**JSON, "age": "0"}),
    "words in a list": ({"status": ["confirmed"]}, JSON),
    "no words": ({"status": None}, JSON),
    "an empty body": (b"", JSON),
    "an HTML body": (b"<html>404</html>", JSON),
    "half a body": (b'{"id": "t-1", "status": "not_f', JSON),
    "a list": (b'[{"id": "t-1", "status": "not_found"}]', JSON),
    "two words": (b'{"id": "t-1", "status": "error", "status": "not_found"}', JSON),
    "Kong": ({"id": None, "status": None, "message": "no Route matched with those values"}, JSON),
    "API Gateway": ({"id": None, "status": None, "message": "Too Many Requests"}, JSON),
}


@pytest.mark.parametrize("stranger", STRANGERS)
@pytest.mark.parametrize("verb", evidence.BOTH)
def test_a_stranger_is_believed_nothing(verb: Verb, stranger: str) -> None:
    """Whatever the number: he may have passed the call on before he answered. 408 and 425 are always a stranger's."""
    body, headers = STRANGERS[stranger]
    for status in (*{row.status for row in evidence.TABLE}, 201, 204, 302, 405, 408, 410, 421, 425, 451, 502, 504):
        for word in WORDS:
            answer = body if isinstance(body, bytes) else {**WHOLE, "status": word, **body}
            called = seen(verb, status, answer, headers)
            assert judged(called) == ELSE, (verb, status, word)
            assert str(status) in called.outcome.reason  # type: ignore[union-attr]


@pytest.mark.parametrize("type_", ["application/json", "Application/JSON", "application/json; charset=utf-8"])
def test_the_gateway_may_write_its_type_in_any_way(type_: str) -> None:
    called = seen("confirm", 200, {**WHOLE, "status": "confirmed"}, {"content-type": type_})
    assert called == Called(DONE, healthy=True)


def test_the_table_has_each_cell_once() -> None:
    assert len(evidence.ROWS) == sum(len(row.verbs) for row in evidence.TABLE)
    assert set(evidence.ROWS) == set(CELLS)
    for row in evidence.TABLE:
        assert row.means
        assert (row.outcome in (Retryable, Unknown)) == bool(row.reason)


STRANGE = [Fault.PAGE_404, Fault.PAGE_403, Fault.PAGE_408, Fault.EDGE_503]


@pytest.mark.parametrize("fault", STRANGE)
def test_a_proxy_in_the_way_opens_the_breaker_and_puts_nothing_on_a_desk(fault: Fault, tmp_path: Path) -> None:
    """Half an hour of a proxy's 404 had put a thousand of a thousand on desks, with the breaker closed all the time."""

    async def run() -> None:
        clock, policy = HandClock(), Policy(max_attempts=3)
        async with simulated(tmp_path / "l", {"profile": str(fault)}) as (simulation, url):
            gateway = PaymentGateway(GatewaySettings(url, concurrency=1), clock)
            store, tokens = MemoryStore(clock, policy), iter(range(10**6))
            many = [transaction(f"t-{n}")._replace(deadline=clock.now() + timedelta(hours=24)) for n in range(60)]
            await store.add(many)
            worker = Confirmer(store, gateway, clock, Even(), lambda: f"token-{next(tokens)}", policy, "w")
            opened = False
            for _ in range(62):
                await worker.confirm_batch(100)
                opened |= not gateway.ready()
                clock.move(30)
            assert opened
            assert {record.status for record in store.records.values()} == {Status.PENDING}
            assert len(simulation.ledger.calls) < 10 + 62 + 5  # ten to open it, then a probe now and then
            simulation.profile = PROFILES["calm"]
            for _ in range(40):
                await worker.confirm_batch(100)
                clock.move(600)
            assert {record.status for record in store.records.values()} == {Status.CONFIRMED}
            stats = simulation.stats()
            assert (stats["effects"], stats["doubles"]) == (60, 0)
            await gateway.close()

    quietly(run)


def test_a_strangers_wish_to_be_left_alone_is_heeded(tmp_path: Path) -> None:
    """And proves nothing: here the effect had happened."""

    async def run() -> None:
        clock = HandClock()
        async with simulated(tmp_path / "l", {"profile": "page-429"}) as (simulation, url):
            gateway = PaymentGateway(GatewaySettings(url), clock)
            assert isinstance(await gateway.confirm(ONE, "t-1"), Unknown)
            assert simulation.stats()["effects"] == 1
            simulation.profile = PROFILES["calm"]
            before = clock.now()
            assert isinstance(await gateway.ask(ONE, "t-1"), Confirmed)
            assert clock.now() - before >= timedelta(seconds=1)
            await gateway.close()

    quietly(run)


def test_asks_past_every_cache(tmp_path: Path) -> None:
    async def run() -> None:
        async with simulated(tmp_path / "l") as (simulation, url):
            asked: list[str] = []
            handle = simulation.handle

            def listen(request: Request, peer: Any) -> None:
                asked.append(request.headers.get("cache-control", ""))
                handle(request, peer)

            simulation.handle = listen  # type: ignore[method-assign]
            gateway = PaymentGateway(GatewaySettings(url), HandClock())
            assert await gateway.ask(ONE, "t-1") == NotFound()
            assert asked == ["no-cache"]
            await gateway.close()

    asyncio.run(run())


@pytest.mark.parametrize(("said", "kept"), [("51 and AC04", "51 and AC04"), ("51, 05 and 4", "xx, xx and x")])
def test_codes_of_four_digits_in_all_stay_and_those_of_five_do_not(said: str, kept: str) -> None:
    document = {"id": "p-1", "status": "rejected", "reason": said}
    answer = Response(422, {"content-type": "application/json"}, json.dumps(document).encode())
    assert read("confirm", answer, payment()).outcome == Rejected(kept)


def test_a_key_that_begins_with_another_goes_whole() -> None:
    document = {"id": "p-1", "status": "rejected", "reason": "no such key: live_abcdefgh_ijklmnop"}
    answer = Response(422, {"content-type": "application/json"}, json.dumps(document).encode())
    called = read("confirm", answer, payment(), ["live_abcdefgh", "live_abcdefgh_ijklmnop"])
    assert called.outcome == Rejected("no such key: [secret]")


@pytest.mark.parametrize(
    ("asked", "heeded"),
    [("", 1.0), ("0", 0.1), ("1", 1.0), ("60", 60.0), ("61", 60.0), ("9" * 8, 60.0), ("9" * 9, 1.0), ("1.5", 1.0)],
)
def test_a_pause_is_heeded_within_bounds(asked: str, heeded: float) -> None:
    for status, pause in ((429, heeded), (428, 0.0), (503, 0.0)):
        assert seen("confirm", status, {}, {"retry-after": asked}).pause_seconds == pause


@pytest.mark.parametrize(
    ("length", "usable"), [(0, False), (1, True), (MAX_REFERENCE, True), (MAX_REFERENCE + 1, False)]
)
def test_a_reference_has_a_length(length: int, usable: bool) -> None:
    called = seen("confirm", 200, {**WHOLE, "status": "confirmed", "reference": "r" * length})
    assert isinstance(called.outcome, Confirmed) is usable


def test_no_answer_counts_against_the_gateway() -> None:
    assert no_answer(HttpError("cut", sent=True)) == Called(Unknown("cut"), healthy=False)
    never = Retryable("not sent: cut", counts=False, cause=Cause.NOT_SENT)
    assert no_answer(HttpError("cut", sent=False)) == Called(never, healthy=False)


def test_a_refusal_in_turkish_is_evidence_like_any() -> None:
    """A dotless i behind a creditor's reference made the masker raise: then it was no answer at all, time and again."""
    said = "RF18539007547034 numaral\u0131 kay\u0131t bulunamad\u0131"
    body = json.dumps({"id": ONE.id, "status": "rejected", "reason": said}).encode()
    called = read("ask", Response(200, {"content-type": "application/json"}, body), ONE)
    assert isinstance(called.outcome, Rejected)
    assert called.healthy
    assert called.outcome.reason.endswith("numaral\u0131 kay\u0131t bulunamad\u0131")
