"""What a seed draws before anything happens: how the product is set, and which faults strike how often (swarm)."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from workers.domain.pause import Scope
from workers.domain.policy import Policy

ABSENT = 0.5
"""So often a kind of fault does not occur in a life at all: what is always there hides what only shows without it."""
FEW = 0.3
"""So often a life has three kinds of fault at most: a race of two shows where nothing else disturbs it."""
CANARY_EVERY = 100
"""One life in so many has a gateway that doubles one effect, when the canary is asked for."""


FAULTS: Mapping[str, float] = {
    # a worker dies, or stands still for longer than its lease: before or after a step, or while it waits for its turn
    "crash": 0.06,
    "pause": 0.06,
    # the datastore wrote it, or not, and the answer is lost; it took a part of a batch; its index, or a read that need
    # not be consistent, shows what stood earlier; it is too busy
    "lost_answer": 0.15,
    "partly": 0.15,
    "stale": 0.25,
    "store_throttled": 0.1,
    # a statement sees a snapshot of seconds ago, and holds its rows for as long
    "slow_statement": 0.2,
    # the scheduler starts two runs; Step Functions calls a function again, whose first call may go on
    "duplicate_trigger": 0.3,
    "service_fault": 0.2,
    # the gateway's key cannot be read
    "no_key": 0.15,
    # no answer from the gateway; after the effect, which then happens at once or later within the grace period
    "timeout_before": 0.5,
    "timeout_after": 0.65,
    "error_before": 0.25,
    "error_after": 0.25,
    # 503 and 429: nothing was done
    "unavailable": 0.25,
    "throttled": 0.25,
    "not_connected": 0.25,
    # the call is repeated on its way
    "duplicate": 0.6,
    # after whatever the gateway did: a proxy's own page, garbage, the answer to another call, one out of a cache
    "stranger": 0.25,
    "garbage": 0.25,
    "mixed_up": 0.25,
    "cached": 0.25,
    # it refuses our key, does not understand us, is still at it
    "key_refused": 0.2,
    "invalid": 0.25,
    "in_flight": 0.25,
    # the gateway does not show an effect at once to those who ask
    "not_yet": 0.5,
    "other_amount": 0.5,
    "other_currency": 0.5,
    "refused": 0.45,
    # the rate limit leaves no turn for long
    "slow_turn": 0.25,
}
"""How probable each fault may be at most, each time that it could strike."""


CLOCKS: Mapping[str, float] = {
    # a worker's clock is set right, or wrong, between two looks
    "clock_step": 0.02,
}
"""The same of clocks, which are drawn apart."""


def intensities(chance: random.Random) -> Mapping[str, float]:
    """How probable each is in one life."""
    often = {kind: 0.0 if chance.random() < ABSENT else chance.random() * most for kind, most in FAULTS.items()}
    if chance.random() < FEW:
        kept = {chance.choice(list(FAULTS)) for _ in range(3)}
        often = {kind: most * chance.random() if kind in kept else 0.0 for kind, most in FAULTS.items()}
    return often


POISONED, FAT, AHEAD = 0.03, 0.07, 0.08
"""So often each of a life's transactions is poisoned; is fat, which DynamoDB alone knows; was dated ahead."""
STOPPED = 0.2
"""So often people pause the product by hand, once or twice."""
BACK = 0.17
"""So often shadow mode is gone back to, where nothing is restored."""
POISONS = ("kills", "raises", "nonsense")
"""Its worker dies of the call; the adapter raises; what it returns is no outcome."""
ROOM = (100, 200, 300, 400, 600, 1000)
"""Bytes: for no claim, for a claim and no end, or for both."""

SETTINGS: Mapping[str, Sequence[Any]] = {
    "lease": [timedelta(seconds=seconds) for seconds in (45, 90, 180)],
    "max_attempts": (2, 4, 8),
    "retry_base": [timedelta(seconds=seconds) for seconds in (5, 30)],
    "retry_cap": [timedelta(seconds=seconds) for seconds in (60, 300)],
    "grace": [timedelta(seconds=seconds) for seconds in (15, 60, 120)],
    "key_window": [timedelta(seconds=seconds) for seconds in (300, 900, 3600)],
    "review_within": [timedelta(seconds=seconds) for seconds in (450, 1800)],
}
"""What a deployment may change. The gateway keeps to all that was ever set: it shows what it did within the shortest
grace period, and remembers keys for the longest window."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """Workers end in order and start anew."""

    at: float
    policy: Policy
    """The settings from then on, but for its mode."""
    shards: int
    """Of DynamoDB's index."""
    within: float
    """Seconds until the last of the old ones is told to end: old and new ones work side by side."""


@dataclass(frozen=True, slots=True)
class Setup:
    """One life's shape. Times are seconds since its beginning."""

    streams: bool
    """The service's stream (fargate), or batches of a plan (serverless)."""
    workers: int
    transactions: int
    policy: Policy
    faults: Mapping[str, float]
    trouble_ends: float
    """Then all faults stop, and everything must come to an end."""
    trigger: float
    """Between two plans, or polls."""
    shadow_until: float | None
    """Shadow mode until then, with others who send."""
    restore: tuple[float, float, float] | None
    """The moment that is gone back to, when that is done, and when shadow mode is left again."""
    outage: tuple[float, float] | None
    """From when until when the gateway does not answer anybody."""
    brown_out: tuple[float, float] | None
    """From when until when it answers as late as it may, or later."""
    deployments: tuple[Deployment, ...]
    back_to_shadow: tuple[float, float] | None
    """From when until when shadow mode is gone back to, with others who send."""
    clocks_off: float
    """Seconds that a clock may be off besides, far beyond what is allowed."""
    poisoned: Mapping[int, str]
    """Transactions, by number, that do harm to whoever calls the gateway for them (POISONS)."""
    foreign: tuple[float, ...]
    """When somebody else writes into the table what is no transaction; without a clue of what belongs there."""
    fat: Mapping[int, int]
    """Transactions, by number, whose item holds something else, too: bytes that it leaves of the 400 KB."""
    failovers: tuple[tuple[float, float], ...]
    """From when until when PostgreSQL has no writer."""
    concurrency: int
    """Calls at once, in one worker."""
    batch: int
    """Transactions of a claim."""
    batches_per_plan: int
    batches_at_once: int
    """Of one run, in a Lambda each."""
    function_seconds: float
    """A Lambda's time limit."""
    run_lease: float
    shards: int
    """Of DynamoDB's index, and where a page of it ends at the latest."""
    page: int
    failures: int
    """So many in a row open the circuit breaker."""
    operators: float
    """How often an operator looks at the desk; 0 for never."""
    asks_forget: bool
    """Whether the gateway, asked about a key that it has forgotten, says that it knows nothing of it."""
    canary: bool
    """Whether this life's gateway has the planted fault, where one asks for it."""
    left_out: frozenset[int] = frozenset()
    """Transactions that do not come, by their number: of a life that is shrunk."""
    spared: frozenset[tuple[str, int]] = frozenset()
    """Faults that do not strike, by their kind and number: of a life that is shrunk."""
    ahead: Mapping[int, float] = field(default_factory=dict)
    """Transactions, by number, that a version before this one had sent, with a clock that was days ahead; and in how
    many seconds they are due."""
    stops: tuple[tuple[float, float, Scope], ...] = ()
    """From when until when people have paused everything, or sending alone."""
    salt: int = 0
    """Other chance in the same life: of one that is shrunk."""

    @property
    def policies(self) -> tuple[Policy, ...]:
        """Every one that is ever set."""
        return (self.policy, *(one.policy for one in self.deployments))

    @property
    def grace(self) -> timedelta:
        """Within which the gateway shows what it did."""
        return min(policy.grace for policy in self.policies)

    @property
    def key_window(self) -> timedelta:
        """For how long the gateway remembers a key: a clock that is off takes from it, at its first use and at its
        last."""
        return max(policy.key_window for policy in self.policies) + timedelta(seconds=2 * self.clocks_off)

    @property
    def apart(self) -> timedelta:
        """How far any two clocks may be apart."""
        return self.policy.clock_skew + timedelta(seconds=2 * self.clocks_off)

    @classmethod
    def of(cls, seed: int) -> Setup:
        # what is drawn apart leaves the rest as it is: a seed is known for what it finds
        drawn = cls.drawn(random.Random(seed), random.Random(f"{seed} more"))
        return replace(drawn, stops=tuple(_stops(random.Random(f"{seed} stops"), drawn.trouble_ends)))

    @classmethod
    def drawn(cls, chance: random.Random, more: random.Random) -> Setup:
        call_timeout, apart = chance.choice((5, 10)), chance.choice((1, 2, 4))
        lease = chance.choice((45, 90, 180))
        policy = Policy(
            lease=timedelta(seconds=lease),
            clock_skew=timedelta(seconds=apart),
            max_attempts=chance.choice((2, 4, 8)),
            retry_base=timedelta(seconds=chance.choice((5, 30))),
            retry_cap=timedelta(seconds=chance.choice((60, 300))),
            call_timeout=timedelta(seconds=call_timeout),
            grace=timedelta(seconds=chance.choice((15, 60))),
            key_window=timedelta(seconds=lease + chance.choice((120, 300, 1800))),
            review_within=timedelta(seconds=chance.choice((450, 1800))),
        )
        trouble_ends = chance.uniform(300, 2700)
        shadow = chance.uniform(60, trouble_ends * 0.6) if chance.random() < 0.2 else None
        restore = None
        if chance.random() < 0.15:
            first, second, third = sorted(chance.uniform(shadow or 0, trouble_ends) for _ in range(3))
            restore = first, second, third
        outage = None
        if chance.random() < 0.25:
            begins = chance.uniform(0, trouble_ends)
            outage = begins, begins + lease * chance.uniform(0.5, 8)
        brown_out = None
        if chance.random() < 0.25:
            begins = chance.uniform(0, trouble_ends)
            brown_out = begins, begins + lease * chance.uniform(0.5, 8)
        return cls(
            streams=chance.random() < 0.35,
            workers=chance.randint(1, 3),
            transactions=chance.choice((1, 1, 2, 2, 3, 3, 4, 5)),
            policy=policy,
            faults={**intensities(chance), **_clocks(more)},
            trouble_ends=trouble_ends,
            trigger=chance.choice((60, 120)),
            shadow_until=shadow,
            restore=restore,
            outage=outage,
            brown_out=brown_out,
            deployments=tuple(_deployments(sorted(_moments(chance, trouble_ends, (0, 0, 1, 4))), more, policy)),
            back_to_shadow=_back(more, shadow or 0.0, trouble_ends) if restore is None else None,
            clocks_off=more.choice((600.0, 7200.0)) if more.random() < 0.1 else 0.0,
            poisoned={number: more.choice(POISONS) for number in range(5) if more.random() < POISONED},
            foreign=_moments(more, trouble_ends, (0, 0, 0, 2)),
            fat={number: more.choice(ROOM) for number in range(5) if more.random() < FAT},
            failovers=tuple(
                (begins, begins + chance.uniform(1, lease)) for begins in _moments(chance, trouble_ends, (0, 0, 1, 2))
            ),
            concurrency=chance.choice((1, 2, 3)),
            batch=chance.choice((1, 2, 3, 3)),
            batches_per_plan=chance.choice((1, 2, 3)),
            batches_at_once=chance.choice((1, 2)),
            # room for a question and a send, as settings see to it (components/serverless/rules.py)
            function_seconds=(function := max(lease * chance.uniform(0.3, 0.9), 2 * call_timeout + 10)),
            run_lease=function * chance.uniform(1.5, 4),
            shards=chance.choice((1, 2, 3)),
            page=chance.choice((1, 2, 1000, 1000)),
            failures=chance.choice((2, 3, 10)),
            operators=chance.choice((0, 0, 120, 600)),
            asks_forget=chance.random() < 0.5,
            canary=chance.random() * CANARY_EVERY < 1,
            ahead={number: more.uniform(20, 350) for number in range(5) if more.random() < AHEAD},
        )


def _stops(chance: random.Random, until: float) -> Iterator[tuple[float, float, Scope]]:
    if chance.random() < STOPPED:
        times = sorted(chance.uniform(0, until) for _ in range(2 * chance.choice((1, 2))))
        for begins, ends in zip(times[::2], times[1::2], strict=True):
            yield begins, ends, chance.choice(list(Scope))


def _clocks(chance: random.Random) -> Mapping[str, float]:
    return {kind: 0.0 if chance.random() < ABSENT else chance.random() * most for kind, most in CLOCKS.items()}


def _deployments(times: Sequence[float], chance: random.Random, policy: Policy) -> Iterator[Deployment]:
    """Each leaves the settings as they are, or changes some."""
    for at in times:
        if chance.random() < 0.4:
            policy = replace(policy, **{name: chance.choice(values) for name, values in _some(chance, SETTINGS)})
        yield Deployment(at, policy, chance.choice((1, 2, 3, 5)), chance.choice((0.0, 0.0, 30.0, 300.0)))


def _some(chance: random.Random, settings: Mapping[str, Sequence[Any]]) -> Sequence[tuple[str, Sequence[Any]]]:
    return chance.sample(list(settings.items()), chance.randint(1, 3))


def _back(chance: random.Random, first: float, last: float) -> tuple[float, float] | None:
    if chance.random() > BACK:
        return None
    begins, ends = sorted(chance.uniform(first, last) for _ in range(2))
    return begins, ends


def _moments(chance: random.Random, until: float, numbers: Sequence[int]) -> tuple[float, ...]:
    return tuple(chance.uniform(0, until) for _ in range(chance.choice(numbers)))
