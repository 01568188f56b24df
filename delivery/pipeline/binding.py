"""What a plan was made of, noted beside it, and held against what is there when it is to be applied.

`pulumi up --plan` binds operations and inputs. It asks neither who made the plan, nor whether the code, the stack or
AWS have moved on since: that is asked here, before anything is touched.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from delivery.pipeline import build, shell
from delivery.pipeline.errors import Refused
from delivery.pipeline.shell import commit, run, run_json, sha256

PLAN, BINDING, SUMMARY = "plan.json", "binding.json", "summary.md"


@dataclass(frozen=True, slots=True)
class Binding:
    """Everything that must be the same when the plan is applied."""

    stack: str
    commit: str
    version: str
    """Of the program."""
    pulumi: str
    """Version of the CLI."""
    configuration: str
    """Digest of Pulumi.STACK.yaml."""
    artifact: str
    """Digest of what Build made."""
    plan: str
    """Digest of the plan file."""
    last_update: str
    """When the stack was last changed; "" for never."""


WHY = {
    "stack": "the plan is of another stack",
    "commit": "the plan is of another commit",
    "version": "the plan is of another version of the program",
    "pulumi": "the plan was made by another version of Pulumi",
    "configuration": "the stack's configuration is not that of the plan",
    "artifact": "the artifact is not the one that was planned with",
    "plan": "the plan file is not the one that was approved",
    "last_update": "the stack has been changed since the plan was made",
}


def of(stack: str, built: Path, plan: Path) -> Binding:
    """As things are now. Raises Refused where the clone differs from its commit."""
    config = f"Pulumi.{stack}.yaml"
    changed = run("git", "status", "--porcelain", "--untracked-files=no", "--", ".", f":!{config}").strip()
    if changed:
        raise Refused(f"The clone differs from its commit, so what is planned could not be made again:\n{changed}")
    return Binding(
        stack=stack,
        commit=commit(),
        version=build.version(),
        pulumi=run("pulumi", "version").strip(),
        configuration=sha256(shell.ROOT / config),
        artifact=sha256(built / build.MANIFEST),
        plan=sha256(plan / PLAN),
        last_update=last_update(stack),
    )


def last_update(stack: str) -> str:
    """When somebody last changed the stack."""
    history = run_json("pulumi", "stack", "history", "--json", "--page-size", "1", "--page", "1", "--stack", stack)
    return str(history[0]["startTime"]) if history else ""


def write(binding: Binding, folder: Path) -> None:
    """Beside the plan."""
    (folder / BINDING).write_text(json.dumps(dataclasses.asdict(binding), indent=2) + "\n")


def check(stack: str, built: Path, plan: Path) -> Binding:
    """Refuse, with every reason, a plan that is not of exactly what is there."""
    try:
        planned = Binding(**json.loads((plan / BINDING).read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise Refused(f"{plan / BINDING}: found nothing that says what the plan is of ({error})") from None
    now = dataclasses.asdict(of(stack, built, plan))
    then = dataclasses.asdict(planned)
    reasons = [
        f"  {WHY[key]}: planned {then[key] or 'never'}, found {now[key] or 'never'}"
        for key in WHY
        if then[key] != now[key]
    ]
    if reasons:
        raise Refused("\n".join(["The plan is not applied:", *reasons, "Run the pipeline anew, for a plan that fits."]))
    build.same(built)
    return planned


def applied_with(stack: str, key: str, wanted: str) -> str:
    """A value of the configuration that the commit `wanted` ("" for any) was last applied with. Raises Refused."""
    for one in _applied(stack):
        if wanted in ("", one["environment"].get("git.head")):
            value = (one.get("config") or {}).get(key) or {}
            if value.get("secret") or not value.get("value"):
                raise Refused(f"The last apply of {wanted[:12] or 'any commit'} to {stack} had no {key}.")
            return str(value["value"])
    raise Refused(f"{wanted[:12] or 'Nothing'}: found no successful apply of it to the stack {stack}.")


def _applied(stack: str) -> list[dict[str, Any]]:
    """The updates that succeeded, the newest first."""
    history = run_json("pulumi", "stack", "history", "--json", "--stack", stack)
    return [one for one in history if one["kind"] == "update" and one["result"] == "succeeded"]


def applied_before(stack: str, wanted: str) -> str:
    """When a commit was last applied to the stack. Raises Refused for one that never was: no place to go back to."""
    done = _applied(stack)
    for one in done:
        if one["environment"].get("git.head") == wanted:
            return str(one["endTime"])
    known = {one["environment"].get("git.head", "")[:12]: one["endTime"] for one in reversed(done)}
    there = "; ".join(f"{head} ({when})" for head, when in list(known.items())[-5:])
    raise Refused(
        f"No way back to {wanted[:12]}: found no successful apply of it to the stack {stack}; "
        f"allowed: {there or 'none yet'}. Start the run on one of these commits."
    )
