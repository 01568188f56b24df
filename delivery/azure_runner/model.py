"""A pipeline as it will run: stages, jobs, steps. Built from the expanded file, and checked before anything runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from local.errors import LocalError

MACRO = re.compile(r"\$\(([A-Za-z_][\w.]*)\)")
"""`$(name)`. Azure leaves an unknown one as it is, and a shell would run it as a command."""

INPUTS: Mapping[str, frozenset[str]] = {
    "AWSShellScript@1": frozenset({"awsCredentials", "regionName", "scriptType", "inlineScript"}),
    "Cache@2": frozenset({"key", "path"}),
    "DownloadPipelineArtifact@2": frozenset({"artifactName", "targetPath"}),
    "ManualValidation@1": frozenset(
        {"notifyUsers", "approvers", "allowApproversToApproveTheirOwnRuns", "instructions", "onTimeout"}
    ),
    "PublishCodeCoverageResults@2": frozenset({"summaryFileLocation", "failIfCoverageEmpty"}),
    "PublishPipelineArtifact@1": frozenset({"targetPath", "artifact"}),
    "PublishTestResults@2": frozenset(
        {
            *("testResultsFormat", "testResultsFiles", "searchFolder", "testRunTitle"),
            *("failTaskOnFailedTests", "failTaskOnMissingResultsFile"),
        }
    ),
    "UsePythonVersion@0": frozenset({"versionSpec"}),
}
"""The tasks that run here, and their inputs: all of these are needed."""

KEYS: Mapping[str, frozenset[str]] = {
    "pipeline": frozenset({"name", "trigger", "pr", "schedules", "lockBehavior", "variables", "pool", "stages"}),
    "stage": frozenset({"stage", "displayName", "dependsOn", "condition", "variables", "jobs"}),
    "job": frozenset({"job", "displayName", "dependsOn", "condition", "pool", "timeoutInMinutes", "steps"}),
    "deployment": frozenset({"deployment", "displayName", "dependsOn", "timeoutInMinutes", "environment", "strategy"}),
    "step": frozenset({"name", "displayName", "condition", "env", "timeoutInMinutes"}),
}

SUCCEEDED = "succeeded()"


@dataclass(frozen=True, slots=True)
class Step:
    kind: str
    """`checkout`, `script`, or a task."""
    name: str
    """What delivery/azure_runner/here.py knows it by; "" for none."""
    title: str
    script: str = ""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    condition: str = SUCCEEDED
    minutes: float | None = None


@dataclass(frozen=True, slots=True)
class Job:
    name: str
    title: str
    steps: Sequence[Step]
    after: Sequence[str] = ()
    condition: str = SUCCEEDED
    environment: str = ""
    """Of a deployment."""
    agent: bool = True
    """False: `pool: server`, without an agent."""


@dataclass(frozen=True, slots=True)
class Stage:
    name: str
    title: str
    jobs: Sequence[Job]
    after: Sequence[str]
    condition: str
    groups: Sequence[str]
    """Its variable groups."""
    variables: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Pipeline:
    file: str
    stages: Sequence[Stage]
    groups: Sequence[str]
    variables: Mapping[str, str]

    def steps(self) -> Iterator[tuple[Stage, Job, Step]]:
        for stage in self.stages:
            for job in stage.jobs:
                for step in job.steps:
                    yield stage, job, step


def build(file: str, content: Mapping[str, Any]) -> Pipeline:
    """Raises LocalError with every mistake: an unknown task or key, an input or a stage that is missing."""
    mistakes: list[str] = []

    def known(kind: str, where: str, found: Mapping[str, Any], more: Sequence[str] = ()) -> None:
        for key in sorted(set(found) - KEYS[kind] - set(more)):
            mistakes.append(
                f"{where}: the key {key!r} is unknown here; known: {', '.join(sorted({*KEYS[kind], *more}))}"
            )

    known("pipeline", "pipeline", content)
    groups, variables = _variables(content.get("variables") or ())
    stages: list[Stage] = []
    for entry in content.get("stages") or ():
        name = str(entry.get("stage", ""))
        known("stage", f"stage {name}", entry)
        own_groups, own = _variables(entry.get("variables") or ())
        previous = [stages[-1].name] if stages else []
        after = _names(entry["dependsOn"]) if "dependsOn" in entry else previous
        for other in after:
            if other not in {stage.name for stage in stages}:
                mistakes.append(f"stage {name}: depends on {other}, which is no stage before it")
        jobs: list[Job] = []
        for one in entry.get("jobs") or ():
            job = _job(f"stage {name}", one, known, mistakes)
            for other in set(job.after) - {job.name for job in jobs}:
                mistakes.append(f"stage {name}, job {job.name}: depends on {other}, which is no job before it")
            jobs.append(job)
        condition = str(entry.get("condition", SUCCEEDED))
        stages.append(Stage(name, str(entry.get("displayName", name)), jobs, after, condition, own_groups, own))
    if not stages:
        mistakes.append("pipeline: found no stages")
    _raise(file, mistakes)
    return Pipeline(file, stages, groups, variables)


def _job(where: str, entry: Mapping[str, Any], known: Any, mistakes: list[str]) -> Job:
    deployed = "deployment" in entry
    name = str(entry.get("deployment" if deployed else "job", ""))
    where = f"{where}, job {name}"
    known("deployment" if deployed else "job", where, entry)
    steps = entry.get("steps") or ()
    if deployed:
        try:
            steps = entry["strategy"]["runOnce"]["deploy"]["steps"]
        except (KeyError, TypeError):
            mistakes.append(f"{where}: the strategy is unknown here; known: runOnce, deploy, steps")
        if not entry.get("environment"):
            mistakes.append(f"{where}: a deployment without an environment has no approvals and no lock")
    made = [_step(f"{where}, step {number}", one, known, mistakes) for number, one in enumerate(steps, 1)]
    return Job(
        name=name,
        title=str(entry.get("displayName", name)),
        steps=[step for step in made if step],
        after=_names(entry.get("dependsOn") or ()),
        condition=str(entry.get("condition", SUCCEEDED)),
        environment=str(entry.get("environment", "")),
        agent=entry.get("pool") != "server",
    )


def _step(where: str, entry: Mapping[str, Any], known: Any, mistakes: list[str]) -> Step | None:
    minutes = entry.get("timeoutInMinutes")
    common: dict[str, Any] = {
        "name": str(entry.get("name", "")),
        "env": {key: str(value) for key, value in (entry.get("env") or {}).items()},
        "condition": str(entry.get("condition", SUCCEEDED)),
        "minutes": float(minutes) if minutes is not None else None,
    }
    title = str(entry.get("displayName", entry.get("name", "")))
    if "checkout" in entry:
        known("step", where, entry, ["checkout", "fetchDepth", "clean"])
        if entry["checkout"] != "self":
            mistakes.append(f"{where}: checkout {entry['checkout']!r} is unknown here; known: self")
        return Step("checkout", title=title or "Checkout", **common)
    if "script" in entry:
        known("step", where, entry, ["script"])
        return Step("script", title=title or "Script", script=str(entry["script"]), **common)
    task = str(entry.get("task", ""))
    if task not in INPUTS:
        found = f"the task {task}" if task else f"a step of {', '.join(map(str, entry))}"
        mistakes.append(f"{where}: {found} is unknown here; known: checkout, script, {', '.join(INPUTS)}")
        return None
    known("step", where, entry, ["task", "inputs"])
    inputs = entry.get("inputs") or {}
    for key in sorted(INPUTS[task] - set(inputs)):
        what = "the service connection (awsCredentials)" if key == "awsCredentials" else f"the input {key}"
        mistakes.append(f"{where}: {task} lacks {what}")
    for key in sorted(set(inputs) - INPUTS[task]):
        mistakes.append(f"{where}: {task}: the input {key!r} is unknown here; known: {', '.join(sorted(INPUTS[task]))}")
    return Step(task, title=title or task, inputs=inputs, script=str(inputs.get("inlineScript", "")), **common)


def _variables(entries: Sequence[Mapping[str, Any]]) -> tuple[list[str], dict[str, str]]:
    groups = [str(one["group"]) for one in entries if "group" in one]
    return groups, {str(one["name"]): str(one["value"]) for one in entries if "name" in one}


def _names(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(one) for one in value]


def _raise(file: str, mistakes: Sequence[str]) -> None:
    if mistakes:
        raise LocalError("\n  ".join([f"{file}: nothing was run:", *mistakes]))


# --- what must hold between the parts


def check(
    pipeline: Pipeline, groups: Mapping[str, Mapping[str, str]], connections: Sequence[str], predefined: Sequence[str]
) -> None:
    """Raises LocalError with every variable, group and service connection that does not exist, and where changes could
    be made that nobody planned or approved."""
    mistakes = []
    for stage, job, step in pipeline.steps():
        where = f"stage {stage.name}, job {job.name}, {step.title!r}"
        there = {**pipeline.variables, **stage.variables}
        for group in [*pipeline.groups, *stage.groups]:
            if group not in groups:
                mistakes.append(
                    f"stage {stage.name}: the variable group {group} does not exist; known: {', '.join(groups)}"
                )
            there |= groups.get(group, {})
        for name in sorted({name for text in _texts(step) for name in MACRO.findall(text)}):
            if name not in there and name not in predefined:
                mistakes.append(f"{where}: the variable $({name}) is defined nowhere")
        connection = step.inputs.get("awsCredentials")
        if connection is not None and connection not in connections:
            known = ", ".join(connections)
            mistakes.append(f"{where}: the service connection {connection!r} does not exist; known: {known}")
    mistakes += _order(pipeline)
    _raise(pipeline.file, list(dict.fromkeys(mistakes)))


def _texts(step: Step) -> Iterator[str]:
    yield step.script
    yield from step.env.values()
    yield from (value for value in step.inputs.values() if isinstance(value, str))


ORDER = ("Build", "Validate", "Plan", "Approve", "Apply", "Verify")
"""Stages by the first word of their names: each comes after one of the kind before it."""


def _order(pipeline: Pipeline) -> Iterator[str]:
    """A stage that applies comes after one where a person approves, that one after one that plans, and so on."""
    stages = {stage.name: stage for stage in pipeline.stages}

    def before(name: str) -> set[str]:
        return {kind for one in stages[name].after for kind in ({one.partition("_")[0]} | before(one))}

    for stage in pipeline.stages:
        kind = stage.name.partition("_")[0]
        if kind in ORDER and kind != ORDER[0]:
            wanted = ORDER[ORDER.index(kind) - 1]
            direct = {one.partition("_")[0] for one in stage.after}
            if wanted not in (direct if kind in ("Approve", "Apply", "Verify") else before(stage.name)):
                yield f"stage {stage.name}: is out of order: it must come after a stage {wanted}"
        if kind == "Approve" and not any(s.kind == "ManualValidation@1" for job in stage.jobs for s in job.steps):
            yield f"stage {stage.name}: asks nobody; it needs a step ManualValidation@1 in a job with `pool: server`"
        for job in stage.jobs:
            for step in job.steps:
                if step.kind == "ManualValidation@1" and job.agent:
                    yield f"stage {stage.name}, job {job.name}: ManualValidation@1 needs `pool: server`"
                if re.search(r"\bpulumi up\b", step.script) and (kind != "Apply" or not job.environment):
                    yield f"stage {stage.name}, job {job.name}: `pulumi up` belongs into a deployment of a stage Apply"
