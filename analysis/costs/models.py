"""What a month costs on AWS, in US dollars: what the models of all alternatives share, and cron on one machine.

The model of an alternative is in its own package (`alternatives/NAME/costs.py`). What is not a price (prices.py) is a
field of `Load` or `Env`, or a named constant. `Env` is what stands: assumed, or read off the program's recorded graph
by graph.py. Each model returns a `Bill`, US dollars by line: a difference between two can be read line by line.
`..._use` is the part that is paid by use: what stands all month without a transaction is added to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from analysis.costs.prices import GB, HOURS, MILLION, Bill, price

# --- what is assumed --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Load:
    """What the world makes of a transaction, whatever the alternative."""

    attempts: float = 1.05
    """Calls per transaction: 5 % are answered "try later" once."""
    latency_seconds: float = 0.175
    """Of the gateway, on average: 50-300 ms, uniform."""
    slowest_seconds: float = 0.30
    """The tail that ends a batch."""
    wire_out_bytes: float = 2_000
    """Per call with keep-alive; a TLS handshake for each would add some 5,000."""
    wire_in_bytes: float = 2_000
    log_bytes: float = 400
    """Of the container's log, per call: one structured line."""
    retention_months: float = 3
    """How many months of settled transactions the bill is for: nothing deletes one, so each month adds to the next."""
    item_kb: float = 1.0
    """A DynamoDB item with its history."""
    row_kb: float = 1.8
    """A PostgreSQL row with three rows of history, indexes and bloat."""
    busy_hours: float = 176
    """8 hours on 22 days ..."""
    busy_share: float = 0.80
    """... carry this share of the volume."""

    def phases(self, volume: float) -> Iterator[tuple[float, float]]:
        """(hours, transactions) of the busy part of a month and of the rest."""
        yield self.busy_hours, volume * self.busy_share
        yield HOURS - self.busy_hours, volume * (1 - self.busy_share)


@dataclass(frozen=True, slots=True)
class Env:
    """What a stack has, whatever it is used for."""

    name: str
    nats: int
    alarms: int = 15
    metrics: int = 12
    """Custom ones, through the embedded metric format, that come whether there is work or not."""
    work_metrics: int = 0
    """Those that come in hours with work alone, and are paid in these alone."""
    trouble_metrics: int = 0
    """Those that come where something goes wrong."""
    sampling: float | None = None
    """The share of transactions whose traces are kept, trouble apart; None where transactions have none."""
    keys: int = 2
    """KMS: data, logs."""
    backup_copies: float = 0
    """Full copies in the backup vault at any time."""
    masked: bool = False
    """Whether logs are scanned for what is to be masked."""


LOAD = Load()

COUNTED_LOAD = replace(LOAD, item_kb=0.73, wire_out_bytes=700, log_bytes=200)
"""The largest item that `make bench` saw, with its history; a call's bytes by tests/gateway/test_payments.py; of log
lines 160 by `make bench`, and the metrics. What comes back from the gateway is not ours to count."""

TRACED_SHARE = 0.05
"""Of calls, by X-Ray's own rule: the first of each second and 5 % of the rest; so all that come once a minute."""
TROUBLED_HOURS = 0.1
"""The share of the hours with work in which each kind of trouble comes up. An assumption."""
KMS_REQUESTS = 100_000

# --- what all are compared with --------------------------------------------------------------------------------------

SERIAL_RATE = 1 / (LOAD.latency_seconds + 0.010)
"""Transactions a second of a script that confirms one after another."""


def baseline(volume: float, load: Load = LOAD) -> Bill:
    """Cron on one t4g.small with RDS in one zone: nothing redundant, one after another, a few plain log lines."""
    if volume * load.attempts / HOURS / 3600 > SERIAL_RATE:
        return {"never catches up": math.inf}
    return {
        "EC2 + disk": price("t4g_small", HOURS) + price("ebs_gp3", 20),
        "IPv4": price("ipv4", HOURS),
        "RDS": price("db_t4g_medium", HOURS),
        "RDS storage": price("rds_gp3", max(20, volume * load.retention_months * 0.8e-6)),
        "egress": price("egress", volume * load.attempts * (load.wire_out_bytes + 5000) / GB),
        "alarms": price("alarm", 3),
    }


def standing(env: Env, secrets: int) -> Bill:
    """What is paid by the month, used or not; analysis/costs/graph.py reads the same lines off the recorded graph."""
    return {
        "NAT hours + IPv4": env.nats * (price("nat_hour", HOURS) + price("ipv4", HOURS)),
        "KMS, secrets": price("kms_key", env.keys) + price("secret", secrets),
        "alarms, dashboard, metrics": price("alarm", env.alarms) + price("dashboard") + price("metric", env.metrics),
    }


def traffic(calls: float, load: Load, own_traffic_gb: float = 0.0) -> Bill:
    out, back = calls * load.wire_out_bytes / GB, calls * load.wire_in_bytes / GB
    return {"NAT data + egress": price("nat_gb", out + back + own_traffic_gb) + price("egress", out)}


def hours_with_work(volume: float, load: Load = LOAD) -> float:
    """The share of a month's hours in which a transaction arrives, at random."""
    return sum(hours * (1 - math.exp(-share / hours)) for hours, share in load.phases(volume)) / HOURS


def traced_share(env: Env, load: Load = LOAD) -> float:
    """The share of transactions whose traces are kept: a sample, and all that met trouble."""
    if env.sampling is None:
        return 0.0
    return env.sampling + (1 - env.sampling) * (load.attempts - 1)


def metrics(volume: float, env: Env, load: Load) -> Bill:
    """A metric is paid for the hours in which it is sent."""
    sent = (env.work_metrics + env.trouble_metrics * TROUBLED_HOURS) * hours_with_work(volume, load)
    return {"metrics of the work": price("metric", sent)}


def watch(log_gb: float, traces: float, *, masked: bool = False) -> Bill:
    logs = price("logs_gb", log_gb) + price("logs_store", log_gb) + price("logs_mask", log_gb * masked)
    return {"logs": logs, "X-Ray": price("xray", traces)}


# --- questions to the models ------------------------------------------------------------------------------------------

Model = Callable[[float], Bill]
"""Transactions a month -> its bill."""


@dataclass(frozen=True, slots=True)
class Month:
    """One month of a model, with what stands behind its total."""

    volume: float
    bill: Bill
    fixed: float
    """US dollars without a single transaction."""
    further: float
    """US dollars of another million on top."""

    @property
    def total(self) -> float:
        return total(self.bill)

    @property
    def variable(self) -> float:
        return self.total - self.fixed

    @property
    def dominating(self) -> tuple[str, float]:
        """The largest line, and its share of the total."""
        line = max(self.bill, key=lambda name: self.bill[name])
        return line, self.bill[line] / self.total

    @property
    def per_million(self) -> float:
        """The variable part, by million transactions: with what comes on top as soon as there is work at all."""
        return self.variable / self.volume * MILLION


def month(model: Model, volume: float) -> Month:
    """`volume` transactions a month by `model`."""
    bill = model(volume)
    return Month(volume, bill, total(model(0)), total(model(volume + MILLION)) - total(bill))


def total(bill: Bill) -> float:
    """US dollars of all lines."""
    return sum(bill.values())


def break_even(a: Model, b: Model) -> float | None:
    """The transactions a month below which `a` is cheaper than `b`; None where it always is."""
    low, high = 1.0, 1e10
    if total(a(high)) < total(b(high)):
        return None
    for _ in range(80):  # halves the logarithm: far below a cent
        middle = math.sqrt(low * high)
        low, high = (middle, high) if total(a(middle)) < total(b(middle)) else (low, middle)
    return low
