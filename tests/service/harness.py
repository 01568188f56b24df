"""A service as a real process on the tests' PostgreSQL, with a simulated gateway in the tests' own loop."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local.postgres import Postgres
from local.processes import HOST, ROOT

ENVIRONMENT = {
    "STACK": "fargate",
    "ALTERNATIVE": "fargate",
    "ENVIRONMENT": "dev",
    "LEASE_SECONDS": "60",  # the machine may pause: what must not happen meanwhile takes long, SHORT apart
    "CLOCK_SKEW_SECONDS": "0",
    "MAX_ATTEMPTS": "6",
    "RETRY_BASE_SECONDS": "0.2",
    "RETRY_CAP_SECONDS": "2",
    "GRACE_SECONDS": "0.5",
    "KEY_WINDOW_SECONDS": "86400",
    "REVIEW_SECONDS": "86400",
    "REVIEW_OWNER": "payment-operations",
    "GATEWAY_TIMEOUT_SECONDS": "20",
    "GATEWAY_CONCURRENCY": "20",
    "GATEWAY_RATE_LIMIT": "0",
    "GATEWAY_SECRET_ARN": "",
    "METRIC_NAMESPACE": "ConfirmTransactions",
    "BATCH_SIZE": "50",
    "POLL_SECONDS": "0.3",
    "STOP_SECONDS": "45",
    "METRICS_SECONDS": "0.5",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_EC2_METADATA_DISABLED": "true",
}
SHORT = {"LEASE_SECONDS": "4", "GATEWAY_TIMEOUT_SECONDS": "1"}
"""For a worker whose leases are to end within the test."""


@dataclass
class Worker:
    """One process and what it wrote."""

    process: subprocess.Popen[bytes]
    log: Path
    heartbeat: Path
    _seen: int = field(default=0, repr=False)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line.get("event") == name]

    def await_event(self, name: str, seconds: float = 60, count: int = 1) -> dict[str, Any]:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if len(found := self.events(name)) >= count:
                return found[-1]
            if self.process.poll() is not None and len(self.events(name)) < count:
                break
            time.sleep(0.03)
        raise AssertionError(f"no event {name!r}; the log ends: {self.log.read_text()[-2000:]}")


@dataclass(frozen=True)
class Harness:
    """Where workers of one test run: a database of its own and a gateway."""

    postgres: Postgres
    database: str
    gateway_url: str
    folder: Path

    @contextmanager
    def worker(self, name: str = "w", **changes: str) -> Iterator[Worker]:
        """A running worker, killed at the end if it is not over by then."""
        environment = {
            **os.environ,
            **ENVIRONMENT,
            "GATEWAY_URL": self.gateway_url,
            "DATABASE_HOST": HOST,
            "DATABASE_PORT": str(self.postgres.port),
            "DATABASE_NAME": self.database,
            "DATABASE_USER": "confirm_service",
            "HEARTBEAT_FILE": str(self.folder / f"{name}.heartbeat"),
            **changes,
        }
        log = self.folder / f"{name}.log"
        with log.open("wb") as out:
            command = [sys.executable, "-m", "workers.service"]
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT)
        worker = Worker(process, log, Path(environment["HEARTBEAT_FILE"]))
        try:
            yield worker
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
