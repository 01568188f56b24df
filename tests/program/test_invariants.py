"""Every invariant holds for every stack, and each can fail."""

from __future__ import annotations

import copy

import pytest

from tests.program.invariants import INVARIANTS, WILDCARDS, Invariant
from tests.program.recording import LEAST, PROVIDER, Record

every = pytest.mark.parametrize("invariant", INVARIANTS, ids=lambda invariant: invariant.name.replace(" ", "-"))


@every
def test_holds(recorded: Record, invariant: Invariant) -> None:
    assert list(invariant.complaints(recorded)) == []


@every
def test_is_noticed_when_broken(records: dict[str, Record], invariant: Invariant) -> None:
    broken = copy.deepcopy(records["dev"])
    invariant.sabotage(broken)
    assert list(invariant.complaints(broken)) != []


def test_every_wildcard_with_a_reason_is_in_use(records: dict[str, Record]) -> None:
    used = {
        (policy.removeprefix("aws:iam/rolePolicy:RolePolicy ").removesuffix(" policy"), statement["Sid"])
        for policy, document in records["dev"].policies()
        for statement in document["Statement"]
        if statement.get("Resource") == ["*"]
    }
    assert set(WILDCARDS) == used


def test_the_whole_program_was_recorded(recorded: Record) -> None:
    assert len(recorded.resources) >= LEAST
    assert len(recorded.all(PROVIDER)) == 1
    assert len(recorded.all("aws:lambda/function:Function")) == 3


def test_an_empty_record_satisfies_nobody() -> None:
    with pytest.raises(AssertionError, match="no aws:sqs/queue:Queue was recorded"):
        Record().all("aws:sqs/queue:Queue")
