"""Exit codes of `confirm`: one list, for scripts to rely on."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What a script may conclude from a command's end."""

    OK = 0
    """Done; whatever was asked about is in a final state."""
    ERROR = 1
    """Nothing, or not all, was done; the message says why and what to do."""
    USAGE = 2
    """The command line itself is wrong; nothing was done."""
    ROWS_REFUSED = 3
    """An import loaded the good rows and refused others, each named."""
    NO_ACCESS = 4
    """The stack or its AWS account could not be reached, or said no: credentials, or it does not run."""
    REFUSED = 5
    """A rule forbids it (four eyes; not in REVIEW); nothing changed."""
    BOOKS_DIFFER = 6
    """A reconciliation was made, and found differences."""
    NOT_YET_FINAL = 8
    """Answered, and the answer is that it is not over: open, or waiting for a person."""
    INTERRUPTED = 130
    """Ctrl-C."""


class Trouble(Exception):  # noqa: N818 - what a person reads, not an internal error
    """An end with one line for the person: what is wrong and what to do. Never shown with a stack trace."""

    def __init__(self, what: str, fix: str, code: Exit = Exit.ERROR) -> None:
        super().__init__(f"{what}: {fix}")
        self.what, self.fix, self.code = what, fix, code
