"""Run a container's command so that it ends with the emulator: `contain.py PROGRAM ARGUMENTS ...`.

Its stdin is the lifeline (local/processes.py). SIGTERM is handed on to the command alone, as to a container's first
process; the exit code is the command's, 128 and the signal's number where one ended it. What the command leaves behind
is in this process's group, which the emulator ends.
"""

import contextlib
import os
import signal
import sys
import threading
import time

GRACE_SECONDS = 2.0
"""For the command to end by SIGTERM when the emulator is gone: nobody waits for more then."""


def main() -> int:
    """Start the command and wait for its end."""
    handed_on = (signal.SIGTERM, signal.SIGINT)
    signal.pthread_sigmask(signal.SIG_BLOCK, handed_on)  # until there is somebody to hand them on to
    child = os.fork()
    if child == 0:
        become(sys.argv[1:])
    for number in handed_on:
        signal.signal(number, lambda number, _frame: tell(child, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, handed_on)
    threading.Thread(target=hold_to_lifeline, args=(child,), daemon=True).start()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code if code >= 0 else 128 - code


def become(command: list[str]) -> None:
    """In the child: the command, with nothing to read."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell is wanted
    except OSError as error:
        print(f'exec: "{command[0]}": {error.strerror}', file=sys.stderr, flush=True)
    os._exit(127)


def hold_to_lifeline(child: int) -> None:
    """End all when the emulator does, however it does."""
    while os.read(0, 1024):
        pass
    tell(child, signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os.killpg(0, signal.SIGKILL)


def tell(child: int, number: int) -> None:
    """A signal, unless it has ended meanwhile."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, number)


if __name__ == "__main__":
    sys.exit(main())
