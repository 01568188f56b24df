"""The simulated gateway: the judge must be right itself, reproducible, and survive what it is put through."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cli.books import ledger
from cli.books.lines import Reading
from gateway_simulator import PROFILES, Fault, Ledger, Profile, ProfileError, decide
from local.errors import LocalError
from tests.gateway.support import ACCOUNT, client, get, quietly, simulated, until

BODY = {"id": "t-1", "account": ACCOUNT, "amount": 1234, "currency": "USD"}
REPOSITORY = Path(__file__).parents[2]


async def post(url: str, changes: dict[str, Any] | None = None, key: str = "", path: str = "/confirmations") -> Any:
    """A raw POST: status and JSON, or the error's name."""
    document = BODY | (changes or {}) if path == "/confirmations" else changes
    async with client(url) as calls:
        answer = await calls.request(
            "POST",
            path,
            headers={"Idempotency-Key": key or str((document or {}).get("id"))},
            body=json.dumps(document).encode(),
        )
    return answer.status, json.loads(answer.body)


# --- decisions


def test_the_same_seed_id_and_call_meet_the_same_fate() -> None:
    fates = [decide(7, f"t-{n}", call, PROFILES["hostile"]) for n in range(50) for call in (1, 2, 3)]
    assert fates == [decide(7, f"t-{n}", call, PROFILES["hostile"]) for n in range(50) for call in (1, 2, 3)]
    assert fates != [decide(8, f"t-{n}", call, PROFILES["hostile"]) for n in range(50) for call in (1, 2, 3)]
    assert len({fate.latency_seconds for fate in fates}) == len(fates)
    first = decide(7, "t-0", 1, PROFILES["demo"])
    assert first.latency_seconds != decide(8, "t-0", 1, PROFILES["demo"]).latency_seconds
    assert first.latency_seconds != decide(7, "t-0", 1, PROFILES["demo"], "ask").latency_seconds


def test_the_demos_shares_are_what_they_say() -> None:
    fates = [decide(1, f"t-{n}", 1, PROFILES["demo"]) for n in range(40_000)]
    shares = Counter(fate.fault for fate in fates)
    for fault, share in PROFILES["demo"].faults.items():
        assert shares[fault] / len(fates) == pytest.approx(share, rel=0.2)
    assert sum(fate.refused for fate in fates) / len(fates) == pytest.approx(0.02, rel=0.2)
    latencies = sorted(fate.latency_seconds for fate in fates)
    assert 0.015 <= latencies[0] < 0.016
    assert 0.059 < latencies[-1] <= 0.060
    assert 0.024 < latencies[len(latencies) // 2] < 0.028


def test_refusal_belongs_to_the_id_and_faults_to_the_call() -> None:
    profile = Profile(refused=0.5, faults={Fault.UNAVAILABLE: 0.5})
    calls = [[decide(1, f"t-{n}", call, profile) for call in range(1, 21)] for n in range(40)]
    assert all(len({fate.refused for fate in of_id}) == 1 for of_id in calls)
    assert all(len({fate.fault for fate in of_id}) == 2 for of_id in calls)


@pytest.mark.parametrize("name", PROFILES)
def test_each_profile_survives_the_way_through_json(name: str) -> None:
    shown = PROFILES[name].as_json()
    again = Profile().changed({key: value for key, value in json.loads(json.dumps(shown)).items() if key != "name"})
    assert again.as_json() | {"name": name} == shown


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"profile": "x"}, "profile: found 'x', allowed calm, flat, demo"),
        ({"fault": {}}, "fault: unknown, allowed profile, latency_seconds"),
        ({"name": "x"}, "name: unknown"),
        ({"faults": []}, r"faults: found \[\], allowed an object"),
        ({"faults": {"x": 1}}, "faults: found 'x', allowed unavailable"),
        ({"faults": {"garbage": 2}}, "faults.garbage: found 2, allowed a share from 0 to 1"),
        ({"faults": {"garbage": 0.6, "redirect": 0.6}}, "faults: the shares add up to 1.2"),
        ({"refused": True}, "refused: found True, allowed a number"),
        ({"hang_seconds": -1}, "hang_seconds: found -1"),
        ({"hang_seconds": "3"}, "hang_seconds: found '3'"),
        ({"latency_seconds": [2, 1]}, r"latency_seconds: found \[2, 1\], allowed \[from, to\]"),
        ({"latency_seconds": 3}, "latency_seconds: found 3"),
        ({"replays": ["all"]}, "replays: found"),
        ({"script": {"t": ["nonsense"]}}, "script.t: found 'nonsense'"),
    ],
)
def test_a_change_that_makes_no_sense_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ProfileError, match=message):
        Profile().changed(changes)


# --- idempotency


def test_one_key_one_effect_and_the_same_answer(tmp_path: Path) -> None:
    async def run() -> None:
        async with simulated(tmp_path / "l") as (_, url):
            answers = [await post(url) for _ in range(5)]
            assert answers == [(200, BODY_DONE)] * 5
            assert (await get(url, "/_stats"))["effects"] == 1

    quietly(run)


BODY_DONE = {"id": "t-1", "status": "confirmed", "reference": "sim-1-1", "amount": 1234, "currency": "USD"}


def test_two_calls_at_once_make_one_effect(tmp_path: Path) -> None:
    async def run() -> None:
        async with simulated(tmp_path / "l", {"latency_seconds": [2, 2]}) as (_, url):
            answers = await asyncio.gather(*(post(url) for _ in range(5)))
            assert sorted(status for status, _ in answers) == [200, 409, 409, 409, 409]
            assert (409, {"id": "t-1", "status": "processing"}) in answers
            assert (await get(url, "/_stats"))["effects"] == 1

    quietly(run)


@pytest.mark.parametrize("change", [{"amount": 1235}, {"currency": "EUR"}, {"id": "t-2"}])
def test_the_same_key_for_another_payment_is_refused_and_on_record(change: dict[str, Any], tmp_path: Path) -> None:
    async def run() -> None:
        async with simulated(tmp_path / "l") as (_, url):
            await post(url, key="k")
            status, answer = await post(url, change, key="k")
            assert (status, answer["status"]) == (409, "key_reused")
            ledger = await get(url, "/_ledger")
            assert len(ledger["effects"]) == 1
            assert [violation["key"] for violation in ledger["violations"]] == ["k"]

    quietly(run)


def test_the_ledger_convicts_a_key_per_attempt_and_a_resend_past_the_window(tmp_path: Path) -> None:
    async def run() -> None:
        async with simulated(tmp_path / "l", {"key_window_seconds": 2}) as (_, url):
            await post(url, key="a-1")
            await post(url, key="a-2")
            await post(url, {"id": "b"}, key="b")
            await post(url, {"id": "b"}, key="b")
            assert (await get(url, "/_stats"))["doubles"] == 1
            await asyncio.sleep(2.1)
            await post(url, {"id": "b"}, key="b")
            stats = await get(url, "/_stats")
            assert (stats["effects"], stats["ids"], stats["doubles"], stats["sums"]) == (4, 2, 2, {"USD": 4 * 1234})

    quietly(run)


@pytest.mark.parametrize(
    ("profile", "fault", "second", "asked"),
    [
        ("calm", "error-before", 200, "not_found"),
        ("calm", "error-after", 200, "confirmed"),
        ("stripe-v1", "error-before", 500, "not_found"),
        ("stripe-v1", "error-after", 500, "confirmed"),
        ("stripe-v2", "error-before", 200, "not_found"),
        ("stripe-v2", "error-after", 200, "confirmed"),
        ("checkout", "error-before", 200, "not_found"),
        ("checkout", "error-after", 200, "confirmed"),
        ("ppro", "error-before", 500, "not_found"),
        ("ppro", "error-after", 500, "confirmed"),
    ],
)
def test_vendors_differ_in_what_they_replay(profile: str, fault: str, second: int, asked: str, tmp_path: Path) -> None:
    async def run() -> None:
        changes = {"profile": profile, "refused": 0, "latency_seconds": [0, 0], "script": {"t-1": [fault]}}
        async with simulated(tmp_path / "l", changes) as (_, url):
            assert (await post(url))[0] == 500
            assert (await get(url, "/confirmations/t-1"))["status"] == asked
            assert (await post(url))[0] == second
            assert (await get(url, "/_stats"))["doubles"] == 0

    quietly(run)


def test_a_refusal_stays_a_refusal(tmp_path: Path) -> None:
    async def run() -> None:
        refusal = {"id": "t-1", "status": "rejected", "reason": "insufficient_funds"}
        async with simulated(tmp_path / "l", {"refused": 1}) as (simulation, url):
            assert await post(url) == (422, refusal)
            simulation.profile = PROFILES["calm"]
            assert await post(url) == (422, refusal)
            assert await get(url, "/confirmations/t-1") == refusal
            assert (await get(url, "/_stats"))["effects"] == 0

    quietly(run)


def test_an_effect_may_be_seen_late(tmp_path: Path) -> None:
    async def run() -> None:
        async with simulated(tmp_path / "l", {"late": 1, "late_seconds": 2}) as (_, url):
            await post(url)
            assert (await get(url, "/confirmations/t-1"))["status"] == "not_found"
            await asyncio.sleep(2.1)
            assert (await get(url, "/confirmations/t-1"))["status"] == "confirmed"

    quietly(run)


def test_asking_during_the_call_says_processing(tmp_path: Path) -> None:
    async def run() -> None:
        async with simulated(tmp_path / "l", {"latency_seconds": [2, 2]}) as (simulation, url):
            task = asyncio.create_task(post(url))
            await until(lambda: simulation.in_flight == 1)
            simulation.profile = PROFILES["calm"]
            assert (await get(url, "/confirmations/t-1")) == {"id": "t-1", "status": "processing"}
            await task

    quietly(run)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"amount": 12.5}, "amount"),
        ({"amount": True}, "amount"),
        ({"amount": 0}, "amount"),
        ({"amount": "12"}, "amount"),
        ({"currency": "usd"}, "currency"),
        ({"account": ""}, "account"),
        ({"id": "a b"}, "id"),
        ({"id": "#run"}, "id"),
    ],
)
def test_a_payment_that_makes_no_sense_is_a_400_by_name(changes: dict[str, Any], named: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with simulated(tmp_path / "l") as (_, url):
            status, answer = await post(url, changes, key="k")
            assert (status, answer["error"].partition(":")[0]) == (400, named)
            assert (await get(url, "/_stats"))["effects"] == 0

    quietly(run)


# --- the admin's questions


def test_exports_its_book_as_confirm_reconcile_reads_it(tmp_path: Path) -> None:
    async def run() -> bytes:
        async with simulated(tmp_path / "l", {"script": {"t-1": ["unavailable"]}}) as (_, url):
            await post(url)  # refused to serve: no effect
            await post(url)
            async with client(url, 2.0) as http_client:
                return (await http_client.request("GET", "/_ledger.csv")).body

    book = asyncio.run(run())
    assert book.splitlines()[0] == b"id,amount_minor,currency,reference"
    (effect,) = ledger.read(io.BytesIO(book), Reading("ledger.csv", datetime.now(UTC)))
    assert effect.id == "t-1"


def test_tells_everything_about_one_id(tmp_path: Path) -> None:
    async def run() -> None:
        async with simulated(tmp_path / "l", {"script": {"t-1": ["unavailable", "error-after"]}}) as (_, url):
            await get(url, "/confirmations/t-1")
            for _ in range(3):
                await post(url)
            life = await get(url, "/_ledger/t-1")
            assert [(call["verb"], call["answer"]) for call in life["calls"]] == [
                ("ask", "not_found"),
                ("confirm", "unavailable"),
                ("confirm", "error-after"),
                ("confirm", "200"),
            ]
            assert [effect["reference"] for effect in life["effects"]] == ["sim-1-1"]
            assert (await get(url, "/_ledger"))["calls"] == {"t-1": {"confirm": 3, "ask": 1}}
            assert await get(url, "/_health") == {"status": "ok"}

    quietly(run)


def test_the_profile_changes_while_it_runs_and_nonsense_changes_nothing(tmp_path: Path) -> None:
    async def run() -> None:
        async with simulated(tmp_path / "l") as (_, url):
            status, profile = await post(url, {"profile": "down"}, path="/_faults")
            assert (status, profile["faults"]) == (200, {"unavailable": 1.0})
            assert (await post(url))[0] == 503
            status, answer = await post(url, {"refused": 3}, path="/_faults")
            assert (status, answer) == (400, {"error": "refused: found 3, allowed a share from 0 to 1"})
            assert (await post(url))[0] == 503
            await post(url, {"profile": "calm"}, path="/_faults")
            assert (await post(url))[0] == 200

    quietly(run)


def test_a_full_disk_means_no_effect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a line is taken back, so that the file stays readable."""

    async def run() -> None:
        async with simulated(tmp_path / "l") as (_, url):
            await post(url)
            write = os.write
            with monkeypatch.context() as patch:
                patch.setattr(os, "write", lambda file, data: write(file, data[: len(data) // 2]))
                assert (await post(url, {"id": "t-2"}))[0] == 503
            assert (await post(url, {"id": "t-3"}))[0] == 200
        ledger = Ledger(tmp_path / "l")
        assert [effect.id for effect in ledger.effects] == ["t-1", "t-3"]
        ledger.close()

    quietly(run)


# --- the file


def test_a_line_cut_short_is_dropped_and_anything_else_is_refused_by_line(tmp_path: Path) -> None:
    path = tmp_path / "l"

    async def run() -> None:
        async with simulated(path) as (_, url):
            await post(url)

    quietly(run)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"kind":"result","id":"t-2","ke')
    ledger = Ledger(path)
    assert len(ledger.effects) == 1
    ledger.close()
    assert path.read_bytes() == whole
    path.write_bytes(whole + b'{"kind":"other"}\n')
    with pytest.raises(LocalError, match="line 3: not a record"):
        Ledger(path)


def test_two_gateways_never_share_a_ledger(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l")
    with pytest.raises(LocalError, match="another simulated gateway"):
        Ledger(tmp_path / "l")
    ledger.close()
    Ledger(tmp_path / "l").close()


# --- the process


@contextmanager
def process(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`python -m gateway_simulator` and its URL; ended with the block."""
    child = subprocess.Popen(
        [sys.executable, "-m", "gateway_simulator", "--port", "0", "--lifeline", *arguments],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None
        yield child, child.stdout.readline().rpartition(" ")[2].strip()
    finally:
        child.kill()
        child.communicate()


def test_every_answered_effect_survives_sigkill(tmp_path: Path) -> None:
    async def call_until_killed(url: str, child: subprocess.Popen[str]) -> list[str]:
        confirmed: list[str] = []

        async def caller(name: int) -> None:
            for number in range(10_000):
                id = f"t-{name}-{number}"  # noqa: A001
                try:
                    status, _ = await post(url, {"id": id})
                except Exception:
                    return
                if status == 200:
                    confirmed.append(id)

        async def killer() -> None:
            while len(confirmed) < 100:
                await asyncio.sleep(0.001)
            child.kill()

        await asyncio.gather(killer(), *(caller(name) for name in range(8)))
        return confirmed

    arguments = ["--ledger", str(tmp_path / "l"), "--profile", "calm"]
    with process(*arguments) as (child, url):
        confirmed = asyncio.run(call_until_killed(url, child))
    with process(*arguments) as (_, url):
        ledger = asyncio.run(get(url, "/_ledger"))
        assert len(confirmed) >= 100
        assert set(confirmed) <= {effect["id"] for effect in ledger["effects"]}
        status, again = asyncio.run(post(url, {"id": confirmed[0]}))
        first = next(effect for effect in ledger["effects"] if effect["id"] == confirmed[0])
        assert (status, again["reference"]) == (200, first["reference"])
        assert asyncio.run(get(url, "/_stats"))["doubles"] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stops_quietly(number: signal.Signals, tmp_path: Path) -> None:
    with process("--ledger", str(tmp_path / "l"), "--profile", "timeout-after") as (child, url):

        async def interrupted() -> None:
            task = asyncio.create_task(post(url))
            while not (await get(url, "/_stats"))["in_flight"]:
                await asyncio.sleep(0.01)
            child.send_signal(number)
            with pytest.raises(Exception, match="closed before the answer"):
                await task

        asyncio.run(interrupted())
        assert child.wait(60) == 0
        assert child.communicate() == ("", "")


def test_ends_with_its_parent(tmp_path: Path) -> None:
    with process("--ledger", str(tmp_path / "l")) as (child, _):
        assert child.stdin is not None
        child.stdin.close()
        assert child.wait(60) == 0
        child.stdin = None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--change", "{"], "--change: must be a JSON object"),
        (["--change", '{"refused": 2}'], "refused: found 2, allowed a share from 0 to 1"),
        (["--ledger", "/dev/null/l"], "/dev/null/l: cannot keep the ledger there"),
    ],
)
def test_says_in_one_line_why_it_cannot_start(arguments: list[str], message: str, tmp_path: Path) -> None:
    with process("--ledger", str(tmp_path / "l"), *arguments) as (child, _):
        assert child.wait(60) == 1
        assert child.stderr is not None
        said = child.stderr.read()
        assert said.startswith(message)
        assert said.count("\n") == 1


def test_a_taken_port_is_an_error_in_words(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with process("--ledger", str(tmp_path / "l"), "--port", port) as (child, _):
            assert child.wait(60) == 1
            assert child.stderr is not None
            assert child.stderr.read().startswith("A port is taken")
