"""Whether AWS is open to a branch, asked of Azure: each gate that is missing is named, and nothing starts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from delivery.azure_runner.azure import Azure, approval, branch_control
from delivery.pipeline import gates
from delivery.pipeline.__main__ import main
from delivery.pipeline.azure import VERSION, Project
from delivery.pipeline.errors import Refused
from local.processes import ROOT
from tests.docs.shown import shown

OURS = "refs/heads/main"


@pytest.fixture
def azure() -> Iterator[Azure]:
    made = Azure()
    yield made
    made.close()


def variables(azure: Azure, **changes: str) -> dict[str, str]:
    return {name.upper().replace(".", "_"): value for name, value in azure.variables.items()} | changes


def refusal(azure: Azure, needed: set[str] | None = None, **changes: str) -> str:
    with pytest.raises(Refused) as refused:
        gates.check(needed or set(), variables(azure, **changes))
    return str(refused.value)


def test_a_project_that_is_set_up_as_the_page_says_passes(azure: Azure) -> None:
    needed = gates.used("fargate", ("dev", "staging", "prod"), rollback=False)
    found = gates.check(needed, variables(azure))
    assert len(found) == len(gates.gates()) == 14
    assert "service connection confirm-prod-apply" in found
    assert "environment confirm-prod" in found


def test_what_leads_to_a_change_has_both_and_what_reads_a_branch() -> None:
    table = {gate.name: (gate.branch, gate.approval) for gate in gates.gates() if gate.kind == "endpoint"}
    for environment in ("dev", "staging", "prod"):
        assert table[f"confirm-{environment}-apply"] == table[f"confirm-{environment}-verify"] == (True, True)
        assert table[f"confirm-{environment}-plan"] == (True, False)
    assert table["confirm-build"] == (True, True)
    assert table["confirm-dev-review"] == (False, False), "which shows pull requests what they would change in dev"


def without(name: str, kind: Callable[[], dict[str, object]]) -> Callable[[Azure], None]:
    return lambda azure: azure.checks[name].remove(kind())


def inputs(name: str, **changes: str) -> Callable[[Azure], None]:
    def change(azure: Azure) -> None:
        for check in azure.checks[name]:
            check["settings"].get("inputs", {}).update(changes)

    return change


def settings(name: str, **changes: object) -> Callable[[Azure], None]:
    def change(azure: Azure) -> None:
        (check,) = (one for one in azure.checks[name] if one["type"]["id"] == gates.APPROVAL)
        check["settings"].update(changes)

    return change


def disabled(name: str) -> Callable[[Azure], None]:
    def change(azure: Azure) -> None:
        for check in azure.checks[name]:
            check["isDisabled"] = True

    return change


PROD = "confirm-prod-apply"
GAPS: list[tuple[Callable[[Azure], object], str]] = [
    (without(PROD, branch_control), f"service connection {PROD}: found no branch control; needed: Branch control for "),
    (without(PROD, approval), f"service connection {PROD}: found no approval; needed: Approvals, by others"),
    (without("confirm-prod-verify", approval), "confirm-prod-verify: found no approval"),
    (without("confirm-build", branch_control), "confirm-build: found no branch control"),
    (without("confirm-prod-plan", branch_control), "confirm-prod-plan: found no branch control"),
    (without("confirm-prod", approval), "environment confirm-prod: found no approval"),
    (lambda azure: azure.checks["confirm-dev"].pop(), "environment confirm-dev: found no exclusive lock"),
    (inputs(PROD, allowedBranches="*"), f"{PROD}: found branch control for *;"),
    (inputs(PROD, allowedBranches=f"{OURS}, refs/pull/*"), f"found branch control for {OURS}, refs/pull/*;"),
    (inputs(PROD, ensureProtectionOfBranch="false"), "found branch control that takes an unprotected branch"),
    (inputs(PROD, allowUnknownStatusBranch="true"), "found branch control that takes a branch whose protection is unk"),
    (settings(PROD, approvers=[]), f"{PROD}: found an approval by nobody"),
    (settings(PROD, requesterCannotBeApprover=False), "found an approval that whoever started the run may give"),
    (disabled(PROD), f"{PROD}: found no branch control"),
    (lambda azure: azure.open_to_all.add(PROD), f"{PROD}: every pipeline of the project may use it"),
    (lambda azure: azure.named.update({PROD: [12, 9]}), f"{PROD}: pipeline 12, 9 may use it too"),
    (
        lambda azure: azure.named.update({"confirm-prod-verify": [12]}),
        "confirm-prod-verify: pipeline 12 may use it too",
    ),
    (lambda azure: azure.named.update({"confirm-build": [12]}), "confirm-build: pipeline 12 may use it too"),
    (lambda azure: azure.settings.clear(), "may set any variable, PYTEST_ADDOPTS among them, which skips tests"),
]


@pytest.mark.parametrize(("gap", "said"), GAPS, ids=[said[-40:] for _, said in GAPS])
def test_a_gate_that_is_open_is_named_whichever_environment_the_run_goes_to(
    azure: Azure, gap: Callable[[Azure], object], said: str
) -> None:
    gap(azure)
    assert said in refusal(azure, gates.used("serverless", ("dev",), rollback=False))


def test_what_only_reads_may_be_anothers_too(azure: Azure) -> None:
    """The drift's pipeline plans, and a pull request's shows: branch control and the role hold those."""
    azure.named.update({"confirm-prod-plan": [12], "confirm-dev-review": [13]})
    assert gates.check(set(), variables(azure))


def test_all_gaps_are_told_at_once(azure: Azure) -> None:
    without(PROD, approval)(azure)
    without("confirm-build", branch_control)(azure)
    azure.settings.clear()
    said = refusal(azure)
    assert said.count("\n  ") == 3
    assert said.startswith("Nothing is started: ")
    assert said.endswith("See docs/pipeline.md, steps 5 to 9.")


def test_what_the_run_uses_must_be_there_and_the_rest_may_come_later(azure: Azure) -> None:
    for name in ("confirm-prod-apply", "confirm-prod", "confirm-build"):
        del azure.checks[name]
    assert gates.check(gates.used("serverless", ("dev",), rollback=False), variables(azure))
    said = refusal(azure, gates.used("fargate", ("dev", "staging", "prod"), rollback=False))
    for name in ("service connection confirm-prod-apply", "environment confirm-prod", "connection confirm-build"):
        assert f"{name}: does not exist, or the build service may not see it" in said
    assert "confirm-build" not in gates.used("fargate", ("prod",), rollback=True), "the way back builds no image"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"BUILD_SOURCEBRANCH": "refs/heads/mine"}, "found refs/heads/mine (Manual); allowed: refs/heads/main"),
        (
            {"BUILD_SOURCEBRANCH": "refs/pull/7/merge", "BUILD_REASON": "PullRequest"},
            "delivery/pipeline/pull-request.yml",
        ),
        ({"BUILD_REASON": "PullRequest"}, f"found {OURS} (PullRequest)"),
        ({"BUILD_SOURCEBRANCH": ""}, "found no branch"),
        ({"SYSTEM_DEFINITIONID": ""}, "does not say which pipeline it is"),
    ],
)
def test_a_run_of_another_branch_is_refused(azure: Azure, changes: dict[str, str], said: str) -> None:
    assert said in refusal(azure, None, **changes)


def test_no_answer_is_no_good_news(azure: Azure) -> None:
    assert "Azure DevOps did not answer for build/generalsettings: HTTP Error 401" in refusal(
        azure, SYSTEM_ACCESSTOKEN="another"
    )
    assert "cannot be asked without SYSTEM_ACCESSTOKEN: the step needs" in refusal(azure, SYSTEM_ACCESSTOKEN="")
    project = Project.of(variables(azure))
    with pytest.raises(Refused, match="did not answer for pipelines/nothing: HTTP Error 404"):
        project.get("pipelines/nothing", VERSION)
    with pytest.raises(Refused, match="answered for build/generalsettings with what is no list"):
        project.listed("build/generalsettings")
    assert "the-build-services" not in repr(project)


def test_a_person_asks_as_the_page_says(azure: Azure) -> None:
    own = azure.variables
    given = {
        "ORGANIZATION": own["System.CollectionUri"],
        "PROJECT": own["System.TeamProjectId"],
        "TOKEN": own["System.AccessToken"],
        "PIPELINE": own["System.DefinitionId"],
        "PATH": os.environ["PATH"],
    }
    with shown("docs/pipeline.md", "Pull requests") as page:
        script = "\n".join(page).replace(".venv/bin/python", sys.executable)
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, env=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "shut  environment confirm-prod" in done.stdout


def test_the_step_says_what_is_shut_or_ends_the_run(
    azure: Azure, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in variables(azure).items():
        monkeypatch.setenv(name, value)
    step = ["gates", "--alternative", "serverless", "--to", "prod", "--rollback", "False"]
    assert main(step) == 0
    assert "shut  service connection confirm-prod-apply" in capsys.readouterr().out
    without(PROD, approval)(azure)
    assert main(step) == 1
    assert "confirm-prod-apply: found no approval" in capsys.readouterr().err
