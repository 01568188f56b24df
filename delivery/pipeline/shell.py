"""What steps ask other programs."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from delivery.pipeline.errors import Refused

ROOT = Path(__file__).resolve().parents[2]
"""The clone that the step runs in."""


def run(*command: str, given: str | None = None, allowed: Sequence[int] = (0,)) -> str:
    """What the command prints. Raises Refused, with the end of what it said, unless it ends with an allowed code."""
    try:
        done = subprocess.run(command, cwd=ROOT, input=given, capture_output=True, text=True, check=False)  # noqa: S603
    except FileNotFoundError:
        raise Refused(f"{command[0]}: not found; is it installed and on PATH?") from None
    if done.returncode not in allowed:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise Refused(f"`{' '.join(command)}` ended with {done.returncode}:\n{said}")
    return done.stdout


def run_json(*command: str) -> Any:
    """What it prints, as JSON."""
    return json.loads(run(*command))


def commit() -> str:
    """The commit that is checked out."""
    return run("git", "rev-parse", "HEAD").strip()


def sha256(file: Path) -> str:
    """The digest of a file. Raises Refused where it is missing."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except FileNotFoundError:
        raise Refused(f"{file}: missing; was the artifact of the stage before published and downloaded?") from None
