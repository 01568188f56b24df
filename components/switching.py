"""What guards a stack that is told to become another alternative: its datastore would go with the switch.

A live system moves between two stacks (docs/switching.md). In place it is for development, and on purpose only.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import pulumi

from components.settings import ENVIRONMENTS, PROJECT, Environment, Settings

TRIES, WAIT_SECONDS = 20, 0.1


class SwitchRefused(pulumi.RunError):
    """The stack holds another alternative. Shown by Pulumi as text, without a stack trace."""


def deployed() -> Mapping[str, object]:
    """This stack's outputs as the last `up` left them; empty before the first.

    Raises:
        pulumi.RunError: the state cannot be read. Then nobody knows what the stack holds, so nothing may change.
    """
    name = "/".join((pulumi.get_organization(), pulumi.get_project(), pulumi.get_stack()))
    trouble = ""
    for _ in range(TRIES):
        try:
            # What a StackReference asks the engine, without a resource in the state for it
            answer = pulumi.runtime.invoke("pulumi:pulumi:readStackOutputs", {"name": name}).value
        except Exception as error:
            # The engine writes the state while it runs us: a file of it may be half there, or away, for a moment
            trouble = str(error)
            time.sleep(WAIT_SECONDS)
        else:
            outputs: Mapping[str, object] = (answer or {}).get("outputs") or {}
            return outputs
    if "unknown stack" in trouble:
        return {}
    raise pulumi.RunError(f"the state of this stack cannot be read, so it is left alone. Try again. ({trouble})")


def check(settings: Settings, outputs: Mapping[str, object], datastores: Mapping[str, str]) -> None:
    """Refuse, before anything is made or deleted, to put one alternative in another's place unless that is meant.

    `datastores`: the outputs that name what holds transactions, with what people call it.

    Raises:
        SwitchRefused: says what would be deleted and both ways to proceed.
    """
    held = str(outputs.get("alternative") or settings.alternative)
    if held == settings.alternative:
        return
    environment = Environment(str(outputs.get("environment") or settings.environment))
    protected = ENVIRONMENTS[environment].deletion_protection
    data = ", ".join(f"{what} {outputs[key]}" for key, what in datastores.items() if key in outputs)
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
