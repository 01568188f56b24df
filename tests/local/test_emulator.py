"""The emulator's life: start, state, stop, and nothing left behind."""

from __future__ import annotations

import time
from pathlib import Path

from local.emulator import Emulator
from local.processes import command_of


def test_ready_fast_and_state_outlives_a_stop(tmp_path: Path) -> None:
    began = time.monotonic()
    with Emulator(tmp_path) as first:
        print(f"ready after {time.monotonic() - began:.2f} s")
        first.client("sqs").create_queue(QueueName="kept")
        port, pid = first.port, first.pid
        assert pid is not None
    assert command_of(pid) == ""
    with Emulator(tmp_path) as second:
        assert second.port == port
        assert second.client("sqs").get_queue_url(QueueName="kept")["QueueUrl"]
