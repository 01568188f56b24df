"""A pipeline file of Azure with its templates, parameters and `${{ }}` expressions, read into plain data.

What Azure does when a run is queued is done here: expressions are replaced by values, `if`, `else` and `each` by what
they choose, templates by what they hold. What our files don't use is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from delivery.azure_runner.expressions import as_text, evaluate, truth
from local.errors import LocalError

Names = Mapping[str, Any]

_EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
_DIRECTIVE = re.compile(r"\$\{\{\s*(if|elseif|else|each)\b\s*(.*?)\s*\}\}", re.DOTALL)
_LISTS = ("stages", "jobs", "steps", "variables")
TYPES: Mapping[str, type] = {"string": str, "boolean": bool, "object": object}


class _Loader(yaml.SafeLoader):
    """A key that stands twice is a mistake, not a choice."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key) for key, _ in node.value]
    twice = {key for key in keys if keys.count(key) > 1}
    if twice:
        raise yaml.YAMLError(f"line {node.start_mark.line + 1}: {sorted(twice)} twice")
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read(file: Path, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The pipeline as Azure expands it with these parameters. Raises LocalError, naming the file and the mistake."""
    content = _load(file)
    names = {"parameters": _parameters(file, content.pop("parameters", None) or [], parameters)}
    expanded = _inside(file, content, names)
    if not isinstance(expanded, dict):
        raise LocalError(f"{file.name}: found no pipeline")
    return expanded


def _load(file: Path) -> dict[str, Any]:
    try:
        content = yaml.load(file.read_text(), _Loader)  # noqa: S506 - a SafeLoader, stricter
    except FileNotFoundError:
        raise LocalError(f"{file.name}: this template does not exist in {file.parent}") from None
    except yaml.YAMLError as error:
        raise LocalError(f"{file.name}: this is no valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise LocalError(f"{file.name}: found no mapping")
    return content


def _parameters(file: Path, declared: list[dict[str, Any]], given: Mapping[str, Any]) -> dict[str, Any]:
    known = {one["name"]: one for one in declared}
    if unknown := sorted(set(given) - set(known)):
        raise LocalError(f"{file.name}: there is no parameter {unknown[0]!r}; allowed: {', '.join(known) or 'none'}")
    values = {}
    for name, one in known.items():
        kind = one.get("type", "string")
        if kind not in TYPES:
            raise LocalError(
                f"{file.name}: parameter {name}: its type {kind!r} is unknown here; known: {', '.join(TYPES)}"
            )
        if name not in given and "default" not in one:
            raise LocalError(f"{file.name}: the parameter {name!r} is missing")
        value = given.get(name, one.get("default"))
        if kind == "boolean" and isinstance(value, str) and value.lower() in ("true", "false"):
            value = value.lower() == "true"
        if not isinstance(value, TYPES[kind]):
            raise LocalError(f"{file.name}: parameter {name}: found {value!r}, allowed is a {kind}")
        if one.get("values") and value not in one["values"]:
            allowed = ", ".join(map(str, one["values"]))
            raise LocalError(f"{file.name}: parameter {name}: found {value!r}, allowed: {allowed}")
        values[name] = value
    return values


def _inside(file: Path, node: Any, names: Names) -> Any:
    """Expand; a mistake is told with its file."""
    try:
        return _expand(file, node, names)
    except LocalError as error:
        text = str(error)
        raise (
            error if text.startswith(f"{file.name}:") or ".yml:" in text else LocalError(f"{file.name}: {text}")
        ) from None


def _expand(file: Path, node: Any, names: Names) -> Any:
    if isinstance(node, str):
        return _text(node, names)
    if isinstance(node, list):
        return [item for one in _chosen(((one, None) for one in node), names) for item in _item(file, *one)]
    if isinstance(node, dict):
        result: dict[str, Any] = {}
        for (key, value), inner in _chosen(((pair, None) for pair in node.items()), names):
            if key is None:  # what an `if` chose
                chosen = _expand(file, value, inner)
                if not isinstance(chosen, dict):
                    raise LocalError(f"found {value!r} where keys are to be inserted")
                result |= chosen
            else:
                result[_text(key, inner)] = _included(file, key, value, inner)
        return result
    return node


def _included(file: Path, key: str, value: Any, names: Names) -> Any:
    """A list of stages, jobs, steps or variables with its templates replaced by what they hold."""
    expanded = _expand(file, value, names)
    if key not in _LISTS or not isinstance(expanded, list):
        return expanded
    result: list[Any] = []
    for one in expanded:
        if not (isinstance(one, dict) and "template" in one):
            result.append(one)
            continue
        if unknown := set(one) - {"template", "parameters"}:
            raise LocalError(f"template {one['template']}: the key {sorted(unknown)[0]!r} is unknown here")
        template = (file.parent / one["template"]).resolve()
        content = _load(template)
        declared = content.pop("parameters", None) or []
        inner = {"parameters": _parameters(template, declared, one.get("parameters") or {})}
        if set(content) != {key}:
            raise LocalError(f"{template.name}: found {', '.join(content)}, allowed where it is taken: {key}")
        result += _inside(template, content, inner)[key]
    return result


def _item(file: Path, one: Any, names: Names) -> list[Any]:
    """An entry of a list; what an `if` chose is a list of them."""
    if isinstance(one, _Chosen):
        expanded = _expand(file, one.value, names)
        return expanded if isinstance(expanded, list) else [expanded]
    return [_expand(file, one, names)]


class _Chosen:
    """What stands below an `if` or `each` whose turn it is."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _chosen(entries: Iterator[tuple[Any, None]], names: Names) -> Iterator[tuple[Any, Names]]:
    """Entries of a list, or (key, value) of a mapping, without those that a directive leaves out.

    What a directive chooses comes as `_Chosen` in a list, and as the key None in a mapping.
    """
    taken: bool | None = None  # whether a branch of the chain that goes on has been taken; None: there is no chain
    for entry, _ in entries:
        directive, value, keyed = _directive(entry)
        if not directive:
            taken = None
            yield entry, names
            continue
        word, rest = directive
        wrap = (lambda value: (None, value)) if keyed else _Chosen
        if word == "each":
            match = re.fullmatch(r"(\w+)\s+in\s+(.+)", rest)
            if not match:
                raise LocalError(f"`each {rest}` is not `each NAME in LIST`")
            for item in evaluate(match[2], names):
                yield wrap(value), {**names, match[1]: item}
            taken = None
            continue
        if word != "if" and taken is None:
            raise LocalError(f"`{word}` without an `if` before it")
        before = False if word == "if" else bool(taken)
        now = not before and (word == "else" or truth(evaluate(rest, names)))
        taken = before or now
        if now:
            yield wrap(value), names
        if word == "else":
            taken = None


def _directive(entry: Any) -> tuple[tuple[str, str] | None, Any, bool]:
    """((word, rest), what stands below, is it a key of a mapping?) of `${{ if ... }}: ...`."""
    keyed = isinstance(entry, tuple)
    if keyed:
        key, value = entry
    elif isinstance(entry, dict) and len(entry) == 1:
        ((key, value),) = entry.items()
    else:
        return None, None, False
    match = _DIRECTIVE.fullmatch(key.strip()) if isinstance(key, str) else None
    return ((match[1], match[2]) if match else None), value, keyed


def _text(text: str, names: Names) -> Any:
    whole = _EXPRESSION.fullmatch(text.strip())
    if whole and whole[0].count("${{") == 1:
        return evaluate(whole[1], names)
    return _EXPRESSION.sub(lambda match: as_text(evaluate(match[1], names)), text)
