"""The figures of each big run, kept as JSON: `make evidence` makes its page of them.

A run that finds nothing proves only as much as it did: so it says how much that was, on which commit, by which command.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parent.parent
KEPT = ROOT / ".local" / "evidence"

Figure = int | float | str | bool | None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows that a person may want to read one by one, such as each broken variant and what found it."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[Figure]]


@dataclass(frozen=True, slots=True)
class Evidence:
    """One run. `figures` are numbers with their unit in the name: `{"seeds": 10000, "takeover_p99_seconds": 31.2}`."""

    part: str
    """Names the file: lower case, words joined by `-`."""
    claim: str
    """The sentence that the run attacked."""
    command: str
    """Does it again."""
    passed: bool
    seconds: float
    figures: Mapping[str, Figure]
    counts: Mapping[str, int] = field(default_factory=dict)
    """Of a kind each, say how often each fault struck."""
    tables: Sequence[Table] = ()
    commit: str = ""
    """With a `+` where files differed from it. `keep` fills it in, and the moment."""
    at: str = ""


def keep(evidence: Evidence, folder: Path = KEPT) -> Path:
    """Writes the run, in place of the last one of this part. Returns the file."""
    folder.mkdir(parents=True, exist_ok=True)
    document = asdict(evidence) | {"commit": commit(), "at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
    file = folder / f"{evidence.part}.json"
    file.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    return file


def commit() -> str:
    """What stands in the working copy; empty where there is no git."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain") else "")
