"""A stop by hand: of everything, or of sending alone. Who, why and since when. Pure: no clock, no I/O.

Whoever works looks at it before each call. What is under way ends; deadlines go on, and what passes its own goes to its
desk without a call.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from workers.domain.exits import Refused
from workers.domain.policy import Policy
from workers.domain.redaction import redact
from workers.domain.text import words
from workers.domain.transaction import from_text, to_text, utc


class Scope(StrEnum):
    ALL = "all"
    """The gateway is not called at all."""
    SENDING = "sending"
    """What was possibly sent is asked about; nothing is sent."""


@dataclass(frozen=True, slots=True)
class Pause:
    scope: Scope
    by: str
    why: str
    since: datetime

    def told(self) -> dict[str, str]:
        return {"scope": self.scope.value, "by": self.by, "why": self.why, "since": to_text(self.since)}

    def wait(self, now: datetime, policy: Policy, chance: float) -> timedelta:
        """How long what may not be sent is left alone: as long as the pause has lasted, within the bounds of a retry.
        So a short pause costs little time at its end, and a long one few writes. `chance` is uniform in [0, 1)."""
        step = min(max(now - self.since, policy.retry_base), policy.retry_cap)
        return step * (0.1 + 0.9 * chance)


@dataclass(frozen=True, slots=True)
class Standing:
    """What is kept: the pause, or none, and how often that has changed, which is the fence of the next change."""

    version: int = 0
    pause: Pause | None = None


UNREADABLE = Pause(Scope.ALL, "?", "the note of a pause can't be read", datetime(1970, 1, 1, tzinfo=UTC))
"""What something else wrote stops everything: in doubt nothing is sent."""


def paused(before: Standing, scope: Any, by: str, why: Any, now: datetime) -> Standing:
    """Stopped; the same as `before` where it is stopped that way already.

    Raises:
        Refused: that is no pause, lacks its reason, or would let go on what another one stops.
    """
    if scope not in list(Scope):
        raise Refused(f"a pause is of {' or '.join(Scope)}, found {str(scope)[:20]!a}")
    after = Standing(before.version + 1, Pause(Scope(scope), by, _reason(why, "pause"), utc(now)))
    if before.pause is None or (before.pause.scope, scope) == (Scope.SENDING, Scope.ALL):
        return after
    if before.pause.scope == scope:
        return before
    raise Refused(f"{before.pause.by} has paused everything: a checker resumes it first, with `confirm resume`")


def resumed(before: Standing, why: Any) -> tuple[Standing, str]:
    """Going on again, and the reason as the log tells it; the same as `before` where nothing is stopped.

    Raises:
        Refused: it lacks its reason.
    """
    reason = _reason(why, "resume")
    return (before if before.pause is None else Standing(before.version + 1)), reason


def _reason(why: Any, what: str) -> str:
    reason = redact(words(why.strip())) if isinstance(why, str) else ""
    if not reason:
        raise Refused(f"a {what} says why")
    return reason


def to_json(standing: Standing) -> str:
    return json.dumps(standing.pause.told() if standing.pause else None)


def from_json(text: str, version: int) -> Standing:
    """The inverse of `to_json`; what is not ours is UNREADABLE, and can be resumed."""
    try:
        told = json.loads(text)
        if told is None:
            return Standing(version)
        pause = Pause(Scope(told["scope"]), str(told["by"]), str(told["why"]), from_text(told["since"]))
    except (ValueError, KeyError, TypeError):
        pause = UNREADABLE
    return Standing(version, pause)
