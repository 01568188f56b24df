"""`confirm find`, and requests for many at once: what they say, what they refuse, and how many they take."""

from __future__ import annotations

import csv
import io
import json
from datetime import timedelta
from pathlib import Path

import pytest

from cli import main
from cli.exits import Exit, Trouble
from cli.where import where_in, where_of
from tests.cli.conftest import MemoryCli
from tests.fakes import START
from workers.domain.causes import Cause, because
from workers.domain.desk import MOST_IDS
from workers.domain.finding import Where
from workers.domain.transaction import Status, Transaction
from workers.domain.transitions import Claim, SetAside, decide

ACCOUNT = "DE89370400440532013000"


def lie(confirm: MemoryCli, *ids: str, amount: int = 1250, currency: str = "EUR", reason: str = "x") -> None:
    """On the desk."""
    policy = confirm.target.policy
    for id_ in ids:
        made = Transaction(id_, ACCOUNT, amount, currency, START, START + timedelta(hours=24))
        confirm.at(lambda store, made=made: store.add([made]))  # type: ignore[misc]
        held = decide(confirm.store.records[id_], Claim("t", "w"), START, policy)
        failed = because(Cause.WRITE_FAILED, status=reason, error="e")
        confirm.store.records[id_] = decide(held, SetAside("w", failed), START, policy)


def test_what_is_found_is_shown_as_a_table_json_and_csv(confirm: MemoryCli) -> None:
    lie(confirm, "a", reason=f"card 4111 1111 1111 1111 of {ACCOUNT}")
    lie(confirm, "b", amount=99, currency="USD", reason="=cmd()")
    asked = ("find", "--state", "review", "--cause", "write-failed", "--amount-to", "1250")
    table = confirm(*asked)
    assert table.code == Exit.OK
    assert "2 found" in table.out
    assert "12.50 EUR" in table.out
    value = json.loads(confirm(*asked, "--json").out)
    assert [one["id"] for one in value["found"]] == ["a", "b"]
    assert value["more"] is False
    assert value["by"] == ["the desk"]
    assert value["found"][1] == {
        "id": "b",
        "status": "REVIEW",
        "account": "****3000",
        "amount_minor": 99,
        "currency": "USD",
        "cause": "write-failed",
        "reason": "=cmd() could not be written (e): ask the gateway what became of it",
        "owner": "payment-operations",
        "created_at": "2026-01-05T09:00:00.000Z",
        "review_by": "2026-01-06T09:00:00.000Z",
        "settled_at": None,
        "gateway_reference": None,
    }
    rows = list(csv.DictReader(io.StringIO(confirm(*asked, "--csv").out)))
    assert [row["amount_minor"] for row in rows] == ["1250", "99"]
    assert rows[1]["reason"].startswith("'=cmd()"), "no formula for a spreadsheet"
    printed = "".join(confirm.printed)
    assert ACCOUNT not in printed
    assert "4111" not in printed.replace("****1111", "")
    first = confirm("find", "--state", "REVIEW", "--limit", "1")
    assert "the first 1 found" in first.out
    assert "There are more" in first.out
    assert "Nothing matches" in confirm("find", "--state", "REVIEW", "--reason", "nowhere").out


def test_the_whole_table_is_read_only_if_asked_and_then_its_size_is_said_first(confirm: MemoryCli) -> None:
    lie(confirm, "a")
    unasked = confirm("find", "--account", ACCOUNT)
    assert unasked.code == Exit.USAGE
    assert "it would read the whole table, about 1 transactions (a dict)" in unasked.err
    assert "the desk; the open work" in unasked.err
    assert ACCOUNT not in unasked.err
    asked = confirm("find", "--account", "****3000", "--all")
    assert "Reading the whole table, about 1 transactions" in asked.err
    assert "1 found" in asked.out


NOW = START


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cause=deadline-past", "did you mean deadline-passed?"),
        ("cause=nonsense", "use one of: added, claimed, taken-over"),
        ("state=DONE", "use one of: PENDING, PROCESSING, CONFIRMED, REJECTED, REVIEW"),
        ("amount-from=-5", "'-5' is no amount: write whole minor units"),
        ("amount-from=12.50", "is no amount"),
        ("amount-to=1000000000000001", "0 to 1000000000000000"),
        ("amount-from=6 amount-to=5", "nothing is within both amount-from and amount-to"),
        ("newer-than=6h older-than=3d", "nothing is within both newer-than and older-than"),
        ("older-than=soon", "30m, 6h, 3d"),
        ("older-than=99999w", "up to 50 years"),
        ("currency=EURO", "ISO 4217"),
        ("account=****", "has no end"),
        ("reason=", "1 to 200 printable"),
        ("reason=a\x00b", "1 to 200 printable"),
        ("currency=EUR currency=USD", "currency is there 2 times"),
        ("amount=5", "did you mean amount-to?"),
        ("currency", "a word without ="),
        ("reason='open", "a quote that is not closed"),
        ("", "--where is empty"),
    ],
)
def test_what_nobody_can_look_for_is_said(text: str, said: str) -> None:
    with pytest.raises(Trouble) as caught:
        where_in(text, NOW)
    assert said in str(caught.value)
    assert caught.value.code is Exit.USAGE


def test_a_text_says_what_options_say() -> None:
    text = "state=review,PENDING cause=refused currency=eur amount-from=0 amount-to=0 older-than=30m reason='a = b'"
    assert where_in(text, NOW) == Where(
        states=frozenset([Status.REVIEW, Status.PENDING]),
        causes=frozenset([Cause.REFUSED]),
        currency="EUR",
        amount_from=0,
        amount_to=0,
        created_to=NOW - timedelta(minutes=30),
        reason="a = b",
    )
    newer = where_of({"newer-than": ["2d"], "state": []}, NOW)
    assert newer == Where(created_from=NOW - timedelta(days=2), created_to=NOW + timedelta(minutes=5))


def test_many_are_asked_for_once_and_approved_once(confirm: MemoryCli, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than one request takes: so they are two, and what a stop leaves is taken up again."""
    monkeypatch.setattr("cli.many.MOST_IDS", 12)
    ids = [f"t-{n:02}" for n in range(14)]
    lie(confirm, *ids)
    lie(confirm, "other", currency="USD")
    asked = confirm("redrive", "--where", "currency=EUR", "--why", "never received", "--yes", "--json")
    assert asked.code == Exit.OK, asked.err
    assert "redrive of 14 transactions in REVIEW, 175.00 EUR" in asked.err
    assert "and 4 more" in asked.err
    assert "They take 2 requests" in asked.err
    first, second = json.loads(asked.out)["requests"]
    assert [one["transactions"] for one in (first, second)] == [12, 2]
    assert {confirm.find(id_).status for id_ in ids} == {Status.REVIEW}
    confirm.person = "ben"
    for one in (first, second):
        assert f"{one['transactions']} of {one['transactions']} done, 0 left out" in confirm("approve", one["id"]).err
    assert {confirm.find(id_).status for id_ in ids} == {Status.PENDING}
    assert confirm.find("other").status is Status.REVIEW


def test_the_longest_list_is_asked_for_stopped_and_taken_up_again(confirm: MemoryCli) -> None:
    lie(confirm, *(f"t-{n:04}" for n in range(MOST_IDS)))
    asked = confirm("redrive", "--where", "state=REVIEW", "--why", "w", "--yes", "--json")
    (request,) = json.loads(asked.out)["requests"]
    assert request["transactions"] == MOST_IDS
    confirm.person, parts = "ben", iter([True, True])

    def stop() -> bool:
        if (left := next(parts, None)) is None:
            raise KeyboardInterrupt
        return left

    confirm.time_left = stop
    assert confirm("approve", request["id"]).code == Exit.INTERRUPTED
    done = sum(one.status is Status.PENDING for one in confirm.store.records.values())
    assert 0 < done < MOST_IDS
    confirm.time_left = lambda: True
    assert f"{MOST_IDS:,} of {MOST_IDS:,} done, 0 left out" in confirm("approve", request["id"]).err
    versions = {one.version for one in confirm.store.records.values()}
    assert len(versions) == 1, "each once"


def test_a_list_from_a_file(confirm: MemoryCli, tmp_path: Path) -> None:
    lie(confirm, "a", "b")
    made = Transaction("open", ACCOUNT, 1, "EUR", START, START + timedelta(hours=24))
    confirm.at(lambda store: store.add([made]))
    file = tmp_path / "ids"
    file.write_text("b\r\n\na\nb\nopen\n")
    asked = confirm("redrive", "--from", str(file), "--why", "w", "--yes", "--json")
    assert asked.code == Exit.OK, asked.err
    assert "1 left out: PENDING, not in REVIEW" in asked.err
    (request,) = json.loads(asked.out)["requests"]
    assert request["transactions"] == 2
    whole = json.loads(confirm("requests", request["id"], "--json").out)
    assert [one["id"] for one in whole["list"]] == ["b", "a"], "in the order of the file"
    piped = confirm("redrive", "--from", "-", "--why", "w", "--yes", stdin=b"a\nnowhere\n")
    assert "there is no transaction nowhere" in piped.err


@pytest.mark.parametrize(
    ("arguments", "stdin", "said", "code"),
    [
        ((), b"", "it is not said for which", Exit.USAGE),
        (("a", "--where", "state=REVIEW"), b"", "it is said twice for which", Exit.USAGE),
        (("--where", "state=PENDING"), b"", "only what is in REVIEW leaves it", Exit.USAGE),
        (("--where", "currency=JPY", "--yes"), b"", "none of those is in REVIEW", Exit.REFUSED),
        (("--where", "state=REVIEW"), b"", "say --yes", Exit.USAGE),
        (("--from", "-"), b"", "standard input is empty", Exit.USAGE),
        (("--from", "-"), b"\xff\xfea", "is not UTF-8", Exit.USAGE),
        (("--from", "/nowhere/at/all"), b"", "can't be read", Exit.USAGE),
    ],
)
def test_a_list_that_is_none_asks_for_nothing(
    confirm: MemoryCli, arguments: tuple[str, ...], stdin: bytes, said: str, code: Exit
) -> None:
    lie(confirm, "a")
    result = confirm("redrive", *arguments, "--why", "w", stdin=stdin)
    assert (result.code, said in result.err) == (code, True), result.err
    assert json.loads(confirm("requests", "--json").out) == {"requests": []}


def test_a_person_says_how_many_are_meant(confirm: MemoryCli, monkeypatch: pytest.MonkeyPatch) -> None:
    lie(confirm, "a", "b")
    monkeypatch.setattr(main, "_is_here", lambda: True)
    asked = ("redrive", "--where", "state=REVIEW", "--why", "w")
    assert confirm(*asked, stdin=b"yes\n").code == Exit.REFUSED
    assert confirm(*asked, stdin=b"2\n").code == Exit.OK
    assert len(json.loads(confirm("requests", "--json").out)["requests"]) == 1
