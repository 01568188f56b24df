"""Start a program that is not ours so that it ends with us: `guard.py PARENT SIGNAL PROGRAM ARGUMENTS ...`.

On Linux the kernel sends SIGNAL when the parent is gone, `kill -9` included. Elsewhere there is no such thing; there
`pulumi` ends by itself soon after, since the emulator ends with us.
"""

import os
import sys


def main() -> None:
    """Ask for the signal, then become the program."""
    parent, number, program = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    if sys.platform == "linux":
        import ctypes

        set_parent_death_signal = 1  # PR_SET_PDEATHSIG; it outlives execve
        ctypes.CDLL(None).prctl(set_parent_death_signal, number)
    if os.getppid() != parent:  # it died meanwhile
        sys.exit(1)
    os.execvp(program[0], program)  # noqa: S606 - no shell is wanted


main()
