"""`python -m gateway_simulator`: the simulated payment gateway as a process."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from gateway_simulator import PROFILES, Ledger, ProfileError, SimulatedGateway
from local.errors import LocalError
from local.processes import explain, hold_to_lifeline


def main() -> None:
    """Serves until SIGTERM or Ctrl-C; prints its URL first."""
    parser = argparse.ArgumentParser(prog="python -m gateway_simulator", description="A simulated payment gateway.")
    parser.add_argument("--port", type=int, required=True, help="of 127.0.0.1; 0 picks a free one")
    parser.add_argument("--ledger", type=Path, required=True, help="file of effects and calls; continued if it exists")
    parser.add_argument("--seed", type=int, default=1, help="the same seed meets each call with the same fate (1)")
    parser.add_argument("--profile", choices=list(PROFILES), default="demo", help="how it behaves (demo)")
    parser.add_argument("--change", default="{}", metavar="JSON", help='as POST /_faults, e.g. {"hang_seconds": 3}')
    parser.add_argument("--lifeline", action="store_true", help="end when stdin ends (for a parent process)")
    arguments = parser.parse_args()
    if arguments.lifeline:
        hold_to_lifeline()
    try:
        profile = PROFILES[arguments.profile].changed(_object(arguments.change))
        ledger = Ledger(arguments.ledger)
        key = os.environ.get("SIMULATED_GATEWAY_KEY", "")
        asyncio.run(_serve(SimulatedGateway(ledger, seed=arguments.seed, profile=profile, api_key=key), arguments.port))
    except (LocalError, ProfileError) as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(explain(error, f"serve the simulated gateway on port {arguments.port}"))


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ProfileError(f"--change: must be a JSON object, found {text!r}")
    return value


async def _serve(gateway: SimulatedGateway, port: int) -> None:
    over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, over.set)
    print(f"simulated gateway: {await gateway.serve(port)}", flush=True)
    await over.wait()
    await gateway.stop()


main()
