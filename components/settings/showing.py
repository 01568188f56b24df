"""What was found in a config, as it may stand in the log of a pipeline: Pulumi prints it.

A key in the wrong place is a usual mistake. So only that is shown whole which is short and no secret by its form;
whoever set it finds the rest by the name of the key.
"""

from __future__ import annotations

import json
import re

LONGEST = 160
"""Characters of a text that is shown."""
_TELLING = re.compile(
    r"key|secret|token|passw|passphrase|pwd|credential|authorization|bearer|basic|signature|session|cookie|dsn"
    r"|\bcv[cnv]|\bcsc\b|\bcid\b|\bpin\b|security code",
    re.IGNORECASE,
)
_KNOWN = re.compile(
    r"[-+]?\d{1,9}(?:\.\d{1,9})?"  # a number
    r"|\[?\"?(?:\d{1,3}\.){3}\d{1,3}(?:/\d{1,2})?\"?\]?"  # an address
    r"|\d{4}-\d{2}-\d{2}(?:[T ][\d:.]{5,15}(?:Z|[+-]\d{2}:\d{2})?)?"  # a time
    r"|[a-z]{2,5}://[A-Za-z0-9.-]{1,40}(?::\d{1,5})?(?:/[a-z0-9/.-]{0,20})?"  # a URL without user and query
    r"|sha256:[0-9a-f]{0,64}|at\(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\)"  # a schedule
    r"|arn:[a-z-]+:[a-z0-9-]+:[a-z0-9-]*:\d*:[A-Za-z0-9/:._-]{1,80}"
    r"|(?:[a-z0-9-]+(?:\.[a-z-]+)+/)?[a-z-]+(?:/[a-z-]+)*"  # an image
    r"(?::(?:v?\d{1,4}(?:\.\d{1,4}){0,3}|latest))?(?:@sha256:[0-9a-f]{0,64})?",
)
_PLAIN = re.compile(r"[A-Za-z0-9 .,:;/+()@_\[\]\"'*?-]{0,64}")
_MIXED = re.compile(r"(?=[A-Za-z0-9]*\d)(?=[A-Za-z0-9]*[A-Za-z])[A-Za-z0-9]{8,}|[A-Z0-9]{16,}")
"""A key has letters and digits in one word, or capitals alone."""


def shown(raw: object, name: str = "") -> str:
    """A wrong value of the key `name`, or what kind of value it is."""
    match raw:
        case None | "":
            return "nothing"
        case bool() | float():
            return json.dumps(raw)
        case int():
            return str(raw) if abs(raw) < 10**9 else "a number of more than nine digits"
        case str():
            return json.dumps(raw) if _is_plain(raw, name) else f"text of {len(raw):,} characters"
        case list() | tuple() if len(raw) < 20 and all(_is_short(one) and _is_plain(str(one), name) for one in raw):
            return json.dumps(raw)
        case list() | tuple():
            return f"a list of {len(raw):,}"
        case dict():
            return f"an object of {len(raw):,} keys"
    return f"a value of the type {type(raw).__name__}"


def is_shown(raw: object, name: str) -> bool:
    """Whether `shown` has the value itself."""
    return not isinstance(raw, str) or _is_plain(raw, name)


def shown_name(name: str) -> str:
    """A key that we do not know, without what steers a terminal or fills it."""
    return name if re.fullmatch(r"[A-Za-z0-9_.:-]{1,64}", name) else f"{ascii(name)[:40]} ({len(name):,} characters)"


def _is_short(one: object) -> bool:
    return isinstance(one, str) or (isinstance(one, int) and abs(one) < 10**9)


def _is_plain(text: str, name: str) -> bool:
    if len(text) > LONGEST or _TELLING.search(name) or _TELLING.search(text):
        return False
    if _KNOWN.fullmatch(text):
        return True
    letters = sum(one.isalnum() for one in text)
    digits = sum(one.isdigit() for one in text)
    if not _PLAIN.fullmatch(text) or ("@" in text and ":" in text) or _MIXED.search(text):
        return False
    return digits < 5 and (letters < 15 or not digits)
