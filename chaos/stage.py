"""An alternative on a local AWS of its own, up and with its gateway's key: what each of these runs begins with."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console

from demo import begin_anew, put_key
from demo.scenario import ask_gateway
from local.errors import LocalError
from local.processes import ROOT
from local.stack import PROJECT, SCHEDULER_SPEED, LocalAws

FOLDER = ROOT / ".local" / "chaos"
"""Apart from the local AWS of `make shell`. In it each of the runs has a folder of its own, emptied each time."""

Config = Mapping[str, str | int]


@contextmanager
def stack(
    console: Console,
    alternative: str,
    config: Config,
    *,
    folder: str = "attack",
    speed: float = SCHEDULER_SPEED,
    seed: int = 1,
) -> Iterator[LocalAws]:
    """`alternative`, made by `pulumi up` with this config beside what differs on every local AWS.

    Raises:
        LocalError: something could not be started, or a command failed.
    """
    begin_anew(FOLDER / folder)
    os.environ["SIMULATED_GATEWAY_KEY"] = key = secrets.token_hex(16)
    arguments = ("--seed", str(seed))
    with LocalAws(alternative, folder=FOLDER / folder, scheduler_speed=speed, gateway_arguments=arguments) as aws:
        with console.status(f"pulumi up of {alternative} (about a minute) ..."):
            configure(aws, config)
        put_key(aws, aws.outputs(), key)
        yield aws


def configure(aws: LocalAws, config: Config, remove: tuple[str, ...] = ()) -> None:
    """Change the stack's config, and make it so."""
    if config:
        pairs = [word for key, value in config.items() for word in ("--plaintext", f"{PROJECT}:{key}={value}")]
        must(aws.pulumi("config", "set-all", *pairs, "--stack", aws.stack, capture=True), "pulumi config set-all")
    for key in remove:
        must(aws.pulumi("config", "rm", f"{PROJECT}:{key}", "--stack", aws.stack, capture=True), "pulumi config rm")
    must(aws.pulumi("up", "--yes", "--skip-preview", "--stack", aws.stack, capture=True), "pulumi up")


def must(done: subprocess.CompletedProcess[str], what: str) -> subprocess.CompletedProcess[str]:
    """Raises LocalError where a command failed, with the last lines that it wrote."""
    if done.returncode:
        said = (done.stdout + done.stderr).partition("Diagnostics:")
        raise LocalError(f"{what} ended with exit code {done.returncode}: {(said[2] or said[0])[:1500]}")
    return done


def behave(aws: LocalAws, **profile: object) -> None:
    """How the gateway behaves from now on (gateway_simulator/decisions.py)."""
    ask_gateway(aws, "/_faults", dict(profile))
