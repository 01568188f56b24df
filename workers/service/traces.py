"""The service's traces: what is kept goes to the collector in its task every other second."""

from __future__ import annotations

from time import time_ns

from workers.collector import Collector
from workers.config import TracingConfig
from workers.domain.ports import Clock
from workers.tracing import Context, new_id
from workers.watch import Watch

SEND_EVERY = 2.0
"""Seconds."""
TIMEOUT = 5.0


class Traces:
    """Sends what a watch has kept, and gives it a new run from time to time: a trace without an end shows nothing."""

    def __init__(self, config: TracingConfig, watch: Watch, clock: Clock) -> None:
        self._watch = watch
        resource = config.resource(watch.telemetry.environment)
        self._collector = (
            Collector(config.endpoint, TIMEOUT, resource, watch.telemetry, clock) if config.endpoint else None
        )
        self._began = time_ns()
        self._begin()

    def next_run(self, **counts: int) -> None:
        """The present run is over; what comes belongs to the next."""
        self._watch.whole("run", self._began, counts)
        self._begin()

    def _begin(self) -> None:
        self._began, self._watch.kept = time_ns(), 0
        self._watch.here = Context(f"{self._began // 10**9:08x}{new_id()}{new_id()[:8]}", new_id(), sampled=False)

    async def send(self) -> None:
        """All that there is now; what the collector does not take is gone."""
        spans = self._watch.take()
        if self._collector and spans:
            await self._collector.send(spans, self._watch.run)

    async def close(self) -> None:
        self.next_run()
        await self.send()
        if self._collector:
            await self._collector.close()
