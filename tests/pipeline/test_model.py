"""A bad pipeline file is told by name before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from local.errors import LocalError
from tests.pipeline.support import Stub, run
from tests.pipeline.test_running import gated

GOOD = """
stages:
  - stage: Build
    jobs:
      - job: a
        steps:
          - script: touch {ran}
  - stage: Validate
    jobs: []
  - stage: Plan_dev
    jobs: []
  - stage: Approve_dev
    dependsOn: Plan_dev
    jobs:
      - job: validation
        pool: server
        steps:
          - task: ManualValidation@1
            inputs: &inputs
              notifyUsers: ""
              approvers: ana
              allowApproversToApproveTheirOwnRuns: false
              instructions: ""
              onTimeout: reject
  - stage: Apply_dev
    variables:
      - group: confirm-dev
    jobs:
      - deployment: apply
        environment: confirm-dev
        strategy:
          runOnce:
            deploy:
              steps:
                - task: AWSShellScript@1
                  displayName: Apply it
                  inputs:
                    awsCredentials: confirm-dev-apply
                    regionName: x
                    scriptType: inline
                    inlineScript: echo pulumi up as $(who)
"""

MISTAKES = [
    (
        "script: touch {ran}",
        "task: Docker@2",
        "the task Docker@2 is unknown here; known: checkout, script, AWSShellScript@1",
    ),
    ("script: touch {ran}", "powershell: x", "stage Build, job a, step 1: a step of powershell is unknown here"),
    (
        "script: touch {ran}",
        "script: x\n            retryCountOnTaskFailure: 2",
        "the key 'retryCountOnTaskFailure' is unknown",
    ),
    ("- job: a", "- job: a\n        strategy: {}", "stage Build, job a: the key 'strategy' is unknown here"),
    ("- job: a", "- job: a\n        dependsOn: b", "stage Build, job a: depends on b, which is no job before it"),
    ("  - stage: Build", "  - stage: Build\n    pool: x", "stage Build: the key 'pool' is unknown here"),
    (
        "dependsOn: Plan_dev",
        "dependsOn: Plan_prod",
        "stage Approve_dev: depends on Plan_prod, which is no stage before it",
    ),
    ("dependsOn: Plan_dev", "dependsOn: Verify_dev", "depends on Verify_dev, which is no stage before it"),
    ("dependsOn: Plan_dev", "dependsOn: Build", "stage Approve_dev: is out of order: it must come after a stage Plan"),
    ("  - stage: Validate\n    jobs: []\n", "", "stage Plan_dev: is out of order: it must come after a stage Validate"),
    (
        "stage: Apply_dev",
        "stage: Apply_dev\n    dependsOn: Plan_dev",
        "Apply_dev: is out of order: it must come after a stage Approve",
    ),
    (
        "stage: Apply_dev",
        "stage: Release",
        "stage Release, job apply: `pulumi up` belongs into a deployment of a stage Apply",
    ),
    ("        environment: confirm-dev\n", "", "a deployment without an environment has no approvals and no lock"),
    ("        pool: server\n", "", "stage Approve_dev, job validation: ManualValidation@1 needs `pool: server`"),
    ("              onTimeout: reject\n", "", "ManualValidation@1 lacks the input onTimeout"),
    ("onTimeout: reject", "onTimeOut: reject", "ManualValidation@1: the input 'onTimeOut' is unknown here"),
    (
        "awsCredentials: confirm-dev-apply\n                    ",
        "",
        "AWSShellScript@1 lacks the service connection (awsCredentials)",
    ),
    (
        "awsCredentials: confirm-dev-apply",
        "awsCredentials: mine",
        "'Apply it': the service connection 'mine' does not exist; known: confirm-dev-plan, confirm-dev-apply",
    ),
    ("$(who)", "$(whom)", "stage Apply_dev, job apply, 'Apply it': the variable $(whom) is defined nowhere"),
    ("group: confirm-dev", "group: confirm-test", "the variable group confirm-test does not exist; known: confirm-dev"),
    ("runOnce:", "rolling:", "stage Apply_dev, job apply: the strategy is unknown here; known: runOnce, deploy, steps"),
]


@pytest.mark.parametrize(("old", "new", "said"), MISTAKES, ids=[said[-50:] for _, _, said in MISTAKES])
def test_a_mistake_is_named_and_nothing_runs(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert GOOD.count(old) == 1
    ran = tmp_path / "ran"
    machine = Stub()
    with pytest.raises(LocalError) as error:
        run(tmp_path, GOOD.replace(old, new).replace("{ran}", str(ran)), machine)
    assert said in str(error.value)
    assert str(error.value).startswith("azure-pipelines.yml: nothing was run:")
    assert not ran.exists()
    assert machine.connected == []


def test_without_a_mistake_it_runs(tmp_path: Path) -> None:
    runner, _ = run(tmp_path, GOOD.replace("{ran}", str(tmp_path / "ran")), Stub([True]))
    assert (tmp_path / "ran").exists()
    assert runner.results["Build"] == "succeeded"


def test_all_mistakes_are_told_together(tmp_path: Path) -> None:
    text = GOOD.replace("script: touch {ran}", "task: Docker@2").replace("onTimeout:", "onTimeOut:")
    with pytest.raises(LocalError) as error:
        run(tmp_path, text)
    assert "Docker@2" in str(error.value)
    assert "onTimeOut" in str(error.value)


def test_a_stage_that_should_ask_and_does_not_is_refused(tmp_path: Path) -> None:
    asks = GOOD.index("          - task: ManualValidation@1")
    text = GOOD[:asks] + "          - script: echo yes\n" + GOOD[GOOD.index("  - stage: Apply_dev") :]
    with pytest.raises(LocalError, match="Approve_dev: asks nobody"):
        run(tmp_path, text.replace("{ran}", "x"))


def test_the_gate_of_the_other_tests_is_in_order(tmp_path: Path) -> None:
    assert gated(tmp_path, Stub([False]))[0]["Apply_dev"] == "skipped"
