"""What is known of each variant: at which seed a life finds it, by which oracles, and which tests fail with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

KNOWN = Path(__file__).parent / "known.json"

Seeds = dict[str, tuple[int, list[str]]]
"""By kind of life: the first seed at which it is found, and by which oracles."""


@dataclass
class Found:
    """Of one variant."""

    seeds: Seeds = field(default_factory=dict)
    killers: list[str] = field(default_factory=list)
    seconds: float = 0.0
    errors: list[str] = field(default_factory=list)

    @property
    def first(self) -> tuple[int, list[str]]:
        """The lowest of its seeds, and by which oracles it falls there."""
        return min(self.seeds.values())


def load() -> dict[str, Found]:
    """By the names of the variants."""
    kept = json.loads(KNOWN.read_text()) if KNOWN.exists() else {}
    return {name: Found({kind: (seed, oracles) for kind, (seed, oracles) in one["seeds"].items()}, one["killers"])
            for name, one in kept.items()}  # fmt: skip


def save(found: Mapping[str, Found]) -> None:
    kept = {name: {"seeds": one.seeds, "killers": one.killers} for name, one in sorted(found.items())}
    KNOWN.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
