"""The product, broken in one place at a time: what the simulator must find. No such switch is in the product."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest

from simulation import store
from simulation.__main__ import main as simulate
from simulation.life import Life
from simulation.play import play
from workers.domain import confirming, transitions
from workers.domain.confirming import Confirmer
from workers.domain.outcomes import Confirmed, Rejected, Unknown, admitted
from workers.domain.policy import Policy
from workers.domain.text import words
from workers.domain.transaction import Status, Transaction
from workers.domain.transitions import Answer
from workers.gateway import evidence

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
    patch.setattr(store, "stands", lambda stood, before: stood is not None)


def _fence_by_state_alone(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(store, "stands", lambda stood, before: stood is not None and stood.status is before.status)


def _index_trusted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(store, "as_it_is", lambda current, shown: shown)


def _lease_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Confirmer, "_no_call", lambda *_: None)


def _lease_not_looked_at_again(patch: pytest.MonkeyPatch) -> None:
    """Between a question and the send after it."""
    real = Confirmer._no_call
    looked = set()

    def broken(self: Confirmer, record: Transaction, now: datetime, stop_at: datetime | None) -> Any:
        if (record.id, record.token) in looked:
            return None
        looked.add((record.id, record.token))
        return real(self, record, now, stop_at)

    patch.setattr(Confirmer, "_no_call", broken)


def _window_not_looked_at_again(patch: pytest.MonkeyPatch) -> None:
    """After the wait for the turn of the send."""
    real = transitions.may_resend
    looked = set()

    def broken(record: Transaction, now: datetime, policy: Policy) -> bool:
        if (record.id, record.token) in looked:
            return True
        may = real(record, now, policy)
        if may:
            looked.add((record.id, record.token))
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

    def broken(record: Transaction, now: datetime, policy: Policy) -> bool:
        return record.status is Status.PROCESSING or real(record, now, policy)

    patch.setattr(transitions, "claimable", broken)


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


def _desk_without_a_deadline(patch: pytest.MonkeyPatch) -> None:
    real = transitions._review
    patch.setattr(transitions, "_review", lambda *args, **more: real(*args, **more)._replace(review_by=None))


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
    Variant("fence ignored", _fence_ignored, "final moved", 30),
    Variant("fence by state alone", _fence_by_state_alone, "fence", 5),
    Variant("index trusted by the claim", _index_trusted, "two holders", 16),
    Variant("claim without the lease's condition", _claim_without_the_lease, "two holders"),
    Variant("lease not looked at before the send", _lease_not_looked_at, "lease", 145),
    Variant("lease not looked at again between question and send", _lease_not_looked_at_again, "lease", 145),
    Variant("key window not looked at again after the wait", _window_not_looked_at_again, "key window", 43),
    Variant("an answer taken as proof of earlier sends", _first_send_forgotten_by_an_answer, "asked first", 2),
    Variant("key window counted from the last send", _window_from_the_last_send, "key window", 4),
    Variant("key window without room for the call", _window_without_room_for_the_call, "key window", 815),
    Variant("grace zero", _grace_zero, "grace", 2),
    Variant("resent without asking", _resent_without_asking, "two effects", 1),
    Variant("takeover believed never sent", _takeover_believed_never_sent, "asked first"),
    Variant("redrive without asking", _redrive_forgets, "two effects", 12),
    Variant("others_until ignored", _others_forgotten, "asked first", 9),
    Variant("shadow mode sends", _shadow_sends, "shadow", 1),
    Variant("unknown outcome taken for a refusal", _unknown_is_refused, "ledger"),
    Variant("amount not compared", _amount_not_compared, "ledger", 12),
    Variant("sent past the deadline", _sent_past_the_deadline, "deadline", 15),
    Variant("desk without a deadline", _desk_without_a_deadline, "desk"),
    Variant("takeover without its line", _claims_leave_no_line, "history"),
    Variant("line without a cause", _line_without_a_cause, "cause"),
    Variant("amount rounded", _amount_rounded, "lost"),
    Variant("gateway's words kept as they are", _words_kept_as_they_are, "secret", 5),
    Variant("worker's name as its token", _workers_name_as_token, "one token", 1),
    Variant("a try leaves no line", _claim_and_release_leave_no_line, "lines"),
    Variant("next turn never comes", _next_turn_never_comes, "liveness"),
)


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
    for variant in VARIANTS:
        found = first_found(variant)
        survived += found is None
        print(
            f"{variant.name:<54} " + (f"{found.seed:>5}  {', '.join(found.oracles)}" if found else "  SURVIVES"),
            flush=True,
        )
    return min(survived, 1)


if __name__ == "__main__":
    raise SystemExit(main())
