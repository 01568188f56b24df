"""The parts of the docs that the code itself tells: `make docs` writes them, `tests/docs` holds them to today's code.

A part stands in a page between `<!-- generated: NAME -->` and `<!-- end -->`; NAME is a key of PARTS.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from pathlib import Path

from components.settings import ENVIRONMENTS, KEYS, Environment, Key, Sizing

ROOT = Path(__file__).resolve().parents[1]
_PART = re.compile(r"(<!-- generated: (?P<name>[a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table; bars inside cells are escaped."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def config_keys() -> str:
    """Every config key."""
    return table(("key", "what it is", "default", "allowed"), map(_key, KEYS))


def _key(key: Key) -> tuple[str, ...]:
    default = "[]" if key.default == () else str(key.default)
    return f"`{key.name}`", key.description, f"`{default}`" if default else "", key.allowed


def environments() -> str:
    """What each environment has, where its config does not say otherwise."""
    rows = [
        (f"`{field.name}`", *(_value(getattr(ENVIRONMENTS[one], field.name)) for one in Environment))
        for field in fields(Sizing)
    ]
    return table(("", *Environment), rows)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


PARTS: Mapping[str, Callable[[], str]] = {
    "config-keys": config_keys,
    "environments": environments,
}


def pages() -> list[Path]:
    """Every page that has generated parts."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    return sorted(path for path in found if _PART.search(path.read_text()))


def renewed(text: str) -> str:
    """A page with its generated parts as the code tells them today.

    Raises:
        KeyError: there is no part of that name.
    """
    return _PART.sub(lambda part: f"{part[1]}{PARTS[part['name']]()}\n{part[3]}", text)


def main() -> None:
    for page in pages():
        before = page.read_text()
        after = renewed(before)
        if after != before:
            page.write_text(after)
            print(f"{page.relative_to(ROOT)}: renewed")


if __name__ == "__main__":
    main()
