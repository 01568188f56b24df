"""What is explored: small numbers, so that the moment of each rule comes in each order with those of the others."""

from __future__ import annotations

from dataclasses import replace

from simulation.explorer.world import Shape

_TIGHT = Shape("", 0, 0, lease=2, apart=0, call=1, grace=1, off=(0, 0), refuses=False)

WINDOW = replace(_TIGHT, name="the key window ends first", horizon=4, deadline=9, window=4)
TAKEOVER = replace(_TIGHT, name="workers are lost", horizon=4, deadline=9, window=6)
DEADLINE = replace(_TIGHT, name="the deadline comes first", horizon=5, deadline=2, window=9, attempts=1)
DESK = replace(
    _TIGHT, name="a person sends it back", horizon=2, deadline=5, window=3, attempts=1, redrives=1, refuses=True
)

SMALL = (WINDOW, TAKEOVER, DEADLINE, DESK)

FULL = (
    replace(WINDOW, horizon=8),
    replace(WINDOW, name="clocks differ", horizon=7, apart=1, lease=3, off=(0, 1), window=6),
    replace(TAKEOVER, name="workers are lost, the gateway may refuse", horizon=7, refuses=True),
    replace(DEADLINE, horizon=9, attempts=2),
    replace(DESK, horizon=4, redrives=2),
    replace(TAKEOVER, name="leases are renewed", horizon=6, renews=True, central=True),
)
