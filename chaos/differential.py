"""`make differential`: the same transactions and the same gateway, with the same seed, through both alternatives: each
transaction must have the same end and the same history.

The gateway's faults are drawn from the seed, the id and the number of the call, so both alternatives meet the same
ones. Nobody is killed. Waits between tries are longer than the gateway's grace period, so that nothing depends on who
is faster.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import count

from rich.console import Console

from alternatives import ALTERNATIVES
from chaos.attack import LOOK_SECONDS
from chaos.judge import Judged, judged, tell
from chaos.normal import differences
from chaos.stage import behave, stack
from demo.picture import Sample
from demo.scenario import Scenario, Watch
from demo.screen import console as terminal
from demo.screen import progress
from evidence.record import Evidence, Figure, Table, keep
from local.errors import LocalError
from workers.domain.transaction import Status, Transaction

TRANSACTIONS = 10_000
CHUNK = 500
PATIENCE_SECONDS = 900.0
SHOWN = 10
APART = timedelta(milliseconds=100)
"""The clocks that date the lines: a worker keeps the database's time as exactly as an answer is quick."""
FIRST = "first-"
"""How the ids begin that only show that the workers have the gateway's key."""
LIKE_NO_TROUBLE = 3
"""Lines of history: added, claimed, confirmed."""
CONFIG: Mapping[str, int] = {
    "clockSkewSeconds": 0,
    "maxAttempts": 8,
    "gatewayGraceSeconds": 1,
    "retryBaseSeconds": 40,  # a tenth of it is the shortest wait: longer than a call and the grace period
    "retryCapSeconds": 60,
}
OWN: Mapping[str, Mapping[str, int]] = {
    "fargate": {"stopTimeoutSeconds": 120, "leaseSeconds": 90},  # nobody takes over from a machine that is busy
    "serverless": {},
}
PROFILE: Mapping[str, object] = {
    "profile": "demo",
    "latency_seconds": [0.01, 0.05],
    "refused": 0.02,
    "faults": {
        "unavailable": 0.015,
        "timeout-after": 0.008,
        "timeout-before": 0.004,
        "error-after": 0.005,
        "error-before": 0.005,
        "close-after": 0.005,
        "garbage": 0.003,
        "wrong-amount": 0.003,
    },
}


def main(transactions: int = TRANSACTIONS, seed: int = 1) -> int:
    """Exit code 0 where all are told alike."""
    console, began = terminal(), time.monotonic()
    came = payments(transactions, seed)
    runs = {name: _run(console, name, came, seed) for name in ALTERNATIVES}
    found, left_out = differences({name: run.records for name, run in runs.items()})
    kinds = Counter(one.what for one in found)
    console.rule("[bold]side by side[/]", align="left")
    for one in found[:SHOWN]:
        console.print(f"  [red]{one.id}: {one.what}[/]")
        for name, side in zip(runs, one.sides, strict=True):
            console.print(f"      {name:<12}{side}")
    findings = [one for run in runs.values() for one in run.findings]
    tell(console, findings)
    ends = Counter(record.status for record in next(iter(runs.values())).records)
    answers = sum((Counter(run.stats["answers"]) for run in runs.values()), Counter[str]())
    lines = sum(len(record.history) for run in runs.values() for record in run.records)
    figures: dict[str, Figure] = {
        "transactions": transactions,
        "seed": seed,
        "same_state": transactions - kinds["missing"] - kinds["state"] - kinds["content"],
        "same_history": transactions - len(found),
        "different": len(found),
        "lines_of_history": lines,
        **{status.value.lower(): ends[status] for status in Status if ends[status]},
        **{f"left_out_of_{name}": count.total() for name, count in left_out.items()},
        **{f"calls_of_{name}": int(run.stats["calls"]) for name, run in runs.items()},
        "findings": len(findings),
    }
    for name, value in figures.items():
        console.print(f"  {name.replace('_', ' '):<32}{value:,}")
    passed = not found and not findings
    out = [(name, cause, count) for name, counts in left_out.items() for cause, count in sorted(counts.items())]
    console.print(f"  {'[green]all are told alike[/]' if passed else '[bold red]told differently[/]'}")
    keep(
        Evidence(
            part="differential",
            claim="Both alternatives bring the same transactions to the same ends, by the same histories.",
            command="make differential",
            passed=passed,
            seconds=round(time.monotonic() - began, 1),
            figures=figures,
            counts=dict(answers),
            tables=[
                Table("Told differently", ("transaction", "what", *runs), [(d.id, d.what, *d.sides) for d in found]),
                Table("Tries without a call, left out of the comparison", ("alternative", "cause", "tries"), out),
            ],
        )
    )
    return 0 if passed else 1


def _await_key(scenario: Scenario) -> None:
    """Workers that began before the gateway's key was put into its secret look again later."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    for n in count():
        now = datetime.now(UTC)
        scenario.add([Transaction(f"{FIRST}{n}", "acct-0", 1, "USD", now, now + timedelta(hours=1))])
        until = time.monotonic() + 20
        while time.monotonic() < until:
            found = scenario.find(f"{FIRST}{n}")
            if found and found.status.is_final and len(found.history) == LIKE_NO_TROUBLE:
                return
            if found and len(found.history) > LIKE_NO_TROUBLE:
                break
            time.sleep(0.2)
        if time.monotonic() > give_up:
            raise LocalError("No worker got through to the gateway.")


def payments(number: int, seed: int) -> list[Transaction]:
    """The same for the same seed, but for the moment at which they came about."""
    chance, now = random.Random(seed), datetime.now(UTC)
    return [
        Transaction(
            f"same-{n:06}", f"acct-{n % 997:03}", chance.randint(1, 99_999), "USD", now, now + timedelta(hours=24)
        )
        for n in range(number)
    ]


def _run(console: Console, alternative: str, came: list[Transaction], seed: int) -> Judged:
    console.rule(f"[bold]{alternative}[/]: {len(came):,} transactions, seed {seed}", align="left")
    with stack(console, alternative, {**CONFIG, **OWN[alternative]}, folder="differential", seed=seed) as aws:
        behave(aws, **PROFILE)
        scenario = ALTERNATIVES[alternative].scenario()(aws, aws.outputs())
        try:
            _await_key(scenario)
            for start in range(0, len(came), CHUNK):
                scenario.add(came[start : start + CHUNK])
            watch, give_up = Watch(), time.monotonic() + PATIENCE_SECONDS
            with progress(console, len(came)) as show:
                while (backlog := scenario.backlog()).open:
                    final = len(came) - backlog.open - backlog.review
                    watch.samples.append(Sample(watch.seconds, backlog.open, final))
                    show(final + backlog.review, backlog, watch)
                    if time.monotonic() > give_up:
                        raise LocalError(f"{backlog.open} transactions are open after {PATIENCE_SECONDS:.0f} s.")
                    time.sleep(LOOK_SECONDS)
            return judged(aws, came, scenario.everything(), apart=APART, but=FIRST)
        finally:
            scenario.close()
