"""What the settings of the serverless alternative keep between each other: the limits of Step Functions and Lambda."""

from __future__ import annotations

import math
from collections.abc import Iterator

from components.serverless.settings import PART, FunctionSettings, RunSettings
from components.settings import (
    CALLS_PER_TRANSACTION,
    AlternativeSettings,
    GatewaySettings,
    NatStrategy,
    Problem,
    Settings,
    SettingsError,
)

LEASE_SECONDS = 180  # outlives a Lambda call of 120 s with room for the clocks

KIB = 1024
PAYLOAD_LIMIT = 256 * KIB  # bytes in or out of a Step Functions state (hard limit)
ID_BYTES = 128 + len('"",')  # the longest transaction id, as an element of a JSON list
BATCH_OVERHEAD = 512  # bytes of a batch beside its ids: run name (<= 80), number, keys
RESULT_BYTES = 320  # bytes of one batch's counts at their largest, or of its error
RUN_OVERHEAD = 4 * KIB  # bytes of a run's state beside the results: plan, totals, names, an error's text
EXPRESS_LIMIT = 300  # seconds that an Express child of a Distributed Map may take (hard limit)
LAMBDA_RETRY_WAITS = 31  # seconds: 1 + 2 + 4 + 8 + 16, the waits between the tries of state_machine.RETRY
PLAN_BASE_MB = 112  # memory of a function that holds nothing yet: Python, boto3 and we
PLAN_KEY_BYTES = 1_000  # of Plan's memory for a key that is due, at most (measured: 400 to 1,000)
PLAN_KEY_SECONDS = 0.00004  # of a whole CPU, to read and parse it (1,769 MB of memory are one)
BATCH_MARGIN = 15  # seconds of a batch beside its calls: cold start in a VPC, claim, settle, the last line of log

MINUTE = 60
MOST_CANARY_MINUTES = 480  # an alarm looks back over a day at most (hard limit), and that is three of them


def warnings(settings: Settings) -> Iterator[str]:
    """What shares a right that it does not need."""
    if settings.part(FunctionSettings).collector_layer:
        yield (
            "adotLayer: the collector's process has the rights of the function that it runs in, the gateway's key "
            "among them: Lambda has one role for all that runs there. Leave it out unless spans must pass a collector"
        )


def contradictions(s: Settings) -> Iterator[Problem]:
    """The rules, one after the other."""
    yield from _endpoints(s)
    batch, run = s.work.batch_size, s.part(RunSettings)

    largest = (PAYLOAD_LIMIT - BATCH_OVERHEAD) // ID_BYTES
    if batch > largest:
        size = batch * ID_BYTES + BATCH_OVERHEAD
        yield Problem(
            "batchSize",
            f"{batch}, that is up to {size:,} bytes of ids",
            f"at most {largest:,}: Step Functions carries {PAYLOAD_LIMIT:,} bytes a state",
            largest // 100 * 100,
        )
    most = (PAYLOAD_LIMIT - RUN_OVERHEAD) // RESULT_BYTES
    if run.batches_per_plan > most:
        size = run.batches_per_plan * RESULT_BYTES + RUN_OVERHEAD
        yield Problem(
            "batchesPerPlan",
            f"{run.batches_per_plan}, that is up to {size:,} bytes of results",
            f"at most {most:,}: Step Functions carries {PAYLOAD_LIMIT:,} bytes a state",
            most // 100 * 100,
        )

    yield from _too_large(s)
    yield from _too_slow(s)
    reserved = s.part(FunctionSettings).reserved_concurrency
    if reserved is not None and reserved < run.map_concurrency:
        yield Problem(
            "lambdaReservedConcurrency",
            f"{reserved} for {run.map_concurrency} batches at once",
            "at least mapConcurrency, or the batches throttle each other",
            run.map_concurrency,
        )
    period = run.period_seconds
    if s.canary is not None and (period is None or 2 * period > s.canary.minutes * MINUTE):
        least = max(5, math.ceil(2 * (period or 0) / MINUTE))
        wait = "an unknown time" if period is None else f"{period} s"
        yield Problem(
            "canaryMinutes",
            f"{s.canary.minutes} with schedule {run.schedule}",
            f"0, or twice the time between two runs at least: a canary waits {wait} for the next, or is late",
            0 if period is None or least > MOST_CANARY_MINUTES else least,
        )
    if period is not None and s.alarms.oldest_pending_seconds <= period:
        yield Problem(
            "oldestPendingAlarmSeconds",
            f"{s.alarms.oldest_pending_seconds} s with a run every {period} s",
            "more than the time between two runs, or the alarm never rests",
            min(604_800, 2 * period),
        )


def _too_large(s: Settings) -> Iterator[Problem]:
    """Plan holds the keys of a full plan, and has read them in half of its time."""
    functions, run = s.part(FunctionSettings), s.part(RunSettings)
    planned = s.work.batch_size * run.batches_per_plan
    holds = (functions.memory_mb - PLAN_BASE_MB) * 1_000_000 / PLAN_KEY_BYTES
    reads = functions.timeout_seconds / 2 * functions.memory_mb / 1_769 / PLAN_KEY_SECONDS
    if planned > (most := int(min(holds, reads))):
        yield Problem(
            "batchesPerPlan",
            f"{run.batches_per_plan} of {s.work.batch_size} transactions, that is {planned:,} in a plan",
            f"at most {most:,} in all: a function of {functions.memory_mb} MB (lambdaMemoryMb) holds no more, or reads "
            f"no more in half of its {functions.timeout_seconds} s. The next loop plans the rest",
            max(1, most // s.work.batch_size),
        )


def _endpoints(s: Settings) -> Iterator[Problem]:
    """What is reached through an endpoint inside, or not at all. Lambda's own X-Ray daemon needs no way out of ours."""
    cidrs, no_nat = bool(s.network.gateway_cidrs), s.network.nat_strategy is NatStrategy.NONE
    needed = {"secretsmanager": "the gateway's key"} if cidrs else {}
    if s.part(FunctionSettings).collector_layer and (cidrs or no_nat):
        needed["xray"] = "X-Ray, by adotLayer's collector,"
    missing = sorted(set(needed) - set(s.network.interface_endpoints))
    if missing:
        yield Problem(
            "interfaceEndpoints",
            f"no {' and no '.join(missing)}, with {'gatewayCidrs set' if cidrs else 'natStrategy none'}",
            f"{' and '.join(missing)} too: {' and '.join(needed[name] for name in missing)} "
            f"{'is' if len(missing) == 1 else 'are'} reached through an endpoint then, or not at all",
            sorted({*s.network.interface_endpoints, *needed}),
        )


def batch_seconds(batch_size: int, gateway: GatewaySettings, map_concurrency: int) -> int:
    """The longest time that a batch can need: every call answered at its time-out, in waves, under the rate limit.

    That is one for all batches, of which so many may be at work at once.
    """
    waves = math.ceil(batch_size / gateway.concurrency) * gateway.timeout_seconds
    paced = batch_size * map_concurrency / gateway.rate_limit
    return math.ceil(CALLS_PER_TRANSACTION * (waves + paced)) + BATCH_MARGIN


def _too_slow(s: Settings) -> Iterator[Problem]:
    """A batch fits into its Lambda call, that into an Express child, and the lease outlives both."""
    batch, gateway, concurrency = s.work.batch_size, s.gateway, s.part(RunSettings).map_concurrency
    timeout, lease = s.part(FunctionSettings).timeout_seconds, s.work.lease_seconds
    need = batch_seconds(batch, gateway, concurrency)
    limit = EXPRESS_LIMIT - LAMBDA_RETRY_WAITS
    express = (
        f"at most {limit} s: an Express child ends after {EXPRESS_LIMIT} s, "
        f"{LAMBDA_RETRY_WAITS} s of them kept for Lambda's retries"
    )
    reason = (
        f"{CALLS_PER_TRANSACTION} calls of up to {gateway.timeout_seconds} s each for {batch} transactions, "
        f"{gateway.concurrency} at once, {gateway.rate_limit:g} a second for {concurrency} such batches together"
    )
    if need > limit:
        fitting = _fitting(batch, gateway, concurrency, min(limit, timeout))
        yield Problem("batchSize", f"{batch}, which can take {need} s ({reason})", express, fitting)
        need = 0  # the smaller batch fits the rest
    elif timeout < need:
        wanted = f"at least {need} s, what a batch can need: {reason}"
        yield Problem("lambdaTimeoutSeconds", f"{timeout} s", wanted, need)
    if timeout > limit:
        yield Problem("lambdaTimeoutSeconds", f"{timeout} s", express, limit)
    least = max(timeout, need) + s.work.clock_skew_seconds + 1
    if lease < least:
        yield Problem(
            "leaseSeconds",
            f"{lease} s",
            f"at least {least} s: a lease outlives the Lambda that holds it ({timeout} s), "
            f"what a batch can need ({need or timeout} s) and the clocks' difference ({s.work.clock_skew_seconds} s)",
            least,
        )


def _fitting(batch: int, gateway: GatewaySettings, map_concurrency: int, limit: int) -> int:
    """The largest batch, up to `batch`, that needs at most `limit` seconds; 1 where none does."""
    sizes = range(batch, 0, -1)
    return next((size for size in sizes if batch_seconds(size, gateway, map_concurrency) <= limit), 1)


def check_region(settings: Settings, region: str) -> None:
    """Lambda takes layers of its own region alone, and which that is AWS says.

    Raises:
        SettingsError: the layer is in another region.
    """
    layer = settings.part(FunctionSettings).collector_layer
    if layer and (theirs := layer.split(":")[3]) != region:
        allowed = f"a layer in {region}, where this stack is: Lambda takes no other"
        raise SettingsError((Problem("adotLayer", f'"{layer}"', allowed, layer.replace(theirs, region, 1)),))


SETTINGS = AlternativeSettings((PART,), LEASE_SECONDS, contradictions, warnings)
