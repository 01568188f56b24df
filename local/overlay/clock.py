"""The clock of the local AWS, which may run faster than the one on the wall, and what happens at its minutes."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

logger = logging.getLogger("overlay.clock")

SPEED = float(os.environ.get("CONFIRM_SCHEDULER_SPEED", "1"))
"""How much faster; `Emulator(scheduler_speed=6)` says 6."""

MINUTE = 60 / SPEED
"""Seconds on the wall."""


def every(seconds: float, name: str, kept: Callable[[], Any], look: Callable[[Any, dict[str, Any]], None]) -> None:
    """Look at each thing of a kind, again and again, in a thread of its own. `kept` gives ministack's own books of that
    kind, over all accounts and regions; `look` gets key and record, in the account and region that they are of."""
    from ministack.core.responses import request_scope

    def run() -> None:
        while True:
            time.sleep(seconds)
            for (account, region, key), record in list(kept()._data.items()):
                try:
                    with request_scope(account, region):
                        look(key, record)
                except Exception:
                    logger.exception("%s: %s of %s in %s", name, key, account, region)

    threading.Thread(target=run, name=name, daemon=True).start()
