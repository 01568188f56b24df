"""`make demo`: each alternative comes up, confirms 6,919 real purchases under faults, and faces its verdict."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console

from alternatives import ALTERNATIVES
from demo import cdnow, comparison, dashboard, desk, screen
from demo.picture import Mark, Sample, draw
from demo.scenario import Outcome, Scenario, Watch, ask_gateway
from demo.verdict import Came, Effect, Verdict, judge
from local.errors import LocalError
from local.processes import ROOT
from local.stack import SCHEDULER_SPEED, LocalAws, in_use
from workers.domain.causes import Cause
from workers.domain.transaction import Status, Transaction

PATIENCE_SECONDS = 240.0
"""A run is given up as failed when it takes longer."""
RESTART = ("aws", "gateway", "postgres", "state", "program", "selected", "run.json", "recorded-only.jsonl")
"""What a demo removes of an earlier one: every demo begins with an empty AWS. The engine stays."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much of a demo it is."""

    purchases: int | None
    """So many of the first; None for all."""
    quiet: int
    """Transactions of the quiet hour."""
    speed: float
    """How much faster than on AWS the Scheduler's clock runs."""


WHOLE, SHORT = Size(None, 10, SCHEDULER_SPEED), Size(150, 1, 30.0)


def main(alternatives: Sequence[str], size: Size = WHOLE) -> int:
    """Run them one after the other; 0 when every promise was kept, 1 otherwise.

    Raises:
        LocalError: something could not be started, or a command failed.
    """
    console = screen.console()
    began = time.monotonic()
    outcomes = [_show(console, ALTERNATIVES[name].scenario(), size, ROOT / ".local") for name in alternatives]
    if len(outcomes) > 1:
        screen.chapter(console, 8, "side by side", "measured here, and priced for AWS")
        comparison.show(console, outcomes)
    screen.farewell(console, outcomes, time.monotonic() - began)
    return 0 if all(outcome.verdict.holds for outcome in outcomes) else 1


def _show(console: Console, kind: type[Scenario], size: Size, folder: Path) -> Outcome:
    begin_anew(folder)
    # A key of this run alone: what the gateway gets must be what was put into the secret.
    os.environ["SIMULATED_GATEWAY_KEY"] = key = secrets.token_hex(16)
    stack = kind.alternative
    screen.title(console, f"The {stack} stack on the local AWS", kind.about)
    with LocalAws(stack, folder=folder, scheduler_speed=size.speed) as aws:
        screen.chapter(console, 1, "pulumi preview", "what would be made")
        _must(aws.pulumi("preview", "--stack", stack).returncode, "pulumi preview")
        screen.chapter(console, 2, "pulumi up", "the same program and command as on AWS")
        _must(
            aws.pulumi("up", "--yes", "--skip-preview", *aws.under_policies, "--stack", stack).returncode, "pulumi up"
        )
        outputs = aws.outputs()
        put_key(aws, outputs, key)
        scenario = kind(aws, outputs)
        try:
            return _confirm(console, aws, scenario, size, folder)
        finally:
            scenario.close()


def _confirm(console: Console, aws: LocalAws, scenario: Scenario, size: Size, folder: Path) -> Outcome:
    stack, purchases = scenario.alternative, list(islice(cdnow.purchases(), size.purchases))
    screen.chapter(
        console, 3, "confirm import", f"{len(purchases):,} purchases of a CD shop, 1997-98, become pending transactions"
    )
    file = folder / "demo" / "purchases.csv"
    _write_csv(file, purchases)
    watch = Watch()
    _must(aws.run(["confirm", "import", str(file)]).returncode, "confirm import")
    watch.mark("all in")
    screen.chapter(console, 4, scenario.starts, scenario.mischief)
    _watch(console, scenario, len(purchases), watch)
    screen.chapter(console, 5, "the verdict", "our records against the gateway's own ledger")
    verdict, records = _judge(aws, scenario, purchases)
    screen.verdict(console, verdict, records, ask_gateway(aws, "/_stats"))
    screen.history(console, records)
    screen.times(console, scenario.times())
    picture = folder / "demo" / f"{stack}.png"
    settled = [r.settled_at.timestamp() - watch.began for r in records if r.settled_at]
    taken = [e.at.timestamp() - watch.began for r in records for e in r.history if e.cause is Cause.TAKEN_OVER]
    marks = [*watch.marks, *([Mark(min(taken), f"{len(taken)} taken over")] if taken else [])]
    draw(watch.samples, settled, marks, f"{len(records):,} transactions through the {stack} stack, local AWS", picture)
    console.print(f"\n[bold]The picture:[/] {picture.relative_to(ROOT)}")
    screen.chapter(console, 6, "a quiet hour", f"{size.quiet} more, one by one, with a gateway in good health")
    latencies = scenario.quiet_latencies(size.quiet)
    screen.latencies(console, latencies, scenario.latency_note)
    board = folder / "demo" / f"dashboard-{stack}.png"
    source = dashboard.Source(aws.client("cloudwatch"), datetime.fromtimestamp(watch.began, UTC), datetime.now(UTC))
    dashboard.draw(scenario.outputs["dashboardName"], source, board)
    console.print(f"\n[bold]The dashboard, as deployed, with these metrics:[/] {board.relative_to(ROOT)}")
    screen.chapter(console, 7, "two people at the desk", "what is in REVIEW is decided by the gateway's own ledger")
    waiting = [record for record in records if record.status is Status.REVIEW]
    desk.decide(console, aws, scenario.outputs, waiting, ask_gateway(aws, "/_ledger")["effects"])
    verdict, records = _judge(aws, scenario, [*purchases, *scenario.quiet], decided=True)
    screen.last_verdict(console, verdict)
    if waiting:
        decided = {record.id for record in waiting}
        screen.history(console, [record for record in records if record.id in decided])
    return Outcome(stack, verdict, tuple(records), tuple(settled), tuple(latencies), picture)


def _judge(
    aws: LocalAws, scenario: Scenario, brought: Sequence[Came], *, decided: bool = False
) -> tuple[Verdict, list[Transaction]]:
    """What was brought in, against what is recorded by now, against what the gateway did by now."""
    records, ledger = scenario.everything(), ask_gateway(aws, "/_ledger")
    effects = [Effect(e["id"], e["amount"], e["currency"]) for e in ledger["effects"]]
    return judge(brought, records, effects, len(ledger["violations"]), decided=decided), records


def _watch(console: Console, scenario: Scenario, total: int, watch: Watch) -> None:
    """Until nothing is open; the scenario does its mischief on the way."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    with screen.progress(console, total) as show:
        while True:
            backlog = scenario.backlog()
            final = total - backlog.open - backlog.review
            watch.samples.append(Sample(watch.seconds, backlog.open, final, scenario.tasks()))
            show(final + backlog.review, backlog, watch)
            if not backlog.open:
                return
            if time.monotonic() > give_up:
                watch.mark("given up")
                return
            if done := scenario.do_mischief(final / total, watch.seconds):
                watch.mark(done)
                console.print(f"  [bold red]{done}[/] at {watch.seconds:.0f} s")
            time.sleep(scenario.pause)


def begin_anew(folder: Path) -> None:
    """Remove what an earlier run left there: the next one begins with an empty AWS.

    Raises:
        LocalError: somebody works with it.
    """
    if in_use(folder):
        raise LocalError("The local AWS of this folder is in use: leave that `make shell` or `make demo` first.")
    for name in RESTART:
        path = folder / name
        if name == "postgres" and path.exists():
            from local.postgres import Postgres

            Postgres(path).remove()
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def put_key(aws: LocalAws, outputs: dict[str, Any], key: str) -> None:
    """The one step by hand, on AWS too: Pulumi never sees the gateway's API key."""
    aws.client("secretsmanager").put_secret_value(SecretId=outputs["gatewayKeySecretArn"], SecretString=key)


def _write_csv(file: Path, purchases: Sequence[cdnow.Purchase]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = [",".join(cdnow.COLUMNS)] + [f"{p.id},{p.account},{p.amount},{p.currency}" for p in purchases]
    file.write_text("\n".join(rows) + "\n")


def _must(code: int, what: str) -> None:
    if code == 130:
        raise KeyboardInterrupt
    if code:
        raise LocalError(f"{what} ended with exit code {code}; see its output above.")
