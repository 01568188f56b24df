"""What comes from outside is cleaned at the border: it can be stored, it is bounded, and it keeps no secret."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import START, payment
from tests.telemetry.secrets import normal, sentences
from workers.domain import text
from workers.domain.causes import Cause
from workers.domain.exits import Redrive, Refused
from workers.domain.outcomes import (
    MOST_MONEY,
    Confirmed,
    NotFound,
    NotTried,
    Outcome,
    Rejected,
    Retryable,
    Unknown,
    admitted,
)
from workers.domain.policy import Policy
from workers.domain.redaction import redact
from workers.domain.transaction import Transaction, from_text, to_text, utc
from workers.domain.transitions import Answer, Claim, decide
from workers.stores.common import arrived

ANY_TEXT = st.text(st.characters()) | st.text(st.sampled_from("\x00\ud83d\ude00\u200b\n a1é…"))
"""Lone surrogates among it."""


def storable(value: str) -> bool:
    """As both datastores see it: UTF-8 without a NUL."""
    return "\x00" not in value and json.loads(json.dumps(value)) == value and bool(value.encode() or True)


@given(ANY_TEXT)
def test_words_are_one_line_that_any_store_takes(said: str) -> None:
    kept = text.words(said)
    assert storable(kept)
    assert kept.isprintable()
    assert len(kept) <= text.MAX_WORDS
    assert text.words(kept) == kept


@given(ANY_TEXT)
def test_a_reference_is_stored_whole_unless_no_store_could(said: str) -> None:
    kept = text.reference(said)
    assert storable(kept)
    assert len(kept) <= text.MAX_REFERENCE
    if said.isprintable() and len(said) <= text.MAX_REFERENCE:
        assert kept == said


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("no funds", "no funds"),
        ("no\x00 funds\r\n", "no funds"),
        ("\x1b[31mred", "[31mred"),
        ("half \ud83d of a pair", "half \N{REPLACEMENT CHARACTER} of a pair"),
        ("both \ud83d\ude00 halves", "both \N{GRINNING FACE} halves"),
        ("4111\u200b1111", "41111111"),
        ("\x00", ""),
        ("word " * 100, ("word " * 59).rstrip() + " …"),
        ("w" * 301, "w" * 299 + "…"),
        ("insufficient_funds;" * 20, ("insufficient_funds;" * 15)[:-1] + "…"),
        ("k1" * 151, "…"),
        (
            " ".join(f"AC{n:02}:limit{n}" for n in range(40)),
            " ".join(f"AC{n:02}:limit{n}" for n in range(19)) + " AC19: …",
        ),
        ("x" * 270 + " %34%31%31%31%31%31%31%31%31%31%31%31%31%31%31%31", "x" * 270 + " …"),
        ("x" * 270 + " card 4111 1111 1111 1111 1111 1111", "x" * 270 + " card …"),
    ],
)
def test_how_words_are_cleaned(said: str, kept: str) -> None:
    assert text.words(said) == kept


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("ch_3Lx42yQ", "ch_3Lx42yQ"),
        ("4111111111111111", "4111111111111111"),
        ("r" * 256, "r" * 256),
        ("r" * 257, "r" * 255 + "…"),
        ("a\x00b\ud83dc\n", "a\N{REPLACEMENT CHARACTER}" * 1 + "b\N{REPLACEMENT CHARACTER}c\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_how_a_reference_is_cleaned(said: str, kept: str) -> None:
    assert text.reference(said) == kept


@pytest.mark.parametrize(
    ("answered", "goes_on"),
    [
        (Confirmed("ref", 5, "USD"), Confirmed("ref", 5, "USD")),
        (Confirmed("a\x00", 5, "U\x00D"), Confirmed("a\N{REPLACEMENT CHARACTER}", 5, "U D")),
        (Confirmed("ref", 5, "€" * 1000), Confirmed("ref", 5, "€" * 99 + "…")),
        (Confirmed("ref", 5.0, "USD"), Unknown),  # type: ignore[arg-type]
        (Confirmed("ref", True, "USD"), Unknown),
        (Confirmed("ref", 10**5000, "USD"), Unknown),  # its digits cannot even be written down
        (Confirmed(42, 5, "USD"), Unknown),  # type: ignore[arg-type]
        (Confirmed("ref", 5, None), Unknown),  # type: ignore[arg-type]
        (Rejected("no\x00funds"), Rejected("no funds")),
        (Rejected("\ud800"), Rejected("\N{REPLACEMENT CHARACTER}")),
        (Rejected(""), Rejected("no reason given")),
        (Rejected(51), Unknown),  # type: ignore[arg-type]
        (Retryable("a\nb", counts=False), Retryable("a b", counts=False)),
        (Unknown("\x00"), Unknown("no reason given")),
        (NotFound(), NotFound()),
        (None, Unknown),
        (("ref", 5, "USD"), Unknown),
        (Confirmed, Unknown),
    ],
)
def test_what_an_adapter_answers_is_an_outcome_or_proves_nothing(answered: Any, goes_on: Any) -> None:
    outcome = admitted(answered)
    assert goes_on in (outcome, type(outcome))


@pytest.mark.parametrize("kind", [Rejected, Retryable, Unknown])
@pytest.mark.parametrize("before", [0, 150, 280, 290, 1190])
def test_no_secret_comes_through_by_being_cut(kind: type[Rejected | Retryable | Unknown], before: int) -> None:
    for secret, said in sentences(3):
        outcome = admitted(kind("y " * (before // 2) + said + " " + said))
        assert not isinstance(outcome, Confirmed | NotFound)
        assert secret.core not in normal(redact(outcome.reason)), said


def test_a_colleagues_words_cannot_poison_a_redrive() -> None:
    record = in_review()
    again = decide(record, Redrive("ann\x00", "b\ud83dob", "call\x00ed the bank " * 100), START, Policy())
    line = again.history[-1]
    assert line.by == "ann"
    assert storable(line.why)
    assert len(line.why) < 400


def test_one_person_is_not_two_by_a_character_that_nobody_sees() -> None:
    with pytest.raises(Refused, match="two people"):
        decide(in_review(), Redrive("ann", "ann\u200b", "twice"), START, Policy())


def test_words_that_are_none_are_no_reason() -> None:
    with pytest.raises(Refused, match="why"):
        decide(in_review(), Redrive("ann", "bob", "\x00\u200b"), START, Policy())


def in_review() -> Transaction:
    policy = Policy(max_attempts=1, review_within=timedelta(hours=1))
    held = decide(arrived(payment(), START), Claim("t", "w"), START, policy)
    refused: Outcome = Retryable("no")
    return decide(held, Answer(refused, "w"), START, policy)


@pytest.mark.parametrize("year", [1, 999, 2026, 9998])
def test_a_time_of_any_year_is_read_again_and_sorts_as_text(year: int) -> None:
    time = datetime(year, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
    assert to_text(time) == f"{year:04d}-01-02T03:04:05.678Z"
    assert from_text(to_text(time)) == time


def test_a_time_of_any_zone_is_one_in_utc_of_whole_milliseconds() -> None:
    time = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
    for zone in (UTC, timezone(timedelta(hours=2))):
        assert (utc(time.astimezone(zone)).tzinfo, utc(time.astimezone(zone)).microsecond) == (UTC, 678_000)
        whole = time.replace(microsecond=678_000).astimezone(zone)
        assert (utc(whole).tzinfo, utc(whole)) == (UTC, whole)
        assert to_text(time.astimezone(zone)) == to_text(whole) == "2026-01-02T03:04:05.678Z"


@pytest.mark.parametrize(("amount", "kept"), [(MOST_MONEY - 1, True), (MOST_MONEY, False)])
def test_an_amount_is_admitted_below_what_a_datastore_holds(amount: int, kept: bool) -> None:
    assert MOST_MONEY == 2**63
    for money in (amount, -amount):
        outcome = admitted(Confirmed("r", money, "USD"))
        assert (outcome == Confirmed("r", money, "USD")) is kept
        assert isinstance(outcome, Unknown) is not kept


def test_a_currency_of_any_length_is_cut() -> None:
    outcome = admitted(Confirmed("r", 1, "U" * (text.MAX_NAME + 1)))
    assert isinstance(outcome, Confirmed)
    assert len(outcome.currency) <= text.MAX_NAME


@pytest.mark.parametrize("outcome", [Rejected("r"), Retryable("r"), Unknown("r"), NotTried(Cause.TOO_LATE)])
def test_an_outcome_cannot_be_changed(outcome: Rejected | Retryable | Unknown | NotTried) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(outcome, outcome.__slots__[0], "another")


def test_what_was_not_tried_says_nothing_of_the_gateway_unless_told() -> None:
    assert not NotTried(Cause.TOO_LATE).unreachable


@pytest.mark.parametrize(
    ("microsecond", "kept"), [(0, 0), (999, 0), (1000, 1000), (1001, 1000), (1998, 1000), (3003, 3000)]
)
def test_a_time_is_cut_to_what_both_datastores_keep(microsecond: int, kept: int) -> None:
    assert utc(datetime(2026, 11, 24, microsecond=microsecond, tzinfo=UTC)).microsecond == kept
