"""What the program is made of: bills of materials, known vulnerabilities, licences, secrets, the Dockerfile.

The tools are pinned, with hashes, in tools.lock, and live in a virtual environment of their own (`.tools`). Every check
is a test case of the report supply-chain.xml, and what it found is a file beside it.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from delivery.pipeline import shell
from delivery.pipeline.errors import Refused

LOCKS: Mapping[str, str] = {"image": "workers/requirements.lock", "program": "requirements.lock"}
"""What is shipped in the image, and what the program and its tests are run with."""

COPYLEFT = re.compile(r"\bA?GPL|\bSSPL|\bBUSL|Affero|(?<!Lesser )General Public|\bUNKNOWN\b", re.IGNORECASE)
"""Licences that must not be in what is shipped without a lawyer's word."""

DETECTORS_OFF = ("KeywordDetector", "Base64HighEntropyString", "HexHighEntropyString")
"""They take digests, lock files and words for secrets; the others know the formats of real ones."""
OFF_IN_TESTS = ("BasicAuthDetector", "StripeDetector")
"""Tests feed made-up ones in, to see that they come out nowhere."""
PLACEHOLDERS = "(?i)^(password|secret)$"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what it is called, how long it took, and what is wrong ("" for nothing)."""

    name: str
    seconds: float
    problem: str


Tool = Callable[..., "subprocess.CompletedProcess[str]"]


def tool(folder: Path) -> Tool:
    """Runs the tools of a virtual environment in the clone."""

    def start(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        binary = folder / "bin" / name
        if not binary.exists():
            raise Refused(
                f"{binary}: missing; install the tools: pip install --require-hashes -r delivery/pipeline/tools.lock"
            )
        return subprocess.run([binary, *arguments], cwd=shell.ROOT, capture_output=True, text=True, check=False)  # noqa: S603

    return start


def check(out: Path, start: Tool) -> list[Finding]:
    """Run all of them; each writes its report to `out`."""
    out.mkdir(parents=True, exist_ok=True)
    checks: dict[str, Callable[[], str]] = {}
    for what, lock in LOCKS.items():
        checks[f"bill of materials of the {what}"] = partial(_bill, start, lock, out / f"{what}.cdx.json")
        checks[f"vulnerabilities of the {what}"] = partial(_audit, start, lock, out / f"{what}.audit.json")
    checks["licences"] = partial(_licences, start, out / "licences.json")
    checks["secrets"] = partial(_secrets, start, out / "secrets.json")
    checks["Dockerfile"] = partial(_dockerfile, start, out / "dockerfile.json")
    findings = []
    for name, run in checks.items():
        began = time.monotonic()
        problem = run()
        findings.append(Finding(name, time.monotonic() - began, problem))
    _report(findings, out / "supply-chain.xml")
    return findings


def _bill(start: Tool, lock: str, file: Path) -> str:
    done = start("cyclonedx-py", "requirements", lock, "--output-reproducible", "--of", "JSON", "-o", str(file))
    if done.returncode:
        return done.stderr
    named = {component["name"] for component in json.loads(file.read_text()).get("components", ())}
    missing = set(re.findall(r"^([A-Za-z0-9._-]+)==", (shell.ROOT / lock).read_text(), re.MULTILINE)) - named
    return f"not in the bill: {', '.join(sorted(missing))}" if missing or not named else ""


def _audit(start: Tool, lock: str, file: Path) -> str:
    done = start("pip-audit", "-r", lock, "--require-hashes", "--disable-pip", "-f", "json", "-o", str(file))
    if not done.returncode:
        return ""
    if not file.exists():
        return done.stderr.strip() or "pip-audit wrote no report"
    found = json.loads(file.read_text())["dependencies"]
    lines = [
        f"{one['name']} {one['version']}: {vulnerability['id']}, fixed in {', '.join(vulnerability['fix_versions'])}"
        for one in found
        for vulnerability in one.get("vulns", ())
    ]
    return "\n".join(lines) or done.stderr.strip()


def _licences(start: Tool, file: Path) -> str:
    python = str(shell.ROOT / ".venv" / "bin" / "python")
    done = start("pip-licenses", "--python", python, "--format", "json", "--with-urls", "--output-file", str(file))
    if done.returncode:
        return done.stderr
    licences = {_normal(one["Name"]): one["License"] for one in json.loads(file.read_text())}
    shipped = re.findall(r"^([A-Za-z0-9._-]+)==", (shell.ROOT / LOCKS["image"]).read_text(), re.MULTILINE)
    found = {name: licences.get(_normal(name), "UNKNOWN") for name in shipped}
    return "\n".join(f"{name}: {licence}" for name, licence in sorted(found.items()) if COPYLEFT.search(licence))


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _secrets(start: Tool, file: Path) -> str:
    """Asks nobody whether a secret is a live one: it would be sent around for that."""
    found: dict[str, list[Mapping[str, object]]] = {}
    for which, more in ((":!tests", ()), ("tests", OFF_IN_TESTS)):
        listed = shell.run("git", "ls-files", "--", which)
        off = [argument for detector in (*DETECTORS_OFF, *more) for argument in ("--disable-plugin", detector)]
        scan = ["scan", "--no-verify", "--exclude-secrets", PLACEHOLDERS, *off]
        done = start("detect-secrets", *scan, *listed.splitlines())
        if done.returncode:
            return done.stderr
        found |= json.loads(done.stdout)["results"]
    file.write_text(json.dumps(found, indent=2) + "\n")
    return "\n".join(f"{path}:{one['line_number']}: {one['type']}" for path, ones in found.items() for one in ones)


def _dockerfile(start: Tool, file: Path) -> str:
    done = start("hadolint", "--format", "json", "workers/Dockerfile")
    file.write_text(done.stdout)
    found: Sequence[Mapping[str, object]] = json.loads(done.stdout or "[]")
    lines = [f"{one['file']}:{one['line']}: {one['code']} {one['message']}" for one in found]
    return "\n".join(lines) or (done.stderr if done.returncode else "")


def _report(findings: Sequence[Finding], file: Path) -> None:
    """As JUnit has it."""
    failures = sum(bool(finding.problem) for finding in findings)
    suite = ET.Element("testsuite", name="supply-chain", tests=str(len(findings)), failures=str(failures), errors="0")
    for finding in findings:
        case = ET.SubElement(suite, "testcase", classname="supply-chain", name=finding.name)
        case.set("time", f"{finding.seconds:.3f}")
        if finding.problem:
            ET.SubElement(case, "failure", message=finding.problem.splitlines()[0]).text = finding.problem
    ET.ElementTree(suite).write(file, encoding="unicode", xml_declaration=True)
