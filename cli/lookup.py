"""What commands and the console look up: one transaction by its id or its name, one request, the overview."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from difflib import get_close_matches

from cli import views
from cli.desk import Desk
from cli.exits import Exit, Trouble
from workers.domain.desk import Request
from workers.domain.rules import ID
from workers.domain.transaction import Transaction

REVIEW_LIMIT = 1000
MOST_BYTES = 2048
"""Of an id, whoever made it: DynamoDB has no longer keys."""
ENDED_SHOWN = timedelta(days=7)
"""For so long a request is listed that nobody has approved in time."""
SHORT = 12
"""Digits of a request's id, or of a digest, that people are shown: enough to tell some hundreds apart."""


async def overview(desk: Desk, now: datetime, *, everything: bool) -> views.Overview:
    """What `confirm status` tells; `everything` counts every state, by a walk through the whole table."""
    backlog, review, last, work = await asyncio.gather(
        desk.store.backlog(), desk.store.review(REVIEW_LIMIT), desk.runs.last(), desk.runs.last_with_work()
    )
    states = await desk.census.tally() if everything else None
    pause = (await desk.requests.standing()).pause
    return views.Overview(desk.target, now, backlog, review, last, work, states, pause)


async def requested(desk: Desk, id_: str, now: datetime) -> Request:
    """The request of that id, or the one that waits whose id begins so.

    Raises:
        Trouble: there is none, or more than one.
    """
    try:
        if found := await desk.requests.request(id_):
            return found
    except ValueError as error:
        raise Trouble(f"the request {id_} can't be believed ({error})", "see who writes to the datastore") from None
    alike = [one for one in await desk.requests.requests(now - ENDED_SHOWN) if id_ and one.id.startswith(id_)]
    if len(alike) == 1:
        return alike[0]
    if alike:
        raise Trouble(f"{len(alike)} requests begin with {id_[:40]!a}", "write more of the id", Exit.USAGE)
    raise Trouble(f"there is no request {id_[:40]!a} in {desk.target}", "see `confirm requests`")


async def found(desk: Desk, id_: str) -> Transaction:
    """The transaction of that id, or of that name: who sees but the mask of a card must get on all the same.

    Raises:
        Trouble: there is none, or more than one.
    """
    if id_.isprintable() and 0 < len(id_.encode()) <= MOST_BYTES and (record := await desk.store.find(id_)):
        return record
    if record := await _named(desk, id_):
        return record
    if not ID.fullmatch(id_):
        raise Trouble(
            f"{id_[:40]!a} cannot be the id of a transaction",
            "an id is 1 to 128 of A-Z a-z 0-9 . _ : -, beginning with a letter or a digit",
            Exit.USAGE,
        )
    near = await _nearest(desk, id_)
    hint = f"the nearest ids are {' and '.join(near)}" if near else "see the id in the file or system that it came from"
    raise Trouble(f"there is no transaction {id_} in {desk.target}", hint)


async def _named(desk: Desk, name: str) -> Transaction | None:
    """The one that is shown so: on the desk, or, which takes a look at the whole table, anywhere."""
    ids = {one.id for one in await desk.store.review(REVIEW_LIMIT) if views.is_named(one.id, name)}
    if not ids and views.may_be_masked(name):
        ids = {entry.id async for entry in desk.census.entries() if views.is_named(entry.id, name)}
    if len(ids) > 1:
        raise Trouble(
            f"{len(ids)} transactions are shown as {name}",
            f"say which: {' or '.join(sorted(views.names(ids).values())[:4])}",
            Exit.USAGE,
        )
    return await desk.store.find(ids.pop()) if ids else None


async def _nearest(desk: Desk, id_: str) -> Sequence[str]:
    """Ids that were likely meant: the same in other letters, else similar ones in a sample of the table."""
    for variant in dict.fromkeys((id_.upper(), id_.lower())):
        if variant != id_ and await desk.store.find(variant):
            return [views.named(variant)]
    with suppress(Exception):  # a hint is not worth an error of its own (no right to scan, for one)
        return [views.named(one) for one in get_close_matches(id_, await desk.census.some_ids(), 2, 0.75)]
    return []
