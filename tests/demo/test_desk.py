"""The demo's two people: what they decide by the gateway's ledger, and that it takes both."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from cli.exits import Exit
from cli.main import app
from demo import desk
from demo.desk import Entry, decisions
from local.errors import LocalError
from tests.fakes import START, payment
from workers.domain.transaction import Status, Transaction

SETTLES = timedelta(seconds=36)
POLICIES = {"maker": "arn:maker", "checker": "arn:checker"}


def waiting(id_: str, sent: int | None = 0, amount: int = 2933) -> Transaction:
    """On the desk; possibly sent so many seconds after the start."""
    at = None if sent is None else START + timedelta(seconds=sent)
    return payment(id_, amount)._replace(status=Status.REVIEW, first_sent_at=at, last_sent_at=at)


def moved(id_: str, amount: int = 2933, currency: str = "USD", reference: str = "sim-1") -> Entry:
    return Entry(id_, amount, currency, reference)


def option(command: Sequence[str], name: str) -> str:
    return command[command.index(name) + 1]


@pytest.mark.parametrize(
    ("effects", "decided", "amount", "currency"),
    [
        ([moved("a")], "done", "2933", "USD"),
        ([moved("a", 2000)], "other-amount", "2000", "USD"),
        ([moved("a", 2933, "EUR")], "other-amount", "2933", "EUR"),
        ([moved("a", 2933), moved("a", 2933, "USD", "sim-2")], "other-amount", "5866", "USD"),
    ],
)
def test_what_moved_is_resolved_as_it_moved(effects: list[Entry], decided: str, amount: str, currency: str) -> None:
    (one,) = decisions([waiting("a")], [*effects, moved("other")], START, SETTLES)
    assert one.command[:4] == ("resolve", "a", "--as", decided)
    assert (option(one.command, "--amount"), option(one.command, "--currency")) == (amount, currency)
    assert option(one.command, "--reference") == effects[-1].reference
    assert one.waits_for is None


def test_what_left_no_trace_is_cancelled_together_once_no_effect_can_come() -> None:
    found = decisions(
        [waiting("b", 5), waiting("c", None), waiting("a", 2), waiting("d")], [moved("d")], START, SETTLES
    )
    assert [one.command[:2] for one in found] == [("resolve", "d"), ("cancel", "a")]
    assert found[1].command[1:4] == ("a", "b", "c")
    assert found[1].waits_for == START + timedelta(seconds=5) + SETTLES


def test_what_was_never_sent_waits_for_nothing() -> None:
    (one,) = decisions([waiting("a", None)], [], START, SETTLES)
    assert one.waits_for is None


@dataclass
class Iam:
    """Users and what they hold."""

    policies: dict[str, str] = field(default_factory=dict)
    keys: set[str] = field(default_factory=set)

    def create_user(self, UserName: str) -> None:  # noqa: N803 - boto3's own names
        self.policies[UserName] = ""

    def attach_user_policy(self, UserName: str, PolicyArn: str) -> None:  # noqa: N803
        self.policies[UserName] = PolicyArn

    def create_access_key(self, UserName: str) -> Mapping[str, Any]:  # noqa: N803
        self.keys.add(UserName)
        return {"AccessKey": {"AccessKeyId": UserName, "SecretAccessKey": "secret"}}

    def delete_access_key(self, UserName: str, AccessKeyId: str) -> None:  # noqa: N803
        self.keys.remove(AccessKeyId)
        assert UserName == AccessKeyId

    def detach_user_policy(self, UserName: str, PolicyArn: str) -> None:  # noqa: N803
        assert self.policies[UserName] == PolicyArn
        self.policies[UserName] = ""

    def delete_user(self, UserName: str) -> None:  # noqa: N803
        assert self.policies.pop(UserName) == ""
        assert UserName not in self.keys


@dataclass
class Stack:
    """A local AWS whose desk knows one rule: nobody approves what he asked for."""

    lenient: bool = False
    iam: Iam = field(default_factory=Iam)
    typed: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    requests: list[dict[str, str]] = field(
        default_factory=lambda: [{"id": "f" * 16, "by": "cho", "state": "open", "made_at": "9"}]
    )
    """Somebody else's comes first, and is of a later time."""

    def client(self, service: str) -> Any:
        assert service == "iam"
        return self.iam

    def config(self) -> Mapping[str, Any]:
        return {f"confirm-transactions:{key}": 0 for key in desk.SETTLES_WITHIN}

    def run(self, command: Sequence[str], *, capture: bool = False, environment: Mapping[str, str]) -> Any:
        who, (program, name, *rest) = environment["AWS_ACCESS_KEY_ID"], command
        assert program == "confirm"
        assert name in {one.name or one.callback.__name__ for one in app.registered_commands if one.callback}
        assert self.iam.policies[who] == POLICIES["maker" if who == "ana" else "checker"]
        if not capture:
            self.typed.append((who, (name, *rest)))
        if name in ("cancel", "resolve"):
            made = {"id": f"{len(self.requests):012}ffff", "by": who, "state": "open", "made_at": str(len(self.typed))}
            self.requests.append(made)
        if name == "approve":
            (request,) = (one for one in self.requests if one["id"].startswith(rest[0]))
            if request["by"] == who and not self.lenient:
                return SimpleNamespace(returncode=Exit.REFUSED, stdout="")
            request["state"] = "done"
        return SimpleNamespace(returncode=0, stdout=json.dumps({"requests": self.requests}))


def decide(stack: Stack, *ids: str, ledger: Sequence[Mapping[str, Any]] = ()) -> str:
    out = io.StringIO()
    console = Console(file=out, width=200)
    desk.decide(console, stack, {"deskPolicyArns": POLICIES}, [waiting(id_) for id_ in ids], ledger)
    return out.getvalue()


def test_one_asks_and_the_other_approves_and_both_are_gone_at_the_end() -> None:
    stack = Stack()
    effect = {"id": "b", "amount": 2933, "currency": "USD", "reference": "sim-1", "key": "b", "status": "confirmed"}
    text = decide(stack, "a", "b", ledger=[effect])
    assert [(who, words[0]) for who, words in stack.typed] == [
        ("ana", "review"),
        ("ana", "resolve"), ("ana", "approve"), ("ben", "requests"), ("ben", "approve"),
        ("ana", "cancel"), ("ben", "approve"),
    ]  # fmt: skip
    assert [one["state"] for one in stack.requests] == ["open", "done", "done"], "the other one is not theirs"
    assert (stack.iam.policies, stack.iam.keys) == ({}, set())
    assert "ana$ confirm cancel a --source 'ledger of the gateway'" in text
    assert "secret" not in text


def test_an_approval_of_ones_own_that_passes_is_an_error_and_leaves_nobody_behind() -> None:
    stack = Stack(lenient=True)
    with pytest.raises(LocalError, match=r"`confirm approve`, typed by ana, ended with exit code 0 where 5 was due"):
        decide(stack, "a")
    assert stack.iam.policies == {}


def test_an_empty_desk_needs_nobody() -> None:
    stack = Stack()
    assert "the desk is empty" in decide(stack)
    assert not stack.typed
