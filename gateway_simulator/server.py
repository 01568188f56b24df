"""The simulated gateway's HTTP server: the protocol, the faults, the admin's questions."""

# ruff: noqa: A001, A002 - `id` is the domain's own word
from __future__ import annotations

import asyncio
import hmac
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import unquote

from gateway_simulator.decisions import PROFILES, Decision, Fault, Profile, ProfileError, decide
from gateway_simulator.ledger import Call, Ledger, Result, Violation

MAX_HEAD_BYTES = 16 * 1024
MAX_BODY_BYTES = 1024 * 1024
MOST_KEY = 256
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_JSON = "Content-Type: application/json\r\n"


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class BadRequest(Exception):  # noqa: N818
    """Answered with `status` and the text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def _id_of(request: Request) -> str:
    """What a call is about, as every answer to it says: known before the body is read."""
    if request.method == "POST":
        return request.headers.get("idempotency-key", "")
    return unquote(request.path.removeprefix("/confirmations/"))


class SimulatedGateway:
    """One gateway with its ledger and its present profile. `serve()` it, or hand it requests."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        seed: int = 1,
        profile: Profile = PROFILES["demo"],
        api_key: str = "",
        clock: Callable[[], float] = time.time,
        strict: bool = False,
    ) -> None:
        """`strict`: no caller stands still between a question and what follows, so the order of calls is exact."""
        self.ledger = ledger
        self.seed = seed
        self.profile = profile
        self.in_flight = 0
        self.max_in_flight = 0
        self._api_key = api_key
        self._clock = clock
        self._strict = strict
        self._under_way: set[str] = set()
        """Keys whose effect is about to happen."""
        self._numbers: Counter[str] = Counter()
        self._rate_full_at = 0.0
        self._peers: set[_Peer] = set()
        self._server: asyncio.Server | None = None
        self._sequence = len(ledger.results)

    async def serve(self, port: int = 0) -> str:
        """Listens on 127.0.0.1; returns the URL.

        Raises:
            OSError: the port is taken.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Peer(self), "127.0.0.1", port, backlog=1024)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Closes every connection; the ledger is complete at any time."""
        if self._server is not None:
            self._server.close()
        for peer in list(self._peers):
            peer.abort()
        await asyncio.sleep(0)
        self.ledger.close()

    def handle(self, request: Request, peer: _Peer) -> None:
        """Answers at once or later, through `peer`."""
        if (request.method, request.path) == ("GET", "/_ledger.csv"):
            peer.answer_bytes(200, self.ledger.as_csv().encode(), "Content-Type: text/csv\r\n")
            return
        if request.path.startswith("/_"):
            peer.answer(*self._admin(request))
            return
        if self._api_key and not hmac.compare_digest(
            request.headers.get("authorization", "").encode(), f"Bearer {self._api_key}".encode()
        ):
            peer.answer(401, {"id": _id_of(request), "status": "unauthorized"})
            return
        try:
            if request.method == "POST" and request.path == "/confirmations":
                self._confirm(request, peer)
            elif request.method == "GET" and request.path.startswith("/confirmations/"):
                self._ask(_id_of(request), peer)
            else:
                peer.answer(404, {"error": "no such path"})
        except BadRequest as error:
            peer.answer(error.status, {"id": _id_of(request), "status": "invalid", "error": str(error)})

    # --- the two verbs

    def _confirm(self, request: Request, peer: _Peer) -> None:
        key = request.headers.get("idempotency-key", "")
        if not 0 < len(key) <= MOST_KEY:
            raise BadRequest(400, "Idempotency-Key: missing, or over 256 characters")
        id, amount, currency = _payment(request.body)
        decision = self._arrived(id, "confirm", peer)
        if decision is None:
            return
        now = self._clock()
        known = self.ledger.result(key, now, self.profile.key_window_seconds)
        if known is not None and (known.id, known.amount, known.currency) != (id, amount, currency):
            self._write(
                peer, Violation(id, key, "the key of another payment", now), Call(id, "confirm", "409", now, key)
            )
            peer.answer(409, {"id": id, "status": "key_reused"})
            return
        fault = decision.fault
        if misuse := self.ledger.order.misuse(key, now, self.profile.key_window_seconds, strict=self._strict):
            self._write(None, Violation(id, key, misuse, now))
        self.ledger.order.sent(key, now)
        if key in self._under_way or fault is Fault.IN_FLIGHT:
            if key not in self._under_way:
                self._under_way.add(key)
                self._later(decision.latency_seconds, lambda: self._effect_alone(id, key, amount, currency, decision))
            if self._write(peer, Call(id, "confirm", "409", now, key)):
                peer.answer(409, {"id": id, "status": "processing"})
            return
        if fault is None or fault.has_effect:
            self._under_way.add(key)
        self._later(decision.latency_seconds, lambda: self._conclude(id, key, amount, currency, decision, peer))

    def _conclude(
        self,
        id: str,
        key: str,
        amount: int,
        currency: str,
        decision: Decision,
        peer: _Peer,
    ) -> None:
        fault = decision.fault
        replay = self.ledger.result(key, self._clock(), self.profile.key_window_seconds)
        if replay is not None and replay.status not in self.profile.replays and replay.status != "confirmed":
            replay = None
        reached = fault is None or fault.has_effect or fault is Fault.ERROR_BEFORE
        if replay is not None and replay.status == "error" and reached:
            if self._write(peer, Call(id, "confirm", "500 replayed", self._clock(), key)):
                peer.answer(500, {"id": id, "status": "error"})
            self._under_way.discard(key)
            return
        result: Result | None = None
        new: list[Result] = []
        if fault is None or fault.has_effect:
            result = replay or self._result(id, key, amount, currency, refused=decision.refused)
            new = [] if replay else [result]
        remembers_errors = "error" in self.profile.replays
        if fault in (Fault.ERROR_AFTER, Fault.ERROR_BEFORE) and remembers_errors and replay is None:
            new.append(Result(id, key, "error", amount, currency, "", self._clock()))
        self._under_way.discard(key)
        status = "422" if result is not None and result.status == "rejected" else "200"
        if not self._write(peer, *new, Call(id, "confirm", fault or status, self._clock(), key)):
            return
        if fault is None and result is not None:
            peer.answer(int(status), _document(result))
        else:
            self._misbehave(fault, id, result, peer)

    def _effect_alone(self, id: str, key: str, amount: int, currency: str, decision: Decision) -> None:
        """The effect of a call that has been answered already."""
        self._under_way.discard(key)
        if self.ledger.result(key, self._clock(), self.profile.key_window_seconds) is None:
            self._write(None, self._result(id, key, amount, currency, refused=decision.refused))

    def _result(self, id: str, key: str, amount: int, currency: str, *, refused: bool) -> Result:
        self._sequence += 1
        status = "rejected" if refused else "confirmed"
        reference = "" if refused else f"sim-{self.seed}-{self._sequence}"
        return Result(id, key, status, amount, currency, reference, self._clock())

    def _ask(self, key: str, peer: _Peer) -> None:
        id = key.partition("~")[0]  # before the number of a key that a desk gave it
        if not _ID.fullmatch(id) or len(key) > MOST_KEY:
            raise BadRequest(400, "key: must begin with an id, [A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
        decision = self._arrived(id, "ask", peer)
        if decision is not None:
            self._later(decision.latency_seconds, lambda: self._tell(id, key, decision, peer))

    def _tell(self, id: str, key: str, decision: Decision, peer: _Peer) -> None:
        fault = None if decision.fault is Fault.IN_FLIGHT else decision.fault
        effects = [one for one in self.ledger.effects_of.get(id, ()) if one.key == key]
        result = effects[0] if effects else self.ledger.results.get(key)
        if result is not None and (result.status == "error" or self._clock() - result.at < decision.late_seconds):
            result = None
        answer: tuple[int, dict[str, Any]]
        if result is not None:
            answer = 200, _document(result)
        elif key in self._under_way:
            answer = 200, {"id": id, "status": "processing"}
        else:
            answer = 404, {"id": id, "status": "not_found"}
        if not self._write(peer, Call(id, "ask", fault or str(answer[1]["status"]), self._clock(), key)):
            return
        if fault is None:
            peer.answer(*answer)
        else:
            self._misbehave(fault, id, result, peer, "ask")

    # --- what both share

    def _arrived(self, id: str, verb: str, peer: _Peer) -> Decision | None:
        """Counts the call and draws its fate; None where the rate limit has answered it."""
        peer.begin()
        name = f"{verb}:{id}"
        if name not in self._numbers:
            self._numbers[name] = self.ledger.count(id, verb)
        self._numbers[name] += 1
        if not self._within_rate():
            if self._write(peer, Call(id, verb, "429", self._clock())):
                peer.answer(429, {"id": id, "status": "rate_limited"}, "Retry-After: 1\r\n")
            return None
        return decide(self.seed, id, self._numbers[name], self.profile, verb)

    def _within_rate(self) -> bool:
        """A token bucket of a quarter of a second."""
        rate, now = self.profile.rate_limit_per_second, self._clock()
        if not rate:
            return True
        full_at = max(self._rate_full_at, now) + 1 / rate
        if full_at - now > max(0.25, 1 / rate):
            return False
        self._rate_full_at = full_at
        return True

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        if seconds > 0:
            asyncio.get_running_loop().call_later(seconds, action)
        else:
            action()

    def _write(self, peer: _Peer | None, *records: Result | Call | Violation) -> bool:
        """Whether the ledger has them; if not (disk full), nothing happened, and that is the answer."""
        try:
            self.ledger.add(*records)
        except OSError as error:
            print(f"{self.ledger.path}: cannot write the ledger: {error.strerror}", file=sys.stderr, flush=True)
            if peer is not None:
                peer.answer(503, {"id": records[0].id, "status": "unavailable"})
            return False
        return True

    def _misbehave(
        self, fault: Fault | None, id: str, result: Result | None, peer: _Peer, verb: str = "confirm"
    ) -> None:
        document: dict[str, Any] = _document(result) if result is not None else {"id": id, "status": "unavailable"}
        match fault:
            case Fault.UNAVAILABLE:
                peer.answer(503, {"id": id, "status": "unavailable"})
            case Fault.ERROR_BEFORE | Fault.ERROR_AFTER:
                peer.answer(500, {"id": id, "status": "error"})
            case Fault.PAGE_404 | Fault.PAGE_403 | Fault.PAGE_429 | Fault.PAGE_408:
                page = f"<html>{fault.upper()}</html>".encode()
                peer.answer_bytes(
                    int(fault.removeprefix("page-")), page, "Content-Type: text/html\r\nRetry-After: 1\r\n"
                )
            case Fault.EDGE_503:
                peer.answer(503, {"status": "unavailable"})
            case Fault.TIMEOUT_BEFORE | Fault.TIMEOUT_AFTER:
                peer.hang(self.profile.hang_seconds)
            case Fault.REDIRECT:
                peer.answer(302, {"status": "moved"}, "Location: /elsewhere\r\n")
            case Fault.GARBAGE:
                peer.answer_bytes(200, b"<html>all is well</html>", "Content-Type: text/html\r\n")
            case Fault.NOT_HTTP:
                peer.close(b"220 mail.example ESMTP\r\n\r\n")
            case Fault.HUGE:
                peer.answer_bytes(200, b" " * 2_000_000, _JSON)
            case Fault.CLOSE_MID_BODY:
                body = json.dumps(document).encode()
                peer.close(_head(200, len(body), _JSON) + body[: len(body) // 2])
            case Fault.WRONG_TYPE:
                peer.answer_bytes(200, json.dumps(document).encode(), "Content-Type: text/plain\r\n")
            case Fault.TWICE:
                body = json.dumps(document).encode()
                peer.answer_bytes(200, body, _JSON, again=_head(200, len(body), _JSON) + body)
            case Fault.STALE:
                peer.answer(409 if verb == "confirm" else 200, {"id": id, "status": "processing"})
            case Fault.WRONG_CURRENCY:
                peer.answer(200, document | {"currency": "XTS"})
            case Fault.WRONG_ID:
                peer.answer(200, document | {"id": "another"})
            case Fault.WRONG_AMOUNT:
                peer.answer(200, document | {"amount": document.get("amount", 0) + 1})
            case Fault.FLOAT_AMOUNT:
                peer.answer(200, document | {"amount": float(document.get("amount", 0))})
            case _:
                peer.close(b"")

    # --- the admin's questions

    def _admin(self, request: Request) -> tuple[int, dict[str, Any]]:
        match request.method, request.path:
            case "GET", "/_health":
                return 200, {"status": "ok"}
            case "GET", "/_ledger":
                return 200, self.ledger.as_json()
            case "GET", path if path.startswith("/_ledger/"):
                return 200, self.ledger.life_of(unquote(path.removeprefix("/_ledger/")))
            case "GET", "/_stats":
                return 200, self.stats()
            case "POST", "/_faults":
                changes = _object(request.body)
                try:
                    self.profile = self.profile.changed(changes)
                except ProfileError as error:
                    raise BadRequest(400, str(error)) from None
                return 200, self.profile.as_json()
        return 404, {
            "error": "no such path; GET /_health, /_ledger, /_ledger.csv, /_ledger/{id}, /_stats, POST /_faults"
        }

    def stats(self) -> dict[str, Any]:
        """Counts and sums since the ledger began; calls at once since this process began."""
        return self.ledger.stats() | {
            "in_flight": self.in_flight,
            "max_in_flight": self.max_in_flight,
            "profile": self.profile.name,
        }


class _Peer(asyncio.Protocol):
    """One kept-alive connection, one request at a time."""

    def __init__(self, gateway: SimulatedGateway) -> None:
        self._gateway = gateway
        self._transport: asyncio.Transport
        self._buffer = bytearray()
        self._busy = False
        self._counted = False
        self._hanging: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._gateway._peers.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._gateway._peers.discard(self)
        self._end()
        if self._hanging is not None:
            self._hanging.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._busy:
            self._next()

    def begin(self) -> None:
        """This request is a call, to be counted until it ends."""
        self._counted = True
        self._gateway.in_flight += 1
        self._gateway.max_in_flight = max(self._gateway.max_in_flight, self._gateway.in_flight)

    def answer(self, status: int, document: Mapping[str, Any], headers: str = "") -> None:
        self.answer_bytes(status, json.dumps(document, separators=(",", ":")).encode(), _JSON + headers)

    def answer_bytes(self, status: int, body: bytes, headers: str, again: bytes = b"") -> None:
        self._end()
        if not self._transport.is_closing():
            self._transport.write(_head(status, len(body), headers) + body + again)
            self._busy = False
            if self._buffer:
                asyncio.get_running_loop().call_soon(self._next)

    def close(self, last: bytes) -> None:
        self._end()
        if not self._transport.is_closing():
            self._transport.write(last)
            self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    def hang(self, seconds: float) -> None:
        """Holds the connection without an answer, then closes it; it counts as in flight until then."""
        if not self._transport.is_closing():
            self._hanging = asyncio.get_running_loop().call_later(seconds, self.close, b"")

    def _end(self) -> None:
        if self._counted:
            self._counted = False
            self._gateway.in_flight -= 1

    def _next(self) -> None:
        if self._busy or self._transport.is_closing():
            return
        try:
            request = self._take()
            if request is not None:
                self._busy = True
                self._gateway.handle(request, self)
        except BadRequest as error:
            self._busy = True
            self.answer(error.status, {"error": str(error)})

    def _take(self) -> Request | None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEAD_BYTES:
                self.abort()
            return None
        lines = self._buffer[:end].decode("latin-1").split("\r\n")
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        length = headers.get("content-length", "0")
        first = lines[0].split(" ")
        if len(first) != 3 or not length.isdecimal() or int(length) > MAX_BODY_BYTES or "transfer-encoding" in headers:
            self.close(_head(400, 0, "Connection: close\r\n"))
            return None
        whole = end + 4 + int(length)
        if len(self._buffer) < whole:
            return None
        body = bytes(self._buffer[end + 4 : whole])
        del self._buffer[:whole]
        return Request(first[0], first[1], headers, body)


def _head(status: int, length: int, headers: str) -> bytes:
    return f"HTTP/1.1 {status} {_PHRASES[status]}\r\n{headers}Content-Length: {length}\r\n\r\n".encode()


_PHRASES = {status.value: status.phrase for status in HTTPStatus}


def _document(result: Result) -> dict[str, Any]:
    if result.status == "rejected":
        return {"id": result.id, "status": "rejected", "reason": "insufficient_funds"}
    return {
        "id": result.id,
        "status": "confirmed",
        "reference": result.reference,
        "amount": result.amount,
        "currency": result.currency,
    }


def _object(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise BadRequest(400, "the body must be a JSON object")
    return document


def _payment(body: bytes) -> tuple[str, int, str]:
    """Id, amount and currency of the request; the account is looked at and not kept."""
    document = _object(body)
    id, account, amount, currency = (document.get(name) for name in ("id", "account", "amount", "currency"))
    if not isinstance(id, str) or not _ID.fullmatch(id):
        raise BadRequest(400, "id: must match [A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
    if not isinstance(account, str) or not account:
        raise BadRequest(400, "account: must be a text that is not empty")
    if type(amount) is not int or amount <= 0:
        raise BadRequest(400, "amount: must be a whole number of minor units above 0")
    if not isinstance(currency, str) or not re.fullmatch("[A-Z]{3}", currency):
        raise BadRequest(400, "currency: must be three capital letters (ISO 4217)")
    return id, amount, currency
