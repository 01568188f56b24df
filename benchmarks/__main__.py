"""`python -m benchmarks` (`make bench`): what a transaction costs and how fast it is, in both alternatives.

Of serverless it counts writes, calls, transitions and log bytes, and prices a month of them; of fargate it times the
PostgreSQL queue and its service (benchmarks/postgres.py); of both it looks whether all workers together keep the
gateway's rate limit (benchmarks/rate_limit.py). Targets that are counted decide the exit code (1 when one is
missed); what is timed only informs, unless asked to be `--strict`.
"""

from __future__ import annotations

import argparse
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from importlib.metadata import version
from types import FrameType
from typing import NoReturn, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from alternatives.serverless.costs import ASSUMED, COUNTED, PROD, Work, serverless
from analysis.costs.models import Model, month
from analysis.costs.prices import MILLION
from benchmarks import cold_import, counts, postgres, rate_limit, stack
from benchmarks.cold_import import ColdImport
from benchmarks.counts import Counts, Step
from benchmarks.stack import StackCounts
from local.errors import LocalError

ALTERNATIVES = ("serverless", "fargate")
PARTS = ("import", "counts", "stack", "price")
VOLUMES = (MILLION, 100 * MILLION)
GATEWAY_CPU_MS = 0.8
"""The call to the gateway, which the counted run replaces by a function: the cost model's assumption stays."""
MIB = 1024 * 1024
T = TypeVar("T")


@dataclass(frozen=True)
class Check:
    """One target: at most `target`."""

    what: str
    target: float
    counted: float
    form: str = "{:,.4g}"
    informs: bool = False
    """Timed, so it never fails the benchmark."""

    @property
    def kept(self) -> bool:
        return round(self.counted, 9) <= self.target  # sums of floats may end in ...0001

    def row(self) -> tuple[str, ...]:
        mark = "[green]kept[/]" if self.kept else "[yellow]over, informs[/]" if self.informs else "[bold red]MISSED[/]"
        return self.what, self.form.format(self.target), self.form.format(self.counted), mark


def main(arguments: Sequence[str]) -> int:
    """Run both alternatives, one, or a part of serverless; 0 when every target that counts is kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=PARTS, help="run one part; `price` alone prices the model's assumptions")
    parser.add_argument("--alternative", choices=ALTERNATIVES, help="run this one alone")
    parser.add_argument("--strict", action="store_true", help="fail on timed targets too (on a machine of your own)")
    asked = parser.parse_args(arguments)
    if asked.only and asked.alternative == "fargate":
        parser.error("--only picks a part of serverless; for one of fargate: python -m benchmarks.postgres PART")
    signal.signal(signal.SIGTERM, _leave)
    console = Console(file=sys.stdout, highlight=False)  # bound now: the handlers' own output is caught later
    missed = []
    if asked.only or asked.alternative != "fargate":
        missed += _serverless(console, asked.only, asked.strict)
    if not asked.only and asked.alternative != "serverless":
        missed += postgres.report(console, strict=asked.strict)
    if not asked.only:
        missed += rate_limit.report(console, asked.alternative, strict=asked.strict)
    if missed:
        console.print(f"[bold red]Missed:[/] {'; '.join(missed)}")
    return 1 if missed else 0


def _serverless(console: Console, only: str | None, strict: bool) -> list[str]:
    """Count and show; returns the targets missed that count."""
    began = time.monotonic()
    versions = ", ".join(f"{name} {version(name)}" for name in ("boto3", "ministack"))
    console.print(f"\n[bold]What a transaction costs[/], python {platform.python_version()}, {versions}\n")
    parts = (only,) if only else PARTS
    imported = _part(console, "cold import", cold_import.measure) if "import" in parts else None
    counted = _part(console, "handlers", counts.count) if "counts" in parts else None
    stacked = _part(console, "stack", stack.count) if "stack" in parts else None
    checks = _checks(counted, stacked, imported)
    if checks:
        _table(console, f"Targets, on {counts.TRANSACTIONS:,} transactions", ("at most", "counted", ""), checks)
    if counted:
        _show_counts(console, counted)
    if stacked:
        _show_stack(console, stacked)
    if imported:
        _show_import(console, imported)
    if "price" in parts:
        _show_prices(console, work_of(counted, stacked), counted is not None or stacked is not None)
    console.print(f"Took {time.monotonic() - began:.0f} s.")
    return [check.what for check in checks if not check.kept and (strict or not check.informs)]


def _checks(counted: Counts | None, stacked: StackCounts | None, imported: ColdImport | None) -> list[Check]:
    checks = []
    if counted:
        without = (Step.CLAIM, Step.SETTLE, Step.RETRY, Step.REFUSED)
        checks += [
            Check("DynamoDB write units per transaction: claim, settle, retries", 3.2, counted.units(*without)),
            Check("... with ingest", 5.2, counted.units(*without, Step.INGEST)),
            Check("DynamoDB calls per transaction, without ingest", 0.1, counted.calls),
        ]
    if stacked:
        checks += [
            Check("Step Functions transitions per transaction, on a backlog", 0.012, stacked.transitions_on_backlog),
            Check("Step Functions transitions of an idle run", 4, stacked.idle.transitions),
            Check("log bytes per transaction", 450, stacked.log_bytes),
            Check("log bytes per idle item", 0, stacked.log_bytes_per_idle_item),
        ]
    if counted and stacked:
        checks.append(Check("what is counted over what `make cost` takes (COUNTED)", 1.05, _over(counted, stacked)))
    if imported:
        checks += [
            Check("Lambda zip, MiB", 5, imported.zip_bytes / MIB, "{:.2f}"),
            Check("cold import over boto3's client, ms (timed)", 60, imported.added.median, "{:.0f}", informs=True),
        ]
    return checks


def work_of(counted: Counts | None, stacked: StackCounts | None) -> Work:
    """The cost model's work with everything in it that was counted."""
    work = ASSUMED
    if counted:
        attempts, last = counted.attempts, counted.runs[-1]
        work = replace(
            work,
            write_units=counted.units(*(step for step in Step if step is not Step.LOCK)),
            write_units_per_idle_run=counted.idle.usage.units(Step.LOCK),
            write_units_per_working_run=last.usage.units(Step.LOCK) / max(last.loops, 1),
            read_units_per_attempt=counted.read_units_per_attempt,
            read_units_per_run=counted.idle.usage.reads,
            log_bytes_per_attempt=sum(run.confirm.of_transactions for run in counted.runs) / attempts,
            log_bytes_per_child=sum(run.confirm.other for run in counted.runs) / counted.batches,
            log_bytes_per_idle_run=counted.idle.plan.other,
            log_bytes_per_working_run=(last.plan.other + last.report.other) / max(last.loops, 1),
            cpu_ms=counted.cpu_ms + GATEWAY_CPU_MS,
        )
    if stacked:
        work = replace(
            work,
            transitions_per_idle_run=stacked.idle.transitions,
            transitions_per_working_run=stacked.single.transitions - stacked.single.children,
        )
    return work


def _over(counted: Counts, stacked: StackCounts) -> float:
    """The largest ratio of what is counted to what the cost model has of it; CPU is timed and left out."""
    found = work_of(counted, stacked)
    names = [field.name for field in fields(Work) if field.name != "cpu_ms"]
    return max(float(getattr(found, name)) / float(getattr(COUNTED, name)) for name in names)


# --- what is shown ----------------------------------------------------------------------------------------------------


def _table(console: Console, title: str, headings: Sequence[str], rows: Sequence[Check | Sequence[str]]) -> None:
    table = Table(box=None, padding=(0, 2), title=title, title_justify="left", title_style="bold", header_style="dim")
    table.add_column("")
    for heading in headings:
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(*(row.row() if isinstance(row, Check) else row))
    console.print(table)
    console.print()


def _show_counts(console: Console, counted: Counts) -> None:
    n = counted.transactions
    usages = [counted.ingest, *(run.usage for run in counted.runs)]
    rows = []
    for step in Step:
        table = sum(usage.writes[step].table for usage in usages if step in usage.writes)
        index = sum(usage.writes[step].index for usage in usages if step in usage.writes)
        rows.append((step.value, f"{table / n:.4f}", f"{index / n:.4f}", f"{(table + index) / n:.4f}"))
    _table(console, "DynamoDB write units per transaction", ("table", "index", "together"), rows)
    operations = sorted({name for run in counted.runs for name in run.usage.calls})
    rows = [
        (
            name,
            f"{counted.ingest.calls[name] / n:.4f}",
            f"{counted.calls_of(name):.4f}",
            f"{counted.idle.usage.calls[name]}",
        )
        for name in operations
    ]
    rows.append(("all", f"{counted.ingest_calls:.4f}", f"{counted.calls:.4f}", f"{counted.idle.usage.calls.total()}"))
    _table(console, "DynamoDB calls", ("ingest, per transaction", "runs, per transaction", "an idle run"), rows)
    loops = " + ".join(str(run.loops) for run in counted.runs)
    console.print(
        f"  {counted.attempts:,} attempts in {counted.batches} batches, {len(counted.runs)} runs of {loops} loops. "
        f"Largest item {counted.largest_item} bytes of 1,024 that one unit writes.\n"
        f"  Reads: {counted.read_units_per_attempt:.2f} units per attempt. Log: {counted.log_bytes:.0f} bytes per "
        f"transaction. CPU: {counted.cpu_ms:.2f} ms of this machine's core per attempt (timed).\n",
        style="dim",
    )


def _show_stack(console: Console, stacked: StackCounts) -> None:
    runs = [(f"run {n}", run) for n, run in enumerate(stacked.executions, 1)]
    rows = [
        (name, f"{run.planned:,}", str(run.loops), str(run.entered), str(run.children), str(run.transitions))
        for name, run in (*runs, ("an idle run", stacked.idle), ("one transaction", stacked.single))
    ]
    headings = ("transactions planned", "loops", "states entered", "children", "transitions with the start")
    _table(console, "Step Functions", headings, rows)
    console.print(
        f"  To the last retry: {stacked.transitions:.4f} transitions per transaction. While the backlog lasts: those "
        f"of run 1 per attempt, times {stacked.attempts / stacked.transactions:.3f} attempts.\n"
        f"  Logs: {stacked.logs.lines:,} lines of ours. With START, END and REPORT, which the emulator writes and AWS "
        f"leaves out at system log level WARN: {stacked.log_bytes_with_platform:.0f} bytes per transaction.\n"
        f"  An idle run logs {stacked.idle_logs.ours} bytes in {stacked.idle_logs.lines} line over an empty table, "
        f"{stacked.idle_logs_full.ours} over {stacked.transactions:,} settled items (emulator's own: "
        f"{stacked.idle_logs.platform}).\n",
        style="dim",
    )


def _show_import(console: Console, imported: ColdImport) -> None:
    console.print(
        f"  Cold import, median (least..most): boto3 and its client {imported.boto3}, with the handlers "
        f"{imported.handler}, added pair by pair {imported.added}.\n",
        style="dim",
    )


def _show_prices(console: Console, work: Work, counted: bool) -> None:
    def as_counted(volume: float) -> dict[str, float]:
        return serverless(volume, PROD, work=work)

    models: list[tuple[str, Model]] = [("assumed", serverless)]
    if counted:
        models.insert(0, ("counted", as_counted))
    months = [(f"{volume // MILLION} M {name}", month(model, volume)) for volume in VOLUMES for name, model in models]
    rows = [(line, *(_dollars(one.bill[line]) for _, one in months)) for line in months[0][1].bill]
    rows += [
        ("[bold]together[/]", *(f"[bold]{_dollars(one.total)}[/]" for _, one in months)),
        ("fixed", *(_dollars(one.fixed) for _, one in months)),
        ("variable", *(_dollars(one.variable) for _, one in months)),
        ("variable, per million", *(_dollars(one.per_million) for _, one in months)),
        ("dominating", *("{} {:.0%}".format(*one.dominating) for _, one in months)),
    ]
    _table(console, "A month of serverless prod, US$ (us-east-1, list price)", [name for name, _ in months], rows)


def _dollars(amount: float) -> str:
    return f"{amount:,.2f}"


def _part(console: Console, name: str, part: Callable[[counts.Progress], T]) -> T:
    with _progress(console, name) as show:
        return part(show)


@contextmanager
def _progress(console: Console, name: str) -> Iterator[counts.Progress]:
    columns = (
        TextColumn(f"  {name:<12}"),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[text]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, redirect_stdout=False, redirect_stderr=False, transient=True) as progress:
        task = progress.add_task("", total=1.0, text="")
        said = ""

        def show(text: str, share: float) -> None:
            nonlocal said
            progress.update(task, completed=share, text=text)
            if not console.is_terminal and text != said:
                console.print(f"  {name}: {text}")
            said = text

        yield show


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    """Leave through every `finally`: what was started is stopped, temporary folders go."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(128 + number)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except LocalError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
