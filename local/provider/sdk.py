"""Which properties each type has, as the Python SDK `pulumi_aws` declares them.

Read from the source text of the one module that declares the type: importing the SDK takes seconds, this a
few milliseconds, and a provider pays it on every command. A test compares it with the imported classes.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PACKAGES = {"lambda": "lambda_"}  # the SDK's names for modules that are words of Python
GETTER = re.compile(
    r'@pulumi\.getter(?:\(name="(?P<alias>\w+)"\))?\n(?:\s+@[^\n]*\n)*\s+def (?P<name>\w+)\(self\) -> (?P<type>.*):\n'
)
SCALAR = re.compile(r"_builtins\.(str|int|float|bool)\]*$")


@dataclass(frozen=True)
class Declared:
    """A type's properties by their camelCase names; the kind is 'str', 'int', 'float', 'bool' or 'other'."""

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


@cache
def declared(token: str) -> Declared | None:
    """The properties of a type such as `aws:sqs/queue:Queue`, or None where the SDK has no such type."""
    found = re.fullmatch(r"aws:(\w+)/(\w+):(\w+)", token)
    if not found:
        return None
    package, module, name = found.groups()
    file = _sdk() / PACKAGES.get(package, package) / f"{_snake(module)}.py"
    if not file.is_file():
        return None
    text = file.read_text(encoding="utf-8")
    inputs = _section(text, rf"class {name}(?:Init)?Args:")
    outputs = _section(text, rf"class {name}\(pulumi\.CustomResource\):")
    return Declared(_getters(inputs), _getters(outputs)) if outputs else None


@cache
def _sdk() -> Path:
    spec = importlib.util.find_spec("pulumi_aws")
    if spec is None or spec.origin is None:
        raise RuntimeError("the Python package pulumi_aws is not installed")
    return Path(spec.origin).parent


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()


def _section(text: str, start: str) -> str:
    found = re.search(start, text)
    if not found:
        return ""
    end = re.search(r"^(?:class |@pulumi)", text[found.end() :], re.M)
    return text[found.end() : found.end() + end.start() if end else len(text)]


def _getters(text: str) -> dict[str, str]:
    result = {}
    for found in GETTER.finditer(text):
        scalar = SCALAR.search(found["type"]) if "Sequence" not in found["type"] else None
        is_map = "Mapping" in found["type"]
        result[found["alias"] or found["name"]] = scalar[1] if scalar and not is_map else "other"
    return result
