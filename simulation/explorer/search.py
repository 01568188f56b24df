"""All states of a shape, nearest first: so what is found first has the shortest way to it."""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from simulation.explorer.world import OPEN, Found, Shape, State, Step, World, at
from simulation.reading import table

Progress = Callable[[int, int, int], None]
"""Told of each tick that is done: the tick, its states, and those of all so far."""


class Line(NamedTuple):
    at: int
    who: str
    what: str
    status: str


@dataclass
class Explored:
    shape: Shape
    states: int = 0
    steps: int = 0
    seconds: float = 0.0
    ends: Counter[str] = field(default_factory=Counter)
    """States in which it is final or on a desk, by which."""
    longest: int = 0
    """The ticks until the last one had its end, once faults had stopped."""
    found: tuple[Found, ...] = ()
    trace: tuple[Line, ...] = ()
    """The shortest way to what was found."""

    @property
    def holds(self) -> bool:
        return not self.found


def explore(shape: Shape, *, reduced: bool = True, progress: Progress | None = None) -> Explored:
    """Every state up to the horizon, tick by tick; ends at the first in which an invariant does not hold."""
    gc.disable()  # nothing here refers to itself, and a fifth of the time would go into looking for that
    try:
        return _explore(World(shape, reduced=reduced), progress)
    finally:
        gc.enable()


def _explore(world: World, progress: Progress | None) -> Explored:
    shape = world.shape
    done, began = Explored(shape), time.process_time()
    layer = {world.begin()}
    for tick in range(shape.horizon + 1):
        seen, todo, later = set(layer), list(layer), set[State]()
        while todo and done.holds:
            state = todo.pop()
            done.found = _stuck(world, state, done)
            for step in world.steps(state):
                done.steps += 1
                done.found = done.found or step.found
                if step.state.now > tick:
                    later.add(step.state)
                elif step.state not in seen:
                    seen.add(step.state)
                    todo.append(step.state)
        done.states += len(seen)
        if not done.holds:
            done.found, done.trace = shortest(shape, reduced=world.reduced)
            break
        if progress:
            progress(tick, len(seen), done.states)
        layer = later
    done.seconds = time.process_time() - began
    return done


def _stuck(world: World, state: State, done: Explored) -> tuple[Found, ...]:
    """Whether the end cannot be reached from here."""
    status = state.record.status
    if status not in OPEN:
        done.ends[status] += 1
        return ()
    if any(state.workers):
        return ()  # it ends its step, or dies: both are states of their own
    ticks = world.ends(state)
    if ticks is None:
        return (Found("stuck", f"{status} for ever, once faults have stopped"),)
    done.longest = max(done.longest, ticks)
    return ()


def shortest(shape: Shape, wanted: str = "", *, reduced: bool = True) -> tuple[tuple[Found, ...], tuple[Line, ...]]:
    """What is found after the fewest steps, and these; nothing where nothing is. `wanted`: of that invariant alone."""
    world = World(shape, reduced=reduced)
    layer: list[State] = [world.begin()]
    came: dict[State, State | None] = {layer[0]: None}
    while layer:
        later: list[State] = []
        for state in layer:
            if wanted in ("", "stuck") and (found := _stuck(world, state, Explored(shape))):
                return found, _way(world, came, state)
            for step in world.steps(state):
                if any(wanted in ("", one.invariant) for one in step.found):
                    return step.found, (*_way(world, came, state), _line(step))
                if step.state not in came:
                    came[step.state] = state
                    later.append(step.state)
        layer = later
    return (), ()


def _way(world: World, came: dict[State, State | None], state: State) -> tuple[Line, ...]:
    lines: list[Line] = []
    while (before := came[state]) is not None:
        lines.append(_line(next(step for step in world.steps(before) if step.state == state)))
        state = before
    return tuple(reversed(lines))


def _line(step: Step) -> Line:
    return Line(step.state.now, step.who, step.what, step.state.record.status)


def drawn(lines: tuple[Line, ...]) -> str:
    """The way as a table, for a person who knows payments."""
    rows = [(f"{at(line.at):%H:%M:%S}", line.who, line.what, line.status) for line in lines if line.who]
    return table([("time", "who", "what happens", "the record then"), *rows])
