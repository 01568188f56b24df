"""Malformed inputs, drawn from a seed: values first, then rows, answers, configs and items made of them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

TEXTS: tuple[str, ...] = (
    "", " ", "\t", "\u00a0", "\ufeff", "\u200b", "\x00", "a\x00b", "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\r",
    "a\rb",
    "\u2028", "\u2029", "\u202egnp.exe", "\ud800", "\udfff\ud800", "\ud83d", "\U0001f4b3", "e\u0301" * 50,
    "\u0660\u0661",
    "\uff11\uff12\uff13", "\u2167", "\u00bd", "a" * 127, "a" * 128, "a" * 129, "a" * 1_024, "a" * 1_025, "9" * 5_000,
    "x" * 70_000, "\u00e9" * 128, "'", '"', "''", "\\", "\\\\", "\\u0000", "%00", "%", "%s%s%s%n", "{0}", "{}",
    "${HOME}", "$(id)",
    "`id`", "; DROP TABLE transactions; --", "' OR '1'='1", "1; SELECT pg_sleep(9)--", "\" OR \"\"=\"",
    "x' UNION SELECT 1--",
    "'; DELETE FROM \"transactions\" WHERE id='x", "id = 'x' OR begins_with(id, '')", "=cmd|' /C calc'!A0", "+1+1",
    "-1+1",
    "@SUM(1)", "=HYPERLINK(\"http://x\")", "<script>alert(1)</script>", "<!--", "]]>", "&lt;", "&#0;", "a,b", "a;b",
    "a\tb", "a|b",
    "../../etc/passwd", "/dev/null", "C:\\nul", "null", "None", "undefined", "true", "false", "NaN", "Infinity",
    "-Infinity",
    "nan", "inf", "1e3", "1E400", "-1", "+1", "0", "-0", "00", "007", "0x1F", "0b1", "1_000", "1,000", "1.000,00",
    "1.5", ".5",
    "5.", "1e-9", "999999999999999", "1000000000000000", "1000000000000001", "9007199254740993", "9223372036854775808",
    "-9223372036854775809", "1" * 40, "0." + "1" * 40, "\u0661\u0662", "USD", "usd", "US", "USDX", "US$", "$",
    "\u20ac", "XXX", "XTS", "XAU", "ZZZ",
    "BGN", "JPY", "KWD", "EUR ", " EUR", "2026-11-24", "2026-11-24T09:30:00", "2026-11-24T09:30:00Z",
    "2026-02-30T00:00:00Z",
    "2026-11-24T24:00:00Z", "2026-11-24T23:59:60Z", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59Z",
    "10000-01-01T00:00:00Z",
    "1969-12-31T23:59:59Z", "2026-11-24T09:30:00+25:00", "2026-11-24T09:30:00+14:00", "2026-11-24T09:30:00-12:00",
    "24/11/2026",
    "11/24/2026 9:30 AM", "1732440600", "1732440600000", "now", "tomorrow", "2026-W48-2", "20261124T093000Z",
    "2026-11-24 09:30:00 Europe/Madrid", "2026-11-24T09:30:00.1234567890Z", "\uff12\uff10\uff12\uff16-11-24T09:30:00Z",
    "canary-1", "canary-20261124T090000Z", "#run", "#", "id", "account", "4111111111111111", "DE89370400440532013000",
    "rate(1 minute)", "https://", "http://[", "https://a:b@c", "https://x:99999", "javascript:alert(1)",
    "file:///etc/passwd",
    "10.0.0.0/8", "999.1.1.1/16", "10.0.0.0/16 ", "[]", "{}", '["kms"]', "[" * 3_000, "{" * 3_000, '[["' * 900,
    "[" * 100_000,
)  # fmt: skip
"""Any of them may stand where something else should."""
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 10**6, 2**31, 2**53 + 1, 2**63, -(2**63) - 1, 10**400, 0.0, -0.0, 0.1, 1.5, 1e15,
    1e308, float("nan"),
    float("inf"), float("-inf"), [], {}, [[]], [None], [1, 2], ["a", "a"], {"a": 1}, {"id": "x"}, [["x"] * 50] * 50,
    {"": None},
)  # fmt: skip
"""What JSON has besides texts."""
GOOD: Mapping[str, Any] = {"id": "t-1", "account": "acct-1", "amount_minor": 1250, "currency": "USD"}
COLUMNS = ("id", "account", "amount_minor", "currency", "created_at", "deadline")


def deep(chance: random.Random) -> Any:
    """Nested deeper than anybody means it."""
    value: Any = chance.choice((1, "x", None))
    for _ in range(chance.choice((3, 30, 200))):
        value = [value] if chance.random() < 0.5 else {"a": value}
    return value


def value(chance: random.Random) -> Any:
    match chance.randrange(10):
        case 0 | 1 | 2 | 3 | 4 | 5:
            return text(chance)
        case 6:
            return deep(chance)
        case 7:
            return chance.choice((1, -1)) * chance.getrandbits(chance.choice((8, 31, 64, 300)))
        case _:
            return chance.choice(VALUES)


def text(chance: random.Random) -> str:
    one = chance.choice(TEXTS)
    match chance.randrange(8):
        case 0:
            return one + chance.choice(TEXTS)[:300]
        case 1:
            at = chance.randrange(len(one) + 1)
            return one[:at] + chr(chance.choice((0, 7, 27, 127, 133, 0x202E, 0xD800, 0xFEFF, 0x10FFFF))) + one[at:]
        case _:
            return one


def dumped(document: Any, chance: random.Random) -> str:
    """JSON as others write it, NaN and all."""
    try:
        return json.dumps(document, ensure_ascii=chance.random() < 0.7)
    except (RecursionError, ValueError):
        return "[" * 500


# --- lines of files


def json_line(chance: random.Random, number: int) -> bytes:
    row: dict[str, Any] = {**GOOD, "id": f"bad-{number}"}
    match chance.randrange(9):
        case 0 | 1 | 2:
            row[chance.choice(COLUMNS)] = value(chance)
        case 3:
            row.pop(chance.choice(list(row)))
        case 4:
            row[text(chance)[:200]] = value(chance)
        case 5:
            for name in chance.sample(COLUMNS, 3):
                row[name] = value(chance)
        case 6:
            whole = dumped(row, chance)
            return (whole[:-1] + f',"{chance.choice(COLUMNS)}":{dumped(value(chance), chance)}}}').encode(
                "utf-8", "replace"
            )
        case 7:
            return dumped(value(chance), chance).encode("utf-8", "replace")
        case _:
            return damaged(dumped(row, chance).encode("utf-8", "replace"), chance)
    return dumped(row, chance).encode("utf-8", "surrogatepass")


def csv_line(chance: random.Random, number: int) -> bytes:
    fields = [f"bad-{number}", "acct-1", "1250", "USD"]
    match chance.randrange(7):
        case 0 | 1 | 2:
            fields[chance.randrange(4)] = text(chance)
        case 3:
            fields += [text(chance)[:200]] * chance.randrange(1, 4)
        case 4:
            del fields[chance.randrange(4)]
        case 5:
            fields[chance.randrange(4)] = '"' + text(chance)[:200] + chance.choice(('"', "", '""', '"x'))
        case _:
            return damaged(",".join(fields).encode(), chance)
    return ",".join(fields).encode("utf-8", "surrogatepass")


def damaged(raw: bytes, chance: random.Random) -> bytes:
    """In its bytes: another encoding, a mark, bytes that are none of UTF-8, cut or doubled."""
    match chance.randrange(8):
        case 0:
            return raw.decode("utf-8", "replace").encode("utf-16")
        case 1:
            return b"\xef\xbb\xbf" + raw
        case 2:
            return raw[: chance.randrange(len(raw) + 1)]
        case 3:
            at = chance.randrange(len(raw) + 1)
            return raw[:at] + bytes([chance.randrange(128, 256)]) + raw[at:]
        case 4:
            return raw + raw
        case 5:
            return raw.replace(b"a", b"\x00", 1)
        case 6:
            return raw.replace(b"e", b"\xc3\x28", 1)
        case _:
            return bytes(chance.choices(range(256), k=chance.choice((1, 20, 300))))


# --- the gateway's answers


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    raw: bytes
    """On the wire."""


PROOF: Mapping[str, Any] = {"id": "t-1", "status": "confirmed", "reference": "ref-1", "amount": 1234, "currency": "USD"}


def answer(chance: random.Random) -> Answer:
    """One that proves nothing: a proof with something wrong in it. Never one that is merely odd and still a proof."""
    document: Any = dict(PROOF)
    status, headers = 200, {"content-type": "application/json"}
    body: bytes | None = None
    match chance.randrange(9):
        case 0 | 1:
            name = chance.choice(("id", "status", "amount"))
            document[name] = _other(chance, PROOF[name])
        case 2:
            document["currency"] = chance.choice(
                ("", "usd", "US", "U$D", "USDX", None, 840, ["USD"], "\u0660SD", "US\n")
            )
        case 3:
            document["reference"] = chance.choice(
                ("", "x" * 257, "a\x00b", "\ud800", "a\nb", None, 7, ["r"], {}, True, "\x1b[2J")
            )
        case 4:
            document.pop(chance.choice(list(document)))
        case 5:
            headers = {
                "content-type": chance.choice(("text/html", "text/plain", "application/problem+json", "", "json", "x"))
            }
        case 6:
            status = chance.choice(
                (100, 201, 204, 299, 301, 302, 304, 400, 404, 408, 418, 425, 451, 499, 502, 504, 511, 599)
            )
        case 7:
            body = damaged_json(json.dumps(document).encode(), chance)
        case _:
            headers["age"] = "5"
    if body is None:
        body = dumped(document, chance).encode("utf-8", "surrogatepass")
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    raw = f"HTTP/1.1 {status} X\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    return Answer(status, headers, body, raw)


def _other(chance: random.Random, right: Any) -> Any:
    while (other := value(chance)) == right or other in ("rejected", "processing"):
        continue
    # a whole amount that is another one proves that another amount moved: that is a proof, and a person's matter
    return f"{other}" if isinstance(right, int) and type(other) is int else other


def damaged_json(raw: bytes, chance: random.Random) -> bytes:
    return chance.choice(
        (
            raw[: chance.randrange(len(raw))],
            raw + raw,
            raw.decode().encode("utf-16"),
            b"\xef\xbb\xbf" + raw,
            b"[" + raw + b"]",
            raw.replace(b'"amount": 1234', b'"amount": 1234, "amount": 1234'),
            raw.replace(b"1234", b"1234.0"),
            raw.replace(b"1234", b"1.234e3"),
            raw.replace(b"1234", b"NaN"),
            raw.replace(b"1234", b"9" * 5_000),
            raw.replace(b'"', b"'"),
            b"[" * 100_000,
            b'{"a":' * 20_000,
            b"",
            b"\x00",
            b"null",
            bytes(chance.choices(range(256), k=200)),
        )
    )


def wire(chance: random.Random) -> bytes:
    """An answer that breaks HTTP itself."""
    good = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    return chance.choice(
        (
            b"", b"\r\n\r\n", b"HTTP/1.1", b"HTTP/9.9 200 OK\r\n\r\n", b"HTTP/1.1 999 X\r\n\r\n",
            b"HTTP/1.1 20 X\r\n\r\n",
            b"ICY 200 OK\r\n\r\n", b"220 mail ESMTP\r\n", good.replace(b"Length: 2", b"Length: -2"),
            good.replace(b"Length: 2", b"Length: 2\r\nContent-Length: 3"),
            good.replace(b"Length: 2", b"Length: 99999999999"),
            good.replace(b"Length: 2", b"Length: 0x2"), good.replace(b"Content-Length: 2\r\n", b""),
            good[: chance.randrange(len(good) - 1)],
            good.replace(b"Content-Length: 2", b"Transfer-Encoding: chunked") + b"zz\r\n",
            good.replace(b"Content-Length: 2", b"Transfer-Encoding: gzip"), good.replace(b"\r\n", b"\n"),
            b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 9_000 + b"\r\n", b"HTTP/1.1 200 OK\r\nX" + b"y" * 70_000,
            b"HTTP/1.1 100 Continue\r\n\r\n" * 20, b"HTTP/1.1 101 Switching\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nA\x00b: c\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n folded: x\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: \xd9\xa2\r\n\r\n{}",
            bytes(chance.choices(range(256), k=chance.choice((1, 60, 3_000)))),
        )
    )  # fmt: skip


# --- items that something else wrote

_ATTRIBUTES: tuple[Callable[[random.Random], Any], ...] = (
    lambda chance: {"S": text(chance).encode("utf-8", "replace").decode()[:2_000]},
    lambda chance: {"N": chance.choice(("0", "-1", "1.5", "1E+120", "99999999999999999999", "-9.9E-100"))},
    lambda _: {"BOOL": True},
    lambda _: {"NULL": True},
    lambda _: {"B": b"\x00\xff"},
    lambda chance: {"L": [{"S": "x"}] * chance.randrange(3)},
    lambda _: {"M": {"S": {"S": "x"}}},
    lambda _: {"SS": ["a", "b"]},
    lambda _: {"NS": ["1"]},
)


def attribute(chance: random.Random) -> Any:
    return chance.choice(_ATTRIBUTES)(chance)
