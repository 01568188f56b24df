"""Named tuples built by name, at the price of a plain tuple (docs/adr/0009-built-by-name.md).

`Transaction(id=..., account=..., ...)` calls a constructor that is a function in Python: with its 22 names 1.1 us,
where the tuple takes 0.26; `record._replace(...)` takes 2.5 (measured). A worker makes two for each transaction. So a
function through which every transaction passes is marked, and compiled once more when its module is imported:

    @inlined
    def moved(record: Transaction, by: str) -> HistoryEntry: ...

Whoever reads it, and mypy, sees it as it is written. What it builds is the same; only the way there is shorter.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])
_MAKE = "_make_tuple"


class NotBuilt(TypeError):  # noqa: N818 - what happened
    """A marked function builds a named tuple and leaves a field out, or gives one that it has not."""


def inlined(function: F) -> F:
    """`function`, with these two forms in it replaced by the tuple that they make, its fields in their order:

    - `Kind(name=value, ...)`, where `Kind` is a named tuple of the module. Every field must be given, those with a
      default as well: so the import fails wherever a new one was forgotten.
    - `it._replace(name=value, ...)`, where `it` is a parameter of `function` that is annotated with such a `Kind`.

    Values are worked out in the order of the fields. Without its source the function stays as it is, and slower.

    Raises:
        NotBuilt: names the function, the named tuple and the fields.
    """
    try:
        lines, first = inspect.getsourcelines(function)
    except OSError:
        return function
    tree = ast.parse(textwrap.dedent("".join(lines)))
    [written] = tree.body
    assert isinstance(written, ast.FunctionDef | ast.AsyncFunctionDef)  # noqa: S101 - what a decorator gets
    written.decorator_list = []
    ast.increment_lineno(written, first - 1)  # tracebacks and debuggers go by the file
    _Builder(function, written).visit(written)
    maker = ast.FunctionDef("maker", _parameters(_MAKE), [written, ast.Return(ast.Name(written.name, ast.Load()))], [])
    module = ast.fix_missing_locations(ast.Module([ast.copy_location(maker, written)], []))
    made: dict[str, Any] = {}
    exec(compile(module, inspect.getfile(function), "exec"), function.__globals__, made)  # noqa: S102 - our own source
    compiled = made["maker"](tuple.__new__)
    compiled.__qualname__ = function.__qualname__
    compiled.__wrapped__ = function
    return compiled  # type: ignore[no-any-return]


class _Builder(ast.NodeTransformer):
    def __init__(self, function: Callable[..., Any], written: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._where, self._globals = function.__qualname__, function.__globals__
        every = (*written.args.posonlyargs, *written.args.args, *written.args.kwonlyargs)
        self._parameters = {one.arg: one.annotation for one in every}

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        values = {one.arg: one.value for one in node.keywords if one.arg}
        if not values or node.args or len(values) < len(node.keywords):
            return node
        called: ast.expr | None = node.func
        record = None
        if isinstance(called, ast.Attribute) and called.attr == "_replace" and isinstance(called.value, ast.Name):
            record = called.value
            called = self._parameters.get(record.id)
        kind = self._kind(called)
        if called is None or kind is None:
            return node
        if record is not None:
            values = {**{name: ast.Attribute(record, name, ast.Load()) for name in kind._fields}, **values}
        if wrong := sorted(set(kind._fields) ^ set(values)):
            raise NotBuilt(
                f"{self._where} builds a {kind.__name__}, and leaves out or does not know {', '.join(wrong)}:"
                f" give each of its fields, {', '.join(kind._fields)}"
            )
        fields = ast.Tuple([values[name] for name in kind._fields], ast.Load())
        return ast.copy_location(ast.Call(ast.Name(_MAKE, ast.Load()), [called, fields], []), node)

    def _kind(self, node: ast.expr | None) -> Any:
        """The named tuple that a name of the module stands for."""
        found = self._globals.get(node.id) if isinstance(node, ast.Name) else None
        return found if isinstance(found, type) and issubclass(found, tuple) and hasattr(found, "_fields") else None


def _parameters(*names: str) -> ast.arguments:
    return ast.arguments([], [ast.arg(name) for name in names], None, [], [], None, [])
