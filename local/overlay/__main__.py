"""`python -m local.overlay`: the emulator's process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from local import overlay
from local.errors import LocalError


def main() -> None:
    """Apply the overlays and serve until SIGTERM."""
    try:
        overlay.apply()
    except LocalError as error:
        sys.exit(str(error))
    from ministack import app
    from ministack.core import lambda_runtime

    from local.overlay import ecs_tasks, rds_postgres

    running = Path(os.environ["CONFIRM_RUNNING"])
    running.touch()
    app.main()  # returns after SIGTERM, when the state is saved
    lambda_runtime.reset()  # Lambdas in the middle of a call would go on to its end
    ecs_tasks.stop_all()
    rds_postgres.stop()
    running.unlink(missing_ok=True)


main()
