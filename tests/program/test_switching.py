"""A stack does not become the other alternative by accident: its datastore would go with it."""

from __future__ import annotations

from typing import Any

import pulumi
import pytest

from analysis.graph import record
from components import switching
from components.switching import SwitchRefused

HELD = {"alternative": "serverless", "environment": "dev", "tableName": "transactions-1"}


@pytest.mark.parametrize("deployed", [{}, HELD, {**HELD, "environment": "prod"}])
def test_the_same_alternative_goes_on(deployed: dict[str, Any]) -> None:
    assert record("serverless", deployed=deployed).alternative == "serverless"


def test_another_one_is_refused_with_what_would_go_and_both_ways_on() -> None:
    with pytest.raises(SwitchRefused) as refused:
        record("fargate", deployed=HELD)
    text = str(refused.value)
    assert "holds the alternative serverless, and the config says fargate" in text
    assert "the table transactions-1 would be deleted with every transaction in it" in text
    assert "docs/switching.md" in text
    assert "pulumi config set alternative serverless" in text
    assert "pulumi config set switchFrom serverless" in text


def test_it_is_done_where_it_is_meant() -> None:
    assert record("fargate", deployed=HELD, switchFrom="serverless").alternative == "fargate"


def test_meaning_another_one_does_not_count() -> None:
    with pytest.raises(SwitchRefused):
        record("fargate", deployed=HELD, switchFrom="fargate")


@pytest.mark.parametrize("now", ["dev", "prod"])
def test_where_data_is_protected_no_word_helps(now: str) -> None:
    """By what was deployed, not by what the config says now."""
    with pytest.raises(SwitchRefused, match="In prod it is protected, by Pulumi and by AWS") as refused:
        record(
            "fargate",
            deployed={**HELD, "environment": "prod"},
            switchFrom="serverless",
            environment=now,
            alarmEmail="on-call@example.com",
        )
    assert "switchFrom serverless" not in str(refused.value)


class Engine:
    """Answers what it is asked for the stack's outputs with one answer after the other; the last one stays."""

    def __init__(self, *answers: dict[str, Any] | str) -> None:
        self.answers = list(answers)

    def __call__(self, token: str, arguments: dict[str, str]) -> Any:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, str):
            raise Exception(answer)
        return type("Answer", (), {"value": answer})


@pytest.mark.parametrize(
    ("answers", "outputs"),
    [
        (("failed to load checkpoint: EOF", 'unknown stack "s"', {"outputs": HELD}), HELD),
        (({"outputs": {}},), {}),
        (('unknown stack "s"',), {}),
    ],
)
def test_a_state_that_is_being_written_is_read_again(
    answers: tuple[dict[str, Any] | str, ...], outputs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of it, or none for a moment, must not pass for a stack that holds nothing."""
    monkeypatch.setattr(switching, "WAIT_SECONDS", 0)
    monkeypatch.setattr(pulumi.runtime, "invoke", Engine(*answers))
    assert switching.deployed() == outputs


def test_a_state_that_stays_unreadable_stops_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switching, "WAIT_SECONDS", 0)
    monkeypatch.setattr(pulumi.runtime, "invoke", Engine("access denied"))
    with pytest.raises(pulumi.RunError, match=r"cannot be read, so it is left alone.*access denied"):
        switching.deployed()
