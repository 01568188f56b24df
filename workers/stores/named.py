"""Statements for PostgreSQL whose parameters and rows have names.

asyncpg knows parameters by number alone, and no type checker sees into its rows. So a statement is written with `:name`
for a parameter, and stands beside one named tuple for its parameters and one for its rows. That they fit is looked at
when it is made, at import (the parameters), at each answer (the columns), and by tests/contract/test_statements.py,
which asks a database for the types of both.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar, cast

P = TypeVar("P", bound=tuple[Any, ...])
R = TypeVar("R", bound=tuple[Any, ...])
_NAMED = re.compile(r"--[^\n]*|'[^']*'|::|:([a-z_]+)")
"""A parameter. What comes before it in the pattern looks like one, and is none."""


class Mismatch(TypeError):  # noqa: N818 - what it is
    """A statement and its named tuples do not go together."""


class Executor(Protocol):
    """A connection, or a pool of them."""

    async def fetch(self, query: str, *args: Any, timeout: float | None = None) -> Any: ...


def names(sql: str) -> set[str]:
    """Of its parameters."""
    return {match[1] for match in _NAMED.finditer(sql) if match[1]}


def put_in(sql: str, values: Callable[[str], str]) -> str:
    """`sql` with `values(name)` for each `:name`."""
    return _NAMED.sub(lambda match: values(match[1]) if match[1] else match[0], sql)


@dataclass(frozen=True)
class Statement(Generic[P, R]):
    """One statement.

    Raises:
        Mismatch: its parameters have other names than the fields of `parameters`.
    """

    sql: str
    parameters: type[P]
    row: type[R]
    text: str = field(init=False)
    """With $1, $2, ... for its `:names`, as the driver takes it."""

    def __post_init__(self) -> None:
        given = fields(self.parameters)
        if names(self.sql) != set(given):
            used = ", ".join(sorted(names(self.sql))) or "nothing"
            raise Mismatch(f"a statement uses {used}; {self.parameters.__name__} has {', '.join(given) or 'nothing'}")
        object.__setattr__(self, "text", put_in(self.sql, lambda name: f"${given.index(name) + 1}"))

    async def all(self, database: Executor, parameters: P, timeout: float | None = None) -> list[R]:
        """Its rows; `timeout` in seconds, the connection's own where there is none.

        Raises:
            Mismatch: they have other columns than `row` has fields.
        """
        within = {} if timeout is None else {"timeout": timeout}
        records = await database.fetch(self.text, *parameters, **within)
        if not records:
            return []
        if (found := tuple(records[0].keys())) != fields(self.row):
            raise Mismatch(f"rows have {', '.join(found)}; {self.row.__name__} has {', '.join(fields(self.row))}")
        row, make = self.row, cast("Callable[[type[R], Any], R]", tuple.__new__)  # row._make is a function in Python
        return [make(row, record) for record in records]

    async def first(self, database: Executor, parameters: P) -> R | None:
        """Its first row, if there is one."""
        return next(iter(await self.all(database, parameters)), None)

    async def one(self, database: Executor, parameters: P) -> R:
        """Its row, of a statement that always has one."""
        [row] = await self.all(database, parameters)
        return row


def fields(kind: type[tuple[Any, ...]]) -> tuple[str, ...]:
    return cast("tuple[str, ...]", kind._fields)  # type: ignore[attr-defined] # of a named tuple
