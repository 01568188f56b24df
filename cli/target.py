"""Which stack a command works against: its outputs, and the desk made of them.

The outputs come from the file named by CONFIRM_OUTPUTS, else from `pulumi stack output --json`. With AWS_ENDPOINT_URL
in the environment boto3 talks to the local AWS instead: the same command works on both.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from alternatives import ALTERNATIVES
from cli.desk import Desk, Target
from cli.exits import Exit, Trouble
from workers.domain.policy import Policy

DEFAULT_STACK = "serverless"
PULUMI_SECONDS = 120


def find(stack: str | None, environment: Mapping[str, str] | None = None) -> Target:
    """The stack named (default: the selected one, else `serverless`).

    Raises:
        Trouble: there is none, or it is not up; says what to do.
    """
    environment = os.environ if environment is None else environment
    path = environment.get("CONFIRM_OUTPUTS")
    outputs, name = _from_file(Path(path), stack) if path else _from_pulumi(stack, environment)
    return target(outputs, name, environment)


def target(outputs: Mapping[str, Any], stack: str, environment: Mapping[str, str]) -> Target:
    """The outputs of a stack, checked.

    Raises:
        Trouble: one is missing: the stack is not up, or another program's.
    """
    alternative = str(outputs.get("alternative"))
    desk = ALTERNATIVES[alternative].desk() if alternative in ALTERNATIVES else None
    needed = ("alternative", "region", *(desk.needed if desk else ()))
    if missing := [name for name in needed if outputs.get(name) in (None, "")]:
        raise Trouble(
            f"stack {stack} has no output {', '.join(missing)}",
            f"bring it up with `pulumi up --stack {stack}`, or name another with --stack",
            Exit.NO_ACCESS,
        )
    if desk is None:
        known = " or ".join(ALTERNATIVES)
        raise Trouble(
            f"stack {stack} is the alternative {alternative}, which this command does not know",
            f"use the `confirm` of that stack's own version, or name a stack of {known} with --stack",
        )
    standard = Policy()
    hours = outputs.get("reviewHours")
    return Target(
        stack=stack,
        alternative=alternative,
        environment=str(outputs.get("environment", "?")),
        region=str(outputs["region"]),
        policy=Policy(
            review_within=timedelta(hours=float(hours)) if hours else standard.review_within,
            review_owner=str(outputs.get("reviewOwner") or standard.review_owner),
        ),
        data=desk.way(outputs, environment),
        endpoint=environment.get("AWS_ENDPOINT_URL"),
        functions=dict(outputs.get("deskFunctions") or {}),
    )


def as_canary(target: Target) -> Target:
    """The same, as who brings in canaries and nothing else. CONFIRM_DATABASE_URL says itself who comes."""
    return replace(target, data=target.data.as_canary())


def as_importer(target: Target) -> Target:
    """The same, as who may bring in transactions."""
    return replace(target, data=target.data.as_importer())


def open_desk(target: Target) -> AbstractAsyncContextManager[Desk]:
    """The desk, as long as it is needed."""
    return target.data.open(target)


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
