"""`python -m benchmarks.lambda_worker`: the Confirm function as Lambda runs it, in a process of some batches' life.

A JSON document with its ids is a batch, and a line on standard input; its counts are the answer, with how often it
asked for shares. The handler is the real one, in the environment that components/ would give it.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections import Counter
from datetime import UTC, datetime
from types import SimpleNamespace

from workers.domain.transaction import to_text
from workers.serverless import handlers

CONTEXT = SimpleNamespace(get_remaining_time_in_millis=lambda: 120_000)


def main() -> None:
    """Until standard input ends."""
    asked: Counter[str] = Counter()
    client = handlers.app().store.client
    client.meta.events.register("before-call.dynamodb.UpdateItem", lambda **_: asked.update(["shares"]))
    print("ready", file=sys.stderr, flush=True)
    for line in sys.stdin:
        batch = json.loads(line)
        event = {"run": "bench", "batch": batch["number"], "planned": to_text(datetime.now(UTC)), "ids": batch["ids"]}
        event["mode"] = "confirm"
        with contextlib.redirect_stdout(io.StringIO()):
            counts = handlers.confirm(event, CONTEXT)
        print(json.dumps({**counts, "asked": asked["shares"]}), file=sys.stderr, flush=True)
        asked.clear()


if __name__ == "__main__":
    main()
