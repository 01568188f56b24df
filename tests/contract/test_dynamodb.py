"""What holds for the DynamoDB adapter alone: lost answers, throttling, crashes between calls, foreign items, cost."""

from __future__ import annotations

import contextlib
import math
import zlib
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from simulation.stores.dynamodb import INDEX, TABLE, DirectClient, Table
from tests.contract.conftest import POLICY, SHARDS
from tests.contract.test_store import LEASE_OVER, Crash, answer, claim, done, find
from tests.fakes import START, Even, FakeClock, LedgerGateway, payment, payments, run
from workers.domain.causes import Cause
from workers.domain.confirming import Confirmer
from workers.domain.exits import Redrive, Refused
from workers.domain.outcomes import Retryable, Unknown
from workers.domain.ports import Move
from workers.domain.transaction import CANARY, HistoryEntry, Status, from_text, to_text
from workers.domain.transitions import Answer, decide
from workers.stores.common import arrived
from workers.stores.dynamodb import (
    EXPIRES,
    FENCE,
    MOST_SHARDS,
    PAGE,
    DynamoDbStore,
    StoreError,
    Unreadable,
    _entry,
    _line,
    _update,
    parse,
    to_item,
)

Make = Callable[[Any], DynamoDbStore]


class Client:
    """A boto3 client under a script: `around(name, call, arguments)` stands in for each call, and all are counted."""

    def __init__(self, client: Any, around: Callable[[str, Callable[..., Any], dict[str, Any]], Any]) -> None:
        self._client, self._around = client, around
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        def call(**arguments: Any) -> Any:
            self.calls.append(name)
            return self._around(name, getattr(self._client, name), arguments)

        return call


def plain(client: Any) -> Any:
    return client


def test_a_write_whose_answer_was_lost_is_recognised(dynamodb: Make, clock: FakeClock) -> None:
    """The SDK repeats a write after a lost answer, and the repetition meets the fence that its first try raised."""

    def twice(name: str, call: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        if name == "batch_execute_statement":
            call(**arguments)
        return call(**arguments)

    store = dynamodb(lambda client: Client(client, twice))
    assert run(store.add([payment("p-0")])).already == ("p-0",), "ours or not, it is there with the same content"
    [record] = claim(store)
    assert record.attempt == 1
    assert run(store.settle([answer(record, clock, done(record))])) == [True]
    assert len(find(store).history) == 3


def test_a_foreign_write_is_not_taken_for_ours(dynamodb: Make, clock: FakeClock) -> None:
    store = dynamodb(plain)
    run(store.add([payment("p-0")]))
    [record] = claim(store, "old")
    clock.advance(LEASE_OVER)
    claim(store, "new")
    assert run(store.settle([answer(record, clock, done(record))])) == [False]


@pytest.mark.parametrize("code", ["ThrottlingError", "ProvisionedThroughputExceeded", "TransactionConflict"])
def test_throttled_statements_are_repeated_alone(dynamodb: Make, clock: FakeClock, code: str) -> None:
    sizes: list[int] = []

    def throttled(name: str, call: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        if name != "batch_execute_statement":
            return call(**arguments)
        sizes.append(len(arguments["Statements"]))
        if len(sizes) > 2:
            return call(**arguments)
        part = call(Statements=arguments["Statements"][:3])["Responses"]
        return {"Responses": part + [{"Error": {"Code": code, "Message": "slow down"}}] * (sizes[-1] - 3)}

    store = dynamodb(lambda client: Client(client, throttled))
    began = clock.now()
    assert len(run(store.add(list(payments(10)))).new) == 10
    assert sizes == [10, 7, 4]
    assert clock.now() - began == timedelta(seconds=0.05 + 0.1), "ever longer, while it is throttled"


def test_throttling_without_end_is_an_error_that_names_the_table(dynamodb: Make) -> None:
    def always(name: str, _: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        return {"Responses": [{"Error": {"Code": "ThrottlingError", "Message": "no"}} for _ in arguments["Statements"]]}

    store = dynamodb(lambda client: Client(client, always))
    with pytest.raises(StoreError, match=f"{store.table}.*ThrottlingError"):
        run(store.add([payment("p-0")]))


def test_unprocessed_keys_are_read_again(dynamodb: Make, clock: FakeClock) -> None:
    reads: list[int] = []

    def partly(name: str, call: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        if name != "batch_get_item":
            return call(**arguments)
        [(table, request)] = arguments["RequestItems"].items()
        reads.append(len(request["Keys"]))
        now, later = request["Keys"][:4], request["Keys"][4:]
        result = call(RequestItems={table: {**request, "Keys": now}})
        return {**result, "UnprocessedKeys": {table: {**request, "Keys": later}} if later else {}}

    store = dynamodb(lambda client: Client(client, partly))
    run(store.add(list(payments(10))))
    began = clock.now()
    assert len(claim(store)) == 10
    assert reads == [10, 6, 2]
    assert clock.now() - began == timedelta(seconds=0.05 + 0.1), "ever longer, while it is throttled"


def test_no_call_reads_more_keys_than_dynamodb_takes(clock: FakeClock) -> None:
    """The simulated table refuses more than 100."""
    store = DynamoDbStore(DirectClient(Table()), TABLE, INDEX, SHARDS, clock, POLICY)
    run(store.add(list(payments(101))))
    assert len(claim(store, limit=101)) == 101


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("fatal", range(1, 13))
def test_a_crash_between_any_two_api_calls_loses_and_doubles_nothing(
    dynamodb: Make, clock: FakeClock, fatal: int, after: bool
) -> None:
    """30 transactions: 3 queries, 1 read, 2 claims, 2 settles; later numbers crash the second worker on its way."""
    seen = [0]

    def crash(name: str, call: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        seen[0] += 1
        if seen[0] == fatal and not after:
            raise Crash
        result = call(**arguments)
        if seen[0] == fatal:
            raise Crash
        return result

    run(dynamodb(plain).add(list(payments(30))))
    gateway, tokens = LedgerGateway(), iter(range(1000))

    def work(store: DynamoDbStore) -> None:
        worker = Confirmer(store, gateway, clock, Even(), lambda: f"t{next(tokens)}", POLICY, "w")
        run(worker.confirm_batch(100))

    for _ in range(2):
        with contextlib.suppress(Crash):
            work(dynamodb(lambda client: Client(client, crash)))
        clock.advance(LEASE_OVER)
    for _ in range(3):
        work(dynamodb(plain))
        clock.advance(LEASE_OVER)
    assert seen[0] >= min(fatal, 9)
    assert set(gateway.effects.values()) == {1}
    assert len(gateway.effects) == 30
    assert {record.status for record in run(dynamodb(plain).everything())} == {Status.CONFIRMED}


@pytest.mark.parametrize("field", ["amount", "account", "version", "deadline", "status", "attempt"])
def test_an_item_written_by_something_else_goes_to_the_desk_and_stops_nobody(
    dynamodb: Make, clock: FakeClock, field: str
) -> None:
    store = dynamodb(plain)
    run(store.add(list(payments(3))))
    item = store.client.get_item(TableName=store.table, Key={"id": {"S": "p-1"}})["Item"]
    del item[field]
    store.client.put_item(TableName=store.table, Item=item)
    clock.advance(1)
    held, [told] = run(store.claim(token="t1", by="w1", limit=100))
    assert {record.id for record in held} == {"p-0", "p-2"}
    [line] = told.history
    assert (told.id, line.by, line.now, line.at) == ("p-1", "w1", Status.REVIEW, clock.now())
    assert told.review_by == clock.now() + POLICY.review_within
    assert (line.attempt, line.token, line.times) == (0, None, 1)
    assert field in line.why
    [broken] = run(store.review())
    assert broken.id == "p-1"
    assert field in (broken.reason or "")
    assert broken.owner == POLICY.review_owner
    assert broken.review_by == clock.now() + POLICY.review_within
    assert find(store, "p-1").status is Status.REVIEW
    if field != "status":  # the desk itself has mended that one
        with pytest.raises(Refused, match=field):
            run(store.leave("p-1", Redrive("ana", "ben", "try")))
    assert claim(store, "t2") == []


@pytest.mark.parametrize("moved", [True, False])
def test_it_is_told_when_not_even_a_desk_takes_an_item(
    clock: FakeClock, caplog: pytest.LogCaptureFixture, moved: bool
) -> None:
    def around(name: str, call: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        if name != "batch_execute_statement" or moved:
            return call(**arguments)
        return {"Responses": [{"Error": {"Code": "ValidationError"}} for _ in arguments["Statements"]]}

    table = Table()
    store = DynamoDbStore(DirectClient(table), TABLE, INDEX, SHARDS, clock, POLICY)
    run(store.add([payment("p-0")]))
    del table.items["p-0"]["amount"]
    store = replace(store, client=Client(store.client, around))
    assert len(run(store.claim(token="t", by="w1", limit=9)).to_review) == moved
    assert ("p-0 can't be moved to a desk (ValidationError)" in caplog.text) is not moved


@pytest.mark.parametrize(
    ("status", "ahead", "held"),
    [
        ("PROCESSING", timedelta(0), False),
        ("PROCESSING", timedelta(milliseconds=1), True),
        ("PROCESSING", timedelta(hours=2) - timedelta(milliseconds=1), True),
        ("PROCESSING", timedelta(hours=2), False),  # dated by a clock that was wrong
        ("PENDING", timedelta(minutes=1), False),
        ("PROCESSING", None, False),
    ],
)
def test_an_item_that_cannot_be_read_is_its_holders_while_his_lease_stands(
    clock: FakeClock, status: str, ahead: timedelta | None, held: bool
) -> None:
    table = Table()
    store = DynamoDbStore(DirectClient(table), TABLE, INDEX, SHARDS, clock, POLICY)
    run(store.add([payment("p-0")]))
    del table.items["p-0"]["amount"]
    table.items["p-0"]["status"] = {"S": status}
    if ahead is not None:
        table.items["p-0"]["lease_until"] = {"S": to_text(clock.now() + ahead)}
    assert len(run(store.claim(token="t", by="w1", limit=9)).to_review) == (not held)


def test_a_claim_reads_no_further_than_its_limit_and_at_half_the_price(clock: FakeClock) -> None:
    """What goes to a desk in passing counts, too."""
    reads: list[bool] = []

    def around(name: str, call: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        if name == "batch_get_item":
            reads.append(arguments["RequestItems"][TABLE]["ConsistentRead"])
        return call(**arguments)

    store = DynamoDbStore(Client(DirectClient(Table()), around), TABLE, INDEX, SHARDS, clock, POLICY)
    run(store.add([payment("late", hours=0.01), payment("p-0"), payment("p-1"), payment("p-2")]))
    clock.advance(60)
    reads.clear()
    held, to_review = run(store.claim(token="t", by="w1", limit=3))
    assert (len(held) + len(to_review), reads) == (3, [False])
    reads.clear()
    with pytest.raises(Refused):
        run(store.leave(held[0].id, Redrive("ana", "ben", "try")))
    assert reads == [True], "a person is shown what stands"


def test_a_renewal_that_the_table_refuses_sends_nothing_to_a_desk(clock: FakeClock) -> None:
    def around(name: str, call: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        if name == "batch_execute_statement" and refused:
            refused.pop()
            return {"Responses": [{"Error": {"Code": "ValidationError"}} for _ in arguments["Statements"]]}
        return call(**arguments)

    refused: list[str] = []
    store = DynamoDbStore(Client(DirectClient(Table()), around), TABLE, INDEX, SHARDS, clock, POLICY)
    run(store.add([payment("p-0")]))
    held = claim(store)
    refused.append("the next one")
    clock.advance(1)
    assert run(store.extend(held)) == []
    assert refused == []
    assert find(store) == held[0]


def test_an_item_is_held_to_the_rules_unless_it_is_only_looked_at() -> None:
    item = to_item(arrived(payment(), START), SHARDS)
    fine = parse(item)
    assert to_item(fine, SHARDS) == item
    wrong = {**item, "amount": {"N": "-1"}}
    assert parse(wrong, strictly=False) == fine._replace(amount=-1)
    with pytest.raises(Unreadable, match="amount"):
        parse(wrong)


def test_nothing_but_a_canary_is_deleted_by_dynamodb() -> None:
    canary = payment(f"{CANARY}{START:%Y%m%dT%H%M%SZ}", amount=1)
    item = to_item(arrived(canary, START), SHARDS)
    assert EXPIRES in item
    assert parse(item).id == canary.id
    with pytest.raises(Unreadable, match=EXPIRES):
        parse({**to_item(arrived(payment(), START), SHARDS), EXPIRES: item[EXPIRES]})


def test_a_change_writes_what_differs_and_nothing_else() -> None:
    """Of a record that was read anew, too: equal to the first, and not the same."""
    item = to_item(arrived(payment(), START), SHARDS)
    before, after = parse(item), parse(item)._replace(tries=1)
    changed = _update("t", Move(before, after), SHARDS)
    assert changed["Statement"] == f'UPDATE "t" SET "tries" = ? WHERE {FENCE}'
    assert changed["Parameters"] == [{"N": "1"}, item["id"], item["version"]]


@pytest.mark.parametrize("value", [{"N": "12.5"}, {"S": "12"}, {"BOOL": True}])
def test_an_amount_of_another_form_is_never_guessed(dynamodb: Make, clock: FakeClock, value: dict[str, Any]) -> None:
    store = dynamodb(plain)
    run(store.add([payment("p-0")]))
    item = store.client.get_item(TableName=store.table, Key={"id": {"S": "p-0"}})["Item"]
    store.client.put_item(TableName=store.table, Item={**item, "amount": value})
    assert claim(store) == []
    assert [record.id for record in run(store.review())] == ["p-0"]


def test_the_index_holds_open_work_only(dynamodb: Make, clock: FakeClock) -> None:
    store = dynamodb(plain)
    run(store.add(list(payments(4))))
    records = claim(store)
    assert run(store.due(10)).ids, "held ones stay in it: a claim must not move them"
    run(store.settle([answer(record, clock, done(record)) for record in records]))
    assert run(store.due(10)).ids == ()
    item = store.client.get_item(TableName=store.table, Key={"id": {"S": "p-0"}})["Item"]
    assert not {"pending_shard", "next_attempt_at", "lease_until", "token"} & item.keys()


def test_an_item_that_the_table_refuses_is_not_taken_for_one_that_is_there(
    dynamodb: Make, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = dynamodb(plain)
    whole = store._execute

    async def refuse_one(statements: Any) -> list[str | None]:
        codes = await whole(statements[1:])
        return ["ValidationError", *codes]

    monkeypatch.setattr(store, "_execute", refuse_one)
    added = run(store.add(list(payments(3))))
    assert (added.new, added.already, added.refused) == (("p-0", "p-1"), (), ("p-2",))


def test_due_counts_more_than_it_was_asked_for(dynamodb: Make, clock: FakeClock) -> None:
    store = dynamodb(plain)
    run(store.add(list(payments(12))))
    due = run(store.due(10))
    assert (len(due.ids), due.more, due.oldest_due_at) == (10, True, clock.now())
    assert not run(store.due(12)).more


class Index:
    """A client that answers queries of an index, in order and in pages, and counts the keys that it read."""

    def __init__(self, shards: dict[str, list[tuple[str, str]]], page: int = 10_000) -> None:
        self.shards = {shard: sorted(keys) for shard, keys in shards.items()}
        self.page, self.keys, self.queries = page, 0, 0
        """A page ends after so many, as DynamoDB's after 1 MB."""

    def query(self, *, ExpressionAttributeValues: dict[str, Any], Limit: int | None = None, **query: Any) -> Any:  # noqa: N803
        keys = self.shards.get(ExpressionAttributeValues[":shard"]["S"], [])
        if (until := ExpressionAttributeValues.get(":now", {}).get("S")) is not None:
            keys = [key for key in keys if key[0] <= until]
        start = query.get("ExclusiveStartKey", 0)
        end = min(start + min(Limit or self.page, self.page), len(keys))
        self.keys += end - start
        self.queries += 1
        items = [{"next_attempt_at": {"S": text}, "id": {"S": id_}} for text, id_ in keys[start:end]]
        more = {"LastEvaluatedKey": end} if end < len(keys) else {}
        return {"Count": end - start, **({} if query.get("Select") == "COUNT" else {"Items": items}), **more}


def index(clock: FakeClock, count: int, shards: int, *, of: int | None = None) -> Index:
    """`count` due keys over the shards, by a hash as producers do; or over the first `of` of them."""
    due: dict[str, list[tuple[str, str]]] = {}
    for n in range(count):
        id_ = f"payment-{n}"
        at = to_text(clock.now() - timedelta(seconds=count - n))
        due.setdefault(str(zlib.crc32(id_.encode()) % (of or shards)), []).append((at, id_))
    return Index(due)


@pytest.mark.parametrize(("shards", "of"), [(1, None), (10, None), (40, None), (100, None), (40, 4), (100, 1)])
@pytest.mark.parametrize("page", [10_000, 300])
def test_what_a_plan_reads_does_not_grow_with_the_shards(
    clock: FakeClock, shards: int, of: int | None, page: int
) -> None:
    """DynamoDB bills what is read, and a Lambda's memory and time are what it holds and parses of it."""
    limit, client = 2_000, index(clock, 12_000, shards, of=of)
    client.page = page
    due = run(DynamoDbStore(client, "t", "pending", shards, clock, POLICY).due(limit))
    assert due.ids == tuple(f"payment-{n}" for n in range(limit)), "the longest due, whatever their shard"
    assert (due.more, due.oldest_due_at) == (True, clock.now() - timedelta(seconds=12_000))
    chance = 4 * shards * math.isqrt(limit // shards)
    assert client.keys <= (3 * limit if of else limit + chance) + shards * PAGE
    assert client.queries <= shards + 6 * (of or 0) + limit // page + 1


def test_a_walk_reads_on_by_a_page_and_then_by_twice_as_much(clock: FakeClock) -> None:
    client, limits = index(clock, 200, 1), list[int]()

    def around(_: str, call: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        limits.append(arguments["Limit"])
        return call(**arguments)

    store = DynamoDbStore(Client(client, around), "t", "pending", 1, clock, POLICY)
    assert len(run(store._walk(["0"], 10).take(170))) == 170
    assert limits == [PAGE, PAGE, 2 * PAGE, 4 * PAGE]


def test_a_report_reads_a_page_of_each_shard_at_most(clock: FakeClock) -> None:
    client = index(clock, 12_000, 100)
    assert len(run(DynamoDbStore(client, "t", "pending", 100, clock, POLICY).due(100)).ids) == 100
    assert (client.keys, client.queries) == (100 * PAGE, 100)


def test_a_claim_without_ids_reads_each_key_once(dynamodb: Make, clock: FakeClock) -> None:
    """What others hold stays in the index: it looks past them, without beginning anew."""
    read: list[int] = []

    def counted(name: str, call: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        answer = call(**arguments)
        read.extend([len(answer["Items"])] if name == "query" else [])
        return answer

    store = dynamodb(lambda client: Client(client, counted))
    run(store.add(list(payments(200))))
    assert len(claim(store, "t1", limit=150)) == 150
    read.clear()
    assert len(claim(store, "t2", limit=20)) == 20
    assert sum(read) <= 200


def test_a_backlog_is_counted_without_reading_the_keys(dynamodb: Make, clock: FakeClock) -> None:
    keys: list[int] = []

    def counted(name: str, call: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        answer = call(**arguments)
        keys.extend([len(answer.get("Items", ()))] if name == "query" else [])
        return answer

    store = dynamodb(lambda client: Client(client, counted))
    run(store.add(list(payments(300))))
    found = run(store.backlog())
    assert (found.open, found.due, found.oldest_due_at, found.exact) == (300, 300, clock.now(), True)
    assert sum(keys) <= SHARDS * PAGE, "the first of each shard, for the oldest"


def test_a_desk_is_counted_to_a_bound(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.stores.dynamodb.DESK_MOST", 50)
    waiting = [(to_text(clock.now()), f"p-{n:03}") for n in range(300)]
    client = Index({"review": waiting})
    store = DynamoDbStore(client, "t", "pending", SHARDS, clock, POLICY)
    found = run(store.backlog())
    assert (found.review, found.exact) == (50, False)
    assert client.keys <= 100


# a key is text of any kind: what sorts first, among the times, and behind all of them
STRANGE = ["!", "1", "2026-01-05 soon", "2026-99-99T99:99:99.999Z", "9999-99", "tomorrow", "0001-01-01T00:00:00+14:00"]


@pytest.mark.parametrize("key", STRANGE)
def test_a_key_that_is_no_time_breaks_nothing_and_ends_on_a_desk(dynamodb: Make, clock: FakeClock, key: str) -> None:
    store = replace(dynamodb(plain), shards=1)
    run(store.add(list(payments(3))))
    item = store.client.get_item(TableName=store.table, Key={"id": {"S": "p-1"}})["Item"]
    store.client.put_item(TableName=store.table, Item={**item, "next_attempt_at": {"S": key}})
    backlog = run(store.backlog())
    assert (backlog.open, backlog.oldest_due_at) == (3, clock.now())
    due = run(store.due(10))
    assert due.oldest_due_at == clock.now()
    planned = {*due.ids, *run(store.never_due())}
    assert planned == {"p-0", "p-1", "p-2"}, "none is left for ever"
    held, to_review = run(store.claim(token="t1", by="w1", limit=10, ids=sorted(planned)))
    assert ({record.id for record in held}, [record.id for record in to_review]) == ({"p-0", "p-2"}, ["p-1"])
    assert "next_attempt_at" in (run(store.review())[0].reason or "")


@pytest.mark.parametrize("key", [STRANGE[0], STRANGE[-1]])
def test_a_deadline_on_the_desk_that_is_no_time_hides_nobody(dynamodb: Make, clock: FakeClock, key: str) -> None:
    store = dynamodb(plain)
    run(store.add(list(payments(2))))
    for record in claim(store):
        run(store.settle([answer(record, clock, Unknown("?"))]))
    for id_ in ("p-0", "p-1"):
        item = store.client.get_item(TableName=store.table, Key={"id": {"S": id_}})["Item"]
        until = key if id_ == "p-0" else to_text(clock.now() + timedelta(hours=1))
        review = {
            "status": {"S": "REVIEW"},
            "pending_shard": {"S": "review"},
            "reason": {"S": "?"},
            "owner": {"S": "x"},
        }
        times = {"next_attempt_at": {"S": until}, "review_by": {"S": until}}
        store.client.put_item(TableName=store.table, Item={**item, **review, **times})
    desk = run(store.desk())
    assert (desk.count, desk.first_review_by) == (2, clock.now() + timedelta(hours=1))
    assert {record.id for record in run(store.review())} == {"p-0", "p-1"}
    assert run(store.backlog()).review == 2


def test_never_due_looks_at_each_shard_in_its_time(dynamodb: Make, clock: FakeClock) -> None:
    store = dynamodb(plain)
    run(store.add(list(payments(SHARDS * 4))))
    for n in range(SHARDS * 4):
        item = store.client.get_item(TableName=store.table, Key={"id": {"S": f"p-{n}"}})["Item"]
        store.client.put_item(TableName=store.table, Item={**item, "next_attempt_at": {"S": "never"}})
    found: set[str] = set()
    for _ in range(40):
        found |= set(run(store.never_due()))
        clock.advance(60)
    assert len(found) == SHARDS * 4


def test_lowering_the_shards_strands_nothing(dynamodb: Make, clock: FakeClock) -> None:
    """Producers wrote under the higher number, and some go on for a while."""
    many = replace(dynamodb(plain), shards=10)
    run(many.learn_shards(keep=True))  # a plan
    run(many.add(list(payments(30))))
    few = replace(many, shards=2, used=0)
    run(few.learn_shards(keep=True))
    assert (run(few.backlog()).open, len(run(few.due(100)).ids)) == (30, 30)
    later = replace(many, shards=1, used=0)
    run(later.learn_shards())
    assert run(later.doubt()) == 30
    assert len(run(later.claim(token="t", by="w", limit=100)).held) == 30
    assert run(later.backlog()).open == 30


def test_what_came_under_a_number_of_shards_that_nobody_remembers_is_found(
    dynamodb: Make, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A producer that is ahead of the deployment; a table from before the number was remembered."""
    monkeypatch.setattr("workers.stores.dynamodb.MOST_SHARDS", 8)
    store = replace(dynamodb(plain), shards=2)
    run(replace(store, shards=8).add(list(payments(30))))
    planned: set[str] = set()
    for _ in range(60):
        planned |= {*run(store.due(100)).ids, *run(store.never_due())}
        clock.advance(60)
    assert len(planned) == 30
    told = replace(store, used=0)
    run(told.learn_shards())
    assert run(told.backlog()).open == 30


@pytest.mark.parametrize("minutes", [1, 60, 101, 202, 1440])
def test_each_shard_is_looked_at_within_as_many_runs_as_there_are(
    dynamodb: Make, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, minutes: int
) -> None:
    """Whatever the schedule: neither by the time, which leaves some out for ever (each 101 minutes, as it was), nor by
    chance, which left one out for hours: `python -m simulation` found that it did."""
    looked: set[str] = set()

    async def page(_: DynamoDbStore, shard: str, *__: object, **___: object) -> tuple[list[object], None]:
        looked.add(shard)
        return [], None

    monkeypatch.setattr(DynamoDbStore, "_page", page)
    store = dynamodb(plain)
    for number in range(MOST_SHARDS):
        run(replace(store).never_due())  # another Lambda each time
        clock.advance(60 * minutes)
        if number == SHARDS - 1:
            assert looked >= {str(shard) for shard in range(SHARDS)}, "its own shards come soon"
    assert looked == {str(shard) for shard in range(MOST_SHARDS)}


def test_looking_for_what_is_never_due_costs_two_reads_of_nothing_and_a_write(dynamodb: Make, clock: FakeClock) -> None:
    clients: list[Client] = []

    def counted(client: Any) -> Client:
        clients.append(Client(client, lambda _, call, arguments: call(**arguments)))
        return clients[0]

    store = dynamodb(counted)
    run(store.add(list(payments(20))))
    clients[0].calls.clear()
    assert run(store.never_due()) == ()
    assert clients[0].calls == ["update_item", "query", "query"]


def test_many_turns_too_far_ahead_are_found_as_fast_as_they_are_planned(dynamodb: Make, clock: FakeClock) -> None:
    store = replace(dynamodb(plain), shards=1)
    run(store.add([payment(f"p-{n}") for n in range(3 * PAGE)]))
    ahead = FakeClock(clock.now() + timedelta(hours=9))
    for record in claim(store, limit=3 * PAGE):
        after = decide(record, Answer(Retryable("busy"), "w"), ahead.now(), POLICY)
        assert run(store.settle([Move(record, after)])) == [True]
    assert run(store.due(9)).ids == ()
    assert len(run(store.never_due(1_000))) == 3 * PAGE


def test_a_batch_of_100_costs_nine_calls(dynamodb: Make, clock: FakeClock) -> None:
    clients: list[Client] = []

    def counted(client: Any) -> Client:
        clients.append(Client(client, lambda _, call, arguments: call(**arguments)))
        return clients[0]

    run(dynamodb(plain).add(list(payments(100))))
    store = dynamodb(counted)
    records = claim(store, ids=[record.id for record in payments(100)])
    run(store.settle([answer(record, clock, done(record)) for record in records]))
    assert len(records) == 100
    assert clients[0].calls.count("batch_get_item") == 1
    assert clients[0].calls.count("batch_execute_statement") == 8


def test_an_ordinary_life_fits_one_write_unit(dynamodb: Make, clock: FakeClock) -> None:
    """A write is billed by the KiB of the item: names, values, history and all."""
    store = dynamodb(plain)
    long = payment("transaction-identifier-of-a-common-36")
    run(store.add([long]))
    [record] = run(store.claim(token="0123456789abcdef", by="run-01234567/500", limit=1)).held
    clock.advance(1)
    run(store.settle([answer(record, clock, done(record))]))
    item = to_item(find(store, long.id), store.shards)
    lists = sum(3 + len(line["S"]) + 1 for line in item["history"]["L"])
    size = sum(len(name) for name in item) + lists
    size += sum(len(next(iter(value.values()))) for name, value in item.items() if name != "history")
    assert size < 1024


# What versions before causes made of a line: the token's field, whatever stands in it, and how often behind a star.
LINES = (
    ("2026-01-05T09:00:00.000Z|w|PENDING|PROCESSING|1|t|claimed", None),
    ("2026-01-05T09:00:00.000Z|w|PENDING|PROCESSING|1|t~claimed|claimed", Cause.CLAIMED),
    (
        "2026-01-05T09:00:00.000Z|w|PROCESSING|PENDING|1|t~rate-limited*12@2026-01-05T08:00:00.000Z|w|y",
        Cause.RATE_LIMITED,
    ),
    ("2026-01-05T09:00:00.000Z|w|PROCESSING|PENDING|1|t*12@2026-01-05T08:00:00.000Z|not tried: so it was", None),
    ("2026-01-05T09:00:00.000Z|w|PROCESSING|PENDING|1|t~of-tomorrow|words", None),
    ("2026-01-05T09:00:00.000Z|producer||PENDING|0||added", Cause.ADDED),
)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_line_says_how_often_it_was_so_and_since_when(times: int) -> None:
    since = START if times > 1 else None
    entry = HistoryEntry(
        START + timedelta(hours=1), "w", Status.PROCESSING, Status.PENDING, 1, "t", "y", times, since, Cause.NOT_SENT
    )
    assert _entry(_line(entry)) == entry


@pytest.mark.parametrize(("line", "cause"), LINES)
def test_a_line_of_history_is_read_by_its_cause_and_by_versions_without_one(line: str, cause: Cause | None) -> None:
    entry = _entry(line)
    assert (entry.cause, entry.token) == (cause, "t" if entry.was else None)
    if "of-tomorrow" not in line:
        assert _line(entry) == line
    before = _before_causes(line)
    assert _line(before) == line, "whoever of them writes the item again leaves the cause where it is"


def _before_causes(line: str) -> HistoryEntry:
    at, by, was, now, attempt, token, why = line.split("|", 6)
    token, _, often = token.partition("*")
    times, _, since = often.partition("@")
    return HistoryEntry(
        *(from_text(at), by, Status(was) if was else None, Status(now), int(attempt), token or None, why),
        *(int(times or 1), from_text(since) if since else None),
    )
