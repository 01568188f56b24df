"""Terms are counted by, sentences are read: rewording one changes no count, no metric and no answer of a query."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from components.queries import QUERIES
from tests.fakes import Even, FakeClock, LedgerGateway, payments
from tests.memory_store import MemoryStore
from tests.telemetry.insights import rows
from workers import measures
from workers.domain import causes
from workers.domain.causes import SENTENCES, TROUBLES, UNTRIED, Because, Cause, because
from workers.domain.confirming import Confirmer, Tally
from workers.domain.outcomes import OF_RETRYABLE, NotTried, Outcome, Rejected, Retryable, Unknown, admitted
from workers.domain.policy import Policy
from workers.domain.transaction import Transaction
from workers.telemetry import Telemetry

POLICY = Policy(max_attempts=2)


def outcome_of(_: str, transaction: Transaction, _calls: int) -> tuple[bool, Outcome] | None:
    """All kinds of ends, by the id's number."""
    outcomes: list[Outcome | None] = [
        None,
        Rejected("no"),
        Retryable("busy"),
        Unknown("500"),
        Retryable("off", counts=False, cause=Cause.BREAKER_OPEN),
        Retryable("429", counts=False, cause=Cause.THROTTLED),
        Retryable("no connection", counts=False, cause=Cause.NOT_SENT),
    ]
    outcome = outcomes[int(transaction.id.removeprefix("p-")) % len(outcomes)]
    return None if outcome is None else (False, outcome)


def work() -> tuple[Tally, list[Transaction]]:
    clock = FakeClock()
    store = MemoryStore(clock, POLICY)
    asyncio.run(store.add(list(payments(14))))
    worker = Confirmer(store, LedgerGateway(outcome_of), clock, Even(), iter_tokens(), POLICY, "w1")
    total, told = Tally(), list[Transaction]()
    for seconds in (None, 5.0, None, None, None):  # in 5 seconds no call fits
        stop_at = None if seconds is None else clock.now() + POLICY.call_timeout / 2
        batch = asyncio.run(worker.confirm_batch(100, stop_at=stop_at))
        total += batch.tally
        told += batch.settled
        clock.advance(7 * 3600)
    return total, told


def iter_tokens() -> Any:
    numbers: Iterator[int] = iter(range(10_000))
    return lambda: f"t{next(numbers)}"


def seen(capsys: pytest.CaptureFixture[str]) -> tuple[Any, ...]:
    """What there is to count, once for all: tally, metrics, causes in the order of the log, what queries count."""
    tally, told = work()
    capsys.readouterr()
    Telemetry("n", "s", "fargate", "dev").transactions(told, "r")
    lines = capsys.readouterr().out.splitlines()
    asked = {
        query.name: Counter(
            tuple(row.get(field) for field in ("cause", "status", "state", "times", "transactions", "tx"))
            for row in rows(query.text, lines)
        )
        for query in QUERIES
    }
    # sentences of one cause that differ are told apart by `why`, which nothing here looks at
    return tally, measures.of_tally(tally), [record.cause for record in told], asked


def test_rewording_every_sentence_changes_nothing_that_is_counted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = seen(capsys)
    tally = before[0]
    assert min(tally.confirmed, tally.rejected, tally.retried, tally.review, tally.not_tried) > 0, tally
    reworded = {
        cause: " ".join(["es", "begab", "sich", *re.findall(r"\{\w+\}", text)]) for cause, text in SENTENCES.items()
    }
    monkeypatch.setattr(causes, "SENTENCES", reworded)
    assert seen(capsys) == before


@pytest.mark.parametrize("cause", Cause)
def test_each_cause_is_a_term_with_a_sentence(cause: Cause) -> None:
    assert re.fullmatch("[a-z]+(-[a-z]+)*", cause)
    assert len(cause) <= 32, "as the database has it (workers/migrations)"
    details = {name: f"<{name}>" for name in re.findall(r"\{(\w+)\}", SENTENCES[cause])}
    made = because(cause, **details, other="left out")
    assert made.sentence
    assert all(value in made.sentence for value in details.values())
    assert made.is_bare is not bool(details)
    assert Cause.of(cause.value) is cause


def test_a_term_of_another_version_is_none() -> None:
    assert (Cause.of("of-tomorrow"), Cause.of(""), Cause.of(None)) == (None, None, None)


def test_braces_of_a_gateway_are_no_place_for_details() -> None:
    assert because(Cause.REFUSED, reason="{reason} {0}").sentence == "gateway refused: {reason} {0}"


@pytest.mark.parametrize("cause", Cause)
def test_what_an_adapter_says_is_a_cause_of_its_kind(cause: Cause) -> None:
    """Others would have no words for what it says, or be counted as what they are not."""
    outcome = admitted(Retryable("busy", cause=cause))
    assert isinstance(outcome, Retryable)
    assert outcome.cause is (cause if cause in OF_RETRYABLE else Cause.NOT_DONE)
    assert Because(outcome.cause, "").cause in TROUBLES | UNTRIED
    assert because(outcome.cause, reason="busy").sentence


@pytest.mark.parametrize("cause", sorted(UNTRIED))
def test_what_was_not_tried_needs_no_words(cause: Cause) -> None:
    assert because(NotTried(cause).cause).is_bare
