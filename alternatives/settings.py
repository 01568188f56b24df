"""The settings of a stack, whichever alternative it has. `__main__.py` starts here."""

from __future__ import annotations

from collections.abc import Mapping

import pulumi

from alternatives import ALTERNATIVES
from components.settings import PROJECT, Settings, parsing

_SETTINGS = {name: alternative.settings() for name, alternative in ALTERNATIVES.items()}
NAMES = tuple(sorted(_SETTINGS))
KEYS = parsing.all_keys(_SETTINGS)
"""Of every alternative; Pulumi.yaml repeats them."""
DATASTORES = {one.datastore.output: one.datastore.called for one in ALTERNATIVES.values()}
"""Outputs that name what holds transactions."""
PARTS = parsing.parts(_SETTINGS)


def load() -> Settings:
    """The settings of the stack that is being deployed.

    Raises:
        SettingsError: any key is wrong, unknown, missing, or at odds with another.
    """
    raw: dict[str, object] = {**pulumi.runtime.config.get_config_env(), **pulumi.runtime.config.CONFIG.get()}
    prefix = f"{PROJECT}:"
    config = {key.removeprefix(prefix): value for key, value in raw.items() if key.startswith(prefix)}
    settings = parse(config, pulumi.get_stack())
    for warning in warnings(settings):
        pulumi.log.warn(warning)
    return settings


def parse(config: Mapping[str, object], stack: str = "stack") -> Settings:
    """Config values by key (without the project's prefix, as text or already typed) to settings of the stack so named.

    Raises:
        SettingsError: any key is wrong, unknown, missing, or at odds with another.
    """
    return parsing.parse(config, stack, _SETTINGS)


def warnings(settings: Settings) -> tuple[str, ...]:
    """What is allowed and hardly meant."""
    return tuple(_SETTINGS[settings.alternative].warnings(settings))
