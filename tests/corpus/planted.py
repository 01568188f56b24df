"""Made-up secrets of every kind that must never leave, in every form in which gateways and people write them.

Shares no code with the masker: brands, lengths and check digits are written down here a second time.
"""

from __future__ import annotations

import base64
import html
import json
import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote

BRANDS: Mapping[str, tuple[tuple[str, ...], tuple[int, ...]]] = {
    "Visa": (("4",), (13, 16, 19)),
    "Mastercard": (("51", "52", "53", "54", "55", "2221", "2455", "2720"), (16,)),
    "American Express": (("34", "37"), (15,)),
    "Diners Club": (("300", "305", "3095", "36", "38", "39"), (14, 16, 19)),
    "Discover": (("6011", "644", "649", "65"), (16, 19)),
    "JCB": (("3528", "3566", "3589"), (16, 17, 18, 19)),
    "UnionPay": (("62", "810"), (16, 17, 18, 19)),
    "Maestro": (("5018", "5020", "5038", "5893", "6304", "6759", "6761", "6763"), (12, 13, 14, 15, 16, 17, 18, 19)),
    "Mir": (("2200", "2204"), (16, 19)),
    "RuPay": (("508", "60", "652"), (16,)),
    "Elo": (("506699", "509", "636368", "650031"), (16,)),
    "Troy": (("9792",), (16,)),
}
IBANS: Mapping[str, str] = {
    "AT": "n16", "BE": "n12", "BR": "n23a1a1", "CH": "n5a12", "CY": "n8a16", "CZ": "n20", "DE": "n18", "DK": "n14",
    "ES": "n20", "FI": "n14", "FR": "n10a11n2", "GB": "u4n14", "GR": "n7a16", "HU": "n24", "IE": "u4n14", "IL": "n19",
    "IS": "n22", "IT": "u1n10a12", "LI": "n5a12", "LT": "n16", "LU": "n3a13", "LV": "u4a13", "MT": "u4n5a18",
    "NL": "u4n10", "NO": "n11", "PL": "n24", "PT": "n21", "RO": "u4a16", "SA": "n2a18", "SE": "n20", "SI": "n15",
    "SK": "n20", "TR": "n5n1a16", "UA": "n6a19", "AE": "n19", "PK": "u4a16", "QA": "u4a21", "KW": "u4a22",
}  # fmt: skip
"""What follows country and check digits: digits (n), capitals (u), either (a), and how many."""
UPPER, DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789"
BASE62 = UPPER + UPPER.lower() + DIGITS


@dataclass(frozen=True)
class Planted:
    kind: str
    form: str
    text: str
    """As it is written somewhere."""
    core: str
    """What of it is secret: letters and digits, in small letters."""
    window: int
    """So many characters of the core in a row are a leak."""


def card(chance: random.Random, prefix: str, length: int) -> str:
    body = prefix + "".join(chance.choices(DIGITS, k=length - len(prefix) - 1))
    total = sum(sum(divmod(2 * int(digit), 10)) for digit in body[::-2]) + sum(map(int, body[-2::-2]))
    return body + str(-total % 10)


def iban(chance: random.Random, country: str) -> str:
    rest = ""
    for piece in _pieces(IBANS[country]):
        letters = {"n": DIGITS, "u": UPPER, "a": UPPER + DIGITS}[piece[0]]
        rest += "".join(chance.choices(letters, k=int(piece[1:])))
    number = int("".join(str(int(one, 36)) for one in f"{rest}{country}00"))
    return f"{country}{98 - number % 97:02}{rest}"


def _pieces(layout: str) -> Iterator[str]:
    start = 0
    for place in range(1, len(layout) + 1):
        if place == len(layout) or layout[place].isalpha():
            yield layout[start:place]
            start = place


def _by(text: str, count: int, mark: str) -> str:
    return mark.join(text[place : place + count] for place in range(0, len(text), count))


def _from(zero: int) -> Callable[[str], str]:
    """Digits of another script, whose zero stands there."""
    return lambda text: "".join(chr(zero + int(one)) if one.isdigit() else one for one in text)


def _printed(number: str, mark: str) -> str:
    """In the groups that are embossed on the card."""
    sizes = {15: (4, 6, 5), 14: (4, 6, 4)}.get(len(number), (4,) * 5)
    groups, start = [], 0
    for one in sizes:
        groups.append(number[start : start + one])
        start += one
    return mark.join(group for group in groups if group)


def _apart(*sizes: int, mark: str = " ") -> Callable[[str], str]:
    """In groups of these sizes, the last as often as it takes: as some quote the issuer's digits apart."""

    def write(number: str) -> str:
        groups, rest = [], number
        for size in [*sizes, *sizes[-1:] * len(number)]:
            groups.append(rest[:size])
            rest = rest[size:]
        return mark.join(group for group in groups if group)

    return write


def _with(marks: str, size: int) -> Callable[[str], str]:
    """In groups between marks of every kind."""

    def write(number: str) -> str:
        groups = [number[place : place + size] for place in range(0, len(number), size)]
        return "".join(group + marks[place % len(marks)] for place, group in enumerate(groups[:-1])) + groups[-1]

    return write


FORMS: Mapping[str, Callable[[str], str]] = {
    "plain": lambda text: text,
    "spaced": lambda text: _by(text, 4, " "),
    "dashed": lambda text: _by(text, 4, "-"),
    "dotted": lambda text: _by(text, 4, "."),
    "slashed": lambda text: _by(text, 4, "/"),
    "underlined": lambda text: _by(text, 4, "_"),
    "no-break spaces": lambda text: _by(text, 4, "\u00a0"),
    "thin spaces": lambda text: _by(text, 4, "\u2009"),
    "en dashes": lambda text: _by(text, 4, "\u2013"),
    "over lines": lambda text: _by(text, 4, "\n"),
    "over indented lines": lambda text: _by(text, 4, "\r\n    "),
    "tabs": lambda text: _by(text, 4, "\t"),
    "zero-width spaces": lambda text: _by(text, 4, "\u200b"),
    "soft hyphens": lambda text: _by(text, 3, "\u00ad"),
    "fullwidth": lambda text: "".join(chr(0xFEE0 + ord(one)) if "!" <= one <= "~" else one for one in text),
    "arabic digits": _from(0x660),
    "devanagari digits": _from(0x966),
    "bold digits": _from(0x1D7CE),
    "keycaps": lambda text: "".join(f"{one}\ufe0f\u20e3" if one.isdigit() else one for one in text),
    "escaped for JSON": lambda text: "".join(f"\\u{ord(one):04x}" for one in text),
    "escaped twice": lambda text: "".join(f"\\\\u{ord(one):04X}" for one in text),
    "in a URL": lambda text: "".join(f"%{ord(one):02x}" for one in text),
    "spaced, in a URL": lambda text: quote(_by(text, 4, " ")),
    "twice in a URL": lambda text: quote(quote(_by(text, 4, " "))),
    "plus for space": lambda text: _by(text, 4, "+"),
    "as HTML": lambda text: "".join(f"&#{ord(one)};" for one in text),
    "as HTML, in hex": lambda text: "".join(f"&#x{ord(one):x};" for one in text),
    "spaced in HTML": lambda text: _by(text, 4, "&nbsp;"),
    "a JSON list": lambda text: json.dumps([text[place : place + 4] for place in range(0, len(text), 4)]),
    "a JSON field": lambda text: json.dumps({"n": text, "amount": 5}),
    "JSON in JSON": lambda text: json.dumps(json.dumps({"number": _by(text, 4, " ")})),
    "markup": lambda text: html.escape(f'<pan value="{text}"/>'),
    "base 64": lambda text: base64.b64encode(text.encode()).decode(),
}
"""How any number may be written."""
OF_CARDS: Mapping[str, Callable[[str], str]] = {
    "embossed": lambda text: _printed(text, " "),
    "embossed with dashes": lambda text: _printed(text, "-"),
    "embossed over fields": lambda text: _printed(text, '", "'),
    "digit by digit": lambda text: _by(text, 1, " "),
    "in pairs": lambda text: _by(text, 2, " "),
    "named": lambda text: f"pan={text}",
    "against a word": lambda text: f"PAN{text}",
    "a track": lambda text: f";{text}=27121010000012300000?",
    "a dump": lambda text: f"{text}|12|2027|917",
    "with its end": lambda text: f"{_printed(text, ' ')} 12/27",
    "with its CVV": lambda text: f"{text} cvv 917",
    "six and the rest": _apart(6, 13),
    "six and the rest, dashed": _apart(6, 13, mark="-"),
    "six, six and the rest": _apart(6, 6, 7, mark="-"),
    "four and the rest": lambda text: f"{text[:4]} {text[4:]}" if len(text) > 14 else text,
    "all but four, and four": lambda text: f"{text[:-4]}-{text[-4:]}",
    "eights": _apart(8, mark="."),
    "eight, then fours": _apart(8, 4),
    "fives": _apart(5),
    "sevens with dashes": _apart(7, mark="-"),
    "threes between all marks": lambda text: _with(" -./", 3)(text) if len(text) > 14 else text,
    "fours between all marks": _with(".- ", 4),
    "behind zeros": lambda text: text.zfill(19),
    "behind a date": lambda text: f"2026-11-30 {text}",
    "behind a time and zeros": lambda text: f"2026113012:{text.zfill(19)}",
    "behind a plus": lambda text: f"+{text}" if len(text) > 13 else text,
    "a track with a D": lambda text: f"{text}D27121010000012300000F",
    "a track with its name": lambda text: f"%B{text}^DOE/JOHN^27121010000012300000?",
    "in parts": lambda text: f"first6={text[:6]} middle={text[6:-4]} last4={text[-4:]}",
    "issuer and rest": lambda text: f"BIN {text[:6]} rest {text[6:]}",
}
IN_PARTS = ("in parts", "issuer and rest")
"""Forms of cards with words in them: these are searched for, too."""
OF_ACCOUNTS: Mapping[str, Callable[[str], str]] = {
    "small": str.lower,
    "named": lambda text: f"IBAN: {_by(text, 4, ' ')}",
    "small and spaced": lambda text: _by(text.lower(), 4, " "),
    "bank and account apart": lambda text: f"{text[:4]} {text[4:12]} {text[12:]}",
}


def _keys(chance: random.Random) -> Iterator[tuple[str, str, str]]:
    """(kind, text, what of it is secret), each new with each call."""

    def word(length: int, letters: str = BASE62) -> str:
        kept = chance.choices(letters, k=length)
        for place, one in zip(chance.sample(range(length), 2), "a7", strict=True):
            kept[place] = one
        return "".join(kept)

    one = word(24)
    yield "Stripe key", f"sk_live_{one}", one
    one = word(24)
    yield "Stripe test key", f"rk_test_{one}", one
    one = word(32)
    yield "webhook secret", f"whsec_{one}", one
    one = word(36)
    yield "GitHub token", f"ghp_{one}", one
    one = word(20)
    yield "GitLab token", f"glpat-{one}", one
    one = word(24)
    yield "Slack token", f"xoxb-{chance.randrange(10**11)}-{one}", one
    one = "".join(chance.choices(UPPER + "234567", k=16))
    yield "AWS key id", f"AKIA{one}", one
    one = "".join(chance.choices(UPPER + "234567", k=16))
    yield "AWS session key id", f"ASIA{one}", one
    one = f"{word(20)}/{word(10)}+{word(8)}"
    yield "AWS secret", one, one
    one = word(35)
    yield "Google key", f"AIza{one}", one
    one = word(43)
    yield "JWT", f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.{one}", one
    one = word(30, BASE62 + "-_")
    yield "JWT with dashes", f"eyJhbGciOiJFUzI1NiJ9.eyJ{word(20)}.{one}", one
    one = f"{chance.getrandbits(160) | 1 << 159:040x}"
    yield "key in hex", one, one
    one = f"{chance.getrandbits(256) | 1 << 255:064x}"
    yield "key in hex, long", one, one
    one = word(40)
    yield "key in letters", one, one
    one = base64.b64encode(chance.randbytes(32)).decode()
    yield "key in base 64", one, one.strip("=")
    one = word(64)
    body = _by(one, 32, "\n")
    yield "private key", f"-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----", one
    for kind, form in {
        "PostgreSQL": "postgresql://app:{}@db.internal:5432/pay",
        "escaped DSN": "postgresql:\\/\\/app:{}@db.internal\\/pay",
        "JDBC": "jdbc:postgresql://db.internal/pay?user=app&password={}",
        "AMQP": "amqps://app:{}@mq.internal/",
        "Redis": "rediss://:{}@cache.internal:6379/0",
        "MongoDB": "mongodb+srv://app:{}@cluster0.mongo.internal/pay",
        "libpq": "host=db.internal user=app password={} dbname=pay",
        "libpq, quoted": "host=db.internal password='{} x' dbname=pay",
        "ODBC": "Driver=x;Server=db;Uid=app;Pwd={};",
        "bearer": "Authorization: Bearer {}",
        "small bearer": "bearer {}",
        "basic": "Authorization: Basic {}==",
        "api key": "api_key={}",
        "header": "X-Api-Key: {}",
        "JSON": '{{"client_secret": "{}"}}',
        "JSON in JSON": '{{\\"access_token\\": \\"{}\\"}}',
        "query": "GET /pay?access_token={}&x=1",
        "password said": "the password is {}",
        "password told": "password {} was refused",
        "cookie": "Set-Cookie: session_id={}; Path=/",
        "signature": "signature={}",
        "passphrase": "passphrase: {}",
    }.items():
        one = word(10)
        yield kind, form.format(one), one


def planted(seed: int, count: int) -> list[Planted]:
    """So many, others for each seed: half of them cards, a quarter IBANs, the rest keys and CVVs."""
    chance = random.Random(seed)
    cards, accounts, keys = _of_cards(chance), _of_accounts(chance), _of_keys(chance)
    order = (cards, accounts, cards, keys)
    return [next(order[number % 4]) for number in range(count)]


def _of_cards(chance: random.Random) -> Iterator[Planted]:
    forms = list({**FORMS, **OF_CARDS}.items())
    brands = [(brand, prefixes, length) for brand, (prefixes, lengths) in BRANDS.items() for length in lengths]
    number = 0
    while True:
        brand, prefixes, length = brands[number % len(brands)]
        form, write = forms[number % len(forms)]
        plain = card(chance, chance.choice(prefixes), length)
        text = write(plain)
        parts = form in IN_PARTS
        core = "".join(one for one in text if one.isalnum()).lower() if parts else plain
        yield Planted(f"{brand} {length}", form, text, core, 12 if parts else 8)
        number += 1
        if number % (len(brands) * len(forms)) == 0:
            chance.shuffle(forms)


def _of_accounts(chance: random.Random) -> Iterator[Planted]:
    forms, number = list({**FORMS, **OF_ACCOUNTS}.items()), 0
    while True:
        country = list(IBANS)[number % len(IBANS)]
        form, write = forms[number % len(forms)]
        plain = iban(chance, country)
        yield Planted(f"IBAN {country}", form, write(plain), plain.lower(), 9)
        number += 1


def _of_keys(chance: random.Random) -> Iterator[Planted]:
    labels = ("cvv: {}", 'CVC2 "{}"', "cvv={}", '"cvv":"{}"', "security code {}", "CVN is {}", "cid {}", "cvv2/{}")
    while True:
        for kind, text, core in _keys(chance):
            clean = "".join(one for one in core if one.isalnum()).lower()
            yield Planted(kind, "plain", text, clean, 8 if len(clean) > 12 else 6)
        label, code = chance.choice(labels), f"{chance.randrange(1000, 9999)}"[: chance.choice((3, 4))]
        text = label.format(code)
        core = "".join(one for one in text if one.isalnum()).lower()
        yield Planted("CVV", "named", text, core, len(core))


SENTENCES = (
    "{}",
    "declined for {}, ask the issuer",
    "Could not charge {}: limit reached",
    'bad input: "{}"',
    "x:{};",
    "id 550e8400-e29b-41d4-a716-446655440000 at 2026-11-24 08:29:30 refused ({}), code 51",
    "HTTP 402\nX-Trace: 12\n\n{}",
    "no 2 of 3: {} / retry in 30 s",
)


def is_certain(secret: Planted) -> bool:
    """Whether it is a secret wherever it stands, in an id and in a receipt too: by its check digits, or by the mark of
    its maker. Twelve digits in one are a retrieval reference number there, groups with a date are no card, and an id is
    in no parts."""
    if secret.kind == "Maestro 12" or secret.form in IN_PARTS:
        return False
    if re.search(r"20[1-3]\d\W(?:0\d|1[0-2])[0-3]\d", secret.text):  # a date among its groups, one in ten thousand
        return False
    named = secret.kind.split()[0] in (*(brand.split()[0] for brand in BRANDS), "IBAN")
    marked = secret.text.startswith(
        ("sk_", "rk_", "whsec_", "gh", "glpat", "xox", "AKIA", "ASIA", "AIza", "eyJ", "-----")
    )
    return (named and secret.form != "base 64") or marked


def sentence(secret: Planted, number: int) -> str:
    """The secret in the middle of some words."""
    return SENTENCES[number % len(SENTENCES)].replace("{}", secret.text)
