"""`python -m local COMMAND`: the local AWS from the command line. `make` has a target for each."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from types import FrameType
from typing import NoReturn

from local import shell, waterfall
from local.errors import LocalError
from local.processes import ROOT, explain
from local.stack import LocalAws, clean


def preview(aws: LocalAws) -> int:
    """what `pulumi up` would do"""
    return aws.pulumi("preview", *aws.under_policies, "--stack", aws.stack).returncode


def up(aws: LocalAws) -> int:
    """make the stack as the program and its config say"""
    code = aws.pulumi("up", "--yes", "--skip-preview", *aws.under_policies, "--stack", aws.stack).returncode
    if code == 0:
        if lines := aws.recorded_only():
            print("\nOnly recorded here, because the emulator does not have it; AWS will:")
            print("\n".join(f"  {line}" for line in lines))
        print(f"\nNext: make shell STACK={aws.stack}, and there: pulumi stack output, confirm status, ...")
    return code


def destroy(aws: LocalAws) -> int:
    """remove all of the stack's resources"""
    return aws.pulumi("destroy", "--yes", "--skip-preview", "--stack", aws.stack).returncode


COMMANDS: dict[str, Callable[[LocalAws], int]] = {
    "preview": preview,
    "up": up,
    "destroy": destroy,
    "shell": shell.run,
}


def main(arguments: list[str]) -> int:
    """Run a command; its exit code. Errors are a sentence, never a stack trace."""
    parser = argparse.ArgumentParser(prog="python -m local", description="The stack on the local AWS.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    help_of = {name: function.__doc__ for name, function in COMMANDS.items()}
    help_of |= {
        "shell": "a shell in which you type what you will type on AWS",
        "pipeline": "azure-pipelines.yml, stage by stage, on the local AWS",
        "demo": "confirm 6,919 real transactions and show the verdict",
        "trace": "a transaction's trace as a waterfall, here and as a picture",
        "clean": "end what runs and remove all that the local AWS made",
    }
    for name, text in help_of.items():
        command = commands.add_parser(name, help=text, description=text)
        if name == "demo":
            command.add_argument("--alternative", choices=["serverless", "fargate"], help="one of them only")
        elif name == "trace":
            command.add_argument("transaction", help="its id")
        elif name != "clean":
            command.add_argument("--stack", default="serverless", help="a stack with a Pulumi.STACK.yaml")
            if name == "pipeline":
                command.add_argument("--tests", help="pytest's arguments; '' for all tests")
    chosen = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGHUP, _leave)
    try:
        if chosen.command == "clean":
            clean(ROOT / ".local")
            return 0
        if chosen.command == "trace":
            return waterfall.main(ROOT / ".local" / "traces", chosen.transaction)
        if chosen.command == "demo":
            every = import_module("local.demo").ALTERNATIVES
            return int(import_module("local.demo").main([chosen.alternative] if chosen.alternative else list(every)))
        if chosen.command == "pipeline":
            given = {} if chosen.tests is None else {"tests": chosen.tests}
            return int(import_module("local.pipeline").main(chosen.stack, **given))
        with LocalAws(chosen.stack) as aws:
            return COMMANDS[chosen.command](aws)
    except LocalError as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        print(f"error: {explain(error, chosen.command)}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    return 1


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    """Leave through every `finally`, once: a second signal must not cut the leaving short."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
