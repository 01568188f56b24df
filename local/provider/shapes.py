"""Pulumi properties as AWS parameters, by botocore's own service models."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape

from local.provider.model import Call, Scope
from local.provider.values import UNKNOWN, archive_bytes, has_unknown, is_archive

EVERYWHERE = ("region", "tags")  # set on the client, or by tagging, and so not looked for in an operation's input


class RefusedError(Exception):
    """The program asks for something that cannot be said to AWS; the text is for the user."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


def plain(name: str) -> str:
    """A name without its style: `kmsKeyId`, `KMSKeyId` and `kms_key_id` are one."""
    return name.replace("_", "").replace("-", "").lower()


def members(shape: Shape | None) -> dict[str, str]:
    """The members of a structure by their plain names."""
    return {plain(name): name for name in shape.members} if isinstance(shape, StructureShape) else {}


def shape_at(shape: Shape, path: Iterable[str]) -> Shape:
    for part in path:
        if isinstance(shape, StructureShape):
            if part not in shape.members:
                raise KeyError(f"{shape.name} has no member {part}")
            shape = shape.members[part]
        elif isinstance(shape, MapShape):
            shape = shape.value
        else:
            raise KeyError(f"{shape.name} is no structure, so it has no {part}")
    return shape


def taken(call: Call, shape: Shape, properties: Iterable[str]) -> tuple[str, ...]:
    """Those of the properties that the call sends."""
    if call.takes is not None:
        return call.takes
    known = members(shape)
    fixed = {name.split(".")[0] for name in call.where}
    return tuple(
        name
        for name in properties
        if name in call.rename
        or name in call.encode
        or (plain(name) in known and known[plain(name)] not in fixed and name not in EVERYWHERE)
    )


def parameters(call: Call, shape: Shape, values: Mapping[str, Any], scope: Scope) -> dict[str, Any]:
    """The parameters of a call for these property values; RefusedError where one does not fit the input's shape."""
    result: dict[str, Any] = {}
    if call.compose:
        result.update(call.compose(values, scope) if values else {})
        values = {}
    for name, value in values.items():
        if value is None:
            continue
        if name in call.encode:
            if not has_unknown(value):
                merge(result, call.encode[name](value))
            continue
        target = call.rename.get(name) or members(shape).get(plain(name))
        if target is None:
            raise RefusedError(name, f"the local AWS cannot send it: {call.operation} has no such parameter")
        path = target.split(".")
        _put(result, path, convert(value, shape_at(shape, path), name, call.rename))
    for target, value in filled(call.where, scope).items():
        _put(result, target.split("."), value)
    return result


def filled(where: Mapping[str, Any], scope: Scope) -> dict[str, Any]:
    """The identifying parameters, without those whose property is not set."""
    found = {target: fill(template, scope) for target, template in where.items()}
    return {target: value for target, value in found.items() if value is not None}


def convert(value: Any, shape: Shape, path: str, rename: Mapping[str, str]) -> Any:
    """The value in the type and with the member names that the shape wants."""
    if value == UNKNOWN:
        return value
    if is_archive(value):
        return archive_bytes(value)
    if isinstance(shape, StructureShape):
        if not isinstance(value, dict):
            raise RefusedError(path, f"a map is needed, found {type(value).__name__}")
        known, result = members(shape), dict[str, Any]()
        for key, item in value.items():
            if item is None:
                continue
            inner = f"{path}.{key}"
            target = rename.get(inner) or known.get(plain(key))
            if target is None:
                raise RefusedError(inner, f"unknown to the local AWS: {shape.name} has {', '.join(shape.members)}")
            parts = target.split(".")
            _put(result, parts, convert(item, shape_at(shape, parts), inner, rename))
        return result
    if isinstance(shape, ListShape):
        items = value if isinstance(value, list) else [value]
        return [convert(item, shape.member, path, rename) for item in items]
    if isinstance(shape, MapShape):
        return {key: convert(item, shape.value, f"{path}.{key}", rename) for key, item in value.items()}
    return scalar(value, shape.type_name)


def scalar(value: Any, kind: str) -> Any:
    match kind:
        case "string" if isinstance(value, bool):
            return "true" if value else "false"
        case "string" if isinstance(value, dict | list):
            return json.dumps(value)
        case "string" | "str":
            return str(value)
        case "integer" | "long" | "int":
            return int(value)
        case "float" | "double":
            return float(value)
        case "boolean" | "bool" if isinstance(value, str):
            return value.lower() == "true"
        case "blob" if isinstance(value, str):
            return value.encode()
        case _:
            return value


def fill(template: Any, scope: Scope) -> Any:
    """The template with the scope's properties in it. One property alone keeps its type."""
    if isinstance(template, str):
        if template.startswith("{") and template.endswith("}") and template.count("{") == 1:
            return scope.get(template[1:-1])
        return template.format_map(_Scope(scope))
    if isinstance(template, list):
        return [fill(item, scope) for item in template]
    if isinstance(template, dict):
        return {key: fill(item, scope) for key, item in template.items()}
    return template


class _Scope(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return ""


def merge(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Adds parameters to parameters: lists grow, structures merge."""
    for key, value in more.items():
        if isinstance(value, list) and isinstance(into.get(key), list):
            into[key] = into[key] + value
        elif isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value


def _put(into: dict[str, Any], path: list[str], value: Any) -> None:
    for part in path[:-1]:
        into = into.setdefault(part, {})
    if isinstance(value, dict) and isinstance(into.get(path[-1]), dict):
        merge(into[path[-1]], value)
    else:
        into[path[-1]] = value


def encode_tags(shape: Shape, tags: Mapping[str, str]) -> Any:
    """Tags as the shape wants them: a map, or a list of pairs whatever its members are called."""
    if isinstance(shape, ListShape):
        key, value = (next(m for m in shape.member.members if m.lower().endswith(end)) for end in ("key", "value"))
        return [{key: name, value: text} for name, text in tags.items()]
    return dict(tags)
