"""The emulator of the AWS services: ministack, with the overlays of `local/overlay`, as a child process."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from local.processes import HOST, STOP_SECONDS, Child, kept_port

REGION = "us-east-1"
"""Of clients that name none; the emulator serves every region, each apart from the others."""

_INHERITED = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "SYSTEMROOT",
    "VIRTUAL_ENV",
    "LD_LIBRARY_PATH",
    "CONFIRM_TEST",
)


class Emulator:
    """The AWS services on 127.0.0.1, as long as this object is started and this process lives."""

    def __init__(
        self,
        folder: Path,
        *,
        scheduler_speed: float = 1.0,
        persist: bool = True,
        enforce_iam: bool = False,
        postgres: Path | None = None,
        code: Path | None = None,
        collector: int | None = None,
        extra_environment: Mapping[str, str] | None = None,
    ) -> None:
        """`folder` takes all that it writes. `scheduler_speed` 6 makes a minute of EventBridge Scheduler last 10 s.

        `persist`: the state outlives `stop()`. `enforce_iam`: whoever acts as a role may do only what it allows.
        `postgres`: the folder of the PostgreSQL server that an RDS cluster gets; without it a cluster is a name alone.
        `code`: what stands for the code in an image of ECS, instead of this repository. `collector`: the port to
        which Lambdas and tasks send their traces (local/collector.py).
        """
        folder = self.folder = folder.resolve()
        self.port = kept_port(folder / "port")
        self.endpoint_url = f"http://{HOST}:{self.port}"
        temporary = folder / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        # The emulator hands its environment on to every Lambda, so it is made from nothing: neither the user's AWS
        # credentials nor PYTHONPATH (which would shadow the code of the Lambda's zip) may reach them.
        environment = {name: os.environ[name] for name in _INHERITED if name in os.environ} | {
            "BIND_HOST": HOST,  # its default is every interface
            "GATEWAY_PORT": str(self.port),
            "LOG_LEVEL": "WARNING",
            "TMPDIR": str(temporary),
            "NO_PROXY": f"{HOST},localhost",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "SFTP_ENABLED": "0",  # two services with listeners of their own, on every interface
            "IOT_MTLS_ENABLED": "0",
            "DOCKER_HOST": f"unix://{temporary}/no-docker",  # the same behaviour whether or not Docker is there
            "AUTH": str(enforce_iam).lower(),
            "CONFIRM_SCHEDULER_SPEED": f"{scheduler_speed:g}",
            "PYTHONUNBUFFERED": "1",
        }
        if persist:
            environment |= {
                "PERSIST_STATE": "1",
                "STATE_DIR": str(folder / "state"),
                "S3_PERSIST": "1",
                "S3_DATA_DIR": str(folder / "s3"),
            }
        if postgres:
            environment["CONFIRM_POSTGRES"] = str(postgres.resolve())
        if code:
            environment["CONFIRM_CODE"] = str(code.resolve())
        if collector:  # Lambdas know X-Ray's daemon by this; tasks get the other in the place of their own
            environment |= {
                "AWS_XRAY_DAEMON_ADDRESS": f"{HOST}:{collector}",
                "CONFIRM_COLLECTOR": f"http://{HOST}:{collector}",
            }
        self._temporary = temporary
        self._running = folder / "running"  # there while the emulator runs; it removes it when it has saved its state
        environment["CONFIRM_RUNNING"] = str(self._running)
        self.lost_state = False
        """After `start()`: the run before was killed, so the state is that of an earlier orderly end."""
        self._child = Child(
            "local.overlay",
            [],
            environment=environment | dict(extra_environment or {}),
            folder=folder,
            health_url=f"{self.endpoint_url}/_ministack/health",
        )

    @property
    def pid(self) -> int | None:
        """The emulator's process id while it runs."""
        return self._child.pid

    @property
    def log(self) -> Path:
        """What it wrote."""
        return self._child.log

    def start(self) -> Emulator:
        """Start it and wait until it answers; ends a former one of the same folder first."""
        self._child.end_former()
        self.lost_state = self._running.exists()
        self._empty_temporary()
        self._child.start()
        return self

    def stop(self, *, seconds: float = STOP_SECONDS) -> None:
        """Stop it, its Lambdas with it, and save its state if it persists; what is not saved in that time is lost."""
        self._child.stop(seconds=seconds)
        self._empty_temporary()

    def client(self, service: str, *, account: str = "test", region: str = REGION) -> Any:
        """A boto3 client. `account` of 12 digits is an AWS account of its own, apart from all others."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            service,
            endpoint_url=self.endpoint_url,
            region_name=region,
            aws_access_key_id=account,
            aws_secret_access_key="test",  # noqa: S106 - the emulator takes any
            config=Config(retries={"total_max_attempts": 1}, proxies={}),
        )

    def __enter__(self) -> Emulator:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _empty_temporary(self) -> None:
        """It leaves one folder per Lambda worker behind."""
        import shutil

        shutil.rmtree(self._temporary, ignore_errors=True)
        self._temporary.mkdir(parents=True, exist_ok=True)
