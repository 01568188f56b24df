"""The desk's requests on DynamoDB: items of the transactions' own table, whose ids no transaction can have.

Those that wait are in the sparse index, in a shard of their own, by when they end. The list is one text of at most
330 KB: an item holds 400.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from workers.domain.desk import MOST_OPEN, Item, Request, Stage, from_document, to_document
from workers.domain.pause import Standing, from_json, to_json
from workers.domain.ports import Move
from workers.domain.transaction import Transaction, to_text
from workers.stores.dynamodb import DynamoDbStore, Key, StoreError, Unreadable, parse

PREFIX = "#request#"
SHARD = "requests"
PAUSE = f"{PREFIX}pause"
"""The note of a pause: under the one prefix that the desk functions may write, and in no index."""
_NUMBERS = ("needed", "version")


@dataclass(frozen=True, slots=True)
class DynamoDbDesk:
    """`workers.desk.service.DeskStore` on a table."""

    store: DynamoDbStore

    async def add(self, request: Request) -> bool:
        return await self._put(request, "attribute_not_exists(id)", {})

    async def replace(self, before: Request, after: Request) -> bool:
        return await self._put(after, "#version = :version", {":version": {"N": str(before.version)}})

    async def request(self, id: str) -> Request | None:  # noqa: A002
        item = (await self.store._items([PREFIX + id], consistent=True)).get(PREFIX + id)
        return _read(item) if item else None

    async def waiting(self, now: datetime) -> int:
        return len(await self._keys(now, MOST_OPEN))

    async def _keys(self, since: datetime | None, limit: int) -> list[Key]:
        condition, text = (None, None) if since is None else ("next_attempt_at > :now", to_text(since))
        keys, after = await self.store._page(SHARD, condition, text, limit)
        while after is not None and len(keys) < limit:
            more, after = await self.store._page(SHARD, condition, text, limit - len(keys), after)
            keys += more
        return keys

    async def requests(self, since: datetime | None = None, limit: int = MOST_OPEN) -> list[Request]:
        keys = await self._keys(since, limit)
        found: list[Request] = []
        # one after the other: so long a list may each be
        for _, id_ in keys:
            item = (await self.store._items([id_], consistent=True)).get(id_, {})
            with contextlib.suppress(ValueError):
                request = _read(item)
                if request.state in (Stage.OPEN, Stage.APPROVED):
                    found.append(request)
        return found

    async def records(self, items: Sequence[Item]) -> Mapping[str, Transaction]:
        found: dict[str, Transaction] = {}
        for id_, item in (await self.store._items([item.id for item in items], consistent=True)).items():
            with contextlib.suppress(Unreadable):
                found[id_] = parse(item)
        return found

    async def exit(self, moves: Sequence[Move]) -> list[bool]:
        return await self.store.settle(moves)

    async def standing(self) -> Standing:
        item = (await self.store._items([PAUSE], consistent=True)).get(PAUSE)
        return _standing(item) if item else Standing()

    async def pause(self, before: Standing, after: Standing) -> bool:
        item = {"id": {"S": PAUSE}, "version": {"N": str(after.version)}, "document": {"S": to_json(after)}}
        stands: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(id)"}
        if before.version:
            stands = {
                "ConditionExpression": "#version = :version",
                "ExpressionAttributeNames": {"#version": "version"},
                "ExpressionAttributeValues": {":version": {"N": str(before.version)}},
            }
        try:
            await self._call("put_item", Item=item, **stands)
        except StoreError as error:
            if _is_refused(error):
                return await self.standing() == after  # as in _put
            raise
        return True

    async def _put(self, request: Request, condition: str, values: Mapping[str, Any]) -> bool:
        names = {"#version": "version"} if "#version" in condition else {}
        more = {"ExpressionAttributeNames": names, "ExpressionAttributeValues": dict(values)} if names else {}
        try:
            await self._call("put_item", Item=_item(request), ConditionExpression=condition, **more)
        except StoreError as error:
            if _is_refused(error):
                # a put whose answer was lost meets what it wrote itself
                return await self.request(request.id) == request
            raise
        return True

    async def _call(self, operation: str, **arguments: Any) -> Any:
        call = getattr(self.store.client, operation)
        try:
            return await asyncio.to_thread(call, TableName=self.store.table, **arguments)
        except (BotoCoreError, ClientError) as error:
            raise StoreError(f"{self.store.table}: {error}") from error


def _is_refused(error: StoreError) -> bool:
    """By the condition of the write."""
    cause = error.__cause__
    return isinstance(cause, ClientError) and cause.response["Error"]["Code"] == "ConditionalCheckFailedException"


def _standing(item: Mapping[str, Any]) -> Standing:
    version = item.get("version", {}).get("N", "0")
    return from_json(item.get("document", {}).get("S", ""), int(version))


def _key(id_: str) -> dict[str, Any]:
    return {"id": {"S": PREFIX + id_}}


def _item(request: Request) -> dict[str, Any]:
    document = to_document(request)
    item = {name: {"N" if name in _NUMBERS else "S": str(value)} for name, value in document.items()}
    if request.state in (Stage.OPEN, Stage.APPROVED):
        item |= {"pending_shard": {"S": SHARD}, "next_attempt_at": {"S": to_text(request.ends_at)}}
    return item | _key(request.id)


def _read(item: Mapping[str, Any]) -> Request:
    """Raises ValueError: something else wrote it."""
    try:
        document = {name: next(iter(value.values())) for name, value in item.items()}
        if not document["id"].startswith(PREFIX):
            raise ValueError("its id is none")
        return from_document({**document, "id": document["id"].removeprefix(PREFIX)})
    except (KeyError, StopIteration, AttributeError):
        raise ValueError("no request as we write it") from None
