"""How bytes get to others: known to nothing of payments. The gateway and the collector of traces use it."""
