"""The desk function: who calls, what two people decide, and everything that one person could try alone."""
