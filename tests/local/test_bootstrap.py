"""delivery/bootstrap/ on the local AWS; then the plain `pulumi` with its bucket as backend and its key for secrets."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from local.processes import ROOT
from local.stack import LocalAws
from tests.docs.shown import shown

pytestmark = pytest.mark.usefixtures("pulumi_cli")

FLAGS = ("YES", "SKIP_PREVIEW", "NON_INTERACTIVE")
"""What a page leaves to its reader."""

PROGRAM = "import pulumi\npulumi.export('secret', pulumi.Output.secret('s3cret'))\n"


def test_the_backend_and_the_key_are_fit_for_pulumi(tmp_path: Path) -> None:
    """Steps 3 and 4 of docs/pipeline.md."""
    with LocalAws("dev", root=ROOT / "delivery" / "bootstrap", folder=tmp_path / "local", gateway=False) as aws:
        (tmp_path / "bootstrap").symlink_to(aws.program)
        (tmp_path / "state").mkdir()
        flags = {f"PULUMI_OPTION_{flag}": "true" for flag in FLAGS}
        environment = aws.environment | flags | {"STATE_FOLDER": str(tmp_path / "state")}
        environment.pop("PULUMI_BACKEND_URL")

        def bash(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, check=False
            )

        def must(command: str, folder: Path) -> str:
            answer = bash(command, folder)
            assert answer.returncode == 0, (answer.stdout + answer.stderr)[-3000:]
            return answer.stdout

        with shown("docs/pipeline.md", "Set up in Azure, in ten steps", block=0) as page:
            for command in page:
                assert "stateBackend" in must(command, tmp_path)
        outputs = json.loads(must("cd bootstrap && pulumi stack output --json", tmp_path))
        iam = aws.client("iam")
        for arn in outputs["serviceConnections"].values():
            assert iam.get_role(RoleName=arn.rpartition("/")[2])["Role"]["MaxSessionDuration"] == 7200
        bucket = outputs["stateBackend"].removeprefix("s3://").partition("?")[0]
        s3 = aws.client("s3")
        assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"

        # only the address is the emulator's: `?region=...` stays as it is used on AWS
        local = f"&endpoint={aws.endpoint_url}&disable_https=true&use_path_style=true"
        environment["STATE_BACKEND"] = outputs["stateBackend"] + local
        environment["SECRETS_PROVIDER"] = outputs["secretsProvider"]
        environment["PERMISSIONS_BOUNDARY"] = outputs["permissionsBoundary"]
        environment.pop("PULUMI_CONFIG_PASSPHRASE")
        program = tmp_path / "program"
        program.mkdir()
        (program / "Pulumi.yaml").write_text("name: small\nruntime: python\n")
        (program / "__main__.py").write_text(PROGRAM)
        with shown("docs/pipeline.md", "Set up in Azure, in ten steps", block=1) as page:
            for command in page:
                must(command, program)
        config = (program / "Pulumi.serverless.yaml").read_text()
        assert "encryptedkey: " in config
        assert f"permissionsBoundary: {outputs['permissionsBoundary']}" in config
        must("pulumi up", program)
        state = s3.get_object(Bucket=bucket, Key=".pulumi/stacks/small/serverless.json")["Body"].read()
        assert b"ciphertext" in state
        assert b"s3cret" not in state
        assert '"s3cret"' in must("pulumi stack output --show-secrets --json", program)

        # a lock is an object: another update refuses to begin
        s3.put_object(Bucket=bucket, Key=".pulumi/locks/organization/small/serverless/another.json", Body=b'{"pid": 1}')
        refused = bash("pulumi up", program)
        assert refused.returncode != 0
        assert "the stack is currently locked by 1 lock(s)" in refused.stdout + refused.stderr
