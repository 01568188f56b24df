"""`python -m chaos attack`, `soak`, `differential` or `drill`: the Makefile has a target for each."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from chaos import attack, differential, drill, soak
from chaos.front import Kind
from local import console

PLURAL = {kind: f"{kind.name.lower()}es" if kind is Kind.CRASH else f"{kind.name.lower()}s" for kind in Kind}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    one = commands.add_parser("attack", help="kill, pause and cut off workers; the gateway's book is the judge")
    one.add_argument("--alternative", choices=list(attack.FRONTS), help="one of them only, with all attacks on it")
    one.add_argument("--transactions", type=int, default=attack.TRANSACTIONS, help="of all alternatives together")
    for kind, count in attack.WHOLE.items():
        one.add_argument(f"--{PLURAL[kind]}", type=int, default=count, help=f"{kind}: so many times")
    same = commands.add_parser("differential", help="the same transactions through both alternatives, compared")
    same.add_argument("--transactions", type=int, default=differential.TRANSACTIONS)
    same.add_argument("--seed", type=int, default=1, help="of the transactions and of the gateway's faults")
    back = commands.add_parser("drill", help="set the datastore back to the middle of a run, and go on")
    back.add_argument("--alternative", choices=list(drill.STORES), help="one of them only")
    long = commands.add_parser("soak", help="the simulator's seeds, then chaos for long, with workers that are watched")
    long.add_argument("--minutes", type=float, default=soak.MINUTES, help="of chaos; the seeds go with them")
    long.add_argument("--seeds", type=int, help="so many instead")
    given = parser.parse_args(arguments)
    runs: dict[str, Callable[[], int]] = {
        "attack": lambda: _attack(given),
        "differential": lambda: differential.main(given.transactions, given.seed),
        "soak": lambda: soak.main(given.minutes, given.seeds),
        "drill": lambda: drill.main([given.alternative] if given.alternative else list(drill.STORES)),
    }
    return console.run(runs[given.command], f"chaos {given.command}")


def _attack(given: argparse.Namespace) -> int:
    attacks = {kind: getattr(given, PLURAL[kind]) for kind in Kind}
    names = [given.alternative] if given.alternative else list(attack.FRONTS)
    return attack.main(names, given.transactions, attacks)


if __name__ == "__main__":
    sys.exit(main())
