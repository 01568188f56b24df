"""Bad inputs, planted secrets and hostile gateways, many thousands of each: `make corpus`; `make test` takes a slice.

Everything is drawn from a seed, so the same corpus meets every version; `kept.jsonl` has those that once failed.
"""

import os

WHOLE = os.environ.get("CORPUS") == "whole"
SEED = int(os.environ.get("CORPUS_SEED", "20261124"))


def size(whole: int, slice_: int) -> int:
    """How many are played: all by `make corpus`, a slice of them in `make test`."""
    return whole if WHOLE else slice_
