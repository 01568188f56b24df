"""Card and account numbers in a text, known by what makes them valid: brand, length and check digits.

Only what keeps to all of it is one, so an order number, a timestamp or a UUID stays as it is. What also has the form of
a card and its check digit is a card to whoever looks, whatever its owner calls it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

Span = tuple[int, int]

_BRANDS: tuple[tuple[str, frozenset[int]], ...] = tuple(
    (prefix, frozenset(lengths))
    for prefix, lengths in (
        ("4", (13, 16, 18, 19)),  # Visa
        (r"5[1-5]|22(?:2[1-9]|[3-9])|2[3-6]|27(?:[01]|20)", (16,)),  # Mastercard
        ("3[47]", (15,)),  # American Express
        (r"30[0-5]|3095|3[689]", (14, 16, 19)),  # Diners Club
        (r"6011|64[4-9]|65|62|81[0-7]|352[89]|35[3-8]", (16, 17, 18, 19)),  # Discover, UnionPay, JCB
        (r"220[0-4]|8600|9792|9860", (16, 17, 18, 19)),  # Mir, Uzcard, Troy, Humo
        (r"5018|5020|5038|5893|6304|6390|6759|676[1-3]", (12, 13, 14, 15, 17)),  # Maestro
        (r"5[06-8]|6", (16, 18, 19)),  # Maestro, Elo, RuPay, Verve, Hipercard
    )
)
"""The first digits, and the lengths that cards beginning so have. ISO/IEC 7812 gives 1 to airlines: no card that pays
in a shop, and most timestamps begin with it."""
_PREFIXES = tuple((re.compile(prefix), lengths) for prefix, lengths in _BRANDS)
_FOURS = ((4, 4, 4), (4, 4, 4, 4))
_GROUPS = frozenset(
    ((4, 6, 5), (4, 6, 4), (8, 8), (6, 13), (4, 4, 4), *((*fours, last) for fours in _FOURS for last in (1, 2, 3, 4)))
)
"""As cards are written; whatever stands between."""

_RUN = re.compile(r"\d(?:[\W_]{0,8}\d){11,}")
"""A card has twelve digits at least."""
_ONE = re.compile(r"\d+")
_TAIL = re.compile(r"(?:[\W_]{1,4}\d{1,4}(?!\d)){1,3}")
"""What stands behind a card: the month and year of its end, the CVV."""
_SET_ASIDE = re.compile(
    r"(?<![0-9a-z])(?:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"  # a UUID
    r"|(?=[0-9]*[a-f])[0-9a-f]{24,64})(?![0-9a-z])"  # a digest
    r"|(?P<telephone>(?<!\w)\+\d[\d ().-]{6,17}(?!\d)(?![\W_]{0,3}\d))"
    r"|(?P<reference>(?<![0-9a-z])rf\d\d(?:[ ]?[0-9a-z]{4}){0,5}(?:[ ]?[0-9a-z]{1,4})?(?![0-9a-z]))",  # ISO 11649
    re.IGNORECASE,
)
"""What holds digits and is known to be something else."""
_LONGEST_TELEPHONE = 15
"""Digits, with those of the country (E.164)."""
_LONGEST_GROUP = 4
"""Of digits that stand between equal marks: an order's number has longer ones, with a date in it."""

_IBANS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29,
    "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29,
    "ES": 24, "FI": 18, "FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28,
    "HN": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20,
    "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19,
    "MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29,
    "PT": 25, "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24,
    "SM": 27, "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
    "YE": 30,
}  # fmt: skip
"""The length of an account number, by its country: the IBAN registry of SWIFT."""
_IBAN = re.compile(r"(?<![0-9A-Za-z])[A-Za-z]{2}\d\d")
_BETWEEN = 8
"""So many characters may stand between two of an account number."""


class Number(NamedTuple):
    """Where in a text one is."""

    start: int
    end: int
    card: str
    """Its digits, if it is a card; "" for an account."""


def numbers(text: str) -> Iterator[Number]:
    """The card and account numbers of a text of ASCII digits, in order. What stands behind a card, belongs to it."""
    if _RUN.search(text) is None and _IBAN.search(text) is None:
        return
    others = list(_others(text))
    end = 0
    for one in sorted([*_accounts(text), *_cards(text, others)]):
        if any(start <= one.start < after for start, after in others):
            continue
        if one.start >= end:
            yield one
            end = one.end


def is_card(digits: str) -> bool:
    """Whether it has the beginning, the length and the check digit of a card."""
    return any(len(digits) in lengths and prefix.match(digits) for prefix, lengths in _PREFIXES) and _luhn(digits)


def _cards(text: str, others: list[Span]) -> Iterator[Number]:
    start = 0
    for other, after in [*others, (len(text), len(text))]:
        for run in _RUN.finditer(text, start, other):
            yield from _in_run(text, [one.span() for one in _ONE.finditer(text, *run.span())])
        start = after


def _others(text: str) -> Iterator[Span]:
    for one in _SET_ASIDE.finditer(text):
        found = one[0]
        if one.lastgroup == "reference":  # a word behind it is none of its groups
            while found and _mod97(found.replace(" ", "")) != 1:
                found = found.rpartition(" ")[0]
        elif one.lastgroup == "telephone" and sum(map(str.isdigit, found)) > _LONGEST_TELEPHONE:
            continue
        if found:
            yield one.start(), one.start() + len(found)


def _in_run(text: str, groups: list[Span]) -> Iterator[Number]:
    """The cards in digits that stand together: one group, groups as cards have them, or all between equal marks."""
    sizes = [end - start for start, end in groups]
    gaps = [text[one[1] : other[0]] for one, other in pairwise(groups)]
    first, count = 0, len(groups)
    while first < count:
        for last in _ends(first, sizes, gaps):
            digits = "".join(text[start:end] for start, end in groups[first : last + 1])
            if is_card(digits):
                end = groups[last][1]
                tail = _TAIL.match(text, end)
                end = tail.end() if tail else end
                yield Number(groups[first][0], end, digits)
                while last < count and groups[last][0] < end:
                    last += 1
                first = last
                break
        else:
            first += 1


def _ends(first: int, sizes: list[int], gaps: list[str]) -> Iterator[int]:
    """The last groups of what may be a card that begins with group `first`."""
    yield first
    for count in (5, 4, 3, 2):
        if first + count <= len(sizes) and tuple(sizes[first : first + count]) in _GROUPS:
            yield first + count - 1
    if first < len(gaps) and (not first or gaps[first - 1] != gaps[first]):
        last = first + 1
        while last < len(gaps) and gaps[last] == gaps[first]:
            last += 1
        if max(sizes[first : last + 1]) <= _LONGEST_GROUP:
            yield last


def _luhn(digits: str) -> bool:
    """The check digit that every card number has (ISO/IEC 7812)."""
    total = sum(map(int, digits[-1::-2])) + sum(_DOUBLED[int(digit)] for digit in digits[-2::-2])
    return total % 10 == 0


_DOUBLED = tuple(sum(divmod(2 * digit, 10)) for digit in range(10))


def _accounts(text: str) -> Iterator[Number]:
    for begun in _IBAN.finditer(text):
        if not (length := _IBANS.get(begun[0][:2].upper(), 0)):
            continue
        kept, end, between = list(begun[0]), begun.end(), 0
        for place in range(begun.end(), len(text)):
            one = text[place]
            if one.isascii() and one.isalnum():
                if len(kept) == length:
                    break
                kept.append(one)
                end, between = place + 1, 0
            elif len(kept) == length or (between := between + 1) > _BETWEEN:
                break
        if len(kept) == length and not text[end : end + 1].isalnum() and _mod97("".join(kept)) == 1:
            yield Number(begun.start(), end, "")


def _mod97(text: str) -> int:
    """What an account number (ISO 13616) and a creditor's reference (ISO 11649) leave: 1."""
    return int("".join(str(int(one, 36)) for one in text[4:] + text[:4])) % 97
