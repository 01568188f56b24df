"""`python -m local.overlay`: the emulator's process. It ends with its parent."""

from __future__ import annotations

import sys

from local import overlay
from local.errors import LocalError
from local.processes import hold_to_lifeline


def main() -> None:
    """Apply the overlays and serve until SIGTERM."""
    hold_to_lifeline()
    try:
        overlay.apply()
    except LocalError as error:
        sys.exit(str(error))
    from ministack import app

    app.main()


main()
