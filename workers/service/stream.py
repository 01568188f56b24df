"""The stream: claims, calls and settles overlap, so neither gateway nor database ever waits for the other.

    claimers ──▶ ready ──▶ callers (as many as calls may run at once) ──▶ done ──▶ settler

While claims come back full, two are on their way at once: one alone would wait for each commit. What is done meanwhile
is settled together, so a busy database gets fewer and larger statements.
Each part waits for its own thing only. What is held is bounded (WINDOW, AHEAD); leases of slow calls are renewed.
Nothing here knows the database: it is the `Source` that may be lost and come back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import monotonic

from workers.domain.causes import Cause
from workers.domain.confirming import Confirmer, Tally, tally, tally_of_review
from workers.domain.outcomes import NotTried
from workers.domain.ports import Look, Move, Source
from workers.domain.transaction import Transaction
from workers.domain.transitions import Answer, decide

WINDOW = 8
"""Batches held at most: called, done and being settled."""
AHEAD = 1
"""Batches that may wait for callers when one more is claimed: others may have free ones."""
RENEW_AT = 3
"""Leases are renewed when a third of them has passed."""
LATE_SHARE = 9
"""While the gateway can't be called, a look for what is late goes through all that is due: it may take a tenth of the
time, except for full batches of it."""
OPEN_SHARE = 2
"""After the turn of a suspect the stream is everybody's for so many times as long as it was the suspect's."""
SETTLE_RESERVE = timedelta(seconds=5)
"""Kept of the time to stop in: no call begins that could eat into it."""


@dataclass
class Totals:
    """What was done since it was last taken, for metrics."""

    tally: Tally = field(default_factory=Tally)
    claim_seconds: float = 0.0
    call_seconds: float = 0.0
    settle_seconds: float = 0.0


Report = Callable[[Sequence[Transaction]], None]
"""Told of the transactions of a batch whose moves were written, and of those that a claim sent to a desk."""


Hold = tuple[str, str | None]
"""Id and token: a claim, not a transaction. After an outage longer than a lease we may hold the same one twice, and the
call of the first claim must not live by the lease of the second."""


def hold_of(record: Transaction) -> Hold:
    return record.id, record.token


@dataclass
class Stream:
    """One stream over one source; `run` it until `stop` is set."""

    source: Source
    confirmer: Callable[[], Confirmer]
    """The present one."""
    batch: int
    callers: int
    poll: timedelta
    report: Report
    stop_within: timedelta = timedelta(seconds=100)
    totals: Totals = field(default_factory=Totals)
    held: dict[Hold, Transaction] = field(default_factory=dict)
    """In our hands, with the lease as renewed last."""
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when there may be something new to claim."""

    def __post_init__(self) -> None:
        self._ready: deque[Transaction] = deque()
        self._done: list[Move] = []
        self._idle: deque[asyncio.Future[None]] = deque()
        self._settling = asyncio.Event()
        self._room = asyncio.Event()
        self._more = asyncio.Event()
        self._holding = asyncio.Event()
        """Something may be held, whose lease ends."""
        self._window, self._ahead = (share * max(self.batch, self.callers) for share in (WINDOW, AHEAD))
        self._suspect: Transaction | None = None
        """Workers may die of it: it is called when nothing else is held, and nothing is claimed meanwhile."""
        self._alone: Transaction | None = None
        """The same, once it is called."""
        self._shut_at = self._shut_again = 0.0
        """Since when nothing is claimed for its sake, and until when the next suspect waits."""
        self._stopping = False
        self._stop_at: datetime | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; then claims no more, ends or releases what is held, and returns.

        Whatever fails for good (a defect, the database gone for longer than leases last) is raised.
        """
        claimers = [asyncio.create_task(self._claim(stop)), asyncio.create_task(self._claim_more(stop))]
        stopper = asyncio.create_task(stop.wait())
        callers = [asyncio.create_task(self._call()) for _ in range(self.callers)]
        settler = asyncio.create_task(self._settle())
        renewer = asyncio.create_task(self._renew())
        everything = {*claimers, *callers, settler, renewer, stopper}
        try:
            await asyncio.wait(everything, return_when=asyncio.FIRST_COMPLETED)
            for task in everything - {stopper}:
                if task.done():
                    task.result()
            with contextlib.suppress(TimeoutError):  # what is still held then comes back when its lease is over
                async with asyncio.timeout(self.stop_within.total_seconds()):
                    self._stop_at = self.confirmer().clock.now() + self.stop_within - SETTLE_RESERVE
                    for waited_for in (self.wake, self._room, self._more):
                        waited_for.set()
                    await asyncio.gather(*claimers)
                    self._release_callers()
                    await asyncio.gather(*callers)
                    self._settling.set()
                    await settler
        finally:
            for task in everything:
                task.cancel()
            await asyncio.gather(*everything, return_exceptions=True)

    def lease_of(self, record: Transaction) -> datetime | None:
        """Until when we hold it, renewals included."""
        return self.held.get(hold_of(record), record).lease_until

    # --- the parts

    async def _claim(self, stop: asyncio.Event) -> None:
        loop, poll = asyncio.get_running_loop(), self.poll.total_seconds()
        swept = -poll
        looked = -poll  # for what is late
        while not stop.is_set():
            if not self._has_room():
                await self._room.wait()  # `run` sets it too, once it is to stop
            elif not self.confirmer().ready():
                # claims nothing that could not be called, but for what no call helps any more
                if (now := loop.time()) >= looked:
                    count = await self._claim_batch(Look.LATE)
                    took = loop.time() - now
                    if count >= self.batch:
                        continue  # as fast as the store takes it
                    looked = loop.time() + max(poll, LATE_SHARE * took)
                await _set_within(stop, min(poll, 0.5))
            else:
                self.wake.clear()
                now = loop.time()
                look = Look.ONWARD
                if now - swept >= poll:
                    swept, look = now, Look.SWEEP
                if not await self._claim_batch(look):
                    await _set_within(self.wake, max(0.0, swept + poll - loop.time()))  # `run` sets it too

    async def _claim_more(self, stop: asyncio.Event) -> None:
        """Beside the other claim, as long as they come back full."""
        while not stop.is_set():
            if not self._more.is_set():
                await self._more.wait()  # `run` sets it too, once it is to stop
            elif not self._has_room():
                await self._room.wait()
            elif self.confirmer().ready():
                await self._claim_batch(Look.BESIDE)
            else:
                self._more.clear()

    async def _claim_batch(self, look: Look) -> int:
        """How many: those that went to desks are among them."""
        loop, limit = asyncio.get_running_loop(), min(self.batch, self._window - len(self.held))
        began = loop.time()
        held, to_review = await self.source.claim(limit, look)
        self.totals.claim_seconds += loop.time() - began
        if to_review:
            self.totals.tally += tally_of_review(to_review)
            self.report(to_review)
        if held:
            self._take(held)
        count = len(held) + len(to_review)
        if count == limit:
            self._more.set()
        else:
            self._more.clear()
        return count

    def _has_room(self) -> bool:
        """For as many as may be called at once; else `_room` is set when there is."""
        room = self._window - len(self.held)
        if (
            self._alone is None
            and self._suspect is None
            and room >= min(self.batch, self.callers)
            and len(self._ready) <= self._ahead
        ):
            return True
        self._room.clear()
        return False

    def _take(self, records: Sequence[Transaction]) -> None:
        for record in records:
            self.held[hold_of(record)] = record
        together, suspects = self.confirmer().parted(records)
        self._ready.extend(together)
        self._holding.set()
        if suspects:
            self._part(suspects)
        self._call_alone()
        self._rouse(2)

    def _part(self, suspects: list[Transaction]) -> None:
        """One of them waits for all others to be settled; the rest is held no longer, for it would be lost with it."""
        now = asyncio.get_running_loop().time()
        if self._suspect is None and self._alone is None and now >= self._shut_again and not self._stopping:
            self._suspect, self._shut_at = suspects.pop(), now
        self._done += [self.confirmer().set_back(record, len(suspects)) for record in suspects]
        self._settling.set()

    def _call_alone(self) -> None:
        """The one that is suspected, where all others are settled."""
        if self._alone is not None and hold_of(self._alone) not in self.held:
            now = asyncio.get_running_loop().time()
            self._alone, self._shut_again = None, now + OPEN_SHARE * (now - self._shut_at)
        if self._suspect is not None and len(self.held) == 1:
            self._alone, self._suspect = self._suspect, None
            self._ready.append(self._alone)
            self._rouse(1)

    def _rouse(self, callers: int) -> None:
        """Each roused caller rouses two more while there is work: all of them in a few turns of the loop, and hardly
        any in vain where calls return at once (waking a hundred for a batch that one ended took 4 us a transaction)."""
        for _ in range(min(callers, len(self._ready), len(self._idle))):
            self._idle.popleft().set_result(None)

    async def _call(self) -> None:
        loop, ready, began = asyncio.get_running_loop(), self._ready, monotonic()
        while True:
            if not ready:
                if self._stopping:
                    return
                waiting: asyncio.Future[None] = loop.create_future()
                self._idle.append(waiting)
                await waiting
                self._rouse(2)
                began = monotonic()
                continue
            record = ready.popleft()
            if len(ready) == self._ahead:
                self._room.set()
            if self._stopping:
                self._done.append(_untouched(record, self.confirmer()))
                self._settling.set()
                continue
            move = await self.confirmer().conclude(record, self._stop_at)
            began, since = monotonic(), began
            self.totals.call_seconds += began - since
            self._done.append(move)
            self._settling.set()

    async def _settle(self) -> None:
        """One statement at a time; while it is on its way, what the one before it brought is counted and told."""
        loop = asyncio.get_running_loop()
        settled: list[Move] = []
        won: list[bool] = []
        while True:
            moves, self._done = self._done, []
            if moves:
                began = loop.time()
                if settled:
                    answer, _ = await asyncio.gather(self.source.settle(moves), self._settled(settled, won))
                else:
                    answer = await self.source.settle(moves)
                self.totals.settle_seconds += loop.time() - began
                settled, won = moves, answer
            elif settled:
                await self._settled(settled, won)
                settled, won = [], []
            elif self._stopping and not self.held:
                return
            else:
                self._settling.clear()
                await self._settling.wait()

    async def _settled(self, moves: Sequence[Move], won: Sequence[bool]) -> None:
        """A coroutine only to begin after the statement beside it."""
        self.totals.tally += tally(moves, won)
        for before, _ in moves:
            self.held.pop(hold_of(before), None)
        self._call_alone()
        self._room.set()
        self.report([after for (_, after), ok in zip(moves, won, strict=True) if ok])

    async def _renew(self) -> None:
        """Keep the leases of calls that take long; a lease that is lost is simply not renewed, and its fence stands."""
        while True:
            if not self.held:
                self._holding.clear()
                await self._holding.wait()
            confirmer = self.confirmer()
            lease = confirmer.policy.lease
            await asyncio.sleep(lease.total_seconds() / RENEW_AT / 2)
            soon = confirmer.clock.now() + lease * (RENEW_AT - 1) / RENEW_AT
            old = [record for record in self.held.values() if record.lease_until and record.lease_until < soon]
            if old:
                for record in await self.source.extend(old):
                    if (hold := hold_of(record)) in self.held:
                        self.held[hold] = record

    # --- the end

    def _release_callers(self) -> None:
        self._stopping = True
        if self._suspect is not None:
            self._ready.append(self._suspect)
            self._suspect = None
        while self._idle:
            self._idle.popleft().set_result(None)


async def _set_within(event: asyncio.Event, seconds: float) -> None:
    """Until it is set, or so many seconds are over. A task for each wait would be most of what an idle service does."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _untouched(record: Transaction, confirmer: Confirmer) -> Move:
    answer = Answer(NotTried(Cause.STOPPING), confirmer.by)
    return Move(record, decide(record, answer, confirmer.clock.now(), confirmer.policy))
