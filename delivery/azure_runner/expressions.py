"""Azure's expressions, as far as our pipeline uses them: `eq(parameters.alternative, 'fargate')`, `succeeded()`.

Strings are compared without regard to case, as Azure does. A function or a name that is not known here is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from local.errors import LocalError

Functions = Mapping[str, Callable[..., Any]]

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>-?\d+(?:\.\d+)?)|(?P<name>[A-Za-z_][\w-]*)|(?P<sign>[()\[\],.]))"
)


def equal(left: Any, right: Any) -> bool:
    """The right side is taken for the left one's type."""
    if isinstance(left, bool) or isinstance(right, bool):
        return truth(left) == truth(right)
    return as_text(left).lower() == as_text(right).lower()


def truth(value: Any) -> bool:
    """Text that is not empty is true, "false" too, as in Azure; but a parameter that says it is a boolean is one."""
    return value.lower() == "true" if isinstance(value, str) and value.lower() in ("true", "false") else bool(value)


def as_text(value: Any) -> str:
    """As Azure writes a value into a string."""
    return str(value) if isinstance(value, bool) else "" if value is None else str(value)


FUNCTIONS: Functions = {
    "and": lambda *values: all(truth(value) for value in values),
    "or": lambda *values: any(truth(value) for value in values),
    "not": lambda value: not truth(value),
    "eq": equal,
    "ne": lambda left, right: not equal(left, right),
    "in": lambda value, *others: any(equal(value, other) for other in others),
}
"""Those of every expression."""


def evaluate(text: str, names: Mapping[str, Any], functions: Functions = FUNCTIONS) -> Any:
    """The value of an expression. Raises LocalError, naming what it does not know."""
    return _Reader(text, names, functions).whole()


class _Reader:
    """Reads and evaluates in one go."""

    def __init__(self, text: str, names: Mapping[str, Any], functions: Functions) -> None:
        self._text, self._names, self._functions = text, names, functions
        self._tokens: list[tuple[str, str]] = []
        at = 0
        while text[at:].strip():
            match = _TOKEN.match(text, at)
            if not match or not match.lastgroup:
                raise self._wrong(f"cannot be read from {text[at:].strip()!r} on")
            self._tokens.append((match.lastgroup, match[match.lastgroup]))
            at = match.end()

    def whole(self) -> Any:
        value = self._value()
        if self._tokens:
            raise self._wrong(f"has {self._tokens[0][1]!r} too many")
        return value

    def _value(self) -> Any:
        kind, word = self._next()
        if kind == "text":
            return word[1:-1].replace("''", "'")
        if kind == "number":
            return float(word) if "." in word else int(word)
        if kind != "name":
            raise self._wrong(f"has {word!r} where a value belongs")
        if word.lower() in ("true", "false"):
            return word.lower() == "true"
        if self._is("("):
            return self._call(word)
        if word not in self._names:
            raise self._wrong(f"names {word}, which is unknown here; known: {', '.join(sorted(self._names))}")
        value, path = self._names[word], word
        while self._is(".") or self._is("["):
            index = self._next()[1] == "["
            key = self._value() if index else self._next()[1]
            if index:
                self._take("]")
            if not isinstance(value, Mapping) or key not in value:
                raise self._wrong(f"names {path}.{key}, which does not exist")
            value, path = value[key], f"{path}.{key}"
        return value

    def _call(self, name: str) -> Any:
        self._take("(")
        values = []
        while not self._is(")"):
            values.append(self._value())
            if not self._is(")"):
                self._take(",")
        self._take(")")
        if name not in self._functions:
            raise self._wrong(f"calls {name}(), which is unknown here; known: {', '.join(sorted(self._functions))}")
        try:
            return self._functions[name](*values)
        except TypeError:
            raise self._wrong(f"calls {name}() with {len(values)} values") from None

    def _next(self) -> tuple[str, str]:
        if not self._tokens:
            raise self._wrong("ends too early")
        return self._tokens.pop(0)

    def _is(self, sign: str) -> bool:
        return bool(self._tokens) and self._tokens[0] == ("sign", sign)

    def _take(self, sign: str) -> None:
        if not self._is(sign):
            raise self._wrong(f"lacks a {sign!r}")
        self._tokens.pop(0)

    def _wrong(self, what: str) -> LocalError:
        return LocalError(f"the expression {self._text.strip()!r} {what}")
