"""The statements and expressions that our adapter sends to DynamoDB, and no others: each is read once, and then run.

What is not understood to the last letter is refused: a simulated service that guesses would prove nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import eq, gt, le, lt
from typing import Any

Value = dict[str, Any]
Item = dict[str, Value]
Condition = Callable[[Item, Mapping[str, Value]], bool]
Change = Callable[[Item, Mapping[str, Value]], Item]

_INSERT = re.compile(r"INSERT INTO \"([\w.-]+)\" VALUE \{('\w+': \?(?:, '\w+': \?)*)\}")
_UPDATE = re.compile(
    r'UPDATE "([\w.-]+)"((?: SET "\w+" = \?)+) ((?: ?REMOVE "\w+" ?)*) ?WHERE ("\w+" = \?(?: AND "\w+" = \?)*)'
)
_NAME = re.compile(r"""["'](\w+)["']""")
_MOST_SHAPES = 4096


class Unknown(Exception):  # noqa: N818 - what it is
    """A shape that the simulated service does not know: it must be taught, or the adapter mended."""


@dataclass(frozen=True, slots=True)
class Insert:
    table: str
    names: tuple[str, ...]

    def item(self, parameters: Sequence[Value]) -> Item:
        return dict(zip(self.names, parameters, strict=True))


@dataclass(frozen=True, slots=True)
class Update:
    table: str
    sets: tuple[str, ...]
    removes: tuple[str, ...]
    where: tuple[str, ...]
    """All of them are to be equal to what is given; the key is one of them."""

    def key(self, parameters: Sequence[Value]) -> str:
        return str(parameters[len(self.sets) + self.where.index("id")]["S"])

    def holds(self, item: Item, parameters: Sequence[Value]) -> bool:
        given = parameters[len(self.sets) :]
        return all(item.get(name) == value for name, value in zip(self.where, given, strict=True))

    def changed(self, item: Item, parameters: Sequence[Value]) -> Item:
        after = {**item, **dict(zip(self.sets, parameters, strict=False))}
        for name in self.removes:
            after.pop(name, None)
        return after


@lru_cache(_MOST_SHAPES)
def statement(text: str) -> Insert | Update:
    """A PartiQL statement.

    Raises:
        Unknown: it is not one of the adapter's two shapes.
    """
    if found := _INSERT.fullmatch(text):
        return Insert(found[1], tuple(_NAME.findall(found[2])))
    if found := _UPDATE.fullmatch(text):
        sets, removes, where = (tuple(_NAME.findall(found[n])) for n in (2, 3, 4))
        if "id" in where:
            return Update(found[1], sets, removes, where)
    raise Unknown(f"statement {text}")


# --- UpdateItem: an expression, and a condition ----------------------------------------------------------------------


@lru_cache(_MOST_SHAPES)
def _plain(text: str, names: tuple[tuple[str, str], ...]) -> str:
    """In one line, and with names of attributes in place of their `#` stand-ins."""
    for short, name in names:
        text = re.sub(rf"{re.escape(short)}\b", name, text)
    return " ".join(text.split())


@lru_cache(_MOST_SHAPES)
def _condition(text: str) -> Condition:
    """`a OR b AND c`, of comparisons with given values and of attribute_exists, attribute_not_exists."""
    either = [[_term(term) for term in part.split(" AND ")] for part in text.split(" OR ")]

    def holds(item: Item, values: Mapping[str, Value]) -> bool:
        for part in either:
            for term in part:
                if not term(item, values):
                    break
            else:
                return True
        return False

    return holds


def _term(text: str) -> Condition:
    if found := re.fullmatch(r"attribute_(not_)?exists\((\w+)\)", text):
        wanted, name = not found[1], found[2]
        return lambda item, _: (name in item) is wanted
    if found := re.fullmatch(r"(\w+) (=|<|>|<=) (:\w+)", text):
        name, operator, given = found[1], found[2], found[3]
        return lambda item, values: name in item and _compares(item[name], operator, values[given])
    raise Unknown(f"condition {text}")


_COMPARE: Mapping[str, Callable[[Any, Any], Any]] = {"=": eq, "<": lt, ">": gt, "<=": le}


def _compares(found: Value, operator: str, given: Value) -> bool:
    """Values of two types are not equal, and none is less."""
    (kind, a), (other, b) = *found.items(), *given.items()
    if kind != other:
        return False
    if kind == "N":
        a, b = float(a), float(b)
    return bool(_COMPARE[operator](a, b))


@lru_cache(_MOST_SHAPES)
def _change(text: str) -> Change:
    """`SET a = :b, c = if_not_exists(c, :d) REMOVE e, f`, or `ADD a :b`."""
    if counted := re.fullmatch(r"ADD (\w+) (:\w+)", text):
        name, given = counted[1], counted[2]
        zero: Value = {"N": "0"}
        return lambda item, values: item | {name: {"N": str(int(item.get(name, zero)["N"]) + int(values[given]["N"]))}}
    found = re.fullmatch(r"(?:SET (.+?))?(?: ?REMOVE (\w+(?:, \w+)*))?", text)
    if not text or not found:
        raise Unknown(f"update expression {text}")
    sets = list(_assignments(found[1])) if found[1] else []
    removes = found[2].split(", ") if found[2] else []

    def change(item: Item, values: Mapping[str, Value]) -> Item:
        after = {**item, **{name: values[given] for name, given, unless in sets if not (unless and name in item)}}
        for name in removes:
            after.pop(name, None)
        return after

    return change


def _assignments(text: str) -> Iterator[tuple[str, str, bool]]:
    """(name, given value, whether only where there is none yet)."""
    for part in re.split(r", (?![^(]*\))", text):
        if found := re.fullmatch(r"(\w+) = (:\w+)", part):
            yield found[1], found[2], False
        elif found := re.fullmatch(r"(\w+) = if_not_exists\((\w+), (:\w+)\)", part):
            if found[1] != found[2]:
                raise Unknown(f"assignment {part}")
            yield found[1], found[3], True
        else:
            raise Unknown(f"assignment {part}")


def condition(text: str, names: Mapping[str, str]) -> Condition:
    return _condition(_plain(text, tuple(names.items())) if names else text)


def change(text: str, names: Mapping[str, str]) -> Change:
    return _change(_plain(text, tuple(names.items())) if names else text)
