"""How a batch is confirmed: claim, ask or send, settle. The same code in Lambda, in a container and in a simulator."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from workers.domain.causes import UNTRIED, Cause
from workers.domain.outcomes import Confirmed, NotFound, NotTried, Outcome, Unknown, admitted, together
from workers.domain.pause import Pause, Scope
from workers.domain.policy import LOST_WITH, Policy
from workers.domain.ports import Chance, Claims, Clock, Gateway, Move
from workers.domain.transaction import CANARY, Status, Transaction
from workers.domain.transitions import Answer, decide, may_resend, may_send


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of a batch, as counts. Canaries are claimed and may be lost; their outcomes are not counted."""

    claimed: int = 0
    confirmed: int = 0
    rejected: int = 0
    retried: int = 0
    """Back to PENDING after a call."""
    review: int = 0
    lost: int = 0
    """Fences lost: somebody else took over. Normal, and counted."""
    not_tried: int = 0
    """Back to PENDING, or left there, without a call."""

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(getattr(self, name) + getattr(other, name) for name in Tally.__slots__))


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch, done: its counts, each transaction that moved, and where the time went (seconds)."""

    tally: Tally
    settled: tuple[Transaction, ...] = ()
    claim_seconds: float = 0.0
    call_seconds: float = 0.0
    settle_seconds: float = 0.0


@dataclass(frozen=True)
class Confirmer:
    """Confirms batches of transactions over the ports that it is given."""

    store: Claims
    gateway: Gateway
    clock: Clock
    chance: Chance
    new_token: Callable[[], str]
    policy: Policy
    by: str
    """Who is at work, for the history."""
    lease_of: Callable[[Transaction], datetime | None] = lambda record: record.lease_until
    """Until when a held one is ours; a worker that renews leases knows better than the record."""
    pause: Callable[[], Pause | None] = lambda: None
    """What people have stopped, as this worker knows by now."""

    async def confirm_batch(
        self, limit: int, ids: Sequence[str] | None = None, stop_at: datetime | None = None
    ) -> Batch:
        """Claim up to `limit` (of `ids`), bring each as far as the gateway lets it, and settle all together.

        No call starts that could not end before `stop_at`. While the gateway can't be called, only that is claimed
        which no call helps any more: it goes to its desk without one.
        """
        late = not self.ready()
        start = self.clock.now()
        held, to_review = await self.store.claim(token=self.new_token(), by=self.by, limit=limit, ids=ids, late=late)
        left = max(0, len(ids or ()) - len(held) - len(to_review)) if late else 0
        claimed = self.clock.now()
        together, suspects = self.parted(held)
        moves = await asyncio.gather(*(self.conclude(record, stop_at) for record in together))
        called = self.clock.now()
        back = [self.set_back(record) for record in suspects[1:]]
        won = await self.store.settle([*moves, *back])
        settled = self.clock.now()
        won, stood = won[: len(moves)], won[len(moves) :]
        for n, record in enumerate(suspects):
            if n and not self._in_time(stop_at):  # a later batch sees to the rest
                moves, won = [*moves, *back[n - 1 :]], [*won, *stood[n - 1 :]]
                break
            alone = [record]
            if n:
                alone, ended = await self.store.claim(
                    token=self.new_token(), by=self.by, limit=1, ids=[record.id], late=late
                )
                to_review = [*to_review, *ended]
            ends = [await self.conclude(one, stop_at) for one in alone]
            moves, won = [*moves, *ends], [*won, *await self.store.settle(ends)]
        return Batch(
            tally(moves, won) + tally_of_review(to_review) + Tally(not_tried=left),
            (*to_review, *(move.after for move, ok in zip(moves, won, strict=True) if ok)),
            (claimed - start).total_seconds(),
            (called - claimed).total_seconds(),
            (settled - called).total_seconds(),
        )

    def ready(self) -> bool:
        """False while the gateway can't be called, or must not be: then claim nothing but what is late."""
        return self.gateway.ready() and not self._stopped()

    def _stopped(self) -> bool:
        pause = self.pause()
        return pause is not None and pause.scope is Scope.ALL

    def parted(self, held: Sequence[Transaction]) -> tuple[Sequence[Transaction], list[Transaction]]:
        """What may be called together, and what is called after it, each while nothing else is held.

        Of those that were lost together nobody can tell which one kills its worker. Called alone it takes nobody along,
        and in an order of chance it keeps nobody from his turn for ever.
        """
        if not any(map(is_suspect, held)):
            return held, []
        suspects = sorted((self.chance.random(), record) for record in held if is_suspect(record))
        return [record for record in held if not is_suspect(record)], [record for _, record in suspects]

    def set_back(self, record: Transaction, beside: int = 0) -> Move:
        """Held no longer, so that another suspect is called alone; `beside` so many others its turn comes when some of
        them have had theirs."""
        step = min(beside * LONE_TURN * self.policy.call_timeout, self.policy.retry_cap)
        answer = Answer(NotTried(Cause.SUSPECTED, wait=step * (0.1 + 0.9 * self.chance.random())), self.by)
        return Move(record, decide(record, answer, self.clock.now(), self.policy))

    def _in_time(self, stop_at: datetime | None) -> bool:
        return stop_at is None or self.clock.now() + self.policy.call_timeout <= stop_at

    @property
    def away(self) -> bool:
        """Whether the gateway could not be asked for so long that what was possibly sent goes to a desk unasked."""
        return self.gateway.away() >= self.policy.patience

    async def conclude(self, record: Transaction, stop_at: datetime | None = None) -> Move:
        """Ask or send for one held transaction, and decide what follows. Never raises for a gateway's fault."""
        answer = await self._answer(record, stop_at)
        if not isinstance(answer.outcome, Confirmed) and self.away:
            answer = answer._replace(away=True)
        after = decide(record, answer, self.clock.now(), self.policy, self.chance.random())
        return Move(record, after)

    async def _answer(self, record: Transaction, stop_at: datetime | None) -> Answer:
        asked, sent_earlier = False, record.sent_earlier
        try:
            if sent_earlier:
                heard: list[Outcome] = []
                for key in record.keys:
                    async with self.gateway.turn(self._until(record, stop_at)):
                        if trouble := self._no_call(record, self.clock.now(), stop_at):
                            short = Unknown("no time was left to ask about each of its keys")  # and so it ends
                            return Answer(short, self.by, asked=True) if heard else Answer(trouble, self.by)
                        asked = True
                        heard.append(admitted(await self.gateway.ask(record, key)))
                outcome = together(heard)
                if not isinstance(outcome, NotFound) or not may_resend(record, self.clock.now(), self.policy):
                    return Answer(outcome, self.by, asked=True)
                asked = False
            if not may_send(record, self.policy):  # a claim that found nothing to ask for never ends here
                return Answer(NotTried(Cause.NO_ATTEMPT_LEFT), self.by)
            if trouble := self._not_sent(record):  # before it takes a turn from those that ask
                return Answer(trouble, self.by)
            async with self.gateway.turn(self._until(record, stop_at)):
                now = self.clock.now()
                if trouble := self._no_call(record, now, stop_at) or self._not_sent(record):
                    return Answer(trouble, self.by)
                if sent_earlier and not may_resend(record, now, self.policy):
                    return Answer(NotFound(), self.by, asked=True)  # the wait for the turn took too long
                outcome = admitted(await self.gateway.confirm(record, record.key))
                if isinstance(outcome, NotFound):
                    outcome = Unknown("confirm answered 'not found', which only ask may")
                return Answer(outcome, self.by)
        except (Exception, asyncio.CancelledError) as error:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise  # it is we who are to end
            # Only a defect of an adapter gets here. The effect may have happened, so nothing is known.
            return Answer(Unknown(f"{type(error).__name__} in the gateway adapter"), self.by, asked=asked)

    def _until(self, record: Transaction, stop_at: datetime | None) -> datetime | None:
        """The last moment for a call of a batch that must end; None for a worker that renews its leases."""
        if stop_at is None or (lease_until := self.lease_of(record)) is None:
            return None
        return min(lease_until, stop_at) - self.policy.call_timeout

    def _no_call(self, record: Transaction, now: datetime, stop_at: datetime | None) -> NotTried | None:
        """Why no call may start now, checked right before each one: a slow batch outlives its leases."""
        ends = now + self.policy.call_timeout
        lease_until = self.lease_of(record)
        if lease_until is None or ends > lease_until:
            return NotTried(Cause.LEASE_SHORT)
        if stop_at is not None and ends > stop_at:
            return NotTried(Cause.TIME_SHORT)
        if self._stopped():
            return NotTried(Cause.PAUSED, unreachable=True)
        if not self.gateway.ready():
            return NotTried(Cause.BREAKER_OPEN, unreachable=True)
        return None

    def _not_sent(self, record: Transaction) -> NotTried | None:
        """What could not be sent by its deadline is not sent at all; what was sent is asked about, however late. And
        nothing is sent that a person has stopped."""
        now = self.clock.now()
        if now >= record.deadline:
            return NotTried(Cause.TOO_LATE)
        if (pause := self.pause()) is not None and pause.scope is Scope.SENDING:
            return NotTried(Cause.PAUSED, wait=pause.wait(now, self.policy, self.chance.random()))
        return None


LONE_TURN = 6
"""Calls that one suspect's turn takes of others' time at most: its question, its call, and others' turn after it."""


def is_suspect(record: Transaction) -> bool:
    """Whether workers were lost with it again and again: they may have died of it, or of one beside it."""
    return record.lost >= LOST_WITH


def tally_of_review(to_review: Sequence[Transaction]) -> Tally:
    """Count what a claim sent to a desk, instead of a call."""
    return Tally(claimed=len(to_review), review=sum(not record.is_canary for record in to_review))


def tally(moves: Sequence[Move], won: Sequence[bool]) -> Tally:
    """Count moves by what became of them."""
    ended = [
        after
        for (_, after), ok in zip(moves, won, strict=True)
        if ok and not (after.id.startswith(CANARY) and after.is_canary)  # the name first: this is the hot path
    ]
    count = Counter([record.status for record in ended])
    back = [record.history[-1].cause for record in ended if record.status is Status.PENDING]
    not_tried = sum(cause in UNTRIED for cause in back)
    return Tally(
        claimed=len(moves),
        confirmed=count[Status.CONFIRMED],
        rejected=count[Status.REJECTED],
        retried=len(back) - not_tried,
        review=count[Status.REVIEW],
        lost=len(moves) - sum(won),
        not_tried=not_tried,
    )
