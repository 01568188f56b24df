"""This machine in place of Azure's agents and of AWS: what stands here for what."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from delivery.azure_runner.azure import Azure
from delivery.azure_runner.model import Stage, Step
from delivery.azure_runner.running import StepFailed, Workspace, answer_on_terminal
from delivery.pipeline import image
from local.emulator import REGION
from local.errors import LocalError
from local.processes import ROOT
from local.stack import LocalAws, is_foreign

ENVIRONMENTS = ("dev", "staging", "prod")
LOCKS = ("requirements.lock", "pyproject.toml")
SECONDS = 3600
"""How long a person has to answer here, where Azure gives a day."""

DIFFERENCES: Mapping[str, str] = {
    "AWSShellScript@1": "the local AWS and its test credentials, without an OIDC login or a role's limits",
    "UsePythonVersion@0": "the Python that runs make",
    "Cache@2": "this folder's .venv where it fits the commit's locks, and caches in .local/pipeline",
    "tests": "those named above alone; in Azure all, whoever starts the run",
    "gates": "a stand-in of Azure's API, set up as docs/pipeline.md says; approvals and branch control are Azure's",
    "packages": "the same .venv (installed as in Azure, where it does not fit)",
    "pulumi": "the Pulumi CLI of the local AWS",
    "checkov": "that of this folder, installed once as in Azure",
    "tools": "the tools, installed once as in Azure and kept",
    "image": "no Docker: the clone stands for the image, and its digest for the image's",
    "ManualValidation@1": "the terminal, or APPROVE=yes; the reader is the one who started the run",
    "environment": "approvals and the exclusive lock of an environment are Azure's: none here",
    "config": "Pulumi.STACK.yaml with the simulated gateway and shorter times (local/stack.py)",
    "agents": "jobs one after the other, without limits of minutes",
}
"""By task, step or part: what is not as in Azure. Printed at the end of each run."""


class Here:
    """Implements `Machine` (delivery/azure_runner/running.py) with a clone of the commit and the local AWS."""

    def __init__(self, stack: str, commit: str, folder: Path, connections: Sequence[str], tests: str = "") -> None:
        self.stack, self.commit, self.folder, self.tests = stack, commit, folder.resolve(), tests
        self.connections = connections
        self.build: Mapping[str, str] = {
            "Agent.OS": "Linux",
            "Build.BuildId": commit[:12],
            "Build.Reason": "Manual",
            "Build.SourceVersion": commit,
            "System.AccessToken": "",
        }
        self._source = self.folder / "source"
        self._lock: TextIO
        self._aws: LocalAws | None = None
        self._azure: Azure | None = None
        self._configured: set[Path] = set()
        environment = {
            "awsRegion": REGION,
            "stateBackend": f"file://{self.folder / stack / 'state'}",
            "approvers": "you",
            "canaryAccount": "canary",
        }
        self.groups: Mapping[str, Mapping[str, str]] = {
            "confirm-build": {
                "awsRegion": REGION,
                "imageRepository": f"000000000000.dkr.ecr.{REGION}.amazonaws.com/confirm-transactions",
            },
            **{f"confirm-{name}": environment for name in ENVIRONMENTS},
        }
        self._instead: Mapping[str, Callable[[Workspace], str]] = {
            "packages": self._packages,
            "pulumi": lambda _: "that of the local AWS",
            "tools": self._tools,
            "checkov": self._checkov,
            "image": self._image,
        }

    def __enter__(self) -> Here:
        """Clone the commit: jobs take theirs from it, and the tasks on the local AWS run its code."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = (self.folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LocalError("Another `make pipeline` runs in this folder: wait for its end.") from None
        shutil.rmtree(self._source, ignore_errors=True)
        _clone(ROOT, self._source, self.commit)
        self._azure = Azure()
        self.build = {**self.build, **self._azure.variables}
        return self

    def __exit__(self, *_: object) -> None:
        if self._aws:
            self._aws.stop()
        if self._azure:
            self._azure.close()
        self._lock.close()

    def checkout(self, workspace: Workspace) -> None:
        _clone(self._source, workspace.source, self.commit)

    def script(self, step: Step) -> str:
        """Of the tests those alone that were asked for: the file itself leaves nobody a choice."""
        return step.script.replace('ARGS="', f'ARGS="{self.tests} ', 1) if step.name == "tests" else step.script

    def instead(self, step: Step) -> Callable[[Workspace], str] | None:
        return self._instead.get(step.name)

    def environment(self, workspace: Workspace, connection: str) -> dict[str, str]:
        own = {"PYTHONPATH": str(workspace.source), "TF_BUILD": "True"}
        own |= {f"{name}_CACHE_DIR": str(self.folder / "caches" / name.lower()) for name in ("MYPY", "RUFF")}
        if connection:
            return self._started(workspace).environment | own
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        return {name: value for name, value in os.environ.items() if not is_foreign(name)} | own | {"PATH": path}

    def ask(self, stage: Stage, instructions: str, seconds: float) -> bool | None:
        if answer := os.environ.get("APPROVE"):
            return answer.lower() == "yes"
        if not sys.stdin.isatty():
            raise StepFailed("nobody is here to ask; run it on a terminal, or with APPROVE=yes: rejected")
        plan = self.folder / "artifacts" / f"plan-{self.stack}"
        return answer_on_terminal(
            f"\n      {instructions}\n      It is in {plan}, and above.\n      {stage.name}: apply it? (yes/no)",
            min(seconds or SECONDS, SECONDS),
        )

    # --- in place of steps

    def _packages(self, workspace: Workspace) -> str:
        """The project's own packages are those of the commit, unless the commit pins others."""
        if any((workspace.source / name).read_bytes() != (ROOT / name).read_bytes() for name in LOCKS):
            raise StepFailed(
                f"{' and '.join(LOCKS)} of the commit are not those of this folder, so its .venv does not fit: "
                "check the commit out, or commit your change, and run `make pipeline` again"
            )
        for name in LOCKS:  # else `make` takes the .venv for older than these, and makes it anew
            os.utime(workspace.source / name, (0, 0))
        (workspace.source / ".venv").symlink_to(Path(sys.prefix))
        return "those of this folder, which fit"

    def _tools(self, workspace: Workspace) -> str:
        lock = workspace.source / "delivery" / "pipeline" / "tools.lock"
        kept = self.folder / "caches" / f"tools-{hashlib.sha256(lock.read_bytes()).hexdigest()[:16]}"
        fresh = not (kept / "installed").exists()
        if fresh:
            shutil.rmtree(kept, ignore_errors=True)
            pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "--no-deps"]
            _must([sys.executable, "-m", "venv", str(kept)])
            _must([str(kept / "bin" / "python"), *pip, "-r", str(lock)])
            (kept / "installed").touch()
        (workspace.source / ".tools").symlink_to(kept)
        return "installed, and kept" if fresh else "those of an earlier run"

    def _checkov(self, workspace: Workspace) -> str:
        lock = Path("delivery", "policies", "checkov.lock")
        if (workspace.source / lock).read_bytes() != (ROOT / lock).read_bytes():
            raise StepFailed(f"{lock} of the commit is not that of this folder: check it out, or commit your change")
        _must(["make", "-C", str(ROOT), ".venv-checkov/bin/checkov"])
        os.utime(workspace.source / lock, (0, 0))  # as above
        (workspace.source / ".venv-checkov").symlink_to(ROOT / ".venv-checkov")
        return ""

    def _image(self, workspace: Workspace) -> str:
        manifest = json.loads((workspace.root / "build" / "manifest.json").read_text())
        repository = self.groups["confirm-build"]["imageRepository"]
        return image.write(f"{repository}@sha256:{manifest['files']['image.tar']}", workspace.staging / "image")

    def _started(self, workspace: Workspace) -> LocalAws:
        """The local AWS; and the job's clone has the configuration that the stack has on it."""
        if self._aws is None:
            self._aws = LocalAws(self.stack, root=self._source, folder=self.folder / self.stack).start()
        if workspace.source not in self._configured:
            name = f"Pulumi.{self.stack}.yaml"
            shutil.copyfile(self._aws.program / name, workspace.source / name)
            self._configured.add(workspace.source)
        return self._aws


def _clone(source: Path, target: Path, commit: str) -> None:
    _must(["git", "clone", "--quiet", "--no-checkout", "--shared", str(source), str(target)])
    _must(["git", "-C", str(target), "checkout", "--quiet", "--detach", commit])


def _must(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LocalError(f"`{' '.join(command)}` ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
