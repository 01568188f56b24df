"""The explorer: every interleaving holds, in its small size; each of the protocol's broken variants is found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import pytest

from simulation.explorer import world
from simulation.explorer.__main__ import evidence, main
from simulation.explorer.search import drawn, explore, shortest
from simulation.explorer.shapes import DEADLINE, DESK, SMALL, TAKEOVER, WINDOW
from simulation.explorer.world import INVARIANTS, OPEN, Shape, State, World
from tests.variants.edits import broken
from tests.variants.registry import VARIANTS
from workers.domain import transitions
from workers.domain.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Protocol:
    """A broken variant of the protocol, and what it breaks first."""

    name: str
    shape: Shape
    invariant: str


LONG_DESK = replace(DESK, horizon=4)
"""What comes back from there is asked about, whatever its record says; when it was first sent, only the record says."""

PROTOCOL = (
    Protocol("claim takes what is final", DESK, "final moved"),
    Protocol("claim takes what lies on a desk", DESK, "history"),
    Protocol("claim takes over a live lease", TAKEOVER, "two holders"),
    Protocol("only what became due lately is looked for", DESK, "stuck"),
    Protocol("lease not looked at before a call", WINDOW, "lease"),
    Protocol("lease not looked at again between question and send", TAKEOVER, "lease"),
    Protocol("sending not noted before the call", TAKEOVER, "asked first"),
    Protocol("time-out means failed", WINDOW, "ledger"),
    Protocol("time-out means success", WINDOW, "ledger"),
    Protocol("resent past the key window", WINDOW, "key window"),
    Protocol("key window counted from the last send", WINDOW, "key window"),
    Protocol("key window without room for the call", replace(WINDOW, call=2, lease=4, horizon=3), "key window"),
    Protocol("key window not looked at again after the wait", replace(WINDOW, lease=3), "key window"),
    Protocol("first 'not found' means declined", replace(WINDOW, grace=2, window=5, horizon=2), "ledger"),
    Protocol("grace period of nothing", replace(WINDOW, grace=2, window=5, horizon=2), "grace"),
    Protocol("resent without asking", WINDOW, "asked first"),
    Protocol("released as never sent, after the effect", LONG_DESK, "key window"),
    Protocol("answer taken as proof of earlier sends", DESK, "asked first"),
    Protocol("unknown goes to a desk when attempts are used up", LONG_DESK, "key window"),
    Protocol("redrive forgets that it was sent", DESK, "asked first"),
    Protocol("amount not compared", DESK, "ledger"),
    Protocol("sent past the deadline", DEADLINE, "deadline"),
    Protocol("what is exhausted is dropped silently", DESK, "desk"),
    Protocol("takeover without its line", DEADLINE, "history"),
    Protocol("line without a cause", WINDOW, "history"),
)
"""Those of `make variants` that are of claim, settle, takeover and resend."""


@pytest.mark.parametrize("shape", SMALL, ids=lambda shape: shape.name)
def test_every_interleaving_holds(shape: Shape) -> None:
    done = explore(shape)
    assert done.holds, f"{done.found}\n{drawn(done.trace)}"
    assert done.states > 10_000
    assert len(done.ends) >= 2, "it comes to its ends"


@pytest.mark.parametrize("one", PROTOCOL, ids=lambda one: one.name)
def test_a_broken_variant_is_found(one: Protocol) -> None:
    (variant,) = (known for known in VARIANTS if known.name == one.name)
    with broken(variant.in_a_life):
        found, way = shortest(one.shape, one.invariant)
    assert one.invariant in {each.invariant for each in found}, drawn(way)


@contextmanager
def broken_store(name: str, function: object) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world, name, function)
        yield


def _any(stood: Transaction, before: Transaction) -> bool:
    return True


def _same_state(stood: Transaction, before: Transaction) -> bool:
    return stood.status is before.status


def test_a_write_without_a_fence_is_found_by_its_shortest_way() -> None:
    for fence in (_any, _same_state):
        with broken_store("stands", fence):
            found, way = shortest(TAKEOVER, reduced=False)
        assert {one.invariant for one in found} & {"fence", "final moved"}
        assert 3 < len(way) < 12


def test_a_redrive_without_a_fence_is_found() -> None:
    with broken_store("lies_there", _any):
        found, _ = shortest(replace(DESK, redrives=2))
    assert "fence" in {one.invariant for one in found}


def test_a_gateway_that_forgets_its_keys_at_once_is_found() -> None:
    """Not the product's fault, and seen all the same: so the ledger is looked at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(World, "_forgets", lambda self, state: True)
        found, way = shortest(WINDOW)
    assert {"two effects"} == {one.invariant for one in found}
    assert sum("MOVES THE MONEY" in line.what for line in way) == 2


def test_a_turn_that_never_comes_is_found() -> None:
    real = transitions._by_deadline

    def never(case: Any, due: datetime | None) -> datetime | None:
        return None if case.record.tries else real(case, due)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transitions, "_by_deadline", never)
        found, _ = shortest(WINDOW)
    assert {"stuck"} == {one.invariant for one in found}


def test_every_invariant_is_proven_able_to_fail() -> None:
    assert {one.invariant for one in PROTOCOL} | {"fence", "two effects"} == set(INVARIANTS)


def test_what_is_taken_for_dead_changes_nothing_for_the_others() -> None:
    """Reduced or not, the same records and effects are reached."""
    small = Shape("", 2, 2, lease=1, apart=0, call=1, grace=1, window=4, attempts=1, off=(0, 0), refuses=False)

    def reached(reduced: bool) -> set[tuple[int, Transaction, int]]:
        it = World(small, reduced=reduced)
        seen, todo = {it.begin()}, [it.begin()]
        while todo:
            for step in it.steps(todo.pop()):
                if step.state not in seen:
                    seen.add(step.state)
                    todo.append(step.state)
        return {_told(state) for state in seen}

    assert reached(True) == reached(False)


def _told(state: State) -> tuple[int, Transaction, int]:
    """Who holds it is a name; an open one's holder may be dead in one of both."""
    record = state.record
    return state.now, record._replace(token=None) if record.status in OPEN else record, state.gateway.effects


def test_the_command_shows_the_way_and_keeps_its_figures(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simulation.explorer.__main__.SMALL", (DEADLINE,))
    assert main(["--small"]) == 0
    said = capsys.readouterr().out
    assert "holds; ends: CONFIRMED" in said
    (variant,) = (one for one in VARIANTS if one.name == "sent past the deadline")
    with broken(variant.in_a_life):
        assert main(["--small"]) == 1
        kept = evidence("model-checking", [explore(DEADLINE)], 1.0)
    said = capsys.readouterr().out
    assert "deadline: sent at" in said
    assert "and SENDS" in said
    assert not kept.passed
