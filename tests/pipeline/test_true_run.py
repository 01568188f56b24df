"""The steps around the true `pulumi`, on a small program: a plan, its apply, and a refused one."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from delivery.pipeline import build, shell
from delivery.pipeline.__main__ import main
from local.stack import LocalAws

pytestmark = pytest.mark.usefixtures("pulumi_cli")

PROGRAM = """
import pulumi
from pulumi.dynamic import CreateResult, Resource, ResourceProvider


class Provider(ResourceProvider):
    def create(self, props):
        return CreateResult("one", props)


class Child(Resource, name="Child"):
    pass


class Network(pulumi.ComponentResource):
    def __init__(self):
        super().__init__("confirm-transactions:network:Network", "network")
        child = Child(Provider(), "child", {}, pulumi.ResourceOptions(parent=self))
        self.register_outputs({"child": child})


Network()
pulumi.export("lease", pulumi.Config().require("leaseSeconds"))
"""


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    root = tmp_path / "repo"
    root.mkdir()
    (root / "__main__.py").write_text(PROGRAM)
    (root / "Pulumi.yaml").write_text("name: confirm-transactions\nruntime: python\n")
    (root / "Pulumi.serverless.yaml").write_text("config:\n  aws:region: eu-west-1\n")
    (root / "pyproject.toml").write_text('[project]\nversion = "0.1.0"\n')
    git(root, "init", "--quiet")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "A program")
    return root


def git(root: Path, *arguments: str) -> None:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, *arguments], cwd=root, check=True, capture_output=True)


def test_exactly_the_plan_is_applied(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    built, planned = tmp_path / "built", tmp_path / "planned"
    built.mkdir()
    planned.mkdir()
    with LocalAws("serverless", root=repo, folder=tmp_path / "local", gateway=False, providers={}) as aws:
        monkeypatch.setattr(shell, "ROOT", repo)
        for name, value in aws.environment.items():
            monkeypatch.setenv(name, value)
        shutil.copy(aws.program / "Pulumi.serverless.yaml", repo)
        build.build(built)

        def pulumi(*arguments: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                ["pulumi", *arguments, "--non-interactive", "--stack", "serverless"],
                cwd=repo,
                capture_output=True,
                text=True,
                check=False,
            )

        def step(name: str) -> int:
            return main([name, "--stack", "serverless", "--build", str(built), "--plan", str(planned)])

        plan = planned / "plan.json"
        preview = pulumi("preview", "--save-plan", str(plan))
        assert preview.returncode == 0, preview.stdout + preview.stderr

        # as the engine saved it, it would be refused: the component's output is a resource that is not there yet
        refused = pulumi("up", "--yes", "--skip-preview", "--plan", str(plan))
        assert "resource violates plan: properties changed: ++child" in refused.stdout
        assert pulumi("destroy", "--yes", "--skip-preview").returncode == 0

        assert pulumi("preview", "--save-plan", str(plan)).returncode == 0
        assert step("plan") == 0
        assert "network.child" in capsys.readouterr().out
        assert "| `pulumi-python:dynamic:Child` | child |" in (planned / "summary.md").read_text()
        assert step("check") == 0

        git(repo, "commit", "--quiet", "--allow-empty", "--message", "Another")
        assert step("check") == 1
        assert "the plan is of another commit" in capsys.readouterr().err
        assert not json.loads(pulumi("stack", "output", "--json").stdout)
        git(repo, "reset", "--quiet", "--soft", "HEAD~1")

        assert step("check") == 0
        done = pulumi("up", "--yes", "--skip-preview", "--plan", str(plan))
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(pulumi("stack", "output", "--json").stdout) == {"lease": "30"}

        # what was applied once is not applied again, and the commit is one to go back to
        assert step("check") == 1
        assert "the stack has been changed since the plan was made" in capsys.readouterr().err
        assert main(["drift", "serverless"]) == 0
        assert main(["rollback", "--stack", "serverless"]) == 0
