"""Many at once: what `confirm find` finds, and the list of a request that was not written id by id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from cli.desk import Desk
from cli.exits import Exit, Trouble
from cli.where import where_in
from workers.domain.desk import MOST_IDS
from workers.domain.finding import DESK, Found, Route, Where, plan
from workers.domain.transaction import Status, Transaction

MOST_LISTED = 100_000
"""Of one search or list: in memory all at once."""
MOST_BYTES = MOST_LISTED * 200
"""Of a file of ids, which have 128 characters at most."""
_NO_CURRENCY = "XXX"
"""Of what something else wrote: no request takes it, since nobody could say what it is for."""


@dataclass(frozen=True, slots=True)
class Search:
    """What was found: all of it, or as much as was asked for."""

    found: Sequence[Found]
    more: bool
    ways: Sequence[Route]
    """None: the whole table was read."""


async def search(desk: Desk, where: Where, limit: int) -> Search:
    """The first `limit`."""
    ways, found = plan(where, desk.finder.ways), list[Found]()
    async for one in desk.finder.find(where, limit + 1):
        if len(found) == limit:
            return Search(found, True, ways)
        found.append(one)
    return Search(found, False, ways)


async def check_price(desk: Desk, where: Where, *, everything: bool) -> str | None:
    """What a walk through the whole table would read, where nothing less finds that; None where an index does.

    Raises:
        Trouble: it was not asked for.
    """
    if plan(where, desk.finder.ways):
        return None
    size = await desk.finder.size()
    reads = f"the whole table, about {size.rows:,} transactions ({size.reads})"
    if not everything:
        ways = "; ".join(way.name for way in desk.finder.ways)
        raise Trouble(
            f"no index finds that: it would read {reads}",
            f"ask for what an index finds, such as --state REVIEW (there are: {ways}), or say --all to read all of it",
            Exit.USAGE,
        )
    return reads


@dataclass(frozen=True, slots=True)
class Chosen:
    """For which transactions an exit is asked."""

    ids: Sequence[str] = ()
    where: str | None = None
    file: str | None = None
    """With an id in each line; - is standard input."""
    yes: bool = False

    @property
    def is_many(self) -> bool:
        """Whether somebody should look at what they are before it is asked for."""
        return self.where is not None or self.file is not None

    def check(self) -> None:
        """Raises Trouble: none of the ways to say which, or more than one."""
        ways = [bool(self.ids), self.where is not None, self.file is not None]
        if sum(ways) != 1:
            what = "it is not said for which" if not any(ways) else "it is said twice for which"
            raise Trouble(what, "name ids, or say --where 'cause=...', or --from FILE: one of the three", Exit.USAGE)


@dataclass(frozen=True, slots=True)
class Picked:
    """The list that was made of it."""

    records: Sequence[Transaction]
    left_out: Mapping[str, int]
    """How many were found and are none that a request takes, by why."""

    @property
    def sums(self) -> Mapping[str, int]:
        total: Counter[str] = Counter()
        for one in self.records:
            total[one.currency] += one.amount
        return dict(sorted(total.items()))

    @property
    def parts(self) -> list[Sequence[Transaction]]:
        """A request each."""
        return [self.records[n : n + MOST_IDS] for n in range(0, len(self.records), MOST_IDS)]


async def on_desk(desk: Desk, text: str, now: datetime) -> Picked:
    """What is in REVIEW and matches that text of `--where`, the nearest deadline first.

    Raises:
        Trouble: it can't be read, asks for other states, or finds nothing, or too much.
    """
    where = where_in(text, now)
    if where.states - DESK:
        others = ", ".join(sorted(where.states - DESK))
        raise Trouble(f"--where asks for {others}", "leave state out: only what is in REVIEW leaves it", Exit.USAGE)
    found = await search(desk, replace(where, states=DESK), MOST_LISTED)
    if found.more:
        raise Trouble(f"more than {MOST_LISTED:,} match", "ask for fewer, for example by cause or currency", Exit.USAGE)
    return _picked([one.record for one in found.found])


def _picked(records: Sequence[Transaction]) -> Picked:
    good, left_out = [], Counter[str]()
    for one in records:
        if one.currency == _NO_CURRENCY:
            left_out["can't be read"] += 1
        elif one.status is not Status.REVIEW:
            left_out[f"{one.status}, not in REVIEW"] += 1
        else:
            good.append(one)
    if not good:
        told = "".join(f"; {count:,} left out: {why}" for why, count in left_out.items())
        raise Trouble(f"none of those is in REVIEW{told}", "look with `confirm find --state REVIEW`", Exit.REFUSED)
    return Picked(good, dict(left_out))


async def listed(desk: Desk, ids: Sequence[str]) -> tuple[Picked | None, list[str]]:
    """Those of these ids, and which of them are not there."""
    records = await desk.finder.read(ids)
    there = {record.id for record in records}
    missing = [id_ for id_ in ids if id_ not in there]
    return (None if missing else _picked(records)), missing


def ids_in(file: str, stdin: BinaryIO) -> list[str]:
    """The ids of a file, one in each line, each once.

    Raises:
        Trouble: there is none, or it holds something else.
    """
    name = "standard input" if file == "-" else file
    try:
        if file == "-":
            raw = stdin.read(MOST_BYTES + 1)
        else:
            with Path(file).open("rb") as stream:
                raw = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise Trouble(f"{name} can't be read ({error.strerror})", "correct the path", Exit.USAGE) from None
    try:
        lines = [line.strip() for line in raw.decode("utf-8-sig").splitlines()]
    except UnicodeDecodeError:
        raise Trouble(f"{name} is not UTF-8", "save it as UTF-8, with an id in each line", Exit.USAGE) from None
    ids = list(dict.fromkeys(line for line in lines if line))
    if not ids or len(ids) > MOST_LISTED or len(raw) > MOST_BYTES:
        what = f"{name} has more than {MOST_LISTED:,} ids" if ids else f"{name} is empty"
        raise Trouble(what, f"1 to {MOST_LISTED:,} ids, one in each line", Exit.USAGE)
    return ids
