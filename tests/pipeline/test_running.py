"""The runner, with small pipelines of true shell steps on a stub of a machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from textwrap import indent

import pytest

from delivery.azure_runner.running import answer_on_terminal
from local.processes import ROOT, command_of
from tests.pipeline.support import Stub, run

GATED = """
stages:
  - stage: Build
    jobs:
      - job: tests
        steps:
          - checkout: self
          - script: test -f code && {test}
  - stage: Validate
    jobs:
      - job: program
        steps:
          - script: "true"
  - stage: Plan_dev
    jobs:
      - job: plan
        steps:
          - script: mkdir plan && echo 7 > plan/plan.json
          - task: PublishPipelineArtifact@1
            inputs:
              targetPath: $(Pipeline.Workspace)/s/plan
              artifact: plan
  - stage: Approve_dev
    jobs:
      - job: validation
        pool: server
        steps:
          - task: ManualValidation@1
            timeoutInMinutes: 2
            inputs:
              notifyUsers: $(who)
              approvers: $(who)
              allowApproversToApproveTheirOwnRuns: false
              instructions: Read it, $(who).
              onTimeout: {on_timeout}
    variables:
      - group: confirm-dev
  - stage: Apply_dev
    jobs:
      - deployment: apply
        environment: confirm-dev
        strategy:
          runOnce:
            deploy:
              steps:
                - task: DownloadPipelineArtifact@2
                  inputs:
                    artifactName: plan
                    targetPath: $(Pipeline.Workspace)/given
                - script: cp $(Pipeline.Workspace)/given/plan.json {folder}/applied
  - stage: Verify_dev
    jobs:
      - job: verify
        steps:
          - script: test "$(cat {folder}/applied)" = 7
"""


def gated(folder: Path, machine: Stub, test: str = "true", on_timeout: str = "reject") -> tuple[dict[str, str], str]:
    text = GATED.replace("{test}", test).replace("{folder}", str(folder)).replace("{on_timeout}", on_timeout)
    runner, said = run(folder, text, machine)
    return {name: str(result) for name, result in runner.results.items()}, said


def test_what_is_approved_is_applied(tmp_path: Path) -> None:
    machine = Stub([True])
    results, said = gated(tmp_path, machine)
    assert set(results.values()) == {"succeeded"}
    assert len(results) == 6
    assert machine.asked == ["Approve_dev, 120 s: Read it, ana."]
    assert "FAILED" not in said
    assert (tmp_path / "applied").read_text() == "7\n"


@pytest.mark.parametrize(("answer", "why"), [(False, "rejected"), (None, "nobody answered in time: rejected")])
def test_what_is_not_approved_is_not_applied(tmp_path: Path, answer: bool | None, why: str) -> None:
    results, said = gated(tmp_path, Stub([answer]))
    assert results["Plan_dev"] == "succeeded"
    assert results["Approve_dev"] == "failed"
    assert results["Apply_dev"] == results["Verify_dev"] == "skipped"
    assert why in said
    assert not (tmp_path / "applied").exists()


def test_no_answer_resumes_only_where_the_file_says_so(tmp_path: Path) -> None:
    results, _ = gated(tmp_path, Stub([None]), on_timeout="resume")
    assert results["Apply_dev"] == "succeeded"


def test_a_failing_test_stops_before_the_plan(tmp_path: Path) -> None:
    machine = Stub([True])
    results, said = gated(tmp_path, machine, test="echo 1 test failed && exit 3")
    assert results.pop("Build") == "failed"
    assert set(results.values()) == {"skipped"}
    assert not machine.asked
    assert "1 test failed" in said
    assert "ended with 3" in said
    assert not (tmp_path / "applied").exists()


ONE = """
stages:
  - stage: One
    variables:
      - group: confirm-dev
      - name: x
        value: "3"
    jobs:
      - job: one
        steps:
"""


def steps(text: str) -> str:
    return ONE + indent(text.strip("\n"), 10 * " ")


def one(folder: Path, text: str, machine: Stub | None = None) -> tuple[str, str]:
    runner, said = run(folder, steps(text), machine)
    return str(runner.results["One"]), said


def test_variables_are_filled_in_and_in_the_environment_secrets_apart(tmp_path: Path) -> None:
    text = f"""
- script: echo "$(x) $X $(who) $BUILD_REASON $(echo shell) [$SYSTEM_ACCESSTOKEN]" > {tmp_path}/a
- script: echo "$TOKEN" > {tmp_path}/b
  env:
    TOKEN: $(System.AccessToken)
"""
    assert one(tmp_path, text)[0] == "succeeded"
    assert (tmp_path / "a").read_text() == "3 3 ana Manual shell []\n"
    assert (tmp_path / "b").read_text() == "t0ken\n"


def test_conditions_of_steps(tmp_path: Path) -> None:
    text = f"""
- script: exit 1
- script: echo a >> {tmp_path}/ran
- script: echo b >> {tmp_path}/ran
  condition: succeededOrFailed()
- script: echo c >> {tmp_path}/ran
  condition: and(succeeded(), eq(variables['Build.Reason'], 'Manual'))
- script: echo d >> {tmp_path}/ran
  condition: always()
"""
    assert one(tmp_path, text)[0] == "failed"
    assert (tmp_path / "ran").read_text() == "b\nd\n"


def test_only_steps_with_a_connection_may_use_aws(tmp_path: Path) -> None:
    text = """
- script: "true"
- task: AWSShellScript@1
  inputs:
    awsCredentials: confirm-dev-plan
    regionName: us-east-1
    scriptType: inline
    inlineScript: "true"
"""
    machine = Stub()
    assert one(tmp_path, text, machine)[0] == "succeeded"
    assert machine.connected == ["", "confirm-dev-plan"]


def test_a_step_that_has_an_equivalent_is_not_run(tmp_path: Path) -> None:
    state, said = one(tmp_path, "- script: exit 1\n  name: other\n  displayName: Docker")
    assert state == "succeeded"
    assert "Docker" in said
    assert "something else" in said


RESULTS = """
- script: {script}
- task: PublishTestResults@2
  condition: succeededOrFailed()
  inputs:
    testResultsFormat: JUnit
    testResultsFiles: tests.xml
    searchFolder: $(Common.TestResultsDirectory)
    testRunTitle: Tests
    failTaskOnFailedTests: true
    failTaskOnMissingResultsFile: true
"""


@pytest.mark.parametrize(
    ("case", "state", "told"),
    [
        ("<testcase/>", "succeeded", "1 passed"),
        ("<testcase/><testcase classname='a' name='b'><failure/></testcase>", "failed", "1 of 2 failed:\n      a b"),
        ("", "failed", "the results are missing"),
    ],
)
def test_results_that_are_bad_or_missing_fail(tmp_path: Path, case: str, state: str, told: str) -> None:
    text = f"<testsuites><testsuite>{case}</testsuite></testsuites>"
    script = f'echo "{text}" > $(Common.TestResultsDirectory)/tests.xml' if case else '"true"'
    found, said = one(tmp_path, RESULTS.replace("{script}", script))
    assert found == state
    assert told in said


def test_coverage_that_is_missing_fails(tmp_path: Path) -> None:
    text = """
- task: PublishCodeCoverageResults@2
  inputs:
    summaryFileLocation: $(Common.TestResultsDirectory)/coverage.xml
    failIfCoverageEmpty: true
"""
    state, said = one(tmp_path, text)
    assert state == "failed"
    assert "the coverage is missing" in said


def test_an_artifact_comes_from_a_stage_before(tmp_path: Path) -> None:
    text = "- task: DownloadPipelineArtifact@2\n  inputs:\n    artifactName: plan\n    targetPath: x"
    state, said = one(tmp_path, text)
    assert state == "failed"
    assert "there is no artifact plan" in said


def test_what_a_step_says_to_the_agent(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ours").write_text(f"#!/bin/sh\ntouch {tmp_path}/found\n")
    (tmp_path / "bin" / "ours").chmod(0o755)
    text = f"- script: |\n    echo '##vso[task.prependpath]{tmp_path}/bin'\n- script: ours"
    assert one(tmp_path, text)[0] == "succeeded"
    assert (tmp_path / "found").exists()
    state, said = one(tmp_path, "- script: |\n    echo '##vso[task.setvariable variable=a]b'")
    assert state == "failed"
    assert "'task.setvariable'" in said


def test_each_job_has_a_workspace_of_its_own(tmp_path: Path) -> None:
    text = """
    stages:
      - stage: One
        jobs:
          - job: a
            steps:
              - script: touch left
          - job: b
            dependsOn: a
            steps:
              - script: test ! -e left
    """
    runner, _ = run(tmp_path, text)
    assert runner.results == {"One": "succeeded"}


def test_what_a_step_started_ends_with_the_run(tmp_path: Path) -> None:
    """As after a Ctrl-C in the middle of a step."""
    (tmp_path / "azure-pipelines.yml").write_text(steps(f"- script: sleep 600 & echo $! > {tmp_path}/pid; wait"))
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2])\n"
        "from tests.pipeline.support import run\n"
        "folder = Path(sys.argv[1]); run(folder, (folder / 'azure-pipelines.yml').read_text())\n"
    )
    runner = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(ROOT)], cwd=ROOT)
    try:
        wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())
        sleeper = int((tmp_path / "pid").read_text())
        wait_for(lambda: "sleep" in command_of(sleeper))  # until then it is the shell that began it
        runner.send_signal(signal.SIGINT)
        assert runner.wait(60) != 0
        wait_for(lambda: not command_of(sleeper))
    finally:
        runner.kill()


def wait_for(holds: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize(("typed", "answer"), [("yes\n", True), ("no\n", False), ("\n", False), ("", None)])
def test_the_terminal_is_asked(typed: str, answer: bool | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing typed in time is a rejection, by who asked."""
    reader, writer = os.pipe()
    with os.fdopen(reader) as stdin, os.fdopen(writer, "w") as keyboard:
        monkeypatch.setattr("sys.stdin", stdin)
        keyboard.write(typed)
        keyboard.flush()
        assert answer_on_terminal("apply?", 60 if typed else 0.01) is answer
