"""The Lambdas' zip: the same bytes from the same code, and nothing in it that does not belong there."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from analysis.graph import ROOT
from components import artifact


@pytest.fixture
def workers(tmp_path: Path) -> Path:
    """A package with everything that must stay out beside what must go in."""
    package = tmp_path / "here" / "workers"
    files = {
        "__init__.py": "",
        "config.py": "LIMIT = 1\n",
        "domain/core.py": "x = 1\n",
        "Dockerfile": "FROM scratch\n",
        "migrations/0001.sql": "SELECT 1;\n",
        "__pycache__/config.cpython-313.pyc": "bytes",
        "notes.py~": "",
    }
    for name, text in files.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    return package


def test_only_python_goes_in_sorted_with_fixed_times_and_modes(workers: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(artifact.build(workers, tmp_path / "out" / "w.zip")) as archive:
        entries = archive.infolist()
    assert [entry.filename for entry in entries] == [
        "workers/__init__.py",
        "workers/config.py",
        "workers/domain/core.py",
    ]
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    assert {entry.external_attr >> 16 for entry in entries} == {0o100644}
    assert {entry.create_system for entry in entries} == {3}
    assert {entry.compress_type for entry in entries} == {zipfile.ZIP_STORED}


def test_the_same_code_gives_the_same_bytes_anywhere(workers: Path, tmp_path: Path) -> None:
    first = artifact.build(workers, tmp_path / "a.zip").read_bytes()
    moved = workers.parent.rename(tmp_path / "elsewhere") / "workers"
    for path in moved.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
        path.chmod(0o755)
    assert artifact.build(moved, tmp_path / "b.zip").read_bytes() == first


def test_other_code_gives_other_bytes(workers: Path, tmp_path: Path) -> None:
    first = artifact.build(workers, tmp_path / "a.zip").read_bytes()
    (workers / "config.py").write_text("LIMIT = 2\n")
    assert artifact.build(workers, tmp_path / "b.zip").read_bytes() != first


def test_too_large_is_refused_and_leaves_nothing(
    workers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifact, "LIMIT", 100)
    with pytest.raises(ValueError, match="allowed: 100"):
        artifact.build(workers, tmp_path / "out" / "w.zip")
    assert list((tmp_path / "out").iterdir()) == []


def test_no_code_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        artifact.build(tmp_path, tmp_path / "w.zip")


def test_ours_is_small_and_its_handlers_load_from_it_alone(tmp_path: Path) -> None:
    built = artifact.build(target=tmp_path / "w.zip")
    assert built.stat().st_size < 1024 * 1024
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from workers.serverless import handlers\n"
        "assert sys.argv[1] in handlers.__file__, handlers.__file__\n"
        "assert callable(handlers.plan) and callable(handlers.confirm) and callable(handlers.report)\n"
        "assert not any(m.split('.')[0] in ('pulumi', 'components', 'local') for m in sys.modules)\n"
    )
    # -P: not from the repository either
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, str(built)], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr


def test_it_lands_where_git_does_not_look() -> None:
    assert artifact.TARGET.relative_to(ROOT).parts[0] == ".build"
    assert ".build/" in (ROOT / ".gitignore").read_text().splitlines()
