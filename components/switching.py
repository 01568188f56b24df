"""What guards a stack that is told to become the other alternative: its datastore would go with the switch.

A live system moves between two stacks (docs/switching.md). In place it is for development, and on purpose only.
"""

from __future__ import annotations

from collections.abc import Mapping

import pulumi

from components.settings import ENVIRONMENTS, PROJECT, Environment, Settings

DATASTORES: Mapping[str, str] = {"tableName": "the table", "databaseHost": "the database"}
"""Outputs that name what holds transactions."""


class SwitchRefused(pulumi.RunError):
    """The stack holds another alternative. Shown by Pulumi as text, without a stack trace."""


def deployed() -> Mapping[str, object]:
    """This stack's outputs as the last `up` left them; empty before the first."""
    name = "/".join((pulumi.get_organization(), pulumi.get_project(), pulumi.get_stack()))
    try:
        # What a StackReference asks the engine, without a resource in the state for it
        answer = pulumi.runtime.invoke("pulumi:pulumi:readStackOutputs", {"name": name}).value
    except Exception as error:
        if "unknown stack" in str(error):
            return {}
        raise
    outputs: Mapping[str, object] = (answer or {}).get("outputs") or {}
    return outputs


def check(settings: Settings, outputs: Mapping[str, object]) -> None:
    """Refuse, before anything is made or deleted, to put one alternative in the other's place unless that is meant.

    Raises:
        SwitchRefused: says what would be deleted and both ways to proceed.
    """
    held = str(outputs.get("alternative") or settings.alternative)
    if held == settings.alternative:
        return
    environment = Environment(str(outputs.get("environment") or settings.environment))
    protected = ENVIRONMENTS[environment].deletion_protection
    data = ", ".join(f"{what} {outputs[key]}" for key, what in DATASTORES.items() if key in outputs)
    if settings.switch_from == held and not protected:
        pulumi.log.warn(f"{held} becomes {settings.alternative} in place: {data} is deleted with all it holds")
        return
    guard = f"In {environment} it is protected, by Pulumi and by AWS.\n" if protected else ""
    ways = [
        f"keep it, and move by two stacks side by side: docs/switching.md. Here: pulumi config set alternative {held}"
    ]
    if not protected:
        ways.append(f"let it go, on purpose: pulumi config set switchFrom {held}, then pulumi up")
    text = "".join(f"\n  - {way}" for way in ways)
    raise SwitchRefused(
        f"this stack holds the alternative {held}, and the config says {settings.alternative}: {data} would be "
        f"deleted with every transaction in it. {guard}Nothing was changed. What to do:{text}\n"
        f"  (config section of Pulumi.<stack>.yaml, keys {PROJECT}:alternative and {PROJECT}:switchFrom)"
    )
