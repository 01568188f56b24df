"""The emulator saves all of its state, though something still works while it ends.

Gap: on SIGTERM ministack asks each service for its state, while Lambdas and tasks still write. Where one changes a
dictionary that is just being copied, the service's state is left out of what is saved: log groups, state machines or
tables are gone with the next start.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

TRIES = 200
WAIT_SECONDS = 0.02


def apply() -> None:
    """Wrap what asks for the states."""
    from ministack import app

    original = app._build_persistence_save_dict

    def build() -> dict[str, Callable[[], Any]]:
        return {name: patient(get_state) for name, get_state in original().items()}

    app._build_persistence_save_dict = build


def patient(get_state: Callable[[], Any]) -> Callable[[], Any]:
    """The same, asked again where something changed meanwhile."""

    def get() -> Any:
        for _ in range(TRIES - 1):
            try:
                return get_state()
            except RuntimeError:  # a dictionary, or a set, changed its size while it was copied
                time.sleep(WAIT_SECONDS)
        return get_state()

    return get
