"""What the demo shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from demo.picture import Sample
from demo.scenario import Outcome, Watch
from demo.verdict import Check, Verdict, reasons
from workers.domain.causes import Cause
from workers.domain.ports import Backlog
from workers.domain.transaction import Status, Transaction

Show = Callable[[int, Backlog, Watch], None]


def console() -> Console:
    """The terminal as it is; a file gets 110 columns."""
    terminal = Console(highlight=False)
    return terminal if terminal.is_terminal else Console(highlight=False, width=110)


def title(console: Console, text: str, more: str) -> None:
    console.print(Text.assemble(("\n" + text, "bold"), ("\n" + more + "\n", "dim")))


def chapter(console: Console, number: int, command: str, more: str) -> None:
    console.print()
    text = Text.assemble((f"{number}  {command}", "bold cyan"), (f"   {more}", "dim"))
    console.print(Rule(text, align="left", style="dim"))
    console.print()


@contextmanager
def progress(console: Console, total: int) -> Iterator[Show]:
    """A bar with backlog, rate and time left; lines now and then where there is no terminal."""
    columns = (
        TextColumn("  confirming"),
        BarColumn(bar_width=28),
        TaskProgressColumn(),
        TextColumn("{task.fields[text]}"),
        TimeElapsedColumn(),
    )
    looks = 0
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=total, text="waiting to start")

        def show(done: int, backlog: Backlog, watch: Watch) -> None:
            nonlocal looks
            speed = rate(watch.samples)
            left = f"about {backlog.open / speed:.0f} s left" if speed > 1 and backlog.open else ""
            if backlog.open and not left:
                left = "waiting for retries" if done else "waiting to start"
            workers = watch.samples[-1].tasks
            people = "" if workers is None else f"workers {workers}  "
            text = f"open {backlog.open:,}  {people}review {backlog.review}  {speed:,.0f}/s  {left}"
            bar.update(task, completed=done, text=text)
            looks += 1
            if not console.is_terminal and (looks % 5 == 0 or not backlog.open):
                console.print(f"  {done:>6,} of {total:,} done  {text}")

        yield show


def rate(samples: Sequence[Sample], window: float = 5.0) -> float:
    """Final transactions a second over the last few seconds."""
    recent = [s for s in samples if s.seconds >= samples[-1].seconds - window]
    span = recent[-1].seconds - recent[0].seconds
    return (recent[-1].final - recent[0].final) / span if span else 0.0


def verdict(console: Console, verdict: Verdict, records: Sequence[Transaction], stats: Mapping[str, Any]) -> None:
    _totals(console, verdict)
    for check in verdict.checks:
        _check(console, check)
    desk = [record for record in records if record.status is Status.REVIEW]
    for reason, number in reasons(desk).items():
        console.print(f"  on a desk: {number:,} because {reason}")
    troubles = {name: n for name, n in stats["answers"].items() if not name.endswith((" 200", " 422", "confirmed"))}
    listed = ", ".join(f"{n} x {name}" for name, n in sorted(troubles.items(), key=lambda pair: -pair[1]))
    taken = sum(any(line.cause is Cause.TAKEN_OVER for line in record.history) for record in records)
    console.print(f"\n  What the gateway did to us in {stats['calls']:,} calls: {listed or 'nothing'}.", style="dim")
    console.print(f"  Taken over from a killed worker when its leases had expired: {taken}.", style="dim")


def last_verdict(console: Console, verdict: Verdict) -> None:
    """After the desk: the books, and what is broken, if anything is."""
    _totals(console, verdict)
    broken = [check for check in verdict.checks if not check.kept]
    for check in broken:
        _check(console, check)
    if not broken:
        console.print(f"  [green]kept[/]    all {len(verdict.checks)} promises, with nothing left on a desk")


def _totals(console: Console, verdict: Verdict) -> None:
    table = Table(box=None, padding=(0, 2), header_style="bold", pad_edge=True)
    for heading in ("state", "transactions", "US$", "effects at the gateway", "US$ moved"):
        table.add_column(heading, justify="left" if heading == "state" else "right")
    for row in verdict.rows:
        cells = (row.status, f"{row.count:,}", dollars(row.amount), f"{row.effects:,}", dollars(row.moved))
        table.add_row(*cells, style="" if row.count else "dim")
    count, amount, effects, moved = (
        sum(getattr(row, name) for row in verdict.rows) for name in ("count", "amount", "effects", "moved")
    )
    table.add_row("all", f"{count:,}", dollars(amount), f"{effects:,}", dollars(moved), style="bold")
    console.print(table)
    console.print()


def _check(console: Console, check: Check) -> None:
    mark = "[green]kept   [/]" if check.kept else "[bold red]BROKEN [/]"
    console.print(f"  {mark} {check.promise}" + ("" if check.kept else f"  [red]({len(check.against)})[/]"))
    for line in check.against[:5]:
        console.print(f"            {line}", style="red")


def history(console: Console, records: Sequence[Transaction]) -> None:
    """One life from PENDING to its end: an eventful one, if there is one."""

    def eventful(record: Transaction) -> tuple[bool, int]:
        causes = [line.cause for line in record.history]
        return Cause.TAKEN_OVER in causes and record.status.is_final, len(causes)

    record = max(records, key=eventful)
    console.print(f"\n[bold]One of them:[/] {record.id}, {dollars(record.amount)} {record.currency}\n")
    table = Table(box=None, padding=(0, 2), header_style="bold")
    for heading in ("when (UTC)", "by", "attempt", "becomes", "why"):
        table.add_column(heading, no_wrap=heading != "why")
    for line in record.history:
        table.add_row(f"{line.at:%H:%M:%S.%f}"[:-3], line.by, str(line.attempt), line.now, line.why)
    console.print(table)


def times(console: Console, parts: Mapping[str, float]) -> None:
    """Where the time went."""
    whole = sum(parts.values()) or 1.0
    console.print(f"\n[bold]Where the time went[/] ({whole:.1f} s by the workers' own metrics, added up)\n")
    for text, seconds in parts.items():
        console.print(f"  {text:<28}{seconds:7.1f} s  [blue]{'█' * round(40 * seconds / whole)}[/]")


def latencies(console: Console, seconds: Sequence[float], note: str) -> None:
    if not seconds:
        console.print("  None of them became final in time.", style="red")
        return
    found = f"median {median(seconds):.3f} s, slowest {max(seconds):.3f} s of {len(seconds)}"
    console.print(f"  From insert to final: {found}. {note}")


def farewell(console: Console, outcomes: Sequence[Outcome], took: float) -> None:
    last = outcomes[-1]
    some = next((r.id for r in last.records if len(r.history) > 3), last.records[0].id if last.records else "ID")
    suffix = "" if last.alternative == "serverless" else f" STACK={last.alternative}"
    console.print("\n[bold]Next[/]")
    console.print(f"  make shell{suffix}   the stack, awake again: type what you will type on AWS, such as")
    console.print(f"      confirm show {some}")
    console.print("      confirm status --all")
    console.print("      pulumi config set batchSize 50 && pulumi up")
    console.print(f"  make destroy{suffix}   remove its resources; make clean removes everything\n")
    for outcome in outcomes:
        checks = outcome.verdict.checks
        broken = sum(not check.kept for check in checks)
        word = "[bold green]every promise kept[/]" if not broken else f"[bold red]{broken} of {len(checks)} broken[/]"
        console.print(f"  Verdict on {outcome.alternative}: {word}. Picture: {outcome.picture.name} in .local/demo")
    console.print(f"\nTook {took:.0f} s. The local AWS is stopped; its state is kept.")


def dollars(cents: int) -> str:
    return f"{cents // 100:,}.{cents % 100:02d}"
