"""The configuration of the stacks that a run will deploy, checked before anything else happens to them."""

from __future__ import annotations

from collections.abc import Sequence

import yaml

from alternatives.settings import parse
from components.bootstrap.settings import ENVIRONMENTS
from components.settings import PROJECT, SettingsError
from delivery.pipeline import shell
from delivery.pipeline.errors import Refused

PREFIX = f"{PROJECT}:"


def environments(to: str, rollback: bool) -> tuple[str, ...]:
    """Those that a run deploys to, in order; on the way back the last one alone."""
    last = ENVIRONMENTS.index(to)
    return ENVIRONMENTS[last if rollback else 0 : last + 1]


def deployed(alternative: str, to: str, rollback: bool) -> list[str]:
    """The stacks that a run deploys, in order: those of azure-pipelines.yml."""
    return [alternative if one == "dev" else f"{alternative}-{one}" for one in environments(to, rollback)]


def check(names: Sequence[str]) -> None:
    """Raises Refused with every mistake in every stack's file."""
    mistakes = [mistake for name in names if (mistake := _mistake(name))]
    if mistakes:
        raise Refused("\n".join(mistakes))


def _mistake(stack: str) -> str:
    file = shell.ROOT / f"Pulumi.{stack}.yaml"
    if not file.is_file():
        there = sorted(path.name for path in shell.ROOT.glob("Pulumi.*.yaml"))
        return (
            f"{file.name}: missing; there are {', '.join(there)}. Copy one, edit it, run `pulumi stack init {stack} "
            "--secrets-provider ...`, and commit the file."
        )
    try:
        config = (yaml.safe_load(file.read_text()) or {}).get("config") or {}
        parse({key.removeprefix(PREFIX): value for key, value in config.items() if key.startswith(PREFIX)})
    except (yaml.YAMLError, AttributeError) as error:
        return f"{file.name}: found no YAML with a section `config:` ({error})"
    except SettingsError as error:
        return f"{file.name}: {error}"
    return ""
