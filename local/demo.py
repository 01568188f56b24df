"""`make demo`: the stack comes up, 6,919 real purchases go through it under faults, and a verdict is given."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from local import cdnow, chaos
from local.errors import LocalError
from local.picture import Mark, Sample, draw
from local.processes import ROOT
from local.stack import SCHEDULER_SPEED, LocalAws
from local.verdict import Effect, Verdict, judge, reasons
from workers.clock import SystemClock
from workers.domain.policy import Policy
from workers.domain.transaction import Status, Transaction
from workers.stores.dynamodb import DynamoDbStore

PATIENCE_SECONDS = 240.0
"""The run is given up as failed when it takes longer."""
KILL_AT = 0.3
"""The share of final transactions at which a Lambda is killed."""
RESTART = ("aws", "gateway", "state", "program", "selected", "run.json", "recorded-only.jsonl")
"""What a demo removes of an earlier one: every demo begins with an empty AWS. The engine stays."""
TAKEN_OVER = "lease expired, taken over"


@dataclass
class Watch:
    """What was seen of the run, for the picture."""

    began: float = field(default_factory=time.time)
    samples: list[Sample] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return time.time() - self.began

    def mark(self, text: str) -> None:
        self.marks.append(Mark(self.seconds, text))


def main(stack: str) -> int:
    """Run it; 0 when every promise was kept, 1 otherwise."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=110)
    started = time.monotonic()
    folder = ROOT / ".local"
    _begin_anew(folder)
    # A key of this run alone: what the gateway gets must be what was put into the secret.
    os.environ["SIMULATED_GATEWAY_KEY"] = key = secrets.token_hex(16)
    console.print(
        _title(f"The {stack} stack on the local AWS", "no AWS account, no Docker, nothing leaves this machine")
    )
    with LocalAws(stack, folder=folder) as aws:
        _chapter(console, 1, "pulumi preview", "what would be made")
        _must(aws.pulumi("preview", "--stack", stack).returncode, "pulumi preview")
        _chapter(console, 2, "pulumi up", "the same program and command as on AWS")
        _must(aws.pulumi("up", "--yes", "--skip-preview", "--stack", stack).returncode, "pulumi up")
        outputs = aws.outputs()
        _put_key(aws, outputs, key)
        store = open_store(aws, outputs)
        _chapter(console, 3, "confirm import", "6,919 purchases of a CD shop, 1997-98, become pending transactions")
        watch = Watch()
        file = folder / "demo" / "purchases.csv"
        purchases = list(cdnow.purchases())
        _write_csv(file, purchases)
        _must(aws.run(["confirm", "import", str(file)]).returncode, "confirm import")
        watch.mark("all in")
        _chapter(
            console,
            4,
            "the Scheduler starts the state machine",
            f"a minute of its clock lasts {60 / SCHEDULER_SPEED:.0f} s here; one Lambda will be killed in mid-batch",
        )
        records = _run(console, aws, outputs, store, len(purchases), watch)
        _chapter(console, 5, "the verdict", "our records against the gateway's own ledger")
        ledger = _get(aws, "/_ledger")
        effects = [Effect(e["id"], e["amount"], e["currency"]) for e in ledger["effects"]]
        verdict = judge(purchases, records, effects, len(ledger["violations"]))
        _show_verdict(console, verdict, records, _get(aws, "/_stats"))
        _show_history(console, records)
        _show_times(console, aws, outputs)
        picture = folder / "demo" / f"{stack}.png"
        _draw(records, watch, picture, stack)
        _show_next(console, stack, picture, verdict, records)
        console.print(f"\nTook {time.monotonic() - started:.0f} s. Stopping the local AWS; its state is kept.")
    return 0 if verdict.holds else 1


# --- before the run -------------------------------------------------------------------------------------------------


def _begin_anew(folder: Path) -> None:
    if (folder / "run.json").exists():
        from local.stack import _locked

        if _locked(folder):
            raise LocalError(
                "The local AWS of this folder is in use: leave the other `make shell` or `make demo` first."
            )
    for name in RESTART:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _put_key(aws: LocalAws, outputs: dict[str, Any], key: str) -> None:
    """The one step by hand, on AWS too: Pulumi never sees the gateway's API key."""
    aws.client("secretsmanager").put_secret_value(SecretId=outputs["gatewayKeySecretArn"], SecretString=key)


def open_store(aws: LocalAws, outputs: dict[str, Any]) -> DynamoDbStore:
    """The stack's table, to look into."""
    return DynamoDbStore(
        aws.client("dynamodb"),
        outputs["tableName"],
        outputs["pendingIndexName"],
        int(outputs["pendingShards"]),
        SystemClock(),
        Policy(),
    )


def _write_csv(file: Path, purchases: Sequence[cdnow.Purchase]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = [",".join(cdnow.COLUMNS)] + [f"{p.id},{p.account},{p.amount},{p.currency}" for p in purchases]
    file.write_text("\n".join(rows) + "\n")


# --- the run --------------------------------------------------------------------------------------------------------


def _run(
    console: Console, aws: LocalAws, outputs: dict[str, Any], store: DynamoDbStore, total: int, watch: Watch
) -> list[Transaction]:
    """Watch until nothing is open, and kill a Lambda on the way; returns the records."""
    function = str(outputs["functions"]["confirm"])
    killed = False
    give_up = time.monotonic() + PATIENCE_SECONDS
    with _progress(console, total) as show:
        while True:
            backlog = asyncio.run(store.backlog())
            final = total - backlog.open - backlog.review
            watch.samples.append(Sample(watch.seconds, backlog.open, final))
            show(final + backlog.review, backlog.open, backlog.due, backlog.review, _rate(watch.samples))
            if not backlog.open:
                break
            if time.monotonic() > give_up:
                watch.mark("given up")
                break
            if not killed and final >= KILL_AT * total and _get(aws, "/_stats")["in_flight"]:
                pids = chaos.workers_of(_emulator_pid(aws), function)
                killed = any(chaos.kill(pid) for pid in pids[:1])
                if killed:
                    watch.mark("Lambda killed (SIGKILL)")
                    console.print(
                        f"  [bold red]SIGKILL[/] to a Lambda in the middle of its batch, at {watch.seconds:.0f} s"
                    )
            time.sleep(0.8)
    return asyncio.run(store.everything())


@contextmanager
def _progress(console: Console, total: int) -> Iterator[Any]:
    columns = (
        TextColumn("  confirming"),
        BarColumn(bar_width=32),
        TaskProgressColumn(),
        TextColumn("{task.fields[text]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=total, text="waiting for the Scheduler")

        def show(done: int, open_: int, due: int, review: int, rate: float) -> None:
            left = f"about {open_ / rate:.0f} s left" if rate > 1 and open_ else "waiting for retries" if open_ else ""
            text = f"open {open_:,} (due {due:,})  review {review}  {rate:,.0f}/s  {left}"
            progress.update(task, completed=done, text=text)
            if not console.is_terminal and done:
                console.print(f"  {done:>6,} of {total:,} done  {text}")

        yield show


def _rate(samples: Sequence[Sample], window: float = 5.0) -> float:
    """Final transactions a second over the last few seconds."""
    recent = [s for s in samples if s.seconds >= samples[-1].seconds - window]
    span = recent[-1].seconds - recent[0].seconds
    return (recent[-1].final - recent[0].final) / span if span else 0.0


def _emulator_pid(aws: LocalAws) -> int:
    return int((aws.folder / "aws" / "overlay.pid").read_text())


def _get(aws: LocalAws, path: str) -> Any:
    """Ask the simulated gateway's admin."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{aws.gateway_url}{path}", timeout=10) as answer:
        return json.load(answer)


# --- what is shown --------------------------------------------------------------------------------------------------


def _show_verdict(console: Console, verdict: Verdict, records: Sequence[Transaction], stats: dict[str, Any]) -> None:
    table = Table(box=None, padding=(0, 2), header_style="bold", pad_edge=True)
    for heading in ("state", "transactions", "US$", "effects at the gateway", "US$ moved"):
        table.add_column(heading, justify="left" if heading == "state" else "right")
    for row in verdict.rows:
        style = "dim" if not row.count else ""
        table.add_row(
            row.status, f"{row.count:,}", _dollars(row.amount), f"{row.effects:,}", _dollars(row.moved), style=style
        )
    totals = [sum(getattr(row, name) for row in verdict.rows) for name in ("count", "amount", "effects", "moved")]
    table.add_row(
        "all",
        f"{totals[0]:,}",
        _dollars(totals[1]),
        f"{totals[2]:,}",
        _dollars(totals[3]),
        style="bold",
        end_section=True,
    )
    console.print(table)
    console.print()
    for check in verdict.checks:
        mark = "[green]kept   [/]" if check.kept else "[bold red]BROKEN [/]"
        console.print(f"  {mark} {check.promise}" + ("" if check.kept else f"  [red]({len(check.against)})[/]"))
        for line in check.against[:5]:
            console.print(f"            {line}", style="red")
    desk = [record for record in records if record.status is Status.REVIEW]
    for reason, count in reasons(desk).items():
        console.print(f"  on a desk: {count:,} because {reason}")
    troubles = {name: n for name, n in stats["answers"].items() if not name.endswith((" 200", " 422", "confirmed"))}
    listed = ", ".join(f"{n} x {name}" for name, n in sorted(troubles.items(), key=lambda pair: -pair[1]))
    taken = sum(any(line.why == TAKEN_OVER for line in record.history) for record in records)
    console.print(f"\n  What the gateway did to us in {stats['calls']:,} calls: {listed or 'nothing'}.", style="dim")
    console.print(f"  Taken over from the killed Lambda when its leases had expired: {taken}.", style="dim")


def _show_history(console: Console, records: Sequence[Transaction]) -> None:
    """One life from PENDING to its end: an eventful one, if there is one."""

    def eventful(record: Transaction) -> tuple[bool, int]:
        whys = [line.why for line in record.history]
        return TAKEN_OVER in whys and record.status.is_final, len(whys)

    record = max(records, key=eventful)
    console.print(f"\n[bold]One of them:[/] {record.id}, {_dollars(record.amount)} {record.currency}\n")
    table = Table(box=None, padding=(0, 2), header_style="bold")
    for heading in ("when (UTC)", "by", "attempt", "becomes", "why"):
        table.add_column(heading, no_wrap=heading != "why")
    for line in record.history:
        table.add_row(f"{line.at:%H:%M:%S.%f}"[:-3], line.by, str(line.attempt), line.now, line.why)
    console.print(table)


def _show_times(console: Console, aws: LocalAws, outputs: dict[str, Any]) -> None:
    """Where the time went, by the metrics that the workers wrote into their logs."""
    totals = dict.fromkeys(("ClaimMs", "ConfirmMs", "SettleMs"), 0.0)
    batches = 0
    for page in (
        aws.client("logs").get_paginator("filter_log_events").paginate(logGroupName=outputs["logGroups"]["confirm"])
    ):
        for event in page["events"]:
            if '"_aws"' in event["message"]:
                metrics = json.loads(event["message"])
                batches += 1
                for name in totals:
                    totals[name] += metrics[name]
    whole = sum(totals.values()) or 1.0
    console.print(
        f"\n[bold]Where the time went[/] in {batches} batches ({whole / 1000:.1f} s of Lambda time, 4 side by side)\n"
    )
    for name, text in (("ClaimMs", "claiming"), ("ConfirmMs", "waiting for the gateway"), ("SettleMs", "settling")):
        bar = "█" * round(40 * totals[name] / whole)
        console.print(f"  {text:<24}{totals[name] / 1000:7.1f} s  [blue]{bar}[/]")


def _draw(records: Sequence[Transaction], watch: Watch, file: Path, stack: str) -> None:
    settled = [record.settled_at.timestamp() - watch.began for record in records if record.settled_at]
    taken = [
        line.at.timestamp() - watch.began for record in records for line in record.history if line.why == TAKEN_OVER
    ]
    marks = [*watch.marks, *([Mark(min(taken), f"its {len(taken)} taken over")] if taken else [])]
    title = f"{len(records):,} transactions through the {stack} stack on the local AWS"
    draw(watch.samples, settled, marks, title, file)


def _show_next(console: Console, stack: str, picture: Path, verdict: Verdict, records: Sequence[Transaction]) -> None:
    some = next((r.id for r in records if len(r.history) > 3), records[0].id if records else "ID")
    console.print(f"\n[bold]The picture:[/] {picture.relative_to(ROOT)}")
    console.print("\n[bold]Next[/]")
    suffix = "" if stack == "serverless" else f" STACK={stack}"
    console.print(f"  make shell{suffix:<12} the same stack, awake again: type what you will type on AWS, such as")
    console.print(f"      confirm show {some}")
    console.print("      confirm status --all")
    console.print("      pulumi config set batchSize 50 && pulumi up")
    console.print(f"  make destroy{suffix:<10} remove its resources;  make clean  remove everything\n")
    if verdict.holds:
        console.print("  [bold green]Verdict: every promise kept.[/]")
    else:
        broken = sum(not check.kept for check in verdict.checks)
        console.print(f"  [bold red]Verdict: {broken} of {len(verdict.checks)} promises broken.[/]")


def _title(text: str, more: str) -> Text:
    return Text.assemble(("\n" + text, "bold"), ("\n" + more + "\n", "dim"))


def _chapter(console: Console, number: int, command: str, more: str) -> None:
    console.print()
    console.print(
        Rule(Text.assemble((f"{number}  {command}", "bold cyan"), (f"   {more}", "dim")), align="left", style="dim")
    )
    console.print()


def _must(code: int, what: str) -> None:
    if code == 130:
        raise KeyboardInterrupt
    if code:
        raise LocalError(f"{what} ended with exit code {code}; see its output above.")


def _dollars(cents: int) -> str:
    return f"{cents // 100:,}.{cents % 100:02d}"
