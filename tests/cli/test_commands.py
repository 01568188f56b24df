"""`confirm status`, `show`, `review` and `redrive`: what they say, their JSON, their exit codes; on every store."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from cli import main, target, views
from cli.console.serve import gate_of
from cli.desk import Desk
from cli.exits import Exit, Trouble
from cli.identity import Caller
from tests.cli.conftest import Cli, MemoryCli, Opening, make_database, memory_cli, on_database, on_table
from tests.conftest import AwsAccount
from tests.console.world import ANA, BERTA, PORT, Client
from tests.contract.conftest import make_table
from tests.fakes import START, FakeClock, payment
from workers.domain.causes import Cause, because
from workers.domain.desk import Limits, Role
from workers.domain.numbers import is_card
from workers.domain.outcomes import Confirmed, Outcome, Rejected, Retryable, Unknown
from workers.domain.ports import Move, Store
from workers.domain.redaction import masked
from workers.domain.transaction import HistoryEntry, Status, Transaction, to_text
from workers.domain.transitions import Answer, SetAside, decide
from workers.stores.common import arrived
from workers.tracing import trace_id

ACCOUNT = "DE89370400440532013000"


@pytest.fixture(params=["memory", "dynamodb", "postgres"])
def confirm(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The command on each store: it says the same whatever is behind it."""
    if request.param == "memory":
        return memory_cli(capsys, monkeypatch)
    clock = FakeClock()
    make = {"dynamodb": _on_dynamodb, "postgres": _on_postgres}[request.param]
    return Cli(capsys, monkeypatch, clock, make(request, clock)).sit_down()


def _on_dynamodb(request: pytest.FixtureRequest, clock: FakeClock) -> Opening:
    aws: AwsAccount = request.getfixturevalue("aws")
    client = aws.client("dynamodb")
    table = make_table(client)

    return on_table(client, table, clock)


def _on_postgres(request: pytest.FixtureRequest, clock: FakeClock) -> Opening:
    return on_database(asyncio.run(make_database(request.getfixturevalue("postgres"))), clock)


@pytest.fixture
def memory(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> MemoryCli:
    return memory_cli(capsys, monkeypatch)


def add(confirm: Cli, *ids: str) -> None:
    day = timedelta(hours=24)
    rows = [Transaction(id_, ACCOUNT, 1250, "USD", START, START + day) for id_ in ids]
    confirm.at(lambda store: store.add(rows))


def settle(confirm: Cli, id_: str, outcome: Outcome, times: int = 1) -> None:
    """Let a worker claim it and get `outcome`, `times` times."""

    async def work(store: Store) -> None:
        for _ in range(times):
            confirm.clock.advance(1000)
            [held], _ = await store.claim(token="t0ken", by="run-1/7", limit=1, ids=[id_])
            now, policy = confirm.clock.now(), confirm.target.policy
            await store.settle([Move(held, decide(held, Answer(outcome, "run-1/7"), now, policy))])

    confirm.at(work)


def in_review(confirm: Cli, id_: str = "lost") -> None:
    add(confirm, id_)
    settle(confirm, id_, Retryable("time-out"), times=2)
    assert confirm.find(id_).status is Status.REVIEW


# --- the console -----------------------------------------------------------------------------------------------------


def test_the_console_shows_and_orders_the_same(confirm: Cli) -> None:
    """Its pages, on each store: Ana asks, Berta approves (tests/console has the rest, on the store in memory)."""
    in_review(confirm)
    add(confirm, "open")

    async def sit(person: Caller, desk: Desk) -> Client:
        confirm.person = person.name or ""
        client = Client(gate_of(desk, person, PORT, "en", confirm.clock.now))
        await client.sent("POST", "/enter", {}, urlencode({"code": client.gate.code}).encode())
        return client

    async def day() -> None:
        async with confirm.desk(confirm.target) as desk:
            ana = await sit(ANA, desk)
            for path in ("/", "/transactions/lost", "/transactions/open", "/requests", "/status"):
                page = await ana.sent("GET", ana.gate.base + path, {})
                assert page.status == 200, path
                assert ("attempts used up" in page.text) is (path in ("/", "/transactions/lost")), path
            form = await ana.sends("/ask", {"id": "lost"}, page.fields)
            sent = await ana.sends("/ask/send", {"kind": "redrive", "why": "the bank never got it"}, form.fields)
            assert sent.status == 303, sent.text
            where = sent.headers["location"].removeprefix(ana.gate.base)
            berta = await sit(BERTA, desk)
            request = await berta.sent("GET", berta.gate.base + where, {})
            assert "the bank never got it" in request.text
            assert (await berta.sends(f"{where}/approve", {}, request.fields)).status == 303
            assert "1 of 1 gone through" in (await berta.sent("GET", berta.gate.base + where, {})).text

    asyncio.run(day())
    assert confirm.find("lost").status is Status.PENDING


# --- status ----------------------------------------------------------------------------------------------------------


def test_status_ends_with_8_while_something_is_open_and_with_0_after(confirm: Cli) -> None:
    assert confirm("status").code == Exit.OK
    add(confirm, "a")
    assert confirm("status").code == Exit.NOT_YET_FINAL
    settle(confirm, "a", Confirmed("r", 1250, "USD"))
    done = confirm("status")
    assert done.code == Exit.OK
    assert "every transaction is in a final state" in done.out
    in_review(confirm)
    assert confirm("status").code == Exit.NOT_YET_FINAL


def test_status_in_words(confirm: Cli) -> None:
    add(confirm, "a", "b")
    in_review(confirm)
    out = confirm("status", "--all").out
    lines = {line.split("  ")[0]: line for line in out.splitlines()}
    assert "stack serverless (dev, AWS, us-east-1)" in out
    assert lines["open"].split()[1] == "2"
    assert lines["due"].split()[1] == "2"
    assert "33 min 20 s" in lines["oldest"]
    assert lines["in review"].split()[2] == "1"
    assert "attempts-used-up" in out
    assert "nothing was due" in lines["last run"]
    assert "10.0 settled per second: 590 confirmed, 10 rejected" in lines["last with work"]
    assert "25.00 USD" in out
    assert "waits for its turn" in out


def test_json_of_status_is_stable(confirm: Cli) -> None:
    add(confirm, "a")
    in_review(confirm)
    value = json.loads(confirm("status", "--json", "--all").out)
    work = value.pop("last_run_with_work")
    assert work == {
        "name": "busy",
        "status": "SUCCEEDED",
        "started_at": "2026-01-05T08:55:00.000Z",
        "stopped_at": "2026-01-05T08:56:00.000Z",
        "seconds": 60.0,
        "counts": {"confirmed": 590, "rejected": 10},
        "settled_per_second": 10.0,
        "error": None,
    }
    assert value.pop("last_run")["name"] == "idle"
    nothing = {"count": 0, "amounts_minor": {}}
    one = {"count": 1, "amounts_minor": {"USD": 1250}}
    assert value == {
        "stack": "serverless",
        "alternative": "serverless",
        "environment": "dev",
        "region": "us-east-1",
        "at": "2026-01-05T09:33:20.000Z",
        "final": False,
        "paused": None,
        "open": 1,
        "due": 1,
        "exact": True,
        "oldest_due_at": "2026-01-05T09:00:00.000Z",
        "oldest_due_seconds": 2000.0,
        "review": 1,
        "review_reasons": [{"reason": "2 attempts used up; last: time-out", "count": 1}],
        "review_causes": [{"cause": "attempts-used-up", "count": 1}],
        "states": {"PENDING": one, "PROCESSING": nothing, "CONFIRMED": nothing, "REJECTED": nothing, "REVIEW": one},
    }


def test_status_before_the_first_run(confirm: Cli) -> None:
    confirm.runs.newest = confirm.runs.busy = None
    assert "has not started one yet" in confirm("status").out
    value = json.loads(confirm("status", "--json").out)
    assert (value["last_run"], value["last_run_with_work"], value["states"]) == (None, None, None)


# --- show ------------------------------------------------------------------------------------------------------------


def test_show_tells_a_life_from_pending_to_its_end(confirm: Cli) -> None:
    add(confirm, "a")
    settle(confirm, "a", Unknown("time-out"))
    settle(confirm, "a", Confirmed("ref-9", 1250, "USD"))
    result = confirm("show", "a")
    assert result.code == Exit.OK
    for said in ("12.50 USD", "****3000", "ref-9", "unknown: time-out", "run-1/7", "t0ken", "2026-01-05 09:33:20.000"):
        assert said in result.out
    states = [line.split("│")[4].strip() for line in result.out.splitlines() if line.startswith("│")]
    assert states == ["PENDING", "PROCESSING", "PENDING", "PROCESSING", "CONFIRMED"]


def test_show_ends_with_8_when_it_is_not_over(confirm: Cli) -> None:
    add(confirm, "a", "b")
    assert confirm("show", "a").code == Exit.NOT_YET_FINAL
    settle(confirm, "a", Rejected("no funds"))
    assert confirm("show", "a").code == Exit.OK
    in_review(confirm, "c")
    assert confirm("show", "c").code == Exit.NOT_YET_FINAL


def test_json_of_show_is_stable(confirm: Cli) -> None:
    add(confirm, "a")
    settle(confirm, "a", Rejected("no funds"))
    value = json.loads(confirm("show", "a", "--json").out)
    history = value.pop("history")
    assert value == {
        "id": "a",
        "account": "****3000",
        "amount_minor": 1250,
        "currency": "USD",
        "status": "REJECTED",
        "final": True,
        "attempt": 1,
        "created_at": "2026-01-05T09:00:00.000Z",
        "deadline": "2026-01-06T09:00:00.000Z",
        "next_attempt_at": None,
        "lease_until": None,
        "first_sent_at": "2026-01-05T09:16:40.000Z",
        "last_sent_at": None,
        "tries": 0,
        "asked": 0,
        "lost": 0,
        "away_since": None,
        "desk_by": None,
        "keys": ["a"],
        "moved_minor": None,
        "moved_currency": None,
        "settled_at": "2026-01-05T09:16:40.000Z",
        "gateway_reference": None,
        "reason": "no funds",
        "owner": None,
        "review_by": None,
        "trace": trace_id(confirm.find("a")),
    }
    assert history[0] == {
        "at": "2026-01-05T09:00:00.000Z",
        "by": "producer",
        "from": None,
        "to": "PENDING",
        "attempt": 0,
        "token": None,
        "why": "added",
        "cause": "added",
        "times": 1,
        "since": None,
    }
    assert [(entry["from"], entry["to"], entry["cause"], entry["why"]) for entry in history[1:]] == [
        ("PENDING", "PROCESSING", "claimed", "claimed"),
        ("PROCESSING", "REJECTED", "refused", "gateway refused: no funds"),
    ]


def test_an_unknown_id_gets_the_nearest(confirm: Cli) -> None:
    add(confirm, "order-2026-0001", "other")
    result = confirm("show", "order-2026-001")
    assert result.code == Exit.ERROR
    assert result.err.count("\n") == 1
    assert "there is no transaction order-2026-001 in stack serverless" in result.err
    assert "nearest ids are order-2026-0001" in result.err
    assert "nearest ids are order-2026-0001" in confirm("show", "ORDER-2026-0001").err
    assert "see the id in the file" in confirm("show", "zzz").err


@pytest.mark.parametrize("id_", ["#run", "a b", "x" * 129, ""])
def test_what_cannot_be_an_id_is_wrong_usage(confirm: Cli, id_: str) -> None:
    result = confirm("show", id_)
    assert result.code == Exit.USAGE
    assert "an id is 1 to 128" in result.err


def test_texts_from_outside_neither_steer_the_terminal_nor_show_accounts(confirm: Cli) -> None:
    add(confirm, "a")
    settle(confirm, "a", Rejected(f"[red]\x1b[31m card 4111 1111 1111 1111 of {ACCOUNT} expired"))
    for result in (confirm("show", "a"), confirm("show", "a", "--json")):
        assert "\x1b" not in result.out
        assert "4111 1111" not in result.out
        assert ACCOUNT not in result.out
        assert "[red]" in result.out
        assert "****1111" in result.out


STEERING = ("\x1b[8m", "\x1b[2J", "\x9b1A", "\u202e")


@pytest.mark.parametrize("tail", STEERING)
def test_no_text_of_a_record_steers_the_terminal(memory: MemoryCli, tail: str) -> None:
    """Whatever stands in it: a producer writes accounts, and whoever writes to the table writes all of it."""
    texts: dict[str, Any] = {
        name: f"{name}{tail}" for name in ("id", "account", "currency", "token", "gateway_reference", "reason", "owner")
    }
    line = HistoryEntry(START, f"by{tail}", None, Status.PENDING, 1, token=f"t{tail}", why=f"why{tail}")
    bad = payment("x")._replace(**texts, status=Status.REVIEW, review_by=START, next_attempt_at=None, history=(line,))
    memory.store.records = {"a": bad}
    for command in (("show", "a"), ("review",), ("status", "--all")):
        said = memory(*command).out
        assert not [one for one in said if one != "\n" and not one.isprintable()], command
        found = json.loads(memory(*command, "--json").out)
        assert tail not in json.dumps(found, ensure_ascii=False), command


# --- review and redrive ----------------------------------------------------------------------------------------------


def test_review_lists_the_desk(confirm: Cli) -> None:
    assert "nothing is in review" in confirm("review").out
    in_review(confirm)
    result = confirm("review")
    assert result.code == Exit.OK
    for said in (
        "lost",
        "12.50 USD",
        "****3000",
        "2 attempts used up",
        "payment-operations",
        "2026-01-06 09:33:20.000",
    ):
        assert said in result.out
    confirm.clock.advance(2 * 86400)
    assert "(passed)" in confirm("review").out
    assert json.loads(confirm("review", "--json").out) == {
        "review": [
            {
                "id": "lost",
                "account": "****3000",
                "amount_minor": 1250,
                "currency": "USD",
                "attempt": 2,
                "cause": "attempts-used-up",
                "reason": "2 attempts used up; last: time-out",
                "owner": "payment-operations",
                "review_by": "2026-01-06T09:33:20.000Z",
                "deadline": "2026-01-06T09:00:00.000Z",
            }
        ]
    }


def test_why_and_diagnose_tell_the_same_case_on_every_store(confirm: Cli) -> None:
    in_review(confirm)
    add(confirm, "turned-away")
    key_refused = Retryable("no key", counts=False, cause=Cause.KEY_REFUSED)
    settle(confirm, "turned-away", key_refused)

    async def at_the_deadline(store: Store) -> None:
        confirm.clock.advance(83_300)
        [held], _ = await store.claim(token="t0ken", by="run-1/7", limit=1, ids=["turned-away"])
        confirm.clock.advance(150)
        after = decide(held, Answer(key_refused, "run-1/7"), confirm.clock.now(), confirm.target.policy)
        assert await store.settle([Move(held, after)]) == [True]

    confirm.at(at_the_deadline)
    assert [json.loads(confirm("why", id_, "--json").out)["case"] for id_ in ("turned-away", "lost")] == [
        "never-sent-credentials",
        "never-sent-used-up",
    ]
    assert {one["case"] for one in json.loads(confirm("diagnose", "--json").out)["cases"]} == {
        "never-sent-credentials",
        "never-sent-used-up",
    }


def redrive(confirm: Cli, id_: str = "lost", why: str = "never came") -> Any:
    return confirm("redrive", id_, "--why", why)


def requested(confirm: Cli, *ids: str) -> str:
    """A request of ana's, by its id."""
    confirm.person = "ana"
    result = confirm("redrive", *(ids or ("lost",)), "--why", "never came", "--json")
    assert result.code == Exit.OK, result.err
    return str(json.loads(result.out)["id"])


def test_one_asks_and_another_approves(confirm: Cli) -> None:
    in_review(confirm)
    before = confirm.find("lost")
    result = redrive(confirm, why="never\n came")
    assert result.code == Exit.OK
    assert confirm.find("lost") == before, "a request changes nothing"
    (waiting,) = json.loads(confirm("requests", "--json").out)["requests"]
    assert (waiting["by"], waiting["state"], waiting["approvals"]) == ("ana", "open", [])
    assert (waiting["transactions"], waiting["sums"]) == (1, {"USD": 1250})
    assert waiting["ends_at"] == to_text(START + confirm.limits.ends_after + (confirm.clock.now() - START))
    assert waiting["id"][:12] in " ".join(confirm("requests").out.split())
    whole = confirm("requests", waiting["id"][:8])
    assert "lost" in whole.out
    assert waiting["digest"] in whole.out
    confirm.person = "ben"
    done = confirm("approve", waiting["id"][:8], "--digest", waiting["digest"][:12])
    assert done.code == Exit.OK, done.err
    assert "1 of 1 done, 0 left out" in done.err
    record = confirm.find("lost")
    assert record.status is Status.PENDING
    assert record.history[-1].by == "ana"
    assert record.history[-1].why == f"redrive approved by ben (request {waiting['id']}): never came"
    assert "No request waits" in confirm("requests").out


def sent_and_in_review(confirm: Cli, id_: str = "odd") -> None:
    """Another amount has moved, and no effect of it can come any more."""
    add(confirm, id_)
    settle(confirm, id_, Confirmed("ref-9", 1000, "USD"))
    assert confirm.find(id_).status is Status.REVIEW
    confirm.clock.advance(86_400)


def unsure_and_in_review(confirm: Cli, id_: str = "gone") -> None:
    """Possibly sent a day ago, and nobody knows more."""
    add(confirm, id_)
    settle(confirm, id_, Unknown("no answer"))
    confirm.clock.advance(86_400)

    async def work(store: Store) -> None:
        [held], _ = await store.claim(token="t0ken", by="run-1/8", limit=1, ids=[id_])
        aside = SetAside("run-1/8", because(Cause.WRITE_FAILED, status="x", error="y"))
        await store.settle([Move(held, decide(held, aside, confirm.clock.now(), confirm.target.policy))])

    confirm.at(work)
    confirm.clock.advance(86_400)


SEEN = ("--source", "gateway's console", "--reference", "case 7")
ONE_CENT = ("--amount", "1", "--currency", "USD")


@pytest.mark.parametrize(
    ("order", "status", "kept"),
    [
        (("redrive", "odd"), Status.PENDING, {}),
        (("resolve", "odd", "--as", "done", *SEEN, "--amount", "1250", "--currency", "usd"), Status.CONFIRMED, {}),
        (
            ("resolve", "odd", "--as", "other-amount", *SEEN, "--amount", "1000", "--currency", "USD"),
            Status.CONFIRMED,
            {"moved_minor": 1000, "moved_currency": "USD", "amount_minor": 1250},
        ),
        (("resolve", "gone", "--as", "refused", *SEEN), Status.REJECTED, {}),
        (("cancel", "gone", *SEEN), Status.REJECTED, {}),
        (("cancel", "lost"), Status.REJECTED, {}),
        (("new-key", "gone", *SEEN), Status.PENDING, {"keys": ["gone", "gone~2"]}),
    ],
    ids=lambda one: " ".join(one[:4]) if isinstance(one, tuple) else None,
)
def test_each_way_out_is_asked_for_and_approved(
    confirm: Cli, order: tuple[str, ...], status: Status, kept: dict[str, Any]
) -> None:
    in_review(confirm)
    (unsure_and_in_review if "gone" in order else sent_and_in_review)(confirm)
    asked = confirm(*order, "--why", "looked into it", "--json")
    assert asked.code == Exit.OK, asked.err
    request = json.loads(asked.out)["id"]
    assert confirm("approve", request).code == Exit.REFUSED, "by who asked for it"
    confirm.person = "ben"
    if "--source" in order:
        assert "gateway's console, case 7" in confirm("requests", request).out
    assert confirm("approve", request).code == Exit.OK
    after = json.loads(confirm("show", order[1], "--json").out)
    assert after["status"] == status
    assert {name: after[name] for name in kept} == kept
    line = after["history"][-1]
    assert line["by"] == "ana"
    assert f"approved by ben (request {request}): " in line["why"]
    assert ("proven by gateway's console case 7" in line["why"]) is ("--source" in order)
    for shown in kept.values():
        assert str(shown if isinstance(shown, str) else "moved") in confirm("show", order[1]).out or shown


def test_who_may_approve_asks_alone_and_nobody_else(confirm: Cli) -> None:
    sent_and_in_review(confirm)
    confirm.roles = (Role.MAKER,)
    asked = confirm("ask", "odd", "--why", "paid?", "--json")
    assert json.loads(asked.out)["state"] == "open"
    assert confirm.find("odd").status is Status.REVIEW
    confirm.roles = (Role.CHECKER,)
    done = confirm("ask", "odd", "--why", "paid?")
    assert (done.code, "1 of 1 done" in done.err) == (Exit.OK, True)
    record = confirm.find("odd")
    assert (record.status, record.desk_by is None) == (Status.PENDING, False)
    assert "asked for a desk" in confirm("show", "odd").out
    assert confirm("redrive", "odd", "--why", "w").code == Exit.NO_ACCESS


@pytest.mark.parametrize(
    ("order", "code", "said"),
    [
        (("cancel", "odd"), Exit.REFUSED, "may have been sent"),
        (("resolve", "odd", "--as", "done", *SEEN), Exit.REFUSED, "says the amount that moved"),
        (("resolve", "odd", "--as", "done"), Exit.REFUSED, "needs evidence"),
        (("resolve", "odd", "--as", "done", "--source", "s"), Exit.USAGE, "--reference"),
        (("resolve", "odd", "--as", "done", "--reference", "r"), Exit.USAGE, "--source"),
        (("resolve", "odd", "--as", "done", *SEEN, "--amount", "1"), Exit.REFUSED, "or none of both"),
        (
            ("resolve", "odd", "--as", "done", *SEEN, *ONE_CENT),
            Exit.REFUSED,
            "accept-amount",
        ),
        (("resolve", "odd", "--as", "refused", *SEEN, *ONE_CENT), Exit.REFUSED, "no amount"),
        (("resolve", "odd", "--as", "paid", *SEEN), Exit.USAGE, "paid"),
        (("resolve", "odd", "lost", "--as", "other-amount", *SEEN), Exit.REFUSED, "one transaction at a time"),
        (("new-key", "odd"), Exit.REFUSED, "needs evidence"),
        (("ask", "lost"), Exit.REFUSED, "never sent"),
    ],
)
def test_a_way_out_without_its_evidence_changes_nothing(
    confirm: Cli, order: tuple[str, ...], code: Exit, said: str
) -> None:
    in_review(confirm)
    sent_and_in_review(confirm)
    before = [confirm.find(id_) for id_ in ("odd", "lost")]
    asked = confirm(*order, "--why", "looked into it")
    assert (asked.code, said in " ".join(asked.err.split())) == (code, True), asked.err
    assert [confirm.find(id_) for id_ in ("odd", "lost")] == before
    assert "No request waits" in confirm("requests").out


def test_every_command_takes_the_name_that_a_masked_id_is_shown_by(confirm: Cli) -> None:
    """A producer that writes to the datastore itself may have taken a card's number for an id."""
    id_ = "order-4111111111111111"
    in_review(confirm, id_)
    (name,) = (one["id"] for one in json.loads(confirm("review", "--json").out)["review"])
    assert re.fullmatch(r"order-\*{4}1111~[0-9a-f]{3}", name)
    assert name in confirm("show", name).out
    request = requested(confirm, name)
    listed = json.loads(confirm("requests", request, "--json").out)["list"]
    assert [one["id"] for one in listed] == [name]
    assert name in confirm("requests", request).out
    confirm.person = "ben"
    assert confirm("approve", request).code == Exit.OK
    assert confirm.find(id_).status is Status.PENDING
    again = redrive(confirm, name)
    assert again.code == Exit.REFUSED, "it is on no desk any more"
    assert confirm("show", name).code == Exit.NOT_YET_FINAL
    assert "4111111111111111" not in "".join(confirm.printed)


def test_no_two_on_a_desk_have_the_same_name(confirm: Cli) -> None:
    """Their numbers may end alike, and so may the first digits of their digests: then these are shown longer."""
    alike = ["4111111111111111", "4222222200061111", "6000000000010048-01", "6000000000010048-02"]
    alike.append("4000000667341111")  # of the same digits at the beginning of its digest as the first
    for id_ in alike:
        in_review(confirm, id_)
    told = [one["id"] for one in json.loads(confirm("review", "--json").out)["review"]]
    assert len(set(told)) == len(alike)
    assert all(name in confirm("review").out for name in told)
    short = views.named("4111111111111111")
    result = redrive(confirm, short)
    assert result.code == Exit.USAGE
    assert f"2 transactions are shown as {short}" in result.err
    longer = [name for name in told if name.startswith(short)]
    assert all(name in result.err for name in longer)
    assert redrive(confirm, longer[0]).code == Exit.OK


@pytest.mark.parametrize("person", ["ana", "ANA"])
def test_one_person_alone_may_not(confirm: Cli, person: str) -> None:
    in_review(confirm)
    before = confirm.find("lost")
    request = requested(confirm)
    confirm.person = person
    result = confirm("approve", request)
    assert result.code == Exit.REFUSED
    assert "that takes another person" in result.err
    assert "To fix:" in result.err
    assert confirm.find("lost") == before


def test_a_request_without_a_reason_or_of_what_is_not_in_review_is_none(confirm: Cli) -> None:
    in_review(confirm)
    assert redrive(confirm, why=" ").code == Exit.REFUSED
    add(confirm, "a")
    settle(confirm, "a", Confirmed("r", 1250, "USD"))
    assert redrive(confirm, "a").code == Exit.REFUSED
    assert redrive(confirm, "none").code == Exit.ERROR
    assert confirm("redrive", "a").code == Exit.USAGE
    assert json.loads(confirm("requests", "--json").out) == {"requests": []}


def test_a_request_that_was_withdrawn_or_has_ended_is_not_approved(confirm: Cli) -> None:
    in_review(confirm)
    before = confirm.find("lost")
    first, second = requested(confirm), requested(confirm)
    assert "withdrawn" in confirm("withdraw", first).out
    confirm.person = "ben"
    assert confirm("withdraw", second).code == Exit.REFUSED, "it is not his"
    assert "was withdrawn" in confirm("approve", first).err
    confirm.clock.advance(confirm.limits.ends_after.total_seconds() + 1)
    assert json.loads(confirm("requests", "--json").out)["requests"][0]["state"] == "ended"
    result = confirm("approve", second)
    assert result.code == Exit.REFUSED
    assert "ended at" in result.err
    assert confirm("withdraw", second, "--as-checker").code == Exit.OK
    assert confirm.find("lost") == before


def test_much_wants_two_approvals(confirm: Cli) -> None:
    confirm.limits = Limits(two_from={"USD": 2_000})
    in_review(confirm, "one")
    in_review(confirm, "two")
    request = requested(confirm, "one", "two")
    confirm.person = "ben"
    assert "it takes 1 more, by another person" in confirm("approve", request).err
    assert confirm.find("one").status is Status.REVIEW
    assert confirm("approve", request).code == Exit.REFUSED
    confirm.person = "cho"
    assert "2 of 2 done" in confirm("approve", request).err
    assert "approved by ben and cho" in confirm.find("two").history[-1].why


def test_what_changed_since_is_left_out_and_named(confirm: Cli) -> None:
    in_review(confirm, "one")
    in_review(confirm, "two")
    first, second = requested(confirm, "one", "two"), requested(confirm, "two")
    confirm.person = "ben"
    confirm("approve", second)
    result = confirm("approve", first)
    assert result.code == Exit.OK
    assert "1 of 2 done, 1 left out" in result.err
    assert "two: has changed since it was asked for" in result.err


def test_an_approval_goes_on_where_a_function_had_no_more_time(confirm: Cli) -> None:
    in_review(confirm)
    request = requested(confirm)
    turns = iter([False, False, True])
    confirm.time_left = lambda: next(turns)
    confirm.person = "ben"
    result = confirm("approve", request)
    assert result.code == Exit.OK, result.err
    assert "0 of 1 gone through" in result.err
    assert confirm.find("lost").status is Status.PENDING


def test_a_wrong_id_or_digest_approves_nothing(confirm: Cli) -> None:
    in_review(confirm)
    request = requested(confirm)
    confirm.person = "ben"
    assert confirm("approve", request, "--digest", "0" * 12).code == Exit.REFUSED
    assert confirm("approve", request, "--digest", "").code == Exit.REFUSED
    assert confirm("approve", "").code == Exit.ERROR
    assert confirm("approve", "zz").code == Exit.ERROR
    assert confirm.find("lost").status is Status.REVIEW


# --- canary ----------------------------------------------------------------------------------------------------------


def test_a_canary_is_sent_and_waited_for(memory: MemoryCli, monkeypatch: pytest.MonkeyPatch) -> None:
    confirm = memory
    sent = confirm("canary", "--account", "-", "--run", "7", "--within", "0", "--json", stdin=b"test-account\n")
    record = json.loads(sent.out)
    assert (sent.code, record["status"], record["final"]) == (Exit.NOT_YET_FINAL, "PENDING", False)
    assert record["id"] == f"canary-7-{START:%Y%m%dT%H%M%SZ}"
    kept = confirm.find(record["id"])
    assert (kept.account, kept.is_canary) == ("test-account", True)

    looked: list[str] = []

    async def settled(_: float) -> None:
        """A worker confirms it while the command waits."""
        looked.append("again")
        found = confirm.store.records[record["id"]]
        confirm.store.records[record["id"]] = found._replace(status=Status.CONFIRMED, settled_at=START)

    monkeypatch.setattr(asyncio, "sleep", settled)
    done = confirm("canary", "--account", "test-account", "--run", "7")
    assert (done.code, looked) == (Exit.OK, ["again"])
    assert "CONFIRMED" in done.out
    assert "test-account" not in "".join(confirm.printed)


def test_one_pauses_and_a_checker_resumes(memory: MemoryCli) -> None:
    assert "SENDING IS PAUSED" in memory("pause", "--sending", "--why", "the bank is down").out
    told = json.loads(memory("status", "--json").out)["paused"]
    assert (told["scope"], told["by"], told["why"]) == ("sending", "ana", "the bank is down")
    assert "SENDING IS PAUSED" in memory("status").out
    assert "Nothing is paused" in memory("resume", "--why", "it is back").out
    assert json.loads(memory("status", "--json").out)["paused"] is None


@pytest.mark.parametrize("wrong", [("--account", ""), ("--account", "a", "--run", "a-b"), ("--account", "a\tb")])
def test_a_canary_wants_an_account_and_a_plain_run(memory: MemoryCli, wrong: tuple[str, ...]) -> None:
    assert memory("canary", *wrong).code == Exit.USAGE


# --- the whole -------------------------------------------------------------------------------------------------------


COMMANDS = (
    "status",
    "show",
    "review",
    "why",
    "diagnose",
    "redrive",
    "requests",
    "approve",
    "withdraw",
    "pause",
    "resume",
    "import",
    "reconcile",
    "canary",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_with_an_example(confirm: Cli, command: str) -> None:
    result = confirm(command, "--help")
    assert result.code == Exit.OK
    assert f"Example: confirm {command}" in " ".join(result.out.split())
    assert command in confirm("--help").out


def test_the_help_lists_every_exit_code(confirm: Cli) -> None:
    said = " ".join(confirm("--help").out.split())
    for code in Exit:
        if code is not Exit.INTERRUPTED:
            assert f" {code.value} " in said


def test_wrong_usage_has_its_own_code(confirm: Cli) -> None:
    assert confirm("nonsense").code == Exit.USAGE
    assert confirm("show").code == Exit.USAGE
    assert confirm("status", "--nonsense").code == Exit.USAGE


def test_no_error_shows_a_stack_trace(confirm: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_stack(_: object) -> None:
        raise Trouble("there is no stack", "make one", Exit.NO_ACCESS)

    monkeypatch.setattr(target, "find", no_stack)
    result = confirm("status")
    assert (result.code, result.err) == (Exit.NO_ACCESS, "confirm: there is no stack. To fix: make one.\n")

    def breaks(_: object) -> None:
        raise ZeroDivisionError("secret 4111111111111111")

    monkeypatch.setattr(target, "find", breaks)
    result = confirm("status")
    assert result.code == Exit.ERROR
    assert "ZeroDivisionError" in result.err
    assert "Traceback" not in result.err
    assert "4111" not in result.err


def test_only_cards_are_masked_in_texts() -> None:
    for card in ("4111111111111111", "4111-1111-1111-1111", "3782 822463 10005", "378282246310005"):
        assert views.discreet(f"card {card}!") == f"card ****{card[-4:]}!"
    for no_card in ("4111111111111112", "4111-1111-1111-1112", "1700000000001", "41111111111111111111"):
        assert views.discreet(no_card) == no_card
    for number in range(2000):
        text = (
            f"{number:05d}-19970101-{number % 100:02d} order-{number * 7919} 2026-11-24T08:00:00.{number % 1000:03d}Z"
        )
        assert views.discreet(text) == text


def test_a_reference_is_shown_as_the_gateway_gave_it_but_for_cards() -> None:
    assert views.shown("ch_3Lx42yQ", "42") == "ch_3Lx42yQ"
    assert views.shown("ch_1234yQ", "1234") == "ch_1234yQ"
    assert views.shown(f"ref-{ACCOUNT}", ACCOUNT) == "ref-****3000"
    assert views.shown("4111111111111111\x1b", "a") == "****1111\N{REPLACEMENT CHARACTER}"
    assert views.shown(None, "a") is None


@pytest.mark.parametrize(
    ("account", "shown"), [("", "****"), ("7", "****"), ("00004", "****04"), (ACCOUNT, "****3000")]
)
def test_a_masked_account_shows_at_most_four_and_never_more_than_half(account: str, shown: str) -> None:
    assert masked(account) == shown


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59, "59 s"), (200, "3 min 20 s"), (18120, "5 h 2 min"), (273600, "3 d 4 h")]
)
def test_spans_for_people(seconds: int, text: str) -> None:
    assert views.age(timedelta(seconds=seconds)) == text


def test_the_entry_point_is_what_pyproject_names() -> None:
    import tomllib
    from pathlib import Path

    project = tomllib.loads((Path(main.__file__).parent.parent / "pyproject.toml").read_text())["project"]
    assert project["scripts"]["confirm"] == f"{main.__name__}:{main.run.__name__}"


# --- whatever stands in a record


def test_one_text_of_before_an_upgrade_hides_nobody_s_desk(memory: MemoryCli) -> None:
    """A text that made the masker raise, written by an adapter of those days."""
    for id_ in ("a", "b", "c"):
        in_review(memory, id_)
    old = memory.store.records["b"]
    memory.store.records["b"] = old._replace(reason="2 attempts used up; last: RF18 kay\u0131t bulunamad\u0131")
    assert len(json.loads(memory("review", "--json").out)["review"]) == 3
    for command in (("review",), ("status",), ("show", "b"), ("show", "b", "--json")):
        result = memory(*command)
        assert "error in this program" not in result.err, command
    assert "kay\u0131t" in json.dumps(json.loads(memory("show", "b", "--json").out), ensure_ascii=False)
    assert redrive(memory, "b", why="RF18539007547034 numaral\u0131 kay\u0131t").code == Exit.OK


@pytest.mark.parametrize("account", ["AC1\\9ab", "acct-\\g<x", "DOMAIN\\usr"])
def test_any_account_can_be_shown(memory: MemoryCli, account: str) -> None:
    memory.store.records["a"] = arrived(payment("a")._replace(account=account), START)
    settle(memory, "a", Confirmed(f"ref-{account}", 2933, "USD"))
    for more in ((), ("--json",)):
        result = memory("show", "a", *more)
        assert result.code == Exit.OK
        assert account not in result.out


def test_a_receipt_of_iso_8583_can_be_read(memory: MemoryCli) -> None:
    """A retrieval reference number: of those made on the 31st of October 2026, each tenth passes for a Maestro card."""
    receipt = next(f"630412{n:06}" for n in range(100) if is_card(f"630412{n:06}"))
    memory.store.records["a"] = arrived(payment("a"), START)
    settle(memory, "a", Confirmed(receipt, 2933, "USD"))
    assert receipt in memory("show", "a").out


def test_the_trace_of_what_is_not_shown_whole_is_not_told(memory: MemoryCli) -> None:
    """It is a digest of the whole id: with all its digits, the number could be searched for."""
    for id_ in ("4111111111111111", "order-1"):
        in_review(memory, id_)
        trace = trace_id(memory.store.records[id_])
        told = memory("show", id_).out + memory("show", id_, "--json").out
        assert (trace in told) is (id_ == "order-1")


def test_an_id_of_another_producer_is_taken_as_it_is_shown(memory: MemoryCli) -> None:
    """Our importer takes no spaces and no umlauts; whoever writes to the datastore may."""
    for id_ in ("order 1", "\u00fcber/7"):
        memory.store.records[id_] = payment(id_)
        assert memory("show", id_).code == Exit.NOT_YET_FINAL
