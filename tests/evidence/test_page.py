"""The page names what was not run, what is of another commit and what broke; texts in it stay texts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from evidence import __main__ as command
from evidence import page
from evidence.record import ROOT, Evidence, Table, commit, keep


def _kept(folder: Path, part: str = "variants", *, passed: bool = True) -> None:
    table = Table("Each", ("name", "seed"), (("</script><b>fence", 34),))
    keep(Evidence(part, "<i>", "make variants", passed, 1.5, {"seeds": 10_000}, {"crash": 1_234}, (table,)), folder)


def test_the_page_says_what_held_what_broke_and_what_is_missing(tmp_path: Path) -> None:
    _kept(tmp_path)
    _kept(tmp_path, "soak", passed=False)
    text = page.html(page.collect(tmp_path), ("variants", "soak", "drill"), commit())
    shown = {part: verdict for verdict, part in re.findall(r'<h2 id="[a-z-]+">(\w+): <span class="(\w+)"', text)}
    assert shown == {"kept": "Variants", "broken": "Soak"}
    assert '<td>Drill</td><td></td><td class="broken">not run' in text
    assert "10,000" in text
    assert "1,234" in text
    assert "stale" not in text.partition("</style>")[2]
    assert 'class="stale"' in page.html(page.collect(tmp_path), (), "another commit")


def test_a_text_stays_a_text_and_the_data_are_in_the_page(tmp_path: Path) -> None:
    _kept(tmp_path)
    text = page.html(page.collect(tmp_path), (), commit())
    assert "<i>" not in text
    assert text.count("</script>") == 1
    data = re.search(r'id="data">(.*)</script>', text)
    assert data is not None
    assert json.loads(data[1]) == page.collect(tmp_path)


def test_what_this_commit_has_not_seen_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page.collect, "__defaults__", (tmp_path,))
    (part, *_), *_ = (run.parts for run in command.RUNS)
    target = command.RUNS[0].target
    assert target in {run.target for run in command._to_run("missing", commit())}
    _kept(tmp_path, part)
    assert target not in {run.target for run in command._to_run("missing", commit())}
    assert target in {run.target for run in command._to_run("missing", "another commit")}
    assert command._to_run("nothing", commit()) == []
    assert [run.target for run in command._to_run(target, commit())] == [target]
    with pytest.raises(SystemExit, match="storm is no attack"):
        command._to_run("storm", commit())


def test_what_was_not_wanted_fails_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        command, "RUNS", (command.Run("storm", ("storm",), 1), command.Run("drill", ("drill-a", "drill-b"), 1))
    )
    storm, drill = command.RUNS
    for part in ("storm", "drill-a"):
        _kept(tmp_path, part)
    parts = page.collect(tmp_path)
    assert command._tell(parts, [storm], commit()) == 0
    assert command._tell(parts, [drill], commit()) == 1, "half of it was not run"
    assert command._tell(parts, [storm], "another commit") == 1
    _kept(tmp_path, "storm", passed=False)
    assert command._tell(page.collect(tmp_path), [storm], commit()) == 1
    assert "drill-b                  not run" in capsys.readouterr().out


def test_what_the_pipeline_runs_is_there() -> None:
    text = (ROOT / "delivery/pipeline/validate.yml").read_text()
    (named,) = re.findall(r"make evidence RUN=(\S+)", text)
    assert command._to_run(named, commit())
