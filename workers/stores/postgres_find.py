"""Finding transactions in PostgreSQL. What is asked becomes a condition each, of words of ours; what people typed goes
beside the statement, as a parameter."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, Protocol

import asyncpg

from workers.domain.causes import Cause
from workers.domain.finding import DESK, OPEN, Found, Route, Size, Where, is_open, on_desk, parts, plan
from workers.domain.transaction import Transaction
from workers.stores.named import fields, put_in
from workers.stores.postgres import _record
from workers.stores.statements import ROWS, Stored, _columns

MOST_ROWS = 10_000
"""Of one statement."""
SECONDS = 900.0
"""For one: a walk through a big table takes its time."""
RECENT = timedelta(hours=25)
"""Between two ages that the index by time is asked for: a day, and an hour to spare. More may be most of the table."""


class Looks(Protocol):
    """Runs a statement that only reads."""

    async def __call__(self, query: str, *arguments: Any, timeout: float, by_index: bool) -> Any:
        """Its rows. `by_index`: by an index of ranges, whatever the planner thinks of it (`asking`)."""
        ...


def asking(pool: asyncpg.Pool) -> Looks:
    """On that pool. The planner takes an index of ranges (BRIN) for what lies all over the table to find nearly all of
    it, and would read all of it instead: so it is told not to. Workers' sessions have neither way (`SESSION`)."""

    async def ask(query: str, *arguments: Any, timeout: float, by_index: bool) -> Any:
        async with pool.acquire() as connection, connection.transaction(readonly=True):
            await connection.execute(f"SET LOCAL enable_bitmapscan = {'on' if by_index else 'off'}")
            await connection.execute(f"SET LOCAL enable_seqscan = {'off' if by_index else 'on'}")
            return await connection.fetch(query, *arguments, timeout=timeout)

    return ask


def _by_account(where: Where) -> bool:
    return where.account is not None and where.account_ends is None


def _by_age(where: Where) -> bool:
    oldest, newest = where.created_from, where.created_to
    return oldest is not None and newest is not None and newest - oldest <= RECENT


_WAYS = (
    Route("the index of what lies on a desk", on_desk, "what lies on a desk"),
    Route("the index of open work", is_open, "what is open"),
    Route("the index by account", _by_account, "the index, and the parts of the table that may have it"),
    Route("the index by time", _by_age, "what came in in that time"),
)


@dataclass(frozen=True, slots=True)
class PostgresFinder:
    """`workers.domain.finding.Finder` on a database that workers/migrations made."""

    ways: ClassVar[Sequence[Route]] = _WAYS

    ask: Looks

    async def size(self) -> Size:
        (row,) = await self.ask(_SIZE, timeout=SECONDS, by_index=False)
        return Size(max(int(row["rows"]), 0), f"{row['pages']:,} pages of 8 KB")

    async def find(self, where: Where, expected: int) -> AsyncIterator[Found]:
        seen: set[str] = set()  # what waits for its next turn moves to another place meanwhile
        for part in parts(where) if len(plan(where, self.ways)) > 1 else (where,):
            async for found in self._found(part, expected):
                if found.record.id not in seen:
                    seen.add(found.record.id)
                    yield found

    async def read(self, ids: Sequence[str]) -> list[Transaction]:
        rows = await self.ask(ROWS.text, list(ids), timeout=SECONDS, by_index=True)
        found = {row["id"]: _record(_stored(row)) for row in rows}
        return [found[id_] for id_ in dict.fromkeys(ids) if id_ in found]

    async def _found(self, where: Where, expected: int) -> AsyncIterator[Found]:
        """Page by page; each begins behind the last row of the one before, so none costs more than the first."""
        by_index = bool(plan(where, self.ways))
        within, key = _order(where)
        conditions, values = _conditions(where)
        # without an index each page would be a walk of its own
        size, after = min(expected, MOST_ROWS) if by_index else expected, dict[str, Any]()
        while True:
            behind = [f"({key}, t.id) > (:place::text::timestamptz, :id)"] if after else []
            statement = _STATEMENT.format(key=key, conditions=" AND ".join([within, *conditions, *behind]))
            given = {**values, **after, "most": size}
            numbers = {name: f"${number}" for number, name in enumerate(given, 1)}
            text = put_in(statement, numbers.__getitem__)
            # what lies on a desk or is open comes in the order of its own index, which the planner sees by itself
            rows = await self.ask(text, *given.values(), timeout=SECONDS, by_index=by_index and within == "true")
            for row in rows:
                yield Found(_record(_stored(row)), Cause.of(row["present_cause"]))
            if len(rows) < size:
                return
            after = {"place": rows[-1]["place"], "id": rows[-1]["id"]}
            size = MOST_ROWS if by_index else size


def _stored(row: Any) -> Stored:
    return Stored(*(row[name] for name in fields(Stored)))


def _order(where: Where) -> tuple[str, str]:
    """The condition that an index of a part of the table wants, and by which column the rows come."""
    if where.states and where.states <= DESK:
        return "t.review_by IS NOT NULL", "t.review_by"
    if where.states and where.states <= OPEN:
        return "t.due_at IS NOT NULL", "t.due_at"
    return "true", "t.created_at"


def _conditions(where: Where) -> tuple[list[str], dict[str, Any]]:
    """Without a placeholder for what is not asked: so each statement has the plan of what it asks."""
    ends = where.account_ends
    asked = [
        ("states", "t.status = ANY (:states::text[])", [state.value for state in where.states] or None),
        ("causes", f"{_CAUSE} = ANY (:causes::text[])", [cause.value for cause in where.causes] or None),
        ("account", "t.account = :account::text", where.account if ends is None else None),
        ("ends", "right(t.account, length(:ends::text)) = :ends::text", ends),
        ("reference", "t.gateway_reference = :reference::text", where.reference),
        ("oldest", "t.created_at >= :oldest::timestamptz", where.created_from),
        ("newest", "t.created_at <= :newest::timestamptz", where.created_to),
        ("least", "t.amount >= :least::bigint", where.amount_from),
        ("greatest", "t.amount <= :greatest::bigint", where.amount_to),
        ("currency", "t.currency = :currency::text", where.currency),
        (
            "reason",
            """strpos(lower(t.reason COLLATE "C"), lower(:reason::text COLLATE "C")) > 0""",
            where.reason,
        ),
    ]
    wanted = [(name, test, value) for name, test, value in asked if value is not None]
    return [test for _, test, _ in wanted], {name: value for name, _, value in wanted}


_CAUSE = """
CASE WHEN t.status <> 'PROCESSING'
     THEN coalesce((SELECT coalesce(h.cause, '') FROM history h WHERE h.transaction_id = t.id
                    ORDER BY h.version DESC LIMIT 1), 'added')
     WHEN t.taken_over THEN 'taken-over' ELSE 'claimed' END
"""
"""Of the present state: a claim stands in the row itself, and what has no history has only come in."""
_STATEMENT = f"""
SELECT {_columns(Stored)}, {_CAUSE} AS present_cause, {{key}}::text AS place
FROM payments t WHERE {{conditions}} ORDER BY {{key}}, t.id LIMIT :most::bigint
"""  # noqa: S608 - names of ours
_SIZE = """
SELECT reltuples::bigint AS rows, pg_relation_size(oid) / 8192 AS pages
FROM pg_class WHERE oid = 'transactions'::regclass
"""
