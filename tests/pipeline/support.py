"""A machine on which nothing is what it seems, for small pipelines."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent

from delivery.azure_runner import model
from delivery.azure_runner.model import Stage, Step
from delivery.azure_runner.reading import read
from delivery.azure_runner.running import PREDEFINED, Runner, Workspace


@dataclass
class Stub:
    """Implements `Machine`: scripts run for real, in an empty folder.

    `answers` are what a person says, None for nothing.
    """

    answers: list[bool | None] = field(default_factory=list)
    groups: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: {"confirm-dev": {"who": "ana"}})
    connections: Sequence[str] = ("confirm-dev-plan", "confirm-dev-apply")
    build: Mapping[str, str] = field(default_factory=lambda: {"Build.Reason": "Manual", "System.AccessToken": "t0ken"})
    asked: list[str] = field(default_factory=list)
    connected: list[str] = field(default_factory=list)

    def checkout(self, workspace: Workspace) -> None:
        (workspace.source / "code").touch()

    def environment(self, workspace: Workspace, connection: str) -> dict[str, str]:
        self.connected.append(connection)
        return {"PATH": os.environ["PATH"]}

    def script(self, step: Step) -> str:
        return step.script

    def instead(self, step: Step) -> Callable[[Workspace], str] | None:
        return (lambda _: "something else") if step.name == "other" else None

    def ask(self, stage: Stage, instructions: str, seconds: float) -> bool | None:
        self.asked.append(f"{stage.name}, {seconds:.0f} s: {instructions}")
        return self.answers.pop(0)


def load(folder: Path, text: str) -> model.Pipeline:
    file = folder / "azure-pipelines.yml"
    file.write_text(dedent(text))
    return model.build(file.name, read(file, {}))


def run(folder: Path, text: str, machine: Stub | None = None) -> tuple[Runner, str]:
    """The runner after the run, and all that it said."""
    machine, said = machine or Stub(), list[str]()
    pipeline = load(folder, text)
    model.check(pipeline, machine.groups, machine.connections, PREDEFINED)
    runner = Runner(pipeline, machine, folder / "run", said.append)
    runner.run()
    return runner, "\n".join(said)
