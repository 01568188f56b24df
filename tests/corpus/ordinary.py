"""Ids, references, times and amounts as they stand in any payment system: none of them may be masked."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
BASE62 = UPPER + UPPER.lower() + "0123456789"
START = datetime(2024, 1, 1, tzinfo=UTC)


def _moment(chance: random.Random) -> datetime:
    return START + timedelta(microseconds=chance.randrange(5 * 365 * 86_400 * 10**6))


def _word(chance: random.Random, letters: str, length: int) -> str:
    return "".join(chance.choices(letters, k=length))


def _number(chance: random.Random, length: int) -> str:
    return _word(chance, "0123456789", length)


def _creditors_reference(chance: random.Random) -> str:
    body = _word(chance, "0123456789" + (UPPER if chance.random() < 0.3 else ""), chance.randint(4, 21))
    number = int("".join(str(int(one, 36)) for one in f"{body}RF00"))
    return f"RF{98 - number % 97:02}{body}"


def _spaced(text: str) -> str:
    return " ".join(text[place : place + 4] for place in range(0, len(text), 4))


KINDS: Mapping[str, Callable[[random.Random], str]] = {
    "UUID 4": lambda chance: str(uuid.UUID(int=chance.getrandbits(128), version=4)),
    "UUID in capitals": lambda chance: str(uuid.UUID(int=chance.getrandbits(128), version=4)).upper(),
    "UUID 7": lambda chance: str(
        uuid.UUID(int=int(_moment(chance).timestamp() * 1000) << 80 | 7 << 76 | chance.getrandbits(76))
    ),
    "ULID": lambda chance: "01" + _word(chance, CROCKFORD, 24),
    "order number": lambda chance: str(chance.randrange(1, 10 ** chance.randint(4, 11))),
    "order with a year": lambda chance: f"ORD-{chance.randint(2020, 2030)}-{chance.randrange(10**9):09}",
    "order with a date": lambda chance: f"{_number(chance, 5)}-{_moment(chance):%Y%m%d}-{_number(chance, 2)}",
    "order, underlined": lambda chance: f"order_{chance.randint(2020, 2030)}_{chance.randrange(10**7):07}",
    "invoice": lambda chance: f"INV/{chance.randint(2020, 2030)}/{chance.randrange(10**6):06}",
    "purchase order": lambda chance: f"PO-45{chance.randrange(10**8):08}",
    "shop order": lambda chance: f"#{chance.randrange(1000, 10**6)}",
    "market-place order": lambda chance: (
        f"{chance.choice((112, 114, 302, 305, 404, 701))}-{_number(chance, 7)}-{_number(chance, 7)}"
    ),
    "charge": lambda chance: f"ch_{_word(chance, BASE62, 24)}",
    "payment intent": lambda chance: f"pi_{_word(chance, BASE62, 24)}",
    "gateway reference": lambda chance: f"{_word(chance, UPPER, 5)}{_word(chance, UPPER + '0123456789', 11)}",
    "simulated reference": lambda chance: f"sim-{chance.randrange(1, 100)}-{chance.randrange(10**6)}",
    "PSP reference": lambda chance: f"88{chance.randrange(10**14):014}",
    "snowflake": lambda chance: str(chance.randrange(10**18, 2 * 10**18)),
    "seconds": lambda chance: str(int(_moment(chance).timestamp())),
    "milliseconds": lambda chance: str(int(_moment(chance).timestamp() * 1000)),
    "microseconds": lambda chance: str(int(_moment(chance).timestamp() * 10**6)),
    "nanoseconds": lambda chance: str(int(_moment(chance).timestamp() * 10**6) * 1000 + chance.randrange(1000)),
    "ISO time": lambda chance: _moment(chance).isoformat(),
    "ISO time in UTC": lambda chance: f"{_moment(chance):%Y-%m-%dT%H:%M:%S.%f}Z",
    "time with a space": lambda chance: f"{_moment(chance):%Y-%m-%d %H:%M:%S.%f}",
    "compact time": lambda chance: f"{_moment(chance):%Y%m%dT%H%M%SZ}",
    "amount": lambda chance: f"{chance.randrange(10**9) / 100:,.2f} {chance.choice(('USD', 'EUR', 'JPY'))}",
    "minor units": lambda chance: f"{chance.randrange(10**9)} USD",
    "amount elsewhere": lambda chance: f"{chance.randrange(10**9) / 100:,.2f}".translate(str.maketrans(",.", ".,")),
    "creditor's reference": _creditors_reference,
    "creditor's reference, spaced": lambda chance: _spaced(_creditors_reference(chance)),
    "telephone": lambda chance: f"+1 {chance.randint(201, 989)} {_number(chance, 3)} {_number(chance, 4)}",
    "telephone in one": lambda chance: f"+{chance.choice((44, 49, 34, 55, 62))}{chance.randrange(10**9, 10**11)}",
    "telephone with dashes": lambda chance: f"({chance.randint(201, 989)}) 555-{chance.randrange(10**4):04}",
    "address": lambda chance: ".".join(str(chance.randrange(256)) for _ in range(4)),
    "version": lambda chance: ".".join(str(chance.randrange(100)) for _ in range(4)),
    "reason code": lambda chance: f"{chance.choice(('AC', 'AM', 'RR', 'MS'))}{chance.randrange(30):02}",
    "end-to-end id": lambda chance: f"E2E-{_moment(chance):%Y%m%d}-{chance.randrange(10**6):06}",
    "worker": lambda chance: f"run-{chance.getrandbits(32):08x}/{chance.randrange(100)}",
    "resource": lambda chance: f"transactions-{chance.getrandbits(28):07x}",
}  # fmt: skip


IDS: Mapping[str, Callable[[random.Random], str]] = {
    "shop, year, day and number": lambda chance: (
        f"{_shop(chance)}-{_moment(chance):%Y-%m%d}-{chance.randrange(10**4):04}"
    ),
    "the same with colons": lambda chance: f"{_shop(chance)}:{_moment(chance):%Y:%m%d}:{chance.randrange(10**4):04}",
    "region, date and numbers": lambda chance: (
        f"{chance.choice((40, 51, 62))}-{_moment(chance):%Y-%m-%d}-{_number(chance, 4)}-{_number(chance, 2)}"
    ),
    "shop, date in one, and number": lambda chance: f"{_shop(chance)}.{_moment(chance):%Y%m%d}.{_number(chance, 4)}",
    "date behind": lambda chance: f"{_shop(chance)}/{_number(chance, 4)}/{_moment(chance):%d%m%Y}",
    "retrieval reference": lambda chance: f"{_moment(chance):%Y%j%H}"[3:] + _number(chance, 6),
    "retrieval reference of 2026": lambda chance: f"6{_moment(chance):%j%H}{_number(chance, 6)}",
    "instalment": lambda chance: f"ORDER-{chance.randrange(10**9)}-{chance.randint(1, 12):02}",
}
"""Ids and receipts that pass for a card, one in ten or more, if nobody looks at what they hold: there, unlike in free
text, none may be masked."""


def _shop(chance: random.Random) -> str:
    """Of four digits, with which cards begin."""
    return str(chance.choice((4021, 5211, 5588, 6011, 6201, 6543)))


def ordinary_ids(seed: int, count: int) -> list[tuple[str, str]]:
    """As `ordinary`."""
    return _drawn(IDS, seed, count)


def ordinary(seed: int, count: int) -> list[tuple[str, str]]:
    """So many (kind, text), others for each seed."""
    return _drawn(KINDS, seed, count)


def _drawn(makers: Mapping[str, Callable[[random.Random], str]], seed: int, count: int) -> list[tuple[str, str]]:
    chance, kinds = random.Random(seed), list(makers.items())
    return [(kind, make(chance)) for kind, make in (kinds[number % len(kinds)] for number in range(count))]


SENTENCES = ("{}", "duplicate of {}", "see {}, then ask", "ref={}", "{} was not found", "limit reached for ({}) today")
