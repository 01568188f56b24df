"""The real providers in place of the stand-ins: found in the user's own Pulumi home, or asked for."""

from __future__ import annotations

import os
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from local.engine.home import PROVIDERS, prepare, real_providers
from local.errors import LocalError
from tests.docs.markdown import ROOT
from tests.docs.shown import recipe, shown


def plugin(home: Path, name: str) -> Path:
    """A program in the place of the plugin, which says what it was started with."""
    folder = home / "plugins" / f"resource-{name}-v{version(f'pulumi_{name}')}"
    folder.mkdir(parents=True)
    program = folder / f"pulumi-resource-{name}"
    program.write_text('#!/bin/sh\necho "$0 $AWS_ENDPOINT_URL $1"\n')
    program.chmod(0o755)
    return program


def test_without_the_plugins_the_commands_of_the_page_end_with_how_to_get_them(tmp_path: Path) -> None:
    with shown("docs/adr/0006-local-aws.md", "The real provider on the emulator", only=("make ",)) as page:
        for command in page:
            words = recipe(command)
            alone = {name: value for name, value in os.environ.items() if not name.startswith("PULUMI")}
            done = subprocess.run(
                words, cwd=ROOT, env=alone | {"HOME": str(tmp_path)}, capture_output=True, text=True, check=False
            )
            assert done.returncode == 1, command
            assert f"pulumi plugin install resource aws {version('pulumi_aws')}" in done.stderr
            assert f"pulumi plugin install resource awsx {version('pulumi_awsx')}" in done.stderr
            assert "Traceback" not in done.stderr
    assert not (tmp_path / ".pulumi").exists()


def test_the_page_installs_the_versions_of_the_sdk() -> None:
    with shown("docs/adr/0006-local-aws.md", "The real provider on the emulator", only=("pulumi plugin ",)) as page:
        assert list(page) == [
            f"pulumi plugin install resource {name} {version(f'pulumi_{name}')}" for name in PROVIDERS
        ]


def test_just_what_is_missing_is_named(tmp_path: Path) -> None:
    plugin(tmp_path, "aws")
    with pytest.raises(LocalError, match=r"awsx is not there.*install resource awsx") as error:
        real_providers({"PULUMI_HOME": str(tmp_path)})
    assert "resource aws " not in str(error.value)


def test_the_engine_gets_the_users_plugins_and_back_the_stand_ins(tmp_path: Path) -> None:
    own = {name: plugin(tmp_path / "own", name) for name in PROVIDERS}
    pulumi = tmp_path / "pulumi"
    pulumi.write_text("#!/bin/sh\n")
    found = real_providers({"PULUMI_HOME": str(tmp_path / "own")})
    assert found == own
    home = prepare(tmp_path / "local", pulumi, found)
    for name, program in own.items():
        (launcher,) = (home.folder / "pulumi" / "plugins").glob(f"resource-{name}-v*/pulumi-resource-{name}")
        done = subprocess.run(
            [launcher, "127.0.0.1:1"], env={"AWS_ENDPOINT_URL": "http://x"}, capture_output=True, text=True, check=True
        )
        assert done.stdout.split() == [str(program), "http://x", "127.0.0.1:1"]
        prepare(tmp_path / "local", pulumi)
        assert f"-m local.engine.plugin local.provider.{name} " in launcher.read_text()
        prepare(tmp_path / "local", pulumi, found)
