"""`python -m evidence`: one page of what the attacks on the promise found; runs first what this commit has not seen."""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree

from evidence import page
from evidence.record import KEPT, ROOT, commit

PAGE = KEPT / "evidence.html"


@dataclass(frozen=True, slots=True)
class Run:
    target: str
    """Of the Makefile."""
    parts: tuple[str, ...]
    """What it keeps."""
    minutes: float
    """About, on two cores."""


RUNS: tuple[Run, ...] = (
    Run("simulate", ("simulation",), 1),
    Run("explore", ("model-checking",), 3),
    Run("chaos", ("chaos-serverless", "chaos-fargate"), 20),
    Run("differential", ("differential",), 8),
    Run("drill", ("drill",), 8),
    Run("corpus", ("bad-input", "secrets", "vendor-profiles"), 15),
    Run("variants", ("variants",), 6),
    Run("mutants", ("mutants",), 30),
    Run("soak", ("soak",), 120),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0: every part that was wanted was run on this commit and held. 1: one was not, or did not."""
    parser = argparse.ArgumentParser(prog="python -m evidence", description=__doc__)
    parser.add_argument("--run", default="missing", help="`missing`, `nothing`, or targets joined by commas")
    parser.add_argument("--folder", type=Path, help="another folder to lay the page and its data in as well")
    options = parser.parse_args(arguments)
    wanted = options.run
    now = commit()
    runs = _to_run(wanted, now)
    for run in runs:
        print(f"make {run.target}: about {run.minutes:g} min", flush=True)
        subprocess.run(["make", "--no-print-directory", run.target], cwd=ROOT, check=False)
    parts = page.collect()
    KEPT.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page.html(parts, [part for run in RUNS for part in run.parts], now))
    if options.folder:
        copytree(KEPT, options.folder, dirs_exist_ok=True)
    return _tell(parts, runs if wanted not in ("missing", "nothing") else RUNS, now)


def _to_run(wanted: str, now: str) -> list[Run]:
    if wanted == "nothing":
        return []
    if wanted != "missing":
        names = wanted.split(",")
        known = [run.target for run in RUNS]
        if strange := sorted(set(names) - set(known)):
            raise SystemExit(f"--run: {', '.join(strange)} is no attack. Take some of {', '.join(known)}")
        return [run for run in RUNS if run.target in names]
    here = {one["part"] for one in page.collect() if one["commit"] == now}
    return [run for run in RUNS if not set(run.parts) <= here]


def _tell(parts: Sequence[dict[str, object]], wanted: Sequence[Run], now: str) -> int:
    kept, bad = {one["part"]: one for one in parts}, 0
    for run in RUNS:
        for part in run.parts:
            one = kept.get(part)
            verdict = "not run" if one is None else "held" if one["passed"] else "broken"
            stale = f", but on {str(one['commit'])[:12]}" if one and one["commit"] != now else ""
            bad += run in wanted and (verdict != "held" or bool(stale))
            print(f"  {part:<24} {verdict}{stale}")
    print(f"page: {PAGE.relative_to(ROOT)}")
    return min(bad, 1)


if __name__ == "__main__":
    raise SystemExit(main())
