"""Free text keeps no secret, and what operators read in it stays."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes import START, payment
from tests.telemetry.secrets import normal, planted, sentences
from workers.domain.causes import Cause
from workers.domain.outcomes import NotFound, NotTried, Outcome, Rejected, Retryable, Unknown
from workers.domain.policy import Policy
from workers.domain.redaction import receipt, redact, without_account, without_secrets
from workers.domain.transaction import Status
from workers.domain.transitions import Answer, Claim, Redrive, decide
from workers.stores.common import arrived

OURS = (
    "no complete answer within 1 s",
    "gateway answered 503",
    "gateway's rate limit (429)",
    "not sent: could not connect: certificate verify failed: unable to get local issuer certificate",
    "PostgresConnectionError in the gateway adapter",
    "AC04 account closed",
    "insufficient_funds",
    "limit of 10,000.00 USD exceeded",
    "4 attempts used up; last: gateway answered 400",
    "the run lock of transactions-1a2b3c4 is no longer held by run-6fd1cd0b",
    "at 2026-11-24T08:29:30.788Z by run-6fd1cd0b/25",
)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_no_secret_survives_in_any_form(seed: int) -> None:
    for secret, text in sentences(seed):
        assert secret.core not in normal(redact(text)), (secret.kind, text)


@pytest.mark.parametrize("text", OURS)
def test_what_operators_read_stays(text: str) -> None:
    assert redact(text) == text


def test_the_secrets_are_there_to_be_found() -> None:
    """Else the tests that search for them could not fail."""
    for secret in planted(1):
        assert secret.core in normal(secret.text), secret


@pytest.mark.parametrize("kind", [Rejected, Retryable, Unknown])
def test_no_adapter_can_put_a_secret_into_a_record(kind: type[Rejected | Retryable | Unknown]) -> None:
    policy = Policy()
    held = decide(arrived(payment(), START), Claim("t", "w"), START, policy)
    for secret, text in sentences(7):
        outcome: Outcome = kind(text)
        after = decide(held, Answer(outcome, "w"), START + timedelta(seconds=1), policy)
        assert secret.core not in normal(repr(after)), text


def test_nor_can_a_colleague() -> None:
    policy = Policy(max_attempts=1)
    held = decide(arrived(payment(), START), Claim("t", "w"), START, policy)
    desk = decide(held, Answer(Retryable("no"), "w"), START, policy)
    assert desk.status is Status.REVIEW
    again = decide(desk, Redrive("ann", "bob", "customer says 4111 1111 1111 1111"), START, policy)
    assert again.history[-1].why == "redrive approved by bob: customer says ****1111"


def test_our_own_reasons_are_not_touched() -> None:
    policy = Policy()
    held = decide(arrived(payment(), START), Claim("t", "w"), START, policy)
    assert decide(held, Answer(NotTried(Cause.BREAKER_OPEN), "w"), START, policy).reason is not None
    assert decide(held, Answer(NotFound(), "w", asked=True), START, policy).reason == "gateway does not know it yet"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("ref 4111111111111111", "ref ****1111"),
        ("4111-1111-1111-1111", "****1111"),
        ("4111111111111112", "4111111111111112"),
        ("ref-2026-000123", "ref-2026-000123"),
    ],
)
def test_a_reference_stays_readable_unless_it_is_a_card(text: str, kept: str) -> None:
    assert without_secrets(text) == kept


@pytest.mark.parametrize(
    ("account", "reference", "shown"),
    [
        ("42", "ch_3Lx42yQ", "ch_3Lx42yQ"),
        ("42", "pay/42/1", "pay/****2/1"),
        ("acct-000123", "ch_acct-000123x", "ch_****0123x"),
        ("", "4111111111111111", "****1111"),
        ("a.c", "abc", "abc"),
    ],
)
def test_a_receipt_is_shown_but_for_cards_and_the_account(account: str, reference: str, shown: str) -> None:
    assert receipt(reference, account) == shown


@pytest.mark.parametrize(
    ("account", "quoted"),
    [
        ("ana.smith@example.com", "ANA.SMITH@EXAMPLE.COM"),
        ("ana.smith@example.com", "ana.smith%40example.com"),
        ("ana.smith@example.com", "ana.smith%2540example.com"),
        ("ana.smith@example.com", "ana.smith&#64;example.com"),
        ("Ana Smith Savings", "ANA SMITH SAVINGS"),
        ("Ana Smith Savings", "ana-smith-savings"),
        ("ana/main/wallet", "ana\\/main\\/wallet"),
        ("Jos\u00e9 Mu\u00f1oz", "JOSE MUNOZ"),
        ("Jos\u00e9 Mu\u00f1oz", "Jos\\u00e9 Mu\\u00f1oz"),
        ("Jos\u00e9 Mu\u00f1oz", "Jos%C3%A9+Mu%C3%B1oz"),
        ("Jos\u00e9", "Jose\u0301"),
        ("acct", "ＡＣＣＴ"),
        ("Stra\u00dfe 1", "STRASSE 1"),
        ("42", "42"),
        ("a b", "A B"),
        ("\u2022\u2022\u2022\u2022", "\u2022\u2022\u2022\u2022"),
    ],
)
def test_an_account_goes_however_it_is_quoted(account: str, quoted: str) -> None:
    assert (
        without_account(f"account {quoted} is closed, {quoted}!", account) == "account [account] is closed, [account]!"
    )


@pytest.mark.parametrize(
    ("account", "text"),
    [("42", "AC42"), ("acct-1", "code 100% \\u00e9 of an account"), ("", "as it is"), ("a1", "A12")],
)
def test_what_is_no_account_stays_as_it_is(account: str, text: str) -> None:
    assert without_account(text, account) == text


def test_a_whole_page_takes_no_time_and_a_short_text_is_not_cut() -> None:
    """Half a million letters without a space took minutes, in which no payment of the worker went on."""
    for page in ("w" * 500_000, "w." * 250_000, "1 " * 250_000, "api_key" * 70_000):
        assert len(redact(page)) <= 4_000
        without_account(page[:4_000], page[:128])
    assert redact("no such page " * 200) == "no such page " * 200


def test_a_row_that_a_constraint_refused_is_not_told() -> None:
    said = "violates check constraint\nDETAIL:  Failing row contains (p-1, acct-1, 5, USD,\n more)."
    assert "acct-1" not in redact(said)
    assert redact(said).startswith("violates check constraint")
