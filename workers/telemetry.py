"""Logs and metrics as JSON lines on standard output: CloudWatch Logs keeps the lines and makes metrics of some.

Metrics travel in the embedded metric format, so a batch costs one line and no call. No line ever holds an account.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from json.encoder import encode_basestring as quoted

from workers.domain.transaction import Transaction, to_text

Metrics = Mapping[str, tuple[float, str]]
"""Name -> value and CloudWatch unit."""


@dataclass(frozen=True)
class Telemetry:
    """Writes lines for one worker."""

    namespace: str
    alternative: str
    environment: str

    def transactions(self, records: Iterable[Transaction], run: str) -> None:
        """One short line for each change: which, what, when, why. About 200 bytes, for logs are billed by the byte."""
        lines = []
        last, text, by = None, "", quoted(run)
        for record in records:  # by hand: this runs for every transaction
            entry = record.history[-1]
            if entry.at is not last:
                last, text = entry.at, to_text(entry.at)
            lines.append(
                f'{{"at":"{text}","tx":{quoted(record.id)},"status":"{record.status}","attempt":{record.attempt},'
                f'"why":{quoted(entry.why)},"run":{by}}}'
            )
        if lines:
            print("\n".join(lines), flush=True)

    def event(self, name: str, at: datetime, **fields: object) -> None:
        """One line of what happened to the worker itself."""
        print(json.dumps({"at": to_text(at), "event": name, **fields}, default=str), flush=True)

    def metrics(self, metrics: Metrics, at: datetime, **fields: object) -> None:
        """One line that CloudWatch turns into metrics; `fields` can be searched but make no dimension."""
        document = {
            "_aws": {
                "Timestamp": int(at.timestamp() * 1000),
                "CloudWatchMetrics": [
                    {
                        "Namespace": self.namespace,
                        "Dimensions": [["Alternative", "Environment"]],
                        "Metrics": [{"Name": name, "Unit": unit} for name, (_, unit) in metrics.items()],
                    }
                ],
            },
            "Alternative": self.alternative,
            "Environment": self.environment,
            **fields,
            **{name: value for name, (value, _) in metrics.items()},
        }
        print(json.dumps(document, separators=(",", ":")), flush=True)
