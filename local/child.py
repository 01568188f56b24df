"""`python -m local.child MODULE ARGUMENTS`: a server of the local AWS as we start it (local/processes.py).

It runs MODULE as `python -m MODULE` would, and sees to it that the server ends with its parent.
"""

from __future__ import annotations

import runpy
import sys

from local.processes import hold_to_lifeline


def main() -> None:
    """Replace ourselves by the module."""
    hold_to_lifeline()
    module = sys.argv.pop(1)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
