"""The steps, in a clone of their own, with a stand-in for `pulumi`: what each refuses, and why."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from components import artifact
from delivery.pipeline import comment, drift, shell, verify
from delivery.pipeline.__main__ import main
from delivery.pipeline.errors import Refused
from local.processes import ROOT

PULUMI = """#!/bin/sh
case "$1 $2" in
  "version ") cat {folder}/version ;;
  "stack history") cat {folder}/history ;;
  "stack export") echo '{{"deployment": {{}}}}' ;;
  "stack output") cat {folder}/outputs ;;
  "refresh --preview-only") cat {folder}/refresh; exit "$(cat {folder}/code)" ;;
  *) echo "unexpected: $*" >&2; exit 9 ;;
esac
"""


class Clone:
    """A repository with what the steps read, and a `pulumi` that answers what a test wants."""

    def __init__(self, folder: Path) -> None:
        self.root, self.built, self.plan = folder / "clone", folder / "built", folder / "planned"
        self._answers = folder / "pulumi"
        for made in (self.root, self.built, self.plan, self._answers):
            made.mkdir()
        for name in ("pyproject.toml", "Pulumi.serverless.yaml"):
            shutil.copy(ROOT / name, self.root)
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit()
        binary = folder / "bin" / "pulumi"
        binary.parent.mkdir()
        binary.write_text(PULUMI.format(folder=self._answers))
        binary.chmod(0o755)
        self.bin = binary.parent
        self.answer(version="v3.259.0", history="[]", outputs="{}", refresh="{}", code="0")
        (self.plan / "plan.json").write_text(json.dumps({"manifest": {"version": "3.259.0"}, "resourcePlans": {}}))

    def git(self, *arguments: str) -> None:
        who = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *who, *arguments], cwd=self.root, check=True, capture_output=True)

    def commit(self) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "A commit")
        return subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=self.root, check=True, capture_output=True, text=True
        ).stdout.strip()

    def answer(self, **answers: str) -> None:
        for name, text in answers.items():
            (self._answers / name).write_text(text)

    def step(self, name: str, stack: str = "serverless") -> int:
        where = {"build": ["--build", str(self.built)], "rollback": ["--stack", stack]}
        every = ["--stack", stack, "--build", str(self.built), "--plan", str(self.plan)]
        return main([name, *where.get(name, every)])

    def configure(self, image: str) -> None:
        with (self.root / "Pulumi.serverless.yaml").open("a") as file:
            file.write(f"  confirm-transactions:imageDigest: {image}\n")

    def planned(self) -> None:
        assert self.step("build") == 0
        assert self.step("plan") == 0


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clone:
    made = Clone(tmp_path)
    monkeypatch.setattr(shell, "ROOT", made.root)
    monkeypatch.setenv("PATH", str(made.bin), prepend=":")
    monkeypatch.delenv("TF_BUILD", raising=False)
    return made


# --- Build


def test_two_builds_are_the_same_bytes(clone: Clone, tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert main(["build", "--build", str(tmp_path / name)]) == 0
    made = [{file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in ("a", "b")]
    assert made[0] == made[1]
    assert set(made[0]) == {"workers.zip", "image.tar", "manifest.json"}


def test_the_images_context_is_what_its_tag_counts_from_any_folder(tmp_path: Path) -> None:
    first = artifact.build_context(tmp_path / "a.tar")
    moved = shutil.copytree(ROOT / "workers", tmp_path / "workers", ignore=shutil.ignore_patterns("__pycache__"))
    (moved / "notes.txt").touch()
    for file in moved.rglob("*.py"):
        file.chmod(0o755)
    assert artifact.build_context(tmp_path / "b.tar", moved).read_bytes() == first.read_bytes()
    listed = subprocess.run(["tar", "-tf", first], capture_output=True, text=True, check=True).stdout.splitlines()
    assert {"Dockerfile", "requirements.lock", "service/__main__.py", "migrations/0001_transactions.sql"} <= set(listed)
    assert {Path(name).suffix for name in listed} == {"", ".lock", ".py", ".sql"}
    (moved / "config.py").write_text("x = 1\n")
    assert artifact.build_context(tmp_path / "b.tar", moved).read_bytes() != first.read_bytes()


# --- Plan and Apply


def test_a_plan_of_what_is_there_is_accepted(clone: Clone, capsys: pytest.CaptureFixture[str]) -> None:
    clone.planned()
    assert "Nothing changes." in (clone.plan / "summary.md").read_text()
    assert clone.step("check") == 0
    assert "is of this stack, commit" in capsys.readouterr().out


def other_commit(clone: Clone) -> None:
    clone.commit()


def other_version(clone: Clone) -> None:
    file = clone.root / "pyproject.toml"
    file.write_text(file.read_text().replace('version = "0.', 'version = "9.', 1))
    clone.git("commit", "--quiet", "--all", "--message", "Release")


def other_configuration(clone: Clone) -> None:
    with (clone.root / "Pulumi.serverless.yaml").open("a") as file:
        file.write("  confirm-transactions:batchSize: 7\n")


def other_plan(clone: Clone) -> None:
    (clone.plan / "plan.json").write_text("{}")


def other_artifact(clone: Clone) -> None:
    manifest = clone.built / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"imageTag": "', '"imageTag": "x'))


CHANGES = [
    (other_commit, "the plan is of another commit: planned "),
    (other_version, "the plan is of another version of the program: planned 0."),
    (other_configuration, "the stack's configuration is not that of the plan"),
    (other_plan, "the plan file is not the one that was approved"),
    (other_artifact, "the artifact is not the one that was planned with"),
    (lambda clone: clone.answer(version="v3.260.0"), "by another version of Pulumi: planned v3.259.0, found v3.260.0"),
    (
        lambda clone: clone.answer(history='[{"startTime": "2026-01-02T03:04:05.000Z"}]'),
        "the stack has been changed since the plan was made: planned never, found 2026-01-02T03:04:05.000Z",
    ),
    (lambda clone: (clone.plan / "binding.json").unlink(), "found nothing that says what the plan is of"),
    (lambda clone: (clone.built / "manifest.json").unlink(), "manifest.json: missing; was the artifact"),
    (
        lambda clone: (clone.root / "pyproject.toml").write_text("[project]\nversion = '1'\n"),
        "The clone differs from its commit",
    ),
    (
        lambda clone: (clone.built / "workers.zip").write_bytes(b"x"),
        "the artifact's files are not those of its manifest: workers.zip: wanted ",
    ),
]


@pytest.mark.parametrize(("change", "said"), CHANGES, ids=[said[:40] for _, said in CHANGES])
def test_a_plan_of_anything_else_is_refused(
    clone: Clone, change: Any, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    clone.planned()
    change(clone)
    assert clone.step("check") == 1
    assert said in capsys.readouterr().err


def test_a_plan_of_another_stack_is_refused(clone: Clone, capsys: pytest.CaptureFixture[str]) -> None:
    clone.planned()
    shutil.copy(clone.root / "Pulumi.serverless.yaml", clone.root / "Pulumi.serverless-prod.yaml")
    assert clone.step("check", "serverless-prod") == 1
    assert "the plan is of another stack: planned serverless, found serverless-prod" in capsys.readouterr().err


def test_on_an_agent_the_runs_page_shows_it_too(
    clone: Clone, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clone.planned()
    clone.commit()
    monkeypatch.setenv("TF_BUILD", "True")
    assert clone.step("check") == 1
    assert "##vso[task.logissue type=error]The plan is not applied:" in capsys.readouterr().out


def test_the_way_back_is_to_a_commit_that_was_applied(clone: Clone, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = clone.commit(), clone.commit()

    def update(head: str, result: str, when: str) -> dict[str, Any]:
        return {"kind": "update", "result": result, "endTime": when, "environment": {"git.head": head}}

    clone.answer(history=json.dumps([update(second, "failed", "T2"), update(first, "succeeded", "T1")]))
    assert clone.step("rollback") == 1
    said = capsys.readouterr().err
    assert f"No way back to {second[:12]}: found no successful apply of it to the stack serverless" in said
    assert f"allowed: {first[:12]} (T1)" in said
    clone.git("checkout", "--quiet", first)
    assert clone.step("rollback") == 0
    assert f"Going back to {first[:12]}, which was last applied to serverless at T1." in capsys.readouterr().out


# --- drift


def found(op: str, kind: str = "aws:sqs/queue:Queue", **diff: Any) -> dict[str, Any]:
    return {"op": op, "urn": f"urn:pulumi:s::p::a:b:C${kind}::name", "detailedDiff": diff}


def test_no_drift(clone: Clone) -> None:
    service = found("update", "aws:ecs/service:Service", desiredCount={})
    clone.answer(refresh=json.dumps({"steps": [found("refresh"), found("same"), service]}))
    assert drift.check("serverless") == 3
    clone.answer(refresh=json.dumps({"config": {}}))  # a stack with nothing in it
    assert drift.check("serverless") == 0


def test_drift_is_named(clone: Clone) -> None:
    service = found("update", "aws:ecs/service:Service", desiredCount={}, taskDefinition={})
    steps = [
        found("refresh"),
        found("update", visibilityTimeoutSeconds={}),
        found("delete", "aws:kms/key:Key"),
        service,
    ]
    clone.answer(refresh=json.dumps({"steps": steps}))
    with pytest.raises(Refused) as refused:
        drift.check("serverless")
    assert str(refused.value).splitlines()[1:4] == [
        "  aws:sqs/queue:Queue name: visibilityTimeoutSeconds",
        "  aws:kms/key:Key name: is gone",
        "  aws:ecs/service:Service name: taskDefinition",
    ]


@pytest.mark.parametrize(
    ("refresh", "code", "said"),
    [
        ("no stack named 'x' found", "255", "no stack named 'x' found"),
        ('{"diagnostics": [{"severity": "error", "message": "AccessDenied"}]}', "255", "AccessDenied"),
        ('{"steps": []}', "1", "could not be compared"),
    ],
)
def test_what_could_not_be_compared_is_no_good_news(clone: Clone, refresh: str, code: str, said: str) -> None:
    clone.answer(refresh=refresh, code=code)
    with pytest.raises(Refused, match=said):
        drift.check("serverless")


# --- configuration


def test_the_configuration_of_each_stack_is_checked(clone: Clone, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["stacks", "--alternative", "serverless", "--rollback", "False", "--to"]
    assert main([*arguments, "dev"]) == 0
    assert "The configuration is in order: serverless." in capsys.readouterr().out
    (clone.root / "Pulumi.serverless-staging.yaml").write_text("config:\n  confirm-transactions:batchSize: 0\n")
    assert main([*arguments, "prod"]) == 1
    said = capsys.readouterr().err
    assert "Pulumi.serverless-staging.yaml: " in said
    assert "batchSize: found" in said
    assert (
        "Pulumi.serverless-prod.yaml: missing; there are Pulumi.serverless-staging.yaml, Pulumi.serverless.yaml" in said
    )
    assert main(["stacks", "--alternative", "serverless", "--rollback", "True", "--to", "prod"]) == 1
    assert "staging.yaml: " not in capsys.readouterr().err  # it is not deployed then


# --- verify

OUTPUTS = {"alternative": "serverless", "environment": "dev", "region": "us-east-1"}


def test_the_outputs_are_those_of_the_configuration(clone: Clone) -> None:
    good = OUTPUTS | {"gatewayUrl": "https://payments.example.com"}
    clone.answer(outputs=json.dumps(good))
    assert verify.outputs("serverless") == good
    clone.answer(outputs=json.dumps(good | {"environment": "prod"}))
    with pytest.raises(Refused, match="environment: wanted dev, found prod"):
        verify.outputs("serverless")


class Lambda:
    code = ""

    def get_function_configuration(self, **_: str) -> dict[str, str]:
        return {"CodeSha256": self.code}


def test_the_functions_run_what_was_built(clone: Clone) -> None:
    clone.step("build")
    aws, outputs = Lambda(), {"functions": {"plan": "plan-1"}}
    with pytest.raises(Refused, match="function plan-1: its code is "):
        verify.code(outputs, clone.built, "serverless", lambda _: aws)
    digest = bytes.fromhex(json.loads((clone.built / "manifest.json").read_text())["files"]["workers.zip"])
    aws.code = base64.b64encode(digest).decode()
    assert verify.code(outputs, clone.built, "serverless", lambda _: aws) == ["function plan-1 runs what was built"]


class Ecs:
    """A service that is steady after a while, or never."""

    def __init__(self, *services: dict[str, Any]) -> None:
        self.services = list(services)

    def client(self, _: str) -> Ecs:
        return self

    def describe_services(self, **_: Any) -> dict[str, Any]:
        return {"services": [self.services.pop(0) if len(self.services) > 1 else self.services[0]]}

    def describe_task_definition(self, **_: str) -> dict[str, Any]:
        return {"taskDefinition": {"containerDefinitions": [{"image": "repository@sha256:1"}]}}


def service(definition: str = "task/w:2", running: int = 1, others: str = "") -> dict[str, Any]:
    deployments = [{"taskDefinition": definition}, *([{"taskDefinition": others}] if others else [])]
    return {"taskDefinition": definition, "deployments": deployments, "runningCount": running, "desiredCount": 1}


def test_the_service_runs_what_was_built(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = {"serviceName": "worker", "clusterName": "c", "taskDefinitionArn": "task/w:2"}
    monkeypatch.setattr("time.sleep", lambda _: None)
    clone.configure(image="repository@sha256:1")
    steady = Ecs(service(running=0), service(others="task/w:1"), service())
    assert verify.code(outputs, clone.built, "serverless", lambda _: steady) == [
        "service worker runs w:2",
        "its image is repository@sha256:1",
    ]
    clone.configure(image="repository@sha256:2")
    with pytest.raises(Refused, match="planned was repository@sha256:2"):
        verify.code(outputs, clone.built, "serverless", lambda _: Ecs(service()))
    monkeypatch.setattr(verify, "SETTLE_SECONDS", 0)
    for bad, why in (
        (service("task/w:1"), "rolled back"),
        (service(running=0), "0 of 1 tasks"),
        (service(others="x"), "still run"),
    ):
        with pytest.raises(Refused, match=why):
            verify.code(outputs, clone.built, "serverless", Ecs(bad).client)


CONFIRM = """#!/bin/sh
echo "$@" > {folder}/order; cat > {folder}/account; cat {folder}/record; exit {code}
"""


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"status": "CONFIRMED", "final": True}, ""),
        ({"status": "REJECTED", "final": True, "reason": "no such account"}, "is REJECTED after .*no such account"),
        (
            {"status": "REVIEW", "final": False, "reason": "unknown"},
            "is REVIEW after .*: unknown. See `confirm show canary-7-",
        ),
        ({"status": "PENDING", "final": False}, "is PENDING after .*: nobody took it"),
    ],
)
def test_the_canary_comes_through_or_says_why_not(
    clone: Clone, tmp_path: Path, record: dict[str, Any], said: str
) -> None:
    (clone.bin / "confirm").write_text(CONFIRM.format(folder=tmp_path, code=8 if said else 0))
    (clone.bin / "confirm").chmod(0o755)
    (tmp_path / "record").write_text(json.dumps({"id": "canary-7-20260105T090000Z", "reason": None, **record}))
    if said:
        with pytest.raises(Refused, match=said):
            verify.canary("serverless", "7", "ours", seconds=0)
    else:
        assert " was confirmed after " in verify.canary("serverless", "7", "ours", seconds=0)
    assert (tmp_path / "order").read_text().split() == (
        ["canary", "--account", "-", "--run", "7", "--within", "0", "--stack", "serverless", "--json"]
    )
    assert (tmp_path / "account").read_text() == "ours\n"


def test_the_canary_is_paid_to_the_account_that_the_stacks_workers_know(clone: Clone, tmp_path: Path) -> None:
    (clone.bin / "confirm").write_text(CONFIRM.format(folder=tmp_path, code=0))
    (clone.bin / "confirm").chmod(0o755)
    (tmp_path / "record").write_text(json.dumps({"id": "canary-7-1", "status": "CONFIRMED"}))
    config = clone.root / "Pulumi.serverless.yaml"
    config.write_text(config.read_text() + "  confirm-transactions:canaryAccount: of-the-stack\n")
    verify.canary("serverless", "7", "ours", seconds=0)
    assert (tmp_path / "account").read_text() == "of-the-stack\n"


# --- the comment


@pytest.fixture
def azure() -> Iterator[tuple[str, list[Any]]]:
    """A server in Azure's place, and what it was sent."""
    sent: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            sent.append((self.path, self.headers["Authorization"], body))
            self.send_response(200 if "good" in self.headers["Authorization"] else 403)
            self.end_headers()
            self.wfile.write(b'{"id": 5}')

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/org/", sent
    server.shutdown()
    server.server_close()


def test_the_summary_is_a_comment_on_the_pull_request(tmp_path: Path, azure: tuple[str, list[Any]]) -> None:
    file, (url, sent) = tmp_path / "summary.md", azure
    file.write_text("# Plan\n")
    environment = dict(zip(comment.VARIABLES, (url, "project", "repo", "12", "good"), strict=True))
    thread = "org/project/_apis/git/repositories/repo/pullRequests/12/threads"
    assert comment.post(file, environment).endswith(f"{thread}/5")
    ((path, token, body),) = sent
    assert path == f"/{thread}?api-version=7.1"
    assert token == "Bearer good"
    assert body["comments"][0]["content"] == "# Plan\n"
    with pytest.raises(Refused, match="403"):
        comment.post(file, environment | {"SYSTEM_ACCESSTOKEN": "bad"})
    with pytest.raises(Refused, match="No comment without SYSTEM_ACCESSTOKEN: the step needs"):
        comment.post(file, environment | {"SYSTEM_ACCESSTOKEN": ""})
