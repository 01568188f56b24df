"""What each alternative brings to the rooms around: a facet for each of them.

A facet is a function that imports what it returns: who asks for one loads nothing of the others, so that the operators'
command never loads Pulumi, and a preview no prices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from components.settings import AlternativeSettings


@dataclass(frozen=True, slots=True)
class Alternative:
    settings: Callable[[], AlternativeSettings]
    """Keys, values, and the rules between them (components/settings)."""
