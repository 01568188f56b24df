"""The store on DynamoDB: one table, one sparse index of the open work.

Every change is one conditional write, `WHERE id = ? AND version = ?`, so whoever comes late writes nothing. Writes go
through PartiQL's BatchExecuteStatement, 25 a call, each of which succeeds or fails by itself: one write unit and a
twenty-fifth of a call, where TransactWriteItems would cost two units, and single updates a call each.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from workers.canary import KEPT
from workers.domain.policy import Policy
from workers.domain.ports import Added, Backlog, Claimed, Clock, Desk, Move
from workers.domain.transaction import HistoryEntry, Status, Transaction, from_text, to_text
from workers.domain.transitions import Claim, Redrive, Refused, claimable, decide, extended
from workers.stores.memory import arrived, claimed, desk_of, same_content

STATEMENTS_PER_CALL = 25  # BatchExecuteStatement's limit
KEYS_PER_CALL = 100  # BatchGetItem's limit
TRIES = 6  # of what DynamoDB throttled or left unprocessed, with doubled waits between
REVIEW_SHARD = "review"
CANARIES_SHARD = "canaries"
"""For canaries in REVIEW: on no desk, and the index holds keys alone, which do not tell them from payments."""
EXPIRES = "expires_at"
"""When DynamoDB deletes an item, in seconds since 1970: canaries alone have it."""
DESK_READ = 500
"""Of those on a desk, so many are read for the money at risk: it is reported every minute, and reads cost."""
FENCE = '"id" = ? AND "version" = ?'
"""The one condition of every change: each write raises the version, so only the holder of the newest one wins."""

Item = dict[str, Any]
T = TypeVar("T")


class StoreError(Exception):
    """The table could not be read or written; what was leased comes back by itself when its lease is over."""


class Unreadable(ValueError):  # noqa: N818 - says what the item is
    """The item is no transaction: something else wrote it."""


@dataclass(frozen=True, slots=True)
class Due:
    """Keys of due transactions, the longest due first."""

    ids: tuple[str, ...]
    oldest_due_at: datetime | None
    more: bool
    """Whether the index holds more than was asked for."""


@dataclass
class DynamoDbStore:
    """`workers.domain.ports.Store` on a table and its index (components/serverless/datastore.py makes both)."""

    client: Any
    """boto3's DynamoDB client; its calls run in threads."""
    table: str
    index: str
    shards: int
    """Of the index. An index partition takes 1,000 writes a second; may grow, never shrink, while work is open."""
    clock: Clock
    policy: Policy
    canary_account: str | None = None
    """Whose canaries are, where the worker knows it: what looks like one, of another account, goes to a desk."""

    # --- the contract ------------------------------------------------------------------------------------------------

    async def add(self, transactions: Sequence[Transaction]) -> Added:
        now = self.clock.now()
        first = {t.id: t for t in reversed(transactions)}  # of several with one id the first counts
        inserts = [_insert(self.table, to_item(arrived(t, now), self.shards)) for t in first.values()]
        errors = dict(zip(first, await self._execute(inserts), strict=True))
        present = await self._items([id_ for id_, error in errors.items() if error], consistent=True)
        new: list[str] = []
        already: list[str] = []
        conflicting: list[str] = []
        for transaction in transactions:
            if transaction is first[transaction.id] and errors[transaction.id] is None:
                new.append(transaction.id)
                continue
            old = _read(present[transaction.id]) if transaction.id in present else first[transaction.id]
            (already if same_content(old, transaction) else conflicting).append(transaction.id)
        return Added(tuple(new), tuple(already), tuple(conflicting))

    async def claim(self, *, token: str, by: str, limit: int, ids: Sequence[str] | None = None) -> Claimed:
        if ids is not None:
            return await self._claim(token, by, limit, ids)
        held: list[Transaction] = []
        desked: list[Transaction] = []
        seen: set[str] = set()
        wanted = limit
        while True:
            due = await self.due(wanted)
            more = await self._claim(token, by, limit - len(held), [id_ for id_ in due.ids if id_ not in seen])
            held += more.held
            desked += more.desked
            if len(held) >= limit or not due.more:
                return Claimed(held, desked)
            seen.update(due.ids)  # held by others: they stay in the index, so look further
            wanted *= 2

    async def _claim(self, token: str, by: str, limit: int, ids: Sequence[str]) -> Claimed:
        # An eventually consistent read costs half; what it misses, the fence finds.
        items = await self._items(ids, consistent=False)
        now = self.clock.now()
        moves: list[Move] = []
        broken: list[tuple[Item, str]] = []
        for item in (items[id_] for id_ in ids if id_ in items):
            try:
                record = self._own(parse(item))
            except Unreadable as error:
                broken.append((item, str(error)))
                continue
            if claimable(record, now, self.policy) and len(moves) < limit:
                moves.append(Move(record, decide(record, Claim(token, by), now, self.policy)))
        unreadable = await self._put_on_desk(broken, by, now)
        won = await self.settle(moves)
        held, desked = claimed([move.after for move, ok in zip(moves, won, strict=True) if ok])
        return Claimed(held, unreadable + desked)

    def _own(self, record: Transaction) -> Transaction:
        """Raises Unreadable for what has the form of a canary, and is none of ours."""
        if self.canary_account not in (None, record.account) and record.is_canary:
            raise Unreadable("it has the form of a canary, but not its account: bring it in under another id")
        return record

    async def extend(self, transactions: Sequence[Transaction]) -> list[Transaction]:
        now = self.clock.now()
        moves = [Move(record, extended(record, now, self.policy)) for record in transactions]
        won = await self.settle(moves)
        return [move.after for move, ok in zip(moves, won, strict=True) if ok]

    async def settle(self, moves: Sequence[Move]) -> list[bool]:
        errors = await self._execute([_update(self.table, move, self.shards) for move in moves])
        failed = [move for move, error in zip(moves, errors, strict=True) if error]
        if not failed:
            return [True] * len(moves)
        # The answer to a write that won may be lost, and its retry then meets the fence that it raised itself:
        # the record tells, for its last line of history carries our token.
        items = await self._items([move.before.id for move in failed], consistent=True)
        own = {move.before.id for move in failed if _is_ours(items.get(move.before.id), move.after)}
        return [error is None or move.before.id in own for move, error in zip(moves, errors, strict=True)]

    async def backlog(self) -> Backlog:
        now = to_text(self.clock.now())
        keys = [key for shard in await self._each_shard(None) for key in shard]
        due = sorted(text for _, text in keys if text <= now)
        return Backlog(len(keys), len(due), from_text(due[0]) if due else None, await self.in_review())

    async def desk(self) -> Desk:
        keys = await self._desk()
        items = await self._items([id_ for id_, _ in keys[:DESK_READ]], consistent=False) if keys else {}
        waiting = [record for item in items.values() if (record := _read(item)).status is Status.REVIEW]
        return Desk(len(keys), from_text(keys[0][1]) if keys else None, desk_of(waiting).at_risk)

    async def find(self, id: str) -> Transaction | None:  # noqa: A002
        item = (await self._items([id], consistent=True)).get(id)
        return _read(item) if item else None

    async def review(self, limit: int = 100) -> list[Transaction]:
        ids = [id_ for id_, _ in (await self._desk())[:limit]]
        items = await self._items(ids, consistent=True)
        read = [_read(items[id_]) for id_ in ids if id_ in items]
        return [record for record in read if record.status is Status.REVIEW]

    async def redrive(self, id: str, *, by: str, approved_by: str, why: str) -> Transaction:  # noqa: A002
        item = (await self._items([id], consistent=True)).get(id)
        if item is None:
            raise Refused(f"there is no transaction {id}")
        try:
            before = parse(item)
        except Unreadable as error:
            raise Refused(f"{id} can't go round again before its item is mended: {error}") from None
        after = decide(before, Redrive(by, approved_by, why), self.clock.now(), self.policy)
        if not (await self.settle([Move(before, after)]))[0]:
            raise Refused(f"{id} was changed by somebody else just now; look again")
        return after

    # --- what only this store has ------------------------------------------------------------------------------------

    async def due(self, limit: int) -> Due:
        """Up to `limit` keys of what is due or held, the longest due first, read from all shards side by side.

        The index is eventually consistent: a key may be settled by now. Harmless, since claims read the record.
        """
        found = await self._each_shard(to_text(self.clock.now()), limit + 1)
        keys = sorted((text, id_) for shard in found for id_, text in shard)
        oldest = from_text(keys[0][0]) if keys else None
        return Due(tuple(id_ for _, id_ in keys[:limit]), oldest, len(keys) > limit)

    async def in_review(self) -> int:
        """How many wait on a desk."""
        return len(await self._desk())

    async def _desk(self) -> list[tuple[str, str]]:
        return await self._query(REVIEW_SHARD)

    async def send(self, canary: Transaction) -> None:
        """Insert a canary as producers do (docs/producers.md). By PutItem: IAM can hold it to ids of canaries."""
        item = to_item(arrived(canary, self.clock.now()), self.shards)
        try:
            await asyncio.to_thread(
                self.client.put_item, TableName=self.table, Item=item, ConditionExpression="attribute_not_exists(id)"
            )
        except self.client.exceptions.ConditionalCheckFailedException:
            pass  # somebody was faster
        except (BotoCoreError, ClientError) as error:
            raise StoreError(f"{self.table}: {error}") from error

    async def look(self, id: str) -> Transaction | None:  # noqa: A002
        return await self.find(id)

    async def everything(self) -> list[Transaction]:
        """The whole table: for a verdict or an export, never for the work itself (it reads every item)."""
        pages = await asyncio.to_thread(lambda: list(self.client.get_paginator("scan").paginate(TableName=self.table)))
        items = (item for page in pages for item in page["Items"])
        return [_read(item) for item in items if not item["id"]["S"].startswith("#")]

    # --- calls -------------------------------------------------------------------------------------------------------

    async def _execute(self, statements: Sequence[Item]) -> list[str | None]:
        """Run PartiQL statements, 25 a call, all calls side by side: per statement None, or the code of its refusal.

        Raises:
            StoreError: a statement failed for another reason than its condition, after `TRIES` tries.
        """
        calls = [self._execute_25(part) for part in _parts(statements, STATEMENTS_PER_CALL)]
        return [code for codes in await asyncio.gather(*calls) for code in codes]

    async def _execute_25(self, statements: Sequence[Item]) -> list[str | None]:
        codes: dict[int, str | None] = {}
        left = list(range(len(statements)))
        for attempt in range(TRIES):
            answer = await self._call(self.client.batch_execute_statement, Statements=[statements[n] for n in left])
            for n, response in zip(left, answer["Responses"], strict=True):
                codes[n] = response["Error"]["Code"] if "Error" in response else None
            left = [n for n in left if codes[n] not in (None, *_REFUSALS)]
            if not left:
                return [codes[n] for n in range(len(statements))]
            if "ValidationError" in (wrong := {codes[n] for n in left}):
                raise StoreError(f"{self.table} refused a statement: {wrong}")
            await self.clock.sleep(0.05 * 2**attempt)  # ThrottlingError, TransactionConflict and the like
        raise StoreError(
            f"{self.table} failed {len(left)} writes {TRIES} times: {sorted({str(codes[n]) for n in left})}"
        )

    async def _items(self, ids: Sequence[str], *, consistent: bool) -> dict[str, Item]:
        parts = _parts(list(dict.fromkeys(ids)), KEYS_PER_CALL)
        found = await asyncio.gather(*(self._items_100(part, consistent=consistent) for part in parts))
        return {item["id"]["S"]: item for items in found for item in items}

    async def _items_100(self, ids: Sequence[str], *, consistent: bool) -> list[Item]:
        items: list[Item] = []
        wanted: dict[str, Any] = {
            self.table: {"Keys": [{"id": {"S": id_}} for id_ in ids], "ConsistentRead": consistent}
        }
        for attempt in range(TRIES):
            answer = await self._call(self.client.batch_get_item, RequestItems=wanted)
            items += answer["Responses"].get(self.table, [])
            wanted = answer.get("UnprocessedKeys") or {}  # past 16 MB, or throttled
            if not wanted:
                return items
            await self.clock.sleep(0.05 * 2**attempt)
        raise StoreError(f"{self.table} left keys unread {TRIES} times")

    async def _each_shard(self, until: str | None, limit: int | None = None) -> list[list[tuple[str, str]]]:
        return await asyncio.gather(*(self._query(str(n), until, limit) for n in range(self.shards)))

    async def _query(self, shard: str, until: str | None = None, limit: int | None = None) -> list[tuple[str, str]]:
        """(id, next_attempt_at) of one shard of the index, the longest due first."""
        query: dict[str, Any] = {
            "TableName": self.table,
            "IndexName": self.index,
            "KeyConditionExpression": "pending_shard = :shard",
            "ExpressionAttributeValues": {":shard": {"S": shard}},
        }
        if until is not None:
            query["KeyConditionExpression"] += " AND next_attempt_at <= :until"
            query["ExpressionAttributeValues"][":until"] = {"S": until}
        found: list[tuple[str, str]] = []
        while True:
            if limit is not None:
                query["Limit"] = limit - len(found)
            page = await self._call(self.client.query, **query)
            found += [(item["id"]["S"], item["next_attempt_at"]["S"]) for item in page["Items"]]
            if "LastEvaluatedKey" not in page or (limit is not None and len(found) >= limit):
                return found
            query["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    async def _call(self, operation: Callable[..., T], **arguments: Any) -> T:
        try:
            return await asyncio.to_thread(operation, **arguments)
        except (BotoCoreError, ClientError) as error:
            raise StoreError(f"{self.table}: {error}") from error

    async def _put_on_desk(self, broken: Sequence[tuple[Item, str]], by: str, now: datetime) -> list[Transaction]:
        """Move items that are no transactions to REVIEW, as far as they can be moved, so that they stop nobody else.

        Returns those that were moved, with a history of this line alone: their own can't be read either.
        """
        broken = [(item, why) for item, why in broken if item.get("pending_shard") not in (None, {"S": REVIEW_SHARD})]
        until = to_text(now + self.policy.review_within)
        changes = {
            "status": {"S": Status.REVIEW.value},
            "reason": None,
            "owner": {"S": self.policy.review_owner},
            "pending_shard": {"S": REVIEW_SHARD},
            "next_attempt_at": {"S": until},
            "review_by": {"S": until},
        }
        stays = f' REMOVE "{EXPIRES}"'  # or DynamoDB would delete it before anybody has decided
        statements = [
            {
                "Statement": f'UPDATE "{self.table}" {_sets(changes)}{stays if EXPIRES in item else ""}'
                ' WHERE "id" = ? AND "pending_shard" = ?',
                "Parameters": [*({**changes, "reason": {"S": why}}).values(), item["id"], item["pending_shard"]],
            }
            for item, why in broken
        ]
        errors = await self._execute(statements)
        moved = [_unreadable(item, why) for (item, why), error in zip(broken, errors, strict=True) if not error]
        return [
            record._replace(
                owner=self.policy.review_owner,
                review_by=now + self.policy.review_within,
                history=(HistoryEntry(now, by, None, Status.REVIEW, 0, None, str(record.reason)),),
            )
            for record in moved
        ]


_REFUSALS = ("ConditionalCheckFailed", "DuplicateItem")


# --- items ------------------------------------------------------------------------------------------------------------

_TIMES = frozenset(
    (
        "created_at",
        "deadline",
        "next_attempt_at",
        "lease_until",
        "first_sent_at",
        "last_sent_at",
        "settled_at",
        "review_by",
    )
)
_NUMBERS = frozenset(("amount", "attempt", "version"))
_NEEDED = ("id", "account", "amount", "currency", "created_at", "deadline", "status", "attempt", "version")
_FIELDS = Transaction._fields


def to_item(record: Transaction, shards: int) -> Item:
    """`record` as an item; None is absence. The index's keys are there while the work is open, and only then."""
    item = {name: _value(name, value) for name in _FIELDS if (value := getattr(record, name)) is not None}
    if record.status is Status.REVIEW:
        item["pending_shard"] = {"S": CANARIES_SHARD if record.is_canary else REVIEW_SHARD}
        item["next_attempt_at"] = _value("next_attempt_at", record.review_by)
    elif not record.status.is_final:
        item["pending_shard"] = {"S": str(zlib.crc32(record.id.encode()) % shards)}
    if record.is_canary:
        item[EXPIRES] = {"N": str(int((record.created_at + KEPT).timestamp()))}
    return item


def parse(item: Item) -> Transaction:
    """The inverse of `to_item`.

    Raises:
        Unreadable: a field is missing or of another form; says which.
    """
    if missing := [name for name in _NEEDED if name not in item]:
        raise Unreadable(f"field {', '.join(missing)} missing: written by something else")
    values: dict[str, Any] = {}
    for name in _FIELDS:
        if name in item:
            try:
                values[name] = _from_value(name, item[name])
            except (KeyError, ValueError, TypeError, IndexError):
                raise Unreadable(f"field {name} is not of its form: written by something else") from None
    if values["status"] is Status.REVIEW:
        values["next_attempt_at"] = None
    record = Transaction(**values)
    if EXPIRES in item and not record.is_canary:
        raise Unreadable(f"field {EXPIRES} on what is no canary: DynamoDB would delete it")
    return record


def _read(item: Item) -> Transaction:
    """As `parse`, but an item that is no transaction comes back as one that waits in REVIEW and says so."""
    try:
        return parse(item)
    except Unreadable as error:
        until = item.get("review_by", {}).get("S")
        return _unreadable(item, str(error))._replace(
            owner=item.get("owner", {}).get("S"),
            review_by=from_text(until) if until else None,
        )


def _unreadable(item: Item, why: str) -> Transaction:
    never = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
    return Transaction(
        id=item["id"]["S"],
        account="?",
        amount=0,
        currency="XXX",  # ISO 4217: no currency
        created_at=never,
        deadline=never,
        status=Status.REVIEW,
        reason=f"unreadable: {why}",
    )


def _value(name: str, value: Any) -> Item:
    if name in _TIMES:
        return {"S": to_text(value)}
    if name in _NUMBERS:
        return {"N": str(value)}
    if name == "history":
        return {"L": [{"S": _line(entry)} for entry in value]}
    return {"S": str(value)}


def _from_value(name: str, value: Item) -> Any:
    if name in _TIMES:
        return from_text(value["S"])
    if name in _NUMBERS:
        return int(value["N"])
    if name == "history":
        return tuple(_entry(line["S"]) for line in value["L"])
    return Status(value["S"]) if name == "status" else str(value["S"])


def _line(entry: HistoryEntry) -> str:
    """A line of history as text that a person can read in the console, and short: writes are billed by the KiB."""
    by = entry.by.replace("|", "/")
    return f"{to_text(entry.at)}|{by}|{entry.was or ''}|{entry.now}|{entry.attempt}|{entry.token or ''}|{entry.why}"


def _entry(line: str) -> HistoryEntry:
    at, by, was, now, attempt, token, why = line.split("|", 6)
    return HistoryEntry(from_text(at), by, Status(was) if was else None, Status(now), int(attempt), token or None, why)


# --- statements -------------------------------------------------------------------------------------------------------


def _insert(table: str, item: Item) -> Item:
    names = ", ".join(f"'{name}': ?" for name in item)
    return {"Statement": f'INSERT INTO "{table}" VALUE {{{names}}}', "Parameters": list(item.values())}


def _update(table: str, move: Move, shards: int) -> Item:
    """The change of a move as one statement: sets what is new, removes what is gone, behind the fence."""
    old, new = to_item(move.before, shards), to_item(move.after, shards)
    changes = {name: value for name, value in new.items() if old.get(name) != value}
    gone = " ".join(f'REMOVE "{name}"' for name in old if name not in new)
    return {
        "Statement": f'UPDATE "{table}" {_sets(changes)} {gone} WHERE {FENCE}',
        "Parameters": [*changes.values(), old["id"], old["version"]],
    }


def _sets(changes: Iterable[str]) -> str:
    return " ".join(f'SET "{name}" = ?' for name in changes)


def _is_ours(item: Item | None, after: Transaction) -> bool:
    """Whether the record stands as our own write left it (tokens are random, so nobody else could have)."""
    try:
        return item is not None and parse(item) == after
    except Unreadable:
        return False


def _parts(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (values[n : n + size] for n in range(0, len(values), size))
