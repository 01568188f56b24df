"""The runtime of the sweep alternative: one Lambda on a schedule."""
