"""`python -m demo`, which is `make demo`."""

from __future__ import annotations

import argparse
import sys

from alternatives import ALTERNATIVES
from demo import SHORT, WHOLE, main
from local import console

parser = argparse.ArgumentParser(prog="python -m demo", description="Confirm 6,919 real transactions, and a verdict.")
parser.add_argument("--alternative", choices=list(ALTERNATIVES), help="one of them only")
parser.add_argument("--short", action="store_true", help="the first 150 only, with a faster clock")
given = parser.parse_args()
chosen = [given.alternative] if given.alternative else list(ALTERNATIVES)
sys.exit(console.run(lambda: main(chosen, SHORT if given.short else WHOLE), "demo"))
