"""What sweep costs: Scheduler, one Lambda and DynamoDB. Its work is that of the serverless alternative, as counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

from alternatives.serverless.costs import COUNTED, PLAN_AND_REPORT_SECONDS
from analysis.costs.graph import Advice, Priced
from analysis.costs.models import KMS_REQUESTS, TRACED_SHARE, Env, Load, metrics, traced_share, traffic, watch
from analysis.costs.prices import GB, HOURS, Bill, price
from analysis.costs.schedules import runs_per_hour
from analysis.graph import Record
from components.settings import Settings


@dataclass(frozen=True, slots=True)
class SweepEnv(Env):
    runs_per_hour: float = 60
    lambda_gb: float = 0.5
    calls_in_flight: int = 50
    recovery: bool = True


@dataclass(frozen=True, slots=True)
class SweepUse:
    env: SweepEnv

    def bill(self, volume: float, load: Load) -> Bill:
        env, runs, attempts = self.env, HOURS * self.env.runs_per_hour, volume * load.attempts
        seconds = runs * PLAN_AND_REPORT_SECONDS + attempts / env.calls_in_flight * load.latency_seconds
        stored_gb = volume * load.retention_months * (load.item_kb * 1000 + 100) / GB
        log_gb = (attempts * COUNTED.log_bytes_per_attempt + runs * COUNTED.log_bytes_per_idle_run) / GB
        reads = attempts * COUNTED.read_units_per_attempt + runs * COUNTED.read_units_per_run
        writes = volume * COUNTED.write_units + attempts * COUNTED.share_units_per_attempt
        locks = runs * COUNTED.write_units_per_working_run
        return {
            "Lambda": price("lambda_request", runs)
            + price("lambda_gb_s", env.lambda_gb * seconds)
            + price("scheduler", runs),
            "DynamoDB writes": price("wru", writes + locks),
            "DynamoDB reads": price("rru", reads),
            "DynamoDB storage + PITR": price("ddb_storage", stored_gb) + price("ddb_pitr", stored_gb * env.recovery),
            "backups": price("ddb_backup", stored_gb * env.backup_copies),
            "KMS, secrets": price("kms_request", KMS_REQUESTS),
            **traffic(attempts, load),
            **watch(log_gb, runs * TRACED_SHARE + volume * traced_share(env, load), masked=env.masked),
            **metrics(volume, env, load),
        }

    def advice(self, stack: Priced, volume: float) -> Iterator[Advice]:
        return iter(())

    @property
    def variants(self) -> Mapping[str, Mapping[str, str]]:
        return {}


def read(common: Env, settings: Settings, recorded: Record) -> SweepUse:
    table = recorded.one("aws:dynamodb/table:Table", "transactions").inputs
    schedule = recorded.one("aws:scheduler/schedule:Schedule", "run").inputs["scheduleExpression"]
    env = SweepEnv(
        **asdict(common),
        runs_per_hour=runs_per_hour(schedule),
        lambda_gb=recorded.one("aws:lambda/function:Function", "confirm").inputs["memorySize"] / 1024,
        calls_in_flight=settings.gateway.concurrency,
        recovery=bool((table.get("pointInTimeRecovery") or {}).get("enabled")),
    )
    return SweepUse(env)
