"""The service's traces on their way to the collector in its task, over HTTP. Lost ones are told, and stop nobody."""

from __future__ import annotations

import asyncio
from time import time_ns

from workers.config import TracingConfig
from workers.domain.ports import Clock
from workers.gateway.http import HttpClient, HttpError
from workers.tracing import Context, Span, encode, new_id
from workers.watch import Watch

SEND_EVERY = 2.0
"""Seconds."""
AT_ONCE = 500
"""Spans of one request, some 200 KB."""
TIMEOUT = 5.0


class Traces:
    """Sends what a watch has kept, and gives it a new run from time to time: a trace without an end shows nothing."""

    def __init__(self, config: TracingConfig, watch: Watch, clock: Clock) -> None:
        self._watch, self._clock = watch, clock
        self._resource = {"service.name": config.service, "deployment.environment.name": watch.telemetry.environment}
        self._http = HttpClient(config.endpoint, timeout_seconds=TIMEOUT) if config.endpoint else None
        self._lost = False
        self._began = time_ns()
        self._begin()

    def next_run(self, **counts: int) -> None:
        """The present run is over; what comes belongs to the next."""
        self._watch.whole("run", self._began, counts)
        self._begin()

    def _begin(self) -> None:
        self._began, self._watch.kept = time_ns(), 0
        self._watch.here = Context(f"{self._began // 10**9:08x}{new_id()}{new_id()[:8]}", new_id(), sampled=False)

    async def keep_sending(self) -> None:
        while True:
            await asyncio.sleep(SEND_EVERY)
            await self.send()

    async def send(self) -> None:
        """All that there is now; what the collector does not take is gone."""
        spans = self._watch.take()
        for n in range(0, len(spans), AT_ONCE):
            await self._post(spans[n : n + AT_ONCE])

    async def close(self) -> None:
        self.next_run()
        await self.send()
        if self._http:
            await self._http.close()

    async def _post(self, spans: list[Span]) -> None:
        if self._http is None:
            return
        try:
            headers = {"Content-Type": "application/x-protobuf"}
            answer = await self._http.request("POST", "/v1/traces", headers=headers, body=encode(spans, self._resource))
            why = "" if answer.status == 200 else f"collector answered {answer.status}"
        except HttpError as error:
            why = error.reason
        if why and not self._lost:  # once, until it takes some again
            self._watch.telemetry.event("traces lost", self._clock.now(), why=why, run=self._watch.run)
        self._lost = bool(why)
