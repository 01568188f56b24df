"""The workers' image: built from the context that Build made, pushed once, and from then on named by its digest."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path

from pipelines import build
from pipelines.errors import Refused
from pipelines.shell import run

REPOSITORY = re.compile(r"(?P<host>\d{12}\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com)/(?P<name>[a-z0-9._/-]+)")


def push(built: Path, repository: str) -> str:
    """Push the image, unless the same content was pushed before; note `repository@sha256:...` in the artifact.

    The repository's tags are immutable and say what is in the image, so one that is there is the same one.
    """
    match = REPOSITORY.fullmatch(repository)
    if not match:
        raise Refused(
            f"imageRepository: found {repository!r}; allowed: ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME, the output "
            "imageRepository of bootstrap/."
        )
    tag = json.loads((built / build.MANIFEST).read_text())["imageTag"]
    digest = _there(match, tag) or _build(built, match, f"{repository}:{tag}")
    reference = f"{repository}@{digest}"
    (built / build.IMAGE).write_text(f"{reference}\n")
    return reference


def _there(repository: re.Match[str], tag: str) -> str:
    """The digest of what has the tag; "" for nothing."""
    where = ("--region", repository["region"], "--repository-name", repository["name"])
    found = run(
        *("aws", "ecr", "list-images", *where, "--filter", "tagStatus=TAGGED", "--output", "json"),
        *("--query", f"imageIds[?imageTag=='{tag}'].imageDigest"),
    )
    digests: list[str] = json.loads(found)
    return digests[0] if digests else ""


def _build(built: Path, repository: re.Match[str], tagged: str) -> str:
    password = run("aws", "ecr", "get-login-password", "--region", repository["region"])
    run("docker", "login", "--username", "AWS", "--password-stdin", repository["host"], given=password)
    run("docker", "buildx", "create", "--use", "--name", "confirm-transactions")
    with tempfile.TemporaryDirectory() as folder:
        run("tar", "-xf", str(built / build.CONTEXT), "-C", folder)
        metadata = Path(folder, "..", f"{Path(folder).name}.json").resolve()
        run(
            *("docker", "buildx", "build", "--platform", "linux/arm64", "--provenance=false", "--push"),
            *("--tag", tagged, "--metadata-file", str(metadata), folder),
        )
        digest: str = json.loads(metadata.read_text())["containerimage.digest"]
        metadata.unlink()
    return digest
