"""The image: built by the run, named by the digest that the builder reports; what a tag stands for is never asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from delivery.pipeline import image
from delivery.pipeline.__main__ import main
from delivery.pipeline.errors import Refused
from tests.pipeline.test_steps import Clone, clone

__all__ = ["clone"]

REPOSITORY = "123456789012.dkr.ecr.us-east-1.amazonaws.com/confirm-transactions"
OURS, POISON = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"

AWS = """#!/bin/sh
echo "aws $*" >> {log}
case "$2" in
  get-login-password) echo word ;;
  *) echo '["{poison}"]' ;;
esac
"""
DOCKER = """#!/bin/sh
echo "docker $*" >> {log}
while [ $# -gt 0 ]; do
  [ "$1" = --metadata-file ] && echo '{{"containerimage.digest": "{digest}"}}' > "$2"
  shift
done
cat > /dev/null
"""


@pytest.fixture
def registry(clone: Clone, tmp_path: Path) -> Path:
    """A registry in which everything has every tag already, and a builder; what both were asked."""
    log = tmp_path / "log"
    for name, text in {"aws": AWS, "docker": DOCKER}.items():
        (clone.bin / name).write_text(text.format(log=log, poison=POISON, digest=OURS))
        (clone.bin / name).chmod(0o755)
    clone.step("build")
    return log


def push(clone: Clone, target: Path) -> int:
    return main(["image", "--build", str(clone.built), "--image", str(target), "--run", "4711"])


def test_an_image_that_was_there_before_is_not_believed(
    clone: Clone, registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody pushed another one under the tag of this content."""
    monkeypatch.setenv("IMAGE_REPOSITORY", REPOSITORY)
    assert push(clone, tmp_path / "image") == 0
    assert (tmp_path / "image" / "image").read_text() == f"{REPOSITORY}@{OURS}\n"
    asked = registry.read_text()
    tag = json.loads((clone.built / "manifest.json").read_text())["imageTag"]
    assert f"--tag {REPOSITORY}:{tag}-4711 " in asked, "a tag of this run's own"
    assert {line.split()[1] for line in asked.splitlines() if line.startswith("aws")} == {"ecr"}
    assert [line.split()[2] for line in asked.splitlines() if line.startswith("aws")] == ["get-login-password"]


def test_what_is_built_from_is_what_the_commit_gives(
    clone: Clone, registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IMAGE_REPOSITORY", REPOSITORY)
    (clone.built / "image.tar").write_bytes(b"another")
    assert push(clone, tmp_path / "image") == 1
    assert "The artifact is not that of this commit" in capsys.readouterr().err
    assert not registry.exists()


def test_the_repository_is_one_of_ecr(
    clone: Clone, registry: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert push(clone, tmp_path / "image") == 1
    assert "imageRepository: found ''" in capsys.readouterr().err
    assert not registry.exists()


SET = """#!/bin/sh
case "$1 $2" in
  "config set") echo "$*" > {folder}/set ;;
  "stack history") cat {folder}/history ;;
esac
"""


@pytest.fixture
def stack(clone: Clone, tmp_path: Path) -> Path:
    """A stack whose history is in a file, and what was set of its configuration."""
    (clone.bin / "pulumi").write_text(SET.format(folder=tmp_path))
    (tmp_path / "history").write_text("[]")
    return tmp_path


def applied(head: str, digest: str, result: str = "succeeded", **more: Any) -> dict[str, Any]:
    config = {image.KEY: {"value": f"{REPOSITORY}@{digest}", "secret": False}}
    return {"kind": "update", "result": result, "environment": {"git.head": head}, "config": config, **more}


def use(which: str, folder: Path) -> int:
    return main(["use-image", "--stack", "fargate", "--of", which, "--image", str(folder)])


def test_the_stack_runs_what_this_run_built(stack: Path, tmp_path: Path) -> None:
    image.write(f"{REPOSITORY}@{OURS}", tmp_path / "image")
    assert use("built", tmp_path / "image") == 0
    assert (stack / "set").read_text() == f"config set --stack fargate {image.KEY} {REPOSITORY}@{OURS}\n"


def test_the_way_back_takes_the_image_that_was_applied(clone: Clone, stack: Path) -> None:
    """And not what has the tag today, nor one that was never applied."""
    here = clone.commit()
    updates = [applied("later", POISON), applied(here, POISON, "failed"), applied(here, OURS), applied(here, POISON)]
    (stack / "history").write_text(json.dumps(updates))
    assert use("applied", stack) == 0
    assert (stack / "set").read_text().endswith(f"@{OURS}\n")


def test_a_look_at_a_pull_request_takes_the_newest(stack: Path) -> None:
    (stack / "history").write_text(json.dumps([applied("b", POISON, "failed"), applied("a", OURS)]))
    assert use("newest", stack) == 0
    assert (stack / "set").read_text().endswith(f"@{OURS}\n")


@pytest.mark.parametrize(
    ("which", "history", "said"),
    [
        ("applied", [], "found no successful apply of it to the stack fargate"),
        ("newest", [applied("a", OURS, config={})], f"had no {image.KEY}"),
        ("newest", [applied("a", "latest")], "allowed: REPOSITORY@sha256: and 64 hexadecimal digits"),
        ("built", [], "missing; was the artifact of the stage Image downloaded?"),
    ],
)
def test_no_image_is_no_image(
    stack: Path, which: str, history: list[Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (stack / "history").write_text(json.dumps(history))
    assert use(which, stack / "image") == 1
    assert said in capsys.readouterr().err
    assert not (stack / "set").exists()


@pytest.mark.parametrize("text", ["confirm:1", f"{REPOSITORY}:1", f"{REPOSITORY}@sha256:1", f"evil.com/x@{OURS}"])
def test_only_a_digest_is_noted(text: str, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="allowed: REPOSITORY@sha256: and 64"):
        image.write(text, tmp_path)
