"""How a command of ours ends: by its exit code, an error that is a sentence, or a signal, never in a stack trace."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from local.errors import LocalError
from local.processes import explain


def run(command: Callable[[], int], doing: str) -> int:
    """Run it; its exit code. `doing` is what is said not to go where the system refuses something."""
    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGHUP, leave)
    try:
        return command()
    except LocalError as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        print(f"error: {explain(error, doing)}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    return 1


def leave(number: int, _frame: FrameType | None) -> NoReturn:
    """Leave through every `finally`, once: a second signal must not cut the leaving short."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    sys.exit(128 + number)
