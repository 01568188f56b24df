"""The emulator's life: start, state, stop, and nothing left behind."""

from __future__ import annotations

import errno
import io
import os
import socket
import time
import zipfile
from pathlib import Path

import pytest

from local.emulator import Emulator
from local.errors import LocalError
from local.processes import HOST, OURS, Child, command_of, explain, free_port, kept_port
from tests.conftest import AwsAccount


def test_state_and_port_outlive_a_stop(tmp_path: Path) -> None:
    with Emulator(tmp_path) as first:
        first.client("sqs").create_queue(QueueName="kept")
        port, pid = first.port, first.pid
        assert pid is not None
    assert command_of(pid) == ""
    assert not list((tmp_path / "tmp").iterdir())
    with Emulator(tmp_path) as second:
        assert not second.lost_state
        assert second.port == port
        assert second.client("sqs").get_queue_url(QueueName="kept")["QueueUrl"]


def test_a_former_one_that_still_runs_is_ended_and_its_state_kept(tmp_path: Path) -> None:
    first = Emulator(tmp_path).start()
    try:
        first.client("sqs").create_queue(QueueName="kept")
        former = first.pid
        with Emulator(tmp_path) as second:  # as if the first's owner had vanished
            assert former is not None
            assert second.pid != former
            assert command_of(former) == ""
            assert second.client("sqs").get_queue_url(QueueName="kept")["QueueUrl"]
    finally:
        first.stop()


def test_a_lambda_in_the_middle_of_its_call_ends_with_it(tmp_path: Path) -> None:
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("h.py", f"import os, pathlib, time\ndef f(e, c):\n    pathlib.Path({str(tmp_path / 'pid')!r})"
                         ".write_text(str(os.getpid()))\n    time.sleep(60)\n")  # fmt: skip
    with Emulator(tmp_path / "aws", persist=False) as emulator:
        functions = emulator.client("lambda")
        functions.create_function(
            FunctionName="slow",
            Runtime="python3.13",
            Role="arn:aws:iam::000000000000:role/x",
            Handler="h.f",
            Timeout=90,
            Code={"ZipFile": code.getvalue()},
        )
        functions.invoke(FunctionName="slow", InvocationType="Event")
        until, noted = time.monotonic() + 60, tmp_path / "pid"
        while not (noted.exists() and noted.read_text()) and time.monotonic() < until:
            time.sleep(0.05)
        pid = int(noted.read_text())
        assert command_of(pid)
    assert command_of(pid) == ""


def test_a_pid_that_is_another_programs_now_is_left_alone(tmp_path: Path) -> None:
    child = Child("local.overlay", [], environment={}, folder=tmp_path, health_url="")
    child.pid_file.write_text(f"{os.getpid()}\n")
    child.end_former()  # would end this very test
    assert not child.pid_file.exists()


def test_it_listens_on_this_machine_alone(emulator: Emulator) -> None:
    assert emulator.endpoint_url.startswith(f"http://{HOST}:")
    others = {str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    for address in others - {HOST} - {a for a in others if a.startswith("127.")}:
        with socket.socket() as probe:
            assert probe.connect_ex((address, emulator.port)) != 0


def test_accounts_are_apart(emulator: Emulator, aws: AwsAccount) -> None:
    aws.client("sqs").create_queue(QueueName="mine")
    assert not emulator.client("sqs", account="111122223333").list_queues().get("QueueUrls")
    assert len(aws.client("sqs").list_queues()["QueueUrls"]) == 1
    assert aws.client("sts").get_caller_identity()["Account"] == aws.id


def test_a_taken_port_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "port"
    port = kept_port(file)
    assert kept_port(file) == port
    with socket.socket() as taken:
        taken.bind((HOST, port))
        taken.listen()
        assert kept_port(file) != port
    assert free_port() in OURS, "the system may give others to outgoing connections, before a server of ours has it"


def test_one_that_cannot_start_says_why(tmp_path: Path) -> None:
    child = Child("local.no_such_module", [], environment={}, folder=tmp_path, health_url=f"http://{HOST}:9/")
    with pytest.raises(LocalError, match=r"no_such_module ended while starting .*no_such_module\.log"):
        child.start()
    assert child.pid is None
    assert not child.pid_file.exists()


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (errno.ENOSPC, "The disk is full at /x: free some space"),
        (errno.EACCES, "No permission to write at /x"),
        (errno.EADDRINUSE, "A port is taken"),
        (errno.EIO, "Could not do it: Input/output error at /x."),
    ],
)
def test_a_failing_machine_is_a_sentence(number: int, text: str) -> None:
    said = explain(OSError(number, os.strerror(number), "/x"), "do it")
    assert said.startswith(text)
    assert "\n" not in said
