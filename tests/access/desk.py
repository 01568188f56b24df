"""A desk of a recorded stack, called as the command calls it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from analysis.graph import REGION
from cli.desk import Target
from cli.exits import Trouble
from cli.orders import DeskCalls, NotLetIn
from tests.access.alternatives import Fargate
from tests.access.world import World
from tests.fakes import run
from workers.domain.desk import Role
from workers.domain.policy import Policy


def order(
    world: World, role: str, person: str, function: Role, action: str, payload: Mapping[str, Any]
) -> Mapping[str, Any]:
    """What became of it; {"refused": why} where it was.

    Raises:
        NotLetIn: IAM lets that role in at no such function.
    """
    variables = world.record.one("aws:lambda/function:Function", f"desk-{function}").inputs["environment"]["variables"]
    functions = world.record.outputs["deskFunctions"]
    no_way: Any = None
    target = Target(
        variables["STACK"],
        variables["ALTERNATIVE"],
        "dev",
        REGION,
        Policy(),
        no_way,
        functions=functions,
    )
    if isinstance(world, Fargate):
        world.let_the_desk_in()
    with world.as_role(role, person):
        try:
            return run(DeskCalls(target).order(function, action, payload))
        except NotLetIn:
            raise
        except Trouble as trouble:
            return {"refused": trouble.what}
