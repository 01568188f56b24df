"""Which layer may import which (the table in CONTRIBUTING.md), read from the sources without running them."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.docs.markdown import ROOT

OURS = {"workers", "components", "cli", "pipelines", "local", "benchmarks", "costs", "tests", "__main__"}
IN_THE_IMAGE = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "workers/requirements.lock").read_text(), re.MULTILINE))
_BY_NAME = {"import_module", "__import__", "run_module", "run_path", "find_spec"}


@dataclass(frozen=True, slots=True)
class Layer:
    folder: str
    may: frozenset[str]
    """Of ours: prefixes of modules."""
    others: frozenset[str] | None = None
    """Packages of others; None for any but `never`."""
    never: frozenset[str] = frozenset()

    def allows(self, module: str) -> bool:
        top = module.partition(".")[0]
        if top in OURS:
            return any(module == prefix or module.startswith(f"{prefix}.") for prefix in self.may)
        if top in sys.stdlib_module_names:
            return True
        return top in self.others if self.others is not None else top not in self.never


PULUMI = frozenset({"pulumi", "pulumi_aws", "pulumi_awsx", "pulumi_policy"})
LAYERS = (
    Layer("workers/domain", frozenset({"workers.domain"}), others=frozenset()),
    Layer("workers", frozenset({"workers"}), others=frozenset(IN_THE_IMAGE)),
    Layer("components", frozenset({"components"})),
    Layer("cli", frozenset({"cli", "workers"}), never=PULUMI),
    Layer("pipelines", frozenset({"pipelines", "components"})),
)


def imports(source: str, package: str = "") -> Iterator[str]:
    """Every module that a source names to be loaded, wherever it stands. `package` is what it is relative to."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if not node.level:
                base = node.module or ""
            else:
                parts = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parts, *([node.module] if node.module else [])])
            # `from workers import domain` names a module too
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args:
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in _BY_NAME:
                yield _text(node.args[0])


def _text(node: ast.expr) -> str:
    """What is known of a module's name that is computed: its beginning."""
    if isinstance(node, ast.JoinedStr) and node.values:
        return _text(node.values[0])
    return str(node.value).rstrip(".") if isinstance(node, ast.Constant) else "a name that is not to be seen"


def trespasses(layer: Layer) -> list[str]:
    found = []
    for path in sorted((ROOT / layer.folder).rglob("*.py")):
        relative = path.relative_to(ROOT)
        package = ".".join(relative.parent.parts)
        found += [f"{relative}: {m}" for m in imports(path.read_text(), package) if not layer.allows(m)]
    return found


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.folder)
def test_a_layer_imports_what_it_may(layer: Layer) -> None:
    assert trespasses(layer) == []
    assert len([*(ROOT / layer.folder).rglob("*.py")]) > 5


@pytest.mark.parametrize(
    ("folder", "source"),
    [
        ("workers/domain", "import boto3"),
        ("workers/domain", "from workers.config import Values"),
        ("workers/domain", "from workers import telemetry"),
        ("workers/domain", "from ..stores import memory"),
        ("workers", "import pulumi"),
        ("workers", "from components.settings import PROJECT"),
        ("workers", "def f():\n    import local.emulator"),
        ("workers", "import rich"),
        ("workers", "from cli import exits"),
        ("workers", "import_module('local')"),
        ("workers", "import_module(name)"),
        ("components", "from workers import config"),
        ("components", "import_module('workers.config')"),
        ("components", "importlib.import_module(f'workers.{name}')"),
        ("components", "import cli.main"),
        ("components", "from local.stack import PROJECT"),
        ("cli", "from local import stack"),
        ("cli", "from components.settings import PROJECT"),
        ("cli", "import pulumi_aws as aws"),
        ("pipelines", "from local.stack import LocalAws"),
        ("pipelines", "from cli.main import app"),
    ],
)
def test_a_trespass_is_seen(folder: str, source: str) -> None:
    (layer,) = (layer for layer in LAYERS if layer.folder == folder)
    assert [m for m in imports(source, folder.replace("/", ".")) if not layer.allows(m)] != []


def test_components_run_no_code_of_the_workers() -> None:
    """They name its entry points, for AWS to run; no process is started by them."""
    for path in (ROOT / "components").rglob("*.py"):
        assert not {"subprocess", "runpy", "multiprocessing"} & {m.partition(".")[0] for m in imports(path.read_text())}


def test_the_contributors_table_has_these_layers() -> None:
    rows = [line for line in (ROOT / "CONTRIBUTING.md").read_text().splitlines() if line.startswith("| `")]
    named = [re.findall(r"`(\w+(?:/\w+)*)/`", row.split("|")[1]) for row in rows]
    assert [folder for row in named for folder in row if len(row) == 1] == [layer.folder for layer in LAYERS]
    for row, layer in zip(rows, LAYERS, strict=False):
        beside = set(re.findall(r"`(\w+)/`", row.split("|")[2]))
        assert beside == {prefix for prefix in layer.may if prefix != layer.folder.replace("/", ".")}
