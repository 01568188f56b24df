"""`pulumi.dynamic` resources through the plain command, and what a stack's alternative changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from local.stack import LEASES, LocalAws

pytestmark = pytest.mark.usefixtures("pulumi_cli")

PROGRAM = """
import pulumi
from once import Once
made = Once("it", pulumi.Config().get("word") or "first")
pulumi.export("said", made.said)
"""

ONCE = """
import os
import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult


class Provider(ResourceProvider):
    def create(self, props):
        if props["word"] == "broken":
            raise RuntimeError("this word is broken")
        return CreateResult("id", {**props, "said": props["word"] + " " + os.environ["AWS_ENDPOINT_URL"]})

    def diff(self, id, olds, news):
        return DiffResult(changes=olds["word"] != news["word"])

    def update(self, id, olds, news):
        return UpdateResult(self.create(news).outs)


class Once(Resource):
    said: pulumi.Output[str]

    def __init__(self, name, word):
        super().__init__(Provider(), name, {"word": word, "said": None})
"""


@pytest.fixture
def running(tmp_path: Path) -> Iterator[LocalAws]:
    root = tmp_path / "repo"
    root.mkdir()
    (root / "components").mkdir()
    (root / "components" / "__init__.py").touch()
    (root / "components" / "once.py").write_text(ONCE)
    (root / "__main__.py").write_text(PROGRAM.replace("from once", "from components.once"))
    (root / "Pulumi.yaml").write_text("name: confirm-transactions\nruntime: python\n")
    (root / "Pulumi.fargate.yaml").write_text("config:\n  confirm-transactions:alternative: fargate\n")
    with LocalAws("fargate", root=root, gateway=False, providers={}) as aws:
        yield aws


def test_a_dynamic_resource_is_made_changed_and_left_alone(running: LocalAws) -> None:
    assert int(running.config()["confirm-transactions:leaseSeconds"]) == LEASES["fargate"] != LEASES["serverless"]
    first = running.pulumi("up", "--yes", "--skip-preview", capture=True)
    assert first.returncode == 0, first.stdout + first.stderr
    assert running.outputs()["said"] == f"first {running.endpoint_url}"
    assert running.pulumi("preview", "--expect-no-changes", capture=True).returncode == 0
    running.pulumi("config", "set", "word", "broken")
    failed = running.pulumi("up", "--yes", "--skip-preview", capture=True)
    assert failed.returncode != 0
    assert "this word is broken" in failed.stdout + failed.stderr
    running.pulumi("config", "set", "word", "second")
    assert running.pulumi("up", "--yes", "--skip-preview", capture=True).returncode == 0
    assert running.outputs()["said"].startswith("second ")
