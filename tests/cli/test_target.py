"""Which stack a command works against: a file of outputs, or what the command pulumi says."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cli import target
from cli.aws import Table
from cli.exits import Exit, Trouble
from cli.postgres import DatabaseAccess

OUTPUTS: dict[str, Any] = {
    "alternative": "serverless",
    "environment": "dev",
    "region": "eu-west-1",
    "tableName": "t",
    "pendingIndexName": "pending",
    "pendingShards": 4,
    "stateMachineArn": "arn:m",
}


def outputs_file(folder: Path, **changes: Any) -> dict[str, str]:
    path = folder / "outputs.json"
    path.write_text(json.dumps({**OUTPUTS, **changes}))
    return {"CONFIRM_OUTPUTS": str(path)}


def fake_pulumi(folder: Path, script: str) -> dict[str, str]:
    """A `pulumi` that runs `script` and notes how it was called."""
    (folder / "outputs.json").write_text(json.dumps(OUTPUTS))
    program = folder / "pulumi"
    program.write_text(f'#!/bin/sh\necho "$@" >> {folder}/calls\nOUTPUTS={folder}/outputs.json\n{script}\n')
    program.chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


@pytest.fixture
def on_path(monkeypatch: pytest.MonkeyPatch) -> Any:
    """subprocess looks a program up in our own PATH, not in the one it hands on."""

    def set_path(environment: dict[str, str]) -> dict[str, str]:
        monkeypatch.setenv("PATH", environment["PATH"])
        return environment

    return set_path


def test_a_file_of_outputs(tmp_path: Path) -> None:
    found = target.find(None, outputs_file(tmp_path) | {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"})
    assert (found.stack, found.alternative, found.region) == ("serverless", "serverless", "eu-west-1")
    assert found.data == Table("t", "pending", 4, "arn:m")
    assert str(found) == "stack serverless (dev, local AWS at http://127.0.0.1:1)"
    assert str(target.find("prod", outputs_file(tmp_path, stack="prod"))) == "stack prod (dev, AWS, eu-west-1)"


def test_the_review_policy_comes_from_the_stack(tmp_path: Path) -> None:
    policy = target.find(None, outputs_file(tmp_path, reviewHours=2, reviewOwner="night shift")).policy
    assert (policy.review_within, policy.review_owner) == (timedelta(hours=2), "night shift")
    assert target.find(None, outputs_file(tmp_path)).policy.review_within == timedelta(hours=24)


@pytest.mark.parametrize(
    ("changes", "stack", "said", "code"),
    [
        ({"tableName": None}, None, "no output tableName", Exit.NO_ACCESS),
        ({"region": "", "pendingShards": None}, None, "no output region, pendingShards", Exit.NO_ACCESS),
        ({"alternative": "batch"}, None, "which this command does not know", Exit.ERROR),
        ({"alternative": "fargate"}, None, "no output databaseHost, databasePort, databaseName", Exit.NO_ACCESS),
        ({"stack": "prod"}, "dev", "of stack prod, not of dev", Exit.USAGE),
    ],
)
def test_outputs_that_do_not_fit(
    changes: dict[str, Any], stack: str | None, said: str, code: Exit, tmp_path: Path
) -> None:
    with pytest.raises(Trouble) as trouble:
        target.find(stack, outputs_file(tmp_path, **changes))
    assert said in trouble.value.what
    assert trouble.value.fix
    assert trouble.value.code is code


FARGATE = {
    "alternative": "fargate",
    "databaseHost": "db.example.com",
    "databasePort": 5432,
    "databaseName": "transactions",
    "databaseUser": "confirm_service",
}


def test_a_database_is_come_to_as_the_operator_never_as_the_service(tmp_path: Path) -> None:
    found = target.find(None, outputs_file(tmp_path, **FARGATE))
    assert found.alternative == "fargate"
    assert found.data == DatabaseAccess("db.example.com", 5432, "transactions", "confirm_viewer")
    assert target.as_importer(found).data == replace(found.data, user="confirm_operator")
    url = "postgresql://ana:secret@10.0.0.9/transactions"
    chosen = {"CONFIRM_DATABASE_USER": "ana", "CONFIRM_DATABASE_URL": url, "CONFIRM_DATABASE_CA": "ca.pem"}
    own = target.find(None, outputs_file(tmp_path, **FARGATE) | chosen)
    assert own.data == DatabaseAccess("db.example.com", 5432, "transactions", "ana", url, "ca.pem", "ana")
    assert target.as_importer(own).data == own.data
    assert "secret" not in f"{own} {own!r}"


@pytest.mark.parametrize("content", [None, b"{", b"\xff", b"[]"])
def test_a_file_that_holds_no_outputs(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "o.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Trouble) as trouble:
        target.find(None, {"CONFIRM_OUTPUTS": str(path)})
    assert "CONFIRM_OUTPUTS" in trouble.value.what
    assert trouble.value.code is Exit.NO_ACCESS


def test_pulumi_is_asked_for_the_named_stack(tmp_path: Path, on_path: Any) -> None:
    found = target.find("prod", on_path(fake_pulumi(tmp_path, "cat $OUTPUTS")))
    assert (found.stack, found.data) == ("prod", Table("t", "pending", 4, "arn:m"))
    assert (tmp_path / "calls").read_text() == "stack output --json --stack prod --non-interactive\n"


@pytest.mark.parametrize(("script", "name"), [('echo "chosen"', "chosen"), ("exit 255", "serverless")])
def test_without_a_name_it_is_the_selected_stack_else_serverless(
    script: str, name: str, tmp_path: Path, on_path: Any
) -> None:
    environment = on_path(fake_pulumi(tmp_path, f'if [ "$2" = --show-name ]; then {script}; else cat $OUTPUTS; fi'))
    assert target.find(None, environment).stack == name


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'warning: x' >&2; echo \"error: no stack named 'x' found\" >&2; exit 255", "no stack named 'x' found"),
        ("exit 1", "it said nothing"),
        ("echo nonsense", "it said nothing"),
    ],
)
def test_what_pulumi_says_is_passed_on_in_one_line(script: str, said: str, tmp_path: Path, on_path: Any) -> None:
    with pytest.raises(Trouble) as trouble:
        target.find("x", on_path(fake_pulumi(tmp_path, script)))
    assert said in trouble.value.what
    assert "\n" not in str(trouble.value)
    assert trouble.value.code is Exit.NO_ACCESS


def test_no_pulumi(tmp_path: Path, on_path: Any) -> None:
    with pytest.raises(Trouble) as trouble:
        target.find(None, on_path({"PATH": str(tmp_path)}))
    assert "pulumi is not on the PATH" in trouble.value.what
    assert "make shell" in trouble.value.fix


def test_a_pulumi_that_hangs(tmp_path: Path, on_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target, "PULUMI_SECONDS", 0.2)
    with pytest.raises(Trouble, match="did not answer"):
        target.find("x", on_path(fake_pulumi(tmp_path, "exec sleep 5")))


def test_pulumi_runs_where_the_program_is(tmp_path: Path, on_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "a" / "Pulumi.yaml").touch()
    monkeypatch.chdir(inner)
    environment = on_path(fake_pulumi(tmp_path, f"pwd >> {tmp_path}/where; cat $OUTPUTS"))
    target.find("x", environment)
    assert (tmp_path / "where").read_text().strip() == str(tmp_path / "a")
