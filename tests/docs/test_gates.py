"""What `make check` looks at: every file of ours, with no excuse that nothing needs."""

from __future__ import annotations

import re
import subprocess
import tomllib
from fnmatch import fnmatchcase
from typing import Any

import pytest
from mypy.find_sources import create_source_list
from mypy.options import Options
from vulture import Vulture

from tests.docs.markdown import ROOT
from tests.docs.test_layers import PACKAGES

TOOLS: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
TRACKED = set(
    subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
)
"""All sources, those that nobody committed yet among them."""


def test_mypy_reads_every_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert "exclude" not in TOOLS["mypy"]
    assert TRACKED - {source.path for source in create_source_list(TOOLS["mypy"]["files"], Options())} == set()


def test_mypy_is_as_strict_with_each() -> None:
    """What a module may do without is the types of others, and nothing of ours is one of these."""
    assert TOOLS["mypy"]["strict"] is True
    for override in TOOLS["mypy"]["overrides"]:
        assert override.keys() == {"module", "ignore_missing_imports", "follow_untyped_imports"}
        assert not {name.partition(".")[0] for name in override["module"]} & {*PACKAGES, "tests"}
    for name in TRACKED:
        lines = (ROOT / name).read_text().splitlines()
        assert not [line for line in lines if line.startswith(("# mypy:", "# type: ignore"))], name


def test_ruff_leaves_out_nothing_of_ours() -> None:
    assert not [
        name for name in TRACKED if name.startswith(tuple(f"{one}/" for one in TOOLS["ruff"]["extend-exclude"]))
    ]


def test_every_package_is_installed_measured_and_searched() -> None:
    """Benchmarks are installed for nobody, and measure instead of being measured."""
    assert set(TOOLS["vulture"]["paths"]) == {"__main__.py", *PACKAGES}
    assert set(TOOLS["setuptools"]["packages"]) == {*PACKAGES} - {"benchmarks"}
    assert set(TOOLS["coverage"]["run"]["source"]) == {*PACKAGES} - {"benchmarks"}


def test_ci_checks_what_a_person_checks() -> None:
    assert "make check" in (ROOT / ".ci/run").read_text()
    assert "make check" in (ROOT / "delivery/pipeline/validate.yml").read_text()


def test_each_excuse_excuses_something() -> None:
    """What nothing stands behind any more would hide the next thing of that name."""
    finder = Vulture(ignore_decorators=TOOLS["vulture"]["ignore_decorators"])
    finder.scavenge([str(ROOT / path) for path in TOOLS["vulture"]["paths"]])
    unused = {item.name for item in finder.get_unused_code()}
    # a look at everything takes longer: of the names in tests it is enough that they are given there
    tests = "".join((ROOT / name).read_text() for name in TRACKED if name.startswith("tests/"))
    in_tests = set(re.findall(r"(\w+)(?: =|\()", tests))
    excuses = TOOLS["vulture"]["ignore_names"]
    assert [name for name in excuses if not any(fnmatchcase(one, name) for one in unused | in_tests)] == []
