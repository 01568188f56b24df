"""Lambdas that send to the collector in a layer find the local one in its place.

Gap: ministack runs no extensions, so nothing listens where the layer's collector would.
"""

from __future__ import annotations

import os
from typing import Any

from local.overlay.ecs_tasks import COLLECTOR, ENDPOINT


def apply() -> None:
    """Wrap the start of a worker's process."""
    from ministack.core import lambda_runtime

    original = lambda_runtime.Worker._spawn

    def spawn(self: Any) -> None:
        variables = self.config.get("Environment", {}).get("Variables", {})
        if ENDPOINT in variables and (collector := os.environ.get(COLLECTOR)):
            self.config = {**self.config, "Environment": {"Variables": {**variables, ENDPOINT: collector}}}
        original(self)

    lambda_runtime.Worker._spawn = spawn
