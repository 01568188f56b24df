"""What an operator sees of the work: put around store and gateway, of which neither they nor the core know anything.

Lost fences are logged. Spans are made when an attempt is over, of transactions that are sampled and of all that had
trouble: whatever did not end by evidence at its first try. The others leave nothing behind but a header.

    the transaction's own trace (`trace_id`)          the worker's trace
    transaction   from its creation to its end        run      serverless: the execution; fargate: a minute of a worker
      confirm     one for each attempt       ──link─▶   batch    serverless: an invocation
        claim                                             claim    one statement, for many transactions
        gateway confirm, gateway ask                      settle
        settle
      claim       that sent it to a desk     ──link─▶
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import time_ns
from typing import NamedTuple

from workers.domain.outcomes import Confirmed, NotFound, Outcome, Rejected
from workers.domain.ports import Claimed, Claims, Clock, Gateway, Look, Move, Source
from workers.domain.redaction import redact
from workers.domain.text import words
from workers.domain.transaction import Status, Transaction
from workers.telemetry import Telemetry
from workers.tracing import Context, Kind, Span, Value, calling, nanoseconds, new_id, samples, trace_id

MOST_SPANS = 5_000
"""Kept until they are sent; the oldest go first."""
MOST_CLAIMS = 100
ANNOTATIONS = ("tx", "run", "status")
"""What X-Ray can be searched for."""


class Call(NamedTuple):
    """One call to the gateway."""

    verb: str
    context: Context
    began: int
    ended: int
    result: str
    error: str


class ClaimTimes(NamedTuple):
    """One claim, for all transactions under its token."""

    began: int
    ended: int
    size: int


@dataclass
class Watch:
    """One worker's eyes."""

    telemetry: Telemetry
    clock: Clock
    run: str
    """Who is at work, as log lines have it."""
    sampling: float = 0.0
    """The share of transactions whose traces are kept, trouble apart."""
    here: Context = field(default_factory=lambda: Context("0" * 31 + "1", new_id(), sampled=False))
    """The run or batch that claims and settles belong to."""
    spans: deque[Span] = field(default_factory=lambda: deque(maxlen=MOST_SPANS))
    """To be sent."""
    kept: int = 0
    """Attempts that left spans, since `here` began."""
    _calls: dict[tuple[str, str | None], list[Call]] = field(default_factory=dict)
    """By id and token: of each claim."""
    _claims: dict[str, ClaimTimes] = field(default_factory=dict)
    _claim_spans: dict[str, Context] = field(default_factory=dict)
    """The claims that have spans of their own, under the run in which the first of their transactions was kept."""

    def whole(
        self,
        name: str,
        began: int,
        counts: Mapping[str, int],
        *,
        parent: str = "",
        error: str = "",
        links: Sequence[Context] = (),
    ) -> None:
        """`here` is over: its own span, where it is sampled, failed, or holds something that was kept."""
        if self.here.sampled or self.kept or error:
            attributes: dict[str, Value] = {"run": self.run, **counts, "aws.xray.annotations": ANNOTATIONS}
            self.spans.append(
                Span(*self.here[:2], parent, name, began, time_ns(), Kind.SERVER, attributes, error, links)
            )

    def take(self) -> list[Span]:
        """What is to be sent."""
        taken = list(self.spans)
        self.spans.clear()
        return taken

    # --- what the wrappers below say

    def claimed(self, claimed: Claimed, began: int) -> None:
        held, to_review = claimed
        if not held and not to_review:
            return
        token = (held[0].token if held else None) or new_id()
        self._claims[token] = claim = ClaimTimes(began, time_ns(), len(held) + len(to_review))
        if len(self._claims) > MOST_CLAIMS:
            self._claim_spans.pop(oldest := next(iter(self._claims)), None)
            del self._claims[oldest]
        for record in to_review:
            self._to_review(record, token, claim)

    def called(self, transaction: Transaction, call: Call) -> None:
        self._calls.setdefault((transaction.id, transaction.token), []).append(call)

    def settled(self, moves: Sequence[Move], won: Sequence[bool], began: int) -> None:
        all_won = all(won)
        if not all_won:
            lost = [move.before for move, ok in zip(moves, won, strict=True) if not ok]
            self.telemetry.lost(lost, self.clock.now(), self.run)
        if not self._calls and all_won:
            return
        ended, kept = time_ns(), self.kept
        for move, ok in zip(moves, won, strict=True):
            calls = self._calls.pop((move.before.id, move.before.token), None)
            if calls or not ok:
                self._attempt(move, calls or [], (began, ended), ok=ok)
        if self.kept > kept:
            self.spans.append(Span(self.here.trace, new_id(), self.here.span, "settle", began, ended))

    # --- spans

    def _claim(self, token: str, claim: ClaimTimes) -> Context:
        """The claim's own span, made for the first of its transactions that is kept."""
        if token not in self._claim_spans:
            self._claim_spans[token] = context = Context(self.here.trace, new_id())
            size = {"transactions": claim.size}
            self.spans.append(Span(*context[:2], self.here.span, "claim", claim.began, claim.ended, attributes=size))
        return self._claim_spans[token]

    def _attempt(self, move: Move, calls: Sequence[Call], settle: tuple[int, int], *, ok: bool) -> None:
        """The spans of one attempt, and of the whole transaction where it has come to an end."""
        before, after = move
        trace, me, status = trace_id(before), new_id(), after.status
        root = trace[16:]
        claim = self._claims.get(before.token or "")
        began = claim.began if claim else nanoseconds(before.history[-1].at)
        ended = settle[1]
        why = after.history[-1].why if ok else "lost fence: somebody else has taken over"
        attributes = self._attributes(before, status if ok else before.status, why)
        final = status in (Status.CONFIRMED, Status.REJECTED)
        links = (self._claim(before.token or "", claim),) if claim else ()
        error = "" if ok and final else why
        self.kept += 1
        self.spans.append(Span(trace, me, root, "confirm", began, ended, Kind.SERVER, attributes, error, links))
        if claim:
            self.spans.append(Span(trace, new_id(), me, "claim", claim.began, claim.ended))
        for call in calls:
            said = {"result": call.result, "peer.service": "gateway"}
            self.spans.append(
                Span(
                    trace=trace,
                    id=call.context.span,
                    parent=me,
                    name=f"gateway {call.verb}",
                    start=call.began,
                    end=call.ended,
                    kind=Kind.CLIENT,
                    attributes=said,
                    error=call.error,
                )
            )
        self.spans.append(Span(trace, new_id(), me, "settle", *settle))
        if ok and (final or status is Status.REVIEW):
            self._ended(after, ended)

    def _to_review(self, record: Transaction, token: str, claim: ClaimTimes) -> None:
        """The spans of one that a claim sent to a desk: no attempt was made."""
        trace, why = trace_id(record), record.history[-1].why
        attributes = self._attributes(record, record.status, why)
        links = (self._claim(token, claim),)
        self.kept += 1
        self.spans.append(
            Span(
                trace=trace,
                id=new_id(),
                parent=trace[16:],
                name="claim",
                start=claim.began,
                end=claim.ended,
                kind=Kind.SERVER,
                attributes=attributes,
                error=why,
                links=links,
            )
        )
        self._ended(record, claim.ended)

    def _ended(self, record: Transaction, ended: int) -> None:
        """The span of the whole transaction, from its creation to its end or to a desk."""
        trace, created = trace_id(record), nanoseconds(record.created_at)
        error = "" if record.status.is_final else record.history[-1].why
        attributes: dict[str, Value] = {
            "tx": record.id,
            "status": str(record.status),
            "attempts": record.attempt,
            "aws.xray.annotations": ANNOTATIONS,
        }
        self.spans.append(Span(trace, trace[16:], "", "transaction", created, ended, Kind.SERVER, attributes, error))

    def _attributes(self, record: Transaction, status: Status, why: str) -> dict[str, Value]:
        return {
            "tx": record.id,
            "attempt": record.attempt,
            "status": str(status),
            "why": why,
            "run": self.run,
            "aws.xray.annotations": ANNOTATIONS,
        }


@dataclass
class WatchedGateway:
    """A gateway, under watch: each call says to whose trace it belongs."""

    gateway: Gateway
    watch: Watch

    def __post_init__(self) -> None:
        self.turn, self.ready, self.seen = self.gateway.turn, self.gateway.ready, self.gateway.seen
        self.away = self.gateway.away

    async def confirm(self, transaction: Transaction, key: str) -> Outcome:
        return await self._call("confirm", self.gateway.confirm, transaction, key)

    async def ask(self, transaction: Transaction, key: str) -> Outcome:
        return await self._call("ask", self.gateway.ask, transaction, key)

    async def close(self) -> None:
        await self.gateway.close()

    async def _call(
        self, verb: str, call: Callable[[Transaction, str], Awaitable[Outcome]], transaction: Transaction, key: str
    ) -> Outcome:
        trace = trace_id(transaction)
        context = Context(trace, new_id(), samples(trace, self.watch.sampling))
        token = calling.set(context)
        began = time_ns()
        try:
            outcome = await call(transaction, key)
        except BaseException as error:
            self._record(verb, transaction, context, began, type(error).__name__, failed=True)
            raise
        finally:
            calling.reset(token)
        fine = isinstance(outcome, Rejected) or (
            isinstance(outcome, Confirmed)
            and (outcome.amount, outcome.currency) == (transaction.amount, transaction.currency)
        )
        if context.sampled or transaction.attempt > 1 or not fine:
            said = (
                ""
                if isinstance(outcome, Confirmed | NotFound)
                else f": {redact(words(outcome.reason), transaction.account)}"
            )
            bad = not fine and not isinstance(outcome, NotFound)
            self._record(verb, transaction, context, began, f"{type(outcome).__name__}{said}", failed=bad)
        return outcome

    def _record(
        self, verb: str, transaction: Transaction, context: Context, began: int, result: str, *, failed: bool
    ) -> None:
        self.watch.called(transaction, Call(verb, context, began, time_ns(), result, result if failed else ""))


@dataclass
class WatchedStore:
    """A store for batches (`workers.domain.confirming.Confirmer`), under watch."""

    store: Claims
    watch: Watch

    async def claim(
        self, *, token: str, by: str, limit: int, ids: Sequence[str] | None = None, late: bool = False
    ) -> Claimed:
        began = time_ns()
        claimed = await self.store.claim(token=token, by=by, limit=limit, ids=ids, late=late)
        self.watch.claimed(claimed, began)
        return claimed

    async def settle(self, moves: Sequence[Move]) -> list[bool]:
        began = time_ns()
        won = await self.store.settle(moves)
        self.watch.settled(moves, won, began)
        return won


@dataclass
class WatchedSource:
    """A source of the service's stream, under watch."""

    source: Source
    watch: Watch

    async def claim(self, limit: int, look: Look = Look.ONWARD) -> Claimed:
        began = time_ns()
        claimed = await self.source.claim(limit, look)
        self.watch.claimed(claimed, began)
        return claimed

    async def settle(self, moves: Sequence[Move]) -> list[bool]:
        began = time_ns()
        won = await self.source.settle(moves)
        self.watch.settled(moves, won, began)
        return won

    async def extend(self, transactions: Sequence[Transaction]) -> list[Transaction]:
        return await self.source.extend(transactions)
