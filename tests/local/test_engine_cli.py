"""Finding the Pulumi CLI, with stand-ins for the installer and the build."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from local.engine import cli
from local.engine.cli import VERSION, Finder, fits
from local.errors import LocalError


def fake(folder: Path, version: str) -> Path:
    """A program that answers `version`."""
    folder.mkdir(parents=True, exist_ok=True)
    binary = folder / "pulumi"
    binary.write_text(f"#!/bin/sh\necho v{version}\n")
    binary.chmod(binary.stat().st_mode | stat.S_IXUSR)
    return binary


class Spy:
    """Stands in for the installer or the build: makes a binary of `version`, or says why not."""

    def __init__(self, reason: str = "", version: str = VERSION) -> None:
        self.reason, self.version, self.calls = reason, version, 0

    def __call__(self, folder: Path, say: cli.Say) -> str:
        self.calls += 1
        if not self.reason:
            fake(folder / "bin", self.version)
        return self.reason


def finder(tmp_path: Path, path: list[Path], install: Spy, build: Spy) -> Finder:
    search = os.pathsep.join(map(str, path))
    return Finder(cache=tmp_path / "cache" / "pulumi", search_path=search, say=print, install=install, build=build)


@pytest.mark.parametrize(
    ("found", "needed", "good"),
    [
        ("3.259.0", "3.259.0", True),
        ("3.260.1", "3.259.0", True),
        ("3.259.0-dev.1", "3.259.0", True),
        ("3.258.9", "3.259.0", False),
        ("4.0.0", "3.259.0", False),
        ("", "3.259.0", False),
    ],
)
def test_which_versions_fit(found: str, needed: str, good: bool) -> None:
    assert fits(found, needed) is good


def test_path_first_then_cache_then_installer_then_build(tmp_path: Path) -> None:
    install, build = Spy("no internet"), Spy()
    on_path = fake(tmp_path / "bin", VERSION)
    assert finder(tmp_path, [tmp_path / "bin"], install, build).find() == on_path
    assert (install.calls, build.calls) == (0, 0)

    made = finder(tmp_path, [], install, build).find()
    assert made == tmp_path / "cache" / "pulumi" / "bin" / "pulumi"
    assert (install.calls, build.calls) == (1, 1)

    assert finder(tmp_path, [], install, build).find() == made
    assert (install.calls, build.calls) == (1, 1)
    assert not list((tmp_path / "cache").glob("making-*"))


def test_an_old_one_on_path_is_named_and_not_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fake(tmp_path / "old", "3.1.0")
    install, build = Spy(), Spy()
    found = finder(tmp_path, [tmp_path / "old"], install, build).find()
    assert found.is_relative_to(tmp_path / "cache")
    assert build.calls == 0
    assert f"version 3.1.0, needed is {VERSION}" in capsys.readouterr().out


def test_our_own_copy_on_path_is_not_taken_for_an_installed_one(tmp_path: Path) -> None:
    fake(tmp_path / "own", VERSION)
    search = Finder(cache=tmp_path / "none", search_path=str(tmp_path / "own"), ignore=(tmp_path / "own",))
    assert search.on_path() is None


def test_no_way_to_one_is_a_sentence_that_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(LocalError) as error:
        finder(tmp_path, [], Spy("no internet"), Spy("Go is not installed")).find()
    text = str(error.value)
    assert "no internet; Go is not installed" in text
    assert "Install Go 1.25 or newer" in text
    assert "\n" not in text
    assert not list((tmp_path / "cache").glob("making-*"))


def test_what_does_not_run_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="what was made does not run"):
        finder(tmp_path, [], Spy(version="0.0.1"), Spy("Go is not installed")).find()
    assert not (tmp_path / "cache" / "pulumi").exists()


def test_what_a_killed_run_left_is_cleared(tmp_path: Path) -> None:
    (tmp_path / "cache" / "making-old").mkdir(parents=True)
    finder(tmp_path, [], Spy(), Spy()).find()
    assert not list((tmp_path / "cache").glob("making-*"))


def test_an_unwritable_cache_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    with pytest.raises(LocalError, match="keep the Pulumi CLI in"):
        finder(tmp_path, [], Spy(), Spy()).find()


def go(folder: Path, version: str, says: str, code: int) -> str:
    """A PATH with a Go that fails so."""
    folder.mkdir()
    (folder / "go").write_text(
        f"#!/bin/sh\nif [ \"$1\" = env ]; then echo {version}; exit 0; fi\necho '{says}' >&2\nexit {code}\n"
    )
    (folder / "go").chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


@pytest.mark.parametrize(
    ("version", "says", "reason"),
    [
        ("go1.20.3", "", "Go is too old (go1.20.3)"),
        ("go1.26.8", "write /x: no space left on device", "the disk is full"),
        ("go1.26.8", "dial tcp: lookup proxy: no such host", "cannot reach its module proxy"),
        ("go1.22.0", "go: download go1.25: toolchain not available", "cannot fetch a newer toolchain"),
        ("go1.26.8", "undefined: x", "the Go build failed (undefined: x)"),
    ],
)
def test_why_a_build_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, says: str, reason: str
) -> None:
    monkeypatch.setenv("PATH", go(tmp_path / "go", version, says, 1))
    (tmp_path / "out").mkdir()
    assert reason in cli.go_build(tmp_path / "out", print)


def test_no_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cli.go_build(tmp_path, print) == "Go is not installed"


def test_the_recipe_builds_the_version_of_the_sdk() -> None:
    assert f"github.com/pulumi/pulumi/pkg/v3 v{VERSION}" in (cli.RECIPE / "go.mod").read_text()
