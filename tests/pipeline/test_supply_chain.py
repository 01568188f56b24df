"""What the program is made of: each finding fails, by name, and is in the report."""

from __future__ import annotations

import json
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from delivery.pipeline import supply_chain
from delivery.pipeline.errors import Refused
from local.processes import ROOT


class Tools:
    """Stand-ins for the tools: they write what a test wants them to have found."""

    def __init__(self) -> None:
        self.licence, self.vulnerable, self.secret, self.lint, self.forgotten = "MIT", "", "", "[]", ""

    def __call__(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(name, *getattr(self, f"_{name.replace('-', '_')}")(arguments))

    def _locked(self, lock: str) -> list[str]:
        lines = (ROOT / lock).read_text().splitlines()
        return [line.partition("==")[0] for line in lines if "==" in line and line[0] not in " #"]

    def _cyclonedx_py(self, arguments: Any) -> tuple[int, str]:
        components = [{"name": name} for name in self._locked(arguments[1]) if name != self.forgotten]
        Path(arguments[-1]).write_text(json.dumps({"components": components}))
        return 0, ""

    def _pip_audit(self, arguments: Any) -> tuple[int, str]:
        found = [{"name": "boto3", "version": "1", "vulns": [{"id": self.vulnerable, "fix_versions": ["2"]}]}]
        Path(arguments[-1]).write_text(json.dumps({"dependencies": found if self.vulnerable else []}))
        return int(bool(self.vulnerable)), ""

    def _pip_licenses(self, arguments: Any) -> tuple[int, str]:
        names = self._locked("workers/requirements.lock")
        Path(arguments[-1]).write_text(json.dumps([{"Name": name, "License": self.licence} for name in names]))
        return 0, ""

    def _detect_secrets(self, arguments: Any) -> tuple[int, str]:
        found = {self.secret: [{"line_number": 7, "type": "AWS Access Key"}]} if self.secret in arguments else {}
        return 0, json.dumps({"results": found})

    def _hadolint(self, arguments: Any) -> tuple[int, str]:
        return int(self.lint != "[]"), self.lint


def test_nothing_found(tmp_path: Path) -> None:
    findings = supply_chain.check(tmp_path, Tools())
    assert [finding.problem for finding in findings] == [""] * 7
    report = ET.fromstring((tmp_path / "supply-chain.xml").read_text())  # noqa: S314 - we wrote it
    assert (report.get("tests"), report.get("failures")) == ("7", "0")


@pytest.mark.parametrize(
    ("found", "check", "said"),
    [
        ({"forgotten": "boto3"}, "bill of materials of the image", "not in the bill: boto3"),
        ({"vulnerable": "GHSA-1"}, "vulnerabilities of the image", "boto3 1: GHSA-1, fixed in 2"),
        ({"licence": "GPL-3.0"}, "licences", "asyncpg: GPL-3.0"),
        ({"licence": "UNKNOWN"}, "licences", "asyncpg: UNKNOWN"),
        ({"secret": "README.md"}, "secrets", "README.md:7: AWS Access Key"),
        ({"secret": "tests/conftest.py"}, "secrets", "tests/conftest.py:7: AWS Access Key"),
        (
            {"lint": '[{"file": "workers/Dockerfile", "line": 3, "code": "DL3008", "message": "pin"}]'},
            "Dockerfile",
            "workers/Dockerfile:3: DL3008 pin",
        ),
    ],
)
def test_a_finding_fails_and_is_in_the_report(tmp_path: Path, found: dict[str, str], check: str, said: str) -> None:
    tools = Tools()
    for name, value in found.items():
        setattr(tools, name, value)
    problems = {finding.name: finding.problem for finding in supply_chain.check(tmp_path, tools)}
    assert said in problems[check]
    report = ET.fromstring((tmp_path / "supply-chain.xml").read_text())  # noqa: S314 - we wrote it
    failed = [case.get("name") for case in report.iter("testcase") if len(case)]
    assert check in failed


def test_a_lesser_licence_is_none_of_those() -> None:
    assert not supply_chain.COPYLEFT.search("LGPL-3.0")
    assert not supply_chain.COPYLEFT.search("GNU Lesser General Public License v3 (LGPLv3)")
    assert supply_chain.COPYLEFT.search("GNU Affero General Public License")


def test_tools_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"cyclonedx-py: missing; install the tools: pip install --require-hashes"):
        supply_chain.check(tmp_path, supply_chain.tool(tmp_path))
