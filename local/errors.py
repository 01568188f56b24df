"""What the local AWS says when it cannot go on."""

from __future__ import annotations


class LocalError(Exception):
    """A message for the user in a sentence or two: what happened and what to do. Never shown with a stack trace."""
