"""Made-up secrets of every kind that must never leave, in the forms in which gateways and people write them."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

BRANDS = {
    "Visa": ("4", 13, 16, 19),
    "Mastercard": ("52", 16),
    "American Express": ("37", 15),
    "Diners": ("305", 14),
    "Discover": ("6011", 16),
    "JCB": ("3530", 16),
    "UnionPay": ("62", 16, 19),
    "Maestro": ("5018", 13, 16),
}
"""Prefix and lengths of card numbers."""
IBANS = {"DE": 18, "GB": 18, "FR": 23, "NO": 11, "MT": 27, "NL": 14}
"""Characters after country and check digits."""
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Secret:
    kind: str
    text: str
    """As it is written somewhere."""
    core: str
    """What of it must be found nowhere, as `normal` has it."""


def normal(text: str) -> str:
    """Letters and digits alone, so that no dash, escape or other script hides a secret."""
    text += text.encode().decode("unicode_escape", errors="ignore") if "\\u" in text else ""
    return "".join(c for c in unicodedata.normalize("NFKC", text).lower() if c.isalnum())


def card(chance: random.Random, prefix: str, length: int) -> str:
    body = prefix + "".join(chance.choices("0123456789", k=length - len(prefix) - 1))
    doubled = [sum(divmod(2 * int(digit), 10)) for digit in body[::-2]]
    return body + str(-(sum(doubled) + sum(map(int, body[-2::-2]))) % 10)


def iban(chance: random.Random, country: str) -> str:
    letters = LETTERS[:4] if country in ("GB", "MT", "NL") else ""
    rest = letters + "".join(chance.choices("0123456789", k=IBANS[country] - len(letters)))
    number = int("".join(str(int(c, 36)) for c in f"{rest}{country}00"))
    return f"{country}{98 - number % 97:02}{rest}"


def _grouped(text: str, by: str) -> str:
    return by.join(text[n : n + 4] for n in range(0, len(text), 4))


def planted(seed: int) -> Iterator[Secret]:
    """Some hundred, others for each seed."""
    chance = random.Random(seed)

    def word(length: int) -> str:
        return "".join(chance.choices(LETTERS + LETTERS.lower() + "0123456789", k=length - 2)) + "a7"

    for brand, (prefix, *lengths) in BRANDS.items():
        for length in lengths:
            number = card(chance, str(prefix), int(length))
            fullwidth = "".join(chr(0xFF10 + int(digit)) for digit in number)
            escaped = "".join(f"\\u{ord(digit):04x}" for digit in number)  # as JSON may have it
            forms = (number, _grouped(number, " "), _grouped(number, "-"), _grouped(number, "."), fullwidth, escaped)
            yield from (Secret(brand, form, number) for form in forms)
    for country in IBANS:
        account = iban(chance, country)
        for form in (account, _grouped(account, " "), _grouped(account, "-"), account.lower()):
            yield Secret(f"IBAN {country}", form, normal(account))
    for kind, text in {
        "Stripe key": f"sk_live_{word(24)}",
        "GitHub token": f"ghp_{word(36)}",
        "AWS key id": f"AKIA{word(16).upper()}",
        "AWS secret": f"{word(20)}/{word(10)}+{word(8)}",
        "JWT": f"eyJhbGciOiJIUzI1NiJ9.{word(40)}.{word(43)}",
        "hex key": f"{chance.getrandbits(160):040x}",
        "uuid key": f"{chance.getrandbits(32):08x}-{word(4)}-{word(4)}-{word(4)}-{word(12)}",
    }.items():
        yield Secret(kind, text, normal(text))
    for kind, form in {
        "DSN": "postgresql://app:{}@db.internal:5432/pay",
        "JDBC": "jdbc:postgresql://db.internal/pay?user=app&password={}",
        "AMQP": "amqps://app:{}@mq.internal/",
        "libpq": "host=db.internal user=app password={} dbname=pay",
        "bearer": "Authorization: Bearer {}",
        "lower-case bearer": "bearer {}",
        "basic": "Authorization: Basic {}==",
        "api key": "api_key={}",
        "header": "X-Api-Key: {}",
        "JSON": '{{"client_secret": "{}"}}',
        "query": "GET /pay?access_token={}&x=1",
    }.items():
        password = word(10)
        yield Secret(kind, form.format(password), normal(password))
    yield Secret("CVV", "cvv: 9173", "cvv9173")
    yield Secret("CVC2", 'CVC2 "917"', "cvc2917")


SENTENCES = ("{}", "declined for {}, ask the issuer", "Could not charge {}: limit reached", 'bad input: "{}"', "x:{};")


def sentences(seed: int) -> list[tuple[Secret, str]]:
    """Each secret in the middle of some words."""
    chance = random.Random(seed)
    return [(secret, chance.choice(SENTENCES).format(secret.text)) for secret in planted(seed)]


def found(secrets: Sequence[Secret], text: str) -> list[Secret]:
    """Those secrets that are in the text, in whatever form."""
    clean = normal(text)
    return [secret for secret in secrets if secret.core in clean]
