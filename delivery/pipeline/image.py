"""The workers' image: built by this run from the context that Build made, and from then on named by its digest.

A tag is never asked what it stands for. Whoever may push could have put anything under the tag of a commit that is not
built yet, and an immutable tag would keep it there. So each run builds its own image, under a tag that is its own, and
goes on with the digest that the builder found in what it made; the plan names that digest, and a person approves it.
"""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path

import yaml

from delivery.pipeline import binding, build, shell
from delivery.pipeline.errors import Refused
from delivery.pipeline.shell import run

IMAGE = "image"
"""The file that holds `repository@sha256:...`."""
REPOSITORY = re.compile(r"(?P<host>\d{12}\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com)/(?P<name>[a-z0-9._/-]+)")
REFERENCE = re.compile(rf"{REPOSITORY.pattern}@sha256:[0-9a-f]{{64}}")
KEY = "confirm-transactions:imageDigest"


def push(built: Path, repository: str, run_id: str, target: Path) -> str:
    """Build and push the image; note `repository@sha256:...` in the folder `target`. Raises Refused."""
    match = REPOSITORY.fullmatch(repository)
    if not match:
        raise Refused(
            f"imageRepository: found {repository!r}; allowed: ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME, the output "
            "imageRepository of delivery/bootstrap/."
        )
    manifest = build.same(built)  # what was built is what this commit gives
    digest = _build(built, match, f"{repository}:{manifest['imageTag']}-{run_id}")
    return write(f"{repository}@{digest}", target)


def write(reference: str, target: Path) -> str:
    """Note which image it is. Raises Refused for what names none by its digest."""
    if not REFERENCE.fullmatch(reference):
        raise Refused(f"image: found {reference!r}; allowed: REPOSITORY@sha256: and 64 hexadecimal digits")
    target.mkdir(parents=True, exist_ok=True)
    (target / IMAGE).write_text(f"{reference}\n")
    return reference


def use(stack: str, which: str, folder: Path) -> str:
    """Let the stack run that image: `built` by this run, `applied` with this commit before, or the `newest` applied."""
    if which == "built":
        try:
            reference = (folder / IMAGE).read_text().strip()
        except FileNotFoundError:
            raise Refused(f"{folder / IMAGE}: missing; was the artifact of the stage Image downloaded?") from None
    else:
        reference = binding.applied_with(stack, KEY, shell.commit() if which == "applied" else "")
    if not REFERENCE.fullmatch(reference):
        raise Refused(f"image: found {reference!r}; allowed: REPOSITORY@sha256: and 64 hexadecimal digits")
    run("pulumi", "config", "set", "--stack", stack, KEY, reference)
    return reference


def of(stack: str) -> str:
    """The image in the stack's configuration; "" for none."""
    config = yaml.safe_load((shell.ROOT / f"Pulumi.{stack}.yaml").read_text()) or {}
    return str((config.get("config") or {}).get(KEY, ""))


def _build(built: Path, repository: re.Match[str], tagged: str) -> str:
    password = run("aws", "ecr", "get-login-password", "--region", repository["region"])
    run("docker", "login", "--username", "AWS", "--password-stdin", repository["host"], given=password)
    run("docker", "buildx", "create", "--use", "--name", "confirm-transactions")
    with tempfile.TemporaryDirectory() as folder:
        context, metadata = Path(folder, "context"), Path(folder, "metadata.json")
        context.mkdir()
        run("tar", "-xf", str(built / build.CONTEXT), "-C", str(context))
        run(
            *("docker", "buildx", "build", "--platform", "linux/arm64", "--provenance=false", "--push"),
            *("--tag", tagged, "--metadata-file", str(metadata), str(context)),
        )
        digest: str = json.loads(metadata.read_text())["containerimage.digest"]
    return digest
