"""DynamoDB as AWS describes it, for the production's own adapter: what its client would call is simulated, no more.

Writes are conditional and one at a time; reads may show what stood earlier unless they are to be consistent; the index
follows its table later, each item at a time of its own; a page ends where the service likes; of a batch any part may
fail; an item holds 400 KB; and the SDK sends a call again whose answer did not come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, NamedTuple

from botocore.exceptions import ClientError, ReadTimeoutError

from simulation.blocking import wait_for
from simulation.life import Life, Stage
from simulation.oracles import Operation
from simulation.stores.common import Database
from simulation.stores.expressions import Insert, Item, Unknown, Update, Value, change, condition, statement
from workers.domain.policy import Policy
from workers.domain.ports import Claimed, Move
from workers.domain.transaction import HistoryEntry, Status, Transaction, to_text
from workers.serverless.run_lock import SHADOW
from workers.stores.dynamodb import CANARIES_SHARD, REVIEW_SHARD, RUN_ITEM, DynamoDbStore, Unreadable, parse

TABLE, INDEX = "transactions", "pending"
MOST_BYTES = 400_000
"""Of an item: AWS's 400 KB."""
MOST_STATEMENTS, MOST_KEYS = 25, 100
"""Of a BatchExecuteStatement and a BatchGetItem."""
MOST_PAGE = 1000
"""Keys of a page: with ours a megabyte holds more, so no plan of a life needs another one by itself."""
SDK_TRIES = 5
"""Of one call: the first, and the four more that the workers' client config allows."""
SDK_TIMEOUT = 5.0
"""Seconds, after which it sends again."""
MOST_OFF = timedelta(minutes=5)
"""A request that is dated so far from now AWS refuses."""
LATEST = 60.0
"""Seconds: so late a stale index is at most, and a stale read shows what stood so long ago."""
SLOW = 0.3
"""So often somebody else may do something while a call is on its way."""
INDEX_KEYS = ("pending_shard", "next_attempt_at")


_SOUND: Item = {
    "account": {"S": "4111111111111111"},
    "amount": {"N": "100"},
    "currency": {"S": "USD"},
    "created_at": {"S": "2026-01-05T09:00:00.000Z"},
    "deadline": {"S": "2026-01-05T10:00:00.000Z"},
    "status": {"S": "PENDING"},
    "attempt": {"N": "0"},
    "version": {"N": "1"},
}
FOREIGN_ID = "foreign-"
FOREIGN: Sequence[Item] = (
    {},
    {"status": {"S": "PENDING"}},
    {"version": {"S": "one"}},
    {"payload": {"M": {"card": {"S": "4000056655665556"}}}},
    {**_SOUND, "amount": {"N": "1.5"}},
    {**_SOUND, "amount": {"N": "-1"}},
    {**_SOUND, "amount": {"S": "100"}},
    {**_SOUND, "currency": {"S": "usd"}},
    {**_SOUND, "deadline": {"S": "tomorrow"}},
    {**_SOUND, "created_at": {"N": "1767603600"}},
    {**_SOUND, "status": {"S": "DONE"}},
    {**_SOUND, "status": {"S": "PROCESSING"}},
    {**_SOUND, "status": {"S": "CONFIRMED"}},
    {**_SOUND, "version": {"N": "99999999999999999999"}},
    {**_SOUND, "history": {"L": [{"M": {}}]}},
    {**_SOUND, "history": {"S": "[]"}},
    {**_SOUND, "account": {"S": "q" * 300_000}},
)
"""What somebody else writes beside the keys of the index. None is a transaction."""


class ConditionalCheckFailedException(ClientError):  # type: ignore[misc] # noqa: N818 - boto3's name
    """As boto3's client makes it from the service's answer."""

    def __init__(self, operation: str) -> None:
        super().__init__(_error("ConditionalCheckFailedException", "The conditional request failed"), operation)


EXCEPTIONS = SimpleNamespace(ConditionalCheckFailedException=ConditionalCheckFailedException)


def _error(code: str, message: str) -> Any:
    return {"Error": {"Code": code, "Message": message}}


class Past(NamedTuple):
    """What stood before the newest write, and when that was."""

    item: Item | None
    until: float


Wrote = Callable[[Item | None, Item], None]


@dataclass
class Table:
    """The service itself: each operation happens at once, and whole."""

    name: str = TABLE
    index_name: str = INDEX
    now: Callable[[], float] = lambda: 0.0
    items: dict[str, Item] = field(default_factory=dict)
    past: dict[str, Past] = field(default_factory=dict)
    index: dict[str, Item] = field(default_factory=dict)
    """As it shows the items: their keys."""
    page: int = MOST_PAGE
    """Where a page ends at the latest."""
    replicates: Callable[[Callable[[], None]], None] = lambda show: show()
    """When the index follows: called with what shows a write there."""
    record: list[tuple[str, dict[str, Any], Any]] | None = None
    """What was called, with its arguments and its answer or error, to be played on the real one."""
    newest: int = 0
    _told: int = 0
    _shown: dict[str, int] = field(default_factory=dict)

    def tell(self, operation: str, arguments: dict[str, Any], answer: Any) -> None:
        """A call, and what it was answered; without one, a write past every client is told by itself."""
        self._told = self.newest
        if self.record is not None:
            self.record.append((operation, arguments, answer))

    def catch_up(self) -> None:
        """What was written past every client since the last call is told as a write of the whole table."""
        if self.record is not None and self._told != self.newest:
            self.record += [("put_item", {"TableName": self.name, "Item": item}, {}) for item in self.items.values()]
            self._told = self.newest

    # --- writes

    def batch_execute_statement(self, who: Wrote, *, Statements: Sequence[Mapping[str, Any]]) -> dict[str, Any]:  # noqa: N803
        if not 1 <= len(Statements) <= MOST_STATEMENTS:
            raise Unknown(f"a batch of {len(Statements)} statements")
        return {"Responses": [self.execute(who, one) for one in Statements]}

    def execute(self, who: Wrote, one: Mapping[str, Any]) -> dict[str, Any]:
        read, parameters = statement(one["Statement"]), one["Parameters"]
        self._ours(read.table)
        code = self._insert(who, read, parameters) if isinstance(read, Insert) else self._update(who, read, parameters)
        return {"TableName": self.name} if code is None else {"Error": {"Code": code}}

    def _insert(self, who: Wrote, read: Insert, parameters: Sequence[Value]) -> str | None:
        item = read.item(parameters)
        if item["id"]["S"] in self.items:
            return "DuplicateItem"
        return self.write(who, item)

    def _update(self, who: Wrote, read: Update, parameters: Sequence[Value]) -> str | None:
        stood = self.items.get(read.key(parameters))
        if not fence_holds(read, stood, parameters) or stood is None:
            return "ConditionalCheckFailed"
        return self.write(who, read.changed(stood, parameters))

    def refuses(self, one: Mapping[str, Any]) -> bool:
        """Whether an update would make an item too large."""
        read, parameters = statement(one["Statement"]), one["Parameters"]
        if isinstance(read, Insert) or (stood := self.items.get(read.key(parameters))) is None:
            return False
        return read.holds(stood, parameters) and too_large(read.changed(stood, parameters))

    def update_item(
        self,
        who: Wrote,
        *,
        TableName: str,  # noqa: N803
        Key: Item,  # noqa: N803
        UpdateExpression: str,  # noqa: N803
        ExpressionAttributeValues: Mapping[str, Value],  # noqa: N803
        ConditionExpression: str | None = None,  # noqa: N803
        ExpressionAttributeNames: Mapping[str, str] | None = None,  # noqa: N803
        ReturnValues: str = "NONE",  # noqa: N803
    ) -> dict[str, Any]:
        self._ours(TableName)
        names, values = ExpressionAttributeNames or {}, ExpressionAttributeValues
        stood = self.items.get(Key["id"]["S"], {})
        if ConditionExpression and not condition(ConditionExpression, names)(stood, values):
            raise ConditionalCheckFailedException("UpdateItem")
        after = change(UpdateExpression, names)({**Key, **stood}, values)
        if code := self.write(who, after):
            raise ClientError(_error(code.replace("Error", "Exception"), "refused"), "UpdateItem")
        return {"Attributes": after} if ReturnValues == "ALL_NEW" else {}

    def put_item(
        self,
        who: Wrote,
        *,
        TableName: str,  # noqa: N803
        Item: Item,  # noqa: N803
        ConditionExpression: str,  # noqa: N803
        ExpressionAttributeValues: Mapping[str, Value] | None = None,  # noqa: N803
        ExpressionAttributeNames: Mapping[str, str] | None = None,  # noqa: N803
    ) -> dict[str, Any]:
        self._ours(TableName)
        stood, values = self.items.get(Item["id"]["S"], {}), ExpressionAttributeValues or {}
        if not condition(ConditionExpression, ExpressionAttributeNames or {})(stood, values):
            raise ConditionalCheckFailedException("PutItem")
        if code := self.write(who, Item):
            raise ClientError(_error(code.replace("Error", "Exception"), "refused"), "PutItem")
        return {}

    def write(self, who: Wrote, item: Item) -> str | None:
        """The item as it is from now on; or why it is refused."""
        if too_large(item) or any(name in item and "S" not in item[name] for name in INDEX_KEYS):
            return "ValidationError"
        id_ = item["id"]["S"]
        before = self.items.get(id_)
        self.past[id_] = Past(before, self.now())
        self.items[id_] = item
        self.newest += 1
        number, keys = self.newest, {name: item[name] for name in ("id", *INDEX_KEYS) if name in item}
        self.replicates(lambda: self._show(id_, number, keys))
        who(before, item)
        return None

    def _show(self, id_: str, number: int, keys: Item) -> None:
        """Of each item the index shows one write after the other, and may leave some out."""
        if number < self._shown.get(id_, 0):
            return
        self._shown[id_] = number
        if all(name in keys for name in INDEX_KEYS):
            self.index[id_] = keys
        else:
            self.index.pop(id_, None)

    def set_back(self, items: Mapping[str, Item]) -> None:
        """As a restore to an earlier moment does; the index is built anew."""
        self.items, self.past, self.index, self._shown = dict(items), {}, {}, {}
        for id_, item in self.items.items():
            self.newest += 1
            self._show(id_, self.newest, {name: item[name] for name in ("id", *INDEX_KEYS) if name in item})

    # --- reads

    def batch_get_item(self, who: Wrote, *, RequestItems: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002, N803
        [(name, wanted)] = RequestItems.items()
        self._ours(name)
        ids = [key["id"]["S"] for key in wanted["Keys"]]
        if not 1 <= len(ids) <= MOST_KEYS or len({*ids}) < len(ids):
            raise Unknown(f"a batch of {len(ids)} keys")
        return {"Responses": {name: [self.items[id_] for id_ in ids if id_ in self.items]}, "UnprocessedKeys": {}}

    def get_item(self, who: Wrote, *, TableName: str, Key: Item) -> dict[str, Any]:  # noqa: ARG002, N803
        self._ours(TableName)
        item = self.items.get(Key["id"]["S"])
        return {} if item is None else {"Item": item}

    def query(
        self,
        who: Wrote,  # noqa: ARG002
        *,
        TableName: str,  # noqa: N803
        IndexName: str,  # noqa: N803
        KeyConditionExpression: str,  # noqa: N803
        ExpressionAttributeValues: Mapping[str, Value],  # noqa: N803
        Limit: int = MOST_PAGE,  # noqa: N803
        ScanIndexForward: bool = True,  # noqa: N803
        ExclusiveStartKey: Item | None = None,  # noqa: N803
        Select: str = "ALL_PROJECTED_ATTRIBUTES",  # noqa: N803
    ) -> dict[str, Any]:
        self._ours(TableName)
        if IndexName != self.index_name:
            raise Unknown(f"index {IndexName}")
        holds = condition(KeyConditionExpression, {})
        found = [keys for keys in self.index.values() if holds(keys, ExpressionAttributeValues)]
        found.sort(key=_place, reverse=not ScanIndexForward)
        if after := ExclusiveStartKey:
            found = [keys for keys in found if (_place(keys) > _place(after)) is ScanIndexForward and keys != after]
        ends = min(Limit, self.page)
        page = found[:ends]
        answer: dict[str, Any] = {"Count": len(page)}
        if Select != "COUNT":
            answer["Items"] = page
        if len(found) >= ends:
            answer["LastEvaluatedKey"] = page[-1]
        return answer

    def scan(self, who: Wrote, *, TableName: str) -> dict[str, Any]:  # noqa: ARG002, N803
        self._ours(TableName)
        return {"Items": list(self.items.values())}

    def _ours(self, name: str) -> None:
        if name != self.name:
            raise Unknown(f"table {name}")


def fence_holds(read: Update, stood: Item | None, parameters: Sequence[Value]) -> bool:
    """The condition of every change: no item is made by an update, and what it compares is the item itself."""
    return stood is not None and read.holds(stood, parameters)


def _place(keys: Item) -> tuple[str, str]:
    return keys["next_attempt_at"]["S"], keys["id"]["S"]


def too_large(item: Item) -> bool:
    """What Python shows of it is longer than what AWS counts, but for characters, which are four bytes at most."""
    return 4 * len(repr(item)) > MOST_BYTES and size(item) > MOST_BYTES


def size(item: Item) -> int:
    """In bytes, as AWS counts them, or a little more: names and values, and some for what holds others."""
    return sum(len(name.encode(errors="surrogatepass")) + _size(value) for name, value in item.items())


def _size(value: Value) -> int:
    [(kind, content)] = value.items()
    if kind == "L":
        return 3 + sum(1 + _size(one) for one in content)
    if kind == "M":
        return 3 + sum(1 + len(name.encode(errors="surrogatepass")) + _size(one) for name, one in content.items())
    text = str(content)
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))


def _nobody(before: Item | None, after: Item) -> None: ...


class DirectClient:
    """boto3's client on a table without faults: for whatever holds the table to the real one."""

    exceptions = EXCEPTIONS

    def __init__(self, table: Table) -> None:
        self.table = table

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        act = getattr(self.table, operation)
        return lambda **arguments: act(_nobody, **arguments)

    def get_paginator(self, operation: str) -> Any:
        return SimpleNamespace(paginate=lambda **arguments: iter([getattr(self, operation)(**arguments)]))


class Client:
    """boto3's client as one life has it: between it and the table lie the network and the SDK."""

    exceptions = EXCEPTIONS

    def __init__(self, table: Table, life: Life, wrote: Callable[[Life, Item | None, Item], None]) -> None:
        self._table, self._life = table, life
        self._wrote: Wrote = lambda before, after: wrote(life, before, after)

    def batch_execute_statement(self, **arguments: Any) -> Any:
        return wait_for(self._call("batch_execute_statement", arguments))

    def batch_get_item(self, **arguments: Any) -> Any:
        return wait_for(self._call("batch_get_item", arguments))

    def query(self, **arguments: Any) -> Any:
        return wait_for(self._call("query", arguments))

    def update_item(self, **arguments: Any) -> Any:
        return wait_for(self._call("update_item", arguments))

    def put_item(self, **arguments: Any) -> Any:
        return wait_for(self._call("put_item", arguments))

    async def _call(self, operation: str, arguments: dict[str, Any]) -> Any:
        """As the SDK does it: again, where no answer comes or the service is busy."""
        life, stage = self._life, self._life.stage
        if before := stage.chance.random() < 0.5:
            await life.step(operation)
        if abs(life.far_off) > MOST_OFF and not stage.quiet:
            stage.journal.fault(life.name, "signature refused", "", f"its clock is off by {life.far_off}")
            raise ClientError(_error("InvalidSignatureException", "Signature expired"), operation)
        lost, busy = stage.strikes("lost_answer"), stage.strikes("store_throttled")
        losses = stage.chance.choice((1, 1, SDK_TRIES)) if lost else 0
        for _ in range(losses):
            stage.journal.fault(life.name, "lost_answer", "", operation)
            await self._on_its_way()
            match stage.chance.randrange(4):
                case 0:  # it never gets there
                    pass
                case 1:  # it gets there when nobody waits for it any more
                    life.unsure = True
                    stage.loop.call_later(stage.chance.uniform(0, 4 * SDK_TIMEOUT), self._act, operation, arguments)
                case _:
                    self._act(operation, arguments)
            await asyncio.sleep(SDK_TIMEOUT)
        if losses == SDK_TRIES:
            raise ReadTimeoutError(endpoint_url="https://dynamodb")
        if busy:
            stage.journal.fault(life.name, "store_throttled", "", operation)
            await asyncio.sleep(stage.chance.uniform(0.5, 5))
            if stage.chance.random() < 0.5:
                raise ClientError(_error("ThrottlingException", "Rate exceeded"), operation)
        await self._on_its_way()
        answer = self._act(operation, arguments)
        if not before:
            await life.step(f"after {operation}")
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _on_its_way(self) -> None:
        """Mostly nobody else does anything meanwhile."""
        chance = self._life.stage.chance
        if chance.random() < SLOW:
            await asyncio.sleep(chance.uniform(0.001, 0.05))

    def _act(self, operation: str, arguments: dict[str, Any]) -> Any:
        """The answer, or the service's error."""
        self._table.catch_up()
        answer = self._done(operation, arguments)
        self._table.tell(operation, arguments, answer)
        return answer

    def _done(self, operation: str, arguments: dict[str, Any]) -> Any:
        try:
            if operation == "batch_execute_statement":
                if self._life.stage.setup.fat and self._makes_all_invalid(arguments["Statements"]):
                    return ClientError(_error("ValidationException", "a statement is invalid"), operation)
                return {"Responses": [self._statement(one) for one in arguments["Statements"]]}
            if operation == "batch_get_item":
                return self._get(arguments)
            return getattr(self._table, operation)(self._wrote, **arguments)
        except ClientError as error:
            return error

    def _makes_all_invalid(self, statements: Sequence[Mapping[str, Any]]) -> bool:
        """One that is refused may take the others of its call with it."""
        refused = any(self._table.refuses(one) for one in statements)
        return refused and self._life.stage.chance_of("whole call").random() < 0.5

    def _statement(self, one: Mapping[str, Any]) -> dict[str, Any]:
        """One of a batch, of which any may fail: written or not."""
        life, stage = self._life, self._life.stage
        if stage.strikes("partly"):
            code = stage.chance.choice(("ThrottlingError", "TransactionConflict", "InternalServerError"))
            stage.journal.fault(life.name, "partly", "", code)
            if code == "InternalServerError" and stage.chance.random() < 0.5:
                self._table.execute(self._wrote, one)
            return {"Error": {"Code": code}}
        answer = self._table.execute(self._wrote, one)
        if answer.get("Error", {}).get("Code") == "ConditionalCheckFailed":
            stage.journal.tell(life.name, "loses the fence", _id_of(one))
        return answer

    def _get(self, arguments: dict[str, Any]) -> Any:
        """Some keys may be left for later; what need not be consistent may be what stood earlier."""
        life, stage, table = self._life, self._life.stage, self._table
        [(name, wanted)] = arguments["RequestItems"].items()
        keys = list(wanted["Keys"])
        if left := [key for key in keys if stage.strikes("partly")]:
            keys = [key for key in keys if key not in left]
            stage.journal.fault(life.name, "partly", "", f"{len(left)} keys unread")
        items = []
        for key in keys:
            id_ = key["id"]["S"]
            item, past = table.items.get(id_), table.past.get(id_)
            if not wanted["ConsistentRead"] and past and table.now() < past.until + LATEST and stage.strikes("stale"):
                stage.journal.fault(life.name, "stale", id_, "read")
                item = past.item
            if item is not None:
                items.append(item)
        unread = {name: {**wanted, "Keys": left}} if left else {}
        return {"Responses": {name: items}, "UnprocessedKeys": unread}


def _id_of(one: Mapping[str, Any]) -> str:
    read = statement(one["Statement"])
    return read.key(one["Parameters"]) if isinstance(read, Update) else str(read.item(one["Parameters"])["id"]["S"])


@dataclass
class HeardStore(DynamoDbStore):
    """The production's own; what it tells is held to what stood (the oracle `order`)."""

    _: KW_ONLY
    database: Database
    life: Life

    async def claim(self, **wanted: Any) -> Claimed:
        began = self.life.stage.loop.seconds
        claimed = await super().claim(**wanted)
        self.database.told(self.life, began, claimed.held)
        return claimed

    async def settle(self, moves: Sequence[Move]) -> list[bool]:
        won = await super().settle(moves)
        self.database.told(self.life, 0.0, [move.after for move, stands in zip(moves, won, strict=True) if stands])
        return won


class DynamoDatabase(Database):
    """The table, and what the play must know of it."""

    def __init__(self, stage: Stage, changed: Callable[[], None] = lambda: None) -> None:
        super().__init__(stage, changed)
        self._foreign = 0
        self.times_set_back = 0
        self.table = Table(now=self.stage.loop.time, replicates=self._replicate, page=self.stage.setup.page)

    def _replicate(self, show: Callable[[], None]) -> None:
        stage = self.stage
        if stage.strikes("stale"):
            stage.journal.fault("store", "stale", "", "the index follows later")
            stage.loop.call_later(stage.chance.uniform(1, LATEST), show)
        else:
            show()

    def client(self, life: Life) -> Client:
        return Client(self.table, life, self._wrote)

    def store(self, life: Life, policy: Policy | None = None) -> DynamoDbStore:
        client, policy = self.client(life), policy or life.policy
        return HeardStore(client, TABLE, INDEX, self.shards, life, policy, database=self, life=life)

    def _wrote(self, life: Life, before: Item | None, after: Item) -> None:
        id_ = after["id"]["S"]
        if id_.startswith(("#", FOREIGN_ID)):
            return
        record = _record(after)
        if "note" in after and record and record.status is Status.REVIEW and record.history[-1:] == _history(before):
            record = None  # there was room for the words, and none for a line
        if record is None and id_ in self.records and "note" not in after:
            self.stage.judge.finds("defect", id_, f"{life.name} wrote what no worker can read")
        elif record is None and id_ in self.records:
            # an item without room for more: moved to the desk alone, without its history
            del self.records[id_]
            self.bare.add(id_)
            self.stage.journal.tell(life.name, "puts it on a desk without its history", id_)
            self.changed()
        self.wrote(life, self.records.get(id_) if before else None, record)

    def fatten(self, id_: str, room: int) -> None:
        """Somebody keeps more in an item than belongs there; so many bytes are left."""
        item = self.table.items[id_]
        note = {"S": "x" * (MOST_BYTES - size(item) - len("note") - room)}
        self.table.items[id_] = {**item, "note": note}

    def date_ahead(self, id_: str, sent: datetime, due: datetime) -> bool:
        times = {"first_sent_at": sent, "last_sent_at": self.stage.now(), "next_attempt_at": due}
        item = {**self.table.items[id_], **{name: {"S": to_text(time)} for name, time in times.items()}}
        saw, now = self.records[id_].version, self.stage.loop.seconds
        item["version"] = {"N": str(saw + 1)}  # as each write does: whoever read it before fails
        self._operations.append(Operation(id_, "a version before", now, now, saw, saw + 1))
        self.table.write(_nobody, item)
        del self.table.past[id_]  # it never stood otherwise
        self.records[id_] = parse(item)
        return True

    def write_foreign(self) -> None:
        """Somebody else's item, where workers look for theirs."""
        self._foreign += 1
        chance, now = self.stage.chance_of("foreign"), self.stage.now()
        item: Item = {
            "id": {"S": f"{FOREIGN_ID}{self._foreign}"},
            "pending_shard": {"S": "0"},  # the others are looked through one a run, unless a worker wrote there
            "next_attempt_at": {"S": chance.choice((to_text(now), "", "soon", "9999-12-31T23:59:59.999Z"))},
            **chance.choice(FOREIGN),
        }
        self.table.write(_nobody, {name: value for name, value in item.items() if value != {"S": ""}})

    @property
    def strangers(self) -> Sequence[str]:
        """What somebody else wrote and no desk has."""
        return [id_ for id_, item in self.table.items.items() if id_.startswith(FOREIGN_ID) and _is_a_workers(item)]

    @property
    def in_shadow(self) -> bool:
        return self.table.items.get(RUN_ITEM, {}).get(SHADOW) == {"BOOL": True}

    def snapshot(self) -> Any:
        return dict(self.table.items)

    def go_back(self, to: Any) -> None:
        self.table.set_back(to)
        self.times_set_back += 1
        ours = [item for id_, item in self.table.items.items() if not id_.startswith(("#", FOREIGN_ID))]
        self.records = {one.id: one for one in map(_record, ours) if one}
        self.bare = {item["id"]["S"] for item in ours} - set(self.records)
        self.begins_anew()


def _history(item: Item | None) -> tuple[HistoryEntry, ...]:
    """Its last line."""
    record = _record(item)
    return record.history[-1:] if record else ()


def _is_a_workers(item: Item) -> bool:
    """Whether the index has it in a shard that workers look at."""
    return all(name in item for name in INDEX_KEYS) and item["pending_shard"]["S"] not in (REVIEW_SHARD, CANARIES_SHARD)


def _record(item: Item | None) -> Transaction | None:
    try:
        return parse(item) if item and not item["id"]["S"].startswith("#") else None
    except Unreadable:
        return None
