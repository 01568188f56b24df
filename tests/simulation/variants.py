"""The product, broken in one place at a time: what the simulator must find. No such switch is in the product."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest

from simulation.__main__ import main as simulate
from simulation.life import Life
from simulation.play import play
from simulation.stores import dynamodb, postgres
from workers.domain import confirming, transitions
from workers.domain.confirming import Confirmer
from workers.domain.outcomes import Confirmed, Rejected, Unknown, admitted
from workers.domain.policy import Policy
from workers.domain.text import words
from workers.domain.transaction import Status, Transaction
from workers.domain.transitions import Answer
from workers.gateway import evidence
from workers.stores import dynamodb as adapter

MOST_SEEDS = 2000
Patch = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True, slots=True)
class Variant:
    name: str
    breaks: Patch
    oracle: str
    """One that must find it, whichever others do."""
    known: int = 0
    """A seed at which it was found: tried first, since a search takes its time. It moves when the simulator changes."""


@dataclass(frozen=True, slots=True)
class Found:
    seed: int
    oracles: tuple[str, ...]


def _fence_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(dynamodb, "fence_holds", lambda read, stood, parameters: stood is not None)
    patch.setattr(postgres, "fence_holds", lambda row, token: True)


def _fence_by_state_alone(patch: pytest.MonkeyPatch) -> None:
    held = {"S": "PROCESSING"}
    patch.setattr(
        dynamodb, "fence_holds", lambda read, stood, parameters: stood is not None and stood["status"] == held
    )
    patch.setattr(postgres, "fence_holds", lambda row, token: row.status == "PROCESSING")


def _lease_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Confirmer, "_no_call", lambda *_: None)


def _window_not_looked_at_again(patch: pytest.MonkeyPatch) -> None:
    """After the wait for the turn of the send."""
    real = transitions.may_resend
    looked: list[Transaction] = []

    def broken(record: Transaction, now: datetime, policy: Policy) -> bool:
        if any(one is record for one in looked):
            return True
        may = real(record, now, policy)
        if may:
            looked.append(record)
        return may

    patch.setattr(confirming, "may_resend", broken)


def _first_send_forgotten_by_an_answer(patch: pytest.MonkeyPatch) -> None:
    """An answer that proves something of this call, taken as proof of the ones before."""
    real = transitions._sent

    def broken(case: Any, *, sent: bool) -> Transaction:
        after = real(case, sent=sent)
        return after if sent else after._replace(first_sent_at=None, last_sent_at=None)

    patch.setattr(transitions, "_sent", broken)


def _window_from_the_last_send(patch: pytest.MonkeyPatch) -> None:
    real = transitions.may_resend

    def broken(record: Transaction, now: datetime, policy: Policy) -> bool:
        return real(record._replace(first_sent_at=record.last_sent_at), now, policy)

    patch.setattr(transitions, "may_resend", broken)
    patch.setattr(confirming, "may_resend", broken)


def _grace_zero(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(transitions._Case, "settled_down", property(lambda case: case.now))
    real = transitions.may_resend

    def broken(record: Transaction, now: datetime, policy: Policy) -> bool:
        return real(record._replace(last_sent_at=record.last_sent_at and now - policy.grace), now, policy)

    patch.setattr(transitions, "may_resend", broken)
    patch.setattr(confirming, "may_resend", broken)


def _resent_without_asking(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Transaction, "sent_earlier", property(lambda record: False))


def _takeover_believed_never_sent(patch: pytest.MonkeyPatch) -> None:
    real = transitions._possibly_sent

    def broken(record: Transaction, now: datetime, policy: Policy) -> Transaction:
        return record if record.status is Status.PROCESSING else real(record, now, policy)

    patch.setattr(transitions, "_possibly_sent", broken)


def _redrive_forgets(patch: pytest.MonkeyPatch) -> None:
    real = transitions._redrive

    def broken(case: Any, event: Any) -> Transaction:
        return real(case, event)._replace(first_sent_at=None, last_sent_at=None)

    patch.setattr(transitions, "_redrive", broken)


def _claim_without_the_lease(patch: pytest.MonkeyPatch) -> None:
    real = transitions.claimable
    due = postgres.due

    def broken(record: Transaction, now: datetime, policy: Policy) -> bool:
        return record.status is Status.PROCESSING or real(record, now, policy)

    patch.setattr(transitions, "claimable", broken)
    patch.setattr(adapter, "claimable", broken)
    patch.setattr(postgres, "due", lambda row, wanted, now: due(row._replace(lease_until=None), wanted, now))


def _others_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(transitions, "_others_sent", lambda record, policy: policy.only_ask)


def _shadow_sends(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(confirming, "may_send", lambda record, policy: True)
    patch.setattr(transitions, "may_send", lambda record, policy: True)
    real = transitions._possibly_sent

    def broken(record: Transaction, now: datetime, policy: Policy) -> Transaction:
        return record if policy.only_ask else real(record, now, policy)

    patch.setattr(transitions, "_possibly_sent", broken)


def _unknown_is_refused(patch: pytest.MonkeyPatch) -> None:
    def broken(outcome: object) -> object:
        return Rejected("no answer") if isinstance(outcome, Unknown) else admitted(outcome)

    patch.setattr(confirming, "admitted", broken)


def _amount_not_compared(patch: pytest.MonkeyPatch) -> None:
    real = transitions._confirmed

    def broken(record: Transaction, event: Answer, now: datetime) -> Transaction | None:
        outcome = event.outcome
        if isinstance(outcome, Confirmed):
            event = event._replace(outcome=outcome._replace(amount=record.amount))
        return real(record, event, now)

    patch.setattr(transitions, "_confirmed", broken)


def _sent_past_the_deadline(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Confirmer, "_too_late", lambda *_: None)


def _desk_without_an_owner(patch: pytest.MonkeyPatch) -> None:
    real = transitions._review
    patch.setattr(transitions, "_review", lambda *args, **more: real(*args, **more)._replace(owner=None))


def _claims_leave_no_line(patch: pytest.MonkeyPatch) -> None:
    real = transitions._claim

    def broken(case: Any, event: Any) -> Transaction:
        after = real(case, event)
        return after._replace(history=after.history[:-1]) if case.record.attempt else after

    patch.setattr(transitions, "_claim", broken)


def _line_without_a_cause(patch: pytest.MonkeyPatch) -> None:
    real = transitions._release

    def broken(*args: Any, **more: Any) -> Transaction:
        after = real(*args, **more)
        return after._replace(history=(*after.history[:-1], after.history[-1]._replace(cause=None)))

    patch.setattr(transitions, "_release", broken)


def _amount_rounded(patch: pytest.MonkeyPatch) -> None:
    real = transitions._release

    def broken(*args: Any, **more: Any) -> Transaction:
        after = real(*args, **more)
        return after._replace(amount=after.amount // 1000)

    patch.setattr(transitions, "_release", broken)


def _next_turn_never_comes(patch: pytest.MonkeyPatch) -> None:
    real = transitions._by_deadline

    def broken(case: Any, due: datetime | None) -> datetime | None:
        return None if case.record.tries > 2 else real(case, due)

    patch.setattr(transitions, "_by_deadline", broken)


def _window_without_room_for_the_call(patch: pytest.MonkeyPatch) -> None:
    real = transitions.may_resend

    def broken(record: Transaction, now: datetime, policy: Policy) -> bool:
        return real(record, now - policy.call_timeout - timedelta(seconds=5), policy) or real(record, now, policy)

    patch.setattr(transitions, "may_resend", broken)
    patch.setattr(confirming, "may_resend", broken)


def _words_kept_as_they_are(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(evidence, "_clean", lambda reason, *_: words(reason))
    patch.setattr(transitions, "redact", lambda text, *_: text)  # the second line of defence


def _core_raises(patch: pytest.MonkeyPatch) -> None:
    def broken(self: Confirmer, record: Transaction, stop_at: datetime | None = None) -> Any:
        raise ZeroDivisionError("a defect")

    patch.setattr(Confirmer, "conclude", broken)


def _workers_name_as_token(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Life, "new_token", lambda life: life.name)


def _claim_and_release_leave_no_line(patch: pytest.MonkeyPatch) -> None:
    real = transitions._release

    def broken(*args: Any, **more: Any) -> Transaction:
        after = real(*args, **more)
        pair = [line.was for line in after.history[-2:]] == [Status.PENDING, Status.PROCESSING]
        return after._replace(history=after.history[:-2]) if pair else after

    patch.setattr(transitions, "_release", broken)


VARIANTS = (
    Variant("core raises", _core_raises, "defect"),
    Variant("fence ignored", _fence_ignored, "final moved", 57),
    Variant("fence by state alone", _fence_by_state_alone, "fence", 41),
    Variant("claim without the lease's condition", _claim_without_the_lease, "two holders", 1),
    Variant("lease not looked at before the send", _lease_not_looked_at, "lease", 5),
    Variant("an answer taken as proof of earlier sends", _first_send_forgotten_by_an_answer, "asked first", 2),
    Variant("key window counted from the last send", _window_from_the_last_send, "key window", 21),
    Variant("key window without room for the call", _window_without_room_for_the_call, "key window", 115),
    Variant("grace zero", _grace_zero, "grace", 50),
    Variant("resent without asking", _resent_without_asking, "two effects", 10),
    Variant("takeover believed never sent", _takeover_believed_never_sent, "asked first", 3),
    Variant("redrive without asking", _redrive_forgets, "two effects", 75),
    Variant("others_until ignored", _others_forgotten, "asked first", 22),
    Variant("shadow mode sends", _shadow_sends, "shadow", 10),
    Variant("unknown outcome taken for a refusal", _unknown_is_refused, "ledger", 1),
    Variant("amount not compared", _amount_not_compared, "ledger", 29),
    Variant("sent past the deadline", _sent_past_the_deadline, "deadline", 148),
    Variant("desk without an owner", _desk_without_an_owner, "defect"),
    Variant("takeover without its line", _claims_leave_no_line, "history"),
    Variant("line without a cause", _line_without_a_cause, "cause"),
    Variant("amount rounded", _amount_rounded, "lost"),
    Variant("gateway's words kept as they are", _words_kept_as_they_are, "secret"),
    Variant("worker's name as its token", _workers_name_as_token, "one token"),
    Variant("a try leaves no line", _claim_and_release_leave_no_line, "lines"),
    Variant("next turn never comes", _next_turn_never_comes, "liveness", 2),
)

SELDOM = (Variant("key window not looked at again after the wait", _window_not_looked_at_again, "key window"),)
"""What the lives as they are drawn now show too seldom: `make variants` goes on looking."""


@contextmanager
def broken(variant: Variant) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        variant.breaks(patch)
        yield


def first_found(variant: Variant, most: int = MOST_SEEDS) -> Found | None:
    """The first seed at which its oracle finds it, and which others do."""
    return found_among(variant, range(most))


def found_among(variant: Variant, seeds: Iterable[int]) -> Found | None:
    with broken(variant):
        for seed in seeds:
            oracles = {one.oracle for one in play(seed).violations}
            if variant.oracle in oracles:
                return Found(seed, tuple(sorted(oracles)))
    return None


def main() -> int:
    """`make variants`: each variant, the seed at which it falls, and to which oracles. With a name: a search."""
    if len(sys.argv) > 1:
        (variant,) = (one for one in VARIANTS if one.name == sys.argv[1])
        with broken(variant):
            return simulate(sys.argv[2:])
    survived = 0
    print(f"{'variant':<54} {'seed':>5}  found by")
    for variant in (*VARIANTS, *SELDOM):
        found = first_found(variant)
        survived += found is None
        print(
            f"{variant.name:<54} " + (f"{found.seed:>5}  {', '.join(found.oracles)}" if found else "  SURVIVES"),
            flush=True,
        )
    return min(survived, 1)


if __name__ == "__main__":
    raise SystemExit(main())
