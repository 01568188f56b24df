"""How often a schedule of EventBridge runs."""

from __future__ import annotations

import re

from components.schedules import period_seconds

NAMES = {name: number for number, name in enumerate(("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"), 1)}


def runs_per_hour(schedule: str) -> float:
    """How often a schedule (`rate(...)` or `cron(...)` of six fields) runs, on average."""
    period = period_seconds(schedule)
    if period is not None:
        return 3600 / period
    minute, hour, day, month, weekday, _ = schedule.removeprefix("cron(").removesuffix(")").split(" ")
    of_days = _share(day, 1, 31) * _share(weekday, 1, 7) * _share(month, 1, 12)
    return _share(minute, 0, 59) * 60 * _share(hour, 0, 23) * of_days


def _share(field: str, least: int, most: int) -> float:
    """The share of all values that a field of cron takes. `L`, `W` and `#` name one day."""
    if field in ("*", "?"):
        return 1.0
    taken: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        if not re.fullmatch(r"\*|\d+|[A-Z]{3}", first):
            taken.add(least)
            continue
        low = least if first == "*" else int(NAMES.get(first, first))
        high = most if first == "*" or (step and not last) else int(NAMES.get(last or first, last or first))
        taken.update(range(low, high + 1, int(step or 1)))
    return len(taken) / (most - least + 1)
