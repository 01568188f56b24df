"""Is that in Azure which no file of this repository can hold? Branch control and approvals, asked of Azure itself.

A pull request runs its own copy of every file here, so what keeps it from the roles of AWS are checks on the service
connections: Azure makes them before it hands out a credential, whatever the file says. This step finds the one that was
forgotten, or taken away, before a run does anything else. It holds nobody off by itself: who can change the file can
take the step out, and then stands before the checks.
https://learn.microsoft.com/azure/devops/pipelines/process/approvals
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from alternatives import ALTERNATIVES
from components.bootstrap.settings import ENVIRONMENTS, REVIEW, REVIEWED, ROLES, connection, connections
from delivery.pipeline.azure import PREVIEW, Project
from delivery.pipeline.errors import Refused

BRANCH = "refs/heads/main"
APPROVAL = "8c6f20a7-a545-4486-9777-f762fafe0d4d"
LOCK = "2ef31ad6-baa0-403a-8b45-2cbc9b4e5563"
BRANCH_CONTROL = "86b05a0c-73e6-4f7d-b3cf-e38f3b39a75b"
"""How Azure names the kinds of checks, everywhere alike. The last one is a definition that a check refers to."""

ADD = "(... > Approvals and checks > +)"


@dataclass(frozen=True, slots=True)
class Gate:
    """What must stand before one service connection or environment."""

    kind: str
    """`endpoint` or `environment`, as the API calls it."""
    name: str
    branch: bool = False
    """Only main, and only while main is protected."""
    approval: bool = False
    """A person, and not the one who started the run."""
    lock: bool = False
    """One run at a time."""

    def __str__(self) -> str:
        return f"{'service connection' if self.kind == 'endpoint' else 'environment'} {self.name}"


def gates() -> tuple[Gate, ...]:
    """All of them. The pull requests' own connection is open to every branch, and its role reads dev alone."""
    open_to_all = connection(REVIEWED, REVIEW)
    reading = {connection(environment, "plan") for environment in ENVIRONMENTS}
    return (
        *(
            Gate("endpoint", name, branch=name != open_to_all, approval=name not in {open_to_all, *reading})
            for name in connections()
        ),
        *(Gate("environment", f"confirm-{one}", approval=True, lock=True) for one in ENVIRONMENTS),
    )


def used(alternative: str, environments: Sequence[str], rollback: bool) -> set[str]:
    """What a run comes to: these gates must be there. The others must be shut, if they are there.

    Raises:
        Refused: there is no such alternative.
    """
    if alternative not in ALTERNATIVES:
        raise Refused(f"alternative {alternative}: there is none of that name; allowed: {', '.join(ALTERNATIVES)}")
    build = {connection("", "build")} if ALTERNATIVES[alternative].has_image and not rollback else set()
    own = {connection(environment, role) for environment in environments for role in ROLES}
    return build | own | {f"confirm-{environment}" for environment in environments}


def check(needed: set[str], environment: Mapping[str, str]) -> list[str]:
    """The gates that were found shut. Raises Refused with everything that is open, and how to shut it."""
    project = Project.of(environment)
    own = environment.get("SYSTEM_DEFINITIONID", "")
    problems = [*_run(environment), *_settings(project)]
    found: list[str] = []
    there = {gate.name: _id(project, gate) for gate in gates()}
    for gate in gates():
        if (id_ := there[gate.name]) is None:
            if gate.name in needed:
                problems.append(
                    f"{gate}: does not exist, or the build service may not see it (give it the role Reader there)"
                )
            continue
        problems += (wrong := [f"{gate}: {one}" for one in _open(project, gate, id_, own)])
        found += [] if wrong else [str(gate)]
    if problems:
        raise Refused(
            "\n  ".join(["Nothing is started: a change that nobody has seen could reach AWS.", *problems])
            + "\nSee docs/pipeline.md, steps 5 to 9."
        )
    return found


def _run(environment: Mapping[str, str]) -> Iterator[str]:
    branch, reason = environment.get("BUILD_SOURCEBRANCH", ""), environment.get("BUILD_REASON", "")
    if branch != BRANCH or reason == "PullRequest":
        yield (
            f"this run: found {branch or 'no branch'} ({reason or 'no reason'}); allowed: {BRANCH}. Pull requests have "
            "delivery/pipeline/pull-request.yml"
        )
    if not environment.get("SYSTEM_DEFINITIONID"):
        yield "this run: does not say which pipeline it is (SYSTEM_DEFINITIONID), so none can be told from the others"


def _settings(project: Project) -> Iterator[str]:
    if project.get("build/generalsettings").get("enforceSettableVar") is not True:
        yield (
            "the project: whoever starts a run may set any variable, PYTEST_ADDOPTS among them, which skips tests; "
            "switch on Project settings > Pipelines > Settings > Limit variables that can be set at queue time"
        )


def _id(project: Project, gate: Gate) -> str | None:
    if gate.kind == "endpoint":
        there = project.listed("serviceendpoint/endpoints", endpointNames=gate.name)
    else:
        there = project.listed("distributedtask/environments", name=gate.name)
    return next((str(one["id"]) for one in there if one["name"] == gate.name), None)


def _open(project: Project, gate: Gate, id_: str, own: str) -> Iterator[str]:
    listed = project.listed(
        "pipelines/checks/configurations",
        PREVIEW,
        resourceType=gate.kind,
        resourceId=id_,
        **{"$expand": "settings"},
    )
    checks = [one for one in listed if not one.get("isDisabled")]
    if gate.branch and (why := _branch(checks)) is not None:
        yield f"{why}; needed: Branch control for {BRANCH} alone, with Verify branch protection {ADD}"
    if gate.approval and (why := _approval(checks)) is not None:
        yield f"{why}; needed: Approvals, by others than who started the run {ADD}"
    if gate.lock and LOCK not in {_kind(one) for one in checks}:
        yield f"found no exclusive lock; needed: one {ADD}"
    permitted = project.get(f"pipelines/pipelinepermissions/{gate.kind}/{id_}", PREVIEW)
    if (permitted.get("allPipelines") or {}).get("authorized"):
        yield "every pipeline of the project may use it; needed: the pipelines that do, by name (... > Security)"
    if gate.kind == "endpoint" and gate.approval:
        named = {str(one["id"]) for one in permitted.get("pipelines") or () if one.get("authorized")}
        if others := sorted(named - {own}):
            yield (
                f"pipeline {', '.join(others)} may use it too (the number in its address, definitionId); needed: this "
                f"one alone, {own}; take the others away (... > Security)"
            )


def _kind(check: Mapping[str, Any]) -> str:
    return str((check.get("type") or {}).get("id", "")).lower()


def _branch(checks: Sequence[Mapping[str, Any]]) -> str | None:
    """What is wrong with the control of branches; None where one is as it must be, for all checks must pass."""
    why = "found no branch control"
    for one in checks:
        settings = one.get("settings") or {}
        if str((settings.get("definitionRef") or {}).get("id", "")).lower() != BRANCH_CONTROL:
            continue
        inputs = settings.get("inputs") or {}
        branches = [name.strip() for name in str(inputs.get("allowedBranches", "")).split(",")]
        if branches != [BRANCH]:
            why = f"found branch control for {', '.join(branches) or 'no branch'}"
        elif str(inputs.get("ensureProtectionOfBranch", "")).lower() != "true":
            why = "found branch control that takes an unprotected branch"
        elif str(inputs.get("allowUnknownStatusBranch", "")).lower() == "true":
            why = "found branch control that takes a branch whose protection is unknown"
        else:
            return None
    return why


def _approval(checks: Sequence[Mapping[str, Any]]) -> str | None:
    """What is wrong with the approvals; None where one is as it must be."""
    why = "found no approval"
    for one in checks:
        if _kind(one) != APPROVAL:
            continue
        settings = one.get("settings") or {}
        if not settings.get("approvers"):
            why = "found an approval by nobody"
        elif settings.get("requesterCannotBeApprover") is not True:
            why = "found an approval that whoever started the run may give"
        else:
            return None
    return why
