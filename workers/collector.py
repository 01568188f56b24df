"""Spans on their way to the OpenTelemetry collector beside the worker, over HTTP: in its task, or in a layer of Lambda.

What it does not take is gone. That is told, and stops nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from workers.domain.ports import Clock
from workers.telemetry import Telemetry
from workers.tracing import Span, Value, encode
from workers.transport.http import HttpClient, HttpError

AT_ONCE = 500
"""Spans of one request, some 200 KB."""
HEADERS = {"Content-Type": "application/x-protobuf"}


class Collector:
    """Takes OTLP at `url`; for all that one `send` has it gets `seconds`."""

    def __init__(
        self, url: str, seconds: float, resource: Mapping[str, Value], telemetry: Telemetry, clock: Clock
    ) -> None:
        self._http = HttpClient(url, timeout_seconds=seconds)
        self._seconds, self._resource = seconds, resource
        self._telemetry, self._clock = telemetry, clock
        self._lost = False

    async def send(self, spans: Sequence[Span], run: str) -> None:
        """Never raises: payments do not stand still for it."""
        why = ""
        try:
            async with asyncio.timeout(self._seconds):
                for n in range(0, len(spans), AT_ONCE):
                    body = encode(spans[n : n + AT_ONCE], self._resource)
                    answer = await self._http.request("POST", "/v1/traces", headers=HEADERS, body=body)
                    if answer.status != 200:
                        why = f"collector answered {answer.status}"
                        break
        except HttpError as error:
            why = error.reason
        except TimeoutError:
            why = f"not all taken within {self._seconds:g} s"
        if why and not self._lost:  # once, until it takes some again
            self._telemetry.event("traces lost", self._clock.now(), why=why, run=run)
        self._lost = bool(why)

    async def close(self) -> None:
        await self._http.close()
