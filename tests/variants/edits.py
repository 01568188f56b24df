"""How a variant breaks the product: a piece of its text is replaced while it runs, and put back afterwards.

The product knows nothing of it, has no switch for it, and no file is changed. Where the text is not there any more, the
variant says so, and breaks nothing in silence.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import textwrap
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest

from workers import migrations
from workers.stores import statements
from workers.stores.named import Statement


class Stale(AssertionError):  # noqa: N818 - what it is
    """The text that a variant replaces is not in the product (any more): the variant must follow it."""


@dataclass(frozen=True, slots=True)
class Code:
    """A piece of a function's text: `where` is `package.module:function`, or `...:Class.method`."""

    where: str
    old: str
    new: str
    uses: tuple[str, ...] = ()
    """What the new piece names and its module does not know, as `package.module:name`."""
    in_tests: bool = False
    """A life of the simulator has it otherwise (`Variant.model`)."""

    def apply(self, patch: pytest.MonkeyPatch) -> None:
        """Whoever imported the function has the broken one too: its code is exchanged, not its name."""
        function = _function(self.where)
        for module, _, name in (one.partition(":") for one in self.uses):
            patch.setitem(function.__globals__, name, getattr(importlib.import_module(module), name))
        source = _replaced(_text_of(function), self)
        patch.setitem(_BROKEN, function, source)  # another piece of it may follow
        patch.setattr(function, "__code__", _compiled(function, source))

    @property
    def file(self) -> str:
        return self.where.partition(":")[0].replace(".", "/") + ".py"


@dataclass(frozen=True, slots=True)
class Value:
    """A constant of a module, or an attribute of a class: `where` is as for `Code`."""

    where: str
    new: Callable[[Any], Any]
    """Makes the broken one of the present one."""
    says: str

    def apply(self, patch: pytest.MonkeyPatch) -> None:
        module, _, path = self.where.partition(":")
        holder, name = _reach(importlib.import_module(module), path)
        broken = self.new(getattr(holder, name))
        if broken == getattr(holder, name):
            raise Stale(f"{self.where} is {broken!r} already")
        patch.setattr(holder, name, broken)

    @property
    def file(self) -> str:
        return self.where.partition(":")[0].replace(".", "/") + ".py"


@dataclass(frozen=True, slots=True)
class Sql:
    """A piece of a statement for PostgreSQL, by its name in workers/stores/statements.py."""

    where: str
    old: str
    new: str

    def apply(self, patch: pytest.MonkeyPatch) -> None:
        found: Statement[Any, Any] = getattr(statements, self.where)
        sql = _replaced(found.sql, self, flat=True)
        patch.setattr(statements, self.where, Statement(sql, found.parameters, found.row))

    @property
    def file(self) -> str:
        return f"workers/stores/sql/{self.where.lower()}.sql"


@dataclass(frozen=True, slots=True)
class Migration:
    """A piece of a migration: of a function, a trigger or a constraint of the schema."""

    where: str
    """How its file begins: `0014`."""
    old: str
    new: str

    def apply(self, patch: pytest.MonkeyPatch) -> None:
        real = migrations.migrations

        def broken(folder: Path = Path(migrations.__file__).parent) -> list[migrations.Migration]:
            found = real(folder)
            if not any(one.name.startswith(self.where) for one in found):
                raise Stale(f"there is no migration {self.where}")
            return [
                replace(one, sql=_replaced(one.sql, self, flat=True)) if one.name.startswith(self.where) else one
                for one in found
            ]

        broken()
        patch.setattr(migrations, "migrations", broken)

    @property
    def file(self) -> str:
        return f"workers/migrations/{self.where}"


Edit = Code | Value | Sql | Migration


@contextmanager
def broken(edits: Iterable[Edit]) -> Iterator[None]:
    """With all of them at once.

    Raises:
        Stale: one of them does not fit the product.
    """
    with pytest.MonkeyPatch.context() as patch:
        for edit in edits:
            edit.apply(patch)
        yield


def _replaced(text: str, edit: Code | Sql | Migration, *, flat: bool = False) -> str:
    """`text` with the piece replaced, which must be there once. `flat`: however its lines are broken."""
    old = edit.old
    if flat:
        text, old = " ".join(_uncommented(text)), " ".join(old.split())
    if text.count(old) != 1:
        raise Stale(f"{edit.where} has {text.count(old)} times what its variant replaces: {edit.old}")
    return text.replace(old, edit.new)


def _uncommented(sql: str) -> list[str]:
    """Its words; a comment ends with its line, and would else take the rest with it."""
    return " ".join(line.partition("--")[0] for line in sql.splitlines()).split()


def _reach(module: ModuleType, path: str) -> tuple[Any, str]:
    """What holds it, and its name there."""
    *through, name = path.split(".")
    holder: Any = module
    for one in through:
        holder = inspect.getattr_static(holder, one)
    return holder, name


def _function(where: str) -> FunctionType:
    module, _, path = where.partition(":")
    holder, name = _reach(importlib.import_module(module), path)
    found: Any = inspect.getattr_static(holder, name)
    if isinstance(found, property):
        found = found.fget
    if isinstance(found, staticmethod | classmethod):
        found = found.__func__
    # `inlined` is the function itself, compiled once more; other decorators call what they wrap
    while (
        inner := getattr(found, "__wrapped__", None)
    ) is not None and found.__code__.co_name != inner.__code__.co_name:
        found = inner
    if not isinstance(found, FunctionType):
        raise Stale(f"{where} is no function")
    return found


_BROKEN: dict[FunctionType, str] = {}
"""The text of functions of which a piece is replaced."""


def _text_of(function: FunctionType) -> str:
    return _BROKEN.get(function) or textwrap.dedent(inspect.getsource(inspect.unwrap(function)))


def _compiled(function: FunctionType, source: str) -> CodeType:
    """The code of the broken text, with the same variables from around it: else Python does not take it."""
    tree = ast.parse(source)
    [written] = tree.body
    assert isinstance(written, ast.FunctionDef | ast.AsyncFunctionDef)
    written.decorator_list = []
    ast.increment_lineno(tree, function.__code__.co_firstlineno - 1)
    around = function.__code__.co_freevars
    if around:  # of what `inlined` made: it is not needed here, and has to be there
        used = [ast.Expr(ast.Name(name, ast.Load())) for name in around]
        written.body.insert(0, ast.If(ast.Constant(False), [*used], []))
    parameters = ast.arguments([], [ast.arg(name) for name in around], None, [], [], None, [])
    maker = ast.FunctionDef("maker", parameters, [written], [])
    future = ast.ImportFrom("__future__", [ast.alias("annotations")], 0)
    module = ast.fix_missing_locations(ast.Module([future, ast.copy_location(maker, written)], []))
    made: dict[str, Any] = {}
    exec(compile(module, function.__code__.co_filename, "exec"), {}, made)  # noqa: S102 - our own source
    inside = (one for one in made["maker"].__code__.co_consts if isinstance(one, CodeType))
    return next(one for one in inside if one.co_name == written.name)
