"""CloudWatch Logs Insights, as much of its language as our saved queries use: the emulator has no such engine.

    rows(QUERY, lines)      # lines: JSON documents; what is no JSON object has only @message

It knows `fields`, `filter`, `parse` with a regular expression, `stats`, `sort` and `limit`, and refuses everything else
by name: a query that it runs means the same on AWS. What AWS does by default is here too: 10,000 rows at most.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_QuerySyntax.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

Fields = dict[str, Any]
Test = Callable[[Fields], bool]
LIMIT = 10_000


class QueryError(Exception):
    """The query holds something that is not known here: what, and what is."""


def rows(query: str, lines: Iterable[str]) -> list[Fields]:
    """What the query finds in the lines, in the order in which they were logged.

    Raises:
        QueryError: a command, function or word that is not known here.
    """
    found: list[Fields] = [_row(line) for line in lines]
    shown: list[str] | None = None
    text = "\n".join(line for line in query.splitlines() if not line.lstrip().startswith("#"))
    for command in re.split(r"\n\s*\|", text):
        name, _, rest = command.strip().partition(" ")
        if name == "fields":
            shown = [*(shown or []), *(field.strip() for field in rest.split(","))]
            for field in shown:
                if not re.fullmatch(_NAME, field):
                    raise QueryError(f"fields: {field!r} is not known here; allowed: names of fields")
        elif name == "filter":
            test = _Filter(rest).whole()
            found = [row for row in found if test(row)]
        elif name == "parse":
            parse = _parse(rest)
            found = [parse(row) for row in found]
        elif name == "stats":
            found, shown = _stats(rest, found)
        elif name == "sort":
            found = _sorted(rest, found)
        elif name == "limit":
            found = found[: int(rest)]
        else:
            known = "fields, filter, parse, stats, sort, limit"
            raise QueryError(f"the command {name!r} is not known here; allowed: {known}")
    found = found[:LIMIT]
    return found if shown is None else [{name: row[name] for name in shown if name in row} for row in found]


def _row(line: str) -> Fields:
    try:
        document = json.loads(line)
    except ValueError:
        document = None
    return {**(document if isinstance(document, dict) else {}), "@message": line}


# --- filter

_NAME = r"@?[A-Za-z_]\w*"
_TOKENS = re.compile(
    rf"""\s*(?:(?P<text>"[^"]*")|(?P<regex>/(?:[^/\\]|\\.)*/)|(?P<number>-?\d+(?:\.\d+)?)"""
    rf"""|(?P<sign>!=|<=|>=|[=<>()\[\],])|(?P<word>{_NAME}))"""
)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: bool(a == b),
    "!=": lambda a, b: bool(a != b),
    "<": lambda a, b: bool(a < b),
    "<=": lambda a, b: bool(a <= b),
    ">": lambda a, b: bool(a > b),
    ">=": lambda a, b: bool(a >= b),
}


class _Filter:
    """or < and < not < comparison, as a descent over tokens. A comparison with a missing field does not hold."""

    def __init__(self, text: str) -> None:
        self._tokens: list[str] = []
        at = 0
        while at < len(text.rstrip()):
            token = _TOKENS.match(text, at)
            if not token:
                raise QueryError(f"filter: {text[at:].strip()[:20]!r} is not known here")
            self._tokens.append(token[0].strip())
            at = token.end()

    def whole(self) -> Test:
        test = self._either()
        if self._tokens:
            raise QueryError(f"filter: {self._tokens[0]!r} was not expected")
        return test

    def _take(self, *wanted: str) -> bool:
        if self._tokens and self._tokens[0].lower() in wanted:
            self._tokens.pop(0)
            return True
        return False

    def _next(self, what: str) -> str:
        if not self._tokens:
            raise QueryError(f"filter: ends where {what} was expected")
        return self._tokens.pop(0)

    def _either(self) -> Test:
        tests = [self._both()]
        while self._take("or"):
            tests.append(self._both())
        return lambda row: any(test(row) for test in tests)

    def _both(self) -> Test:
        tests = [self._one()]
        while self._take("and"):
            tests.append(self._one())
        return lambda row: all(test(row) for test in tests)

    def _one(self) -> Test:
        if self._take("not"):
            inner = self._one()
            return lambda row: not inner(row)
        if self._take("("):
            inner = self._either()
            self._expect(")")
            return inner
        field = self._next("a field")
        if field == "ispresent" and self._take("("):
            field = self._next("a field")
            self._expect(")")
            return lambda row: field in row
        if not re.fullmatch(_NAME, field):
            raise QueryError(f"filter: {field!r} was found where a field was expected")
        negated = self._take("not")
        if self._take("like"):
            pattern = self._next("a pattern")
            expression = re.compile(pattern[1:-1] if pattern[0] == "/" else re.escape(pattern[1:-1]))
            return lambda row: field in row and bool(expression.search(str(row[field]))) is not negated
        if self._take("in"):
            values = self._values()
            return lambda row: field in row and (row[field] in values) is not negated
        sign = self._next("a comparison")
        if negated or sign not in _COMPARE:
            raise QueryError(f"filter: {sign!r} is not known here; allowed: {', '.join(_COMPARE)}, like, in")
        compare, value = _COMPARE[sign], _value(self._next("a value"))
        return lambda row: field in row and type(row[field]) in _KIND[type(value)] and compare(row[field], value)

    def _expect(self, sign: str) -> None:
        if not self._take(sign):
            raise QueryError(f"filter: {sign!r} is missing")

    def _values(self) -> list[Any]:
        self._expect("[")
        values = [_value(self._next("a value"))]
        while self._take(","):
            values.append(_value(self._next("a value")))
        self._expect("]")
        return values


_KIND: dict[type, tuple[type, ...]] = {str: (str,), float: (int, float)}


def _value(token: str) -> str | float:
    if token[0] == '"':
        return token[1:-1]
    try:
        return float(token)
    except ValueError:
        raise QueryError(f"filter: {token!r} was found where a value was expected; texts stand in quotes") from None


# --- parse, stats, sort


def _parse(text: str) -> Callable[[Fields], Fields]:
    match = re.fullmatch(rf"({_NAME}) /(.*)/", text.strip())
    if not match:
        raise QueryError(f"parse: {text!r} is not known here; allowed: parse FIELD /expression with (?<names>...)/")
    field, expression = match[1], re.compile(re.sub(r"\(\?<(?![=!])", "(?P<", match[2]))

    def parsed(row: Fields) -> Fields:
        found = expression.search(str(row.get(field, "")))
        return {**row, **found.groupdict()} if found else row

    return parsed


@dataclass(frozen=True)
class _Column:
    name: str
    of: Callable[[Sequence[Fields]], Any]


def _present(field: str, group: Sequence[Fields]) -> list[Any]:
    return [row[field] for row in group if field in row]


_FUNCTIONS: dict[str, Callable[[list[Any]], Any]] = {
    "count": len,
    "count_distinct": lambda values: len(set(values)),
    "sum": sum,
    "avg": lambda values: sum(values) / len(values) if values else None,
    "min": lambda values: min(values, default=None),
    "max": lambda values: max(values, default=None),
    "latest": lambda values: values[-1] if values else None,
    "earliest": lambda values: values[0] if values else None,
}


def _stats(text: str, found: Sequence[Fields]) -> tuple[list[Fields], list[str]]:
    aggregates, _, by = text.partition(" by ")
    columns = [_column(part.strip()) for part in aggregates.split(",")]
    keys = [_key(part.strip()) for part in by.split(",")] if by else []
    groups: dict[tuple[Any, ...], list[Fields]] = {}
    for row in found:
        groups.setdefault(tuple(key.of([row]) for key in keys), []).append(row)
    made = [
        {
            **{key.name: value for key, value in zip(keys, values, strict=True) if value is not None},
            **{column.name: value for column in columns if (value := column.of(group)) is not None},
        }
        for values, group in groups.items()
    ]
    return made, [*(key.name for key in keys), *(column.name for column in columns)]


def _column(text: str) -> _Column:
    match = re.fullmatch(rf"(\w+)\((\*|{_NAME})\)(?: as (\w+))?", text)
    if not match or match[1] not in _FUNCTIONS:
        raise QueryError(f"stats: {text!r} is not known here; allowed: {', '.join(_FUNCTIONS)} of a field, as NAME")
    function, field = _FUNCTIONS[match[1]], "@message" if match[2] == "*" else match[2]
    return _Column(match[3] or text, lambda group: function(_present(field, group)))


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def _key(text: str) -> _Column:
    if binned := re.fullmatch(r"bin\((\d+)([smhd])\)(?: as (\w+))?", text):
        seconds = int(binned[1]) * _UNITS[binned[2]]
        return _Column(binned[3] or text, lambda group: _bin(group[0], seconds))
    if not re.fullmatch(_NAME, text):
        raise QueryError(f"stats: by {text!r} is not known here; allowed: fields, and bin(5m)")
    return _Column(text, lambda group: group[0].get(text))


def _bin(row: Fields, seconds: int) -> str | None:
    """When it was logged, from the line itself: on AWS @timestamp, which is a moment later."""
    if "_aws" in row:
        at = datetime.fromtimestamp(row["_aws"]["Timestamp"] / 1000, UTC)
    elif "at" in row:
        at = datetime.fromisoformat(row["at"])
    else:
        return None
    return (at - timedelta(seconds=at.timestamp() % seconds)).strftime("%Y-%m-%d %H:%M:%S.000")


def _sorted(text: str, found: list[Fields]) -> list[Fields]:
    match = re.fullmatch(rf"({_NAME}) (asc|desc)", text.strip())
    if not match:
        raise QueryError(f"sort: {text!r} is not known here; allowed: sort FIELD asc (or desc)")
    field = match[1]
    there, missing = [row for row in found if field in row], [row for row in found if field not in row]
    return sorted(there, key=lambda row: row[field], reverse=match[2] == "desc") + missing
