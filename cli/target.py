"""Which stack a command works against: its outputs, and the desk made of them.

The outputs come from the file named by CONFIRM_OUTPUTS, else from `pulumi stack output --json`. With AWS_ENDPOINT_URL
in the environment boto3 talks to the local AWS instead: the same command works on both.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from cli.exits import Exit, Trouble
from workers.canary import Canaries
from workers.domain.policy import Policy
from workers.domain.ports import Store
from workers.domain.transaction import Status

DEFAULT_STACK = "serverless"
OPERATOR = "confirm_operator"
"""The database's role for this command (workers/migrations/0003_operator.sql)."""
CANARY_USER = "confirm_canary"
"""The database's role for canaries (workers/migrations/0005_canary.sql)."""
PULUMI_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Table:
    """Where the alternative `serverless` has its transactions, and what works on them."""

    name: str
    index: str
    shards: int
    state_machine: str | None


@dataclass(frozen=True, slots=True)
class Database:
    """Where the alternative `fargate` has its transactions, and as whom to come."""

    host: str
    port: int
    name: str
    user: str
    """Logs in by IAM."""
    url: str | None = field(default=None, repr=False)
    """Takes the place of all of these; holds a password."""
    ca_file: str | None = None
    """The CAs to trust; None for the system's."""

    @property
    def login(self) -> str:
        """Who comes, for people."""
        return "the user of CONFIRM_DATABASE_URL" if self.url else self.user


@dataclass(frozen=True, slots=True)
class Target:
    """A stack that is up: what the commands need of its outputs."""

    stack: str
    environment: str
    region: str
    policy: Policy
    data: Table | Database
    endpoint: str | None = None
    """Of the local AWS."""

    def __str__(self) -> str:
        where = f"local AWS at {self.endpoint}" if self.endpoint else f"AWS, {self.region}"
        return f"stack {self.stack} ({self.environment}, {where})"

    @property
    def alternative(self) -> str:
        return "serverless" if isinstance(self.data, Table) else "fargate"


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the state machine; or, of the service that never ends, its last minutes of work."""

    name: str
    status: str
    """RUNNING, SUCCEEDED, FAILED, TIMED_OUT or ABORTED, as Step Functions says; WORKING or IDLE of the service."""
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
    """What the scheduler's runs did, or the service."""

    async def last(self) -> Run | None:
        """The newest, whether it found something to do or not."""
        ...

    async def last_with_work(self) -> Run | None:
        """The newest that found something to do, with what it did in all its loops."""
        ...


@dataclass(frozen=True, slots=True)
class Entry:
    """One transaction, as the books hold it."""

    id: str
    status: Status
    amount: int
    currency: str
    settled_at: datetime | None
    readable: bool = True
    """False where something else wrote it, so that the rest of this says nothing."""


class Census(Protocol):
    """What only a walk through the table tells. Slow and billed by what is read; never part of the work itself."""

    async def tally(self) -> Mapping[Status, InState]: ...

    def entries(self) -> AsyncIterator[Entry]:
        """Every transaction once, in no order; what changes meanwhile is seen before or after its change."""
        ...

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
    canaries: Canaries


def find(stack: str | None, environment: Mapping[str, str] | None = None) -> Target:
    """The stack named (default: the selected one, else `serverless`).

    Raises:
        Trouble: there is none, or it is not up; says what to do.
    """
    environment = os.environ if environment is None else environment
    path = environment.get("CONFIRM_OUTPUTS")
    outputs, name = _from_file(Path(path), stack) if path else _from_pulumi(stack, environment)
    return target(outputs, name, environment)


_NEEDED = {
    "serverless": ("tableName", "pendingIndexName", "pendingShards"),
    "fargate": ("databaseHost", "databasePort", "databaseName"),
}


def target(outputs: Mapping[str, Any], stack: str, environment: Mapping[str, str]) -> Target:
    """The outputs of a stack, checked.

    Raises:
        Trouble: one is missing: the stack is not up, or another program's.
    """
    alternative = outputs.get("alternative")
    needed = ("alternative", "region", *_NEEDED.get(str(alternative), ()))
    if missing := [name for name in needed if outputs.get(name) in (None, "")]:
        raise Trouble(
            f"stack {stack} has no output {', '.join(missing)}",
            f"bring it up with `pulumi up --stack {stack}`, or name another with --stack",
            Exit.NO_ACCESS,
        )
    if alternative not in _NEEDED:
        raise Trouble(
            f"stack {stack} is the alternative {alternative}, which this command does not know",
            f"use the `confirm` of that stack's own version, or name a stack of {' or '.join(_NEEDED)} with --stack",
        )
    standard = Policy()
    hours = outputs.get("reviewHours")
    return Target(
        stack=stack,
        environment=str(outputs.get("environment", "?")),
        region=str(outputs["region"]),
        policy=Policy(
            review_within=timedelta(hours=float(hours)) if hours else standard.review_within,
            review_owner=str(outputs.get("reviewOwner") or standard.review_owner),
        ),
        data=_table(outputs) if alternative == "serverless" else _database(outputs, environment),
        endpoint=environment.get("AWS_ENDPOINT_URL"),
    )


def _table(outputs: Mapping[str, Any]) -> Table:
    return Table(
        name=str(outputs["tableName"]),
        index=str(outputs["pendingIndexName"]),
        shards=int(outputs["pendingShards"]),
        state_machine=outputs.get("stateMachineArn"),
    )


def _database(outputs: Mapping[str, Any], environment: Mapping[str, str]) -> Database:
    return Database(
        host=str(outputs["databaseHost"]),
        port=int(outputs["databasePort"]),
        name=str(outputs["databaseName"]),
        user=environment.get("CONFIRM_DATABASE_USER") or OPERATOR,
        url=environment.get("CONFIRM_DATABASE_URL") or None,
        ca_file=environment.get("CONFIRM_DATABASE_CA") or None,
    )


def as_canary(target: Target) -> Target:
    """The same, as who brings in canaries and nothing else. CONFIRM_DATABASE_URL says itself who comes."""
    data = target.data
    return target if isinstance(data, Table) else replace(target, data=replace(data, user=CANARY_USER))


def open_desk(target: Target) -> AbstractAsyncContextManager[Desk]:
    """The desk, as long as it is needed. Imports the drivers only here: `--help` stays quick."""
    if isinstance(target.data, Table):
        from cli.aws import open_aws

        return open_aws(target, target.data)
    from cli.postgres import open_postgres

    return open_postgres(target, target.data)


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
