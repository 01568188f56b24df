"""Card and account numbers in a text, known by what makes them valid: brand, length and check digit.

In free text a card is masked however it is grouped: in one, in groups that cards have between any marks, in any groups
between equal marks, behind zeros or a date, behind words like "first6". What is proven to be something else stays: a
UUID, a digest, a telephone number, a creditor's reference, and groups that hold a date, a time or an amount.

An order's number may have the form of a card, and each tenth of these its check digit. Then the use decides. In free
text (`numbers`) the card wins: a number is lost there, and nothing else. In an id or a receipt (`of_id=True`) people
must find what they look for: groups with a date among them ("6201-2026-1130-0042"; of the cards that are written in
groups one in ten thousand looks so) and the twelve digits of a retrieval reference number (ISO 8583: digit of the
year, day, hour, number) are none, and what stands behind a card stays. Sixteen digits in one, or in fours without a
date, are a card there, too, whatever their owner calls them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
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
_PREFIXES = {
    (first, length): tuple(re.compile(prefix) for prefix, lengths in _BRANDS if length in lengths)
    for first in "2345689"
    for length in range(12, 20)
}
"""What a card may begin with, by its first digit and its length."""
_FIRST = frozenset(first for first, _ in _PREFIXES)
_SHORTEST, _LONGEST = 12, 19
_LAYOUTS = frozenset(
    (
        *((4, 4, 4, *last) for last in ((), (1,), (2,), (3,), (4,), (4, 1), (4, 2), (4, 3))),
        *((4, 6, 5), (4, 6, 4), (4, 8, 4), (8, 4, 4), (6, 4, 6)),
        *((*first, length - sum(first)) for first in ((4,), (6,), (8,), (4, 4), (6, 6)) for length in range(13, 20)),
        *((length - 4, 4) for length in range(13, 20)),
    )
)
"""The groups in which cards are written and quoted, whatever stands between: fours, as embossed, and with the issuer's
six or eight digits, or the last four, apart."""
_LONGEST_LAYOUT = 5
_LEAST_ALIKE = 4
"""Digits of equal groups that make a card between different marks, too; of shorter ones the marks must be equal."""
_LEAST_MIXED = 15
"""Digits of a card in whatever groups between whatever marks: two short numbers beside each other may have fewer."""
_MIXED = re.compile(r"[ \u00a0\u2009._/\-\u2010-\u2015]{1,2}")

_RUN = re.compile(r"[0-9](?:[\W_]{0,8}[0-9]){11,}")
"""A card has twelve digits at least."""
_ONE = re.compile(r"[0-9]+")
_TRACK = r"(?:[=Dd][0-9]{7,}[?Ff]?|\^[^^\n]{2,26}\^[0-9]{7,}\??)"
"""What stands behind a card on its magnetic stripe (ISO/IEC 7813): name, end, code, and what the issuer keeps there."""
_TAIL = re.compile(_TRACK + r"|(?:[\W_]{1,4}[0-9]{1,4}(?![0-9])){1,3}")
"""What stands behind a card: the month and year of its end, the CVV; or its track."""
_TAIL_OF_ID = re.compile(_TRACK + r"|(?:[^\w\-./:][\W_]{0,3}[0-9]{1,4}(?![0-9])){1,3}")
"""The same, where "-01" and "/02" are two instalments of one order."""
_DAY = r"20(?:1[5-9]|[23][0-9])(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])"
_DATE_BEFORE = re.compile(_DAY + r"(?:(?:[01][0-9]|2[0-3])[0-5][0-9](?:[0-5][0-9])?)?(?=[0-9]{14})")
_DATE = re.compile(
    _DAY + r"(?:(?:[01][0-9]|2[0-3])[0-5][0-9](?:[0-5][0-9])?)?"
    r"|(?:(?:0[1-9]|[12][0-9]|3[01])(?:0[1-9]|1[0-2])|(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01]))20(?:1[5-9]|[23][0-9])"
)
_TIME = re.compile(r"(?:[01][0-9]|2[0-3])(?:[0-5][0-9]){2}")
_DATES = ([8], [12], [14], [4, 4], [4, 2, 2], [2, 2, 4])
"""The sizes of the groups that a date is written in."""
_PART = r"[\W_]{1,6}[a-z]{2,10}[\W_]{0,3}(?:[4-9]|four|six|eight)?[\W_]{1,6}([0-9]{1,13})"
_PARTS = re.compile(
    r"\b(?:first|begin\w{0,4}|start\w{0,4}|bin|iin|prefix)[\W_]{0,3}(?:[468]|four|six|eight)?[\W_]{1,6}([0-9]{4,8})"
    rf"{_PART}(?:{_PART})?(?![0-9])",
    re.IGNORECASE | re.ASCII,
)
"""A card in parts that words name: "first6=... middle=... last4=..."."""
_RETRIEVAL = re.compile(r"[0-9](?:[0-2][0-9]{2}|3[0-5][0-9]|36[0-6])(?:[01][0-9]|2[0-3])[0-9]{6}")
"""A retrieval reference number of ISO 8583, as gateways make them: YDDDHH and six digits."""
_SET_ASIDE = re.compile(
    r"(?<![0-9a-zA-Z])(?:[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"  # a UUID
    r"|(?=[0-9]*[a-fA-F])[0-9a-fA-F]{24,64})(?![0-9a-zA-Z])"  # a digest
    r"|(?P<telephone>(?<!\w)\+[0-9][0-9 ().-]{6,17}(?![0-9])(?![\W_]{0,3}[0-9]))"
    r"|(?P<reference>(?<![0-9a-zA-Z])[rR][fF][0-9]{2}(?:[ ]?[0-9a-zA-Z]{4}){0,5}(?:[ ]?[0-9a-zA-Z]{1,4})?"  # ISO 11649
    r"(?![0-9a-zA-Z]))"
)
"""What holds digits and is known to be something else. Without re.IGNORECASE: it takes a Turkish ı for an i."""
_TRACK_ALONE = re.compile(r"([0-9]{12,19})[Dd][0-9]{7,}[Ff]?")
"""A track as chip cards have it: it passes for a digest in hex."""
_LONGEST_TELEPHONE = 13
"""Digits, with those of the country: E.164 would allow 15, as many as a card of American Express has; none that is
in use has more than 13."""

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
_IBAN = re.compile(r"(?<![0-9A-Za-z])[A-Za-z]{2}[0-9]{2}")
_BETWEEN = 8
"""So many characters may stand between two of an account number."""


class Number(NamedTuple):
    """Where in a text one is."""

    start: int
    end: int
    card: str
    """Its digits, if it is a card; "" for an account."""


def numbers(text: str, *, of_id: bool = False) -> Iterator[Number]:
    """The card and account numbers of a text of ASCII digits, in order. What stands behind a card, belongs to it.

    `of_id`: the text is an id or a receipt, which must stay legible (see above).
    """
    if _RUN.search(text) is None and _IBAN.search(text) is None and (of_id or _PARTS.search(text) is None):
        return
    others = list(_others(text))
    found = [*_accounts(text), *_cards(text, others, of_id=of_id), *(() if of_id else _in_parts(text))]
    end = 0
    for one in sorted(found):
        if any(start <= one.start < after for start, after in others):
            continue
        if one.start >= end:
            yield one
            end = one.end


def is_card(digits: str) -> bool:
    """Whether it has the beginning, the length and the check digit of a card."""
    prefixes = _PREFIXES.get((digits[:1], len(digits)), ())
    return bool(prefixes) and _luhn(digits) and any(prefix.match(digits) for prefix in prefixes)


def _others(text: str) -> Iterator[Span]:
    for one in _SET_ASIDE.finditer(text):
        found = one[0]
        if (track := _TRACK_ALONE.fullmatch(found)) and is_card(track[1]):
            continue
        if one.lastgroup == "reference":  # a word behind it is none of its groups
            while found and _mod97(found.replace(" ", "")) != 1:
                found = found.rpartition(" ")[0]
        elif one.lastgroup == "telephone" and sum(map(str.isdigit, found)) > _LONGEST_TELEPHONE:
            continue
        if found:
            yield one.start(), one.start() + len(found)


def _in_parts(text: str) -> Iterator[Number]:
    for one in _PARTS.finditer(text):
        if is_card(digits := "".join(part for part in one.groups() if part)):
            yield Number(one.start(1), one.end(), digits)


def _cards(text: str, others: Sequence[Span], *, of_id: bool) -> Iterator[Number]:
    tails, start = _TAIL_OF_ID if of_id else _TAIL, 0
    for other, after in [*others, (len(text), len(text))]:
        for run in _RUN.finditer(text, start, other):
            end = 0
            for one in _merged(_Run(text, [one.span() for one in _ONE.finditer(text, *run.span())], of_id).cards()):
                if one.start >= end:
                    tail = tails.match(text, one.end)
                    end = tail.end() if tail else one.end
                    yield one._replace(end=end)
        start = after


def _merged(found: Iterator[Number]) -> Iterator[Number]:
    """Those that share digits as one, under the digits of the longest."""
    whole: Number | None = None
    for one in found:
        if whole is None or one.start >= whole.end:
            if whole is not None:
                yield whole
            whole = one
        else:
            whole = Number(whole.start, max(whole.end, one.end), max(whole.card, one.card, key=len))
    if whole is not None:
        yield whole


class _Run:
    """Digits that stand together: groups, and what is between them."""

    def __init__(self, text: str, spans: list[Span], of_id: bool) -> None:
        self.spans, self.of_id = spans, of_id
        self.groups = [text[start:end] for start, end in spans]
        self.sizes = [end - start for start, end in spans]
        self.gaps = [text[one[1] : other[0]] for one, other in pairwise(spans)]
        self.before = [0, *accumulate(self.sizes)]
        """So many digits stand before each group."""

    def cards(self) -> Iterator[Number]:
        """The cards, by where they begin."""
        stretches = self._stretches()
        for first, group in enumerate(self.groups):
            if self.sizes[first] >= _SHORTEST and (card := self._in_one(group)):
                yield Number(self.spans[first][1] - len(card), self.spans[first][1], card)
            if group[0] not in _FIRST:
                continue
            for last in self._written(first):
                if (card := self._joined(first, last)) and not (self.of_id and self._is_other(first, last)):
                    yield Number(self.spans[first][0], self.spans[last][1], card)
            for end in (self._chained(first), *self._mixed(first, stretches)):
                if end and (card := self._joined(first, end)) and not self._is_other(first, end, decimals=True):
                    yield Number(self.spans[first][0], self.spans[end][1], card)

    def _in_one(self, group: str) -> str:
        """The card in one group: whole, behind zeros that fill a field, or behind a date."""
        bare = group.lstrip("0")
        if is_card(bare) and not (self.of_id and len(group) == _SHORTEST and _RETRIEVAL.fullmatch(group)):
            return bare
        if not self.of_id and (date := _DATE_BEFORE.match(group)) and is_card(bare := group[date.end() :].lstrip("0")):
            return bare
        return ""

    def _joined(self, first: int, last: int) -> str:
        """The digits of these groups, if they are those of a card."""
        if (self.groups[first][0], self.before[last + 1] - self.before[first]) not in _PREFIXES:
            return ""
        digits = "".join(self.groups[first : last + 1])
        return digits if is_card(digits) else ""

    def _written(self, first: int) -> Iterator[int]:
        """The last groups of what begins here and is written as cards are: in their layouts, or in equal groups."""
        for last in range(first + 1, min(first + _LONGEST_LAYOUT, len(self.sizes))):
            if tuple(self.sizes[first : last + 1]) in _LAYOUTS:
                yield last
        size, last, apart = self.sizes[first], first + 1, not first or self._is_apart(first - 1, first)
        free = size >= _LEAST_ALIKE and apart
        while last < len(self.sizes) and self.before[last + 1] - self.before[first] <= _LONGEST:
            gap = self.gaps[last - 1]
            if self.sizes[last] > size or not (free or (gap == self.gaps[first] and gap.isspace())):
                return
            yield last
            if self.sizes[last] < size:
                return
            last += 1

    def _chained(self, first: int) -> int | None:
        """The last group, if all from here on, and none before it, stand between equal marks."""
        if first >= len(self.gaps) or (first and self.gaps[first - 1] == self.gaps[first]):
            return None
        last = first + 1
        while last < len(self.gaps) and self.gaps[last] == self.gaps[first]:
            last += 1
            if self.before[last + 1] - self.before[first] > _LONGEST:
                return None
        return last

    def _is_apart(self, gap: int, following: int) -> bool:
        """Whether what follows this gap is none of the same chain: words have spaces between them, an id has none."""
        mark = self.gaps[gap]
        return mark.isspace() or following >= len(self.gaps) or mark != self.gaps[following]

    def _stretches(self) -> list[int]:
        """For each group the last one that stands together with it between short marks, whichever."""
        ends = [len(self.gaps)] * len(self.groups)
        for place in range(len(self.gaps) - 1, -1, -1):
            ends[place] = ends[place + 1] if _MIXED.fullmatch(self.gaps[place]) else place
        return ends

    def _mixed(self, first: int, stretches: Sequence[int]) -> Iterator[int]:
        """The last groups of what may be a card in any groups between any marks, from one space to another."""
        if first and not self.gaps[first - 1].isspace() and stretches[first - 1] != first - 1:
            return
        for last in range(first + 2, stretches[first] + 1):
            digits = self.before[last + 1] - self.before[first]
            if digits > _LONGEST:
                return
            if digits >= _LEAST_MIXED and (last == stretches[first] or self.gaps[last].isspace()):
                yield last

    def _is_other(self, first: int, last: int, *, decimals: bool = False) -> bool:
        """Whether these groups hold a date, a time, an address or an amount, and so are something else."""
        groups, gaps = self.groups[first : last + 1], ["", *self.gaps[first:last], ""]
        return any(_means_other(groups[place:], gaps[place:]) for place in range(len(groups))) or (
            decimals and len({*gaps[1:-1]}) > 1 and _has_decimals(groups, gaps)
        )


def _means_other(groups: Sequence[str], gaps: Sequence[str]) -> bool:
    """Whether these begin with a date, a time or an address; `gaps` begins with the one before them."""
    for sizes in _DATES:
        if [*map(len, groups[: len(sizes)])] == sizes and _DATE.fullmatch(date := "".join(groups[: len(sizes)])):
            return sizes != [4, 4] or date.startswith("20")  # nobody writes 3011-2026
    if _stand(gaps, ":", 3):
        return _TIME.fullmatch("".join(groups[:3])) is not None
    return _stand(gaps, ".", 4) and all(len(one) < 4 and int(one) < 256 for one in groups[:4])


def _has_decimals(groups: Sequence[str], gaps: Sequence[str]) -> bool:
    return any(
        mark in (".", ",") and len(group) == 2 and mark != following
        for mark, group, following in zip(gaps[:-1], groups, gaps[1:], strict=True)
    )


def _stand(gaps: Sequence[str], mark: str, count: int) -> bool:
    """Whether exactly so many groups stand between that mark."""
    return len(gaps) > count and gaps[0] != mark != gaps[count] and all(one == mark for one in gaps[1:count])


def _luhn(digits: str) -> bool:
    """The check digit that every card number has (ISO/IEC 7812)."""
    counted = digits[-1::-2] + digits[-2::-2].translate(_DOUBLED)
    return sum(counted.encode()) % 10 == 8 * len(digits) % 10  # of each character 48 belong to its code


_DOUBLED = str.maketrans({str(digit): str(sum(divmod(2 * digit, 10))) for digit in range(10)})


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
