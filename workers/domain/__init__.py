"""The core: what a transaction is, how its state may change, and how one is confirmed. Does no I/O of its own."""
