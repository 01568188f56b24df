"""What a bill can be split by: the stack's tags on everything, and on each resource the component it belongs to.

The tags of the stack come from the provider (`settings.tags`, components/account.py). The component is known to each
resource alone, so a transform sets it: the engine runs it over the children of remote components (awsx) as well.
Cost Explorer and budgets see a tag once it is activated for cost allocation (docs/costs.md).
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from functools import cache
from typing import cast

import pulumi

from components.settings import PROJECT

COMPONENT = "Component"


def register() -> None:
    """Tag all that is made from now on with its component."""
    pulumi.runtime.register_resource_transform(_tag)


async def _tag(args: pulumi.ResourceTransformArgs) -> pulumi.ResourceTransformResult | None:
    parent = await args.opts.parent.urn.future() if args.opts.parent else None
    component = component_of(parent or "")
    if component is None or not takes_tags(args.type_):
        return None
    own = cast(Mapping[str, str] | None, args.props.get("tags")) or {}
    return pulumi.ResourceTransformResult({**args.props, "tags": {**own, COMPONENT: component}}, args.opts)


def component_of(urn: str) -> str | None:
    """The innermost component that the resource of this URN is, or is in: `network` for all below the network's,
    `backup` for what is in the backup of the datastore."""
    types = urn.split("::")[2].split("$") if urn else []
    return next((kind.split(":")[1] for kind in reversed(types) if kind.startswith(f"{PROJECT}:")), None)


@cache
def takes_tags(token: str) -> bool:
    """Whether the SDK's class of this type (`aws:ec2/vpc:Vpc`) has tags."""
    package, module, name = token.split(":")
    if package != "aws":
        return False
    service = module.split("/")[0]
    found = importlib.import_module(f"pulumi_aws.{'lambda_' if service == 'lambda' else service}")
    return "tags" in inspect.signature(getattr(found, name)._internal_init).parameters
