"""A run at its end, before the oracles that the simulator has too, with the gateway's own book as evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from rich.console import Console

from demo.scenario import ask_gateway
from local.stack import LocalAws
from simulation.oracles import Effect, Finding, at_end, final_moved
from workers.domain.transaction import CANARY, Transaction

SHOWN = 10


@dataclass(frozen=True)
class Judged:
    records: list[Transaction]
    effects: list[Effect]
    findings: list[Finding]
    stats: dict[str, Any]
    """What the gateway counted."""

    @property
    def doubles(self) -> int:
        return sum(one.oracle == "two effects" for one in self.findings)

    @property
    def lost(self) -> int:
        return sum(one.oracle == "lost" for one in self.findings)


def judged(
    aws: LocalAws,
    came: Sequence[Transaction],
    records: list[Transaction],
    *,
    earlier: Sequence[Transaction] = (),
    apart: timedelta = timedelta(),
    marked: bool = False,
    but: str = CANARY,
) -> Judged:
    """Our records against the gateway's ledger; a key that was used for two payments counts as a finding, too.

    `earlier` are records of before: what was final then stays so. Ids that begin with `but` are in neither book.
    """
    records = [record for record in records if not record.id.startswith(but)]
    book = ask_gateway(aws, "/_ledger")
    effects = [
        Effect(one["id"], one["amount"], one["currency"]) for one in book["effects"] if not one["id"].startswith(but)
    ]
    findings = [*at_end(came, records, effects, apart=apart, marked=marked), *final_moved(earlier, records)]
    findings += [Finding("ledger", one["id"], one["what"]) for one in book["violations"]]
    return Judged(records, effects, findings, ask_gateway(aws, "/_stats"))


def tell(console: Console, findings: Sequence[Finding]) -> None:
    for one in findings[:SHOWN]:
        console.print(f"  [red]{one}[/]")
    if len(findings) > SHOWN:
        console.print(f"  [red]and {len(findings) - SHOWN} more[/]")
    if not findings:
        console.print("  [green]no oracle found anything[/]")
