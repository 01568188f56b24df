"""Makes the mutants of files, as JSON lines: run by the Python that has cosmic-ray (`make mutants`), and by no other.

Of cosmic-ray's operators those that change what a program does in the smallest step: each comparison to its neighbour
and to its opposite, and/or, not, +/-, a number by one, True/False, an exception that is not caught, a loop that is not
gone through.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator

_COMPARISONS = (
    "Lt_LtE", "Lt_GtE", "LtE_Lt", "LtE_Gt", "Gt_GtE", "Gt_LtE", "GtE_Gt", "GtE_Lt",
    "Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is",
)  # fmt: skip
_BINARY = ("Add_Sub", "Sub_Add", "Mul_FloorDiv", "FloorDiv_Mul", "Div_Mul", "Mod_Mul", "LShift_RShift")
OPERATORS = (
    *(f"core/ReplaceComparisonOperator_{one}" for one in _COMPARISONS),
    *(f"core/ReplaceBinaryOperator_{one}" for one in _BINARY),
    "core/ReplaceUnaryOperator_Delete_Not",
    "core/ReplaceUnaryOperator_USub_UAdd",
    "core/AddNot",
    "core/ReplaceAndWithOr",
    "core/ReplaceOrWithAnd",
    "core/ReplaceTrueWithFalse",
    "core/ReplaceFalseWithTrue",
    "core/NumberReplacer",
    "core/ExceptionReplacer",
    "core/ZeroIterationForLoop",
    "core/ReplaceBreakWithContinue",
    "core/ReplaceContinueWithBreak",
)


def functions(source: str) -> list[tuple[int, int, str]]:
    """(first line, last line, name) of each, the innermost last."""
    found: list[tuple[int, int, str]] = []

    def look(node: ast.AST, inside: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                name = f"{inside}{child.name}"
                found.append((child.lineno, child.end_lineno or child.lineno, name))
                look(child, f"{name}.")
            else:
                look(child, inside)

    look(ast.parse(source), "")
    return found


def pieces(source: str) -> list[tuple[int, int, str, str]]:
    """(first line, last line, what to put before, and after): each statement of the module and of its classes.

    One by one they are parsed in a fiftieth of the time that the whole file takes for each mutant.
    """
    found: list[tuple[int, int, str, str]] = []

    def look(body: list[ast.stmt], before: str) -> None:
        for one in body:
            decorators: list[ast.expr] = getattr(one, "decorator_list", [])
            first, last = min([one.lineno, *(each.lineno for each in decorators)]), one.end_lineno or one.lineno
            if isinstance(one, ast.ClassDef):
                if decorators:
                    found.append((first, one.lineno - 1, before, f"{' ' * one.col_offset}class _: ...\n"))
                look(one.body, "class _:\n")
            else:
                found.append((first, last, before, ""))

    look(ast.parse(source).body, "")
    return found


def mutants(file: str) -> None:
    source = Path(file).read_text()
    every, places = source.splitlines(), functions(source)
    for begin, end, before, behind in pieces(source):
        piece = before + "\n".join(every[begin - 1 : end]) + "\n" + behind
        above = begin - 1 - before.count("\n")
        for mutant in _of_piece(piece):
            first = above + mutant["first"]
            inside = [where for begins, ends, where in places if begins <= first <= ends]
            moved = {"first": first, "last": above + mutant["last"], "function": inside[-1] if inside else ""}
            print(json.dumps({"file": file, **mutant, **moved}))


def _of_piece(source: str) -> Iterator[dict[str, Any]]:
    lines, tree = source.splitlines(), get_ast(source)
    for name in OPERATORS:
        operator = get_operator(name)()
        count = sum(len(list(operator.mutation_positions(node))) for node in ast_nodes(tree))
        for occurrence in range(count):
            try:
                mutated = mutate_code(source, operator, occurrence)
            except AttributeError:  # an operator that does not know `except package.Error`
                continue
            if mutated is None or mutated == source:
                continue
            new = mutated.splitlines()
            first = next(n for n, (was, now) in enumerate(zip(lines, new, strict=False)) if was != now)
            same = next(n for n, (was, now) in enumerate(zip(lines[::-1], new[::-1], strict=False)) if was != now)
            same = min(same, len(lines) - first, len(new) - first)  # lines that repeat
            last = len(lines) - same
            yield {
                "operator": name.removeprefix("core/"),
                "first": first + 1,
                "last": last,
                "old": lines[first:last],
                "new": new[first : len(new) - same],
            }


if __name__ == "__main__":
    for file in sys.argv[1:]:
        mutants(file)
