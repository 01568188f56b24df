"""The payment gateway, its ledger, and the way there. Its answers are read by the workers' own table of evidence."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple, cast

from simulation.judge import Send
from simulation.life import Life, Stage
from simulation.oracles import Effect
from simulation.texts import QUOTED, garbage, refusal
from workers.domain.outcomes import Confirmed, NotFound, Outcome, Rejected, Unknown
from workers.domain.ports import Calls, Clock
from workers.domain.transaction import Transaction, id_of
from workers.gateway import evidence
from workers.gateway.evidence import Verb
from workers.gateway.limits import BreakerPolicy, Called, CircuitBreaker, Guard, Limiter
from workers.transport.http import HttpError, Response

EFFECT = "EFFECT"
"""What the journal calls it."""
MOST_GRACE = 0.9
"""Of the grace period: within it the gateway does and shows what it was sent, which is what `grace` assumes of it."""


class Kept(NamedTuple):
    """What the gateway remembers under a key."""

    at: float
    status: int
    document: dict[str, object]


@dataclass
class Ledger:
    """The gateway itself. It does each effect once for each key that it remembers, for the key window and no longer."""

    stage: Stage
    canary: bool
    kept: dict[str, Kept] = field(default_factory=dict)
    effects: dict[str, list[Effect]] = field(default_factory=dict)
    shown_at: dict[str, float] = field(default_factory=dict)

    def _remembers(self, key: str) -> Kept | None:
        kept = self.kept.get(key)
        window = self.stage.setup.key_window.total_seconds()
        if kept is None or self.stage.loop.seconds < kept.at + window:
            return kept
        self.stage.journal.fault("gateway", "forgotten", id_of(key))
        return None

    def confirm(self, record: Transaction, key: str, shown_by: float = 0.0) -> Kept:
        """The effect, unless the key is known."""
        stage = self.stage
        if kept := self._remembers(key):
            return kept
        now = stage.loop.seconds
        if stage.strikes("refused") and key not in self.effects:
            stage.journal.fault("gateway", "refused", id_of(key))
            reason = refusal(stage.chance_of("refused"), record.account)
            kept = Kept(now, 422, {"id": id_of(key), "status": "rejected", "reason": reason})
        else:
            amount, currency = record.amount, record.currency
            if stage.strikes("other_amount"):
                amount += 1
                stage.journal.fault("gateway", "other_amount", id_of(key))
            if stage.strikes("other_currency"):
                currency = "XTS"
                stage.journal.fault("gateway", "other_currency", id_of(key))
            effects = self.effects.setdefault(key, [])
            effects.append(Effect(id_of(key), amount, currency))
            if self.canary:
                self.canary = False
                effects.append(effects[0])
            stage.journal.tell("gateway", EFFECT, id_of(key), f"{amount} {currency}, its number {len(effects)}")
            receipt = stage.chance_of("receipt").choice((f"ref-{number_of(key)}", *RECEIPTS))
            stage.judge.receipts[id_of(key)].add(receipt)
            document = {"id": id_of(key), "status": "confirmed", "reference": receipt}
            kept = Kept(now, 200, {**document, "amount": amount, "currency": currency})
        self.kept[key] = kept
        if stage.strikes("not_yet"):
            self.shown_at[key] = max(now, stage.chance_of("not_yet").uniform(now, max(now, shown_by)))
            stage.journal.fault("gateway", "not_yet", id_of(key), f"shown {self.shown_at[key] - now:.1f} s later")
        return kept

    def console(self, record: Transaction) -> list[Kept]:
        """What its owner sees of a payment, under all its keys."""
        now = self.stage.loop.seconds
        return [self.kept[key] for key in record.keys if key in self.effects and self.shown_at.get(key, 0.0) <= now]

    def ask(self, key: str) -> Response:
        kept = self._remembers(key) if self.stage.setup.asks_forget else self.kept.get(key)
        if kept is None or self.shown_at.get(key, 0.0) > self.stage.loop.seconds:
            if key in self.effects:
                self.stage.journal.fault("gateway", "not found, though done", id_of(key))
            return answer(404, {"id": id_of(key), "status": "not_found"})
        return answer(200, kept.document)


def answer(status: int, document: dict[str, object], retry_after: str = "") -> Response:
    headers = {"content-type": "application/json"}
    if retry_after:
        headers["retry-after"] = retry_after
    return Response(status, headers, json.dumps(document).encode())


class Turns(Limiter):
    """A rate limit that sometimes leaves no turn for long."""

    def __init__(self, clock: Clock, life: Life) -> None:
        super().__init__(clock, 0)
        self._life = life

    def pause(self, seconds: float) -> None:
        self._paused_until = self._life.stage.loop.seconds + seconds

    async def wait(self, seconds: float) -> bool:
        stage = self._life.stage
        wait = max(0.0, self._paused_until - stage.loop.seconds)
        edge = self._past_a_key_window(seconds)
        if any(stage.strikes("slow_turn") for _ in range(1 if edge is None else NEAR)):
            chance, lease = stage.chance_of("slow_turn"), self._life.policy.lease.total_seconds()
            wait += chance.choice((chance.uniform(0, 1.5 * lease), chance.uniform(0, seconds)))  # or just in time
            wait = edge or wait
            stage.journal.fault(self._life.name, "slow_turn", "", f"{wait:.0f} s")
        if wait:
            await asyncio.sleep(min(wait, seconds))
        await self._life.step("turn")
        return wait <= seconds

    def _past_a_key_window(self, most: float) -> float | None:
        """Seconds until just after the end of somebody's key window, if that is soon: chance would seldom be there."""
        stage, policy = self._life.stage, self._life.policy
        ends = policy.key_window - policy.lease - policy.call_timeout + policy.clock_skew
        waits = [(sends[0].at + ends - stage.now()).total_seconds() for sends in stage.judge.unproven.values() if sends]
        soon = [wait for wait in waits if 0 < wait < most - 2]
        return min(soon) + stage.chance_of("edge").uniform(0.1, 2) if soon else None


NEAR = 5
"""So many times as often a turn is slow where it could outlive a key window."""


class SimulatedGateway:
    """The gateway as one life reaches it: `workers.domain.ports.Gateway`, behind the workers' own guard and breaker."""

    def __init__(self, ledger: Ledger, life: Life, breaker: CircuitBreaker | None = None) -> None:
        self.ledger = ledger
        self.life = life
        setup = life.stage.setup
        self.breaker = breaker or CircuitBreaker(life, BreakerPolicy(consecutive=setup.failures))
        self.breaker.silence.seconds = life.stage.loop.time
        self._guard = Guard(life, Turns(life, life), self.breaker, concurrency=setup.concurrency, wait_seconds=30.0)

    def turn(self, until: datetime | None = None) -> AbstractAsyncContextManager[object]:
        return self._guard.turn(until)

    def ready(self) -> bool:
        return self._guard.ready()

    def away(self) -> timedelta:
        return self.breaker.silence.lasted()

    def seen(self) -> Calls:
        return self._guard.seen()

    async def close(self) -> None: ...

    async def confirm(self, transaction: Transaction, key: str) -> Outcome:
        poison = await self._poison(transaction)
        outcome = await self._guard.run(lambda: self._confirm(transaction, key))
        return outcome if poison is None else poison()

    async def ask(self, transaction: Transaction, key: str) -> Outcome:
        poison = await self._poison(transaction)
        outcome = await self._guard.run(lambda: self._ask(transaction, key))
        return outcome if poison is None else poison()

    async def _poison(self, record: Transaction) -> Callable[[], Outcome] | None:
        """What an adapter makes of the gateway's answer for a transaction that is poisoned; or its process dies."""
        stage = self.life.stage
        if not stage.setup.poisoned or (kind := stage.setup.poisoned.get(number_of(record.id))) is None:
            return None
        stage.journal.fault(self.life.name, f"poison {kind}", record.id)
        if kind == "kills":
            self.life.die("of a poisoned transaction", record.id)
            await stage.loop.create_future()
        return _raises if kind == "raises" else partial(stage.chance_of("nonsense").choice, NONSENSE)

    async def _confirm(self, record: Transaction, key: str) -> Called:
        life, stage = self.life, self.life.stage
        stage.judge.calls("confirm", record.id, life.looked)
        send = stage.judge.sends(record, life.policy, stage.now(), life.now(), life.lease_of(record))
        stage.journal.tell(life.name, "sends", record.id, f"attempt {record.attempt}, token {record.token}")
        await life.step("send", record.id)
        timeout, grace = (one.total_seconds() for one in (life.policy.call_timeout, stage.setup.grace))
        latest = timeout + MOST_GRACE * grace
        shown_by = stage.loop.seconds + latest
        called = await self._not_done("confirm", record, send)
        if called is None and self._strikes("timeout_after", record):
            chance = stage.chance_of("timeout_after")
            delay = chance.choice((0.0, chance.uniform(0, latest)))
            stage.loop.call_later(delay, self.ledger.confirm, record, key, shown_by)
            called = await self._timed_out()
        if called is None:
            kept = self.ledger.confirm(record, key, shown_by)
            if self._strikes("duplicate", record):
                delay = stage.chance_of("duplicate").uniform(0, latest)
                stage.loop.call_later(delay, self.ledger.confirm, record, key, shown_by)
            called = await self._answered("confirm", record, key, answer(kept.status, kept.document), timeout / 2)
        return await self._told("confirm", record, called)

    async def _ask(self, record: Transaction, key: str) -> Called:
        life, stage = self.life, self.life.stage
        stage.judge.calls("ask", record.id, life.looked)
        stage.journal.tell(life.name, "asks", record.id)
        await life.step("ask", record.id)
        called = await self._not_done("ask", record)
        if called is None:
            called = await self._answered("ask", record, key, self.ledger.ask(key), 1.0)
        return await self._told("ask", record, called)

    async def _told(self, verb: Verb, record: Transaction, called: Called) -> Called:
        outcome = type(called.outcome).__name__
        self.life.stage.journal.tell(
            self.life.name, f"{verb}: {outcome}", record.id, getattr(called.outcome, "reason", "")
        )
        await self.life.step(f"after {verb}", record.id)
        return called

    def _strikes(self, fault: str, record: Transaction) -> bool:
        if struck := self.life.stage.strikes(fault):
            self.life.stage.journal.fault(self.life.name, fault, record.id)
        return struck

    async def _timed_out(self) -> Called:
        await asyncio.sleep(self.life.policy.call_timeout.total_seconds())
        return evidence.no_answer(HttpError("no answer in time", sent=True))

    async def _not_done(self, verb: Verb, record: Transaction, send: Send | None = None) -> Called | None:
        """A fault before the gateway does anything; None where none strikes. It may say so of `send`."""
        judge = self.life.stage.judge
        if self._during(self.life.stage.setup.outage):
            self.life.stage.journal.fault(self.life.name, "outage", record.id)
            return await self._timed_out()
        if self._strikes("not_connected", record):
            if send:
                judge.proven(record.id, send)
            return evidence.no_answer(HttpError("connection refused", sent=False))
        for fault, (status, word) in REFUSALS.items():
            if self._strikes(fault, record):
                said = answer(status, {"id": record.id, "status": word}, self._asks_for_rest(status))
                if send and fault in NOTHING_DONE:
                    judge.proven(record.id, send)
                return evidence.read(verb, said, record)
        return await self._timed_out() if self._strikes("timeout_before", record) else None

    def _asks_for_rest(self, status: int) -> str:
        return self.life.stage.chance_of("throttled").choice(RESTS) if status == 429 else ""

    def _during(self, time: tuple[float, float] | None) -> bool:
        stage = self.life.stage
        return time is not None and not stage.quiet and time[0] <= stage.loop.seconds < time[1]

    async def _answered(self, verb: Verb, record: Transaction, key: str, true: Response, within: float) -> Called:
        """What is heard of the gateway's answer, after whatever it did."""
        stage, timeout = self.life.stage, self.life.policy.call_timeout.total_seconds()
        if self._during(stage.setup.brown_out):
            stage.journal.fault(self.life.name, "brown_out", record.id)
            within = 1.5 * timeout
        wait = stage.chance_of(record.id).uniform(0.02, within)
        if wait >= timeout:
            return await self._timed_out()
        await asyncio.sleep(wait)
        heard = self._heard(record, true)
        if heard is true:
            self._hears(record, key, json.loads(true.body)["status"])
        return evidence.read(verb, heard, record)

    def _hears(self, record: Transaction, key: str, word: str) -> None:
        """The gateway's own word, as it said it."""
        judge, hold = self.life.stage.judge, (record.id, record.token)
        if word == "not_found":
            judge.unknown[hold].add(key)
            if judge.unknown[hold].issuperset(record.keys):
                judge.asked.add(hold)
        elif len(record.keys) > 1:  # one of its keys alone ends nothing
            return
        elif number_of(record.id) not in self.life.stage.setup.poisoned:
            judge.ended.add(hold)

    def _heard(self, record: Transaction, true: Response) -> Response:
        chance = self.life.stage.chance_of("heard")
        if self._strikes("error_after", record):
            return answer(500, {"id": record.id, "status": "error"})
        if self._strikes("stranger", record):
            return Response(*chance.choice(PAGES))
        if self._strikes("garbage", record):
            return garbage(chance, record.id)
        if self._strikes("mixed_up", record):
            return Response(true.status, true.headers, true.body.replace(record.id.encode(), b"another", 1))
        if self._strikes("cached", record):
            return Response(true.status, {**true.headers, "age": "7"}, true.body)
        return true


def number_of(id_: str) -> int:
    """Which transaction of a life it is."""
    found = re.match(r"(?:canary-)?t(\d+)", id_)
    return int(found[1]) if found else -1


def _raises() -> Outcome:
    raise RuntimeError(f"no attribute 'x' of {QUOTED[0]}, {QUOTED[5]}")


NONSENSE: Sequence[Any] = (
    None, "confirmed", 42, NotFound, ("ref", 1, "USD"), Confirmed("r", cast(Any, "100"), "USD"),
    Confirmed(cast(Any, None), 100, "USD"), Unknown(cast(Any, b"x")), Rejected(cast(Any, None)),
    Unknown("a\x00b\x1b[2J" + "y" * 5000), Unknown("half \ud800"),
)  # fmt: skip
"""What is no outcome, or of fields that are none. A refusal without a reason is one."""
REFUSALS: Mapping[str, tuple[int, str]] = {
    "unavailable": (503, "unavailable"),
    "throttled": (429, "rate_limited"),
    "key_refused": (401, "unauthorized"),
    "invalid": (400, "invalid"),
    "in_flight": (409, "processing"),
    "error_before": (500, "error"),
}
"""What the gateway says instead of doing anything."""
NOTHING_DONE = {"unavailable", "throttled", "key_refused", "invalid"}
"""Of these: the gateway's own statement that it did nothing."""
RECEIPTS = ("4111 1111 1111 1111", "rcpt 4000056655665556", "0042-DE89370400440532013000")
"""Of the gateway, as odd as a receipt may be."""
RESTS = ("", "1", "30", "86400", "Wed, 21 Oct 2026 07:28:00 GMT", "-1")
"""Retry-After, as gateways say it."""
PAGES: Sequence[tuple[int, dict[str, str], bytes]] = (
    (404, {"content-type": "text/html"}, b"<h1>not found</h1>"),
    (403, {"content-type": "text/html"}, b"<h1>forbidden</h1>"),
    (502, {"content-type": "text/html"}, b"<h1>bad gateway</h1>"),
    (200, {"content-type": "text/html"}, b"<h1>back soon</h1>"),
    (429, {"content-type": "text/plain", "retry-after": "5"}, b"slow down"),
    (302, {"location": "https://login.example/"}, b""),
)
"""Of those who answer in the gateway's place."""
