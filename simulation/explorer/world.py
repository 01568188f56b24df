"""The world of one transaction: what everybody knows, and every next step that anybody may take."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import NamedTuple

from simulation.explorer.driver import ASK, CONFIRM, TURN, Driver, Heard
from simulation.judge import Judge, Send
from simulation.oracles import LINES
from workers.domain import transitions
from workers.domain.exits import AskNow, Redrive, Refused
from workers.domain.outcomes import Confirmed, NotFound, Outcome, Rejected, Retryable, Unknown
from workers.domain.policy import Policy
from workers.domain.transaction import Status, Transaction
from workers.domain.transitions import LEAST_TRIES, Claim, decide, extended
from workers.stores.common import arrived

START = datetime(2026, 1, 5, 9, tzinfo=UTC)
TICK = timedelta(seconds=10)
"""All times are whole numbers of it, and so is all that the policy says."""
NAMES = ("A", "B")
NOBODY = "-"
"""The token of a worker that died: no matter which."""
OPEN = (Status.PENDING, Status.PROCESSING)
MOST_STEPS = 200
"""Of a way to the end: a longer one does not end."""
OLDEST = -3
"""So many versions ago, and more, are alike: nobody's write may stand on them."""


@cache
def at(tick: int) -> datetime:
    return START + tick * TICK


@dataclass(frozen=True, slots=True)
class Shape:
    """What is played: the policy in ticks, and who may do what."""

    name: str
    horizon: int
    """The last tick."""
    deadline: int
    lease: int = 3
    apart: int = 1
    call: int = 1
    grace: int = 2
    window: int = 8
    """Of the key window what is left for resends: a lease less, for a worker that stands still before the wire."""
    retry: int = 1
    attempts: int = 2
    off: tuple[int, int] = (0, 1)
    """How far ahead each worker's clock is."""
    central: bool = False
    """Claims go by the datastore's clock, as in PostgreSQL."""
    renews: bool = False
    """Leases of slow calls are renewed, as by the service; else a call must end with its lease."""
    redrives: int = 0
    forgets: bool = True
    """Asked about a key that it has forgotten, the gateway says that it knows nothing of it."""
    refuses: bool = True
    """The gateway may refuse the payment, or move another amount."""

    @property
    def known(self) -> int:
        """The key window: so long the gateway knows a key."""
        return self.window + self.lease

    @property
    def policy(self) -> Policy:
        return Policy(
            lease=self.lease * TICK,
            clock_skew=self.apart * TICK,
            max_attempts=self.attempts,
            retry_base=self.retry * TICK,
            retry_cap=self.retry * TICK,
            call_timeout=self.call * TICK,
            grace=self.grace * TICK,
            key_window=self.known * TICK,
            review_within=self.deadline * TICK,
        )


class Worker(NamedTuple):
    """One that holds the transaction, or thinks that it does."""

    record: Transaction
    """As it claimed it."""
    lease_until: datetime | None
    heard: tuple[Heard, ...] = ()
    waits: str = TURN
    """TURN, ASK, CONFIRM; or "" when it knows what to write."""
    began: int = 0
    """When the call began."""
    until: int = 0
    """Before that it reaches the gateway: no worker stands still for longer than the key window lasts, we assume."""
    answer: Outcome | None = None
    """On its way back to it."""
    asked: bool = False
    """Whether the gateway has said under this claim that it knows nothing of it."""
    after: Transaction | None = None
    """What it wants to write."""


class Gateway(NamedTuple):
    verdict: str = ""
    """What it did when it first heard of the key: "done", "other amount", "refused"."""
    effects: int = 0
    known_since: int = 0
    late: tuple[int, ...] = ()
    """Until when it may still do each call that nobody waits for any more."""


class State(NamedTuple):
    now: int
    record: Transaction
    workers: tuple[Worker | None, Worker | None]
    operator: Transaction | None
    """What it has read, and means to send back."""
    redrives: int
    """How many it has left."""
    gateway: Gateway
    sends: tuple[int, ...]
    """When each began of which nothing proves that it did nothing."""


class Found(NamedTuple):
    """An invariant that does not hold."""

    invariant: str
    found: str


class Step(NamedTuple):
    who: str
    what: str
    state: State
    found: tuple[Found, ...] = ()
    good: bool = False
    """Without a fault: so it goes on once they have stopped."""


INVARIANTS = {
    "two effects": "The gateway does its effect once at most.",
    "ledger": "CONFIRMED has its effect with the right amount, REJECTED has none.",
    "fence": "Nobody writes what he does not hold.",
    "two holders": "Nobody claims while a lease stands.",
    "final moved": "CONFIRMED and REJECTED never change.",
    "lease": "No call begins that its lease could end in.",
    "deadline": "Nothing is sent past its deadline.",
    "asked first": "What may have been sent is asked about before it is sent again.",
    "grace": "Nothing is sent again before the grace period is over.",
    "key window": "Nothing is sent again past the key window, counted from the first send.",
    "history": "Every write has its line, with a cause that leads from its state to the next.",
    "desk": "REVIEW has a reason, an owner and a deadline.",
    "stuck": "From every state a final one, or a desk, is reached without one more fault.",
}


def stands(stood: Transaction, before: Transaction) -> bool:
    """The condition of every write: the version and the token of the claim."""
    return (stood.version, stood.token) == (before.version, before.token)


def lies_there(stood: Transaction, read: Transaction) -> bool:
    """The same of an operator's write: what was read on the desk lies there still."""
    return stands(stood, read)


class World:
    def __init__(self, shape: Shape, *, reduced: bool = True) -> None:
        """`reduced`: a worker that can neither write nor send any more is taken for dead, which is what it is to all
        others. A broken fence needs it alive."""
        self.shape = shape
        self.reduced = reduced
        self.policy = shape.policy
        self.driver = Driver(self.policy, bounded=not shape.renews)
        hopeless = shape.deadline + self.policy.patience // TICK + shape.deadline
        # more make no difference: the wait has no longer step, and no rule counts further within the horizon
        self._most_tries = LEAST_TRIES - 1 if shape.horizon + max(shape.off) < hopeless else self.policy.most_claims
        self._next: dict[tuple[Transaction, tuple[Heard, ...]], tuple[str | Transaction, tuple[Heard, ...]]] = {}
        self._ends: dict[State, int] = {}
        self._ways: dict[tuple[Transaction, Hashable], tuple[Heard, ...]] = {}

    def begin(self) -> State:
        made = Transaction("t", "acct", 100, "USD", START, at(self.shape.deadline))
        record = self._plain(arrived(made, START))._replace(version=0)
        return State(0, record, (None, None), None, self.shape.redrives, Gateway(), ())

    # --- what may happen next

    def steps(self, state: State) -> Iterator[Step]:
        """As many as they like, until the horizon."""
        if state.now < self.shape.horizon:
            yield self._later(state)
        for number, worker in enumerate(state.workers):
            yield from self._idle(state, number) if worker is None else self._busy(state, number, worker)
        yield from self._operator(state)
        if state.gateway.late:
            left = state.gateway._replace(late=state.gateway.late[1:])
            for gateway, what, _ in self._does(state, left):
                yield self._step("gateway", f"late: {what}", state._replace(gateway=gateway))

    def _later(self, state: State) -> Step:
        now = state.now + 1
        late = tuple(until for until in state.gateway.late if until >= now)
        gateway = state.gateway
        if gateway.verdict == "refused":
            late = ()  # it does nothing any more, whoever calls
        elif gateway.verdict:
            late = tuple(until for until in late if until >= gateway.known_since + self.shape.known)
        state = state._replace(now=now, gateway=gateway._replace(late=late))
        return self._step("", "time passes", self._forgotten(state))

    def _forgotten(self, state: State) -> State:
        """Times that lie further back than any rule looks are alike."""
        record, shape = state.record, self.shape
        oldest = state.now - shape.known - shape.call - 2 * shape.apart - 1
        if oldest <= 0:
            return state
        first = record.first_sent_at and max(record.first_sent_at, at(oldest))
        last = record.last_sent_at and max(record.last_sent_at, at(oldest))
        sends = tuple(max(one, oldest) for one in state.sends)
        known = max(state.gateway.known_since, oldest) if state.gateway.verdict else 0
        one, other = (busy and busy._replace(began=max(busy.began, oldest)) for busy in state.workers)
        record = record._replace(first_sent_at=first, last_sent_at=last)
        workers, gateway = (one, other), state.gateway._replace(known_since=known)
        return state._replace(record=record, workers=workers, sends=sends, gateway=gateway)

    def _local(self, state: State, number: int) -> datetime:
        return at(state.now + self.shape.off[number])

    def _store_time(self, state: State, number: int) -> datetime:
        return at(state.now) if self.shape.central else self._local(state, number)

    def _idle(self, state: State, number: int) -> Iterator[Step]:
        now, record = self._store_time(state, number), state.record
        if not transitions.claimable(record, now, self.policy):
            return
        after = decide(record, Claim(NAMES[number], NAMES[number]), now, self.policy)
        found = [*self._claims(record, at(state.now)), *self._line(record, after)]
        state = self._written(state, after)
        if after.status is Status.PROCESSING:
            waits, _ = self._waits(state.record, ())
            held = Worker(state.record, after.lease_until)
            wants = waits if isinstance(waits, Transaction) else None
            held = held._replace(waits="", after=self._plain(wants)) if wants else held._replace(waits=str(waits))
            state = self._with(state, number, held)
        yield self._step(NAMES[number], _moved(record, after), state, found, good=True)

    def _busy(self, state: State, number: int, worker: Worker) -> Iterator[Step]:
        name = NAMES[number]
        yield self._step(name, "dies", self._dead(state, number, worker))
        if self.shape.renews and (renewed := self._renewed(state, number, worker)):
            yield self._step(name, "renews its lease", renewed)
        if worker.after is not None:
            yield from self._settles(state, number, worker, worker.after)
        elif worker.waits == TURN:
            yield self._hears(state, number, worker, "gets its turn", good=True)
            yield self._hears(state, number, worker, "may not call: circuit breaker open", ready=False)
            if state.now * TICK >= self.policy.patience:
                what = "may not call, and could not for long"
                yield self._hears(state, number, worker, what, ready=False, away=True)
        elif worker.answer is not None:
            yield self._hears(state, number, worker, f"hears: {_said(worker.answer)}", worker.answer, good=True)
            if not isinstance(worker.answer, Unknown):
                yield self._hears(state, number, worker, "hears nothing of the answer", Unknown("no answer"))
        elif worker.waits == CONFIRM:
            yield from self._called(state, number, worker)

    def _called(self, state: State, number: int, worker: Worker) -> Iterator[Step]:
        """The gateway's side of a call, which is on its way."""
        if state.now < worker.until:
            for gateway, what, answer in self._does(state, state.gateway):
                there = self._with(state, number, worker._replace(answer=answer))
                yield self._step("gateway", what, there._replace(gateway=gateway), good=True)
        sends = list(state.sends)
        if worker.began in sends:
            sends.remove(worker.began)  # proven: it did nothing
        for counts in (True, False):
            busy = worker._replace(answer=Retryable("not done", counts))
            what = "says that it did nothing" + ("" if counts else ", and asks to be called less often")
            yield self._step("gateway", what, self._with(state, number, busy)._replace(sends=tuple(sends)))
        gone = state._replace(gateway=self._left(state, worker))
        yield self._hears(gone, number, worker, "hears nothing in time", Unknown("no answer"))

    def _left(self, state: State, worker: Worker, *, waiting: bool = False) -> Gateway:
        """A call that nobody waits for any more: it is done within the grace period after its end, or never."""
        ended = worker.until - 1 if waiting else min(state.now, worker.until - 1)
        # what it has received while it knew the key of another call, it knows for the same
        until = min(ended + self.shape.grace, worker.until - 1)
        if until < state.now:
            return state.gateway
        return state.gateway._replace(late=tuple(sorted((*state.gateway.late, until))))

    def _dead(self, state: State, number: int, worker: Worker) -> State:
        if worker.waits == CONFIRM and worker.answer is None:
            state = state._replace(gateway=self._left(state, worker))
        if state.record.token == NAMES[number]:
            state = state._replace(record=state.record._replace(token=NOBODY))
        return self._with(state, number, None)

    def _does(self, state: State, gateway: Gateway) -> Iterator[tuple[Gateway, str, Outcome]]:
        """The call arrives: the first time, or once the key is forgotten, there is an effect, or a refusal for good."""
        forgotten = self._forgets(state)
        if gateway.verdict and (gateway.verdict == "refused" or not forgotten):
            yield gateway, "knows the key, and does nothing more", self._told(gateway)
            return
        verdicts = ("done",) if gateway.verdict else ("done", "refused", "other amount")
        for verdict in verdicts if self.shape.refuses else ("done",):
            effects = gateway.effects + (verdict != "refused")
            made = gateway._replace(verdict=verdict, effects=effects, known_since=state.now)
            what = "refuses it" if verdict == "refused" else "MOVES THE MONEY"
            yield made, what + (", of another amount" if verdict == "other amount" else ""), self._told(made)

    def _forgets(self, state: State) -> bool:
        """Whether the key is past its window."""
        return state.now >= state.gateway.known_since + self.shape.known

    def _told(self, gateway: Gateway) -> Outcome:
        if gateway.verdict == "refused":
            return Rejected("no funds")
        return Confirmed("ref", 100 if gateway.verdict == "done" else 101, "USD")

    def _answers(self, state: State) -> Outcome:
        """To a question."""
        gateway = state.gateway
        if not gateway.verdict or (self.shape.forgets and self._forgets(state)):
            return NotFound()
        return self._told(gateway)

    def _hears(
        self, state: State, number: int, worker: Worker, what: str, outcome: Outcome | None = None,
        *, ready: bool = True, away: bool = False, good: bool = False,
    ) -> Step:  # fmt: skip
        """The worker goes on, up to where it waits next."""
        local = self._local(state, number)
        asked = worker.asked or (worker.waits == ASK and isinstance(outcome, NotFound))
        heard = (*worker.heard, Heard(local, worker.lease_until, outcome, ready, away))
        waits, heard = self._waits(worker.record, heard)
        found: list[Found] = []
        busy = worker._replace(heard=heard, answer=None, asked=asked)
        if not isinstance(waits, str):
            found = self._line(worker.record, waits)
            busy = busy._replace(waits="", heard=(), after=self._plain(waits))
        elif waits == ASK:
            busy = busy._replace(waits=ASK, answer=self._answers(state))
            what += ", and asks"
        elif waits == CONFIRM:
            judge = Judge()
            judge.unproven["t"] = [Send(at(began)) for began in state.sends]
            judge.asked = {("t", worker.record.token)} if asked else set()
            judge.sends(worker.record, self.policy, at(state.now), local, worker.lease_until)
            found = [Found(one.oracle, one.found) for one in judge.violations]
            state = state._replace(sends=(*state.sends, state.now))
            busy = busy._replace(waits=CONFIRM, began=state.now, until=state.sends[0] + self.shape.known)
            what += ", and SENDS"
        else:
            busy = busy._replace(waits=waits)
        return self._step(NAMES[number], what, self._with(state, number, busy), found, good=good)

    def _waits(self, record: Transaction, heard: tuple[Heard, ...]) -> tuple[str | Transaction, tuple[Heard, ...]]:
        """What it waits for, or wants to write; and the first way there that was seen, which stands for all."""
        asked = record, heard
        if asked not in self._next:
            waits, place = self.driver.next(record, heard)
            self._next[asked] = waits, self._ways.setdefault((record, place), heard) if isinstance(waits, str) else ()
        return self._next[asked]

    def _settles(self, state: State, number: int, worker: Worker, after: Transaction) -> Iterator[Step]:
        name = NAMES[number]
        if not stands(state.record, worker.record):
            yield self._step(name, "comes too late to write", self._with(state, number, None), good=True)
            return
        found = list(self._writes(state.record, worker.record))
        written = self._written(state, after)
        what = _moved(worker.record, after)
        yield self._step(name, what, self._with(written, number, None), found, good=True)
        yield self._step(name, f"{what}, and hears nothing of it: it writes again", written, found)

    def _renewed(self, state: State, number: int, worker: Worker) -> State | None:
        stood = state.record
        if stood.status is not Status.PROCESSING or not stands(stood, worker.record):
            return None
        until = extended(stood, self._store_time(state, number), self.policy).lease_until
        if until == stood.lease_until:
            return None
        state = state._replace(record=stood._replace(lease_until=until))
        return self._with(state, number, worker._replace(lease_until=until))

    def _operator(self, state: State) -> Iterator[Step]:
        stood = state.record
        if stood.status is Status.REVIEW and state.redrives and state.operator != stood:
            yield self._step("operator", "reads it on the desk", state._replace(operator=stood))
        if (read := state.operator) is None or not state.redrives:
            return
        if not lies_there(stood, read):
            yield self._step("operator", "comes too late to send it back", state._replace(operator=None))
            return
        for event in (Redrive("ana", "ben", "looked into it"), AskNow("ana", "ben", "looks into it")):
            try:
                after = decide(read, event, at(state.now), self.policy)
            except Refused:
                yield self._step("operator", "is refused", state._replace(operator=None))
                continue
            found = [*self._writes(stood, read), *self._line(read, after)]
            written = self._written(state, after)._replace(redrives=state.redrives - 1)
            yield self._step("operator", _moved(read, after), written._replace(operator=None), found)
            yield self._step("operator", "sends it back, hears nothing of it, and means to try again", written, found)

    # --- writing

    def _written(self, state: State, after: Transaction) -> State:
        """`after` stands now: what others hold is a version older than before."""
        newer = after.version - state.record.version
        stood = self._plain(after)._replace(version=0)

        def older(record: Transaction) -> Transaction:
            return record._replace(version=max(OLDEST, record.version - newer))

        def aged(worker: Worker | None) -> Worker | None:
            if worker is None:
                return None
            wants = worker.after and older(worker.after)
            return worker._replace(record=older(worker.record), after=wants)

        first, second = state.workers
        operator = state.operator and older(state.operator)
        return state._replace(record=stood, workers=(aged(first), aged(second)), operator=operator)

    def _plain(self, record: Transaction) -> Transaction:
        """Without what no rule looks at."""
        due = record.next_attempt_at
        if due is not None:  # claims begin at whole ticks
            due = START - (START - due) // TICK * TICK
        return record._replace(
            history=(), reason=None, owner=None, settled_at=None, gateway_reference=None, asked=0,
            review_by=record.review_by and START, desk_by=record.desk_by and START,
            tries=min(record.tries, self._most_tries), next_attempt_at=due,
        )  # fmt: skip

    def _with(self, state: State, number: int, worker: Worker | None) -> State:
        first, second = state.workers
        return state._replace(workers=(worker, second) if number == 0 else (first, worker))

    def _harmless(self, state: State, number: int, worker: Worker) -> bool:
        """Whether one that may not write any more will not send either: not now, so never, for its lease only ends."""
        if worker.after is not None or worker.waits == CONFIRM:
            return True
        local = self._local(state, number)
        heard = (*worker.heard, Heard(local, worker.lease_until, worker.answer))
        waits, _ = self._waits(worker.record, heard)
        if waits == TURN:
            waits, _ = self._waits(worker.record, (*heard, Heard(local, worker.lease_until)))
        return not isinstance(waits, str)

    # --- what must hold

    @staticmethod
    def _claims(stood: Transaction, now: datetime) -> Iterator[Found]:
        if stood.status.is_final:
            yield Found("final moved", f"{stood.status} was claimed")
        if stood.status is Status.PROCESSING and stood.lease_until and now < stood.lease_until:
            yield Found("two holders", f"claimed with {stood.lease_until - now} of a lease left")

    @staticmethod
    def _writes(stood: Transaction, before: Transaction) -> Iterator[Found]:
        """What `stands` should have looked at."""
        if stood.status.is_final:
            yield Found("final moved", f"{stood.status} was written again")
        if (stood.version, stood.token) != (before.version, before.token):
            yield Found("fence", f"written under {before.token or 'no token'}, while {stood.token or 'none'} stood")

    def _line(self, before: Transaction, after: Transaction) -> list[Found]:
        found = []
        added = after.history[len(before.history) :]
        if len(added) != 1 or (added[0].was, added[0].now) != (before.status, after.status):
            found.append(Found("history", f"{before.status} -> {after.status} with {len(added)} lines"))
        elif (before.status, after.status) not in LINES.get(added[0].cause or "", ()):
            found.append(Found("history", f"{before.status} -> {after.status} by {added[0].cause}"))
        if after.status is Status.REVIEW and not (after.reason and after.owner and after.review_by):
            found.append(Found("desk", f"{after.reason!r}, {after.owner!r}, {after.review_by}"))
        return found

    def _step(self, who: str, what: str, state: State, found: Sequence[Found] = (), *, good: bool = False) -> Step:
        if self.reduced:
            for number, worker in enumerate(state.workers):
                if worker is None or stands(state.record, worker.record):
                    continue
                if self._harmless(state, number, worker):
                    if worker.waits == CONFIRM and worker.answer is None:
                        state = state._replace(gateway=self._left(state, worker, waiting=True))
                    state = self._with(state, number, None)
        return Step(who, what, state, (*found, *self._books(state)), good)

    def _books(self, state: State) -> Iterator[Found]:
        """What the record says, against the gateway's own."""
        gateway, status = state.gateway, state.record.status
        if gateway.effects > 1:
            yield Found("two effects", f"{gateway.effects} effects")
        if status is Status.CONFIRMED and (gateway.verdict, gateway.effects) != ("done", 1):
            yield Found("ledger", f"CONFIRMED, with {gateway.verdict or 'nothing done'}")
        if status is Status.REJECTED and gateway.effects:
            yield Found("ledger", "REJECTED, with its effect")

    def ends(self, state: State) -> int | None:
        """In how many ticks it is final, or on a desk, if from now on there is no fault; None where it never is.

        `state` is one in which nobody holds it.
        """
        began, way = state.now, [self._alone(state)]
        while (state := way[-1]).record.status in OPEN or state.workers[0]:
            if state in self._ends:
                break
            good = (step for step in self.steps(state) if step.good and step.who in ("A", "gateway"))
            step = next(good, None)
            way.append(self._later(state).state if step is None else self._alone(step.state))
            if len(way) > MOST_STEPS:
                return None
        end = self._ends.get(state, state.now)
        self._ends.update(dict.fromkeys(way, end))
        return end - began

    @staticmethod
    def _alone(state: State) -> State:
        """A alone is left, with the gateway."""
        gateway = state.gateway._replace(late=())
        return state._replace(workers=(state.workers[0], None), operator=None, gateway=gateway, sends=())


def _moved(before: Transaction, after: Transaction) -> str:
    return f"{before.status} -> {after.status}: {after.history[-1].why if after.history else ''}".rstrip(": ")


def _said(outcome: Outcome) -> str:
    return {Confirmed: "done", Rejected: "refused", NotFound: "never heard of it", Unknown: "nobody knows"}.get(
        type(outcome), "not done this time"
    )
