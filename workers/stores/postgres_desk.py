"""The desk's requests on PostgreSQL, through whatever runs a statement whose parameters are texts: the Data API in the
function, which needs no driver and no connection, and a connection in tests.

Every answer is rows of one text. A row of the Data API's has at most 64 KB, so a long list comes in pieces.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from workers.domain.causes import Cause
from workers.domain.desk import MOST_OPEN, Item, Request, Stage, from_document, to_document
from workers.domain.pause import Standing, from_json, to_json
from workers.domain.ports import Move
from workers.domain.transaction import HistoryEntry, Status, Transaction, to_text, utc

PIECE = 40_000
"""Characters of a list in one row; ids are ASCII."""
AT_ONCE = 200
"""Records of one answer: the Data API's hold 1 MiB, and a record some 5 KB at most."""

_ADD = """
INSERT INTO desk_requests (id, ends_at, waits, version, items, document)
VALUES (:id, CAST(:ends_at AS timestamptz), CAST(:waits AS boolean), CAST(:version AS integer), :items,
        CAST(:document AS jsonb))
ON CONFLICT DO NOTHING RETURNING id
"""
_REPLACE = """
UPDATE desk_requests
SET waits = CAST(:waits AS boolean), version = CAST(:version AS integer), document = CAST(:document AS jsonb)
WHERE id = :id AND version = CAST(:before AS integer) AND items = :items RETURNING id
"""
_DOCUMENT = "SELECT CAST(document AS text) FROM desk_requests WHERE id = :id"
_LIST = f"""
SELECT substr(items, n, {PIECE}) FROM desk_requests, generate_series(1, length(items), {PIECE}) AS n
WHERE id = :id ORDER BY n
"""  # noqa: S608 - a number of ours
_WAITING = """
SELECT id FROM desk_requests WHERE waits AND ends_at > CAST(:since AS timestamptz)
ORDER BY ends_at, id LIMIT CAST(:most AS integer)
"""
_RECORDS = """
SELECT CAST(json_build_object(
    'id', t.id, 'account', t.account, 'amount', t.amount, 'currency', t.currency, 'created_at', t.created_at,
    'deadline', t.deadline, 'status', t.status, 'attempt', t.attempt, 'token', t.token,
    'first_sent_at', t.first_sent_at, 'last_sent_at', t.last_sent_at, 'settled_at', t.settled_at,
    'gateway_reference', t.gateway_reference, 'reason', t.reason, 'owner', t.owner, 'review_by', t.review_by,
    'version', t.version, 'tries', t.tries, 'asked', t.asked, 'lost', t.lost,
    'away_since', t.away_since, 'desk_by', t.desk_by, 'new_keys', t.new_keys, 'moved', t.moved,
    'moved_currency', t.moved_currency, 'arrived_at', t.arrived_at,
    'line', (SELECT json_build_object('at', h.at, 'by', h.by, 'was', h.was, 'now', h.now, 'why', h.why,
                                      'cause', h.cause)
             FROM history h WHERE h.transaction_id = t.id AND h.version = w.version + 1)) AS text)
FROM json_to_recordset(CAST(:wanted AS json)) AS w (id text, version integer) JOIN transactions t ON t.id = w.id
"""
_STANDING = """
SELECT CAST(json_build_object('version', version, 'document', CAST(document AS text)) AS text) FROM pause
"""
_PAUSE = """
SELECT CAST(version AS text) FROM desk_pause(CAST(:before AS integer), CAST(:document AS jsonb))
"""
_EXITS = "SELECT id FROM desk_exits(:request, CAST(:moves AS jsonb))"


class Asks(Protocol):
    """Runs one statement, with texts for its `:names`."""

    async def __call__(self, statement: str, **texts: str) -> list[str]:
        """The first column of each row."""
        ...


@dataclass(frozen=True, slots=True)
class PostgresDesk:
    """`workers.desk.service.DeskStore` on a database that workers/migrations made."""

    asks: Asks

    async def add(self, request: Request) -> bool:
        return bool(await self.asks(_ADD, **_row(request))) or await self._is_kept(request)

    async def replace(self, before: Request, after: Request) -> bool:
        row = {name: text for name, text in _row(after).items() if name != "ends_at"}
        return bool(await self.asks(_REPLACE, **row, before=str(before.version))) or await self._is_kept(after)

    async def request(self, id: str) -> Request | None:  # noqa: A002
        documents = await self.asks(_DOCUMENT, id=id)
        if not documents:
            return None
        return from_document({**json.loads(documents[0]), "items": "".join(await self.asks(_LIST, id=id))})

    async def waiting(self, now: datetime) -> int:
        return len(await self.asks(_WAITING, since=to_text(now), most=str(MOST_OPEN)))

    async def requests(self, since: datetime | None = None, limit: int = MOST_OPEN) -> list[Request]:
        found = []
        for id_ in await self.asks(_WAITING, since=to_text(since) if since else "-infinity", most=str(limit)):
            try:
                request = await self.request(id_)
            except ValueError:  # not ours
                continue
            if request:
                found.append(request)
        return found

    async def records(self, items: Sequence[Item]) -> Mapping[str, Transaction]:
        found = {}
        for begin in range(0, len(items), AT_ONCE):
            part = items[begin : begin + AT_ONCE]
            wanted = json.dumps([{"id": item.id, "version": item.version} for item in part])
            for text in await self.asks(_RECORDS, wanted=wanted):
                record = _record(json.loads(text))
                if record is not None:
                    found[record.id] = record
        return found

    async def exit(self, moves: Sequence[Move]) -> list[bool]:
        """All under the one request that their lines name; the database lets nothing else through."""
        if not moves:
            return []
        request = moves[0].after.history[-1].why.partition(" (request ")[2][:32]
        document = json.dumps([_move(move) for move in moves])
        won = set(await self.asks(_EXITS, request=request, moves=document))
        return [move.before.id in won for move in moves]

    async def standing(self) -> Standing:
        for text in await self.asks(_STANDING):
            row = json.loads(text)
            return from_json(row["document"], row["version"])
        return Standing()

    async def pause(self, before: Standing, after: Standing) -> bool:
        """The version that stands then is one more than before, as is that of `after`."""
        won = await self.asks(_PAUSE, before=str(before.version), document=to_json(after))
        return bool(won) or await self.standing() == after

    async def _is_kept(self, request: Request) -> bool:
        """Whether it stands as we wrote it: the answer to a write may be lost, and its repetition then finds it."""
        try:
            return await self.request(request.id) == request
        except ValueError:
            return False


def _row(request: Request) -> dict[str, str]:
    document = to_document(request)
    items = document.pop("items")
    return {
        "id": request.id,
        "ends_at": to_text(request.ends_at),
        "waits": "true" if request.state in (Stage.OPEN, Stage.APPROVED) else "false",
        "version": str(request.version),
        "items": items,
        "document": json.dumps(document),
    }


def _move(move: Move) -> dict[str, Any]:
    before, after = move
    line = after.history[-1]
    times = {
        "due_at": after.next_attempt_at,
        "deadline": after.deadline,
        "first_sent_at": after.first_sent_at,
        "last_sent_at": after.last_sent_at,
        "settled_at": after.settled_at,
        "away_since": after.away_since,
        "desk_by": after.desk_by,
        "at": line.at,
    }
    return {
        "id": before.id,
        "version": before.version,
        "status": after.status.value,
        "attempt": after.attempt,
        "tries": after.tries,
        "asked": after.asked,
        "lost": after.lost,
        "new_keys": after.new_keys,
        "moved": after.moved,
        "moved_currency": after.moved_currency,
        "gateway_reference": after.gateway_reference,
        "reason": after.reason,
        "by": line.by,
        "why": line.why,
        "cause": line.cause.value if line.cause else None,
        **{name: to_text(time) if time else None for name, time in times.items()},
    }


def _record(row: Mapping[str, Any]) -> Transaction | None:
    """A row as a transaction, with its arrival and the line of history after the version that was asked for.

    None where it is not as we write it."""
    try:
        times = {name: _time(row[name]) for name in _TIMES}
        arrived = utc(datetime.fromisoformat(row["arrived_at"]))
        arrival = HistoryEntry(
            at=arrived, by="", was=None, now=Status.PENDING, attempt=0, token=None, why="added", cause=Cause.ADDED
        )
        line = row["line"]
        lines: tuple[HistoryEntry, ...] = (arrival,)
        if line and line["was"] and line["at"]:
            lines += (
                HistoryEntry(
                    at=utc(datetime.fromisoformat(line["at"])),
                    by=line["by"] or "?",
                    was=Status(line["was"]),
                    now=Status(line["now"]),
                    attempt=0,
                    token=None,
                    why=line["why"] or "",
                    cause=Cause.of(line["cause"]),
                ),
            )
        return Transaction(**{name: row[name] for name in _PLAIN}, **times, status=Status(row["status"]), history=lines)
    except (KeyError, ValueError, TypeError):
        return None


_PLAIN = (
    *("id", "account", "amount", "currency", "attempt", "token", "gateway_reference", "reason", "owner", "version"),
    *("tries", "asked", "lost", "new_keys", "moved", "moved_currency"),
)
_TIMES = ("created_at", "deadline", "first_sent_at", "last_sent_at", "settled_at", "review_by", "away_since", "desk_by")


def _time(text: str | None) -> Any:
    return None if text is None else utc(datetime.fromisoformat(text))
