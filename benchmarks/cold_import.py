"""The Lambda's zip: its size, and what its handlers add to a cold start over boto3 alone.

Fresh interpreters, one after another in turn, import from the unzipped artifact without compiled files of ours, as
Lambda does from its read-only disk. Timed, so it informs and decides nothing: see the spread.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from components.artifact import build

ROUNDS = 11
BOTO3 = "import boto3; boto3.client('dynamodb', region_name='us-east-1')"
HANDLER = "import workers.serverless.handlers as h"
FROM_ARTIFACT = "import os, sys; sys.path.insert(0, os.getcwd())"
PROOF = "assert h.__file__.startswith(os.getcwd()), h.__file__"
TIMED = """
{before}
import time
began = time.perf_counter()
{what}
print((time.perf_counter() - began) * 1000)
{after}
"""


@dataclass(frozen=True)
class Spread:
    """Milliseconds of several runs."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{self.median:.0f} ms ({self.least:.0f}..{self.most:.0f})"


@dataclass(frozen=True)
class ColdImport:
    """What was measured."""

    zip_bytes: int
    boto3: Spread
    handler: Spread
    added: Spread
    """The handlers over boto3's client, pair by pair: both of a pair met the same load."""


def measure(progress: Callable[[str, float], None], rounds: int = ROUNDS) -> ColdImport:
    """Build the artifact, unzip it, and time imports from it."""
    boto3, handler = [], []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        archive = build(target=folder / "workers.zip")
        code = folder / "code"
        with zipfile.ZipFile(archive) as content:
            content.extractall(code)
        _milliseconds(code, BOTO3)  # boto3's own files come from the disk's cache from now on
        for n in range(rounds):
            progress("importing in fresh interpreters", n / rounds)
            boto3.append(_milliseconds(code, BOTO3))
            handler.append(_milliseconds(code, f"{HANDLER}; {BOTO3}", after=PROOF))
        size = archive.stat().st_size
    added = [with_ours - without for with_ours, without in zip(handler, boto3, strict=True)]
    return ColdImport(size, Spread.of(boto3), Spread.of(handler), Spread.of(added))


def _milliseconds(code: Path, what: str, after: str = "") -> float:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTHON"))}
    environment |= {"PYTHONDONTWRITEBYTECODE": "1", "AWS_EC2_METADATA_DISABLED": "true"}
    script = TIMED.format(before=FROM_ARTIFACT, what=what, after=after)
    answer = subprocess.run(
        [sys.executable, "-c", script], cwd=code, env=environment, capture_output=True, text=True, check=True
    )
    return float(answer.stdout.split()[0])
