"""checkov on the recorded graph of all alternatives: everything passes in prod but what skips.toml excuses, and nearly
everything in staging and dev.

    .venv/bin/python -m delivery.policies.scan .venv-checkov/bin/checkov

checkov reads no Pulumi program in Python, so it gets the graph as a Terraform plan (plan_json.py). It runs offline.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from analysis.graph import record
from delivery.policies.graph import STACKS as JUDGED
from delivery.policies.plan_json import plan

HERE = Path(__file__).parent
STACKS = {name.replace(" ", "-"): stack for name, stack in JUDGED.items()}
SHARES = {"dev": 0.9, "staging": 0.95}
"""Of the checks that a stack must pass, apart from what is excused: all in prod. The rest is what prod alone has, such
as a year of logs (docs/environments.md)."""
MOST_SKIPS = 8
"""In the whole file."""


@dataclass(frozen=True, slots=True)
class Skip:
    checks: Sequence[str]
    resources: Sequence[str]
    """Addresses of the plan; `*` stands for any text."""
    reason: str
    expires: date

    def __str__(self) -> str:
        return f"{', '.join(self.checks)} on {', '.join(self.resources)}"

    def excuses(self, check: str, resource: str) -> bool:
        return check in self.checks and any(fnmatchcase(resource, one) for one in self.resources)


@dataclass(frozen=True, slots=True)
class Result:
    """What checkov said of one stack."""

    stack: str
    passed: int
    failed: Sequence[tuple[str, str, str]]
    """Check, resource, what it asks for."""


def skips(file: Path = HERE / "skips.toml") -> list[Skip]:
    rows = tomllib.loads(file.read_text())["skip"]
    return [Skip(tuple(row["checks"]), tuple(row["resources"]), row["reason"], row["expires"]) for row in rows]


def judge(results: Sequence[Result], excused: Sequence[Skip], today: date) -> Iterator[str]:
    """What speaks against the stacks, or against the excuses."""
    if len(excused) > MOST_SKIPS:
        yield f"there are {len(excused)} skips; allowed: {MOST_SKIPS}"
    for skip in excused:
        if skip.expires < today:
            yield f"the skip of {skip} expired on {skip.expires}: mend it, or say why anew"
        if not skip.reason.strip():
            yield f"the skip of {skip} has no reason"
    needed: set[tuple[Skip, str]] = set()
    for result in results:
        if not result.passed:
            yield f"{result.stack}: checkov judged nothing"
        excuses = {(check, resource): _excuse(check, resource, excused) for check, resource, _ in result.failed}
        unexcused = [one for one in result.failed if excuses[one[:2]] is None]
        if least := SHARES.get(result.stack.partition("-")[2]):
            share = result.passed / (result.passed + len(unexcused) or 1)
            if share < least:
                yield f"{result.stack}: {share:.0%} of the checks pass; allowed: {least:.0%} or more"
            continue
        for check, resource, title in unexcused:
            yield f"{result.stack}: {check} on {resource}: {title}"
        needed |= {(skip, check) for (check, _), skip in excuses.items() if skip}
    for skip in excused:
        for check in skip.checks:
            if (skip, check) not in needed:
                yield f"the skip of {check} in {skip} excuses nothing: take it away"


def _excuse(check: str, resource: str, excused: Sequence[Skip]) -> Skip | None:
    return next((skip for skip in excused if skip.excuses(check, resource)), None)


def run(checkov: Path) -> list[Result]:
    """Plans written, scanned and read.

    Raises:
        RuntimeError: checkov cannot be run, or what it prints is no report.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name, (stack, changes) in STACKS.items():
            Path(folder, f"{name}.json").write_text(json.dumps(plan(record(stack, **changes))))
        options = ["--framework", "terraform_plan", "--skip-download", "--compact", "-o", "json"]
        told = subprocess.run(  # noqa: S603 - the pinned tool, on our own files
            [checkov, "-d", folder, *options], capture_output=True, text=True, check=False
        )
        try:
            report: Any = json.loads(told.stdout)
        except ValueError:
            raise RuntimeError(f"checkov gave no report: {(told.stderr or told.stdout)[-800:]}") from None
    return list(read(report if isinstance(report, dict) else report[0]))


def read(report: dict[str, Any]) -> Iterator[Result]:
    """The report by stack."""
    checks = report["results"]

    def of(kind: str, stack: str) -> list[dict[str, Any]]:
        return [one for one in checks[kind] if Path(one["file_path"]).stem == stack]

    for stack in STACKS:
        failed = [(one["check_id"], one["resource"], one["check_name"]) for one in of("failed_checks", stack)]
        yield Result(stack, len(of("passed_checks", stack)), sorted(failed))


def main(checkov: str) -> int:
    try:
        results = run(Path(checkov))
    except (OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for one in results:
        print(f"checkov on {one.stack}: {one.passed} passed, {len(one.failed)} failed or excused")
    against = list(judge(results, skips(), datetime.now(UTC).date()))
    for line in against:
        print(f"  {line}", file=sys.stderr)
    return 1 if against else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
