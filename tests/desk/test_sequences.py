"""What one person can try alone: sequences that a seed draws from a grammar, through the functions and around them.

Eve has every policy, every right to call, may take any role that is not Identity Center's, overhears every proof and
sees the store; and she writes into the datastore what no role of people may. Ana, Ben and Cho, who have nothing to do
with her, ask for and approve what is theirs. The judge knows what each of them has meant, and nothing else may ever
leave REVIEW.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from tests.desk.people import ACCOUNT, BY_PEOPLE, SSO, FakeSts, Identity, as_sent, desks, proof, session, user
from tests.fakes import START, FakeClock, payment, run
from tests.memory_desk import MemoryDesk
from tests.memory_store import MemoryStore
from workers.desk.handlers import DeskApp, take
from workers.domain.causes import Cause, because
from workers.domain.desk import (
    EXITS,
    ONE_ONLY,
    Approval,
    Item,
    Limits,
    Order,
    Outcome,
    Role,
    Stage,
    Wants,
    from_document,
    to_document,
)
from workers.domain.exits import Redrive
from workers.domain.policy import Policy
from workers.domain.ports import Move
from workers.domain.transaction import Status, Transaction
from workers.domain.transitions import Claim, SetAside, decide
from workers.telemetry import Telemetry

SEEDS = 200
LENGTH = 14
ANA, BEN, CHO = (session(SSO[n % 2], f"{name}@example.com") for n, name in enumerate(("ana", "ben", "cho")))
EVES: Sequence[Identity] = (
    session(SSO[0], "eve@example.com"),
    session(SSO[1], "eve@example.com"),
    session(SSO[1], "EVE@example.com"),
    session("Developers", "ben@example.com"),
    session("Developers", "cho@example.com"),
    session("AWSReservedSSO_Forged_0123456789abcdef", "cho@example.com"),
    session(SSO[0], "ben@example.com", account="999988887777"),
    user("cho", account="999988887777"),
    Identity(f"arn:aws:iam::{ACCOUNT}:root", "AKIAROOTROOTROOTROOT", None),
)
"""All that Eve can come as: she is one person in two sets of permissions, and otherwise whoever she calls herself."""
BOUNDS = Limits(ends_after=timedelta(hours=1), two_from={"USD": 5_000})


class Crash(BaseException):
    """The function ends in the middle."""


@dataclass
class Failing(MemoryDesk):
    """May end between two applications, or after them and before that was noted."""

    after: int | None = None
    left: list[Transaction] = field(default_factory=list)
    """What has left REVIEW, as it was."""

    async def exit(self, moves: Sequence[Move]) -> list[bool]:
        part, self.after = self.after, None
        won = await super().exit(moves[:part])
        self.left += [move.before for move, ok in zip(moves, won, strict=False) if ok]
        if part is not None:
            raise Crash
        return won


@dataclass
class World:
    chance: random.Random
    clock: FakeClock = field(default_factory=FakeClock)
    sts: FakeSts = field(init=False)
    store: MemoryStore = field(init=False)
    desk: Failing = field(init=False)
    apps: dict[Role, DeskApp] = field(init=False)
    overheard: list[tuple[Role, dict[str, Any]]] = field(default_factory=list)
    agreed: dict[str, tuple[str, set[str], set[str]]] = field(default_factory=dict)
    """The judge's own book: request -> its maker, who truly and the ids that it is for."""
    asked: dict[str, set[Item]] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    """What their makers were told that they are."""

    def __post_init__(self) -> None:
        self.sts = FakeSts(self.clock)
        self.sts.knows(ANA, BEN, CHO, *EVES)
        self.store = MemoryStore(self.clock, Policy())
        self.desk = Failing(self.store)
        self.apps = desks(self.store, self.desk, self.sts, BOUNDS)
        run(self.store.add([replace_amount(payment(f"t{n}"), 1_000 * (n + 1)) for n in range(6)]))
        for id_ in list(self.store.records):
            self.lay(id_)

    def lay(self, id_: str) -> None:
        """On the desk."""
        record = self.store.records[id_]
        aside = decide(record, SetAside("w", because(Cause.WRITE_FAILED, status="x", error="y")), START, Policy())
        self.store.records[id_] = aside

    def call(self, who: Identity, role: Role, action: str, payload: dict[str, Any], **changes: Any) -> dict[str, Any]:
        given = proof(who, action, payload, self.clock.now(), **{"role": role, **changes})
        event = {"action": action, "payload": payload, "proof": given}
        self.overheard.append((role, event))
        meant = who in (ANA, BEN, CHO) and action == "approve" and payload["id"] in self.agreed
        if meant and payload["digest"] == self.digests[payload["id"]]:  # though it may come to pass by a replay alone
            self.agreed[payload["id"]][1].add(name_of(who))
        return self.send(role, event)

    def send(self, role: Role, event: dict[str, Any]) -> dict[str, Any]:
        try:
            return run(take(self.apps[role], as_sent(event), lambda: True))
        except Crash:
            return {"crashed": True}

    def request(self, count: int | None = None, kind: str | None = None) -> dict[str, Any]:
        """For some that lie on the desk, as they are."""
        lying = [r for r in self.store.records.values() if r.status is Status.REVIEW] or [self.store.records["t0"]]
        some = self.chance.sample(lying, min(len(lying), count or self.chance.randint(1, 3)))
        kind = kind or self.chance.choice(("redrive", *EXITS))
        items = some[:1] if kind in ONE_ONLY else some
        return {
            "id": f"{self.chance.getrandbits(128):032x}",
            "order": {"kind": kind, "why": "never came", "evidence": self.evidence(kind, items)},
            "items": [Item.seen(record).told() for record in items],
        }

    def evidence(self, kind: str, items: Sequence[Transaction]) -> dict[str, Any] | None:
        if not EXITS[kind].needs_evidence:
            return None
        seen = {"source": "console", "reference": "case 7"}
        if EXITS[kind].proof is not Wants.MONEY or len(items) > 1:
            return seen
        return {**seen, "amount": items[0].amount + (kind == "accept-amount"), "currency": items[0].currency}

    def pick(self) -> str | None:
        """A request that there is."""
        return self.chance.choice(sorted(self.desk.kept)) if self.desk.kept else None

    def digest(self, id_: str) -> str:
        try:
            return from_document(self.desk.kept[id_]).digest
        except ValueError:
            return "0" * 64

    def judge(self) -> None:
        """Every exit in any history is one that two people agreed on, for that transaction, once."""
        for record in self.store.records.values():
            seen: Counter[str] = Counter()
            for line in record.history:
                if line.was is not Status.REVIEW:
                    continue
                assert line.cause in BY_PEOPLE
                if line.cause is Cause.TO_BE_ASKED and "nobody else" in line.why:
                    assert line.by in (name_of(CHO), *map(name_of, EVES[:3]))  # who may approve may ask alone
                    continue
                id_ = line.why.partition(" (request ")[2][:32]
                assert id_ in self.agreed, f"{record.id} left REVIEW by no request of two people: {line.why}"
                maker, people, ids = self.agreed[id_]
                assert record.id in ids
                assert line.by == maker
                needed = BOUNDS.approvals({"USD": self.sum(ids)})
                assert len(people - {maker}) >= needed, f"{record.id}: {people} for {maker}, {needed} needed"
                assert "eve" not in f"{maker} {' '.join(people)}".casefold()
                seen[id_] += 1
            assert not seen or max(seen.values()) == 1, f"{record.id} left REVIEW twice by one request"
            self.judge_outcomes(record, set(seen))
        for before in self.desk.left:
            assert any(Item.seen(before) in items for items in self.asked.values()), (
                f"{before.id}: another than was seen"
            )

    def judge_outcomes(self, record: Transaction, done_by: set[str]) -> None:
        """A request says of each exit what became of it: so, however often it was taken up again."""
        for id_ in self.agreed:
            kept = from_document(self.desk.kept[id_])
            for item, letter in zip(kept.items, kept.outcomes, strict=False):
                if item.id == record.id:
                    assert (letter == Outcome.DONE) is (id_ in done_by), (item, letter, done_by)

    def sum(self, ids: set[str]) -> int:
        return sum(self.store.records[id_].amount for id_ in ids)


def name_of(who: Identity) -> str:
    return who.arn.rpartition("/")[2]


def replace_amount(record: Transaction, amount: int) -> Transaction:
    return record._replace(amount=amount)


# --- what honest people do


def ask(world: World) -> None:
    payload = world.request()
    who = world.chance.choice((ANA, BEN))
    told = world.call(who, Role.MAKER, "ask", payload)
    if "request" in told:
        ids = {one["id"] for one in payload["items"]}
        world.agreed[payload["id"]] = (told["request"]["by"], set(), ids)
        world.asked[payload["id"]] = {Item.of(one) for one in payload["items"]}
        world.digests[payload["id"]] = told["request"]["digest"]


def approve(world: World) -> None:
    """They look first: what Eve has asked for, they do not approve."""
    mine = [id_ for id_ in world.agreed if id_ in world.desk.kept]
    if not mine:
        return
    id_ = world.chance.choice(mine)
    who = world.chance.choice((ANA, BEN, CHO))
    name, maker = name_of(who), world.agreed[id_][0]
    people = {approval.by for approval in from_document(world.desk.kept[id_]).approvals}
    ended = world.clock.now() >= from_document(world.desk.kept[id_]).ends_at
    told = world.call(who, Role.CHECKER, "approve", {"id": id_, "digest": world.digest(id_)})
    if "refused" not in told:
        assert name not in {maker, *people}, "approved by its maker, or twice"
        assert not ended, "approved after its end"
    elif name not in {maker, *people} and not ended:
        assert from_kept(world, id_) is not Stage.OPEN, told


def from_kept(world: World, id_: str) -> Stage:
    return from_document(world.desk.kept[id_]).state


def both_at_once(world: World) -> None:
    """Two people approve in the same moment; at most one of them may be the one."""
    mine = [id_ for id_ in world.agreed if from_kept(world, id_) is Stage.OPEN]
    if not mine:
        return
    id_ = world.chance.choice(mine)
    payload = {"id": id_, "digest": world.digest(id_)}
    world.agreed[id_][1].update(map(name_of, (ANA, BEN, CHO)))
    events = [
        as_sent(
            {
                "action": "approve",
                "payload": payload,
                "proof": proof(one, "approve", payload, world.clock.now(), role=Role.CHECKER),
            }
        )
        for one in (ANA, BEN, CHO)
    ]

    async def together() -> list[dict[str, Any]]:
        return await asyncio.gather(*(take(world.apps[Role.CHECKER], event, lambda: True) for event in events))

    run(together())


def ask_now(world: World) -> None:
    """Nothing is sent by it, so it takes nobody else."""
    payload = world.request(kind="ask")
    world.asked[payload["id"]] = {Item.of(one) for one in payload["items"]}
    world.call(CHO, Role.CHECKER, "do alone", payload)


def go_on(world: World) -> None:
    if id_ := world.pick():
        world.call(CHO, Role.CHECKER, "go on", {"id": id_})


def crash(world: World) -> None:
    """The next application ends in the middle, and is taken up again now or later."""
    ask(world)
    world.desk.after = world.chance.randint(0, 2)
    approve(world)
    world.desk.after = None
    for id_ in world.agreed:
        if world.chance.random() < 0.7:
            world.call(CHO, Role.CHECKER, "go on", {"id": id_})


def time_passes(world: World) -> None:
    world.clock.advance(world.chance.choice((1, 30, 290, 301, 1_800, 3_700)))


def work_goes_on(world: World) -> None:
    """Workers claim what is due, and some of it comes back to the desk: another version of the same transaction."""
    for id_, record in list(world.store.records.items()):
        if record.status is Status.PENDING and world.chance.random() < 0.7:
            now = max(world.clock.now(), record.next_attempt_at or START)
            held = decide(record, Claim("t", "w"), now, Policy())
            world.store.records[id_] = held
            if held.status is Status.PROCESSING:
                world.lay(id_)
        elif record.status is Status.REVIEW and world.chance.random() < 0.2:
            world.store.records[id_] = record._replace(version=record.version + 1)


# --- what Eve tries


def eve(world: World) -> Identity:
    return world.chance.choice(EVES)


def ask_alone(world: World) -> None:
    world.call(eve(world), Role.MAKER, "ask", world.request())


def do_alone(world: World) -> None:
    """What takes two people."""
    kind = world.chance.choice([kind for kind in EXITS if not EXITS[kind].alone])
    payload = world.request(kind=kind)
    assert "refused" in world.call(eve(world), Role.CHECKER, "do alone", payload)
    assert "refused" in world.call(CHO, Role.CHECKER, "do alone", payload)
    assert "refused" in world.call(CHO, Role.MAKER, "do alone", world.request(kind="ask"))


def approve_alone(world: World) -> None:
    """Whatever there is, as whomever; that of others she may not: she has the role, so as herself she could truly be a
    second person. That is no attack, so she does it as others alone."""
    id_ = world.pick()
    if id_ is None:
        return
    strangers = EVES if id_ not in world.agreed else EVES[3:]
    who = world.chance.choice(strangers)
    told = world.call(who, Role.CHECKER, "approve", {"id": id_, "digest": world.digest(id_)})
    assert "refused" in told, (id_, who.arn)


def ask_and_approve(world: World) -> None:
    payload = world.request()
    world.call(EVES[0], Role.MAKER, "ask", payload)
    for who in EVES:
        told = world.call(
            who,
            Role.CHECKER,
            "approve",
            {"id": payload["id"], "digest": world.digest(payload["id"])}
            if payload["id"] in world.desk.kept
            else {"id": payload["id"], "digest": ""},
        )
        assert "refused" in told, who.arn
        assert (
            "refused" in world.call(who, Role.CHECKER, "go on", payload)
            or from_kept(world, payload["id"]) is Stage.OPEN
        )


def another_digest(world: World) -> None:
    if id_ := world.pick():
        for digest in ("", "0" * 64, world.digest(id_)[:12], world.digest(id_).upper()):
            assert "refused" in world.call(CHO, Role.CHECKER, "approve", {"id": id_, "digest": digest})


def wrong_door(world: World) -> None:
    """The order of one role to the function of the other, with a proof for either."""
    id_ = world.pick() or "0" * 32
    order = {"id": id_, "digest": world.digest(id_) if id_ in world.desk.kept else ""}
    assert "refused" in world.call(EVES[0], Role.MAKER, "approve", order)
    assert "refused" in world.call(EVES[0], Role.MAKER, "go on", order)
    assert "refused" in world.call(EVES[1], Role.CHECKER, "ask", world.request())
    given = proof(BEN, "approve", order, world.clock.now(), role=Role.MAKER)
    assert "refused" in world.send(Role.CHECKER, {"action": "approve", "payload": order, "proof": given})
    assert "refused" in world.send(Role.CHECKER, {"action": "approve", "payload": order, "proof": None})


def replay(world: World) -> None:
    """A proof of somebody else's, as it was: changes nothing that he has not ordered himself."""
    if world.overheard:
        role, event = world.chance.choice(world.overheard)
        world.send(role, event)


def reuse(world: World) -> None:
    """A proof of somebody else's, for an order of hers."""
    if not world.overheard:
        return
    role, event = world.chance.choice(world.overheard)
    id_ = world.pick() or "0" * 32
    hers: list[dict[str, Any]] = [
        {**event, "payload": world.request()},
        {**event, "action": "ask", "payload": world.request()},
        {**event, "action": "go on", "payload": {**event["payload"], "x": 1}},
        {**event, "action": "approve", "payload": {"id": id_, "digest": "0" * 64, "x": 1}},
    ]
    for one in hers:
        for door in Role:
            assert "refused" in world.send(door, one)
    del role


def proof_for_elsewhere(world: World) -> None:
    id_ = world.pick()
    if id_ is None:
        return
    order = {"id": id_, "digest": world.digest(id_)}
    changes: dict[str, Any] = world.chance.choice(
        [
            {"stack": "staging"},
            {"region": "us-east-1"},
            {"endpoint": "https://sts.evil.example/"},
            {"body": "Action=GetSessionToken&Version=2011-06-15"},
            {"service": "execute-api"},
            {"more": {"X-Confirm-Role": "checker"}},
        ]
    )
    given = proof(BEN, "approve", order, world.clock.now(), **{"role": Role.CHECKER, **changes})
    assert "refused" in world.send(Role.CHECKER, {"action": "approve", "payload": order, "proof": given})


def odd_payload(world: World) -> None:
    odd: dict[str, Any] = world.chance.choice(
        [
            {},
            {"id": 1},
            {"id": "x" * 32, "order": {"kind": "redrive", "why": "w"}, "items": []},
            {**world.request(), "items": [{"id": "t0", "version": 1, "amount": 1, "currency": "USD"}] * 2},
            {**world.request(), "order": {"kind": "confirm", "why": "w"}},
            {**world.request(), "order": {"kind": "redrive", "why": " "}},
            {**world.request(), "order": {"kind": "redrive", "why": "w", "approved_by": "ben@example.com"}},
            {**world.request(), "items": [{"id": "t0\nt1 1 1 USD", "version": 1, "amount": 1, "currency": "USD"}]},
            {**world.request(), "items": [{"id": "t0", "version": True, "amount": 1, "currency": "USD"}]},
        ]
    )
    assert "refused" in world.call(EVES[0], Role.MAKER, "ask", odd)


def name_in_the_reason(world: World) -> None:
    """Her reason says what another's line would."""
    payload = world.request()
    other = world.pick() or "0" * 32
    payload["order"]["why"] = f"x approved by ben (request {other}): yes"
    world.call(EVES[0], Role.MAKER, "ask", payload)


def write_a_transaction(world: World) -> None:
    """As operators once could: no role of people has a right to it now (tests/access, tests/contract), and what the old
    port still offers writes the names that one person types."""
    record = world.chance.choice(list(world.store.records.values()))
    if record.status is Status.REVIEW:
        after = decide(record, Redrive("eve", "ben", "because"), world.clock.now(), Policy())
        assert "(request" not in after.history[-1].why


def write_a_request(world: World) -> None:
    """Into the datastore itself, past the functions; and then has it done."""
    payload = world.request()
    record = world.store.records[payload["items"][0]["id"]]
    now = world.clock.now()
    forged = from_document(
        to_document(
            approved_by_nobody(payload["id"], Item.seen(record), now),
        )
    )
    made: Callable[[], Any] = world.chance.choice(
        [
            lambda: replace(forged, state=Stage.APPROVED),
            lambda: replace(forged, state=Stage.APPROVED, approvals=(Approval("EVE@example.com", now),)),
            lambda: replace(forged, state=Stage.APPROVED, approvals=(Approval("ben", now + timedelta(days=9)),)),
            lambda: replace(
                forged, state=Stage.APPROVED, needed=2, approvals=(Approval("ben", now), Approval("BEN", now))
            ),
            lambda: replace(forged, state=Stage.APPROVED, needed=0),
        ]
    )
    world.desk.kept[payload["id"]] = to_document(made())
    assert "refused" in world.call(EVES[0], Role.CHECKER, "go on", {"id": payload["id"]})
    del world.desk.kept[payload["id"]]


def approved_by_nobody(id_: str, item: Item, now: Any) -> Any:
    from workers.domain.desk import Request

    return Request(id_, "prod", Order("redrive", "w"), (item,), "eve@example.com", now, now + timedelta(hours=1))


def change_a_list(world: World) -> None:
    """Between the look and the approval another transaction comes into the list."""
    mine = [id_ for id_ in world.agreed if from_kept(world, id_) is Stage.OPEN]
    if not mine:
        return
    id_ = world.chance.choice(mine)
    seen = from_document(world.desk.kept[id_])
    others = [r for r in world.store.records.values() if r.id not in {item.id for item in seen.items}]
    changed = replace(seen, items=(*seen.items, Item.seen(others[0])))
    world.desk.kept[id_] = to_document(changed)
    for who in (ANA, BEN, CHO):
        assert "refused" in world.call(who, Role.CHECKER, "approve", {"id": id_, "digest": seen.digest})
    world.desk.kept[id_] = to_document(seen)


HONEST = (ask, ask, approve, approve, both_at_once, ask_now, go_on, crash, time_passes, work_goes_on)
ATTACKS = (
    *(
        ask_alone,
        do_alone,
        approve_alone,
        ask_and_approve,
        another_digest,
        wrong_door,
        replay,
        replay,
        reuse,
        proof_for_elsewhere,
    ),
    *(odd_payload, name_in_the_reason, write_a_transaction, write_a_request, change_a_list),
)


TRIED: Counter[str] = Counter()


@pytest.mark.parametrize("seed", range(SEEDS))
def test_nothing_leaves_review_but_by_two_people(seed: int) -> None:
    world = World(random.Random(seed))
    moves = [*world.chance.choices(HONEST, k=LENGTH // 2), *world.chance.choices(ATTACKS, k=LENGTH // 2)]
    world.chance.shuffle(moves)
    for move in moves:
        TRIED[move.__name__] += 1
        move(world)
        world.judge()
    TRIED["exits"] += len(world.desk.left)
    if seed == SEEDS - 1:
        assert_all_was_tried()


def assert_all_was_tried() -> None:
    """Else nothing would have been shown: each step was, and honest people get through."""
    if sum(TRIED.values()) - TRIED["exits"] < SEEDS * LENGTH:  # some were chosen by hand
        return
    assert set(TRIED) == {"exits", *(move.__name__ for move in (*HONEST, *ATTACKS))}
    assert min(TRIED.values()) >= 20
    assert TRIED["exits"] > 100


def test_what_is_decided_and_what_is_refused_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    world = World(random.Random(1))
    loud = Telemetry("ConfirmTransactions", "stack", "serverless", "dev")
    world.apps = {role: replace(app, telemetry=loud) for role, app in world.apps.items()}
    payload = world.request(kind="redrive")
    count = len(payload["items"])
    world.call(ANA, Role.MAKER, "ask", payload)
    id_ = payload["id"]
    digest = from_document(world.desk.kept[id_]).digest
    world.call(ANA, Role.CHECKER, "approve", {"id": id_, "digest": digest})  # his own
    for one in (BEN, CHO):
        world.call(one, Role.CHECKER, "approve", {"id": id_, "digest": digest})
    world.call(CHO, Role.CHECKER, "go on", {"id": id_})  # again: nothing is left to do
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["Exit"], line["DeskExits"]) for line in lines if "DeskExits" in line] == [("redrive", count)]
    assert next(line["DeskRefusals"] for line in lines if "DeskRefusals" in line) == 1
