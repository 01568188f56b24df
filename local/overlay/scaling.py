"""How application autoscaling decides: pure functions over metric values, without a clock or AWS.

Written after AWS's description of target tracking and step scaling; where AWS keeps its ways to itself (how much a
target tracking policy takes away at once) the choice is named here.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

HIGH_PERIODS, LOW_PERIODS = 3, 15
"""Of the alarms that AWS makes for a target tracking policy: so many periods in a row above, or below."""

LOW_FRACTION = 0.9
"""Of the target: it scales in below this only, so that it does not swing."""

SLOW_FRACTION = 0.1
"""Of the capacity: what target tracking takes away at once at most, and one at least. AWS says "gradually"."""

Value = float | None
"""None: there is no data."""


@dataclass(frozen=True)
class Tracking:
    """A target tracking policy."""

    target: float
    scale_in: bool = True


@dataclass(frozen=True)
class Step:
    """A step of a step scaling policy: from `lower` to `upper`, both distances from the alarm's threshold."""

    adjustment: int
    lower: float = -math.inf
    upper: float = math.inf


@dataclass(frozen=True)
class Moves:
    """When a policy last scaled: moments in seconds, and the capacity before its last scale-out."""

    out_at: float = -math.inf
    in_at: float = -math.inf
    before_out: int = 0


def track(values: Sequence[Value], capacity: int, policy: Tracking) -> int:
    """The capacity that a target tracking policy asks for; `values` of its metric, a period each, the newest first."""
    newest = list(values[:HIGH_PERIODS])
    if len(newest) == HIGH_PERIODS and all(value is not None and value > policy.target for value in newest):
        return proportional(newest[0], capacity, policy.target)
    low = [value for value in values[:LOW_PERIODS] if value is not None and value < LOW_FRACTION * policy.target]
    if policy.scale_in and len(low) == LOW_PERIODS:
        slowest = capacity - max(1, math.floor(capacity * SLOW_FRACTION))
        return min(capacity, max(slowest, proportional(low[0], capacity, policy.target)))
    return capacity


def proportional(value: Value, capacity: int, target: float) -> int:
    """As many as bring the metric back to its target, if it falls as they grow. Nothing counts as one."""
    return math.ceil(max(capacity, 1) * (value or 0.0) / target - 1e-9)


def step(breach: float, capacity: int, steps: Sequence[Step], kind: str, least: int = 0) -> int:
    """The capacity that a step scaling policy asks for when its metric is `breach` away from the alarm's threshold.

    `kind` is the AdjustmentType, `least` the MinAdjustmentMagnitude of percentages.
    """
    for one in steps:
        if one.lower <= breach < one.upper if breach >= 0 else one.lower < breach <= one.upper:
            return adjusted(capacity, one.adjustment, kind, least)
    return capacity


def adjusted(capacity: int, adjustment: int, kind: str, least: int) -> int:
    if kind == "ExactCapacity":
        return adjustment
    if kind == "ChangeInCapacity":
        return max(0, capacity + adjustment)
    change = capacity * adjustment / 100  # PercentChangeInCapacity: towards zero, but never nothing
    size = max(math.floor(abs(change)), 1 if change else 0, least if adjustment else 0)
    return max(0, capacity + (size if adjustment > 0 else -size))


def after_cooldown(
    wanted: Callable[[int], int], capacity: int, now: float, moves: Moves, out_seconds: float, in_seconds: float
) -> int:
    """What `wanted` (capacity → capacity) comes to, given when the policy last scaled.

    While a scale-out cools down, what it added counts as a part of the next: only what goes beyond it is added. A
    scale-in waits for both cooldowns; a scale-out waits for no scale-in.
    """
    if now - moves.out_at < out_seconds:
        return max(capacity, wanted(moves.before_out))
    asked = wanted(capacity)
    return capacity if asked < capacity and now - moves.in_at < in_seconds else asked


def agree(asked: Sequence[int], capacity: int, least: int, most: int) -> int:
    """What several policies come to: the largest, so that one scales in only if none of the others minds."""
    return min(most, max(least, max(asked, default=capacity)))


# --- metric math


class MathError(Exception):
    """An expression that is none, or uses what is not known here."""


Number = Value | list[Value]

_BINARY: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_COMPARE: Mapping[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_FUNCTIONS: Mapping[str, Callable[[list[float]], float]] = {
    "MAX": max,
    "MIN": min,
    "SUM": sum,
    "AVG": lambda values: sum(values) / len(values),
    "ABS": lambda values: abs(values[0]),
    "CEIL": lambda values: float(math.ceil(values[0])),
    "FLOOR": lambda values: float(math.floor(values[0])),
}


def compute(expression: str, values: Mapping[str, Value]) -> Value:
    """The value of a metric math expression in one period. None where data are missing, or a division is by zero.

    Raises:
        MathError: the expression is none, or uses something that is not known here.
    """
    try:
        tree = ast.parse(
            re.sub(r"&&|\bAND\b", " and ", re.sub(r"\|\||\bOR\b", " or ", expression)).strip(), mode="eval"
        )
    except SyntaxError as error:
        raise MathError(f"{expression!r} is no metric math: {error.msg}") from None
    found = _Math(values).value(tree.body)
    if isinstance(found, list):
        raise MathError(f"{expression!r} gives several values, one is needed")
    return found


@dataclass(frozen=True)
class _Math:
    values: Mapping[str, Value]

    def value(self, node: ast.expr) -> Number:
        match node:
            case ast.Constant(value=int() | float() as number):
                return float(number)
            case ast.Name(id=name) if name in self.values:
                return self.values[name]
            case ast.Name(id=name):
                raise MathError(f"{name} is no metric of the policy; it has {', '.join(self.values) or 'none'}")
            case ast.UnaryOp(op=ast.USub(), operand=inner):
                return _apply(operator.neg, self.one(inner))
            case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _BINARY:
                return _apply(_BINARY[type(sign)], self.one(left), self.one(right))
            case ast.Compare(left=left, ops=[sign], comparators=[right]) if type(sign) in _COMPARE:
                return _apply(_COMPARE[type(sign)], self.one(left), self.one(right))
            case ast.BoolOp(op=sign, values=parts):
                test = all if isinstance(sign, ast.And) else any
                return _apply(lambda *found: test(found), *(self.one(part) for part in parts))
            case ast.List(elts=parts):
                return [self.one(part) for part in parts]
            case ast.Call(func=ast.Name(id=name), args=arguments):
                return self.call(name.upper(), arguments)
        raise MathError(f"{ast.unparse(node)} is not known to the local autoscaler")

    def one(self, node: ast.expr) -> Value:
        found = self.value(node)
        if isinstance(found, list):
            raise MathError(f"{ast.unparse(node)} is a list, a number is needed")
        return found

    def call(self, name: str, arguments: Sequence[ast.expr]) -> Number:
        if name == "IF" and len(arguments) == 3:
            test = self.one(arguments[0])
            return None if test is None else self.value(arguments[1] if test else arguments[2])
        if name == "FILL" and len(arguments) == 2:
            found = self.one(arguments[0])
            return self.one(arguments[1]) if found is None else found
        if name not in _FUNCTIONS or len(arguments) != 1:
            known = ", ".join(["IF", "FILL", *_FUNCTIONS])
            raise MathError(f"the function {name} is not known to the local autoscaler; it has {known}")
        given = self.value(arguments[0])
        numbers = [value for value in (given if isinstance(given, list) else [given]) if value is not None]
        return _FUNCTIONS[name](numbers) if numbers else None


def _apply(function: Callable[..., float], *given: Value) -> Value:
    numbers = [value for value in given if value is not None]
    if len(numbers) < len(given):
        return None
    try:
        return float(function(*numbers))
    except (ZeroDivisionError, OverflowError):
        return None
