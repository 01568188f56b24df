"""Bad inputs, planted secrets and hostile gateways, many thousands of each: `make corpus`; `make test` takes a slice.

Everything is drawn from a seed, so the same corpus meets every version; `kept.jsonl` has those that once failed.
"""

import json
import os
from pathlib import Path
from typing import Any

WHOLE = os.environ.get("CORPUS") == "whole"
SEED = int(os.environ.get("CORPUS_SEED", "20261124"))


def kept(part: str) -> list[dict[str, Any]]:
    """Those that once failed, of one part."""
    lines = (Path(__file__).parent / "kept.jsonl").read_text().splitlines()
    return [one for one in map(json.loads, lines) if one.pop("part") == part]


def size(whole: int, slice_: int) -> int:
    """How many are played: all by `make corpus`, a slice of them in `make test`."""
    return whole if WHOLE else slice_
