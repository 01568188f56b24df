"""What a step says when it refuses to go on."""

from __future__ import annotations


class Refused(Exception):  # noqa: N818 - it reads well where it is raised
    """A message for the reader of the log: what was found, what is allowed, how to fix it. Never with a stack trace."""
