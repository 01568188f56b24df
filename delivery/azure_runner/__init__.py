"""`make pipeline STACK=...`: the pipeline's own file, azure-pipelines.yml, on this machine and the local AWS.

reading.py      the file, with templates, parameters and expressions, as Azure expands it
model.py        what it is made of, checked before anything runs
running.py      stages, jobs and steps, one after the other
here.py         what stands here for what only Azure and AWS have
azure.py        Azure's REST API, as far as a step asks it
"""

from __future__ import annotations

import subprocess
import time

from components.bootstrap.settings import connections
from delivery.azure_runner import model
from delivery.azure_runner.here import DIFFERENCES, Here
from delivery.azure_runner.reading import read
from delivery.azure_runner.running import PREDEFINED, Runner
from local.errors import LocalError
from local.processes import ROOT

FILE = ROOT / "azure-pipelines.yml"
TESTS = "tests/domain tests/pipeline tests/serverless"
"""Of all tests, those that a local run runs, so that it lasts minutes; `TESTS=...` says otherwise."""
CONNECTIONS = connections()
"""Those that delivery/bootstrap/ makes roles for."""


def load(stack: str) -> model.Pipeline:
    """Our pipeline for a stack, checked. Raises LocalError with every mistake."""
    return model.build(FILE.name, read(FILE, {"alternative": stack}))


def main(stack: str, tests: str = TESTS) -> int:
    """Run it on the commit that is checked out; 0 when everything was applied and verified."""
    began = time.monotonic()
    pipeline = load(stack)
    commit = _git("rev-parse", "HEAD")
    folder = ROOT / ".local" / "pipeline"
    print(f"{FILE.name} on commit {commit[:12]}, stack {stack}, tests: {tests or 'all'}")
    if _git("status", "--porcelain"):
        print("Changes that are not committed are not in it.")
    with Here(stack, commit, folder, CONNECTIONS, tests) as machine:
        model.check(pipeline, machine.groups, machine.connections, PREDEFINED)
        runner = Runner(pipeline, machine, folder)
        good = runner.run()
    print("\nNot as in Azure:")
    print("\n".join(f"  {what:22}{how}" for what, how in DIFFERENCES.items()))
    print(f"\n{_closing(runner)} in {time.monotonic() - began:.0f} s. Logs and artifacts: {folder.relative_to(ROOT)}")
    return 0 if good else 1


def _closing(runner: Runner) -> str:
    failed = [name for name, result in runner.results.items() if result == "failed"]
    return f"FAILED in {', '.join(failed)}" if failed else f"All {len(runner.results)} stages done"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LocalError(f"`git {' '.join(arguments)}` failed: {done.stderr.strip()}; the pipeline runs a commit")
    return done.stdout.strip()
