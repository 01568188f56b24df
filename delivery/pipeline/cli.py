"""The Pulumi CLI, in the version that the SDK is pinned to."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from pulumi.automation import PulumiCommand
from semver import VersionInfo

from delivery.pipeline.errors import Refused
from delivery.pipeline.shell import run


def install(wanted: str) -> Path:
    """Install it for this user, by its official installer; the path of the program. Raises Refused."""
    if wanted != version("pulumi"):
        raise Refused(
            f"pulumiVersion in delivery/pipeline/variables.yml: found {wanted}; "
            f"allowed: {version('pulumi')} (pyproject.toml)"
        )
    PulumiCommand.install(version=VersionInfo.parse(wanted))
    program = Path.home() / ".pulumi" / "versions" / wanted / "bin" / "pulumi"
    if (found := run(str(program), "version").strip()) != f"v{wanted}":
        raise Refused(f"{program}: wanted v{wanted}, found {found}")
    return program
