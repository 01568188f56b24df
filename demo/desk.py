"""Two people at the desk: what is in REVIEW is decided by the gateway's own ledger, one asks and another approves.

They are IAM users for as long as they sit there, with the stack's own policies, and type the commands of docs/desk.md.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from rich.console import Console
from rich.text import Text

from cli.exits import Exit
from cli.lookup import SHORT
from local.errors import LocalError
from workers.domain.transaction import Transaction

MAKER, CHECKER = "ana", "ben"
SOURCE = "ledger of the gateway"
SETTLES_WITHIN = ("leaseSeconds", "gatewayTimeoutSeconds", "gatewayGraceSeconds")
"""Settings that together say for how long after the last possible send an effect may still show (docs/desk.md)."""


class Run(Protocol):
    """What a command left: of `subprocess.CompletedProcess`, what counts here."""

    @property
    def returncode(self) -> int: ...
    @property
    def stdout(self) -> str: ...


class Aws(Protocol):
    """The local AWS, as far as people see it."""

    def client(self, service: str) -> Any: ...
    def config(self) -> Mapping[str, Any]: ...
    def run(self, command: Sequence[str], *, capture: bool = False, environment: Mapping[str, str]) -> Run: ...


@dataclass(frozen=True, slots=True)
class Entry:
    """An effect in the gateway's ledger."""

    id: str
    amount: int
    currency: str
    reference: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What the evidence says of some transactions, and the command that asks for it."""

    seen: str
    command: tuple[str, ...]
    """After `confirm`."""
    waits_for: datetime | None = None
    """Before then an effect of them may still show, so that nobody may say that there is none."""


def decisions(
    desk: Iterable[Transaction], ledger: Iterable[Entry], looked: datetime, settles_within: timedelta
) -> list[Decision]:
    """One for each whose money moved, and one for all of whom there is no trace in the ledger.

    What moved twice is told as the sum of both, so that no `done` takes it; the verdict then says the rest.
    """
    moved: dict[str, list[Entry]] = {}
    for effect in ledger:
        moved.setdefault(effect.id, []).append(effect)
    desk = sorted(desk, key=lambda record: record.id)
    found = [_done(record, moved[record.id]) for record in desk if record.id in moved]
    untraced = [record for record in desk if record.id not in moved]
    if untraced:
        sent = [record.last_sent_at for record in untraced if record.last_sent_at]
        said = _said(f"as of {looked:%Y-%m-%d %H:%M}", "the gateway does not take it")
        found.append(
            Decision(
                f"nothing of {len(untraced):,}: no money moved, and none will",
                ("cancel", *(record.id for record in untraced), *said),
                max(sent) + settles_within if sent else None,
            )
        )
    return found


def _done(record: Transaction, effects: Sequence[Entry]) -> Decision:
    amount, one = sum(effect.amount for effect in effects), effects[-1]
    alike = (amount, one.currency) == (record.amount, record.currency)
    said = _said(one.reference, "it was paid" if alike else "it was paid so, and that is accepted")
    money = ("--amount", str(amount), "--currency", one.currency)
    return Decision(
        f"{record.id} moved {amount} {one.currency}, of {record.amount} {record.currency} that were ordered",
        ("resolve", record.id, "--as", "done" if alike else "other-amount", *said, *money),
    )


def _said(reference: str, why: str) -> tuple[str, ...]:
    return "--source", SOURCE, "--reference", reference, "--why", why


@dataclass(frozen=True, slots=True)
class Person:
    """Who sits at the desk, signed in to AWS."""

    name: str
    aws: Aws
    console: Console
    keys: Mapping[str, str]
    """Variables of the environment: what AWS knows this person by."""

    def types(self, *words: str, ends_with: Exit = Exit.OK) -> None:
        """Run `confirm`, which shows itself.

        Raises:
            LocalError: it ended in another way.
        """
        typed = f"confirm {shlex.join(words)}"
        self.console.print(Text.assemble((f"{self.name}$ ", "bold magenta"), (typed, "bold")))
        code = self.aws.run(["confirm", *words], environment=self.keys).returncode
        self.console.print()
        self._must(words[0], code, ends_with)

    def newest_of(self, maker: str) -> str:
        """What waits of that person's for an approval: the id of the last, as far as one types it."""
        answer = self.aws.run(["confirm", "requests", "--json"], capture=True, environment=self.keys)
        self._must("requests", answer.returncode)
        waits = [one for one in json.loads(answer.stdout)["requests"] if (one["by"], one["state"]) == (maker, "open")]
        if not waits:
            raise LocalError(f"{self.name} sees no request of {maker}'s; see the output above.")
        return str(max(waits, key=lambda one: str(one["made_at"]))["id"])[:SHORT]

    def _must(self, command: str, code: int, due: Exit = Exit.OK) -> None:
        if code == Exit.INTERRUPTED:
            raise KeyboardInterrupt
        if code != due:
            raise LocalError(
                f"`confirm {command}`, typed by {self.name}, ended with exit code {code} where {int(due)} was due; see "
                "its output above."
            )


@contextmanager
def person(aws: Aws, console: Console, name: str, policy_arn: str) -> Iterator[Person]:
    """A user of IAM with that policy, who is gone at the end: `make destroy` then finds nobody who holds it."""
    iam = aws.client("iam")
    iam.create_user(UserName=name)
    iam.attach_user_policy(UserName=name, PolicyArn=policy_arn)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    keys = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
    try:
        yield Person(name, aws, console, keys)
    finally:
        iam.delete_access_key(UserName=name, AccessKeyId=key["AccessKeyId"])
        iam.detach_user_policy(UserName=name, PolicyArn=policy_arn)
        iam.delete_user(UserName=name)


def decide(
    console: Console,
    aws: Aws,
    outputs: Mapping[str, Any],
    desk: Sequence[Transaction],
    ledger: Iterable[Mapping[str, Any]],
) -> None:
    """Whoever is in `desk` leaves it, by what the `effects` of the gateway's ledger say.

    Raises:
        LocalError: a command ended otherwise than it should; one person alone was let through, for one.
    """
    if not desk:
        console.print("Nobody has anything to decide: the desk is empty.")
        return
    entries = [Entry(e["id"], e["amount"], e["currency"], e["reference"]) for e in ledger]
    settles_within = timedelta(seconds=sum(float(_setting(aws.config(), key)) for key in SETTLES_WITHIN))
    policies = outputs["deskPolicyArns"]
    with (
        person(aws, console, MAKER, policies["maker"]) as ana,
        person(aws, console, CHECKER, policies["checker"]) as ben,
    ):
        ana.types("review")
        for number, decision in enumerate(decisions(desk, entries, datetime.now(UTC), settles_within)):
            console.print(f"In the gateway's own ledger {MAKER} finds {decision.seen}.\n")
            _wait(console, decision.waits_for)
            ana.types(*decision.command)
            request = ben.newest_of(MAKER)
            if not number:  # once is enough to see that it is refused
                ana.types("approve", request, ends_with=Exit.REFUSED)
                ben.types("requests", request)
            ben.types("approve", request)


def _setting(config: Mapping[str, Any], key: str) -> Any:
    """Of the stack's config, whose keys begin with the project's name."""
    return next(value for name, value in config.items() if name.endswith(f":{key}"))


def _wait(console: Console, until: datetime | None) -> None:
    left = (until - datetime.now(UTC)).total_seconds() if until else 0.0
    if until and left > 0:
        console.print(f"What was sent last may show until {until:%H:%M:%S} UTC: she waits for {left:.0f} s.\n")
        time.sleep(left)
