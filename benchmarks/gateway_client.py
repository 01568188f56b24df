"""What a call to the payment gateway costs: `python -m benchmarks.gateway_client`.

CPU per call (microseconds of this process) and the share of the ideal rate, which is concurrency / latency, for the
bare HTTP client and for the whole `PaymentGateway` (limits, breaker, JSON, checks), against the simulated gateway with
a fixed latency of 50 ms in a process of its own. The first row is the floor: asyncio and the kernel alone, with a
client that neither parses nor limits, so that a slow or busy machine shows.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from workers.domain.outcomes import Confirmed
from workers.domain.transaction import Transaction
from workers.gateway.payments import GatewaySettings, PaymentGateway
from workers.transport.http import HttpClient

LATENCY_SECONDS = 0.050
Call = Callable[[int], Awaitable[None]]


class WallClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Floor(asyncio.Protocol):
    """The least that a call can cost here: one write, one read, one future."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.waiter.set_result(data)

    async def call(self, key: str, body: bytes) -> None:
        """Sends, and takes whatever comes for the answer."""
        self.waiter = asyncio.get_running_loop().create_future()
        head = "POST /confirmations HTTP/1.1\r\nIdempotency-Key: %s\r\nContent-Length: %d\r\n\r\n"
        self.transport.write((head % (key, len(body))).encode() + body)
        assert (await self.waiter).startswith(b"HTTP/1.1 200")


async def measure(name: str, call: Call, concurrency: int, seconds: float) -> None:
    """Keeps `concurrency` calls under way for a while and prints one row."""
    numbers = iter(range(10**9))
    end = time.perf_counter() + seconds
    done = 0

    async def caller() -> None:
        nonlocal done
        while time.perf_counter() < end:
            await call(next(numbers))
            done += 1

    await asyncio.gather(*(call(next(numbers)) for _ in range(concurrency)))  # connects
    cpu, start = time.process_time(), time.perf_counter()
    end = start + seconds
    await asyncio.gather(*(caller() for _ in range(concurrency)))
    rate = done / (time.perf_counter() - start)
    cost = (time.process_time() - cpu) / done * 1e6
    ideal = concurrency / LATENCY_SECONDS
    print(f"{name:<16}{concurrency:>12}{rate:>10.0f}{rate / ideal:>10.3f}{cost:>13.1f}", flush=True)


async def run(url: str, seconds: float) -> None:
    """All rows of the table."""
    now = datetime.now(UTC)
    http = HttpClient(url, timeout_seconds=10)
    body = b'{"id":"b-%d","account":"benchmark","amount":1000,"currency":"USD"}'

    async def bare(number: int) -> None:
        answer = await http.request(
            "POST", "/confirmations", headers={"Idempotency-Key": f"b-{number}-{run_id}"}, body=body % number
        )
        assert answer.status == 200

    print(f"{'client':<16}{'concurrency':>12}{'calls/s':>10}{'of ideal':>10}{'CPU us/call':>13}")
    parts = urlsplit(url)
    for concurrency in (50, 200):
        opened = [
            await asyncio.get_running_loop().create_connection(Floor, parts.hostname or "", parts.port or 0)
            for _ in range(concurrency)
        ]
        free = [connection for _, connection in opened]

        async def floor(number: int, free: list[Floor] = free, c: int = concurrency) -> None:
            connection = free.pop()
            await connection.call(f"f-{c}-{number}", body % number)
            free.append(connection)

        await measure("(floor)", floor, concurrency, seconds)
        for transport, _ in opened:
            transport.close()
        run_id = concurrency
        await measure("HttpClient", bare, concurrency, seconds)
        gateway = PaymentGateway(GatewaySettings(url, concurrency=concurrency), WallClock())

        count = round(concurrency * (seconds / LATENCY_SECONDS + 2))
        ids = [f"w-{concurrency}-{number}" for number in range(count)]
        due = [Transaction(id, "benchmark", 1000, "USD", now, now + timedelta(hours=1)) for id in ids]  # noqa: A001

        async def whole(number: int, gateway: PaymentGateway = gateway, due: list[Transaction] = due) -> None:
            async with gateway.turn():
                assert isinstance(await gateway.confirm(due[number], due[number].id), Confirmed)

        await measure("PaymentGateway", whole, concurrency, seconds)
        await gateway.close()
    await http.close()


def main() -> None:
    """Starts the gateway, measures, stops it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="for each row (4)")
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as folder:
        command = ["-m", "gateway_simulator", "--port", "0", "--ledger", f"{folder}/ledger", "--profile", "flat"]
        gateway = subprocess.Popen(
            [sys.executable, *command, "--lifeline"],
            cwd=Path(__file__).parent.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert gateway.stdout is not None
            asyncio.run(run(gateway.stdout.readline().split()[-1], seconds))
        finally:
            gateway.terminate()
            gateway.wait()


if __name__ == "__main__":
    main()
