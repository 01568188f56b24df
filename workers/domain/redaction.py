"""Free text as it may be kept. Gateways, drivers and colleagues quote cards, accounts and credentials in theirs.

What goes: card numbers and other long digits (PCI DSS 3.4.1), IBANs, URLs (connection strings are some), what follows
a word like "token", and long words that mix letters with digits, as keys do. Short codes ("AC04", "51", "503") stay.
The pattern is the second line of defence; the first is that our own reasons never hold a gateway's words, but
`workers.domain.outcomes` may.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html import unescape
from unicodedata import combining, normalize
from urllib.parse import unquote

from workers.domain.text import cut, words

MOST = 4_000
"""Characters that are looked at; the rest is cut off: a gateway's page would hold up all payments of its worker."""


def _long_word(found: re.Match[str]) -> str:
    """A long word that mixes letters with digits is a secret. Not one pattern: that took time by the square."""
    word = found[0].strip(".")
    mixed = len(word) > 15 and re.search(r"\d", word) and re.search("[A-Za-z]", word)
    return found[0].replace(word, "[secret]") if mixed else found[0]


_RULES: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"(?:\\u[0-9a-f]{4}){2,}", re.IGNORECASE), "[escaped]"),  # JSON within JSON
    # PostgreSQL shows the whole row that a constraint refused, the account with it
    (re.compile(r"\bFailing row contains\b.*", re.IGNORECASE | re.DOTALL), "Failing row: [row]"),
    # postgresql://user:password@host, https://host/?token=...; JSON escapes the slashes at times
    (re.compile(r"\b[a-z][a-z0-9+.-]{1,30}:\\?/\\?/[^\s\"'<>]+", re.IGNORECASE), "[url]"),
    (re.compile(r"\b(bearer|basic)\s+[^\s\"',;]+", re.IGNORECASE), r"\1 [secret]"),
    # password=..., "api_key": "...", CVV 123
    (
        re.compile(
            r"\b([a-z_-]*(?:passw(?:or)?d|pwd|secret|token|api[_ -]?key|access[_ -]?key|authorization|signature))"
            r"(\\?[\"']?\s*[=:]\s*\\?[\"']?)[^\s\"',;&]+",
            re.IGNORECASE,
        ),
        r"\1\2[secret]",
    ),
    (re.compile(r"\b(cvv2?|cvc2?|cid|pin)\b(\W{0,4})\d{3,6}\b", re.IGNORECASE), r"\1\2[secret]"),
    (re.compile(r"\b[a-z]{2}\d{2}(?:[ -]?[a-z0-9]{4}){2,7}(?:[ -]?[a-z0-9]{1,4})?\b", re.IGNORECASE), "[iban]"),
    # nine digits or more, whatever stands between each two: no code is as long, no card as short
    (re.compile(r"\d(?:[\s._/\\-]{0,2}\d){8,}"), "[number]"),
    (re.compile(r"\b\w{8}-\w{4}-\w{4}-\w{4}-\w{12}\b"), "[uuid]"),
    # sk_live_..., AKIA..., JWTs, hex digests; names of AWS resources have dashes between shorter words
    (re.compile(r"[\w+/=.]{16,}"), _long_word),
)


def redact(text: str) -> str:
    """`text` without what no log may hold."""
    text = without_cards(cut(text, MOST))
    for pattern, instead in _RULES:
        text = pattern.sub(instead, text)
    return text


def receipt(text: str, account: str = "") -> str:
    """A gateway's reference as it may be shown. It is stored whole: whoever looks it up there needs each character.

    So only what is certain goes: a card number that stands alone in it, and the account where it is long enough (8) or
    stands alone. An account like 42 is in many a reference, and hides nothing there.
    """
    if account:
        alone = re.escape(account) if len(account) > 7 else rf"(?<![^\W_]){re.escape(account)}(?![^\W_])"
        text = re.sub(alone, masked(account), text)
    return without_cards(text)


def without_account(text: str, account: str, instead: str = "[account]") -> str:
    """Words without the account, in whatever letters or code they quote it.

    Systems on the way write it in capitals, in groups, without its accents, as part of a URL (%40), of HTML (&amp;) or
    of JSON (\\u00e9, \\/). So letters and digits alone are compared, folded. A short one, like 42, goes only where
    it stands alone: it is in many a code, and "AC42" must stay.
    """
    if not account:
        return text
    sought = "".join(one for one, _ in _bare(account))
    if len(sought) < 4:
        alone = re.escape(account) if len(account) > 3 else rf"(?<!\w){re.escape(account)}(?!\w)"
        return re.sub(alone, lambda _: instead, text, flags=re.IGNORECASE)
    for read in dict.fromkeys((text, _decoded(text))):
        letters = list(_bare(read))
        bare = "".join(one for one, _ in letters)
        if (start := bare.find(sought)) < 0:
            continue
        kept, end = [], 0
        while start >= 0:
            last = start + len(sought)
            kept += [read[end : letters[start][1]], instead]
            end = letters[last - 1][1] + 1
            while combining(read[end : end + 1] or " "):
                end += 1  # an accent of its last letter
            start = bare.find(sought, last)
        return "".join([*kept, read[end:]])
    return text


def _bare(text: str) -> Iterator[tuple[str, int]]:
    """Its letters and digits, without case, accent and width, each with the place where it stands."""
    for place, one in enumerate(text):
        for part in normalize("NFKD", one).casefold():
            if part.isalnum():
                yield part, place


def _decoded(text: str) -> str:
    """Text out of a URL, HTML or JSON; twice, as one may stand in the other."""
    for _ in range(2):
        text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), text)
        text = unescape(unquote(text))
    return words(text, most=len(text))


_CARD_LIKE = re.compile(r"\b(?:\d{13,19}|\d{4}(?:[ -]\d{4}){2,3}(?:[ -]\d{1,3})?|\d{4}[ -]\d{6}[ -]\d{5})\b")
"""Digits as cards have them: in a row, or in a card's groups. Other ids with dashes are no cards."""


def without_cards(text: str) -> str:
    """Text that must stay readable (an id from outside): cards are masked, but for their last four."""
    return _CARD_LIKE.sub(lambda found: masked(found[0]) if _luhn(found[0]) else found[0], text)


def masked(account: str) -> str:
    """At most the last four, and never more than half: short accounts would show themselves otherwise."""
    keep = min(4, len(account) // 2)
    return "****" + account[len(account) - keep :]


def _luhn(text: str) -> bool:
    """The check digit that every card number has (ISO/IEC 7812)."""
    digits = [int(character) for character in text if character.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0
