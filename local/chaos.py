"""What the demo does to its own run: kill a Lambda worker where it hurts."""

from __future__ import annotations

import os
import signal
import subprocess


def workers_of(parent: int, function: str) -> list[int]:
    """Process ids of the warm workers of a Lambda function below the emulator's process `parent`."""
    listed = _ps("-axo", "pid=,ppid=").split()
    pairs = list(zip(map(int, listed[::2]), map(int, listed[1::2]), strict=True))
    below = {parent}
    for _ in range(4):  # the emulator may start workers through a helper
        below |= {pid for pid, above in pairs if above in below}
    name = f"AWS_LAMBDA_FUNCTION_NAME={function}"
    return sorted(pid for pid in below - {parent} if name in _ps("eww", "-p", str(pid)).split())


def kill(pid: int) -> bool:
    """SIGKILL: no handler, no goodbye. False where it had ended by itself."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _ps(*arguments: str) -> str:
    return subprocess.run(["ps", *arguments], capture_output=True, text=True, check=False).stdout
