"""A plan that `pulumi preview --save-plan` wrote: what it will do, in words; and made fit to be applied.

The plan file alone says what will be, so what a person approves is what `pulumi up --plan` is held to. It holds whole
properties: which variable of an environment is another, the state of before says.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.protection import HOLDERS
from delivery.pipeline.errors import Refused
from delivery.pipeline.shell import run_json

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""How the engine writes a value that is known only once it is made."""

SIGNATURE = "4dabf18193072939515e22adb298388d"
REFERENCE = "5cf8f73096256a8f31e491e813e4eb8e"
"""How the engine marks a reference to a resource."""

STACK = "pulumi:pulumi:Stack"

DATA = {
    **HOLDERS,
    "aws:ecr/repository:Repository": "images",
    "aws:s3/bucket:Bucket": "objects",
    "aws:sqs/queue:Queue": "messages",
}
"""Types whose end loses something that the program cannot make again, and what."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a plan does to one resource."""

    what: str
    """created, changed, replaced or deleted."""
    type: str
    name: str
    keys: tuple[str, ...] = ()
    """The properties that differ, of one that is changed or replaced."""

    @property
    def loses(self) -> str:
        """The data that is gone afterwards; "" for none."""
        return DATA.get(self.type, "") if self.what in ("replaced", "deleted") else ""


def read(file: Path) -> dict[str, Any]:
    """The plan. Raises Refused where the file is none."""
    try:
        plan: dict[str, Any] = json.loads(file.read_text())
        plan["resourcePlans"], plan["manifest"]["version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused(f"{file}: found no plan of `pulumi preview --save-plan` ({error})") from None
    return plan


def before(stack: str) -> dict[str, Mapping[str, Any]]:
    """What each resource was asked for, by its URN, as the state has it; secrets are sealed in it."""
    exported = run_json("pulumi", "stack", "export", "--stack", stack)
    resources = (exported.get("deployment") or {}).get("resources") or ()
    return {one["urn"]: one.get("inputs") or {} for one in resources if not one.get("delete")}


def changes(plan: Mapping[str, Any], was: Mapping[str, Mapping[str, Any]] | None = None) -> list[Change]:
    """All that is not to stay as it is; without components, which are made of the others, and providers.

    With what `was`, the variables of environments are named one by one: their names, never their values.
    """
    found = []
    for urn, resource in plan["resourcePlans"].items():
        what = _what(resource["steps"])
        types, name = urn.split("::")[2], urn.split("::", 3)[3]
        kind = types.rpartition("$")[2]
        goal = resource.get("goal")
        custom = goal["custom"] if goal else kind.startswith(("aws:", "pulumi-python:"))
        if what and custom and not kind.startswith("pulumi:"):
            found.append(Change(what, kind, name, _keys(goal, (was or {}).get(urn, {})) if goal else ()))
    return sorted(found, key=lambda change: (change.what, change.type, change.name))


def _what(steps: list[str]) -> str:
    """What an operation comes to. A replacement is several, in an order that depends on which is done first."""
    if "replace" in steps or "create-replacement" in steps:
        return "replaced"
    words = {"create": "created", "import": "created", "update": "changed", "delete": "deleted"}
    return next((words[step] for step in steps if step in words), "")


def _keys(goal: Mapping[str, Any], was: Mapping[str, Any]) -> tuple[str, ...]:
    diff = goal.get("inputDiff") or {}
    keys = {*diff.get("adds", ()), *diff.get("updates", ()), *diff.get("deletes", ())}
    updates = diff.get("updates") or {}
    named = {key: _variables(was.get(key), updates.get(key)) for key in keys}
    return tuple(sorted(f"{key}: {name}" for key in keys for name in named[key]) + sorted(keys - _told(named)))


def _told(named: Mapping[str, list[str]]) -> set[str]:
    return {key for key, names in named.items() if names}


def _variables(old: Any, new: Any) -> list[str]:
    """The names of the variables that differ between two environments: of a function, or of a task's containers, which
    are a text in JSON. Nothing where they are none, or where more than variables differs."""
    first, second = _environments(old), _environments(new)
    if first is None or second is None or first[1] != second[1]:
        return []
    names = first[0].keys() | second[0].keys()
    return sorted(name for name in names if first[0].get(name) != second[0].get(name))


def _environments(value: Any) -> tuple[dict[str, Any], Any] | None:
    """The variables by name, with their container's, and all the rest; None for what is no environment."""
    if isinstance(value, dict) and isinstance(value.get("variables"), dict):
        return dict(value["variables"]), {key: one for key, one in value.items() if key != "variables"}
    try:
        containers = json.loads(value) if isinstance(value, str) else None
        if not isinstance(containers, list):
            return None
        variables = {
            f"{one['name']} {each['name']}": each["value"] for one in containers for each in one.get("environment", ())
        }
        return variables, [{key: each for key, each in one.items() if key != "environment"} for one in containers]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def summary(stack: str, commit: str, found: list[Change], image: str = "") -> str:
    """The changes as Markdown: what ends for good comes first, and is told in capitals."""
    runs = f" Image `{image}`." if image else ""
    return "\n".join([f"# Plan for {stack}", "", f"Commit `{commit}`.{runs}", "", *_lines(found), ""])


def _lines(found: list[Change]) -> Iterator[str]:
    if not found:
        yield "Nothing changes."
        return
    counts = {word: sum(change.what == word for change in found) for word in _ORDER}
    yield ", ".join(f"**{count} {word}**" for word, count in counts.items() if count) + "."
    if losses := [change for change in found if change.loses]:
        yield ""
        yield "## DATA WILL BE LOST"
        yield ""
        for change in losses:
            yield f"- **{change.what.upper()}**: `{change.type}` **{change.name}** ({change.loses})"
        yield ""
        yield "Approve only if that is what you want and a backup is at hand."
    for word in _ORDER:
        if some := [change for change in found if change.what == word]:
            yield ""
            yield f"## {word.capitalize()}" if word in ("created", "changed") else f"## {word.upper()}"
            yield ""
            yield "| type | name | because of |" if word in ("changed", "replaced") else "| type | name |"
            yield "| --- | --- | --- |" if word in ("changed", "replaced") else "| --- | --- |"
            for change in some:
                because = (
                    f" {', '.join(f'`{key}`' for key in change.keys)} |" if word in ("changed", "replaced") else ""
                )
                yield f"| `{change.type}` | {change.name} |{because}"


_ORDER = ("deleted", "replaced", "changed", "created")


def fit(plan: dict[str, Any]) -> list[str]:
    """Let `pulumi up --plan` accept outputs of components that hold resources which do not exist yet; say which.

    The engine compares such an output with what it turns out to be, and refuses it: a reference's id is unknown in the
    preview, and the comparison knows unknown values, but not references that hold one (pulumi/pulumi#16681). So the
    first deployment of any VPC by awsx could not be planned. The stack's own outputs are let go too: one that comes
    out otherwise (a port that was taken meanwhile) would end an update that is done, and without a word. What a
    component or stack puts out is no operation, and changes nothing in AWS: operations and inputs stay binding.
    """
    loosened = []
    for urn, resource in plan["resourcePlans"].items():
        goal = resource.get("goal") or {}
        if goal.get("custom", True):
            continue
        for kind in ("adds", "updates"):
            outputs = (goal.get("outputDiff") or {}).get(kind) or {}
            for key, value in outputs.items():
                if _unknown_reference(value) or goal.get("type") == STACK:
                    outputs[key] = UNKNOWN
                    loosened.append(f"{urn.rpartition('::')[2]}.{key}")
    return sorted(loosened)


def text(plan: Mapping[str, Any]) -> str:
    """As the engine writes it."""
    return json.dumps(plan, indent=4) + "\n"


def _unknown_reference(value: Any) -> bool:
    if isinstance(value, dict):
        if value.get(SIGNATURE) == REFERENCE:
            return value.get("id") in ("", UNKNOWN)
        return any(_unknown_reference(item) for item in value.values())
    return isinstance(value, list) and any(_unknown_reference(item) for item in value)
