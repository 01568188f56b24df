"""Text from outside, cleaned once, where it comes in: no store may fail on it, and no item grow without bound.

A NUL or half a surrogate pair cannot be stored (PostgreSQL refuses both in a text, DynamoDB the latter), and the
statement that carries one fails with all the other moves in it. What the gateway says passes `admitted`
(workers/domain/outcomes.py), what a person says the rule for a redrive.
"""

from __future__ import annotations

import re
from unicodedata import category

MAX_WORDS = 300
"""Characters of a reason: a history holds many."""
MAX_NAME = 100
"""Of a person, or a worker."""
MAX_APPROVAL = 200
"""Of who approved: two people, and the request in which they did."""
MAX_REFERENCE = 256
"""Of a gateway's reference; Stripe's, the longest known to us, have up to 255."""

_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def words(text: str, most: int = MAX_WORDS) -> str:
    """Words for people: one line, of printable characters, of at most `most`."""
    if text.isprintable() and len(text) <= most:
        return text
    text = _whole(text[: 4 * most])
    # format characters (a zero-width space between two digits) go, so that `redact` sees what a reader sees
    text = "".join(one if one.isprintable() else "" if category(one) == "Cf" else " " for one in text)
    return cut(" ".join(text.split()), most)


def cut(text: str, most: int) -> str:
    """`text` of at most `most` characters, ended where `redact` knows all that is left: no half of a number stays.

    It ends at a space; where a long word would take half of it along, at another mark; a word without digits anywhere.
    """
    if len(text) <= most:
        return text
    kept = text[: most - 1]
    for marks in (" ", ";,|", "_-./:"):
        if (place := max(map(kept.rfind, marks))) >= most // 2:
            break
    else:
        place = kept.rfind(" ")
        if not any(map(str.isdigit, kept[place + 1 :])):
            place = len(kept)
    kept = _without_half(kept[: max(place, 0)]).rstrip(" ")
    return f"{kept} …" if kept and place < most - 1 and text[place] == " " else f"{kept}…"


_LONGEST_NUMBER = 34
"""Letters and digits: an IBAN has so many."""
_BETWEEN = 8
"""Marks between two of them."""
_WORD = re.compile(r"[^\W_]+")


def _without_half(text: str) -> str:
    """Without what may be the beginning of a number whose rest was cut off: words with digits, as many as one takes."""
    end, taken = len(text), 0
    for one in reversed([*_WORD.finditer(text)]):
        if end - one.end() > _BETWEEN or taken >= _LONGEST_NUMBER or not any(map(str.isdigit, one[0])):
            break
        end = one.start()
        taken += (
            1 if text[end - 1 : end] in ("%", "\\", "#") else len(one[0])
        )  # a character in the codes of URLs, JSON, HTML
    return text[:end]


def reference(text: str) -> str:
    """A receipt stays as it is: only what cannot be stored or breaks a line is replaced, and what is too long cut."""
    if text.isprintable() and len(text) <= MAX_REFERENCE:
        return text
    text = _UNFIT.sub("\N{REPLACEMENT CHARACTER}", _whole(text[: 2 * MAX_REFERENCE]))
    return text if len(text) <= MAX_REFERENCE else text[: MAX_REFERENCE - 1] + "…"


def _whole(text: str) -> str:
    """Without halves of surrogate pairs; two that belong together become their character."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
