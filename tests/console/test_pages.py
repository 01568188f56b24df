"""What the pages show and order: the same desk as the commands', in place and with nothing half done."""

from __future__ import annotations

import html
from dataclasses import replace

import pytest

from cli.console import pages
from cli.exits import Exit, Trouble
from cli.identity import Caller
from tests.console.world import ANA, BERTA, Answer, Client, Orders, World, person, waiting
from tests.fakes import run
from workers.domain.desk import MOST_IDS, Limits, Role
from workers.domain.redaction import masked
from workers.domain.transaction import Status

CARD = "4111111111111111"


@pytest.fixture
def world() -> World:
    return World().holds(*(waiting(number) for number in range(8)))


def status_of(world: World, id_: str) -> Status:
    found = run(world.store.find(id_))
    assert found is not None
    return found.status


# --- look ------------------------------------------------------------------------------------------------------------


def test_the_queue_has_the_nearest_deadline_first(world: World) -> None:
    text = world.sits().get("/").text
    rows = [f"order-{number:05d}" for number in (0, 3, 6, 1, 4, 7, 2, 5)]
    assert sorted(rows, key=lambda one: text.index(f">{one}<")) == rows
    assert "12.50 EUR" in text
    assert "Attempts used up" in text


def test_nothing_that_nobody_may_see_is_on_any_page(world: World) -> None:
    """Whole accounts, and cards that somebody took for an id."""
    account, reason = "DE89370400440532013000", f"card {CARD} <script>alert(1)</script>"
    world.holds(waiting(90, id=CARD, account=account, reason=reason))
    ana = world.sits()
    queue = ana.get("/?text=1111~")
    name = masked(CARD)
    assert name in queue.text
    link = html.unescape(queue.text.split('scope="row"><a href="')[1].split('"')[0])
    one = ana.get(link.removeprefix(ana.gate.base).replace("%2A", "*"))
    assert one.status == 200
    asked = ana.post("/ask", {"all": "1", "text": "1111~"})
    assert asked.status == 200
    for page in (queue, one, asked):
        assert CARD not in page.text
        assert account not in page.text
        assert "<script>alert" not in page.text
    assert "&lt;script&gt;" in one.text


def test_a_life_is_there_line_by_line(world: World) -> None:
    text = html.unescape(world.sits().get("/transactions/order-00003").text)
    for entry in waiting(3).history:
        assert entry.why in text
        assert f"{entry.at:%Y-%m-%d %H:%M:%S}" in text
    assert "7 times since" in text
    assert "****" in text


def test_a_trace_leads_to_aws_and_on_the_local_one_to_nothing(world: World) -> None:
    text = world.sits().get("/transactions/order-00003").text
    trace = text.split("#xray:traces/")[1].split('"')[0]
    assert trace.replace("-", "")[1:] in text.replace("-", "")
    world.desk = replace(world.desk, target=replace(world.target, endpoint="http://127.0.0.1:4566"))
    assert "xray" not in world.sits().get("/transactions/order-00003").text


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/transactions/order-99999", 404, "there is no transaction order-99999"),
        ("/transactions/%00", 404, "cannot be the id"),
        ("/requests/ffff", 404, "there is no request"),
        ("/nowhere", 404, "there is no such page"),
        ("/?least=many", 400, "many is no amount"),
        ("/?text=nothing-like-it", 200, "Nothing that waits is like this"),
        ("/?after=garbage", 200, "order-"),
    ],
)
def test_what_is_not_there_is_said(world: World, path: str, status: int, says: str) -> None:
    answer = world.sits().get(path)
    assert answer.status == status
    assert says in answer.text


def test_an_empty_desk_says_so() -> None:
    assert "nothing is in review" in World().sits().get("/").text


def test_the_live_numbers(world: World) -> None:
    ana = world.sits()
    whole, part = ana.get("/status").text, ana.get("/status?live").text
    assert "<html" in whole
    assert "<html" not in part
    assert "10.0 settled per second" in part
    assert 'href="' + ana.gate.base + '/?cause=deadline-passed"' in part


# --- four eyes -------------------------------------------------------------------------------------------------------


def test_one_asks_and_another_approves(world: World) -> None:
    request = world.ask("order-00001", "order-00002")
    berta = world.sits(BERTA)
    listed = berta.get("/requests").text
    assert listed.index("Wait for your approval") < listed.index(request[:12]) < listed.index("All others")
    page = berta.get(f"/requests/{request}")
    assert "order-00001" in page.text
    assert "never received" in page.text
    done = berta.post(f"/requests/{request}/approve", page.fields)
    assert done.status == 303
    assert "2 of 2 gone through, 0 left out" in berta.get(f"/requests/{request}").text
    assert status_of(world, "order-00001") is status_of(world, "order-00002") is Status.PENDING
    assert ">order-00001<" not in berta.get("/").text, "the queue is read anew"


def test_nobody_approves_what_he_asked_for(world: World) -> None:
    """Neither by the button, which is not there, nor by the form."""
    both = person("ana", Role.MAKER, Role.CHECKER)
    request = world.ask("order-00001")
    ana = world.sits(both)
    listed = ana.get("/requests").text
    assert listed.index("All others") < listed.index(request[:12])
    page = ana.get(f"/requests/{request}")
    assert "Approve exactly this" not in page.text
    refused = ana.post(f"/requests/{request}/approve", page.fields)
    assert refused.status == 409
    assert "that takes another person" in refused.text
    assert "What is asked for" in refused.text, "in place"
    assert status_of(world, "order-00001") is Status.REVIEW


def test_another_digest_than_was_seen_is_not_approved(world: World) -> None:
    request = world.ask("order-00001")
    answer = world.sits(BERTA).post(f"/requests/{request}/approve", {"digest": "0" * 64})
    assert answer.status == 409
    assert "is not what was approved" in answer.text
    assert status_of(world, "order-00001") is Status.REVIEW


def test_who_only_looks_is_told_so_and_does_nothing(world: World) -> None:
    request = world.ask("order-00001")
    carla = world.sits(person("carla"))
    form = carla.post("/ask", {"id": "order-00002"})
    assert "You may look, and not ask" in form.text
    sent = carla.post("/ask/send", {**form.fields, "kind": "redrive", "why": "x"})
    assert sent.status == 502
    assert "AWS refused" in sent.text
    page = carla.get(f"/requests/{request}").text
    assert "Approve exactly this" not in page
    assert "policy “checker”" in page
    assert len(world.requests.kept) == 1


def test_what_has_changed_since_it_was_chosen_is_named_and_nothing_is_asked(world: World) -> None:
    ana = world.sits()
    form = ana.post("/ask", {"id": ["order-00001", "order-00002"]})
    world.holds(waiting(2, version=18))
    sent = ana.post("/ask/send", {**form.fields, "kind": "redrive", "why": "the bank says so"})
    assert sent.status == 409
    assert "1 of 2 have changed since you chose them: order-00002" in sent.text
    assert "the bank says so" in sent.text, "what was written is not lost"
    del world.store.records["order-00001"]
    gone = ana.post("/ask/send", {**form.fields, "kind": "redrive", "why": "the bank says so"})
    assert "2 of 2 have changed" in gone.text
    assert world.requests.kept == {}


def test_a_form_that_is_sent_twice_is_one_request(world: World) -> None:
    ana = world.sits()
    form = ana.post("/ask", {"id": "order-00001"})
    given = {**form.fields, "kind": "redrive", "why": "x"}
    first, second = ana.post("/ask/send", given), ana.post("/ask/send", given)
    assert first.status == second.status == 303
    assert first.headers["location"] == second.headers["location"]
    assert len(world.requests.kept) == 1


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"why": "  "}, "why is missing"),
        ({"kind": "burn"}, "is no exit from REVIEW"),
        ({"kind": ""}, "kind is missing"),
        ({"seen": ""}, "a request is for one transaction at least"),
        ({"id": "mine"}, "32 hexadecimal digits"),
    ],
)
def test_a_form_that_is_wrong_says_what(world: World, given: dict[str, str], says: str) -> None:
    ana = world.sits()
    form = ana.post("/ask", {"id": "order-00001"})
    sent = ana.post("/ask/send", {**form.fields, "kind": "redrive", "why": "x", **given})
    assert sent.status in (400, 409)
    assert says in html.unescape(sent.text)
    assert world.requests.kept == {}


def test_evidence_is_asked_for_where_an_exit_needs_it(world: World) -> None:
    ana = world.sits()
    form = ana.post("/ask", {"id": "order-00001"})
    given = {**form.fields, "kind": "resolve-done", "why": "x", "source": "bank statement", "reference": "line 7"}
    wrong = ana.post("/ask/send", {**given, "amount": "104.235", "currency": "usd"})
    assert wrong.status == 400
    assert "more decimals than the 2 of USD" in wrong.text
    assert 'value="line 7"' in wrong.text
    sent = ana.post("/ask/send", {**given, "amount": "104.23", "currency": "usd"})
    assert sent.status == 303
    page = ana.get(sent.headers["location"].removeprefix(ana.gate.base)).text
    assert "bank statement: line 7 · 104.23 USD" in page


def test_a_pause_is_told_on_every_page_and_a_checker_ends_it(world: World) -> None:
    ana = world.sits()
    status = ana.get("/status")
    assert "Everything is paused" not in status.text
    wrong = ana.post("/pause", {**status.fields, "scope": "all", "why": " "})
    assert wrong.status == 409
    assert "says why" in wrong.text
    why = "the bank is <b>down</b>"
    assert ana.post("/pause", {**status.fields, "scope": "sending", "why": why}).status == 303
    assert ana.post("/pause", {**status.fields, "scope": "all", "why": why}).status == 303
    for path in ("/", "/status", "/requests", "/reconcile", "/transactions/order-00001"):
        text = ana.get(path).text
        assert "Everything is paused" in text, path
        assert "ana, since 2026-01-07 10:00 UTC:" in text
        assert "&lt;b&gt;down" in text
        assert "A checker lets it go on" in text
    assert ana.post("/resume", {**status.fields, "why": "up"}).status != 303, "ana is no checker"
    berta = world.sits(BERTA)
    page = berta.get("/status")
    assert berta.post("/resume", {"csrf": "another", "why": "up"}).status != 303
    assert run(world.requests.standing()).pause is not None
    assert berta.post("/resume", {**page.fields, "why": "the bank is up"}).status == 303
    assert "paused" not in berta.get("/").text
    assert run(world.requests.standing()).pause is None


@pytest.mark.parametrize(
    ("language", "says"),
    [
        ("en", ("What it means", "Key after key", "a maker asks, another person as checker approves")),
        ("es", ("Qué significa", "Una clave tras otra", "un «maker» solicita, otra persona aprueba")),
    ],
)
def test_a_transaction_says_what_it_means_and_what_to_do(world: World, language: str, says: tuple[str, ...]) -> None:
    world.holds(waiting(2, new_keys=5))
    text = html.unescape(world.sits(language=language).get("/transactions/order-00002").text)
    for one in says:
        assert one in text


def test_who_only_looks_pauses_nothing(world: World) -> None:
    vera = world.sits(person("vera"))
    page = vera.get("/status")
    assert "Pause now" not in page.text
    assert vera.post("/pause", {**page.fields, "scope": "all", "why": "x"}).status != 303
    assert run(world.requests.standing()).pause is None


def test_who_may_approve_has_the_gateway_asked_at_once(world: World) -> None:
    for caller, state in ((ANA, Status.REVIEW), (BERTA, Status.PENDING)):
        sits = world.sits(caller)
        form = sits.post("/ask", {"id": "order-00002"})
        sent = sits.post("/ask/send", {**form.fields, "kind": "ask", "why": "paid, says the customer"})
        assert sent.status == 303, sent.text
        assert world.store.records["order-00002"].status is state


def test_all_of_a_filter_is_asked_for_at_once(world: World) -> None:
    form = world.sits().post("/ask", {"all": "1", "currency": "EUR"})
    assert "exit of 3 transactions" in form.text
    assert [line.split()[1] for line in form.fields["seen"].splitlines()] == [
        "order-00000",
        "order-00003",
        "order-00006",
    ]


def test_nothing_and_too_many_are_refused() -> None:
    world = World().holds(*(waiting(number) for number in range(MOST_IDS + 1)))
    ana = world.sits()
    assert "nothing was chosen" in ana.post("/ask", {}).text
    too_many = ana.post("/ask", {"all": "1"})
    assert too_many.status == 400
    assert "2,001 were chosen, and a request is for 2,000 at most" in too_many.text


def test_a_long_list_goes_on_where_it_stopped() -> None:
    world = World().holds(*(waiting(number) for number in range(150)))
    ana = world.sits(ANA)
    form = ana.post("/ask", {"all": "1"})
    sent = ana.post("/ask/send", {**form.fields, "kind": "redrive", "why": "x"})
    request = sent.headers["location"].rpartition("/")[2]
    world.holds(waiting(149, version=18))
    berta = world.sits(BERTA)
    world.seconds_left = 1
    page = berta.get(f"/requests/{request}")
    assert berta.post(f"/requests/{request}/approve", page.fields).status == 303
    midway = berta.get(f"/requests/{request}").text
    assert "100 of 150 gone through" in midway
    assert "hx-post" in midway, "it goes on by itself"
    assert "hx-post" not in berta.get(f"/requests/{request}?paused").text, "and stops where one wants it to"
    world.seconds_left = None
    assert berta.post(f"/requests/{request}/go-on", {}).status == 303
    done = berta.get(f"/requests/{request}").text
    assert "150 of 150 gone through, 1 left out" in done
    assert "order-00149: has changed since it was asked for" in done


@pytest.mark.parametrize(("who", "action", "word"), [(ANA, "withdraw", "Withdraw"), (BERTA, "refuse", "Refuse")])
def test_a_request_is_taken_back_or_refused(world: World, who: Caller, action: str, word: str) -> None:
    request = world.ask("order-00001")
    client = world.sits(who)
    assert f">{word}<" in client.get(f"/requests/{request}").text
    assert client.post(f"/requests/{request}/{action}", {}).status == 303
    assert "withdrawn" in client.get(f"/requests/{request}").text
    assert client.post(f"/requests/{request}/burn", {}).status == 404
    assert status_of(world, "order-00001") is Status.REVIEW


def test_a_second_approval_is_waited_for(world: World) -> None:
    world.limits = Limits(two_from={"EUR": 1})
    request = world.ask("order-00003")
    berta = world.sits(BERTA)
    page = berta.get(f"/requests/{request}")
    berta.post(f"/requests/{request}/approve", page.fields)
    assert "1 of 2" in berta.get(f"/requests/{request}").text
    assert "Approve exactly this" not in berta.get(f"/requests/{request}").text
    assert status_of(world, "order-00003") is Status.REVIEW


def test_a_refusal_names_nothing_that_nobody_may_see(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(*_: object) -> None:
        raise Trouble(f"{CARD} is PENDING: only what is in REVIEW leaves it", "see it", Exit.REFUSED)

    ana = world.holds(waiting(90, id=CARD)).sits()
    form = ana.post("/ask", {"all": "1", "text": "1111~"})
    monkeypatch.setattr(Orders, "order", refused)
    sent = ana.post("/ask/send", {**form.fields, "kind": "redrive", "why": "x"})
    assert sent.status == 409
    assert "is PENDING" in sent.text
    assert CARD not in sent.text


# --- books -----------------------------------------------------------------------------------------------------------


def upload(client: Client, content: bytes, name: str = "ledger.csv", **fields: str) -> Answer:
    token = client.get("/reconcile").fields["csrf"]
    boundary = "frontier"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
        for key, value in {"csrf": token, "format": "", "moves": "in", **fields}.items()
    ]
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    body = "".join(parts).encode() + head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    headers = {"origin": client.origin, "content-type": f"multipart/form-data; boundary={boundary}"}
    return client.raw("POST", f"{client.gate.base}/reconcile", headers, body)


def test_a_book_is_held_against_ours(world: World) -> None:
    world.holds(
        waiting(20, status=Status.CONFIRMED, amount=1250, currency="EUR"),
        waiting(21, status=Status.CONFIRMED, amount=900, currency="EUR"),
    )
    answer = upload(
        world.sits(), b"id,amount_minor,currency\norder-00020,1250,EUR\norder-00003,28769,EUR\nnobody,500,EUR\n"
    )
    assert answer.status == 200
    text = html.unescape(answer.text)
    assert "3 differences" in text
    for class_ in ("matched", "not-moved", "moved-but-on-a-desk", "moved-but-unknown"):
        assert f"<code>{class_}</code>" in text
    assert "21.50 EUR" in text, "what is confirmed here"
    agreed = upload(world.sits(), b"id,amount_minor,currency\norder-00020,1250,EUR\norder-00021,900,EUR\n")
    assert "The books agree" in agreed.text


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "an empty file"),
        (b"id,amount_minor,currency\nx,12.5,EUR\n", "line 2"),
        (b"\x00\xff\xfe", "found"),
        (b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>", "found"),
    ],
)
def test_what_is_no_book_is_said_in_place_and_nothing_is_compared(world: World, content: bytes, says: str) -> None:
    answer = upload(world.sits(), content)
    assert answer.status == 400
    assert says in answer.text
    assert "nothing compared" in answer.text
    assert "multipart/form-data" in answer.text


def test_a_format_that_is_none(world: World) -> None:
    assert upload(world.sits(), b"id,amount_minor,currency\n", format="papyrus").status == 400


def test_a_big_book_is_for_the_command(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MOST_BOOK", 10)
    answer = upload(world.sits(), b"id,amount_minor,currency\n")
    assert answer.status == 400
    assert "confirm reconcile FILE" in answer.text


# --- language --------------------------------------------------------------------------------------------------------


def test_it_speaks_as_one_asks(world: World) -> None:
    ana = world.sits(ANA)
    assert '<html lang="en">' in ana.get("/").text
    spanish = ana.get("/", **{"accept-language": "es-MX,es;q=0.9,en;q=0.5"}).text
    assert '<html lang="es">' in spanish
    assert "Plazo vencido" in spanish
    assert "vencido hace" in spanish or "dentro de" in spanish
    assert '<html lang="es">' in world.sits(ANA, language="es").get("/").text, "by LANG"
    chosen = ana.post("/language", {"language": "es", "back": "/requests?x=1"})
    assert chosen.headers["location"] == f"{ana.gate.base}/requests?x=1"
    assert '<html lang="es">' in ana.get("/", **{"accept-language": "en"}).text


@pytest.mark.parametrize("back", ["//evil.example", "http://evil.example", "/\\evil.example", ""])
def test_the_choice_of_a_language_leads_nowhere_else(world: World, back: str) -> None:
    ana = world.sits()
    answer = ana.post("/language", {"language": "xx", "back": back})
    assert answer.headers["location"] == f"{ana.gate.base}/"
    assert "set-cookie" not in answer.headers


def test_what_aws_refuses_is_said_in_words(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(*_: object) -> None:
        raise Trouble("AWS refused Query (ExpiredToken)", "sign in again", Exit.NO_ACCESS)

    monkeypatch.setattr(world.requests, "requests", refused)
    answer = world.sits().get("/requests")
    assert answer.status == 502
    assert "sign in again" in answer.text
