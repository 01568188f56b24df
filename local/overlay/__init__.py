"""Small, named changes to the emulator, each in a file of its own whose docstring names the gap that it closes.

They reach into private names of ministack, so each is written for one version and refuses any other.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version

from local.errors import LocalError

MINISTACK = "1.5.33"
"""The version whose internals the overlays know."""

NAMES: tuple[str, ...] = (
    "saving",
    "lambda_errors",
    "lambda_collector",
    "lambda_metrics",
    "embedded_metrics",
    "execution_metrics",
    "execution_timeout",
    "alarms",
    "queue_metrics",
    "scheduler",
    "ecs_tasks",
    "rds_postgres",
    "rds_metrics",
    "rds_data",
    "application_autoscaling",
    "access",
)
"""The overlays, in the order in which they are applied: later ones wrap earlier ones."""


def apply(names: tuple[str, ...] = NAMES, installed: str | None = None) -> None:
    """Apply the overlays to the ministack of this process, before it serves."""
    installed = installed or version("ministack")
    for name in names:
        if installed != MINISTACK:
            raise LocalError(
                f"The overlay {name} is written for ministack {MINISTACK}, found {installed}: "
                f"install ministack=={MINISTACK}, or adapt local/overlay/{name}.py and its test."
            )
        import_module(f"local.overlay.{name}").apply()
