"""What will run, built once: the Lambdas' zip, the image's context, and a manifest with their digests.

Both are the same bytes from the same commit, whoever builds them, so Apply can prove by building again that it is about
to ship what Build made.
"""

from __future__ import annotations

import json
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from components import artifact
from delivery.pipeline import shell
from delivery.pipeline.errors import Refused
from delivery.pipeline.shell import commit, sha256

ZIP, CONTEXT, MANIFEST = "workers.zip", "image.tar", "manifest.json"
"""The artifact's files."""


def build(folder: Path) -> dict[str, Any]:
    """Write the artifact and return its manifest."""
    artifact.build(target=folder / ZIP)
    artifact.build_context(folder / CONTEXT)
    manifest = {
        "commit": commit(),
        "version": version(),
        "imageTag": artifact.image_tag(),
        "files": {name: sha256(folder / name) for name in (ZIP, CONTEXT)},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    return manifest


def same(folder: Path) -> dict[str, Any]:
    """The manifest of an artifact, if this commit gives the same one. Raises Refused, naming each difference."""
    try:
        wanted: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        raise Refused(f"{folder / MANIFEST}: found no manifest of the stage Build ({error})") from None
    with tempfile.TemporaryDirectory() as fresh:
        found = build(Path(fresh))
    told = {**wanted, "files": {name: sha256(folder / name) for name in wanted["files"]}}
    for kept, what in ((told, "the artifact's files are not those of its manifest"), (found, "this commit gives")):
        if kept != wanted:
            raise Refused(f"The artifact is not that of this commit: {what}: {_difference(wanted, kept)}")
    return wanted


def _difference(wanted: dict[str, Any], found: dict[str, Any]) -> str:
    flat = [{**manifest, **manifest["files"], "files": None} for manifest in (wanted, found)]
    keys = sorted(key for key in {*flat[0], *flat[1]} if flat[0].get(key) != flat[1].get(key))
    return "; ".join(f"{key}: wanted {flat[0].get(key)}, found {flat[1].get(key)}" for key in keys)


def version() -> str:
    """The program's, from the one place where it is."""
    return str(tomllib.loads((shell.ROOT / "pyproject.toml").read_text())["project"]["version"])
