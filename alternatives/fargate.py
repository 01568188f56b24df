"""The descriptor of the fargate alternative."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alternatives.descriptor import Alternative

if TYPE_CHECKING:
    from components.settings import AlternativeSettings


def _settings() -> AlternativeSettings:
    from components.fargate.rules import SETTINGS

    return SETTINGS


ALTERNATIVE = Alternative(settings=_settings)
