"""The store on DynamoDB: one table, one sparse index of the open work.

Every change is one conditional write, `WHERE id = ? AND version = ?`, so whoever comes late writes nothing. Writes go
through PartiQL's BatchExecuteStatement, 25 a call, each of which succeeds or fails by itself: one write unit and a
twenty-fifth of a call, where TransactWriteItems would cost two units, and single updates a call each.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import json
import logging
import math
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeVar, get_type_hints

from botocore.exceptions import BotoCoreError, ClientError

from workers.domain.causes import Cause, because
from workers.domain.exits import DeskExit, Refused
from workers.domain.history import History
from workers.domain.policy import LONGEST_LEASE, Policy
from workers.domain.ports import Added, Backlog, Claimed, Clock, Move, ReviewBacklog
from workers.domain.rules import broken_rule
from workers.domain.transaction import CANARY, CANARY_KEPT, HistoryEntry, Status, Transaction, from_text, to_text
from workers.domain.transitions import (
    Claim,
    SetAside,
    claimable,
    decide,
    doubted,
    extended,
    is_late,
    recalled,
)
from workers.stores.common import arrived, claimed, desk_of, same_content

STATEMENTS_PER_CALL = 25  # BatchExecuteStatement's limit
KEYS_PER_CALL = 100  # BatchGetItem's limit
TRIES = 6  # of what DynamoDB throttled or left unprocessed, with doubled waits between
REVIEW_SHARD = "review"
CANARIES_SHARD = "canaries"
"""For canaries in REVIEW: on no desk, and the index holds keys alone, which do not tell them from payments."""
RUN_ITEM = "#run"
"""Of the run lock (workers/serverless/run_lock.py) ..."""
SHARDS = "shards"
"""... where Plan keeps the most shards that were ever in use."""
MOST_SHARDS = 100
"""That settings allow."""
TURN = "turn"
"""Of the same item: how often it was looked for what would never be due. Each time at another shard, so that each is
looked at within as many runs as there are shards, whatever the schedule."""
EXPIRES = "expires_at"
"""When DynamoDB deletes an item, in seconds since 1970: canaries alone have it."""
PAGE = 40
"""Keys of a shard of the index that are read at once, at least: about what fits the 4 KB that a read is billed by."""
COUNT_PAGES = 100
"""Of 1 MB each: where a count of a shard stops, beyond a million keys."""
DESK_MOST = 10_000
"""Those on a desk are counted up to here: it is reported every minute, and reads cost."""
DESK_READ = 500
"""Of them, so many are read for the money at risk."""
FENCE = '"id" = ? AND "version" = ?'
"""The one condition of every change: each write raises the version, so only the holder of the newest one wins."""

Item = dict[str, Any]
Key = tuple[str, str]
"""Of the index: (next_attempt_at, id)."""
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
    """Of the index, that are written to. An index partition takes 1,000 writes a second."""
    clock: Clock
    policy: Policy
    canary_account: str | None = None
    """Whose canaries are, where the worker knows it: what looks like one, of another account, goes to a desk."""

    used: int = 0
    """The most that were ever written to, as far as is known (`learn_shards`): all of them are read, so that lowering
    their number strands nothing."""

    # --- the contract ------------------------------------------------------------------------------------------------

    async def add(self, transactions: Sequence[Transaction]) -> Added:
        now = self.clock.now()
        first = {t.id: t for t in reversed(transactions)}  # of several with one id the first counts
        fit = [t for t in first.values() if _fits(t)]
        inserts = [_insert(self.table, to_item(arrived(t, now), self.shards)) for t in fit]
        errors: dict[str, str | None] = dict.fromkeys(first, _SERIALIZATION)
        errors.update(zip((t.id for t in fit), await self._execute(inserts), strict=True))
        present = await self._items([t.id for t in fit if errors[t.id]], consistent=True)
        new: list[str] = []
        already: list[str] = []
        conflicting: list[str] = []
        refused = [id_ for id_, error in errors.items() if error not in (None, *_REFUSALS) and id_ not in present]
        for transaction in transactions:
            if transaction.id in refused:
                continue
            if transaction is first[transaction.id] and errors[transaction.id] is None:
                new.append(transaction.id)
                continue
            old = _read(present[transaction.id]) if transaction.id in present else first[transaction.id]
            (already if same_content(old, transaction) else conflicting).append(transaction.id)
        return Added(tuple(new), tuple(already), tuple(conflicting), tuple(refused))

    async def claim(
        self, *, token: str, by: str, limit: int, ids: Sequence[str] | None = None, late: bool = False
    ) -> Claimed:
        if ids is not None:
            return await self._claim(token, by, limit, ids, late=late)
        held: list[Transaction] = []
        to_review: list[Transaction] = []
        due = self._walk(self._shards, limit, to_text(self.clock.now()))
        # what others hold stays in the index, so look further
        while len(held) + len(to_review) < limit and (keys := await due.take(limit)):
            left = limit - len(held) - len(to_review)
            more = await self._claim(token, by, left, [id_ for _, id_ in keys], late=late)
            held += more.held
            to_review += more.to_review
        return Claimed(held, to_review)

    async def _claim(self, token: str, by: str, limit: int, ids: Sequence[str], *, late: bool) -> Claimed:
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
            wanted = claimable(record, now, self.policy) and (not late or is_late(record, now, self.policy))
            if wanted and len(moves) < limit:
                moves.append(Move(record, decide(record, Claim(token, by), now, self.policy)))
        errors = await self._write(moves)
        won = await self._won(moves, errors)
        aside: list[Move] = []
        for move, code in zip(moves, errors, strict=True):
            if code in _OWN_FAULTS:
                failed = because(Cause.CLAIM_FAILED, error=code)
                _LOG.error("%s: %s", move.before.id, failed.sentence)
                aside.append(Move(move.before, decide(move.before, SetAside(by, failed), now, self.policy)))
        for move, code in zip(aside, await self._write(aside), strict=True):
            if code is None:
                moves.append(move)
                won.append(True)
            elif code in _OWN_FAULTS:
                broken.append((items[move.before.id], str(move.after.reason)))
        unreadable = await self._put_on_desk(broken, by, now)
        held, to_review = claimed([move.after for move, ok in zip(moves, won, strict=True) if ok])
        return Claimed(held, unreadable + to_review)

    def _own(self, record: Transaction) -> Transaction:
        """Raises Unreadable for what bears a canary's name, and is none of ours: IAM can hold who sends canaries to the
        name, and to nothing else of an item, so no other money moves under it."""
        if record.id.startswith(CANARY) and not record.is_canary:
            raise Unreadable(f"ids that begin with {CANARY} are the stack's own: ask the gateway what became of it")
        if self.canary_account not in (None, record.account) and record.is_canary:
            raise Unreadable("it has the form of a canary, but not its account: ask the gateway what became of it")
        return record

    async def extend(self, transactions: Sequence[Transaction]) -> list[Transaction]:
        now = self.clock.now()
        moves = [Move(record, extended(record, now, self.policy)) for record in transactions]
        won = await self.settle(moves)
        return [move.after for move, ok in zip(moves, won, strict=True) if ok]

    async def settle(self, moves: Sequence[Move]) -> list[bool]:
        errors = await self._write(moves)
        for move, error in zip(moves, errors, strict=True):
            if error in _OWN_FAULTS:
                await self._set_aside(move, str(error))
        return await self._won(moves, errors)

    async def _write(self, moves: Sequence[Move]) -> list[str | None]:
        return await self._execute([_update(self.table, move, self.shards) for move in moves])

    async def _won(self, moves: Sequence[Move], errors: Sequence[str | None]) -> list[bool]:
        """Which moves stand. The answer to a write that won may be lost, and its retry then meets the fence that it
        raised itself: the record tells, for its last line of history carries our token."""
        failed = [move for move, error in zip(moves, errors, strict=True) if error]
        if not failed:
            return [True] * len(moves)
        items = await self._items([move.before.id for move in failed], consistent=True)
        own = {move.before.id for move in failed if _is_ours(items.get(move.before.id), move.after)}
        return [error is None or move.before.id in own for move, error in zip(moves, errors, strict=True)]

    async def _set_aside(self, move: Move, error: str) -> None:
        """To a desk, in our own words: where even that is refused, the lease ends and it is asked about."""
        before, after = move
        failed = because(Cause.WRITE_FAILED, status=after.status, error=error)
        _LOG.error("%s: %s", before.id, failed.sentence)
        if before.status is Status.PROCESSING and after.status is not Status.PROCESSING:
            instead = decide(before, SetAside("set aside", failed), self.clock.now(), self.policy)
            await self._write([Move(before, instead)])

    async def backlog(self) -> Backlog:
        now = to_text(self.clock.now())
        counts = [
            self._count(shard, f"next_attempt_at {when} :now", now) for shard in self._shards for when in ("<=", ">")
        ]
        found = await asyncio.gather(*counts)
        due = sum(count for count, _ in found[::2])
        desk = await self._desk(DESK_MOST)
        return Backlog(
            open=sum(count for count, _ in found),
            due=due,
            oldest_due_at=await self._oldest(now) if due else None,
            review=len(desk),
            exact=all(whole for _, whole in found) and len(desk) < DESK_MOST,
        )

    async def _oldest(self, now: str) -> datetime | None:
        """Since when the longest due is due; a key that is no time tells nothing, and is passed over."""
        due = self._walk(self._shards, 1, now)
        while keys := await due.take(1):
            if (time := _first_time(keys)) is not None:
                return time
        return None

    async def desk(self) -> ReviewBacklog:
        """Its count ends at DESK_MOST."""
        keys = await self._desk(DESK_MOST)
        items = await self._items([id_ for _, id_ in keys[:DESK_READ]], consistent=False) if keys else {}
        waiting = [record for item in items.values() if (record := _read(item)).status is Status.REVIEW]
        return ReviewBacklog(len(keys), _first_time(keys), desk_of(waiting).at_risk)

    async def doubt(self, *, until: datetime | None = None) -> int:
        """Those on a desk first: they change the least. Looks no further once it is `until`."""
        marked = 0
        for shards in ((REVIEW_SHARD, CANARIES_SHARD), self._shards):
            waiting = self._walk(shards, KEYS_PER_CALL)
            while (until is None or self.clock.now() < until) and (keys := await waiting.take(KEYS_PER_CALL)):
                marked += await self._doubt([id_ for _, id_ in keys])
        return marked

    async def _doubt(self, ids: Sequence[str]) -> int:
        now, moves = self.clock.now(), []
        for item in (await self._items(ids, consistent=False)).values():
            with contextlib.suppress(Unreadable):  # a desk's matter, and marked when it is put there
                record = parse(item)
                if _waits(record) and _in_doubt(record):
                    after = doubted(record, now, self.policy)
                    moves.append(Move(record, after._replace(version=record.version + 1)))
        return sum(await self.settle(moves))

    async def find(self, id: str) -> Transaction | None:  # noqa: A002
        item = (await self._items([id], consistent=True)).get(id)
        return _read(item) if item else None

    async def review(self, limit: int = 100) -> list[Transaction]:
        ids = [id_ for _, id_ in await self._desk(limit)]
        items = await self._items(ids, consistent=True)
        read = [_read(items[id_]) for id_ in ids if id_ in items]
        return [record for record in read if record.status is Status.REVIEW]

    async def leave(self, id: str, event: DeskExit) -> Transaction:  # noqa: A002
        item = (await self._items([id], consistent=True)).get(id)
        if item is None:
            raise Refused(f"there is no transaction {id}")
        try:
            before = parse(item)
        except Unreadable as error:
            raise Refused(f"{id} can't leave its desk before its item is mended: {error}") from None
        after = decide(before, event, self.clock.now(), self.policy)
        if not (await self.settle([Move(before, after)]))[0]:
            raise Refused(f"{id} was changed by somebody else just now; look again")
        return after

    # --- what only this store has ------------------------------------------------------------------------------------

    async def due(self, limit: int) -> Due:
        """Up to `limit` keys of what is due or held, the longest due first.

        The index is eventually consistent: a key may be settled by now. Harmless, since claims read the record.
        """
        keys = await self._walk(self._shards, limit + 1, to_text(self.clock.now())).take(limit + 1)
        return Due(tuple(id_ for _, id_ in keys[:limit]), _first_time(keys), len(keys) > limit)

    async def never_due(self, most: int = PAGE) -> tuple[str, ...]:
        """Up to `most` ids of what would not come up.

        Its key is no time, or lies further ahead than any turn that we write (transitions.claimable), or its shard is
        none that is read. Looks at the end of one shard, and at one that nobody should have written to; at others the
        next time: two reads and a write, which a run can afford. A shard in which something is found is read from then
        on.
        """
        now = self.clock.now()
        until = to_text(now + self.policy.longest_wait)
        turn = await self._next_turn()
        own = self._shards
        keys, after = await self._page(own[turn % len(own)], "next_attempt_at > :now", until, PAGE, backwards=True)
        while after is not None and len(keys) < most:
            page, after = await self._page(
                own[turn % len(own)], "next_attempt_at > :now", until, most - len(keys), after, backwards=True
            )
            keys += page
        if others := range(len(own), MOST_SHARDS):
            other = others[turn % len(others)]
            found, _ = await self._page(str(other), None, None, PAGE)
            if found:
                await self._keep_shards(other + 1)
                keys = [*found, *keys]
        return tuple(id_ for _, id_ in keys[:most])

    async def recall(self, ids: Sequence[str]) -> int:
        """Make due what of these would wait longer than any turn that we write, for a clock was wrong; how many."""
        now, moves = self.clock.now(), []
        for item in (await self._items(ids, consistent=False)).values():
            with contextlib.suppress(Unreadable):  # a claim sends it to a desk
                record = parse(item)
                due = record.next_attempt_at
                # what somebody holds, a claim takes when the lease is over
                if record.status is Status.PENDING and due and due > now + self.policy.longest_wait:
                    moves.append(Move(record, recalled(record, now, self.policy)))
        return sum(await self.settle(moves))

    async def learn_shards(self, *, keep: bool = False) -> None:
        """How many shards were ever in use, of which some may hold what came in then.

        `keep` is for Plan: where more are in use now, the table remembers that.
        """
        item = (await self._items([RUN_ITEM], consistent=False)).get(RUN_ITEM, {})
        self.used = max(self.used, min(_number(item.get(SHARDS)) or 0, MOST_SHARDS))
        if keep and self.shards > (_number(item.get(SHARDS)) or 0):
            await self._keep_shards(self.shards)

    async def _next_turn(self) -> int:
        answer = await self._call(
            self.client.update_item,
            TableName=self.table,
            Key={"id": {"S": RUN_ITEM}},
            UpdateExpression="ADD #turn :one",
            ExpressionAttributeNames={"#turn": TURN},
            ExpressionAttributeValues={":one": {"N": "1"}},
            ReturnValues="ALL_NEW",
        )
        return _number(answer["Attributes"].get(TURN)) or 0

    async def _keep_shards(self, number: int) -> None:
        self.used = max(self.used, number)
        try:
            await asyncio.to_thread(
                self.client.update_item,
                TableName=self.table,
                Key={"id": {"S": RUN_ITEM}},
                UpdateExpression="SET #shards = :number",
                ConditionExpression="attribute_not_exists(#shards) OR #shards < :number",
                ExpressionAttributeNames={"#shards": SHARDS},
                ExpressionAttributeValues={":number": {"N": str(number)}},
            )
        except self.client.exceptions.ConditionalCheckFailedException:
            pass  # somebody was faster
        except (BotoCoreError, ClientError) as error:
            raise StoreError(f"{self.table}: {error}") from error

    @property
    def _shards(self) -> tuple[str, ...]:
        return tuple(str(n) for n in range(max(self.shards, self.used)))

    async def _desk(self, limit: int) -> list[Key]:
        """(until when, id) of up to `limit` on a desk, the nearest deadlines first."""
        return await self._walk((REVIEW_SHARD,), limit).take(limit)

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

        A statement's own error is its own alone: the others' results count.

        Raises:
            StoreError: the table could not be reached, or none of the statements got through.
        """
        if len(statements) <= STATEMENTS_PER_CALL:
            return await self._execute_25(statements) if statements else []
        calls = [self._execute_25(part) for part in _parts(statements, STATEMENTS_PER_CALL)]
        return [code for codes in await asyncio.gather(*calls) for code in codes]

    async def _execute_25(self, statements: Sequence[Item]) -> list[str | None]:
        codes: dict[int, str | None] = {}
        left = list(range(len(statements)))
        for attempt in range(TRIES):
            for n, code in zip(left, await self._codes([statements[n] for n in left]), strict=True):
                codes[n] = code
            left = [n for n in left if codes[n] not in (None, *_REFUSALS, *_OWN_FAULTS)]
            if not left:
                return [codes[n] for n in range(len(statements))]
            await self.clock.sleep(0.05 * 2**attempt)  # ThrottlingError, TransactionConflict and the like
        told = sorted({str(codes[n]) for n in left})
        if len(left) == len(statements):
            raise StoreError(f"{self.table} failed {len(left)} writes {TRIES} times: {told}")
        _LOG.error("%s failed %d of %d writes %d times: %s", self.table, len(left), len(statements), TRIES, told)
        return [codes[n] for n in range(len(statements))]

    async def _codes(self, statements: Sequence[Item]) -> list[str | None]:
        """One call. Where one statement makes all of it invalid, it is taken apart until that one is alone."""
        try:
            answer = await self._call(self.client.batch_execute_statement, Statements=statements)
        except StoreError as error:
            if _code(error.__cause__) not in _INVALID and all(map(_is_text, statements)):
                raise
            if len(statements) == 1:
                return [_SERIALIZATION]
            half = len(statements) // 2
            return [*await self._codes(statements[:half]), *await self._codes(statements[half:])]
        return [response["Error"]["Code"] if "Error" in response else None for response in answer["Responses"]]

    async def _items(self, ids: Sequence[str], *, consistent: bool) -> dict[str, Item]:
        once = list(dict.fromkeys(ids))
        if len(once) <= KEYS_PER_CALL:
            found = [await self._items_100(once, consistent=consistent)] if once else []
        else:
            parts = _parts(once, KEYS_PER_CALL)
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

    def _walk(self, shards: Sequence[str], expected: int, until: str | None = None) -> _Walk:
        return _Walk(self, shards, expected, until)

    async def _page(
        self,
        shard: str,
        condition: str | None,
        now: str | None,
        size: int,
        after: Item | None = None,
        *,
        backwards: bool = False,
    ) -> tuple[list[Key], Item | None]:
        """Up to `size` keys of a shard (DynamoDB reads 1 MB at most), and where to read on; None at its end."""
        query = self._query(shard, condition, now) | {"Limit": size, "ScanIndexForward": not backwards}
        while True:
            page = await self._call(self.client.query, **query, **({"ExclusiveStartKey": after} if after else {}))
            after = page.get("LastEvaluatedKey")
            if page["Items"] or after is None:
                return [(item["next_attempt_at"]["S"], item["id"]["S"]) for item in page["Items"]], after

    async def _count(self, shard: str, condition: str, now: str) -> tuple[int, bool]:
        """How many keys of a shard fulfil the condition, and whether that is all of them."""
        query = self._query(shard, condition, now) | {"Select": "COUNT"}
        count, after = 0, None
        for _ in range(COUNT_PAGES):
            page = await self._call(self.client.query, **query, **({"ExclusiveStartKey": after} if after else {}))
            count += page["Count"]
            after = page.get("LastEvaluatedKey")
            if after is None:
                return count, True
        return count, False

    def _query(self, shard: str, condition: str | None, now: str | None) -> dict[str, Any]:
        query: dict[str, Any] = {
            "TableName": self.table,
            "IndexName": self.index,
            "KeyConditionExpression": "pending_shard = :shard",
            "ExpressionAttributeValues": {":shard": {"S": shard}},
        }
        if condition is not None:
            query["KeyConditionExpression"] += f" AND {condition}"
            query["ExpressionAttributeValues"][":now"] = {"S": now}
        return query

    async def _call(self, operation: Callable[..., T], **arguments: Any) -> T:
        try:
            return await asyncio.to_thread(operation, **arguments)
        except (BotoCoreError, ClientError) as error:
            raise StoreError(f"{self.table}: {error}") from error

    async def _put_on_desk(self, broken: Sequence[tuple[Item, str]], by: str, now: datetime) -> list[Transaction]:
        """Move items that are no transactions to REVIEW, as far as they can be moved, so that they stop nobody else.

        Returns those that were moved, with a history of this line alone: their own can't be read either.
        """
        broken = [
            (item, why)
            for item, why in broken
            if item.get("pending_shard") not in (None, {"S": REVIEW_SHARD}) and not _is_held(item, now)
        ]
        until = {"S": to_text(now + self.policy.review_within)}
        where = {"pending_shard": {"S": REVIEW_SHARD}, "next_attempt_at": until}
        status, owner = {"S": Status.REVIEW.value}, {"S": self.policy.review_owner}
        whole = [
            _desk_statement(
                self.table,
                item,
                {
                    "status": status,
                    "reason": {"S": why},
                    "owner": owner,
                    "review_by": until,
                    **where,
                    **_possibly_sent(item, now, self.policy.restored_to),
                },
            )
            for item, why in broken
        ]
        errors = await self._execute(whole)
        # An item at DynamoDB's 400 KB has no room for more: then it is moved alone, without its history.
        bare = [
            _desk_statement(self.table, item, {"status": status, **where}, gone=(EXPIRES, "history"))
            for (item, _), error in zip(broken, errors, strict=True)
            if error in _OWN_FAULTS
        ]
        second = iter(await self._execute(bare))
        errors = [next(second) if error in _OWN_FAULTS else error for error in errors]
        for (item, why), error in zip(broken, errors, strict=True):
            if error in _OWN_FAULTS:
                _LOG.error("%s can't be moved to a desk (%s): %s", item["id"]["S"], error, why)
        moved = [_unreadable(item, why) for (item, why), error in zip(broken, errors, strict=True) if not error]
        return [
            record._replace(
                owner=self.policy.review_owner,
                review_by=now + self.policy.review_within,
                history=(
                    HistoryEntry(
                        at=now,
                        by=by,
                        was=None,
                        now=Status.REVIEW,
                        attempt=0,
                        token=None,
                        why=str(record.reason),
                        cause=Cause.UNREADABLE,
                    ),
                ),
            )
            for record in moved
        ]


_REFUSALS = ("ConditionalCheckFailed", "DuplicateItem")
_SERIALIZATION = "SerializationException"
_INVALID = ("ValidationException", _SERIALIZATION)
"""What one statement does to its whole call."""
_OWN_FAULTS = ("ValidationError", "ItemCollectionSizeLimitExceeded", *_INVALID)
"""What no other try would mend: the item is too big, or holds what the service does not take."""
_LOG = logging.getLogger(__name__)


KEY_BYTES = 2_048
"""Of a key, at most; nor may it be empty."""


def _fits(transaction: Transaction) -> bool:
    """Whether it can be asked for, which whoever is refused is: else the answer to all of its neighbours is lost."""
    texts = (transaction.id, transaction.account, transaction.currency)
    return _is_text({"Parameters": texts}) and 0 < len(transaction.id.encode()) <= KEY_BYTES


def _is_text(statement: Item) -> bool:
    """Whether its parameters can be written as UTF-8: half of a surrogate pair can not, whatever that is called."""
    try:
        json.dumps(statement["Parameters"], ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _code(error: BaseException | None) -> str:
    return str(error.response["Error"]["Code"]) if isinstance(error, ClientError) else ""


class _Walk:
    """A walk through shards of the index, merged: the longest due first.

    A shard is read on only when all that was read of it is given out. Ids are spread by a hash, so of the `expected`
    first keys each shard has an even part, up to chance, and reading that of all side by side mostly ends it. Where it
    does not (shards that were added later hold newer keys), pages double in size. So what is read stays under three
    times what is given out, and a few pages: whatever the number of shards or of keys.
    """

    def __init__(self, store: DynamoDbStore, shards: Sequence[str], expected: int, until: str | None) -> None:
        even = math.ceil(expected / len(shards))
        self._store, self._shards, self._until = store, shards, until
        self._size = max(PAGE, even + 4 * math.isqrt(even))  # four standard deviations
        self._read: list[deque[Key]] = []
        """What was read of each shard and not given out yet, beside its first, which is in the heap."""
        self._after: list[Item | None] = []
        self._next: list[int] = []
        """How much of each shard is read next."""
        self._heap: list[tuple[str, str, int]] | None = None
        self._given: int | None = None
        """The shard whose first was given out last: it moves up when the next one is wanted."""

    async def take(self, count: int) -> list[Key]:
        """The next `count`, or all that are left."""
        if self._heap is None:
            pages = await asyncio.gather(*(self._page(n, self._size) for n in range(len(self._shards))))
            self._read, self._after = [deque(keys) for keys, _ in pages], [after for _, after in pages]
            self._next = [max(PAGE, self._size - len(keys)) for keys in self._read]  # of what 1 MB did not hold
            self._heap = [(*keys.popleft(), n) for n, keys in enumerate(self._read) if keys]
            heapq.heapify(self._heap)
        taken: list[Key] = []
        while len(taken) < count:
            if self._given is not None:
                await self._move_up(self._heap, self._given)
            if not self._heap:
                break
            text, id_, self._given = self._heap[0]
            taken.append((text, id_))
        return taken

    async def _move_up(self, heap: list[tuple[str, str, int]], n: int) -> None:
        keys = self._read[n]
        if not keys and self._after[n] is not None:
            more, self._after[n] = await self._page(n, self._next[n], self._after[n])
            keys.extend(more)
            self._next[n] = max(2 * len(more), self._next[n] - len(more))
        self._given = None
        if keys:
            heapq.heapreplace(heap, (*keys.popleft(), n))
        else:
            heapq.heappop(heap)

    async def _page(self, n: int, size: int, after: Item | None = None) -> tuple[list[Key], Item | None]:
        condition = "next_attempt_at <= :now" if self._until else None
        return await self._store._page(self._shards[n], condition, self._until, size, after)


# --- items ------------------------------------------------------------------------------------------------------------

_KINDS = get_type_hints(Transaction)
_FIELDS = Transaction._fields


def _of(*kinds: Any) -> frozenset[str]:
    return frozenset(name for name in _FIELDS if _KINDS[name] in kinds)


_TIMES = _of(datetime, datetime | None)
_NUMBERS = _of(int, int | None)
_COUNTS = frozenset(("tries", "asked", "lost", "new_keys"))
"""Absent while they are zero, as most always are: writes are billed by the size of the item."""
if unknown := set(_FIELDS) - _TIMES - _NUMBERS - _of(str, str | None, Status, History):
    raise TypeError(f"no attribute of an item is known for {', '.join(sorted(unknown))} of a transaction")
_NEEDED = ("id", "account", "amount", "currency", "created_at", "deadline", "status", "attempt", "version")


def to_item(record: Transaction, shards: int) -> Item:
    """`record` as an item; None is absence. The index's keys are there while the work is open, and only then."""
    item = {name: _value(name, value) for name, value in zip(_FIELDS, record, strict=True) if _is_kept(name, value)}
    if record.status is Status.REVIEW:
        item["next_attempt_at"] = _value("next_attempt_at", record.review_by)
    if shard := _shard(record, shards):
        item["pending_shard"] = {"S": shard}
    if record.is_canary:
        item[EXPIRES] = {"N": str(int((record.created_at + CANARY_KEPT).timestamp()))}
    return item


def _is_kept(name: str, value: Any) -> bool:
    return value is not None and (value or name not in _COUNTS)


def _shard(record: Transaction, shards: int) -> str | None:
    """Of the index; None for what has come to its end."""
    if record.status is Status.REVIEW:
        return CANARIES_SHARD if record.is_canary else REVIEW_SHARD
    return None if record.status.is_final else str(zlib.crc32(record.id.encode()) % shards)


def parse(item: Item, *, strictly: bool = True) -> Transaction:
    """The inverse of `to_item`.

    Raises:
        Unreadable: a field is missing, of another form, or breaks a rule (workers/domain/rules.py); says which.
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
    if not strictly:
        return record
    if broken := broken_rule(record):
        raise Unreadable(f"{broken}: written by something else")
    in_review = item.get("pending_shard") in ({"S": REVIEW_SHARD}, {"S": CANARIES_SHARD})
    if in_review is not (record.status is Status.REVIEW):
        raise Unreadable(f"field pending_shard does not go with status {record.status}: written by something else")
    if ("pending_shard" in item) is record.status.is_final:
        raise Unreadable(f"field pending_shard does not go with status {record.status}: written by something else")
    if EXPIRES in item and not record.is_canary:
        raise Unreadable(f"field {EXPIRES} on what is no canary: DynamoDB would delete it")
    return record


def _read(item: Item) -> Transaction:
    """As `parse`, but an item that is no transaction comes back as one that waits in REVIEW and says so.

    What has come to its end stays at it, though rules of a later day refuse what was taken then.
    """
    try:
        return parse(item)
    except Unreadable as error:
        with contextlib.suppress(Unreadable):
            if (ended := parse(item, strictly=False)).status.is_final:
                return ended
        until = item.get("review_by", {}).get("S")
        return _unreadable(item, str(error))._replace(
            owner=item.get("owner", {}).get("S"),
            review_by=_time(until) if until else None,
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
        reason=because(Cause.UNREADABLE, reason=why).sentence,
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


_LINES_KNOWN = 4096
"""Of histories, of about 200 bytes each: under 2 MB."""


def _line(entry: HistoryEntry) -> str:
    """A line of history as text that a person can read in the console, and short: writes are billed by the KiB.

    The cause, how often and since when stand with the token, where versions before this one take any text, and write it
    again as they found it: `token~unknown-outcome*12@2026-...`.
    """
    by = entry.by.replace("|", "/")
    token = entry.token or ""
    if entry.cause is not None and entry.cause is not Cause.ADDED:
        token += f"~{entry.cause}"
    if entry.times > 1:
        token += f"*{entry.times}@{to_text(entry.since or entry.at)}"
    return f"{to_text(entry.at)}|{by}|{entry.was or ''}|{entry.now}|{entry.attempt}|{token}|{entry.why}"


@lru_cache(_LINES_KNOWN)
def _entry(line: str) -> HistoryEntry:
    """Of a line; most are read again with each claim of their transaction, and never change."""
    at, by, was, now, attempt, token, why = line.split("|", 6)
    token, _, often = token.partition("*")
    token, _, cause = token.partition("~")
    times, _, since = often.partition("@")
    return HistoryEntry(
        at=from_text(at),
        by=by,
        was=Status(was) if was else None,
        now=Status(now),
        attempt=int(attempt),
        token=token or None,
        why=why,
        times=int(times or 1),
        since=from_text(since) if since else None,
        cause=Cause.of(cause) if was else Cause.ADDED,  # producers write that line too (docs/producers.md)
    )


# --- statements -------------------------------------------------------------------------------------------------------


def _insert(table: str, item: Item) -> Item:
    names = ", ".join(f"'{name}': ?" for name in item)
    return {"Statement": f'INSERT INTO "{table}" VALUE {{{names}}}', "Parameters": list(item.values())}


def _update(table: str, move: Move, shards: int) -> Item:
    """The change of a move as one statement: sets what is new, removes what is gone, behind the fence.

    As the difference of both items would be: made of what differs alone, in a third of the time.
    """
    old, new = (_with_keys(record, shards) for record in move)
    changes: Item = {}
    gone = []
    for name, was, now in zip(_ATTRIBUTES, old, new, strict=True):
        if was is now or was == now:
            continue
        if _is_kept(name, now):
            changes[name] = _value(name, now)
        elif _is_kept(name, was):
            gone.append(name)
    return {
        "Statement": f'UPDATE "{table}" {_sets(changes)} {_removes(gone)}WHERE {FENCE}',
        "Parameters": [*changes.values(), {"S": move.before.id}, {"N": str(move.before.version)}],
    }


_ATTRIBUTES = (*_FIELDS, "pending_shard")


def _with_keys(record: Transaction, shards: int) -> tuple[Any, ...]:
    """The fields, and the keys of the index among them."""
    if record.status is Status.REVIEW:
        record = record._replace(next_attempt_at=record.review_by)
    return (*record, _shard(record, shards))


def _desk_statement(table: str, item: Item, changes: Item, gone: Sequence[str] = (EXPIRES,)) -> Item:
    """Moves an item that is no transaction, as long as it stands as it was found. It stays until somebody has decided,
    though it be called a canary."""
    if (version := _number(item.get("version"))) is not None:
        changes = {**changes, "version": {"N": str(version + 1)}}  # whoever holds it has lost it
    remove = _removes(name for name in gone if name in item)
    same = [name for name in ("id", "pending_shard", "version") if name in item]
    where = " AND ".join(f'"{name}" = ?' for name in same)
    return {
        "Statement": f'UPDATE "{table}" {_sets(changes)} {remove}WHERE {where}',
        "Parameters": [*changes.values(), *(item[name] for name in same)],
    }


def _is_held(item: Item, now: datetime) -> bool:
    """Whether somebody's lease on it stands, whatever is wrong with it for us: then it is his, and ours after that."""
    until = _time(item.get("lease_until", {}).get("S", ""))
    return (
        item.get("status") == {"S": Status.PROCESSING.value} and until is not None and now < until < now + LONGEST_LEASE
    )


def _possibly_sent(item: Item, now: datetime, restored_to: datetime | None) -> Item:
    """What an item that is not believed says of sending: possibly, since it came about (`doubted`), until now."""
    created = _time(item.get("created_at", {}).get("S", "")) or datetime.fromisoformat("1970-01-01T00:00:00+00:00")
    since = min(time for time in (created, restored_to, now) if time)
    return {"first_sent_at": {"S": to_text(since)}, "last_sent_at": {"S": to_text(now)}}


def _number(value: Item | None) -> int | None:
    try:
        return int(value["N"]) if value else None
    except (KeyError, ValueError):
        return None


def _waits(record: Transaction) -> bool:
    """For its turn, or for a person. Held ones are left to their holder's fence."""
    return record.status in (Status.PENDING, Status.REVIEW)


def _in_doubt(record: Transaction) -> bool:
    """Whether it says of itself that it was never sent."""
    return record.first_sent_at is None or record.last_sent_at is None


def _sets(changes: Iterable[str]) -> str:
    return " ".join(f'SET "{name}" = ?' for name in changes)


def _removes(names: Iterable[str]) -> str:
    return "".join(f'REMOVE "{name}" ' for name in names)


def _is_ours(item: Item | None, after: Transaction) -> bool:
    """Whether the record stands as our own write left it (tokens are random, so nobody else could have)."""
    try:
        return item is not None and parse(item) == after
    except Unreadable:
        return False


def _first_time(keys: Iterable[Key]) -> datetime | None:
    """Of sorted keys of the index; one that is no time was written by something else, and tells nothing."""
    return next((time for text, _ in keys if (time := _time(text)) is not None), None)


def _time(text: str) -> datetime | None:
    try:
        return from_text(text)
    except ValueError:
        return None


def _parts(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (values[n : n + size] for n in range(0, len(values), size))
