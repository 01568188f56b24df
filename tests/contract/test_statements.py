"""Each statement and its named tuples go together: by name at import, by type where a database is asked."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from types import UnionType
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

import pytest

from tests.contract.conftest import Database
from tests.fakes import run
from workers.stores import postgres_shares, statements
from workers.stores.named import Mismatch, Statement, names, put_in
from workers.stores.statements import FOLDER

MODULES = (statements, postgres_shares)
ALL = {name: one for module in MODULES for name, one in vars(module).items() if isinstance(one, Statement)}
KINDS = {
    "text": str,
    "varchar": str,
    "json": str,
    "int4": int,
    "int8": int,
    "bool": bool,
    "float8": float,
    "numeric": Decimal,
    "timestamptz": datetime,
    "interval": timedelta,
}
"""Of PostgreSQL's types, what asyncpg takes and gives for each."""


def without_none(kind: Any) -> Any:
    kinds = [one for one in get_args(kind) if one is not type(None)]
    return kinds[0] if isinstance(kind, UnionType) and len(kinds) == 1 else kind


def kinds(row: type[Any]) -> dict[str, Any]:
    """Of a named tuple's fields, None apart: whether a value may be missing is no matter of its type in PostgreSQL."""
    return {name: without_none(kind) for name, kind in get_type_hints(row).items()}


def python(kind: Any) -> Any:
    return KINDS[kind.name.removesuffix("[]")]


def test_every_file_is_a_statement() -> None:
    written = {statement.sql for statement in ALL.values()}
    assert [file.name for file in FOLDER.glob("*.sql") if file.read_text() not in written] == []


@pytest.mark.parametrize("statement", ALL.values(), ids=ALL)
def test_a_database_knows_its_parameters_and_its_columns_by_these_types(
    database: Database, statement: Statement[Any, Any]
) -> None:
    async def prepared() -> tuple[Sequence[Any], Sequence[Any]]:
        async with database.pool.acquire() as connection:
            made = await connection.prepare(statement.text)
            return made.get_parameters(), made.get_attributes()

    parameters, columns = run(prepared())
    declared = kinds(statement.parameters)
    assert len(parameters) == len(declared)
    for (name, kind), found in zip(declared.items(), parameters, strict=True):
        if found.kind == "array":
            assert get_origin(kind) is Sequence, name
            kind = without_none(get_args(kind)[0])
        assert python(found) is kind, name
    assert {column.name: python(column.type) for column in columns} == kinds(statement.row)
    assert [column.name for column in columns] == list(statement.row._fields)


def test_a_parameter_is_told_from_what_looks_like_one() -> None:
    sql = "SELECT :a::text, ':b', '12:30', x[1:2] -- nor :c, it's said\n, :a, :d_e"
    assert names(sql) == {"a", "d_e"}
    assert put_in(sql, str.upper) == "SELECT A::text, ':b', '12:30', x[1:2] -- nor :c, it's said\n, A, D_E"


class Two(NamedTuple):
    one: int
    two: str


def test_a_parameter_that_is_forgotten_on_either_side_fails_the_import() -> None:
    assert Statement("SELECT :two, :one, :two", Two, Two).text == "SELECT $2, $1, $2"
    with pytest.raises(Mismatch, match="a statement uses one; Two has one, two"):
        Statement("SELECT :one", Two, Two)
    with pytest.raises(Mismatch, match="a statement uses one, three, two; Two has one, two"):
        Statement("SELECT :one, :two, :three", Two, Two)


@pytest.mark.parametrize("columns", ["1 AS one", "'a' AS two, 1 AS one", "1 AS one, 'a' AS two, 2 AS three"])
def test_rows_of_other_columns_are_not_read(database: Database, columns: str) -> None:
    with pytest.raises(Mismatch, match="; Two has one, two"):
        run(Statement(f"SELECT {columns}", statements.Nothing, Two).all(database.pool, statements.Nothing()))


def test_rows_are_read_by_name(database: Database) -> None:
    statement = Statement("SELECT 1 AS one, 'a' AS two WHERE :number::int = 1", statements.Count, Two)
    assert run(statement.one(database.pool, statements.Count(1))) == Two(one=1, two="a")
    assert run(statement.first(database.pool, statements.Count(2))) is None
