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
    r"[-+]?(?=[\d.]{1,10}$)\d{1,9}(?:\.\d{1,9})?"  # a number
    r"|\[?\"?(?:\d{1,3}\.){3}\d{1,3}(?:/\d{1,2})?\"?\]?"  # an address
    r"|\d{4}-\d{2}-\d{2}(?:[T ]\d\d:[\d:.]{2,12}(?:Z|[+-]\d{2}:\d{2})?)?"  # a time
    r"|[a-z]{2,5}://[A-Za-z0-9.-]{1,40}(?::\d{1,5})?(?:/[a-z0-9/.-]{0,20})?"  # a URL without user and query
    r"|sha256:[0-9a-f]{0,64}|at\(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\)"  # a schedule
    r"|arn:[a-z-]+:[a-z0-9-]+:[a-z0-9-]*:\d*:[A-Za-z0-9/:._-]{1,80}"
    r"|[a-z0-9-]{1,40}(?:\.[a-z0-9-]{1,40}){0,4}\.[a-z]{2,20}",  # a host
)
_URL = re.compile(r"[a-z]{2,5}://[A-Za-z0-9.-]{1,40}:[a-z]{1,5}")
"""One whose port is a word."""
_IMAGE = re.compile(
    r"(?:[a-z0-9-]+(?:\.[a-z-]+)+/)?[a-z-]+(?:/[a-z-]+)*"
    r"(?::(?:v?\d{1,4}(?:\.\d{1,4}){0,3}|latest))?(?:@sha256:[0-9a-f]{0,64})?"
)
_PLAIN = re.compile(r"[A-Za-z0-9 .,:;/+()@_\[\]\"'*?-]{0,64}")
_MIXED = re.compile(r"(?=[A-Za-z0-9]*\d)(?=[A-Za-z0-9]*[A-Za-z])[A-Za-z0-9]{4,}|[A-Z0-9]{16,}")
"""A key, and many a password, has letters and digits in one word, or capitals alone."""
_MOST_LETTERS = 14
"""Of words that are shown: a passphrase has more."""


def shown(raw: object, name: str = "") -> str:
    """A wrong value of the key `name`, or what kind of value it is."""
    match raw:
        case None | "":
            return "nothing"
        case int() | float() if not is_shown(raw, name):
            return "a number"
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
    if isinstance(raw, str):
        return _is_plain(raw, name)
    return isinstance(raw, bool) or not _is_telling(name) or name.endswith(_UNITS)


def shown_name(name: str) -> str:
    """A key that we do not know, without what steers a terminal or fills it; a secret may stand in its place, too."""
    if not re.fullmatch(r"[A-Za-z0-9_.:-]{1,64}", name):
        return f"{ascii(name)[:40]} ({len(name):,} characters)" if _is_plain(name, "") else _counted(name)
    return name if sum(one.isdigit() for one in name) < _LEAST_DIGITS else _counted(name)


def _counted(name: str) -> str:
    return f"a name of {len(name):,} characters"


def _is_telling(name: str) -> bool:
    """Whether a value of that name is a secret; of the words of a name in camel case, too."""
    return (
        _TELLING.search(name) is not None or _TELLING.search(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)) is not None
    )


_UNITS = ("Seconds", "Minutes", "Hours", "Days")
"""How long something is kept is no secret: `gatewayKeyWindowHours`."""
_LEAST_DIGITS = 5
"""Of a number that somebody may have to keep for himself."""


def _is_short(one: object) -> bool:
    return isinstance(one, str) or (isinstance(one, int) and abs(one) < 10**9)


def _is_plain(text: str, name: str) -> bool:
    if len(text) > LONGEST or _is_telling(name) or _TELLING.search(text):
        return False
    if _KNOWN.fullmatch(text):
        return True
    if name.lower().endswith("url"):  # where a key is put by mistake most often
        return _URL.fullmatch(text) is not None
    if name.lower().endswith(("image", "layer", "digest")) and _IMAGE.fullmatch(text):
        return True
    letters, digits = sum(one.isalpha() for one in text), sum(one.isdigit() for one in text)
    if not _PLAIN.fullmatch(text) or ("@" in text and ":" in text) or _MIXED.search(text):
        return False
    return letters <= _MOST_LETTERS and digits < _LEAST_DIGITS
