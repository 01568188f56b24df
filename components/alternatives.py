"""The alternatives: each package in this folder with a `rules.py` is one, under its own name.

A package holds a file per component (datastore, compute, observability), the rules that its settings keep (rules.py),
and what composes them (stack.py). A further alternative is a further package: nothing here, in `__main__.py` or in
the others' files names any.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, cast

import pulumi

from components.account import Place
from components.encryption import Encryption
from components.settings import Settings

Outputs = Mapping[str, pulumi.Input[object]]


@dataclass(frozen=True, slots=True)
class Foundation:
    """What every alternative stands on."""

    settings: Settings
    place: Place
    encryption: Encryption
    options: pulumi.ResourceOptions
    """Of every component: the provider that tags."""


class Alternative(Protocol):
    """What the module `stack` of a package offers."""

    DATA_SERVICES: tuple[str, ...]
    """The AWS services that may use the data key on our behalf."""

    def build(self, foundation: Foundation) -> Outputs:
        """Make everything; returns the outputs that the rest of the world reads."""
        ...


def find(name: str) -> Alternative:
    """The alternative of that name; settings have made sure that there is one."""
    return cast(Alternative, importlib.import_module(f"components.{name}.stack"))
