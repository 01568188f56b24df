"""What an alternative adds to the settings: keys, sizes by environment, values, and the rules between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from components.settings.environments import Environment
from components.settings.errors import Problem
from components.settings.reading import Key, Values
from components.settings.values import Settings


@dataclass(frozen=True, slots=True)
class Part:
    """Some keys and what they become; more than one alternative may have the same part (Aurora's)."""

    keys: tuple[Key, ...]
    sizes: Mapping[Environment, object]
    """What differs by environment: a dataclass for each."""
    read: Callable[[Values, Settings], tuple[object, ...]]
    """The keys' values, and the settings that every alternative has, to the objects that `Settings.part` finds."""


@dataclass(frozen=True, slots=True)
class AlternativeSettings:
    parts: tuple[Part, ...]
    lease_seconds: int
    """What leaseSeconds is unless set."""
    contradictions: Callable[[Settings], Iterator[Problem]]
    """What its settings must keep between each other."""
    warnings: Callable[[Settings], Iterator[str]]
    """What is allowed and hardly meant."""
