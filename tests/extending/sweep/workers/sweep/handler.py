"""The one Lambda: looks what is due and confirms it, a batch after the other, while it has time and gets on."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

from workers import measures
from workers.domain.transaction import to_text
from workers.serverless import handlers
from workers.serverless.handlers import SETTLE_RESERVE, app
from workers.telemetry import failures_logged

DOUBT_SHARE = 4
"""Of an invocation's time, the part that marking takes in shadow mode."""


@failures_logged
def sweep(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """One run; what it counted. The run lock spares a second one, each transaction's fence makes it harmless."""
    config, lock, policy, began = app().config, app().lock, app().config.policy, app().clock.now()
    run, left = str(context.aws_request_id), timedelta(milliseconds=context.get_remaining_time_in_millis())
    ours = lock.take(run, began, began + config.run_lease, in_shadow=policy.only_ask, restored_to=policy.restored_to)
    if not ours:
        return {"run": run, "locked_out": True}
    app().loop.run_until_complete(app().store.learn_shards(keep=True))
    if policy.only_ask:
        app().loop.run_until_complete(app().store.doubt(until=began + left / DOUBT_SHARE))
    known = {name: to_text(time) for name, time in ours._asdict().items() if time}
    common = {"run": run, "planned": to_text(began), "mode": "shadow" if policy.only_ask else "confirm", **known}
    total: Counter[str] = Counter()
    while app().clock.now() < began + left - 2 * SETTLE_RESERVE:
        ids = _look(app().clock.now(), run)
        if not ids:
            break
        counts = handlers.confirm({**common, "batch": total["batches"], "ids": ids}, context)
        total.update(counts, batches=1)
        if counts["claimed"] <= counts["not_tried"] + counts["lost"]:
            break  # what is left is held by others, or the gateway cannot be asked now
    lock.note(run, {"run": run, "began": to_text(began), "ended": to_text(app().clock.now()), **total})
    lock.release(run)
    return {"run": run, **total}


def _look(now: datetime, run: str) -> list[str]:
    """Up to a batch of what is due; how old it is, and what waits for a person, is told."""
    store, config, telemetry = app().store, app().config, app().telemetry
    due = app().loop.run_until_complete(store.due(config.batch_size))
    ahead = app().loop.run_until_complete(store.never_due(config.batch_size - len(due.ids))) if not due.more else ()
    desk = app().loop.run_until_complete(store.desk())
    age = max((now - due.oldest_due_at).total_seconds(), 0) if due.oldest_due_at else 0
    telemetry.metrics(
        {
            "Backlog": (len(due.ids), "Count"),
            **({"OldestPendingAge": (round(age, 3), "Seconds")} if due.ids else {}),
            **measures.of_desk(desk, now, config.policy.review_within),
        },
        now,
        run=run[:8],
    )
    measures.by_currency(telemetry, desk, now)
    return list(dict.fromkeys(due.ids + ahead))
