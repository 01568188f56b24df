"""PaymentGateway: what each answer is worth as evidence, and what must never be told."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.costs.models import COUNTED_LOAD
from gateway_simulator import PROFILES, Fault, Ledger, SimulatedGateway
from tests.gateway.support import (
    ACCOUNT,
    SECRET,
    HandClock,
    get,
    http,
    payments,
    quietly,
    raw_server,
    saying,
    simulated,
    transaction,
    unsent,
    until,
)
from workers.domain.causes import Cause
from workers.domain.outcomes import Confirmed, NotFound, Outcome, Rejected, Retryable, Unknown
from workers.domain.transaction import Transaction
from workers.gateway import evidence
from workers.gateway.evidence import Verb
from workers.gateway.limits import BreakerPolicy, Called
from workers.gateway.payments import GatewaySettings, PaymentGateway
from workers.tracing import Context, calling
from workers.transport.http import Response

ONE = transaction()
DONE = {"id": "t-1", "status": "confirmed", "reference": "ref-1", "amount": 1234, "currency": "USD"}
REFUSED = {"id": "t-1", "status": "rejected", "reason": "insufficient_funds"}


def read(
    verb: Verb, status: int, document: Any, headers: dict[str, str] | None = None, one: Transaction = ONE
) -> Called:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return evidence.read(verb, Response(status, {"content-type": "application/json", **(headers or {})}, body), one)


CONFIRMED = Confirmed("ref-1", 1234, "USD")


ODD_200 = [
    (b"", "not JSON"),
    (b"<html>", "not JSON"),
    (b"\xff\xfe", "not JSON"),
    (b"[" * 100_000, "not JSON"),
    (json.dumps(DONE).encode()[:-1], "not JSON"),
    (json.dumps(DONE).encode() + b"x", "not JSON"),
    (json.dumps(DONE)[:-1].encode() + b', "amount": 1}', "not JSON"),  # two amounts
    (json.dumps(DONE | {"amount": float("nan")}).encode(), "not JSON"),
    ([DONE], "not a JSON object"),
    ("confirmed", "not a JSON object"),
    (None, "not a JSON object"),
    ({}, "another transaction"),
    (DONE | {"id": "t-2"}, "another transaction"),
    (DONE | {"id": 1}, "another transaction"),
    (DONE | {"id": None}, "another transaction"),
    (DONE | {"status": "CONFIRMED"}, "unknown status"),
    (DONE | {"status": "pending"}, "unknown status"),
    (DONE | {"status": ["confirmed"]}, "unknown status"),
    (DONE | {"amount": 1234.0}, "whole amount"),
    (DONE | {"amount": "1234"}, "whole amount"),
    (DONE | {"amount": True}, "whole amount"),
    (DONE | {"amount": None}, "whole amount"),
    (DONE | {"currency": "usd"}, "currency"),
    (DONE | {"currency": None}, "currency"),
    (DONE | {"currency": "USD\n"}, "currency"),
    (DONE | {"currency": 840}, "currency"),
    (DONE | {"reference": ""}, "reference"),
    (DONE | {"reference": None}, "reference"),
    (DONE | {"reference": 7}, "reference"),
    (DONE | {"reference": "a\nb"}, "reference"),
    (DONE | {"reference": "r" * 257}, "reference"),
    ({name: value for name, value in DONE.items() if name != "amount"}, "whole amount"),
]


@pytest.mark.parametrize(("document", "reason"), ODD_200)
@pytest.mark.parametrize("verb", ["confirm", "ask"])
def test_an_odd_confirmation_proves_nothing(verb: Verb, document: Any, reason: str) -> None:
    called = read(verb, 200, document)
    assert isinstance(called.outcome, Unknown)
    assert reason in called.outcome.reason
    assert len(called.outcome.reason) < 80
    assert not called.healthy
    for told in ("t-2", "pending", ACCOUNT, "1234"):
        assert told not in called.outcome.reason


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<html>blocked by the firewall</html>",
        {"detail": "amount: field required"},  # how web frameworks say 422
        REFUSED | {"id": "t-2"},
        REFUSED | {"status": "confirmed"},
        REFUSED | {"reason": ""},
        REFUSED | {"reason": 51},
        {"id": "t-1", "status": "rejected"},
    ],
)
def test_a_422_in_other_words_is_no_refusal(document: Any) -> None:
    """REJECTED is final: a proxy's or a framework's 422 must not make it so."""
    assert isinstance(read("confirm", 422, document).outcome, Unknown)


@settings(deadline=None)
@given(st.integers(100, 599), st.binary(max_size=60) | st.text().map(str.encode))
def test_no_answer_breaks_the_reading_and_none_of_it_becomes_evidence(status: int, body: bytes) -> None:
    for verb in evidence.BOTH:
        called = read(verb, status, body)
        assert isinstance(called.outcome, Unknown)
        assert not called.healthy


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("insufficient_funds", "insufficient_funds"),
        ("code 51", "code 51"),
        ("AC04", "AC04"),
        ("card 4111 1111 1111 1111 declined", "card ****xxxx declined"),
        ("card 4-1-1-1-1-1 declined", "card x-x-x-x-x-x declined"),
        ("cvv 123", "cvv [secret]"),
        ("card ٤١١١١١١١١١١١١١١١", "card ****xxxx"),
        (f"account {ACCOUNT} closed", "account [account] closed"),
        ("two\nlines\x00\x1b[31m", "two lines [31m"),
        ("w" * 300, "w" * 100),
    ],
)
def test_a_refusal_keeps_its_words_and_no_account(said: str, kept: str) -> None:
    assert read("confirm", 422, REFUSED | {"reason": said}).outcome == Rejected(kept)


@pytest.mark.parametrize(
    ("account", "said", "kept"),
    [
        ("42", "code AC42", "code AC42"),
        ("42", "account 42 closed", "account [account] closed"),
        ("a", "no such bank", "no such bank"),
        ("DE42", "xDE42y closed", "x[account]y closed"),
        ("4.2", "code 472", "code xxx"),
        ("ana.smith@example.com", "account ANA.SMITH@EXAMPLE.COM closed", "account [account] closed"),
        ("ana.smith@example.com", "account ana.smith%40example.com closed", "account [account] closed"),
    ],
)
def test_a_short_account_leaves_other_words_alone(account: str, said: str, kept: str) -> None:
    called = read("confirm", 422, REFUSED | {"reason": said}, one=ONE._replace(account=account))
    assert called.outcome == Rejected(kept)


@pytest.mark.parametrize("verb", ["confirm", "ask"])
@pytest.mark.parametrize(
    ("account", "reference"),
    [
        ("42", "ch_3Lx42yQ"),
        ("1", "ref-1"),
        (ACCOUNT, f"ref-{ACCOUNT}"),
        ("acct", "4111111111111111"),  # its check digit is a card's
        ("acct", "r" * 256),
    ],
)
def test_a_reference_is_a_receipt_and_kept_whole(verb: Verb, account: str, reference: str) -> None:
    called = read(verb, 200, DONE | {"reference": reference}, one=ONE._replace(account=account))
    assert called == Called(Confirmed(reference, 1234, "USD"), healthy=True)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.1),
        ("999999", 60.0),
        ("", 1.0),
        ("Wed, 21 Oct 2026 07:28:00 GMT", 1.0),
        ("-3", 1.0),
        ("²", 1.0),
    ],
)
def test_obeys_retry_after_within_reason(said: str, seconds: float) -> None:
    own = {"id": "t-1", "status": "rate_limited"}
    assert read("confirm", 429, own, {"retry-after": said}).pause_seconds == seconds
    assert read("confirm", 429, b"<html>", {"retry-after": said}).pause_seconds == seconds  # a stranger's wish, too


# --- over the wire


def test_speaks_the_protocol() -> None:
    async def run() -> None:
        async with (
            raw_server(saying(http(200, DONE), hold=True)) as server,
            payments(server.url + "/v2", api_key=SECRET) as gateway,
        ):
            assert await gateway.confirm(ONE, "t-1") == CONFIRMED
            assert await gateway.ask(ONE._replace(id="t-1"), "a/b?c") == CONFIRMED
            confirm, ask = server.requests
            head, _, body = confirm.partition(b"\r\n\r\n")
            assert head.startswith(b"POST /v2/confirmations HTTP/1.1\r\n")
            assert (
                f"\r\nIdempotency-Key: t-1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
                in head.decode()
            )
            assert f"\r\nAuthorization: Bearer {SECRET}\r\n".encode() in head
            assert json.loads(body) == {"id": "t-1", "account": ACCOUNT, "amount": 1234, "currency": "USD"}
            assert ask.startswith(b"GET /v2/confirmations/a%2Fb%3Fc HTTP/1.1\r\n")

    quietly(run)


def test_a_call_is_as_large_as_its_bill_says() -> None:
    """What leaves for one confirmation, with an id, a key and a trace as long as in practice."""
    id_, path = "0b3f9a52-6c1d-5a8e-9f40-7d2c1e8b6a33", "/payments/v2"
    record = ONE._replace(id=id_)

    async def run() -> None:
        async with (
            raw_server(saying(http(200, DONE | {"id": id_}), hold=True)) as server,
            payments(server.url + path, api_key=SECRET * 2) as gateway,
        ):
            token = calling.set(Context("6" * 32, "7" * 16, sampled=True))
            await gateway.confirm(record, id_)
            calling.reset(token)
            (request,) = server.requests
        framed = len(request) + 22 + 2 * 52  # a TLS record; two packets' heads, the second acknowledges the answer
        assert 0.8 * COUNTED_LOAD.wire_out_bytes < framed <= COUNTED_LOAD.wire_out_bytes

    quietly(run)


AFTER = [fault for fault in Fault if fault.has_effect]
BEFORE = [fault for fault in Fault if not fault.has_effect]
EXPECTED: dict[Fault, type[Outcome]] = {
    Fault.UNAVAILABLE: Retryable,
    Fault.WRONG_AMOUNT: Confirmed,
    Fault.WRONG_CURRENCY: Confirmed,  # for a person to see
    Fault.TWICE: Confirmed,
}


@pytest.mark.parametrize("fault", [*AFTER, *BEFORE])
def test_each_fault_is_told_for_what_it_is_and_asking_brings_the_truth(fault: Fault, tmp_path: Path) -> None:
    async def run() -> None:
        changes = {"script": {"t-1": [fault]}, "latency_seconds": [0.001, 0.001]}
        async with simulated(tmp_path / "l", changes) as (_, url), payments(url, timeout_seconds=1) as gateway:
            outcome = await gateway.confirm(ONE, "t-1")
            assert isinstance(outcome, EXPECTED.get(fault, Unknown))
            if fault is Fault.WRONG_AMOUNT:
                assert outcome == Confirmed("sim-1-1", 1235, "USD")
            await asyncio.sleep(0.01)
            ledger = await get(url, "/_ledger")
            asked = await gateway.ask(ONE, "t-1")
            if fault in AFTER:
                assert [effect["id"] for effect in ledger["effects"]] == ["t-1"]
                assert asked == Confirmed("sim-1-1", 1234, "USD")
            else:
                assert ledger["effects"] == []
                assert asked == NotFound()
            # the same key again: one effect, however the first call ended
            assert await gateway.confirm(ONE, "t-1") == Confirmed("sim-1-1", 1234, "USD")
            stats = await get(url, "/_stats")
            assert (stats["effects"], stats["doubles"], stats["sums"]) == (1, 0, {"USD": 1234})

    quietly(run)


@pytest.mark.parametrize(
    "fault",
    [
        Fault.UNAVAILABLE,
        Fault.ERROR_AFTER,
        Fault.TIMEOUT_AFTER,
        Fault.GARBAGE,
        Fault.NOT_HTTP,
        Fault.HUGE,
        Fault.WRONG_ID,
        Fault.FLOAT_AMOUNT,
        Fault.CLOSE_MID_BODY,
        Fault.REDIRECT,
    ],
)
def test_no_fault_of_ask_is_taken_for_not_found(fault: Fault, tmp_path: Path) -> None:
    async def run() -> None:
        changes = {"script": {"ask:t-1": [fault, fault]}}
        async with simulated(tmp_path / "l", changes) as (_, url), payments(url, timeout_seconds=1) as gateway:
            await gateway.confirm(ONE, "t-1")
            assert isinstance(await gateway.ask(ONE, "t-1"), Unknown)

    quietly(run)


def test_a_closed_port_was_not_sent_and_costs_no_attempt(tmp_path: Path) -> None:
    async def run() -> None:
        async with simulated(tmp_path / "l") as (_, url):
            pass
        async with payments(url) as gateway:
            for outcome in (await gateway.confirm(ONE, "t-1"), await gateway.ask(ONE, "t-1")):
                assert outcome == unsent(Cause.NOT_SENT, "not sent: could not connect: connection refused")

    quietly(run)


def test_wrong_credentials_cost_no_attempt(tmp_path: Path) -> None:
    async def run() -> None:
        async with simulated(tmp_path / "l", api_key=SECRET) as (_, url):
            async with payments(url, api_key="wrong") as gateway:
                outcome = await gateway.confirm(ONE, "t-1")
                assert outcome == unsent(Cause.KEY_REFUSED, "gateway refuses our credentials (401)")
            async with payments(url, api_key=SECRET) as gateway:
                assert isinstance(await gateway.confirm(ONE, "t-1"), Confirmed)

    quietly(run)


def test_a_rotated_key_keeps_connections_limits_and_the_calls_under_way(tmp_path: Path) -> None:
    async def run() -> None:
        changes = {"latency_seconds": [0.2, 0.2]}
        async with (
            simulated(tmp_path / "l", changes, api_key="old") as (simulation, url),
            payments(url, api_key="old", concurrency=3) as gateway,
        ):
            guard = gateway._guard
            under_way = asyncio.create_task(gateway.confirm(transaction("a"), "a"))
            await until(lambda: simulation.in_flight == 1)
            simulation._api_key = "new"
            gateway.use_key("new")
            assert isinstance(await under_way, Confirmed)
            assert isinstance(await gateway.confirm(transaction("b"), "b"), Confirmed)
            assert gateway._guard is guard
            assert len(simulation._peers) == 1
            with pytest.raises(ValueError, match="header"):
                gateway.use_key("two\nlines")
            assert isinstance(await gateway.confirm(transaction("c"), "c"), Confirmed)

    quietly(run)


@pytest.mark.parametrize("verb", ["confirm", "ask"])
def test_the_key_before_a_rotation_is_ours_too(monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    old, new = "correct-horse-battery-staple", "another-horse-another-staple"
    gateway = PaymentGateway(GatewaySettings("https://gateway.example", api_key=old), HandClock())

    async def request(*_: Any, **__: Any) -> Response:
        gateway.use_key(new)  # it is rotated while the call is under way
        document = {"id": ONE.id, "status": "rejected", "reason": f"neither {old} nor {new} may pay this"}
        status = 422 if verb == "confirm" else 200
        return Response(status, {"content-type": "application/json"}, json.dumps(document).encode())

    monkeypatch.setattr(gateway._http, "request", request)
    for _ in range(2):  # and quoted later still
        outcome = asyncio.run(getattr(gateway, verb)(ONE, ONE.id))
        assert isinstance(outcome, Rejected)
        assert old not in outcome.reason
        assert new not in outcome.reason


def test_a_new_key_is_tried_at_once_where_the_old_one_had_opened_the_breaker(tmp_path: Path) -> None:
    async def run() -> None:
        clock = HandClock()
        async with simulated(tmp_path / "l", api_key="new") as (_, url):
            settings = GatewaySettings(url, api_key="old", breaker=BreakerPolicy(consecutive=2))
            gateway = PaymentGateway(settings, clock)
            for _ in range(2):
                await gateway.confirm(ONE, "t-1")
            assert not gateway.ready()
            gateway.use_key("old")
            assert not gateway.ready()
            gateway.use_key("new")
            assert gateway.ready()
            assert isinstance(await gateway.confirm(ONE, "t-1"), Confirmed)
            await gateway.close()

    quietly(run)


def test_never_more_calls_at_the_gateway_than_agreed(tmp_path: Path) -> None:
    async def run() -> None:
        async with (
            simulated(tmp_path / "l", {"latency_seconds": [0.005, 0.005]}) as (simulation, url),
            payments(url, concurrency=7) as gateway,
        ):
            many = [transaction(f"t-{number}") for number in range(60)]
            outcomes = await asyncio.gather(*(gateway.confirm(one, one.id) for one in many))
            assert all(isinstance(outcome, Confirmed) for outcome in outcomes)
            assert (simulation.max_in_flight, len(simulation.ledger.effects)) == (7, 60)

    quietly(run)


def test_keeps_to_its_own_rate(tmp_path: Path) -> None:
    async def run() -> None:
        async with (
            simulated(tmp_path / "l") as (simulation, url),
            payments(url, rate_limit=200) as gateway,
        ):
            many = [transaction(f"t-{number}") for number in range(80)]
            start = asyncio.get_running_loop().time()
            await asyncio.gather(*(gateway.confirm(one, one.id) for one in many))
            assert asyncio.get_running_loop().time() - start > 0.37  # 80 at 200 a second, and none at once
            assert len(simulation.ledger.effects) == 80

    quietly(run)


def test_under_a_rate_limit_a_connection_is_there_before_the_turn() -> None:
    """A call that has to connect first comes round trips after its instant, beside others that come in time."""

    async def run() -> None:
        confirmed = {"id": "t-1", "status": "confirmed", "reference": "r-1", "amount": 1234, "currency": "USD"}
        async with (
            raw_server(saying(http(200, confirmed), hold=True)) as server,
            payments(server.url, rate_limit=200) as gateway,
        ):
            async with gateway.turn(), gateway.turn():
                await until(lambda: server.connections == 2)
                assert not server.requests
            for _ in range(3):
                assert isinstance(await gateway.confirm(transaction(), "t-1"), Confirmed)
            assert server.connections == 2, "they are used, and no more are opened"

    quietly(run)


def test_a_gateway_that_cannot_be_reached_is_left_to_the_call() -> None:
    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as gone:
            url = f"http://127.0.0.1:{gone.getsockname()[1]}"
        async with payments(url, rate_limit=200) as gateway:
            outcome = await gateway.confirm(transaction(), "t-1")
            assert outcome == unsent(Cause.NOT_SENT, "not sent: could not connect: connection refused")

    quietly(run)


def test_the_gateways_own_rate_limit_costs_no_attempt_and_pauses_us(tmp_path: Path) -> None:
    async def run() -> None:
        async with (
            simulated(tmp_path / "l", {"rate_limit_per_second": 0.5}) as (_, url),
            payments(url, wait_seconds=0.01) as gateway,
        ):
            outcomes = [await gateway.confirm(transaction(f"t-{n}"), f"t-{n}") for n in range(4)]
            assert [type(outcome) for outcome in outcomes] == [Confirmed, Retryable, Retryable, Retryable]
            assert outcomes[1] == unsent(Cause.THROTTLED, "gateway's rate limit (429)")
            assert outcomes[3] == unsent(Cause.RATE_LIMITED)
            assert (await get(url, "/_stats"))["answers"] == {"confirm 200": 1, "confirm 429": 1}

    quietly(run)


def test_an_outage_opens_the_breaker_and_a_probe_closes_it(tmp_path: Path) -> None:
    async def run() -> None:
        clock = HandClock()
        async with simulated(tmp_path / "l", {"profile": "down"}) as (simulation, url):
            settings = GatewaySettings(url, timeout_seconds=1, breaker=BreakerPolicy(consecutive=3, open_seconds=5))
            gateway = PaymentGateway(settings, clock)
            for _ in range(3):
                assert gateway.ready()
                assert await gateway.confirm(ONE, "t-1") == Retryable("gateway unavailable (503)")
            assert not gateway.ready()
            refused = unsent(Cause.BREAKER_OPEN)
            assert await gateway.confirm(ONE, "t-1") == refused
            assert await gateway.ask(ONE, "t-1") == refused
            assert simulation.ledger.count("t-1", "confirm") == 3
            simulation.profile = PROFILES["calm"]
            clock.move(5)
            assert gateway.ready()
            assert isinstance(await gateway.confirm(ONE, "t-1"), Confirmed)
            assert gateway.ready()
            await gateway.close()

    quietly(run)


def test_a_hundred_refusals_do_not_open_the_breaker(tmp_path: Path) -> None:
    async def run() -> None:
        async with simulated(tmp_path / "l", {"refused": 1}) as (_, url):
            gateway = PaymentGateway(GatewaySettings(url), HandClock())
            for number in range(100):
                outcome = await gateway.confirm(transaction(f"t-{number}"), f"t-{number}")
                assert outcome == Rejected("insufficient_funds")
            assert gateway.ready()
            await gateway.close()

    quietly(run)


def test_a_restarted_gateway_costs_nothing(tmp_path: Path) -> None:
    """Its connections were closed while idle; the next call finds that out before it sends."""

    async def run() -> None:
        first = SimulatedGateway(Ledger(tmp_path / "l"), profile=PROFILES["calm"])
        url = await first.serve()
        async with payments(url) as gateway:
            many = [transaction(f"t-{number}") for number in range(5)]
            done = await asyncio.gather(*(gateway.confirm(one, one.id) for one in many))
            await first.stop()
            second = SimulatedGateway(Ledger(tmp_path / "l"), profile=PROFILES["calm"])
            await second.serve(int(url.rpartition(":")[2]))
            assert await asyncio.gather(*(gateway.confirm(one, one.id) for one in many)) == done
            assert second.stats()["doubles"] == 0
            await second.stop()

    quietly(run)


def test_a_key_that_no_header_can_hold_is_not_sent() -> None:
    async def run() -> None:
        async with raw_server(saying(http(200, DONE))) as server, payments(server.url) as gateway:
            outcome = await gateway.confirm(ONE, "t-1\r\nX: y")
            assert isinstance(outcome, Retryable)
            assert outcome.counts
            assert server.connections == 0

    quietly(run)


def test_a_cancelled_call_leaves_no_trace_in_the_next(tmp_path: Path) -> None:
    async def run() -> None:
        changes = {"latency_seconds": [0.03, 0.03]}
        async with simulated(tmp_path / "l", changes) as (simulation, url), payments(url, concurrency=1) as gateway:
            task = asyncio.create_task(gateway.confirm(transaction("a"), "a"))
            await until(lambda: simulation.in_flight == 1)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert isinstance(await gateway.confirm(transaction("b"), "b"), Confirmed)

    quietly(run)


# --- settings and secrets


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"timeout_seconds": 0}, "timeout_seconds must be 0.001 or more, found 0"),
        ({"timeout_seconds": float("nan")}, "timeout_seconds"),
        ({"concurrency": 0}, "concurrency must be 1 or more, found 0"),
        ({"wait_seconds": -1}, "wait_seconds must be 0 or more, found -1"),
        ({"url": "http://gateway.example", "api_key": SECRET}, "url must be https://"),
    ],
)
def test_settings_name_what_is_wrong(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        GatewaySettings(**({"url": "https://gateway.example"} | change))
    assert SECRET not in str(caught.value)


def test_the_secret_shows_nowhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def run() -> None:
        outcomes: list[Outcome] = []
        for fault in Fault:
            async with (
                simulated(tmp_path / fault, {"faults": {fault: 1}}, api_key=SECRET) as (_, url),
                payments(url, api_key=SECRET, timeout_seconds=0.02) as gateway,
            ):
                outcomes += [await gateway.confirm(ONE, "t-1"), await gateway.ask(ONE, "t-1")]
                shown = repr([vars(gateway), outcomes, gateway])
            assert SECRET not in shown
            assert ACCOUNT not in shown
            assert ACCOUNT.encode() not in (tmp_path / fault).read_bytes()
        assert SECRET not in repr(GatewaySettings("https://x", api_key=SECRET))

    quietly(run)
    assert "".join(capsys.readouterr()) == ""
