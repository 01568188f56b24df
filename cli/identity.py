"""Who is signed in to AWS here, and as what he may come to the desk: asked of AWS, not of the person."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from cli.desk import Target
from workers.domain.desk import Role, person_of


@dataclass(frozen=True, slots=True)
class Caller:
    """The identity with which this program calls AWS."""

    arn: str
    roles: frozenset[Role]
    """The desk's functions that he may call, each of which judges for itself whether he is a person."""

    @property
    def name(self) -> str | None:
        """As the desk's functions name him (workers/desk/proof.py); None for the account's root, who is no person."""
        _, slash, name = self.arn.rpartition("/")
        return name if slash else None

    def is_called(self, name: str) -> bool:
        return self.name is not None and person_of(self.name) == person_of(name)


async def caller(target: Target) -> Caller:
    """Raises what boto3 raises."""
    return await asyncio.to_thread(_caller, target)


def _caller(target: Target) -> Caller:
    import boto3
    from botocore.config import Config

    config = Config(region_name=target.region, connect_timeout=5, read_timeout=10)
    arn = str(boto3.client("sts", config=config).get_caller_identity()["Arn"])
    calls = boto3.client("lambda", config=config)
    return Caller(arn, frozenset(role for role in Role if _may_call(calls, target.functions.get(role))))


def _may_call(calls: Any, function: str | None) -> bool:
    """Whether IAM lets him call it. A dry run starts nothing: it is the question itself."""
    from botocore.exceptions import ClientError

    if function is None:
        return False
    try:
        calls.invoke(FunctionName=function, InvocationType="DryRun")
    except ClientError:
        return False
    return True
