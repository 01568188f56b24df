"""What the local autoscaler decides, from tables."""

from __future__ import annotations

import math

import pytest

from local.overlay.scaling import (
    MathError,
    Moves,
    Step,
    Tracking,
    Value,
    adjusted,
    after_cooldown,
    agree,
    compute,
    step,
    track,
)

PER_TASK = Tracking(target=100.0)


@pytest.mark.parametrize(
    ("values", "capacity", "wanted"),
    [
        ([250.0, 250.0, 250.0], 2, 5),  # as many as bring it back to 100 a task
        ([101.0, 101.0, 101.0], 2, 3),
        ([100.0, 100.0, 100.0], 2, 2),  # the target itself is fine
        ([250.0, 250.0], 2, 2),  # two periods are not three
        ([250.0, 90.0, 250.0], 2, 2),
        ([250.0, None, 250.0], 2, 2),
        ([500.0, 250.0, 250.0], 2, 10),  # the newest counts
        ([300.0] * 3, 0, 3),  # none counts as one
        ([10.0] * 15, 20, 18),  # slowly back: a tenth at once
        ([10.0] * 15, 3, 2),  # one at least
        ([0.0] * 15, 1, 0),
        ([10.0] * 14, 3, 3),  # fourteen low periods are not fifteen
        ([*[10.0] * 14, None], 3, 3),
        ([95.0] * 15, 3, 3),  # only below nine tenths of the target
        ([85.0] * 15, 20, 18),
        ([85.0] * 15, 6, 6),  # proportional: 5.1 tasks are 6
        ([], 3, 3),
    ],
)
def test_target_tracking(values: list[Value], capacity: int, wanted: int) -> None:
    assert track(values, capacity, PER_TASK) == wanted


def test_a_policy_may_forbid_scaling_in() -> None:
    assert track([0.0] * 15, 5, Tracking(100.0, scale_in=False)) == 5
    assert track([300.0] * 3, 5, Tracking(100.0, scale_in=False)) == 15


STEPS = (Step(50, 0, 60), Step(100, 60, math.inf), Step(-50, -math.inf, 0))


@pytest.mark.parametrize(
    ("breach", "capacity", "wanted"),
    [(0.0, 4, 6), (59.9, 4, 6), (60.0, 4, 8), (1e9, 4, 8), (-0.1, 4, 2), (10.0, 1, 2), (10.0, 0, 1)],
)
def test_step_scaling(breach: float, capacity: int, wanted: int) -> None:
    assert step(breach, capacity, STEPS, "PercentChangeInCapacity", least=1) == wanted


def test_no_step_fits_no_change() -> None:
    assert step(5.0, 4, (Step(1, 10, 20),), "ChangeInCapacity") == 4


@pytest.mark.parametrize(
    ("capacity", "adjustment", "kind", "least", "wanted"),
    [
        (4, 2, "ChangeInCapacity", 0, 6),
        (1, -2, "ChangeInCapacity", 0, 0),
        (4, 7, "ExactCapacity", 0, 7),
        (10, 25, "PercentChangeInCapacity", 0, 12),  # 2.5 is rounded towards zero
        (10, -25, "PercentChangeInCapacity", 0, 8),
        (3, 10, "PercentChangeInCapacity", 0, 4),  # but never to nothing
        (3, -10, "PercentChangeInCapacity", 0, 2),
        (10, 10, "PercentChangeInCapacity", 3, 13),
        (0, 50, "PercentChangeInCapacity", 0, 0),
        (0, 50, "PercentChangeInCapacity", 1, 1),
    ],
)
def test_adjustments(capacity: int, adjustment: int, kind: str, least: int, wanted: int) -> None:
    assert adjusted(capacity, adjustment, kind, least) == wanted


@pytest.mark.parametrize(
    ("now", "moves", "capacity", "wanted", "why"),
    [
        (100.0, Moves(), 4, 8, "nothing cools down"),
        (100.0, Moves(out_at=80, before_out=2), 4, 4, "what was added counts: 2 doubled is 4"),
        (100.0, Moves(out_at=80, before_out=3), 4, 6, "only what goes beyond it is added"),
        (141.0, Moves(out_at=80, before_out=2), 4, 8, "the cooldown is over"),
        (100.0, Moves(in_at=80), 4, 8, "a scale-out waits for no scale-in"),
    ],
)
def test_cooldown_of_scaling_out(now: float, moves: Moves, capacity: int, wanted: int, why: str) -> None:
    assert after_cooldown(lambda size: size * 2, capacity, now, moves, 60, 300) == wanted, why


@pytest.mark.parametrize(
    ("now", "moves", "wanted"),
    [
        (1000.0, Moves(), 3),
        (1000.0, Moves(in_at=800), 4),
        (1000.0, Moves(in_at=700), 3),
        (1000.0, Moves(out_at=950, before_out=2), 4),
    ],
)
def test_cooldown_of_scaling_in(now: float, moves: Moves, wanted: int) -> None:
    assert after_cooldown(lambda size: size - 1, 4, now, moves, 60, 300) == wanted


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [([], 3), ([5, 4], 5), ([2, 5], 5), ([2, 3], 3), ([2, 2], 2), ([0, 1], 1), ([99], 8)],
)
def test_the_largest_wish_within_the_bounds(asked: list[int], wanted: int) -> None:
    assert agree(asked, 3, 1, 8) == wanted


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("backlog / tasks", 50.0),
        ("backlog/FILL(gone, 1)", 200.0),
        ("backlog / IF(FILL(tasks, 0) < 1, 1, FILL(tasks, 0))", 50.0),
        ("backlog / IF(FILL(gone, 0) < 1, 1, FILL(gone, 0))", 200.0),
        ("backlog / gone", None),
        ("backlog / none", None),  # by zero
        ("MAX([backlog, tasks]) - MIN([tasks, none])", 200.0),
        ("AVG([backlog, gone])", 200.0),
        ("SUM([backlog, tasks]) * -2", -408.0),
        ("IF(backlog > 100 AND tasks == 4, 1, 0)", 1.0),
        ("IF(backlog > 1000 || tasks != 4, 1, 0)", 0.0),
        ("CEIL(backlog / 3) + FLOOR(2.5) + ABS(0 - tasks)", 73.0),
        ("IF(gone > 1, 1, 0)", None),
        ("MAX([gone, gone])", None),
    ],
)
def test_metric_math(expression: str, wanted: Value) -> None:
    assert compute(expression, {"backlog": 200.0, "tasks": 4.0, "none": 0.0, "gone": None}) == wanted


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("backlog /", "no metric math"),
        ("other / 2", "other is no metric of the policy; it has backlog"),
        ("RUNNING_SUM(backlog)", "function RUNNING_SUM is not known"),
        ("[backlog]", "several values"),
        ("__import__('os')", "not known"),
        ("backlog.real", "not known"),
        ("[backlog] + 1", "a number is needed"),
    ],
)
def test_what_is_no_metric_math_is_named(expression: str, text: str) -> None:
    with pytest.raises(MathError, match=text):
        compute(expression, {"backlog": 1.0})
