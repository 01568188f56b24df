"""Schedules of EventBridge."""

from __future__ import annotations

import re


def period_seconds(schedule: str) -> int | None:
    """Seconds between two runs of `rate(...)`; None for `cron(...)`."""
    match = re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", schedule)
    return int(match[1]) * {"minute": 60, "hour": 3_600, "day": 86_400}[match[2]] if match else None
