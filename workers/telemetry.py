"""Logs and metrics as JSON lines on standard output: CloudWatch Logs keeps the lines and makes metrics of some.

docs/log.schema.json is the contract of every line, in both alternatives. Metrics travel in the embedded metric format,
so a batch costs one line and no call. No line ever holds an account, and free text goes through `redact`.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import wraps
from json.encoder import encode_basestring as quoted
from pathlib import Path
from typing import Any, TypeVar, cast

from workers.domain.causes import Because
from workers.domain.redaction import redact
from workers.domain.transaction import Status, Transaction, to_text
from workers.tracing import trace_id

Handler = TypeVar("Handler", bound=Callable[..., Any])
Metrics = Mapping[str, tuple[float | Sequence[float], str]]
"""Name -> value, or up to 100 of them (EMF's limit), and CloudWatch unit."""
SLOW = timedelta(milliseconds=500)
"""From the claim to the answer; a line says how long it was from here on."""
DIMENSIONS = ("Stack", "Alternative", "Environment")
"""Of every metric. In one set: each more would be a metric more to pay for. An account may have two stacks of one
alternative and environment (docs/restore.md), and neither may read what the other tells."""
FRAMES = 8
"""Of a failure's stack, the innermost ones are told."""


@dataclass(frozen=True)
class Telemetry:
    """Writes lines for one worker."""

    namespace: str
    stack: str
    alternative: str
    environment: str

    def transactions(self, records: Iterable[Transaction], run: str) -> None:
        """One short line for each change: which, what, when, why. About 200 bytes, for logs are billed by the byte.

        Where the sentence says nothing that its cause does not, the cause is enough; on a desk it is said all the same.
        Those that did not end at the first try name their trace: it is always kept (workers/tracing.py).
        """
        lines = []
        last, by = None, quoted(run)
        for record in records:  # by hand, and what neighbours share is made once: this runs for every transaction
            status, attempt, history = record.status, record.attempt, record.history
            newest = history[-1]
            at, cause, why = newest.at, newest.cause, newest.why
            shared = at, status, attempt, cause, why
            if shared != last:
                last = shared
                head = f'{{"at":"{to_text(at)}","tx":'
                said = "" if cause is None else f',"cause":"{cause}"'
                if cause is None or status is Status.REVIEW or not Because(cause, why).is_bare:
                    said += f',"why":{quoted(why)}'
                tail = f',"status":"{status}","attempt":{attempt}{said},"run":{by}'
                plain = attempt == 1 and status in _FINAL
            line = head + quoted(record.id) + tail
            if len(history) > 1 and (took := at - history[-2].at) >= SLOW:
                line += f',"ms":{took // _MS}'
            if not plain:
                line += f',"trace":"{trace_id(record)}"'
            lines.append(line + "}")
        if lines:
            print("\n".join(lines), flush=True)

    def lost(self, records: Iterable[Transaction], at: datetime, run: str) -> None:
        """One line for each transaction that somebody else has taken over meanwhile: what we did of it was not written.

        Normal after a pause longer than the lease; many of them mean that leases are too short.
        """
        for record in records:
            self.event(
                "lost fence", at, tx=record.id, status=record.status, attempt=record.attempt, run=run,
                trace=trace_id(record),
            )  # fmt: skip

    def event(self, name: str, at: datetime, **fields: object) -> None:
        """One line of what happened to the worker itself."""
        print(json.dumps({"at": to_text(at), "event": name, **fields}, default=str), flush=True)

    def failed(self, error: BaseException, at: datetime, **fields: object) -> None:
        """One line for an error that nobody handled: what, and where in the code; its words without secrets."""
        frames = [*traceback.walk_tb(error.__traceback__)][-FRAMES:]  # extract_tb would read the source's files, too
        code = [(frame.f_code, line) for frame, line in frames]
        where = [f"{Path(one.co_filename).name}:{line} {one.co_name}" for one, line in code]
        self.event("failed", at, error=type(error).__name__, why=told(error), where=where, **fields)

    def metrics(self, metrics: Metrics, at: datetime, dimension: str | None = None, **fields: object) -> None:
        """One line that CloudWatch turns into metrics; `fields` can be searched but make no dimension, except the one
        that `dimension` names."""
        metrics = {name: (value, unit) for name, (value, unit) in metrics.items() if value not in ([], ())}
        document = {
            "_aws": {
                "Timestamp": int(at.timestamp() * 1000),
                "CloudWatchMetrics": [
                    {
                        "Namespace": self.namespace,
                        "Dimensions": [[*DIMENSIONS, *([dimension] if dimension else [])]],
                        "Metrics": [{"Name": name, "Unit": unit} for name, (_, unit) in metrics.items()],
                    }
                ],
            },
            **dict(zip(DIMENSIONS, (self.stack, self.alternative, self.environment), strict=True)),
            **fields,
            **{name: value for name, (value, _) in metrics.items()},
        }
        print(json.dumps(document, separators=(",", ":")), flush=True)

    def take_over_logging(self) -> None:
        """What libraries log (boto3 and asyncio, warnings at least) comes as lines of ours too."""
        logging.captureWarnings(True)
        logging.basicConfig(handlers=[_Lines(self)], level=logging.WARNING, force=True)


_WORDLESS = "an error that has no words"


def _words_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # of somebody else's error
        return _WORDLESS


def told(error: BaseException) -> str:
    """The words of an error, without secrets. Never raises."""
    return redact(_words_of(error))


def failures_logged(handler: Handler) -> Handler:
    """A Lambda's failure is a line of ours, and leaves without secrets: Lambda and the state machine keep its words."""

    @wraps(handler)
    def logged(event: Any, context: Any) -> Any:
        try:
            return handler(event, context)
        except Exception as error:
            run = str(event.get("run", ""))[:8] if isinstance(event, dict) else ""
            Telemetry("", "", "", "").failed(error, datetime.now(UTC), run=run, function=handler.__name__)
            clean = told(error)
            if clean != _words_of(error):
                error.args = (clean,)
            if clean == _words_of(error) != _WORDLESS:
                raise
            raise type(type(error).__name__, (Exception,), {})(clean) from None

    return cast(Handler, logged)


_FINAL = (Status.CONFIRMED, Status.REJECTED)
_MS = timedelta(milliseconds=1)


class _Lines(logging.Handler):
    def __init__(self, telemetry: Telemetry) -> None:
        super().__init__()
        self._telemetry = telemetry

    def emit(self, record: logging.LogRecord) -> None:
        at, error = datetime.fromtimestamp(record.created, UTC), record.exc_info[1] if record.exc_info else None
        fields = {"level": record.levelname, "logger": record.name}
        if error is not None:
            self._telemetry.failed(error, at, **fields)
        try:
            said = record.getMessage()
        except Exception:  # what it was called with does not fit its words: that must not stop the caller
            said = str(record.msg)
        self._telemetry.event("logged", at, why=redact(said), **fields)
