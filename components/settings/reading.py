"""One config key as a row, the readers that turn what Pulumi hands over into typed values, and these values by key."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

BY_ENVIRONMENT = "0 for the environment's own"

Value = str | int | float | tuple[str, ...]
Reader = Callable[[object], Value]
"""Turns a raw config value into a typed one; raises ValueError with nothing to add, the row says what is allowed."""


@dataclass(frozen=True, slots=True)
class Key:
    """One config key: Pulumi.yaml repeats type, default and description, and a test holds both together."""

    name: str
    type: str
    """As Pulumi.yaml has it: string, integer or array."""
    default: Value
    description: str
    allowed: str
    read: Reader
    example: Value | None = None
    """What to write where the default is no answer (the required keys)."""

    @property
    def mend(self) -> Value:
        return self.default if self.example is None else self.example


def matching(pattern: str) -> Reader:
    def read(raw: object) -> Value:
        if not isinstance(raw, str) or not re.fullmatch(pattern, raw):
            raise ValueError
        return raw

    return read


def choice(*choices: str) -> Reader:
    return matching("|".join(map(re.escape, choices)))


def integer(least: int, most: int, *, special: tuple[int, ...] = ()) -> Reader:
    def read(raw: object) -> Value:
        # Pulumi hands every value over as text; booleans are integers in Python and never meant here
        if isinstance(raw, bool) or not re.fullmatch(r"-?\d{1,9}", str(raw)):
            raise ValueError
        number = int(str(raw))
        if number not in special and not least <= number <= most:
            raise ValueError
        return number

    return read


def one_of(*numbers: int) -> Reader:
    def read(raw: object) -> Value:
        number = integer(0, 1_000_000)(raw)
        if number not in numbers:
            raise ValueError
        return number

    return read


class Values:
    """The values by key, typed; a wrong accessor is a mistake of ours, not the user's."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        self._values = values

    def text(self, key: str) -> str:
        value = self._values[key]
        if not isinstance(value, str):
            raise TypeError(key)
        return value

    def number(self, key: str) -> int:
        value = self._values[key]
        if not isinstance(value, int):
            raise TypeError(key)
        return value

    def units(self, key: str) -> float:
        value = self._values[key]
        if not isinstance(value, float):
            raise TypeError(key)
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._values[key]
        if not isinstance(value, tuple):
            raise TypeError(key)
        return value
