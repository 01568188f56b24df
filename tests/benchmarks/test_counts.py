"""The meter between the store and DynamoDB, and what is made of what it counts."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from alternatives.serverless.costs import ASSUMED
from benchmarks.__main__ import Check, work_of
from benchmarks.counts import Meter, Step, written
from benchmarks.stack import Execution, Logs, StackCounts
from benchmarks.units import Item, Units
from tests.fakes import START, payment
from workers.domain.outcomes import Confirmed, Outcome, Retryable
from workers.domain.policy import Policy
from workers.domain.ports import Move
from workers.domain.transaction import Transaction
from workers.domain.transitions import Answer, Claim, decide
from workers.stores.common import arrived
from workers.stores.dynamodb import _insert, _update, to_item

SHARDS = 3
NEW = arrived(payment(), START)


def claimed(record: Transaction = NEW) -> Transaction:
    return decide(record, Claim("t-1", "me"), START, Policy())


def answered(outcome: Outcome) -> Transaction:
    return decide(claimed(), Answer(outcome, "me"), START + timedelta(seconds=1), Policy())


CONFIRMED = answered(Confirmed("ref-1", NEW.amount, NEW.currency))
LATER = answered(Retryable("try later"))


class Table:
    """Answers as DynamoDB does, and refuses what it is told to."""

    def __init__(self, *refused: int) -> None:
        self.refused = refused

    def batch_execute_statement(self, Statements: list[Item]) -> dict[str, Any]:  # noqa: N803
        error = {"Error": {"Code": "ConditionalCheckFailed"}}
        return {"Responses": [error if n in self.refused else {} for n in range(len(Statements))]}

    def batch_get_item(self, RequestItems: dict[str, Any]) -> dict[str, Any]:  # noqa: N803
        return {"Responses": {"t": [to_item(NEW, SHARDS)]}}

    def query(self, **_: Any) -> dict[str, Any]:
        return {"Items": []}


def metered(*refused: int) -> Meter:
    meter = Meter(Table(*refused), "t")
    meter.items = {NEW.id: to_item(claimed(), SHARDS)}
    return meter


def test_an_insert_leaves_the_item_that_it_names() -> None:
    item = to_item(NEW, SHARDS)
    assert written(_insert("t", item), {}) == (NEW.id, item)


@pytest.mark.parametrize(("before", "after"), [(NEW, claimed()), (claimed(), CONFIRMED), (claimed(), LATER)])
def test_an_update_leaves_what_the_store_meant(before: Transaction, after: Transaction) -> None:
    statement = _update("t", Move(before, after), SHARDS)
    assert written(statement, {NEW.id: to_item(before, SHARDS)}) == (NEW.id, to_item(after, SHARDS))


@pytest.mark.parametrize("text", ['DELETE FROM "t" WHERE "id" = ?', 'UPDATE "t" SET "a" = ? WHERE "b" = ?'])
def test_a_write_of_an_unknown_form_is_not_guessed_at(text: str) -> None:
    with pytest.raises(ValueError, match="unknown form"):
        written({"Statement": text, "Parameters": [{"S": "x"}, {"S": "y"}]}, {})


@pytest.mark.parametrize(
    ("after", "step", "units"), [(CONFIRMED, Step.SETTLE, Units(1, 1)), (LATER, Step.RETRY, Units(1, 2))]
)
def test_a_write_is_counted_by_what_it_was_for(after: Transaction, step: Step, units: Units) -> None:
    meter = metered()
    meter.batch_execute_statement(Statements=[_update("t", Move(claimed(), after), SHARDS)])
    assert meter.usage.writes == {step: units}
    assert meter.usage.calls == {"BatchExecuteStatement": 1}
    assert meter.items[NEW.id] == to_item(after, SHARDS)


def test_ingest_and_claim_are_told_apart() -> None:
    meter = metered()
    other = arrived(payment("p-2"), START)
    statements = [
        _insert("t", to_item(other, SHARDS)),
        _update("t", Move(other, claimed(other)), SHARDS),
    ]
    meter.batch_execute_statement(Statements=statements)
    assert meter.usage.writes == {Step.INGEST: Units(1, 1), Step.CLAIM: Units(1, 0)}


def test_a_refused_write_is_billed_and_changes_nothing() -> None:
    meter = metered(0)
    meter.batch_execute_statement(Statements=[_update("t", Move(claimed(), CONFIRMED), SHARDS)])
    assert meter.usage.writes == {Step.REFUSED: Units(1, 0)}
    assert meter.items[NEW.id] == to_item(claimed(), SHARDS)


def test_reads_are_counted_by_their_kind() -> None:
    meter = metered()
    keys = [{"id": {"S": NEW.id}}, {"id": {"S": "gone"}}]
    meter.batch_get_item(RequestItems={"t": {"Keys": keys, "ConsistentRead": False}})
    meter.query()
    assert meter.usage.reads == 0.5 + 0.5 + 0.5
    assert meter.usage.calls == {"BatchGetItem": 1, "Query": 1}


def test_taking_begins_anew() -> None:
    meter = metered()
    meter.query()
    assert meter.take().calls.total() == 1
    assert meter.take().calls.total() == 0


def test_transitions_are_states_the_start_and_the_children() -> None:
    runs = (
        Execution(entered=6, children=92, planned=9_200, loops=1),
        Execution(entered=6, children=13, planned=1_300, loops=1),
    )
    idle, none = Execution(3, 0, 0, 0), Logs(0, 0, 0)
    counts = StackCounts(10_000, runs, idle, idle, Logs(1_700_000, 30_000, 10_500), none, none)
    assert idle.transitions == 4
    assert counts.transitions == pytest.approx((99 + 20) / 10_000)
    assert counts.transitions_on_backlog == pytest.approx(99 / 9_200 * 1.05)
    assert (counts.log_bytes, counts.log_bytes_with_platform) == (170, 173)


@pytest.mark.parametrize(("counted", "kept"), [(3.2, True), (3.2 + 1e-12, True), (3.2001, False), (0, True)])
def test_a_target_is_an_upper_bound(counted: float, kept: bool) -> None:
    assert Check("write units", 3.2, counted).kept is kept


def test_what_is_not_counted_stays_assumed() -> None:
    assert work_of(None, None) == ASSUMED
