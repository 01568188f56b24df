"""Who may do what, as the recorded program says it: the tables of docs/permissions.md, which `make docs` writes.

A statement that the local AWS sees used is proven there (tests/access): it is granted, it is used, and without it a
test fails. The others are UNSEEN, each with the reason.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from alternatives import ALTERNATIVES
from analysis.graph import ACCOUNT, REGION, ROOT, Record, record
from components import iam

KMS = "only with keys that encrypt, on AWS"
UNSEEN: Mapping[tuple[str, str], str] = {
    # role, statement: why the local AWS does not see it used
    ("*", "Open*"): KMS,
    ("*", "Seal*"): KMS,
    ("*", "SeeTheKey"): KMS,
    ("*", "Trace"): "X-Ray gets traces on AWS alone",
    ("*", "NetworkInterfaces"): "only in a real VPC",
    ("flow-logs", "*"): "only in a real VPC",
    ("state-machine", "DeliverLogs"): "the emulator delivers no logs of state machines",
    ("state-machine", "WatchBatches"): "the emulator runs a Map's children itself",
    ("state-machine", "RedriveBatches"): "used when an operator redrives a failed run",
    ("backup", "*"): "AWS Backup copies on AWS alone",
    ("experiment-*", "*"): "FIS strikes on AWS alone; its local twins need no role",
    ("publisher", "OwnLogin"): "the Data API reads it for the caller, on AWS",
    ("slack", "*"): "Amazon Q in chat is on AWS alone",
    ("desk-*", "OwnLogin"): "the Data API reads it for the caller, on AWS",
}


@dataclass(frozen=True)
class Grant:
    """One statement of one role."""

    role: str
    taken_by: str
    statement: dict[str, Any]

    @property
    def sid(self) -> str:
        return str(self.statement["Sid"])

    @property
    def unseen(self) -> str:
        """Why the local AWS does not see it used; "" where it does."""
        return unseen(self.role, self.sid)


def unseen(role: str, sid: str) -> str:
    """Why the local AWS does not see that statement used; "" where it does."""
    found = (why for (who, what), why in UNSEEN.items() if fnmatchcase(role, who) and fnmatchcase(sid, what))
    return next(found, "")


def grants(of: Record) -> Iterator[Grant]:
    """Every statement of every role, and of the operators' policy, in the order of their names."""
    takers = {
        one.name: json.loads(one.inputs["assumeRolePolicy"])["Statement"][0]["Principal"].get("Service", "worker-task")
        for one in of.all("aws:iam/role:Role")
    }
    policies = {one.name: (one, takers[one.name]) for one in of.all("aws:iam/rolePolicy:RolePolicy")}
    policies |= {one.name: (one, "people") for one in of.all("aws:iam/policy:Policy")}
    for name, (policy, taker) in sorted(policies.items()):
        for statement in json.loads(policy.inputs["policy"])["Statement"]:
            yield Grant(name, taker.removesuffix(".amazonaws.com"), statement)


@cache
def recorded(alternative: str) -> tuple[Record, ...]:
    """The alternative with all its roles."""
    return tuple(record(alternative, **changes) for changes in ALTERNATIVES[alternative].stacks().permissions)


def rows(alternative: str) -> Iterator[tuple[str, ...]]:
    """One per statement; what several roles have alike is one row."""
    why = reasons()
    merged: dict[str, list[Grant]] = {}
    for grant in (grant for one in recorded(alternative) for grant in grants(one)):
        merged.setdefault(json.dumps([grant.taken_by, grant.statement, grant.unseen]), []).append(grant)
    for alike in merged.values():
        statement = alike[0].statement
        resources = [
            f"`*`: {why[alike[0].sid]}" if resource == "*" else f"`{short(resource)}`"
            for resource in statement["Resource"]
        ]
        yield (
            ", ".join(dict.fromkeys(f"`{grant.role}`" for grant in alike)),
            alike[0].taken_by,
            ("never " if statement["Effect"] == "Deny" else "")
            + ", ".join(f"`{action}`" for action in statement["Action"]),
            ", ".join(resources),
            conditions(statement.get("Condition", {})),
            alike[0].unseen or "seen",
        )


def short(arn: str) -> str:
    """An ARN without partition, region and account where they are ours, and without the digits that Pulumi adds."""
    text = (
        arn.replace(f":{REGION}:{ACCOUNT}:", ":")
        .replace(f"::{ACCOUNT}:", ":")
        .removeprefix("arn:aws:")
        .replace("-1234567", "")
    )
    return text.replace(":::", ":").replace("::", ":")


def conditions(given: Mapping[str, Mapping[str, Any]]) -> str:
    """In words."""
    parts = []
    for keys in given.values():
        for key, value in keys.items():
            values = value if isinstance(value, list) else [value]
            parts.append(f"`{key}` {', '.join(f'`{short(str(one))}`' for one in values)}")
    return "; ".join(parts)


def reasons() -> dict[str, str]:
    """Statement -> the reason that stands beside its `*` in the code."""
    found = {iam.TRACE.sid: iam.TRACE.reason}
    for path in sorted((Path(ROOT) / "components").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                given = {key.arg: key.value.value for key in node.keywords if isinstance(key.value, ast.Constant)}
                if given.get("sid") and given.get("reason"):
                    found.setdefault(str(given["sid"]), str(given["reason"]))
    return found


HEAD = ("role", "taken by", "may", "on", "only with", "local AWS")
