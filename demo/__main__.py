"""`python -m demo`, which is `make demo`."""

from __future__ import annotations

import argparse
import sys

from demo import ALTERNATIVES, main
from local import console

parser = argparse.ArgumentParser(prog="python -m demo", description="Confirm 6,919 real transactions, and a verdict.")
parser.add_argument("--alternative", choices=list(ALTERNATIVES), help="one of them only")
chosen = parser.parse_args().alternative
sys.exit(console.run(lambda: main([chosen] if chosen else list(ALTERNATIVES)), "demo"))
