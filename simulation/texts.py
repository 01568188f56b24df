"""What comes from outside as text: ids and accounts as odd as the rules allow, answers that are none, and secrets.

The secrets are planted: nothing that leaves may show one (`simulation.oracles.secrets_out`).
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence

from workers.transport.http import Response

SECRETS: Mapping[str, str] = {
    "4111111111111111": "4111111111111111",
    "card 4000 0566 5566 5556": "4000056655665556",
    "3782-822463-10005": "378282246310005",
    "DE89370400440532013000": "DE89370400440532013000",
    "GB29 NWBK 6016 1331 9268 19": "GB29NWBK60161331926819",
    "postgresql://confirm:Hx7vQ2mZpL@db.internal:5432/payments": "Hx7vQ2mZpL",
    "Bearer kQ8xV3nT6wZ1yB4mR7pD": "kQ8xV3nT6wZ1yB4mR7pD",
    "sk_live_4eC39HqLyjWDarjtT1zdp7dc": "4eC39HqLyjWDarjtT1zdp7dc",
    "password=Tr0ub4dor3xYz": "Tr0ub4dor3xYz",
    '{"pin": "739145"}': "739145",
}
"""As gateways quote them, and proxies, drivers and people; and what of it nobody may see."""
QUOTED = tuple(SECRETS)

IDS = ("", ".", ":-_", "-" + "A1" * 60, ".null", "-DROP.TABLE", "_None", ":0", ".id")
"""Ends of ids; each is allowed (workers/domain/rules.py)."""

ACCOUNTS: Sequence[str] = (
    "acct-1234567890",
    "42",
    "4111111111111111",
    "DE89 3704 0044 0532 0130 00",
    "Zoë O’Brien-Łukasz \N{CJK UNIFIED IDEOGRAPH-4E2D}\N{CJK UNIFIED IDEOGRAPH-6587}",
    "'; DROP TABLE zmqxkvw; --",
    '"} {"pan":"5105 1051 0510 5100"}',
    "<script>alert(1)</script>&amp;%41",
    "\N{RIGHT-TO-LEFT OVERRIDE}\N{ZERO WIDTH SPACE}a\N{COMBINING ACUTE ACCENT}\N{PILE OF POO}",
    "tab\there\nand a new line\r\x7f\x1b[31m",
    "\\u0000 \\x00 %00 \\",
    "q" * 1024,
)


def refusal(chance: random.Random, account: str) -> str:
    """Why a gateway refuses: plain, or with what it should not say."""
    return chance.choice(
        (
            "no funds",
            f"card {chance.choice(QUOTED)} declined",
            f"account {account} is closed",
            f"{account.upper()}: {chance.choice(QUOTED)}\n\tat line 1\x00",
            "\N{PILE OF POO}" * 400,
            "51 \N{RIGHT-TO-LEFT OVERRIDE} AC04 " + "\N{COMBINING ACUTE ACCENT}" * 50,
        )
    )


def garbage(chance: random.Random, id_: str) -> Response:
    """An answer that is none, whatever its number says."""
    status = chance.choice((200, 200, 201, 204, 302, 400, 404, 409, 418, 422, 500, 503, 599))
    kind = chance.choice(("application/json", "application/json; charset=utf-8", "text/html", "", "application/jsonp"))
    return Response(status, {"content-type": kind} if kind else {}, chance.choice(_BODIES)(chance, id_))


def _document(**changes: object) -> Callable[[random.Random, str], bytes]:
    def body(chance: random.Random, id_: str) -> bytes:
        sound = {"id": id_, "status": "confirmed", "reference": "r", "amount": 100, "currency": "USD"}
        return json.dumps({**sound, **changes, "note": chance.choice(QUOTED)}).encode()

    return body


_BODIES: Sequence[Callable[[random.Random, str], bytes]] = (
    *(lambda _, __, body=body: body for body in (b"", b"{", b"null", b"[" * 3000, b"\xff\xfe\xfd\xff", b"\x00" * 9)),
    lambda chance, _: f"<h1>{chance.choice(QUOTED)}</h1>".encode(),
    lambda _, id_: json.dumps([{"id": id_, "status": "confirmed"}]).encode(),
    lambda _, id_: f'{{"id": "{id_}", "status": "confirmed", "amount": NaN}}'.encode(),
    lambda _, id_: f'{{"id": "x", "id": "{id_}", "status": "rejected", "reason": "no"}}'.encode(),
    _document(id="another"),
    _document(id=None),
    _document(status="CONFIRMED"),
    _document(status=["confirmed"]),
    _document(amount="100"),
    _document(amount=100.0),
    _document(amount=True),
    _document(amount=None),
    _document(currency="usd"),
    _document(currency=["USD"]),
    _document(reference=""),
    _document(reference="r" * 1000),
    _document(reference="a\x00b"),
    _document(status="rejected", reason=" "),
    _document(status="rejected", reason=["no"]),
)
"""None of them proves anything: a proof has our id, a known word, a reference, a whole amount and a currency."""
