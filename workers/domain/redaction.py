"""Free text as it may be kept. Gateways, drivers and colleagues quote cards, accounts and credentials in theirs.

What goes, in whatever script's digits and in the codes of URLs, JSON and HTML, too:

- cards and IBANs, which their check digits prove (`workers/domain/numbers.py`, PCI DSS 3.4.1);
- keys that their makers' prefixes give away, JWTs, private keys;
- URLs (connection strings are some), and whatever follows a word like "token", "CVV" or "account";
- long words that mix letters with digits, as keys do.

What stays: short codes ("AC04", "51", "503"), and what people look for: UUIDs, ULIDs, order numbers, timestamps,
amounts, telephone numbers, references (ISO 11649, and those of gateways).

Some secrets cannot be told from these: a bare CVV, a key that has the form of a UUID, an account number without check
digits. So our own reasons hold no gateway's words; of its refusals all digits go (workers/gateway/evidence.py), and the
row's own account and our own key go by their value, wherever they are quoted.

Every text passes here before it is stored, logged or shown, so nothing here raises, whatever the text, and all takes
time in proportion to it. Should one of these rules fail all the same, the text goes and not the payment.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Iterator
from functools import wraps
from html import unescape
from typing import NamedTuple, ParamSpec
from unicodedata import category, combining, digit, normalize
from urllib.parse import unquote

from workers.domain.numbers import numbers
from workers.domain.text import cut, words

UNREADABLE = "[text that could not be read]"
MOST = 4_000
"""Characters that are looked at; the rest is cut off: a gateway's page would hold up all payments of its worker."""

_KEY = re.compile(
    r"\b(?:(?:sk|rk|pk|sq0[a-z]{3})[_-](?:live|test|proj|ant)[_-][\w-]{8,}|sk-[\w-]{16,}|whsec_\w{8,}"
    r"|gh[opsur]_\w{16,}|github_pat_\w{16,}|glpat-[\w-]{12,}|xox[a-z]-[\w-]{8,}|xapp-[\w-]{8,}|npm_\w{20,}"
    r"|pypi-[\w-]{16,}|dop_v1_\w{16,}|shp(?:at|ca|pa|ss)_\w{16,}|sq0[a-z]{3}-[\w-]{16,}|AIza[\w-]{30,}|ya29\.[\w.-]{10,}"
    r"|SG\.[\w-]{10,}\.[\w-]{10,}|A(?:KIA|SIA|BIA|CCA|GPA|IDA|IPA|NPA|NVA|ROA)[A-Z0-9]{12,}"
    r"|\w+_secret_\w{8,}|eyJ[\w-]{8,}(?:\.[\w-]*)*)"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----(?:.*?-----END [A-Z ]*PRIVATE KEY-----|.*)",
    re.DOTALL,
)
"""What its maker marks as a secret: Stripe, GitHub, GitLab, Slack, npm, PyPI, DigitalOcean, Shopify, Square, Google,
SendGrid, AWS; a JWT; a key in PEM."""
_ORDINARY = re.compile(
    r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
    r"|[0-7][0-9A-HJKMNP-TV-Z]{25}"  # a ULID
    r"|[A-Z0-9]{16,17}"  # a reference of Adyen's or PayPal's
    r"|(?:ch|pi|py|re|txn|evt|req|po|tr|dp|in)_[0-9A-Za-z]{14,28}"  # of Stripe's
    r"|RF\d{2}[0-9A-Z]{1,21}"
    r"|\d{8}T\d{6}(?:\.\d{1,9})?Z?"
)
_LONGEST_PART = 11
"""A mixed part of a long word that is longer is one of a key; order numbers have shorter ones between their marks."""


def _long_word(found: re.Match[str]) -> str:
    """A long word that mixes letters with digits is a secret. Not one pattern: that took time by the square."""
    word = found[0].strip(".=-/_+~")
    if len(word) < 16 or _ORDINARY.fullmatch(word.rpartition("=")[2]) or not _is_mixed(word):
        return found[0].replace(word, "[secret]") if _is_base64(word) else found[0]
    parts = re.split(r"[-._/+=~]", word)
    longest = max((len(part) for part in parts if _is_mixed(part)), default=0)
    coded = len(word) > 31 and "-" not in word and word.lower() != word and re.search("[+/]", word)
    return found[0].replace(word, "[secret]") if longest > _LONGEST_PART or coded else found[0]


def _is_mixed(word: str) -> bool:
    return bool(re.search(r"\d", word) and re.search("[A-Za-z]", word))


def _is_base64(word: str) -> bool:
    """Whether it hides digits: those of a card may need no digit in that code."""
    if len(word) < 16 or word.lower() == word or not re.fullmatch(r"[A-Za-z0-9+/_-]+", word):
        return False
    code = word.replace("-", "+").replace("_", "/")
    hidden = b64decode(code + "=" * (-len(code) % 4)) if len(code) % 4 != 1 else b""
    return hidden.isascii() and len(re.findall(rb"\d", hidden)) > 11


_More = ParamSpec("_More")


def _total(clean: Callable[_More, str]) -> Callable[_More, str]:
    """What cleans a text raises on none."""

    @wraps(clean)
    def cleaned(*text: _More.args, **more: _More.kwargs) -> str:
        try:
            return clean(*text, **more)
        except Exception:  # its words are those of the text
            return UNREADABLE

    return cleaned


class _Rule(NamedTuple):
    needs: tuple[str, ...]
    """The pattern finds nothing without one of these, in small letters: looking for them takes a tenth of its time."""
    pattern: re.Pattern[str]
    instead: str | Callable[[re.Match[str]], str]


_RULES = (
    # PostgreSQL shows the whole row that a constraint refused, the account with it
    _Rule(
        ("failing row",),
        re.compile(r"\bFailing row contains\b.*", re.IGNORECASE | re.DOTALL),
        "Failing row: [row]",
    ),
    # postgresql://user:password@host, https://host/?token=...; JSON escapes the slashes at times
    _Rule(
        ("/",),
        re.compile(r"\b[a-z][a-z0-9+.-]{1,30}:\\?/\\?/[^\s\"'<>]+", re.IGNORECASE),
        "[url]",
    ),
    _Rule(
        ("bearer", "basic"),
        re.compile(r"\b(bearer|basic)\s+[^\s\"',;]+", re.IGNORECASE),
        r"\1 [secret]",
    ),
    # password=..., "api_key": "...", password='two words', password hunter2
    _Rule(
        (
            *("passw", "passphrase", "pwd", "secret", "token", "credential", "key"),
            *("authorization", "signature", "session", "cookie", "otp"),
        ),
        re.compile(
            r"(passw(?:or)?d|passphrase|pwd|secret|token|credentials?|api[_ -]?key|access[_ -]?key"
            r"|private[_ -]?key|authorization|signature|session[_ -]?id|cookie|\botp)"
            r"(?:(\\?[\"']?\s*(?:[=:]|=>|\bis\b)\s*)(?:\\?([\"'])(?!\[).*?(?:\3|$)|\\?[\"']?[^\s\"',;&]+)"
            r"|(\s+)(?=[^\s]*\d)[^\s\"',;&]{6,})",
            re.IGNORECASE,
        ),
        lambda found: f"{found[1]}{found[2] or found[4]}[secret]",
    ),
    _Rule(
        ("cvv", "cvc", "cvn", "csc", "cid", "cav", "pin", "code", "value"),
        re.compile(
            r"\b(cvv2?|cvc2?|cvn2?|csc|cid|cav2?|pin|(?:security|verification|card)[ _-]?(?:code|value))"
            r"((?:[\W_]|is\b|code\b|number\b){1,8}|)\d{3,6}(?!\d)",
            re.IGNORECASE,
        ),
        r"\1\2[secret]",
    ),
    # an account number in a country without check digits
    _Rule(
        ("acc", "a/c", "iban", "pan", "card", "konto", "compte", "cuenta", "conto", "routing", "sort", "bsb"),
        re.compile(
            r"\b(accounts?|acct|a/c|iban|pan|card|konto|kontonummer|compte|cuenta|conto|routing|sort[ _-]?code|bsb)"
            r"((?:[\W_]|is\b|no\b|nr\b|num\b|number\b|ending\b|holder\b){1,12})\d(?:[\s._/-]{0,2}\d){6,}",
            re.IGNORECASE,
        ),
        r"\1\2[number]",
    ),
    # groups as a UUID has them, and not of its sixteen letters
    _Rule(
        ("-",),
        re.compile(
            r"\b(?![0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b)"
            r"\w{8}-\w{4}-\w{4}-\w{4}-\w{12}\b"
        ),
        "[uuid]",
    ),
    # hex digests, keys in base 64; names of AWS resources have dashes between shorter words
    _Rule(("",), re.compile(r"[\w+/=.~-]{16,}"), _long_word),
)


@_total
def redact(text: str, account: str = "") -> str:
    """`text` without what no log may hold, and without `account`, where it is none that any code may be."""
    text = cut(text, MOST)
    if len(account) > 3:
        text = without_account(text, account)
    for read in _readings(text):
        clean, small = _without_numbers(_KEY.sub("[secret]", read)), read.lower()
        for needs, pattern, instead in _RULES:
            if any(word in small for word in needs):
                clean = pattern.sub(instead, clean)
        if clean != read:
            return clean
    return text


@_total
def without_secrets(text: str, *, of_id: bool = False) -> str:
    """Text that must stay readable: only what is certainly a secret goes. `of_id`: it is an id or a receipt."""
    for read in _readings(text):
        clean = _without_numbers(_KEY.sub("[secret]", read), of_id=of_id)
        if clean != read:
            return clean
    return text


def secret_in(id_: str) -> str | None:
    """What an id, or another name, certainly holds that no log may hold; None for nothing."""
    if _KEY.search(id_):
        return "a key or token"
    found = next(numbers(_plain(id_), of_id=True), None)
    return None if found is None else "a card number" if found.card else "an account number (IBAN)"


def _without_numbers(text: str, *, of_id: bool = False) -> str:
    kept, end = [], 0
    for one in numbers(text, of_id=of_id):
        kept += [text[end : one.start], masked(one.card) if one.card else "[iban]"]
        end = one.end
    return "".join([*kept, text[end:]]) if kept else text


_CODED = re.compile(r"%[0-9a-f]{2}|\\[ux][0-9a-f]{2}|&(?:#|[a-z]{2,8};)", re.IGNORECASE)


def _readings(text: str) -> Iterator[str]:
    """The text as people and programs read it: with plain digits, and out of the codes of URLs, JSON and HTML."""
    plain = _plain(text)
    if _CODED.search(plain):
        yield _plain(_decoded(plain))
    yield plain


def _plain(text: str) -> str:
    """Digits and letters of all widths and scripts as those of ASCII, where they have one there."""
    if text.isascii():
        return text
    kept: list[str] = []
    for one in text:
        if one < "\x80":
            kept.append(one)
        elif (number := digit(one, -1)) >= 0:
            kept.append(str(number))
        elif (kind := category(one)) == "Cf" or (kind[0] == "M" and kept and kept[-1].isdigit()):
            continue  # a zero-width space, the frame of a digit
        else:
            like = normalize("NFKC", one)
            kept.append(like if len(like) == 1 and like.isascii() else one)
    return "".join(kept)


@_total
def receipt(text: str, account: str = "") -> str:
    """A gateway's reference as it may be shown. It is stored whole: whoever looks it up there needs each character.

    So only what is certain goes: a card, an IBAN, a key of a known maker, and the account where it is long
    enough (8) or stands alone. An account like 42 is in many a reference, and hides nothing there.
    """
    if account:
        alone = re.escape(account) if len(account) > 7 else rf"(?<![^\W_]){re.escape(account)}(?![^\W_])"
        text = re.sub(alone, lambda _: masked(account), text)
    return without_secrets(text, of_id=True)


@_total
def without_account(text: str, account: str, instead: str = "[account]") -> str:
    """Words without the account, in whatever letters or code they quote it.

    Systems on the way write it in capitals, in groups, without its accents, as part of a URL (%40), of HTML (&amp;) or
    of JSON (\\u00e9, \\/). So letters and digits alone are compared, folded. A short one, like 42, goes only where
    it stands alone: it is in many a code, and "AC42" must stay.
    """
    if not account:
        return text
    sought = _folded(account)
    text = _without_whole(text, account, sought, instead)
    return _without_half(text, sought, instead) if text.endswith("…") else text


def _without_whole(text: str, account: str, sought: str, instead: str) -> str:
    if len(sought) < 4:
        alone = re.escape(account) if len(account) > 3 else rf"(?<!\w){re.escape(account)}(?!\w)"
        return re.sub(alone, lambda _: instead, text, flags=re.IGNORECASE)
    if text.isascii() and not _CODED.search(text) and sought not in _folded(text):
        return text  # nearly always
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


def _without_half(text: str, sought: str, instead: str) -> str:
    """Words that were cut off, without the beginning of an account at their end, whose rest went with them."""
    letters = list(_bare(text))
    bare = "".join(one for one, _ in letters)
    for length in range(min(len(sought) - 1, len(bare)), 3, -1):
        if bare.endswith(sought[:length]):
            return f"{text[: letters[-length][1]]}{instead}…"
    return text


def _folded(text: str) -> str:
    return text.lower().translate(_MARKS) if text.isascii() else "".join(one for one, _ in _bare(text))


_MARKS = {code: None for code in range(128) if not chr(code).isalnum()}


def _bare(text: str) -> Iterator[tuple[str, int]]:
    """Its letters and digits, without case, accent and width, each with the place where it stands."""
    for place, one in enumerate(text):
        for part in normalize("NFKD", one).casefold():
            if part.isalnum():
                yield part, place


_CODE = re.compile(r"&#0*(\d+)", re.ASCII)
"""A character of HTML by its number. `unescape` raises on one of thousands of digits."""


def _decoded(text: str) -> str:
    """Text out of a URL, HTML or JSON; twice, as one may stand in the other."""
    for _ in range(2):
        text = re.sub(r"(?<!\\)\\+u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), text)
        text = unescape(_CODE.sub(lambda found: f"&#{found[1]}" if len(found[1]) < 9 else "\ufffd", unquote(text)))
    return words(text, most=len(text))


def masked(account: str) -> str:
    """At most the last four, and never more than half: short accounts would show themselves otherwise."""
    keep = min(4, len(account) // 2)
    return "****" + account[len(account) - keep :]
