"""`python -m workers.service.health`: the container's health check. 0 while the service's heart beats."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

OLDEST_SECONDS = 20.0
"""A heartbeat is written each second, but for the moments of a busy loop."""


def age_of(file: Path) -> float:
    """Seconds since the last beat; infinite before the first."""
    try:
        return time.time() - file.stat().st_mtime
    except FileNotFoundError:
        return float("inf")


if __name__ == "__main__":
    sys.exit(age_of(Path(os.environ.get("HEARTBEAT_FILE", "/tmp/heartbeat"))) > OLDEST_SECONDS)  # noqa: S108
