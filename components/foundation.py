"""What every component stands on, and how a part of a component is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi

from components.account import Account
from components.settings import Settings

Outputs = Mapping[str, pulumi.Input[object]]
"""What a component tells the world around the stack: name -> value."""


@dataclass(frozen=True, slots=True)
class Foundation:
    """The stack's settings, and where it goes."""

    settings: Settings
    account: Account


def inside(component: pulumi.ComponentResource) -> pulumi.ResourceOptions:
    """The options of a component that is a part of `component`.

    Stacks that were deployed before it became one have it at the top, hence the alias: nothing in it is replaced.
    """
    return pulumi.ResourceOptions(parent=component, aliases=[pulumi.Alias(parent=pulumi.ROOT_STACK_RESOURCE)])
