"""bootstrap/ on the local AWS; and then the plain `pulumi` with its bucket as backend and its key for secrets."""

from __future__ import annotations

import subprocess
from pathlib import Path

from local.processes import ROOT
from local.stack import LocalAws

PROGRAM = "import pulumi\npulumi.export('secret', pulumi.Output.secret('s3cret'))\n"


def test_the_backend_and_the_key_are_fit_for_pulumi(tmp_path: Path) -> None:
    with LocalAws("dev", root=ROOT / "bootstrap", folder=tmp_path / "local", gateway=False) as aws:
        up = aws.pulumi("up", "--yes", "--skip-preview", "--stack", "dev", capture=True)
        assert up.returncode == 0, up.stdout[-3000:]
        outputs = aws.outputs()
        iam = aws.client("iam")
        for arn in outputs["serviceConnections"].values():
            assert iam.get_role(RoleName=arn.rpartition("/")[2])["Role"]["MaxSessionDuration"] == 7200
        bucket = outputs["stateBackend"].removeprefix("s3://").partition("?")[0]
        s3 = aws.client("s3")
        assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"

        # only the address is the emulator's: `?region=...` stays as it is used on AWS
        local = f"&endpoint={aws.endpoint_url}&disable_https=true&use_path_style=true"
        environment = aws.environment | {"PULUMI_BACKEND_URL": outputs["stateBackend"] + local}
        environment.pop("PULUMI_CONFIG_PASSPHRASE")
        program = tmp_path / "program"
        program.mkdir()
        (program / "Pulumi.yaml").write_text("name: small\nruntime: python\n")
        (program / "__main__.py").write_text(PROGRAM)

        def pulumi(*arguments: str) -> subprocess.CompletedProcess[str]:
            command = ["pulumi", *arguments, "--non-interactive"]
            return subprocess.run(command, cwd=program, env=environment, capture_output=True, text=True, check=False)

        made = pulumi("stack", "init", "dev", "--secrets-provider", outputs["secretsProvider"])
        assert made.returncode == 0, made.stderr
        assert "encryptedkey: " in (program / "Pulumi.dev.yaml").read_text()
        up = pulumi("up", "--yes", "--skip-preview", "--stack", "dev")
        assert up.returncode == 0, up.stdout + up.stderr
        state = s3.get_object(Bucket=bucket, Key=".pulumi/stacks/small/dev.json")["Body"].read()
        assert b"ciphertext" in state
        assert b"s3cret" not in state
        assert '"s3cret"' in pulumi("stack", "output", "--show-secrets", "--json").stdout

        # a lock is an object: another update refuses to begin
        s3.put_object(Bucket=bucket, Key=".pulumi/locks/organization/small/dev/another.json", Body=b'{"pid": 1}')
        refused = pulumi("up", "--yes", "--skip-preview", "--stack", "dev")
        assert refused.returncode != 0
        assert "the stack is currently locked by 1 lock(s)" in refused.stdout + refused.stderr
