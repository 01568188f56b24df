"""`python -m local COMMAND`: the local AWS from the command line. `make` has a target for each."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from local import console, shell
from local.engine.home import PROVIDERS, real_providers
from local.processes import ROOT
from local.stack import LocalAws, clean

REAL = ROOT / ".local" / "real"
"""A state of its own: what the real providers and the stand-ins keep of a resource differs."""


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
        "clean": "end what runs and remove all that the local AWS made",
    }
    for name, text in help_of.items():
        command = commands.add_parser(name, help=text, description=text)
        if name != "clean":
            command.add_argument("--stack", default="serverless", help="a stack with a Pulumi.STACK.yaml")
            command.add_argument("--providers", choices=["local", "real"], default="local", help="ADR 6 tells of both")
    chosen = parser.parse_args(arguments)

    def run() -> int:
        if chosen.command == "clean":
            for folder in (REAL, ROOT / ".local"):
                clean(folder)
            return 0
        real = chosen.providers == "real"
        providers = real_providers() if real else PROVIDERS
        with LocalAws(chosen.stack, folder=REAL if real else None, providers=providers) as aws:
            return COMMANDS[chosen.command](aws)

    return console.run(run, chosen.command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
