"""`make chaos`: both alternatives under real kills, pauses, cuts and restarts; the gateway's own book is the judge."""

from __future__ import annotations

import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table as RichTable

from alternatives import ALTERNATIVES
from chaos.fargate import STOP_SECONDS, FargateFront
from chaos.front import Front, Kind, shares
from chaos.judge import Judged, judged, tell
from chaos.serverless import ServerlessFront
from chaos.stage import FOLDER, behave, stack
from chaos.takeover import at_share, while_there, within
from demo.picture import Sample, draw
from demo.scenario import Watch
from demo.screen import console as terminal
from evidence.record import Evidence, Figure, Table, keep
from local.errors import LocalError
from local.processes import ROOT
from workers.database.connection import LOST
from workers.domain.ports import Backlog
from workers.domain.transaction import Transaction
from workers.stores.dynamodb import StoreError

FRONTS: Mapping[str, type[Front]] = {"serverless": ServerlessFront, "fargate": FargateFront}

WHOLE: Mapping[Kind, int] = {
    Kind.KILL: 300,
    Kind.PAUSE: 100,
    Kind.CUT: 100,
    Kind.TERM: 50,
    Kind.CRASH: 10,
    Kind.RESTART: 4,
    Kind.ROLL: 8,
}
"""Of 20,000 transactions, of all alternatives together."""
TRANSACTIONS = 20_000
PICTURES = ROOT / ".local" / "evidence" / "pictures"
CHUNK = 50
LOOK_SECONDS = 0.5
CHOICES = 8
"""So many of the coming attacks may take the first one's turn, where nobody is there for it."""
STEP_SECONDS = 4.0
"""The longest wait for the transactions that go with the attacks so far."""
IDLE_SECONDS = 240.0
"""Without any attack for so long, something is wrong with the run, not with the product."""
PATIENCE_SECONDS = 240.0
"""After the last attack everything must come to its end within that."""
TAKEN_OVER_SHARE = 0.99
SOON_SHARE, SOON = 0.05, timedelta(seconds=20)
"""So many have a deadline so near that attacks let it pass."""

PROFILE: Mapping[str, object] = {
    "profile": "demo",
    "latency_seconds": [0.1, 0.8],
    "late": 0.05,
    "late_seconds": 2.0,
    "faults": {
        "unavailable": 0.01,
        "timeout-after": 0.01,
        "timeout-before": 0.005,
        "error-after": 0.005,
        "close-after": 0.005,
        "close-mid-body": 0.005,
        "in-flight": 0.005,
    },
}


@dataclass(frozen=True)
class Size:
    """How much of it, for one alternative."""

    transactions: int
    attacks: Mapping[Kind, int]


def size_of(front: type[Front], transactions: int, attacks: Mapping[Kind, int], fronts: Sequence[type[Front]]) -> Size:
    """One alternative's part: of each kind an equal one, among those that have this kind."""
    part = {}
    for kind, count in attacks.items():
        having = [one for one in fronts if kind in one.kinds]
        if front in having and count:
            part[kind] = count // len(having) + (having.index(front) < count % len(having))
    return Size(transactions // len(fronts), part)


@dataclass
class Run:
    """One alternative's run, as it goes."""

    console: Console
    front: Front
    size: Size
    watch: Watch = field(default_factory=Watch)
    beside: Callable[[], None] = lambda: None
    """Called now and then."""
    brought: list[Transaction] = field(default_factory=list)
    halfway: list[Transaction] = field(default_factory=list)
    """All of them when half of the attacks were made: what is final then stays so."""
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    _backlog: Backlog = field(default_factory=lambda: Backlog(0, 0, None, 0))

    def attack(self, row: Sequence[Kind]) -> None:
        """Do what `row` says, and bring in as much as goes with it; then until nothing is open.

        Raises:
            LocalError: nobody was there to be attacked, for long.
        """
        row, whole, counts = list(row), len(row) or 1, self.front.struck.counts
        looked, last, halves = 0.0, time.monotonic(), True
        with _bar(self.console, len(row)) as show:
            while row or self.front.busy or len(self.brought) < self.size.transactions:
                now = time.monotonic()
                if now - looked >= LOOK_SECONDS:
                    looked = now
                    self._bring(self._look(), 1 - len(row) / whole, more=bool(row))
                    show(self)
                self.front.tick()
                if self._in_step(1 - len(row) / whole, now - last) and (done := self._strike(row)) is not None:
                    counts[done] += 1
                    last = now
                    if done in (Kind.CRASH, Kind.RESTART, Kind.ROLL):
                        self.watch.mark(done)
                elif row and now - last > IDLE_SECONDS:
                    raise LocalError(
                        f"Nobody was there for {row[0]!r} for {IDLE_SECONDS:.0f} s: see {FOLDER}/attack/aws."
                    )
                if halves and len(row) <= whole / 2:
                    with contextlib.suppress(*AWAY):
                        self.halfway, halves = self.front.scenario.everything(), False
                self.beside()
                time.sleep(0.05)
            self.watch.mark("last attack")
            self._finish(show)

    def _in_step(self, share: float, waited: float) -> bool:
        """Attacks are spread over all transactions, and wait for those that must be through; not for ever."""
        through = len(self.brought) - self._backlog.open
        return through >= share * (self.size.transactions - self.front.ahead) or waited > STEP_SECONDS

    def _strike(self, row: list[Kind]) -> Kind | None:
        for n, kind in enumerate(row[:CHOICES]):
            if kind not in row[:n] and self.front.strike(kind):
                return row.pop(n)
        return None

    def _bring(self, waiting: int, share: float, *, more: bool) -> None:
        """In step with the attacks, and never more than workers can hold. Where nearly all is done and there is
        `more` to attack, beyond what was wanted: the last one finds work, too."""
        left = min(self.size.transactions, int(self.size.transactions * share) + self.front.ahead) - len(self.brought)
        count = min(left, CHUNK if waiting < self.front.ahead else 0)
        if more and count <= 0 and waiting < self.front.ahead // 3:
            count = CHUNK
        if count > 0:
            now, first = datetime.now(UTC), len(self.brought)
            new = [self._transaction(n, now) for n in range(first, first + count)]
            try:
                self.front.scenario.add(new)
            except AWAY:
                return  # the database is away, by our doing; the same ones come again: that is harmless
            self.brought += new

    def _transaction(self, n: int, now: datetime) -> Transaction:
        soon = self.chance.random() < SOON_SHARE
        deadline = now + (SOON if soon else timedelta(hours=24))
        return Transaction(f"chaos-{n:06}", f"acct-{n % 997:03}", self.chance.randint(1, 99_999), "USD", now, deadline)

    def _look(self) -> int:
        """How many are open; the last known number while the datastore is away."""
        with contextlib.suppress(*AWAY):
            self._backlog = self.front.scenario.backlog()
        backlog = self._backlog
        final = len(self.brought) - backlog.open - backlog.review
        self.watch.samples.append(Sample(self.watch.seconds, backlog.open, max(final, 0)))
        return backlog.open

    def _finish(self, show: Show) -> None:
        give_up = time.monotonic() + PATIENCE_SECONDS
        while self._look() and time.monotonic() < give_up:
            show(self)
            self.beside()
            time.sleep(LOOK_SECONDS)
        show(self)


Show = Callable[[Run], None]
AWAY = (*LOST, StoreError, BotoCoreError, ClientError)
"""What a datastore says that was taken away by our own doing."""


def main(names: Sequence[str], transactions: int, attacks: Mapping[Kind, int]) -> int:
    """Exit code 0 where every promise was kept, by each alternative."""
    console = terminal()
    fronts = [FRONTS[name] for name in names]
    held = [_attacked(console, front, size_of(front, transactions, attacks, fronts)) for front in fronts]
    return 0 if all(held) else 1


def _attacked(console: Console, front: type[Front], size: Size) -> bool:
    began = time.monotonic()
    title = ", ".join(f"{count} x {kind}" for kind, count in size.attacks.items())
    console.rule(f"[bold]{front.alternative}[/]: {size.transactions:,} transactions, {title}", align="left")
    with up(console, front) as under:
        run = Run(console, under, size)
        run.attack(shares(size.attacks))
        records = under.scenario.everything()
        found = judged(under.aws, run.brought, records, earlier=run.halfway, apart=front.apart)
        return _told(console, run, found, time.monotonic() - began)


@contextlib.contextmanager
def up(console: Console, front: type[Front]) -> Iterator[Front]:
    """The alternative, ready to be attacked."""
    with stack(console, front.alternative, front.config, speed=front.speed) as aws:
        scenario = ALTERNATIVES[front.alternative].scenario()(aws, aws.outputs())
        under = front(aws, scenario)
        try:
            behave(aws, **PROFILE)
            under.lead_through_proxy()
            yield under
        finally:
            under.close()
            under.proxy.stop()
            scenario.close()


def _told(console: Console, run: Run, found: Judged, seconds: float) -> bool:
    front, struck = run.front, run.front.struck
    taken = front.takeovers(found.records)
    late = [one.late for one in while_there(taken, struck.outages)]
    soon = within(late, front.promise_seconds)
    states = Counter(record.status.value for record in found.records)
    promises = {
        "no oracle found anything": not found.findings,
        f"{TAKEN_OVER_SHARE:.0%} taken over within the lease and {front.promise_seconds:g} s": (
            soon >= TAKEN_OVER_SHARE or not struck.counts[Kind.KILL]
        ),
        f"after SIGTERM nothing is held for {STOP_SECONDS:g} s": max(struck.stops, default=0) <= STOP_SECONDS,
        "every attack was made": struck.counts == Counter(run.size.attacks),
    }
    figures: dict[str, Figure] = {
        "transactions": len(run.brought),
        **{state.lower(): count for state, count in sorted(states.items())},
        "effects": len(found.effects),
        "doubles": found.doubles,
        "lost": found.lost,
        "findings": len(found.findings),
        "lease_seconds": front.lease.total_seconds(),
        **({"held_by_killed_workers": struck.in_hand} if struck.in_hand else {}),
        "taken_over": len(taken),
        "taken_over_in_outages": len(taken) - len(late),
        "taken_over_after_lease_p50_seconds": round(median(late), 3) if late else None,
        "taken_over_after_lease_p99_seconds": round(at_share(late, 0.99), 3),
        "taken_over_after_lease_max_seconds": round(max(late, default=0), 3),
        "taken_over_within_share": round(soon, 5),
        "taken_over_within_lease_and_seconds": front.promise_seconds,
        **(
            {
                "sigterms": len(struck.stops),
                "sigterm_until_nothing_held_p50_seconds": round(median(struck.stops), 3),
                "sigterm_until_nothing_held_max_seconds": round(max(struck.stops), 3),
            }
            if struck.stops
            else {}
        ),
        "gateway_calls": int(found.stats["calls"]),
    }
    cuts = {f"cut {how} the commit": count for how, count in front.proxy.cuts.items()}
    counts = {str(kind): count for kind, count in struck.counts.items() if kind is not Kind.CUT} | cuts
    tell(console, found.findings)
    table = RichTable(box=None, show_header=False, padding=(0, 2))
    for name, value in {**figures, **counts}.items():
        table.add_row(name.replace("_", " "), f"{value:,}" if isinstance(value, int | float) else str(value), style="")
    console.print(table)
    for promise, kept in promises.items():
        console.print(f"  {'[green]kept   [/]' if kept else '[bold red]BROKEN [/]'} {promise}")
    picture = _drawn(run, found)
    console.print(f"  The picture: {picture.relative_to(ROOT)}; took {seconds:.0f} s")
    keep(
        Evidence(
            part=f"chaos-{front.alternative}",
            claim="Real processes that are killed, paused and cut off at a commit lose nothing, and pay nothing twice.",
            command="make chaos",
            passed=all(promises.values()),
            seconds=round(seconds, 1),
            figures=figures,
            counts=counts,
            tables=[
                Table("Promises", ("promise", "kept"), list(promises.items())),
                Table("Found", ("oracle", "transaction", "what"), [tuple(one) for one in found.findings]),
            ],
        )
    )
    return all(promises.values())


def _drawn(run: Run, found: Judged) -> Path:
    began, file = run.watch.began, PICTURES / f"{run.front.alternative}.png"
    settled = [record.settled_at.timestamp() - began for record in found.records if record.settled_at]
    what = f"{len(found.records):,} transactions under {sum(run.front.struck.counts.values())} attacks"
    draw(run.watch.samples, settled, run.watch.marks, f"{run.front.alternative}: {what}", file)
    return file


@contextlib.contextmanager
def _bar(console: Console, whole: int) -> Iterator[Show]:
    columns = (
        TextColumn("  attacks"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("{task.fields[text]}"),
        TimeElapsedColumn(),
    )
    looks = 0
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=whole or 1, text="")

        def show(run: Run) -> None:
            nonlocal looks
            counts = run.front.struck.counts
            named = "  ".join(f"{kind.name.lower()} {counts[kind]}" for kind in Kind if kind in run.size.attacks)
            open_ = run.watch.samples[-1].backlog if run.watch.samples else 0
            text = f"{named}  in {len(run.brought):,}  open {open_}"
            bar.update(task, completed=counts.total(), text=text)
            looks += 1
            if not console.is_terminal and looks % 20 == 0:
                console.print(f"  {run.watch.seconds:5.0f} s  {text}")

        yield show
