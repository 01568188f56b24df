"""What is looked for, as people type it: options of `confirm find`, and the text of `--where`. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from difflib import get_close_matches
from enum import StrEnum
from typing import Any, TypeVar

from cli.exits import Exit, Trouble
from cli.rows import FUTURE, MAX_AMOUNT
from workers.domain.causes import Cause
from workers.domain.currency import EXPONENTS
from workers.domain.finding import MASK, Where
from workers.domain.transaction import Status

E = TypeVar("E", bound=StrEnum)

_AGE = re.compile(r"(\d{1,6})\s?([smhdw])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_OLDEST = timedelta(days=366 * 50)
_WHOLE = re.compile(r"\d{1,20}", re.ASCII)
MOST_TEXT = 200
"""Characters of what is looked for in a reason."""


def where_of(texts: Mapping[str, Sequence[str]], now: datetime) -> Where:
    """What these ask for, by the names of `KEYS`; each of several values of state and cause is one of them.

    Raises:
        Trouble: says what was found, what is allowed and how to mend it. It shows no account.
    """
    if strange := [key for key in texts if key not in KEYS]:
        raise unknown(strange[0], KEYS, "nothing to look for")
    fields: dict[str, Any] = {}
    for key, values in texts.items():
        if key not in ("state", "cause") and len(values) > 1:
            raise Trouble(f"{key} is there {len(values)} times", "say it once", Exit.USAGE)
        name, read = KEYS[key]
        if values:
            fields[name] = read(values if name in ("states", "causes") else values[0], now)
    where = Where(**fields)
    _upside_down(where.amount_from, where.amount_to, "amount-from", "amount-to")
    _upside_down(where.created_from, where.created_to, "newer-than", "older-than")
    if where.created_from is not None and where.created_to is None:
        # it ends somewhere, so that an index by time can serve it
        where = replace(where, created_to=now + FUTURE)
    return where


def where_in(text: str, now: datetime) -> Where:
    """The same of one text: `cause=deadline-passed currency=EUR reason="time-out at the bank"`.

    Raises:
        Trouble: as `where_of`.
    """
    try:
        words = shlex.split(text)
    except ValueError:
        raise Trouble("--where has a quote that is not closed", _LIKE, Exit.USAGE) from None
    texts: dict[str, list[str]] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise Trouble("--where has a word without =", _LIKE, Exit.USAGE)
        texts.setdefault(key, []).append(value)
    if not texts:
        raise Trouble("--where is empty", f"{_LIKE}; for all that lie on the desk: --where state=REVIEW", Exit.USAGE)
    return where_of(texts, now)


_LIKE = "write it like --where 'cause=deadline-passed older-than=3d reason=\"time-out\"'"


def _one_of(kind: type[E], what: str) -> Callable[[Sequence[str], datetime], frozenset[E]]:
    def read(values: Sequence[str], now: datetime) -> frozenset[E]:  # noqa: ARG001
        known = {one.value.lower(): one for one in kind}
        names = [name.strip().lower() for value in values for name in value.split(",")]
        for name in names:
            if name not in known:
                raise unknown(name, [one.value for one in kind], f"no {what}")
        return frozenset(known[name] for name in names)

    return read


def unknown(found: str, known: Sequence[str] | Mapping[str, Any], what: str) -> Trouble:
    """The trouble with a name that is none of these."""
    by_lower = {one.lower(): one for one in known}
    near = get_close_matches(found.lower(), by_lower, 1, 0.6)
    meant = f"; did you mean {by_lower[near[0]]}?" if near else ""
    return Trouble(f"{found[:40]!a} is {what}{meant}", f"use one of: {', '.join(known)}", Exit.USAGE)


def _age(text: str, now: datetime) -> datetime:
    found = _AGE.fullmatch(text.strip())
    span = timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else None
    if span is None or span > _OLDEST:
        raise Trouble(
            f"{text[:20]!a} is no age", "write a number and s, m, h, d or w, up to 50 years: 30m, 6h, 3d", Exit.USAGE
        )
    return now - span


def _amount(text: str, now: datetime) -> int:  # noqa: ARG001
    if not _WHOLE.fullmatch(text.strip()) or int(text) > MAX_AMOUNT:
        raise Trouble(
            f"{text[:20]!a} is no amount", f"write whole minor units, 0 to {MAX_AMOUNT}: 1250 for 12.50 EUR", Exit.USAGE
        )
    return int(text)


def _currency(text: str, now: datetime) -> str:  # noqa: ARG001
    code = text.strip().upper()
    if code not in EXPONENTS:
        raise Trouble(f"{text[:10]!a} is no currency", "write its code of ISO 4217, such as EUR", Exit.USAGE)
    return code


def _account(text: str, now: datetime) -> str:  # noqa: ARG001
    if text == MASK:
        raise Trouble("the account has no end", f"write it as it is shown ({MASK}3000), or whole", Exit.USAGE)
    return _text("account", text, 1024)


def _reference(text: str, now: datetime) -> str:  # noqa: ARG001
    return _text("reference", text, 1024)


def _reason(text: str, now: datetime) -> str:  # noqa: ARG001
    return _text("reason", text, MOST_TEXT)


def _text(what: str, text: str, most: int) -> str:
    if not 0 < len(text) <= most or not text.isprintable():
        raise Trouble(f"the {what} has {len(text):,} characters, or some that can't be printed",
                      f"write 1 to {most:,} printable characters", Exit.USAGE)  # fmt: skip
    return text


def _upside_down(least: Any, most: Any, low: str, high: str) -> None:
    if least is not None and most is not None and least > most:
        raise Trouble(f"nothing is within both {low} and {high}: they are the wrong way round", "swap them", Exit.USAGE)


KEYS: Mapping[str, tuple[str, Callable[[Any, datetime], Any]]] = {
    "state": ("states", _one_of(Status, "state")),
    "cause": ("causes", _one_of(Cause, "cause")),
    "account": ("account", _account),
    "reference": ("reference", _reference),
    "older-than": ("created_to", _age),
    "newer-than": ("created_from", _age),
    "amount-from": ("amount_from", _amount),
    "amount-to": ("amount_to", _amount),
    "currency": ("currency", _currency),
    "reason": ("reason", _reason),
}
"""By name: the field of `Where`, and what reads it."""
