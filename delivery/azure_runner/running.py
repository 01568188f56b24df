"""Runs a pipeline: stages in order, each job in a workspace of its own, each step with what Azure would give it."""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from delivery.azure_runner.expressions import FUNCTIONS, evaluate, truth
from delivery.azure_runner.model import MACRO, Job, Pipeline, Stage, Step
from local.errors import LocalError
from local.processes import ROOT

PREDEFINED = (
    *("Agent.OS", "Build.ArtifactStagingDirectory", "Build.BuildId", "Build.Reason", "Build.SourceVersion"),
    *("Build.SourceBranch", "Common.TestResultsDirectory", "Pipeline.Workspace", "System.AccessToken"),
    *("System.CollectionUri", "System.TeamProjectId"),
)
"""Azure's own variables, of those that the pipeline may use."""

COMMAND = re.compile(r"##vso\[([\w.]+)[^\]]*\](.*)")
"""What a step says to the agent: `##vso[task.prependpath]FOLDER`."""


class Result(StrEnum):
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"


class StepFailed(Exception):  # noqa: N818 - it is what the run says of it
    """Why, for the reader."""


@dataclass
class Workspace:
    """A job's folders, fresh for each: what another job made comes by artifacts alone."""

    root: Path
    path: list[str] = field(default_factory=list)
    """Folders that steps put before PATH."""

    @property
    def source(self) -> Path:
        """The clone; steps run here."""
        return self.root / "s"

    @property
    def staging(self) -> Path:
        return self.root / "a"

    @property
    def results(self) -> Path:
        return self.root / "TestResults"


class Machine(Protocol):
    """Where the steps run, and what stands there for what only Azure and AWS have."""

    groups: Mapping[str, Mapping[str, str]]
    """Variable groups and their values."""
    connections: Sequence[str]
    """Service connections."""
    build: Mapping[str, str]
    """Values of PREDEFINED, beside the workspace's."""

    def checkout(self, workspace: Workspace) -> None:
        """A clean clone of the commit, in the workspace."""
        ...

    def environment(self, workspace: Workspace, connection: str) -> dict[str, str]:
        """For a step's process; with `connection`, one that may use AWS."""
        ...

    def script(self, step: Step) -> str:
        """What is run of the step's script: all of it, or what takes less time here."""
        ...

    def instead(self, step: Step) -> Callable[[Workspace], str] | None:
        """What is done here in place of the step; it returns what it did. None: the step itself is run."""
        ...

    def ask(self, stage: Stage, instructions: str, seconds: float) -> bool | None:
        """A person's answer; None when there was none in time."""
        ...


Say = Callable[[str], None]


@dataclass
class Runner:
    """Runs one pipeline once. `results` has an entry for each stage that had its turn."""

    pipeline: Pipeline
    machine: Machine
    folder: Path
    say: Say = print
    results: dict[str, Result] = field(default_factory=dict)

    def run(self) -> bool:
        """All stages; did none fail?"""
        shutil.rmtree(self.folder / "artifacts", ignore_errors=True)
        shutil.rmtree(self.folder / "logs", ignore_errors=True)
        (self.folder / "logs").mkdir(parents=True)
        for stage in self.pipeline.stages:
            before = [self.results[name] for name in stage.after]
            if not self._holds(stage.condition, before, {}):
                self.results[stage.name] = Result.SKIPPED
                self.say(f"\n── {stage.title}: skipped")
                continue
            self.say(f"\n── {stage.title}")
            self.results[stage.name] = self._jobs(stage)
        return Result.FAILED not in self.results.values()

    def _jobs(self, stage: Stage) -> Result:
        results: dict[str, Result] = {}
        for job in stage.jobs:
            if self._holds(job.condition, [results[name] for name in job.after], {}):
                results[job.name] = self._job(stage, job)
            else:
                results[job.name] = Result.SKIPPED
        found = set(results.values())
        return next((one for one in (Result.FAILED, Result.SUCCEEDED) if one in found), Result.SKIPPED)

    def _job(self, stage: Stage, job: Job) -> Result:
        workspace = Workspace(self.folder / "work" / f"{stage.name}-{job.name}")
        shutil.rmtree(workspace.root, ignore_errors=True)
        for folder in (workspace.source, workspace.staging, workspace.results):
            folder.mkdir(parents=True)
        variables = {**self.pipeline.variables, **stage.variables}
        for group in [*self.pipeline.groups, *stage.groups]:
            variables |= self.machine.groups[group]
        variables |= self.machine.build
        variables |= {
            "Build.ArtifactStagingDirectory": str(workspace.staging),
            "Common.TestResultsDirectory": str(workspace.results),
            "Pipeline.Workspace": str(workspace.root),
        }
        result = Result.SUCCEEDED
        self.say(f"   {job.title}")
        for number, step in enumerate(job.steps, 1):
            if not self._holds(step.condition, [result], variables):
                continue
            log = self.folder / "logs" / f"{stage.name}-{job.name}-{number}.log"
            began = time.monotonic()
            try:
                said = self._step(stage, step, workspace, variables, log)
            except (StepFailed, LocalError, OSError) as error:
                result = Result.FAILED
                self.say(f"     FAILED  {step.title} ({time.monotonic() - began:.1f} s)\n{_indented(str(error))}")
                if log.exists():
                    self.say(f"{_indented(_tail(log))}\n      all of it: {log}")
            else:
                if step.kind not in NOTHING:
                    told = f": {said}" if said else ""
                    self.say(f"     done  {step.title} ({time.monotonic() - began:.1f} s){told}")
        return result

    def _step(self, stage: Stage, step: Step, workspace: Workspace, variables: Mapping[str, str], log: Path) -> str:
        if instead := self.machine.instead(step):
            return instead(workspace)
        inputs = {key: _filled(value, variables) for key, value in step.inputs.items()}
        if step.kind == "checkout":
            self.machine.checkout(workspace)
            return ""
        if step.kind in ("script", "AWSShellScript@1"):
            env = self.machine.environment(workspace, inputs.get("awsCredentials", ""))
            env |= {name.upper().replace(".", "_"): value for name, value in variables.items()}
            env.pop("SYSTEM_ACCESSTOKEN", None)  # a secret: only for a step that asks for it
            env |= {name: _filled(value, variables) for name, value in step.env.items()}
            env["PATH"] = os.pathsep.join([*workspace.path, env["PATH"]])
            return self._script(_filled(self.machine.script(step), variables), workspace, env, log)
        return TASKS[step.kind](self, stage, step, inputs)

    def _script(self, script: str, workspace: Workspace, env: Mapping[str, str], log: Path) -> str:
        """As Azure does it: a file, given to bash; what the last command ends with counts."""
        file = log.with_suffix(".sh")
        file.write_text(script)
        guard = [sys.executable, "-SE", str(ROOT / "local" / "guard.py"), str(os.getpid()), str(int(signal.SIGINT))]
        with log.open("w") as output:
            process = subprocess.Popen(
                [*guard, "bash", "--noprofile", "--norc", str(file)],
                cwd=workspace.source,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # what the script starts ends with us too
            )
            try:
                code = process.wait()
            finally:
                _end(process)
        self._commands(log, workspace)
        if code:
            raise StepFailed(f"ended with {code}")
        return ""

    def _commands(self, log: Path, workspace: Workspace) -> None:
        for command, value in COMMAND.findall(log.read_text(errors="replace")):
            if command == "task.prependpath":
                workspace.path.insert(0, value.strip())
            elif command == "task.uploadsummary":
                self.say(f"\n{_indented(Path(value.strip()).read_text())}")
            elif command != "task.logissue":
                raise StepFailed(f"says {command!r} to the agent, which is unknown here")

    def _holds(self, condition: str, before: Sequence[Result], variables: Mapping[str, str]) -> bool:
        """A condition over the results of what comes before: all stages or jobs named, or the steps so far."""
        failed, good = Result.FAILED in before, all(one == Result.SUCCEEDED for one in before)
        functions = {
            **FUNCTIONS,
            "succeeded": lambda: good,
            "failed": lambda: failed,
            "succeededOrFailed": lambda: Result.SKIPPED not in before,
            "always": lambda: True,
        }
        return truth(evaluate(condition, {"variables": {**self.machine.build, **variables}}, functions))

    # --- tasks

    def _publish(self, _stage: Stage, _step: Step, inputs: Mapping[str, str]) -> str:
        target = self.folder / "artifacts" / inputs["artifact"]
        if target.exists():
            raise StepFailed(f"the artifact {inputs['artifact']} was published before")
        if not Path(inputs["targetPath"]).is_dir():
            raise StepFailed(f"{inputs['targetPath']}: there is nothing to publish")
        shutil.copytree(inputs["targetPath"], target)
        return ", ".join(sorted(path.name for path in target.iterdir()))

    def _download(self, _stage: Stage, _step: Step, inputs: Mapping[str, str]) -> str:
        source = self.folder / "artifacts" / inputs["artifactName"]
        if not source.is_dir():
            raise StepFailed(f"there is no artifact {inputs['artifactName']}; was it published?")
        shutil.copytree(source, inputs["targetPath"], dirs_exist_ok=True)
        return ""

    def _test_results(self, _stage: Stage, _step: Step, inputs: Mapping[str, str | bool]) -> str:
        file = Path(str(inputs["searchFolder"]), str(inputs["testResultsFiles"]))
        if not file.is_file():
            if inputs["failTaskOnMissingResultsFile"]:
                raise StepFailed(f"{file}: the results are missing")
            return "none"
        cases = ET.parse(file).getroot().findall(".//testcase")  # noqa: S314 - we wrote it
        bad = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
        if bad and inputs["failTaskOnFailedTests"]:
            names = "\n".join(f"{case.get('classname')} {case.get('name')}" for case in bad[:10])
            raise StepFailed(f"{len(bad)} of {len(cases)} failed:\n{names}")
        return f"{len(cases)} passed"

    def _coverage(self, _stage: Stage, _step: Step, inputs: Mapping[str, str | bool]) -> str:
        file = Path(str(inputs["summaryFileLocation"]))
        lines = ET.parse(file).getroot().get("line-rate", "") if file.is_file() else ""  # noqa: S314 - we wrote it
        if not lines:
            raise StepFailed(f"{file}: the coverage is missing")
        return f"{float(lines):.0%} of the lines"

    def _validation(self, stage: Stage, step: Step, inputs: Mapping[str, str | bool]) -> str:
        answer = self.machine.ask(stage, str(inputs["instructions"]), (step.minutes or 0) * 60)
        if answer is None:
            if inputs["onTimeout"] == "resume":
                return "nobody answered in time: resumed"
            raise StepFailed("nobody answered in time: rejected")
        if not answer:
            raise StepFailed("rejected")
        return "approved"


TASKS: Mapping[str, Callable[..., str]] = {
    "PublishPipelineArtifact@1": Runner._publish,
    "DownloadPipelineArtifact@2": Runner._download,
    "PublishTestResults@2": Runner._test_results,
    "PublishCodeCoverageResults@2": Runner._coverage,
    "ManualValidation@1": Runner._validation,
    "UsePythonVersion@0": lambda *_: "",
    "Cache@2": lambda *_: "",
}
NOTHING = ("UsePythonVersion@0", "Cache@2")
"""What does nothing here."""


def _end(script: subprocess.Popen[bytes]) -> None:
    """End a script that still runs, and all that it started. `pulumi` writes its state on SIGINT."""
    if script.poll() is not None:
        return
    for number, patience in ((signal.SIGINT, 20), (signal.SIGTERM, 10), (signal.SIGKILL, 5)):
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(script.pid, number)  # what is in the background takes no SIGINT, and outlives the script
            script.wait(patience)


def _filled(value: Any, variables: Mapping[str, str]) -> Any:
    if not isinstance(value, str):
        return value
    return MACRO.sub(lambda match: variables.get(match[1], match[0]), value)


def _indented(text: str) -> str:
    return "\n".join(f"      {line}" for line in text.strip().splitlines())


def _tail(log: Path, lines: int = 30) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def answer_on_terminal(question: str, seconds: float) -> bool | None:
    """`yes` on the keyboard approves, anything else rejects; None when nobody typed in time."""
    print(question, end=" ", flush=True)
    with selectors.DefaultSelector() as waiting:
        waiting.register(sys.stdin, selectors.EVENT_READ)
        if not waiting.select(seconds):
            print()
            return None
    return sys.stdin.readline().strip().lower() == "yes"
