"""`confirm why` and `confirm diagnose`: each transaction's case, and all that is stuck by case."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from cli import main
from cli.exits import Exit
from tests.cli.conftest import MemoryCli
from tests.cli.test_finding import ACCOUNT, lie
from tests.fakes import START
from tests.memory_finder import MemoryFinder
from workers.domain.causes import Cause, because
from workers.domain.desk import Role
from workers.domain.diagnosis import TABLE, diagnosed
from workers.domain.finding import Found, Where
from workers.domain.outcomes import Confirmed, NotFound
from workers.domain.transaction import Status, Transaction
from workers.domain.transitions import Answer, Claim, SetAside, decide


def unsent(confirm: MemoryCli, *ids: str, amount: int = 1250, currency: str = "EUR") -> None:
    """On the desk, past their deadline, and never sent."""
    late = START + timedelta(hours=25)
    for id_ in ids:
        made = Transaction(id_, ACCOUNT, amount, currency, START, START + timedelta(hours=24))
        confirm.at(lambda store, made=made: store.add([made]))  # type: ignore[misc]
        confirm.store.records[id_] = decide(confirm.store.records[id_], Claim("t", "w"), late, confirm.target.policy)


def test_all_that_is_stuck_is_told_by_case_with_the_command_for_all_of_it(confirm: MemoryCli) -> None:
    lie(confirm, "w1", "w2", currency="USD")
    unsent(confirm, "n1", "n2", "n3", "n4", amount=100)
    waiting = Transaction("open", ACCOUNT, 5, "EUR", START, START + timedelta(hours=24))
    confirm.at(lambda store: store.add([waiting]))
    assert "open" not in confirm("diagnose").out, "it only waits for its turn"
    confirm.clock.advance(26 * 3600)
    told = confirm("diagnose")
    assert told.code == Exit.OK
    assert "never-sent-too-late: 4, 4.00 EUR" in told.out
    assert "n1 n2 n3 and 1 more" in told.out
    found = json.loads(confirm("diagnose", "--json", "--stack", "s").out)
    assert found["more"] == []
    assert [(one["case"], one["count"], one["amounts_minor"]) for one in found["cases"]] == [
        ("end-not-written", 2, {"USD": 2500}),
        ("never-sent-too-late", 4, {"EUR": 400}),
        ("late-and-left-lying", 1, {"EUR": 5}),
    ]
    first, second, last = found["cases"]
    assert (
        second.items()
        >= {
            "exits": ["redrive", "cancel"],
            "who": "a maker asks, another person as checker approves",
            "oldest_created_at": "2026-01-05T09:00:00.000Z",
            "review_by": "2026-01-07T10:00:00.000Z",
            "ids": ["n1", "n2", "n3"],
            "command": "confirm diagnose --stack s --cell never-sent-too-late --ids | "
            "confirm redrive --from - --yes --why TEXT --stack s",
        }.items()
    )
    assert first["command"].endswith("| confirm ask --from - --yes --why TEXT --stack s")
    assert last["command"] is None
    assert ACCOUNT not in "".join(confirm.printed)


def test_the_ids_of_a_case_are_the_list_of_its_exit(confirm: MemoryCli) -> None:
    card = "4111111111111111"
    unsent(confirm, "n1", "n2")
    lie(confirm, "w1")
    whole = confirm.store.records["n1"]
    confirm.store.records[card] = whole._replace(id=card)
    ids = confirm("diagnose", "--cell", "never-sent-too-late", "--ids")
    assert ids.out == "n1\nn2\n"
    assert "1 left out" in ids.err
    asked = confirm("redrive", "--from", "-", "--yes", "--why", "still wanted", "--json", stdin=ids.out.encode())
    [request] = json.loads(asked.out)["requests"]
    assert (request["transactions"], request["order"]["kind"]) == (2, "redrive")
    assert card not in "".join(confirm.printed)


def test_it_stops_where_it_is_told_to_and_says_so(confirm: MemoryCli) -> None:
    lie(confirm, "a", "b", "c")
    found = json.loads(confirm("diagnose", "--json", "--limit", "2").out)
    assert ([one["count"] for one in found["cases"]], found["more"]) == ([2], ["on the desk"])
    told = confirm("diagnose", "--limit", "2").out
    assert "There are more on the desk" in told
    assert "--cell end-not-written --ids --limit 2 | confirm ask" in told, "the list is what was counted"
    ids = confirm("diagnose", "--cell", "end-not-written", "--ids", "--limit", "2")
    assert (ids.out, "There are more on the desk" in ids.err) == ("a\nb\n", True)
    assert "Nothing is stuck" in confirm("diagnose", "--cell", "canary").out


def test_a_case_that_is_none_is_named_with_the_one_that_was_meant(confirm: MemoryCli) -> None:
    wrong = confirm("diagnose", "--cell", "never-sent-to-late")
    assert wrong.code == Exit.USAGE
    assert "did you mean never-sent-too-late?" in wrong.err
    assert "say --cell NAME" in confirm("diagnose", "--ids").err


def test_why_says_what_to_do_by_which_command_and_who_may(confirm: MemoryCli) -> None:
    unsent(confirm, "n1")
    told = confirm("why", "n1")
    assert told.code == Exit.NOT_YET_FINAL
    for said in ("n1  REVIEW  12.50 EUR  ****3000  deadline-passed", "never sent, proven", "decide by 2026-01-07",
                 "never-sent-too-late", "  confirm redrive n1 --why TEXT", "  confirm cancel n1 --why TEXT",
                 "a maker asks"):  # fmt: skip
        assert said in told.out, said
    value = json.loads(confirm("why", "n1", "--json").out)
    cell = next(cell for cell in TABLE if cell.name == "never-sent-too-late")
    assert value == {
        "id": "n1",
        "status": "REVIEW",
        "account": "****3000",
        "amount_minor": 1250,
        "currency": "EUR",
        "cause": "deadline-passed",
        "reason": "deadline passed before it could be sent",
        "deadline": "2026-01-06T09:00:00.000Z",
        "review_by": "2026-01-07T10:00:00.000Z",
        "possibly_sent": False,
        "case": cell.name,
        "means": cell.means,
        "todo": cell.todo,
        "exits": ["redrive", "cancel"],
        "who": cell.who.value,
        "commands": ["confirm redrive n1 --why TEXT", "confirm cancel n1 --why TEXT"],
    }


def test_why_may_have_the_gateway_asked_first(confirm: MemoryCli, monkeypatch: pytest.MonkeyPatch) -> None:
    lie(confirm, "w1")
    policy, looks = confirm.target.policy, list[str]()

    async def worked() -> None:
        """What a worker does meanwhile."""
        record = confirm.store.records["w1"]
        looks.append(record.status)
        held = decide(record, Claim("t", "w"), confirm.clock.now(), policy)
        answer = Answer(Confirmed("ref-7", record.amount, record.currency), "w", asked=True)
        confirm.store.records["w1"] = decide(held, answer, confirm.clock.now(), policy)

    monkeypatch.setattr(main, "_look_again", worked)
    told = confirm("why", "w1", "--ask")
    assert looks == [Status.PENDING]
    assert "done-before-it-was-asked" in told.out
    assert told.code == Exit.OK
    assert "on no desk" in confirm("why", "w1", "--ask").err, "it is final by now"


def test_why_asks_nothing_for_who_may_not(confirm: MemoryCli) -> None:
    lie(confirm, "w1")
    confirm.roles = (Role.MAKER,)
    assert confirm("why", "w1", "--ask").code == Exit.NO_ACCESS
    assert confirm.store.records["w1"].status is Status.REVIEW


def test_a_record_that_was_found_without_its_history_has_the_same_case(
    confirm: MemoryCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL finds them so. Asked for a desk it is another case than before, and its origin still counts."""
    policy, now = confirm.target.policy, START
    lie(confirm, "w1")
    record = confirm.store.records["w1"]
    refused = because(Cause.CLAIM_FAILED, error="e")
    open_ = record._replace(status=Status.PENDING, next_attempt_at=now)
    before = decide(open_, SetAside("w", refused), now, policy)
    asked = before._replace(status=Status.PENDING, next_attempt_at=now, desk_by=before.review_by)
    held = decide(asked, Claim("t", "w"), now, policy)
    later = now + timedelta(hours=1)
    confirm.store.records["w1"] = decide(held, Answer(NotFound(), "w", asked=True), later, policy)
    assert confirm.store.records["w1"].cause is Cause.ASKED
    assert diagnosed(confirm.store.records["w1"], policy, later).name == "claim-refused"
    whole = MemoryFinder.find

    async def bare(self: MemoryFinder, where: Where, expected: int) -> AsyncIterator[Found]:
        async for one in whole(self, where, expected):
            yield one._replace(record=one.record._replace(history=()))

    monkeypatch.setattr(MemoryFinder, "find", bare)
    [found] = json.loads(confirm("diagnose", "--json").out)["cases"]
    assert found["case"] == "claim-refused"
