"""Which layer may import which (the table in CONTRIBUTING.md), read from the sources without running them."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import TopologicalSorter

import pytest

from tests.docs.markdown import ROOT, documents

PACKAGES = sorted(
    folder.name
    for folder in ROOT.iterdir()
    if folder.is_dir() and folder.name[0] != "." and folder.name != "tests" and any(folder.rglob("*.py"))
)
OURS = {*PACKAGES, "tests", "__main__"}
IN_THE_IMAGE = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "workers/requirements.lock").read_text(), re.MULTILINE))
_BY_NAME = {"import_module", "__import__", "run_module", "run_path", "find_spec"}
COMPUTED = "a name that is not to be seen"


@dataclass(frozen=True, slots=True)
class Layer:
    folder: str
    may: frozenset[str]
    """Of ours: prefixes of modules."""
    others: frozenset[str] | None = None
    """Packages of others; None for any but `never`."""
    never: frozenset[str] = frozenset()
    computes: bool = False
    """Whether it may load a module by a name that it computes."""

    def allows(self, module: str) -> bool:
        top = module.partition(".")[0]
        if module == COMPUTED:
            return self.computes
        if top in OURS:
            return any(module == prefix or module.startswith(f"{prefix}.") for prefix in self.may)
        if top in sys.stdlib_module_names:
            return True
        return top in self.others if self.others is not None else top not in self.never


PULUMI = frozenset({"pulumi", "pulumi_aws", "pulumi_awsx", "pulumi_policy"})
LAYERS = (
    Layer("__main__", frozenset({"alternatives", "components"}), never=PULUMI - {"pulumi"}),
    Layer("workers/domain", frozenset({"workers.domain"}), others=frozenset()),
    Layer("workers", frozenset({"workers"}), others=frozenset(IN_THE_IMAGE)),
    Layer("components", frozenset({"components"})),
    Layer("cli", frozenset({"cli", "alternatives", "workers"}), never=PULUMI),
    Layer(
        "alternatives",
        frozenset({"alternatives", "analysis", "cli", "components", "demo", "local", "workers"}),
        never=PULUMI - {"pulumi"},
    ),
    Layer("delivery/pipeline", frozenset({"delivery.pipeline", "alternatives", "components"})),
    Layer("delivery/policies", frozenset({"delivery.policies", "alternatives", "analysis.graph"})),
    Layer("delivery/bootstrap", frozenset({"components"})),
    Layer(
        "delivery/azure_runner",
        frozenset({"delivery.azure_runner", "components", "delivery.pipeline", "local"}),
    ),
    Layer(
        "analysis",
        frozenset({"analysis", "alternatives", "components", "delivery.policies", "local.provider", "workers"}),
        computes=True,  # it runs the program
    ),
    Layer("local", frozenset({"local"}), computes=True),
    Layer("gateway_simulator", frozenset({"gateway_simulator", "local"})),
    Layer(
        "simulation",
        frozenset({"simulation", "evidence", "workers"}),
        others=frozenset({"asyncpg", "botocore", "greenlet"}),
    ),
    Layer("evidence", frozenset({"evidence"}), others=frozenset()),
    Layer("demo", frozenset({"demo", "alternatives", "analysis", "cli", "local", "simulation.oracles", "workers"})),
    Layer(
        "chaos",
        frozenset(
            {"chaos", "alternatives", "cli", "demo", "evidence", "gateway_simulator", "local", "simulation", "workers"}
        ),
    ),
    Layer(
        "benchmarks",
        frozenset(
            {"benchmarks", "alternatives", "analysis", "cli", "components", "demo.cdnow", "evidence"}
            | {"gateway_simulator", "local", "workers"}
        ),
    ),
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
    return str(node.value).rstrip(".") if isinstance(node, ast.Constant) else COMPUTED


def trespasses(layer: Layer) -> list[str]:
    found = []
    for path in [*sorted((ROOT / layer.folder).rglob("*.py")), *ROOT.glob(f"{layer.folder}.py")]:
        relative = path.relative_to(ROOT)
        package = ".".join(relative.parent.parts)
        found += [f"{relative}: {m}" for m in imports(path.read_text(), package) if not layer.allows(m)]
    return found


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.folder)
def test_a_layer_imports_what_it_may(layer: Layer) -> None:
    assert trespasses(layer) == []


def test_each_package_is_in_the_table() -> None:
    """A package's own `__init__.py` may be in no row where its packages are: it holds no code then."""
    files = [file.relative_to(ROOT) for name in PACKAGES for file in (ROOT / name).rglob("*.py")]
    files += [file.relative_to(ROOT) for file in ROOT.glob("*.py")]
    assert len(PACKAGES) >= 10
    outside = [f for f in files if not any(f.with_suffix("").is_relative_to(x.folder) for x in LAYERS)]
    assert [str(f) for f in outside if f.name != "__init__.py" or list(imports((ROOT / f).read_text()))] == []
    assert {f.parts[0] for f in outside} <= {x.folder.partition("/")[0] for x in LAYERS}
    assert [x.folder for x in LAYERS if not any(f.with_suffix("").is_relative_to(x.folder) for f in files)] == []


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
        ("__main__", "from analysis.graph import record"),
        ("__main__", "from workers import config"),
        ("__main__", "import pulumi_aws as aws"),
        ("components", "from workers import config"),
        ("components", "import_module('workers.config')"),
        ("components", "importlib.import_module(f'workers.{name}')"),
        ("components", "import cli.main"),
        ("components", "from local.stack import PROJECT"),
        ("components", "from alternatives import ALTERNATIVES"),
        ("alternatives", "from delivery.policies import rules"),
        ("alternatives", "import pulumi_aws"),
        ("cli", "from local import stack"),
        ("cli", "from components.settings import PROJECT"),
        ("cli", "import pulumi_aws as aws"),
        ("delivery/pipeline", "from local.stack import LocalAws"),
        ("delivery/pipeline", "from cli.main import app"),
        ("delivery/policies", "from analysis.costs import models"),
        ("delivery/bootstrap", "import local"),
        ("delivery/azure_runner", "from workers import config"),
        ("analysis", "from local.stack import LocalAws"),
        ("local", "from demo.chaos import kill"),
        ("local", "from analysis.graph import record"),
        ("local", "import gateway_simulator"),
        ("gateway_simulator", "from workers.domain.outcomes import Confirmed"),
        ("simulation", "from gateway_simulator import ledger"),
        ("simulation", "import pytest"),
        ("demo", "from tests.fakes import payment"),
        ("benchmarks", "from tests.fakes import payment"),
    ],
)
def test_a_trespass_is_seen(folder: str, source: str) -> None:
    (layer,) = (layer for layer in LAYERS if layer.folder == folder)
    assert [m for m in imports(source, folder.replace("/", ".")) if not layer.allows(m)] != []


def test_components_run_no_code_of_the_workers() -> None:
    """They name its entry points, for AWS to run; no process is started by them."""
    for path in (ROOT / "components").rglob("*.py"):
        assert not {"subprocess", "runpy", "multiprocessing"} & {m.partition(".")[0] for m in imports(path.read_text())}


def rooms() -> dict[str, set[str]]:
    """Each package of the workers, or module beside them, and which of the others it imports."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / "workers").rglob("*.py"):
        relative = path.relative_to(ROOT)
        room = relative.parts[1] if len(relative.parts) > 2 else path.stem
        named = (m.split(".")[1] for m in imports(path.read_text(), ".".join(relative.parent.parts)) if "workers." in m)
        found.setdefault(room, set()).update(set(named) - {room})
    return found


def test_the_rooms_of_the_workers_stand_on_one_another_without_a_circle() -> None:
    found = rooms()
    order = [room for room in TopologicalSorter(found).static_order() if found[room]]
    assert order[-1] in {"service", "serverless"}
    assert found["transport"] == set(), "it knows nothing of payments"
    assert found["stores"] == {"domain"}
    assert "service" not in set().union(*found.values()), "whoever needs a part of it has a room to find it in"


def test_the_contributors_table_has_these_layers() -> None:
    rows = [line for line in (ROOT / "CONTRIBUTING.md").read_text().splitlines() if line.startswith("| `")]
    assert [_named(row)[0] for row in rows] == [[layer.folder] for layer in LAYERS]
    for row, layer in zip(rows, LAYERS, strict=True):
        assert set(_named(row)[1]) == {one.replace(".", "/") for one in layer.may} - {layer.folder}
        assert ("itself" in row) == (layer.folder.replace("/", ".") in layer.may)


def test_the_drawing_of_the_layout_is_the_tree() -> None:
    """All that stands at the top with a purpose of its own is in it, and nothing that is not there."""
    page = documents()["docs/architecture.md"].section("What lies where")
    parents, drawn = [""], set()
    for line in page.blocks[0].text.splitlines():
        name, indent = line.split()[0], len(line) - len(line.lstrip())
        path = f"{parents[0] if not indent else parents[-1]}{name}"
        assert list(ROOT.glob(path)), f"{path} is drawn and not there"
        assert len(line.split()) > 2, f"{path} has no words"
        drawn.add(path.rstrip("/"))
        if not indent:
            parents = ["", name]
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    folders = {line.partition("/")[0] for line in tracked.splitlines() if "/" in line and not line.startswith(".")}
    assert folders - drawn == set()
    assert {name for name in drawn if "/" not in name and (ROOT / name).is_dir()} == folders


def _named(row: str) -> list[list[str]]:
    """The packages that its first two columns name."""
    return [re.findall(r"`(\w+(?:/\w+)*)(?:/|\.py)?`", column) for column in row.split("|")[1:3]]
