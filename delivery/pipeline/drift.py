"""Does AWS look as the last apply left it? `pulumi refresh --preview-only` says it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from typing import Any

from delivery.pipeline import shell
from delivery.pipeline.errors import Refused

MOVES = {
    ("aws:ecs/service:Service", "desiredCount"): "Application Auto Scaling sets it",
    ("aws:appautoscaling/target:Target", "minCapacity"): "a scheduled action sets it",
    ("aws:appautoscaling/target:Target", "maxCapacity"): "a scheduled action sets it",
}
"""Properties that AWS itself changes, and why: the program ignores them too."""


def check(stack: str) -> int:
    """How many resources were compared. Raises Refused with each one that differs."""
    command = ["pulumi", "refresh", "--preview-only", "--json", "--non-interactive", "--stack", stack]
    done = subprocess.run(command, cwd=shell.ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    try:
        found = json.loads(done.stdout)
    except ValueError:
        raise Refused(f"AWS could not be compared with the state:\n{done.stdout}{done.stderr}".strip()) from None
    problems = [str(one["message"]).strip() for one in found.get("diagnostics") or () if one.get("severity") == "error"]
    if done.returncode or problems:
        said = problems or [done.stderr.strip()]
        raise Refused("\n".join(["AWS could not be compared with the state:", *said]))
    steps = found.get("steps") or ()
    if drifted := [line for step in steps if (line := _drift(step))]:
        lines = ["AWS is not as the last apply left it:", *(f"  {line}" for line in drifted)]
        raise Refused(
            "\n".join([*lines, "Undo it there, or take it into the program or (`pulumi refresh`) into the state."])
        )
    return len(steps)


def _drift(step: Mapping[str, Any]) -> str:
    """What differs of one resource; "" for nothing."""
    *_, types, name = step["urn"].split("::")
    kind = types.rpartition("$")[2]
    if step["op"] == "delete":
        return f"{kind} {name}: is gone"
    if step["op"] in ("same", "refresh", "read"):
        return ""
    keys = sorted(step.get("detailedDiff") or dict.fromkeys(step.get("diffReasons") or ()))
    keys = [key for key in keys if (kind, key) not in MOVES]
    return f"{kind} {name}: {', '.join(keys)}" if keys else ""
