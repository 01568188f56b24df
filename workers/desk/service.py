"""What the desk function does for a person who has proven who he is: takes requests, approvals, makes exits of them.

One at a time and from the record: what is asked for is checked against the store, what is approved against what is
kept, and what is done is decided by the one table of transitions, under the fence. Whatever ends midway
is taken up again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from workers.domain import desk
from workers.domain.desk import Item, Limits, Order, Outcome, Request, Role, Stage
from workers.domain.exits import Refused
from workers.domain.pause import Standing, paused, resumed
from workers.domain.policy import Policy
from workers.domain.ports import Clock, Move
from workers.domain.transaction import Transaction, to_text
from workers.domain.transitions import decide

TOGETHER = 100
"""Exits between two notes of how far a request has come."""
ACTIONS: Mapping[Role, tuple[str, ...]] = {
    Role.MAKER: ("ask", "withdraw", "pause"),
    Role.CHECKER: ("approve", "withdraw", "go on", "do alone", "pause", "resume"),
}
"""What each role may order; its function knows no other. To stop is safe, so one of the desk may, alone; to let it go
on is a checker's."""


class DeskStore(Protocol):
    """Where requests are kept, and what they are about. One contract suite holds for every adapter."""

    async def add(self, request: Request) -> bool:
        """Keep it, unless there is one of its id; False where there is."""
        ...

    async def replace(self, before: Request, after: Request) -> bool:
        """Keep `after` in the place of `before`, if that still stands (its version)."""
        ...

    async def request(self, id: str) -> Request | None:  # noqa: A002 - the domain's own word
        """Raises ValueError: something else wrote it."""
        ...

    async def requests(self, since: datetime | None = None, limit: int = desk.MOST_OPEN) -> list[Request]:
        """Those that wait, or are being done, and end after `since`: the first to end first. What is not ours is left
        out."""
        ...

    async def waiting(self, now: datetime) -> int:
        """How many wait that have not ended, up to MOST_OPEN."""
        ...

    async def records(self, items: Sequence[Item]) -> Mapping[str, Transaction]:
        """The transactions of those items, as far as they are there and readable, with their history since."""
        ...

    async def exit(self, moves: Sequence[Move]) -> list[bool]:
        """Write each exit from REVIEW with its line of history, if its fence stands; True where it did."""
        ...

    async def standing(self) -> Standing:
        """What people have stopped."""
        ...

    async def pause(self, before: Standing, after: Standing) -> bool:
        """Keep `after` in the place of `before`, if that still stands (its version)."""
        ...


Audit = Callable[..., None]
"""Takes (event, **fields): a line of the log."""


@dataclass(frozen=True, slots=True)
class FourEyes:
    """One stack's."""

    stack: str
    store: DeskStore
    clock: Clock
    policy: Policy
    limits: Limits
    audit: Audit
    time_left: Callable[[], bool] = lambda: True
    """Whether more exits may begin; what is left is taken up by the next call."""

    async def do(self, role: Role, person: str, action: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """What `person` orders as `role`.

        Raises:
            Refused: says why; nothing was changed.
        """
        if action not in ACTIONS[role]:
            raise Refused(f"a {role} can't {action[:20]}: a {role} may {' or '.join(ACTIONS[role])}")
        if action in ("pause", "resume"):
            return await self._pause(person, action, payload)
        if action in ("ask", "do alone"):
            request = await self._ask(person, payload, alone=action == "do alone")
        else:
            request = await self._standing(payload)
            if action == "approve":
                request = await self._approve(request, person, payload)
            elif action == "withdraw":
                request = await self._withdraw(request, person, role)
        if request.state is Stage.APPROVED and role is Role.CHECKER:
            request = await self._do(request)
        return told(request)

    async def _pause(self, person: str, action: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        before = await self.store.standing()
        if action == "pause":
            after = paused(before, payload.get("scope"), person, payload.get("why"), self.clock.now())
            why = after.pause.why if after.pause else ""
        else:
            after, why = resumed(before, payload.get("why"))
        if after != before:
            if not await self.store.pause(before, after):
                raise Refused("somebody else has paused or resumed it just now; look again: `confirm status`")
            stopped = after.pause or before.pause
            self.audit(f"desk {action}", by=person, scope=stopped.scope.value if stopped else None, why=why)
        return {"pause": after.pause.told() if after.pause else None}

    async def _ask(self, person: str, payload: Mapping[str, Any], *, alone: bool) -> Request:
        order = Order.of(payload.get("order"))
        listed, id_ = payload.get("items"), payload.get("id")
        if not isinstance(listed, list) or not isinstance(id_, str):
            raise Refused("a request has an id and a list of items")
        if len(listed) > desk.MOST_IDS:
            raise Refused(f"a request is for {desk.MOST_IDS:,} transactions at most, found {len(listed):,}")
        items = [Item.of(one) for one in listed]
        if await self.store.waiting(self.clock.now()) >= desk.MOST_OPEN:
            raise Refused(f"{desk.MOST_OPEN} requests wait already: approve or withdraw some first")
        if kept := await self._kept(id_):  # sent twice: the first one stands
            return _same(kept, person, order, items)
        found, now = await self.store.records(items), self.clock.now()
        request = desk.asked(id_, self.stack, order, items, found, person, now, self.limits, self.policy, alone=alone)
        if not await self.store.add(request):
            return _same(await self._standing(payload), person, order, items)
        self._tell("desk request", request, person)
        return request

    async def _approve(self, request: Request, person: str, payload: Mapping[str, Any]) -> Request:
        digest = payload.get("digest")
        if not isinstance(digest, str):
            raise Refused("an approval names the digest of what it approves")
        after = desk.approved(request, person, digest, self.clock.now())
        await self._keep(request, after)
        self._tell("desk approval", after, person)
        return after

    async def _withdraw(self, request: Request, person: str, role: Role) -> Request:
        if role is Role.MAKER and desk.person_of(person) != desk.person_of(request.maker):
            raise Refused(
                f"{request.id} was asked for by {request.maker}: only {request.maker} or a checker withdraws it"
            )
        after = desk.withdrawn(request, person)
        await self._keep(request, after)
        self._tell("desk withdrawal", after, person)
        return after

    async def _do(self, request: Request) -> Request:
        """As far as time allows. Each part is noted when it is done; one that was not noted is recognised."""
        before = _gone_through(request)
        while request.state is Stage.APPROVED and self.time_left():
            part = request.items[len(request.outcomes) :][:TOGETHER]
            outcomes = await self._exits(request, part)
            after = desk.went_on(request, outcomes)
            await self._keep(request, after)
            request = after
        done = _gone_through(request)
        self._tell("desk exits", request, request.approved_by, done=done, newly=done - before)
        return request

    async def _exits(self, request: Request, part: Sequence[Item]) -> list[Outcome]:
        found, now, event = await self.store.records(part), self.clock.now(), desk.event_of(request)
        outcomes: dict[str, Outcome] = {}
        moves: list[Move] = []
        for item in part:
            record = found.get(item.id)
            if record is None:
                outcomes[item.id] = Outcome.GONE
            elif desk.is_done_by(record, request, item):
                outcomes[item.id] = Outcome.DONE
            elif Item.seen(record) != item:
                outcomes[item.id] = Outcome.CHANGED
            else:
                try:
                    moves.append(Move(record, decide(record, event, now, self.policy)))
                except Refused:
                    outcomes[item.id] = Outcome.REFUSED
        for move, won in zip(moves, await self.store.exit(moves), strict=True):
            outcomes[move.before.id] = Outcome.DONE if won else await self._again(request, move)
        return [outcomes[item.id] for item in part]

    async def _again(self, request: Request, move: Move) -> Outcome:
        """What became of one whose fence did not stand: another call of this request may have been faster."""
        item = Item.seen(move.before)
        record = (await self.store.records([item])).get(item.id)
        return Outcome.DONE if record and desk.is_done_by(record, request, item) else Outcome.CHANGED

    async def _standing(self, payload: Mapping[str, Any]) -> Request:
        id_ = payload.get("id")
        if not isinstance(id_, str):
            raise Refused("say which request")
        found = await self._kept(id_)
        if found is None:
            raise Refused(f"there is no request {id_[:40]!a}")
        return found

    async def _kept(self, id_: str) -> Request | None:
        try:
            found = await self.store.request(id_)
        except ValueError as error:
            raise Refused(f"{id_[:40]!a} can't be believed: {error}") from None
        return found if found and found.stack == self.stack else None

    async def _keep(self, before: Request, after: Request) -> None:
        if not await self.store.replace(before, after):
            raise Refused(f"request {before.id} was changed by somebody else just now; look again")

    def _tell(self, event: str, request: Request, by: str, **more: object) -> None:
        self.audit(
            event,
            request=request.id,
            by=by,
            exit=request.order.kind,
            state=request.state.value,
            transactions=len(request.items),
            digest=request.digest,
            **more,
        )


def _gone_through(request: Request) -> int:
    return len(request.outcomes) - len(request.left_out())


def _same(kept: Request, person: str, order: Order, items: Sequence[Item]) -> Request:
    """Raises Refused: it is not the one that is asked for."""
    if (kept.maker, kept.order, kept.items) != (person, order, tuple(items)):
        raise Refused(f"there is another request {kept.id}: ask again, under a new id")
    return kept


def told(request: Request, now: datetime | None = None) -> dict[str, Any]:
    """A request as people and programs are told of it; without its list, which may be long."""
    ended = now is not None and request.state is Stage.OPEN and request.is_over(now)
    return {
        "id": request.id,
        "order": request.order.told(),
        "by": request.maker,
        "made_at": to_text(request.made_at),
        "ends_at": to_text(request.ends_at),
        "state": "ended" if ended else request.state.value,
        "approvals": [{"by": approval.by, "at": to_text(approval.at)} for approval in request.approvals],
        "approvals_needed": request.needed,
        "transactions": len(request.items),
        "sums": dict(request.sums),
        "digest": request.digest,
        "gone_through": len(request.outcomes),
        "left_out": [{"id": id_, "why": outcome.name.lower()} for id_, outcome in request.left_out()],
    }
