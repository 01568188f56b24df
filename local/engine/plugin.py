"""`python -m local.engine.plugin MODULE ARGUMENTS`: a provider as the engine starts it.

It runs MODULE as `python -m MODULE` would, and sees to it that the provider ends with the engine, quietly.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys

from local.processes import hold_to_lifeline


def main() -> None:
    """Replace ourselves by the module."""
    # The engine starts plugins in process groups of their own, so a Ctrl-C in the terminal does not reach us: SIGINT is
    # how the engine says that it needs us no more.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(0))
    hold_to_lifeline()  # our stdin is a pipe that the engine holds
    module = sys.argv.pop(1)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
