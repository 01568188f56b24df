"""`python -m delivery.azure_runner --stack STACK`, which is `make pipeline`."""

from __future__ import annotations

import argparse
import sys

from delivery.azure_runner import TESTS, main
from local import console

parser = argparse.ArgumentParser(prog="python -m delivery.azure_runner", description="azure-pipelines.yml, run here.")
parser.add_argument("--stack", default="serverless", help="a stack with a Pulumi.STACK.yaml")
parser.add_argument("--tests", default=TESTS, help="pytest's arguments; '' for all tests")
asked = parser.parse_args()
sys.exit(console.run(lambda: main(asked.stack, asked.tests), "run the pipeline"))
