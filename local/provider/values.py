"""Values on the wire between the engine and a provider, as plain Python.

The plugin tells the engine that it takes neither secrets nor outputs, so the engine unwraps both and puts the
secret marks back on by itself: what arrives is JSON, the marker for a value not known yet, and archives.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from google.protobuf import struct_pb2

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"  # the engine's marker for a value that only `up` will know
SIGNATURE = "4dabf18193072939515e22adb298388d"  # the key that tells assets and archives from ordinary maps
ASSET = "c44067f5952c0a294b673a41bacd8c17"
ARCHIVE = "0def7320c3a5731c473e5ecbe6d01bc7"

Props = dict[str, Any]


def from_struct(struct: struct_pb2.Struct) -> Props:
    return {key: _from_value(value) for key, value in struct.fields.items()}


def _from_value(value: struct_pb2.Value) -> Any:
    match value.WhichOneof("kind"):
        case "struct_value":
            return from_struct(value.struct_value)
        case "list_value":
            return [_from_value(item) for item in value.list_value.values]
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() else number
        case "bool_value":
            return value.bool_value
        case "string_value":
            return value.string_value
        case _:
            return None


def to_struct(props: Mapping[str, Any]) -> struct_pb2.Struct:
    struct = struct_pb2.Struct()
    struct.update({key: value for key, value in props.items() if value is not None})
    return struct


def has_unknown(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(has_unknown, value.values()))
    if isinstance(value, list):
        return any(map(has_unknown, value))
    return bool(value == UNKNOWN)


def is_archive(value: Any) -> bool:
    return isinstance(value, dict) and value.get(SIGNATURE) in (ASSET, ARCHIVE)


def same(old: Any, new: Any) -> bool:
    """Equal as AWS sees it: archives by their content, policy documents by what they say and not how."""
    if old == new:
        return True
    if is_archive(old) and is_archive(new):
        return bool(old.get("hash")) and old.get("hash") == new.get("hash")
    if isinstance(old, str) and isinstance(new, str) and old[:1] in "{[" and new[:1] in "{[":
        try:
            return bool(json.loads(old) == json.loads(new))
        except ValueError:
            return False
    return False


def archive_bytes(archive: Mapping[str, Any]) -> bytes:
    """The archive as a zip. The same content always gives the same bytes: names sorted, times and modes fixed."""
    path = archive.get("path")
    if path and Path(path).is_file() and zipfile.is_zipfile(path):
        return Path(path).read_bytes()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in sorted(_members(archive, "")):
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))  # the oldest time that a zip can hold
            info.external_attr = 0o644 << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            out.writestr(info, content)
    return buffer.getvalue()


def _members(value: Mapping[str, Any], name: str) -> Iterator[tuple[str, bytes]]:
    if "text" in value:
        yield name, str(value["text"]).encode()
    elif "assets" in value:
        for child, asset in value["assets"].items():
            yield from _members(asset, f"{name}/{child}" if name else child)
    elif path := value.get("path"):
        root = Path(path)
        if not root.exists():
            raise FileNotFoundError(f"the archive's file {path} does not exist")
        if root.is_file():
            yield name or root.name, root.read_bytes()
        else:
            for file in root.rglob("*"):
                if file.is_file():
                    inner = file.relative_to(root).as_posix()
                    yield f"{name}/{inner}" if name else inner, file.read_bytes()
    else:
        raise ValueError(f"the asset {name or 'of the archive'} is neither text nor a local file")


def short_hash(seed: bytes | str, digits: int) -> str:
    return hashlib.sha256(seed.encode() if isinstance(seed, str) else seed).hexdigest()[:digits]
