"""How the simulated gateway behaves: profiles, and the pure function that draws one call's fate from them."""

# ruff: noqa: A002 - `id` is the domain's own word
from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any


class Fault(StrEnum):
    """What may go wrong with one call. The second half of the names says whether the effect happens nonetheless."""

    UNAVAILABLE = "unavailable"
    """503 with the protocol's own words; no effect."""
    ERROR_BEFORE = "error-before"
    """500, no effect: the caller cannot tell it from the next."""
    ERROR_AFTER = "error-after"
    """500 after the effect."""
    TIMEOUT_BEFORE = "timeout-before"
    """No answer, no effect."""
    TIMEOUT_AFTER = "timeout-after"
    """No answer after the effect."""
    CLOSE_BEFORE = "close-before"
    """The connection is closed without a byte of an answer; no effect."""
    CLOSE_AFTER = "close-after"
    """The same, after the effect."""
    CLOSE_MID_BODY = "close-mid-body"
    """200, and the connection is closed in the middle of the body; the effect happened."""
    IN_FLIGHT = "in-flight"
    """409 at once, "processing"; the effect happens a latency later."""
    REDIRECT = "redirect"
    """302 to elsewhere; no effect."""
    GARBAGE = "garbage"
    """200 with a body that is no JSON, after the effect."""
    NOT_HTTP = "not-http"
    """Bytes that are no HTTP, after the effect."""
    HUGE = "huge"
    """200 with a body of 2 MB, after the effect."""
    WRONG_ID = "wrong-id"
    """200 about another transaction, after the effect."""
    WRONG_AMOUNT = "wrong-amount"
    """200 with one minor unit more than was asked for, after the effect."""
    FLOAT_AMOUNT = "float-amount"
    """200 with the amount as a floating-point number, after the effect."""

    WRONG_CURRENCY = "wrong-currency"
    """200 with another currency, after the effect."""
    WRONG_TYPE = "wrong-type"
    """200 with the right words as text/plain, after the effect: who knows who says so."""
    TWICE = "twice"
    """200, and the same once more: the second must meet nobody."""
    STALE = "stale"
    """"processing", though the effect has happened."""

    PAGE_404 = "page-404"
    """A proxy's own page, 404: the route to the gateway is gone; no effect."""
    PAGE_403 = "page-403"
    """A firewall's own page, 403; no effect."""
    PAGE_429 = "page-429"
    """A proxy's own 429 with Retry-After, after the effect: it had passed the call on, and tried again."""
    PAGE_408 = "page-408"
    """A proxy's own 408, after the effect: it did not wait for the answer."""
    EDGE_503 = "edge-503"
    """503 in JSON, with the gateway's word and without the id, after the effect: a load balancer that gave up."""

    @property
    def has_effect(self) -> bool:
        return self not in _WITHOUT_EFFECT


_WITHOUT_EFFECT = frozenset(
    {
        Fault.UNAVAILABLE,
        Fault.ERROR_BEFORE,
        Fault.TIMEOUT_BEFORE,
        Fault.CLOSE_BEFORE,
        Fault.REDIRECT,
        Fault.PAGE_404,
        Fault.PAGE_403,
    }
)


class ProfileError(ValueError):
    """A change of the profile that makes no sense: names the key, what was found and what is allowed."""


@dataclass(frozen=True, slots=True)
class Profile:
    """How the gateway behaves at present. Shares are in [0, 1], times in seconds."""

    name: str = "calm"
    latency_seconds: tuple[float, float] = (0.0, 0.0)
    """From, to; short ones are more frequent."""
    refused: float = 0.0
    """Share of the ids that are refused for good (422), each time."""
    faults: Mapping[Fault, float] = field(default_factory=dict)
    """Share of the calls that meet each fault; together at most 1."""
    hang_seconds: float = 30.0
    """How long a call without an answer is held before the connection is closed."""
    rate_limit_per_second: float = 0.0
    """Beyond it 429 with Retry-After; 0 for no limit."""
    key_window_seconds: float = 24 * 3600.0
    """An idempotency key older than this is forgotten: sent again, it makes a second effect."""
    late: float = 0.0
    """Share of the ids whose effect `ask` does not see yet ..."""
    late_seconds: float = 0.0
    """... for so long."""
    replays: frozenset[str] = frozenset({"confirmed", "rejected"})
    """Which first results a repeated key gets back unexamined; "error" is a 500, whether or not it had an effect."""
    script: Mapping[str, tuple[Fault | None, ...]] = field(default_factory=dict)
    """By id: the fate of its first calls, for tests; `ask:<id>` for those to ask. Later ones are drawn as usual."""

    def changed(self, changes: Mapping[str, Any]) -> Profile:
        """A copy with `changes` as they come from JSON; `profile` names the one to start from, else from this.

        Raises:
            ProfileError: an unknown key or a value that is not allowed.
        """
        changes = dict(changes)
        base = self
        if (name := changes.pop("profile", None)) is not None:
            if name not in PROFILES:
                raise ProfileError(f"profile: found {name!r}, allowed {', '.join(PROFILES)}")
            base = PROFILES[name]
        read = {key: _read(key, value) for key, value in changes.items()}
        profile = replace(base, **read)
        if sum(profile.faults.values()) > 1 + 1e-9:
            raise ProfileError(f"faults: the shares add up to {sum(profile.faults.values()):g}, allowed at most 1")
        return profile

    def as_json(self) -> dict[str, Any]:
        """The inverse of `changed`, for the answer to whoever changed it."""
        shown = {item.name: getattr(self, item.name) for item in fields(self)}
        return shown | {
            "faults": dict(self.faults),
            "replays": sorted(self.replays),
            "script": {key: [fault or "none" for fault in fate] for key, fate in self.script.items()},
        }


def _read(key: str, value: Any) -> Any:
    match key:
        case "faults" if isinstance(value, dict):
            return MappingProxyType({_fault(key, name): _share(f"{key}.{name}", v) for name, v in value.items()})
        case "script" if isinstance(value, dict) and all(isinstance(fate, list) for fate in value.values()):
            return MappingProxyType(
                {
                    name: tuple(None if one == "none" else _fault(f"{key}.{name}", one) for one in fate)
                    for name, fate in value.items()
                }
            )
        case "refused" | "late":
            return _share(key, value)
        case "hang_seconds" | "rate_limit_per_second" | "key_window_seconds" | "late_seconds":
            return _number(key, value)
        case "latency_seconds" if isinstance(value, list) and len(value) == 2:
            low, high = (_number(key, one) for one in value)
            if low <= high:
                return low, high
        case "replays" if isinstance(value, list) and set(value) <= _REPLAYABLE:
            return frozenset(value)
    known = [item.name for item in fields(Profile) if item.name != "name"]
    if key not in known:
        raise ProfileError(f"{key}: unknown, allowed profile, {', '.join(known)}")
    allowed = {"latency_seconds": "[from, to]", "replays": f"a list of {', '.join(sorted(_REPLAYABLE))}"}
    raise ProfileError(f"{key}: found {json.dumps(value)}, allowed {allowed.get(key, 'an object')}")


_REPLAYABLE = {"confirmed", "rejected", "error"}


def _fault(key: str, name: object) -> Fault:
    try:
        return Fault(str(name))
    except ValueError:
        raise ProfileError(f"{key}: found {name!r}, allowed {', '.join(Fault)}") from None


def _number(key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        raise ProfileError(f"{key}: found {value!r}, allowed a number from 0")
    return float(value)


def _share(key: str, value: object) -> float:
    if _number(key, value) > 1:
        raise ProfileError(f"{key}: found {value!r}, allowed a share from 0 to 1")
    return _number(key, value)


_USUAL_LATENCY = (0.015, 0.060)


_DAY = 24 * 3600.0


def _always(name: str, fault: Fault) -> Profile:
    return Profile(name, faults={fault: 1.0})


PROFILES: Mapping[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile("calm"),
        Profile("flat", latency_seconds=(0.050, 0.050)),
        Profile(
            "demo",
            latency_seconds=_USUAL_LATENCY,
            refused=0.02,
            faults={
                Fault.UNAVAILABLE: 0.015,
                Fault.TIMEOUT_AFTER: 0.010,
                Fault.TIMEOUT_BEFORE: 0.005,
                Fault.ERROR_AFTER: 0.005,
            },
        ),
        Profile(
            "hostile",
            latency_seconds=(0.0, 0.120),
            refused=0.05,
            faults={
                Fault.UNAVAILABLE: 0.05,
                Fault.TIMEOUT_AFTER: 0.03,
                Fault.TIMEOUT_BEFORE: 0.03,
                **dict.fromkeys(
                    (
                        Fault.ERROR_AFTER,
                        Fault.ERROR_BEFORE,
                        Fault.CLOSE_AFTER,
                        Fault.CLOSE_BEFORE,
                        Fault.CLOSE_MID_BODY,
                        Fault.IN_FLIGHT,
                        Fault.REDIRECT,
                        Fault.GARBAGE,
                        Fault.WRONG_ID,
                        Fault.PAGE_404,
                        Fault.PAGE_403,
                        Fault.PAGE_408,
                        Fault.EDGE_503,
                    ),
                    0.01,
                ),
            },
            late=0.1,
            late_seconds=2.0,
        ),
        Profile("brown-out", (0.2, 2.0), faults={Fault.UNAVAILABLE: 0.4, Fault.TIMEOUT_BEFORE: 0.2}),
        Profile("down", faults={Fault.UNAVAILABLE: 1.0}),
        Profile("late", late=1.0, late_seconds=1.0, faults={Fault.TIMEOUT_AFTER: 0.5}),
        Profile("forgetful", key_window_seconds=0.0),
        # Vendors, as their documents describe idempotency; the rest as in the demo's profile.
        Profile("stripe-v1", _USUAL_LATENCY, 0.02, replays=frozenset({"confirmed", "rejected", "error"})),
        Profile("stripe-v2", _USUAL_LATENCY, 0.02, replays=frozenset({"confirmed", "rejected"})),
        Profile("checkout", _USUAL_LATENCY, 0.02, replays=frozenset({"confirmed"})),
        Profile("ppro", _USUAL_LATENCY, 0.02, replays=frozenset({"confirmed", "error"})),
        Profile("plaid", _USUAL_LATENCY, 0.02, key_window_seconds=7 * _DAY),
        Profile(
            "hostile-vendor",
            (0.0, 12.0),
            0.05,
            replays=frozenset({"confirmed"}),
            key_window_seconds=2 * 3600.0,
            rate_limit_per_second=20.0,
            hang_seconds=40.0,
            late=0.3,
            late_seconds=45.0,
            faults=dict.fromkeys(Fault, 0.02),
        ),
        *(_always(fault, fault) for fault in Fault if fault is not Fault.UNAVAILABLE),
    )
}
"""By name. Those named as a fault meet it with every call."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The fate of one call."""

    latency_seconds: float
    refused: bool
    fault: Fault | None
    late_seconds: float
    """How long after the effect `ask` does not see it."""


def decide(seed: int, id: str, call: int, profile: Profile, verb: str = "confirm") -> Decision:
    """Draws the fate of the `call`-th call (1, 2, ...) for `id`: the same arguments, the same fate.

    Refusal and lateness belong to the id, latency and fault to the call.
    """
    of_id = _draws(f"{seed}:{id}")
    of_call = _draws(f"{seed}:{id}:{verb}:{call}")
    low, high = profile.latency_seconds
    return Decision(
        latency_seconds=low + (high - low) * of_call[0] ** 2,
        refused=of_id[0] < profile.refused,
        fault=_draw_fault(of_call[1], id if verb == "confirm" else f"{verb}:{id}", call, profile),
        late_seconds=profile.late_seconds if of_id[1] < profile.late else 0.0,
    )


def _draw_fault(chance: float, name: str, call: int, profile: Profile) -> Fault | None:
    scripted = profile.script.get(name, ())
    if call <= len(scripted):
        return scripted[call - 1]
    for fault, share in profile.faults.items():
        if chance < share:
            return fault
        chance -= share
    return None


def _draws(text: str) -> tuple[float, float]:
    """Two numbers uniform in [0, 1)."""
    digest = hashlib.blake2b(text.encode(), digest_size=14).digest()
    return int.from_bytes(digest[:7]) / 2**56, int.from_bytes(digest[7:]) / 2**56
