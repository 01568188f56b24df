"""What the demo and the tests do to a run: find a process of the local AWS, and kill it where it hurts."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path


def emulator(folder: Path) -> int:
    """The emulator's process id; `folder` is the local AWS's."""
    return int((folder / "aws" / "overlay.pid").read_text())


def below(parent: int, word: str) -> list[int]:
    """Process ids below `parent` with `word` in their command or environment: those that work, not their guards."""
    pairs = [(int(pid), int(above)) for pid, above in map(str.split, ps("-axo", "pid=,ppid="))]
    found = {parent}
    for _ in range(4):  # workers may be started through a helper
        found |= {pid for pid, above in pairs if above in found}
    named = {pid for pid in found - {parent} if word in " ".join(ps("eww", "-o", "command=", "-p", str(pid))).split()}
    return sorted(named - {above for pid, above in pairs if pid in named})


def kill(pid: int) -> bool:
    """SIGKILL: no handler, no goodbye. False where it had ended by itself."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def ps(*arguments: str) -> list[str]:
    """The lines of `ps`."""
    return subprocess.run(["ps", *arguments], capture_output=True, text=True, check=False).stdout.splitlines()
