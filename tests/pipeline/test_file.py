"""Our own azure-pipelines.yml: valid by Azure's schema, in order, and calling what there is."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from analysis.diagrams.pipeline import DIAGRAM
from components.bootstrap.settings import ENVIRONMENTS
from delivery.azure_runner import CONNECTIONS, FILE, load, model
from delivery.azure_runner.here import DIFFERENCES, Here
from delivery.azure_runner.reading import read
from delivery.azure_runner.running import PREDEFINED, TASKS
from delivery.pipeline import stacks
from delivery.pipeline.__main__ import COMMANDS, parser
from local.processes import ROOT

RUNS = [
    {"alternative": alternative, "promoteTo": to, "rollback": rollback}
    for alternative, to, rollback in product(("serverless", "fargate"), ENVIRONMENTS, (False, True))
]
DRIFT = ROOT / "delivery" / "pipeline" / "drift.yml"
REQUEST = ROOT / "delivery" / "pipeline" / "pull-request.yml"
PIPELINES = (FILE, DRIFT, REQUEST)
every = pytest.mark.parametrize("run", RUNS, ids=lambda run: "-".join(map(str, run.values())))


def pipeline(run: Mapping[str, Any]) -> model.Pipeline:
    return model.build(FILE.name, read(FILE, run))


# --- the published schema

UNKNOWN_TO_THE_SCHEMA = ("AWSShellScript@1", "PublishCodeCoverageResults@2")
"""The first is an extension's (AWS Toolkit), of the second the schema knows the name alone: model.py of the
runner has their inputs."""


def known_alone(node: Any) -> Any:
    """The same with a plain step in the place of a task that the schema cannot know."""
    if isinstance(node, dict):
        if node.get("task") in UNKNOWN_TO_THE_SCHEMA:
            return {"script": "x", **{key: value for key, value in node.items() if key not in ("task", "inputs")}}
        return {key: known_alone(value) for key, value in node.items()}
    return [known_alone(one) for one in node] if isinstance(node, list) else node


def by_schema(folder: Path, **pipelines: Any) -> subprocess.CompletedProcess[str]:
    files = []
    for name, content in pipelines.items():
        files.append(folder / f"{name}.yml")
        files[-1].write_text(yaml.safe_dump(known_alone(content), sort_keys=False))
    command = ["-m", "check_jsonschema", "--builtin-schema", "vendor.azure-pipelines", "--regex-variant", "nonunicode"]
    return subprocess.run([sys.executable, *command, *files], capture_output=True, text=True, check=False)


def test_what_azure_makes_of_it_is_valid(tmp_path: Path) -> None:
    made = {
        "all": read(FILE, {"alternative": "fargate", "promoteTo": "prod"}),
        "back": read(FILE, {"promoteTo": "prod", "rollback": True}),
        "drift": read(DRIFT, {}),
        "request": read(REQUEST, {"alternative": "fargate"}),
    }
    done = by_schema(tmp_path, **made)
    assert done.returncode == 0, done.stdout[-2000:]


def test_the_schema_refuses_what_is_wrong(tmp_path: Path) -> None:
    wrong = read(FILE, {})
    (approve,) = (stage for stage in wrong["stages"] if stage["stage"] == "Approve_dev")
    approve["jobs"][0]["steps"][0]["inputs"]["onTimeout"] = "wait"
    done = by_schema(tmp_path, wrong=wrong)
    assert done.returncode == 1
    assert "'wait'" in done.stdout


# --- our own rules


@every
def test_each_run_is_in_order(run: Mapping[str, Any]) -> None:
    found = pipeline(run)
    model.check(found, Here("serverless", "", Path(), CONNECTIONS).groups, CONNECTIONS, PREDEFINED)
    kinds = [stage.name.partition("_")[0] for stage in found.stages]
    environments = 1 if run["rollback"] else ENVIRONMENTS.index(run["promoteTo"]) + 1
    image = ["Image"] if run["alternative"] == "fargate" and not run["rollback"] else []
    assert kinds == ["Build", "Validate", *image, *(["Plan", "Approve", "Apply", "Verify"] * environments)]
    for earlier, later in zip(found.stages, found.stages[1:], strict=False):
        assert earlier.name in later.after  # an environment is planned when the one before it was verified
    assert found.stages[-1].name == f"Verify_{run['promoteTo']}"


@every
def test_the_stacks_are_those_that_are_validated(run: Mapping[str, Any]) -> None:
    planned = [
        re.findall(r"pulumi preview .*--policy-pack delivery/policies .*--stack (\S+)", step.script.replace("\\\n", ""))
        for stage, _, step in pipeline(run).steps()
        if stage.name.startswith("Plan_") and "pulumi preview" in step.script
    ]
    assert [stack for found in planned for stack in found] == stacks.deployed(
        run["alternative"], run["promoteTo"], run["rollback"]
    )


@every
def test_only_apply_comes_with_the_role_that_may_change_things(run: Mapping[str, Any]) -> None:
    for stage, job, step in pipeline(run).steps():
        connection = step.inputs.get("awsCredentials")
        kind, _, environment = stage.name.partition("_")
        if connection:
            role = "build" if kind == "Image" else f"{environment}-{kind.lower()}"
            assert connection == f"confirm-{role}", (stage.name, step.title)
        assert job.environment == (f"confirm-{environment}" if kind == "Apply" else "")


def test_a_person_approves_and_not_the_one_who_started_it() -> None:
    found = pipeline({"promoteTo": "prod"})
    asked = [(stage, job, step) for stage, job, step in found.steps() if step.kind == "ManualValidation@1"]
    assert len(asked) == 3
    for _, job, step in asked:
        assert not job.agent
        assert step.inputs["allowApproversToApproveTheirOwnRuns"] is False
        assert step.inputs["onTimeout"] == "reject"
        assert step.minutes == 1440


def test_results_that_are_missing_fail() -> None:
    published = [step for _, _, step in pipeline({}).steps() if step.kind.startswith(("PublishTest", "PublishCode"))]
    assert len(published) >= 3
    for step in published:
        flags = [value for key, value in step.inputs.items() if key.startswith("fail")]
        assert flags
        assert all(flag is True for flag in flags)


@pytest.mark.parametrize("file", PIPELINES, ids=lambda file: file.name)
def test_each_step_calls_a_command_with_what_it_takes(file: Path) -> None:
    runs: dict[Path, list[dict[str, Any]]] = {
        FILE: [{"alternative": "fargate", "promoteTo": "prod", "rollback": back} for back in (False, True)],
        DRIFT: [{}],
        REQUEST: [{"alternative": "fargate"}],
    }
    called = set()
    for _, _, step in (one for run in runs[file] for one in model.build(file.name, read(file, run)).steps()):
        for line in step.script.replace("\\\n", " ").splitlines():
            words = shlex.split(line)
            if "delivery.pipeline" in words:
                given = parser().parse_args(words[words.index("delivery.pipeline") + 1 :])
                called.add(given.command)
    wanted = {FILE: set(COMMANDS) - {"comment"}, DRIFT: {"cli", "drift"}, REQUEST: {"comment", "plan", "use-image"}}
    assert called >= wanted[file]


# --- who comes to what


def test_nothing_starts_before_azure_was_asked_for_its_gates() -> None:
    build = pipeline({"alternative": "fargate"}).stages[0]
    first, *others = build.jobs
    assert "delivery.pipeline gates" in first.steps[-1].script
    assert first.steps[-1].env == {"SYSTEM_ACCESSTOKEN": "$(System.AccessToken)"}
    ready = {first.name}
    for job in others:
        assert job.after, f"{job.name} waits for nobody"
        assert set(job.after) <= ready
        ready.add(job.name)


def test_a_pull_request_plans_dev_and_nothing_else() -> None:
    found = model.build(REQUEST.name, read(REQUEST, {"alternative": "fargate"}))
    model.check(found, Here("serverless", "", Path(), CONNECTIONS).groups, CONNECTIONS, PREDEFINED)
    assert [stage.name for stage in found.stages] == ["Build", "Validate", "Plan_dev"]
    used = {step.inputs["awsCredentials"] for _, _, step in found.steps() if "awsCredentials" in step.inputs}
    assert used == {"confirm-dev-review"}
    assert not any(job.environment for _, job, _ in found.steps())
    assert {group for stage in found.stages for group in stage.groups} == {"confirm-dev"}


@every
def test_the_main_pipeline_knows_no_pull_requests(run: Mapping[str, Any]) -> None:
    assert read(FILE, run)["pr"] == "none"
    for _, _, step in pipeline(run).steps():
        assert step.inputs.get("awsCredentials") != "confirm-dev-review"
        assert "PullRequest" not in step.condition


@pytest.mark.parametrize("file", PIPELINES, ids=lambda file: file.name)
def test_whoever_starts_a_run_has_no_text_of_his_own_in_it(file: Path) -> None:
    """Parameters are written into scripts as they are, and a shell reads them; here each is one of a few words."""
    for parameter in yaml.safe_load(file.read_text()).get("parameters", ()):
        assert parameter["type"] == "boolean" or parameter.get("values"), f"{parameter['name']} takes any text"


def test_a_choice_of_tests_is_nobodys() -> None:
    for run in RUNS:
        (tests,) = (step for _, _, step in pipeline(run).steps() if step.name == "tests")
        assert re.fullmatch(r'make test WHICH= ARGS="--junitxml=\S+ --cov \S+ --cov-report="', tests.script)
    here = Here("serverless", "", Path(), CONNECTIONS, "tests/domain")
    assert 'ARGS="tests/domain --junitxml' in here.script(tests), "on this machine there is one"


@pytest.mark.parametrize("file", PIPELINES, ids=lambda file: file.name)
def test_no_variable_of_a_group_is_read_by_a_shell(file: Path) -> None:
    """What stands in a library is data: it comes to a step by its environment."""
    machine = Here("serverless", "", Path(), CONNECTIONS)
    run: dict[str, Any] = {"alternative": "fargate"} if file != DRIFT else {}
    if file == FILE:
        run["promoteTo"] = "prod"
    ours = {name for group in machine.groups.values() for name in group}
    assert {"canaryAccount", "imageRepository", "stateBackend"} <= ours
    for stage, _, step in model.build(file.name, read(file, run)).steps():
        assert not ours & set(model.MACRO.findall(step.script)), (stage.name, step.title)


def test_no_secret_and_no_key_is_in_the_files() -> None:
    for file in [FILE, *(ROOT / "delivery" / "pipeline").glob("*.yml")]:
        assert not re.search(r"AKIA|SECRET_ACCESS|password|ACCESS_KEY", file.read_text())


def test_steps_that_only_show_in_a_pull_request_do() -> None:
    steps = model.build(REQUEST.name, read(REQUEST, {})).steps()
    comments = [step for _, _, step in steps if "delivery.pipeline comment" in step.script]
    assert [step.condition for step in comments] == ["and(succeeded(), eq(variables['Build.Reason'], 'PullRequest'))"]
    assert comments[0].env == {"SYSTEM_ACCESSTOKEN": "$(System.AccessToken)"}


def test_the_diagram_is_the_file() -> None:
    """Each stage a box, each dependency an arrow, and no others."""
    stages = pipeline({"promoteTo": "prod", "alternative": "fargate"}).stages
    shown = {node.id for node in DIAGRAM.nodes} - {"commit"}
    assert shown == {stage.name for stage in stages}
    arrows = {(edge.start, edge.end) for edge in DIAGRAM.edges if not edge.outside}
    assert arrows == {(before, stage.name) for stage in stages for before in stage.after}


# --- pins


def test_versions_are_those_of_the_project() -> None:
    variables = pipeline({}).variables
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert f"pulumi=={variables['pulumiVersion']}" in packages
    assert "vmImage: ubuntu-24.04" in FILE.read_text()  # not `ubuntu-latest`


def test_the_tools_are_pinned_with_hashes() -> None:
    folder = ROOT / "delivery" / "pipeline"
    wanted = re.findall(r"^([\w-]+==[\w.]+)$", (folder / "tools.in").read_text(), re.MULTILINE)
    lock = (folder / "tools.lock").read_text()
    pinned = re.findall(r"^([\w.-]+==[\w.]+)[^\n]*\\\n    --hash=sha256:[0-9a-f]{64}", lock, re.MULTILINE)
    assert len(wanted) >= 5
    assert set(wanted) <= set(pinned)
    assert len(pinned) == len(re.findall(r"^[\w.-]+==", lock, re.MULTILINE))


# --- here


def test_what_is_not_as_in_azure_is_listed() -> None:
    machine = Here("fargate", "", Path(), CONNECTIONS)
    steps = [step for _, _, step in pipeline({"alternative": "fargate"}).steps()]
    replaced = {step.name for step in steps if machine.instead(step)}
    assert replaced == {"packages", "pulumi", "tools", "checkov", "image"}
    assert replaced <= DIFFERENCES.keys()
    assert {step.kind for step in steps} <= TASKS.keys() | {"checkout", "script", "AWSShellScript@1"}


def test_a_parameter_that_does_not_exist_is_named() -> None:
    with pytest.raises(Exception, match="parameter alternative: found 'lambda', allowed: serverless, fargate"):
        load("lambda")
