"""What a run keeps of itself is what is read of it later, and says which commit it was."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from evidence.record import Evidence, Table, keep
from tests.docs.markdown import ROOT


def test_a_run_is_kept_with_its_commit(tmp_path: Path) -> None:
    table = Table("Variants", ("name", "seed"), (("fence ignored", 34),))
    ran = Evidence("variants", "Each fault is found.", "make variants", True, 1.5, {"variants": 1}, tables=(table,))
    file = keep(ran, tmp_path / "kept")
    assert file.name == "variants.json"
    document = json.loads(file.read_text())
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert document["commit"].removesuffix("+") == head.stdout.strip()
    assert document["at"].endswith("Z")
    assert document["figures"] == {"variants": 1}
    assert document["tables"] == [
        {"title": "Variants", "columns": ["name", "seed"], "rows": [["fence ignored", 34]]},
    ]
    keep(ran, tmp_path / "kept")
    assert [one.name for one in file.parent.iterdir()] == ["variants.json"]
