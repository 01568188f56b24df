"""Traces."""

from __future__ import annotations

from hashlib import blake2b

from workers.domain.transaction import Transaction


def trace_id(transaction: Transaction) -> str:
    """The one trace of a transaction, 32 hex digits: a function of its id and time of creation, so that nobody has to
    store it or hand it on. Begins with the second of its creation, as X-Ray's own ids do."""
    return (
        f"{int(transaction.created_at.timestamp()):08x}" + blake2b(transaction.id.encode(), digest_size=12).hexdigest()
    )
