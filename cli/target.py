"""Which stack a command works against: its outputs, and the desk made of them.

The outputs come from the file named by CONFIRM_OUTPUTS, else from `pulumi stack output --json`. With AWS_ENDPOINT_URL
in the environment boto3 talks to the local AWS instead: the same command works on both.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from cli.exits import Exit, Trouble
from workers.domain.policy import Policy
from workers.domain.ports import Store
from workers.domain.transaction import Status

DEFAULT_STACK = "serverless"
PULUMI_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Target:
    """A stack that is up: what the commands need of its outputs."""

    stack: str
    environment: str
    region: str
    table: str
    index: str
    shards: int
    state_machine: str | None
    policy: Policy
    endpoint: str | None = None
    """Of the local AWS."""

    def __str__(self) -> str:
        where = f"local AWS at {self.endpoint}" if self.endpoint else f"AWS, {self.region}"
        return f"stack {self.stack} ({self.environment}, {where})"


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the state machine."""

    name: str
    status: str
    """RUNNING, SUCCEEDED, FAILED, TIMED_OUT or ABORTED, as Step Functions says."""
    started_at: datetime
    stopped_at: datetime | None
    totals: Mapping[str, int]
    """What its report counted (confirmed, rejected, retried, review, ...); empty while it runs."""
    error: str | None = None

    @property
    def seconds(self) -> float | None:
        return (self.stopped_at - self.started_at).total_seconds() if self.stopped_at else None

    @property
    def settled(self) -> int:
        return self.totals.get("confirmed", 0) + self.totals.get("rejected", 0)

    @property
    def per_second(self) -> float | None:
        """Transactions settled per second of the run."""
        return self.settled / self.seconds if self.seconds else None


@dataclass(frozen=True, slots=True)
class InState:
    """How many are in one state, and their sums in minor units per currency."""

    count: int
    amounts: Mapping[str, int]


class Runs(Protocol):
    """What the scheduler's runs did."""

    async def last(self) -> Run | None:
        """The newest, whether it found something to do or not."""
        ...

    async def last_with_work(self) -> Run | None:
        """The newest that found something to do, with what it did in all its loops."""
        ...


class Census(Protocol):
    """What only a walk through the table tells. Slow and billed by what is read; never part of the work itself."""

    async def tally(self) -> Mapping[Status, InState]: ...

    async def some_ids(self) -> list[str]:
        """A bounded sample."""
        ...


@dataclass(frozen=True, slots=True)
class Desk:
    """What an operator's command works with; one per alternative, all commands the same."""

    target: Target
    store: Store
    runs: Runs
    census: Census


def find(stack: str | None, environment: Mapping[str, str] | None = None) -> Target:
    """The stack named (default: the selected one, else `serverless`).

    Raises:
        Trouble: there is none, or it is not up; says what to do.
    """
    environment = os.environ if environment is None else environment
    path = environment.get("CONFIRM_OUTPUTS")
    outputs, name = _from_file(Path(path), stack) if path else _from_pulumi(stack, environment)
    return target(outputs, name, environment.get("AWS_ENDPOINT_URL"))


def target(outputs: Mapping[str, Any], stack: str, endpoint: str | None = None) -> Target:
    """The outputs of a stack, checked.

    Raises:
        Trouble: one is missing: the stack is not up, or another program's.
    """
    needed = ("alternative", "region", "tableName", "pendingIndexName", "pendingShards")
    if missing := [name for name in needed if outputs.get(name) in (None, "")]:
        raise Trouble(
            f"stack {stack} has no output {', '.join(missing)}",
            f"bring it up with `pulumi up --stack {stack}`, or name another with --stack",
            Exit.NO_ACCESS,
        )
    if outputs["alternative"] != "serverless":
        raise Trouble(
            f"stack {stack} is the alternative {outputs['alternative']}, which this command does not know yet",
            "name a stack of the alternative serverless with --stack",
        )
    standard = Policy()
    hours = outputs.get("reviewHours")
    return Target(
        stack=stack,
        environment=str(outputs.get("environment", "?")),
        region=str(outputs["region"]),
        table=str(outputs["tableName"]),
        index=str(outputs["pendingIndexName"]),
        shards=int(outputs["pendingShards"]),
        state_machine=outputs.get("stateMachineArn"),
        policy=Policy(
            review_within=timedelta(hours=float(hours)) if hours else standard.review_within,
            review_owner=str(outputs.get("reviewOwner") or standard.review_owner),
        ),
        endpoint=endpoint,
    )


def open_desk(target: Target) -> Desk:
    """The desk on AWS. Imports boto3 only here: `--help` stays quick."""
    from cli.aws import open_aws

    return open_aws(target)


def _from_file(path: Path, stack: str | None) -> tuple[Mapping[str, Any], str]:
    try:
        outputs = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no JSON"
        raise Trouble(
            f"the outputs in {path} (CONFIRM_OUTPUTS) cannot be read ({why})",
            "unset CONFIRM_OUTPUTS to ask pulumi, or bring the stack up again",
            Exit.NO_ACCESS,
        ) from None
    if not isinstance(outputs, dict):
        raise Trouble(f"{path} (CONFIRM_OUTPUTS) holds no outputs", "unset CONFIRM_OUTPUTS", Exit.NO_ACCESS)
    name = str(outputs.get("stack", DEFAULT_STACK))
    if stack not in (None, name):
        raise Trouble(
            f"CONFIRM_OUTPUTS holds the outputs of stack {name}, not of {stack}",
            "leave --stack out, or unset CONFIRM_OUTPUTS",
            Exit.USAGE,
        )
    return outputs, name


def _from_pulumi(stack: str | None, environment: Mapping[str, str]) -> tuple[Mapping[str, Any], str]:
    if stack is None:
        selected = _pulumi(["stack", "--show-name"], environment)
        stack = selected.stdout.strip() if selected.returncode == 0 else DEFAULT_STACK
    answer = _pulumi(["stack", "output", "--json", "--stack", stack], environment)
    if answer.returncode == 0:
        try:
            outputs = json.loads(answer.stdout)
        except ValueError:
            outputs = None
        if isinstance(outputs, dict):
            return outputs, stack
    said = [line.strip() for line in answer.stderr.splitlines() if line.strip()]
    why = next((line for line in said if line.startswith("error:")), said[0] if said else "it said nothing")
    raise Trouble(
        f"pulumi has no outputs of stack {stack} ({why.removeprefix('error:').strip()})",
        "see `pulumi stack ls` and name one with --stack; for the local AWS run this inside `make shell`",
        Exit.NO_ACCESS,
    )


def _pulumi(arguments: list[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603 - our own words, no shell
            ["pulumi", *arguments, "--non-interactive"],  # noqa: S607 - the user's own pulumi is meant
            cwd=_program(Path.cwd()),
            env=dict(environment),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PULUMI_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise Trouble(
            "the command pulumi is not on the PATH",
            "run this inside `make shell` (local AWS), or install the Pulumi CLI, or name a file of outputs in "
            "CONFIRM_OUTPUTS",
            Exit.NO_ACCESS,
        ) from None
    except subprocess.TimeoutExpired:
        raise Trouble(
            f"pulumi did not answer within {PULUMI_SECONDS} s", "see whether its backend answers", Exit.NO_ACCESS
        ) from None


def _program(here: Path) -> Path:
    """The folder of the Pulumi program: this one or the nearest above, else the one that this file is part of."""
    around = (folder for folder in (here, *here.parents) if (folder / "Pulumi.yaml").exists())
    return next(around, Path(__file__).resolve().parent.parent)
