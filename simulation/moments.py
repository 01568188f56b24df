"""In which moments of a transaction's life its deadline passed: there is none in which it may do harm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime

from simulation.journal import Journal

PHASES = {
    "adds": "it waits",
    "redrives": "it waits",
    "asks": "it is asked about",
    "sends": "it is sent",
    "confirm": "an answer is on its way to the datastore",
    "ask": "an answer is on its way to the datastore",
    "PENDING": "it waits",
    "PROCESSING": "it is held",
    "REVIEW": "it is on a desk",
    "CONFIRMED": "it is final",
    "REJECTED": "it is final",
}
"""What a line of the journal begins."""


def deadlines(journal: Journal, due: Iterable[tuple[str, datetime]], start: datetime) -> Counter[str]:
    """How often a deadline passed in which phase. A redrive sets a new one; the first counts."""
    ends = {id_: (deadline - start).total_seconds() for id_, deadline in due}
    phases = dict.fromkeys(ends, "it has not come yet")
    for line in journal.lines:
        if (end := ends.get(line.id)) is not None and line.at < end:
            what = line.what.rpartition(" -> ")[2].partition(":")[0]
            phases[line.id] = PHASES.get(what, phases[line.id])
    return Counter(f"deadline passes while {phase}" for phase in phases.values())
