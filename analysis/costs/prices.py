"""AWS's list prices, us-east-1, in US dollars: each with its unit, where it was found, and of when it is.

No live price list was asked: compare with AWS's pricing pages before you quote one. A month has 730 hours, and free
allowances are not subtracted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

HOURS = 730
MILLION = 1_000_000
GB = 1e9

Bill = dict[str, float]
"""US dollars a month by line."""


class Mark(StrEnum):
    """How sure a price is."""

    FOUND = "F"
    """Found in a public text, which `Price.source` names."""
    KNOWN = "K"
    """General knowledge: verify before quoting."""


@dataclass(frozen=True, slots=True)
class Price:
    """One list price."""

    usd: float
    unit: str
    source: str
    date: str
    """Of the source; 2025-2026 where the text itself has none and was read in these years."""
    mark: Mark = Mark.FOUND


def _read(usd: float, unit: str, source: str) -> Price:
    return Price(usd, unit, source, "2025-2026")


def _known(usd: float, unit: str, source: str) -> Price:
    return Price(usd, unit, source, "2025-2026", Mark.KNOWN)


_STATES = "AWS Step Functions Pricing page; infracost golden sfn_state_machine"
_LAMBDA = "infracost golden lambda_function (arm64)"
_WRITES = "infracost golden dynamodb_table; Airbyte, DynamoDB Pricing (Jul 2025)"
_NAT = "infracost golden nat_gateway; zacfukuda.com"

PRICES: Mapping[str, Price] = MappingProxyType(
    {
        # Step Functions, Lambda, Scheduler
        "sfn_transition": _read(25 / MILLION, "Standard state transition", _STATES),
        "sfn_express_request": _read(1 / MILLION, "Express request", _STATES),
        "sfn_express_gb_h": _read(0.06, "Express GB-hour, the first 1,000", "AWS Step Functions Pricing page"),
        "sfn_express_gb_h_over_1000": _read(0.03, "Express GB-hour, the next 4,000", "AWS Step Functions Pricing page"),
        "sfn_express_gb_h_over_5000": _read(0.0164, "Express GB-hour, the rest", "AWS Step Functions Pricing page"),
        "lambda_request": _read(0.20 / MILLION, "Lambda request", _LAMBDA),
        "lambda_gb_s": _read(0.0000133334, "arm64 GB-second, the first 7.5 G", _LAMBDA),
        "scheduler": Price(1 / MILLION, "schedule invocation", "CloudBurn, Amazon EventBridge Pricing", "2026-03"),
        # DynamoDB
        "wru": Price(0.625 / MILLION, "on-demand write unit", _WRITES, "2024-11"),
        "rru": Price(0.125 / MILLION, "on-demand read unit", _WRITES, "2024-11"),
        "ddb_storage": Price(0.25, "DynamoDB GB-month", "infracost golden dynamodb_table", "2024-11"),
        "ddb_pitr": Price(0.20, "GB-month of point-in-time recovery", "infracost golden dynamodb_table", "2024-11"),
        "ddb_backup": Price(0.10, "GB-month of a DynamoDB backup", "FactualMinds, AWS Backup Pricing", "2026-06"),
        "insights_rule": _read(0.50, "Contributor Insights rule-month", "usage.ai, DynamoDB Contributor Insights"),
        # Fargate, Aurora
        "fargate_vcpu": _read(0.03238, "arm64 vCPU-hour", "Vantage, AWS Fargate Pricing Explained"),
        "fargate_gb": _read(0.00356, "arm64 GB-hour", "Vantage, AWS Fargate Pricing Explained"),
        "spot_factor": _read(0.40, "share of on-demand paid on FARGATE_SPOT", "fortem.dev: 50-70 % off, moves"),
        "acu": Price(0.12, "Aurora Serverless v2 ACU-hour", "infracost golden rds_cluster_instance", "2025-03"),
        "aurora_storage": _read(0.10, "Aurora GB-month", "infracost golden rds_cluster"),
        "aurora_io": _read(0.20 / MILLION, "Aurora Standard I/O request", "infracost golden rds_cluster"),
        "aurora_backup": _read(0.021, "GB-month of Aurora backups, snapshots", "infracost golden rds_cluster"),
        "insights_acu": Price(0.376, "ACU-month of long insights", "infracost golden rds_cluster_instance", "2025-03"),
        "insights_advanced": _known(0.003125, "ACU-hour of Database Insights Advanced", "Amazon CloudWatch pricing"),
        "ecr": _read(0.10, "ECR GB-month", "infracost golden ecr_repository"),
        # network
        "nat_hour": Price(0.045, "NAT gateway-hour", _NAT, "2026-06"),
        "nat_gb": Price(0.045, "GB through NAT, either way", _NAT, "2026-06"),
        "ipv4": Price(0.005, "public IPv4 address-hour", "CloudBurn, AWS NAT Gateway Pricing", "2026-02"),
        "egress": Price(0.09, "GB to the internet", "wring.co, AWS Data Transfer Pricing", "2026"),
        "endpoint": Price(0.01, "interface endpoint-hour per zone", "zacfukuda.com; infracost vpc_endpoint", "2026-06"),
        # what watches and protects
        "logs_gb": _read(0.50, "GB of logs ingested", "infracost golden cloudwatch_log_group"),
        "logs_store": _read(0.03, "GB-month of logs kept", "infracost golden cloudwatch_log_group"),
        "logs_mask": _known(0.12, "GB of logs scanned for what is to be masked", "Amazon CloudWatch pricing"),
        "alarm": _read(0.10, "alarm metric-month", "infracost golden cloudwatch_metric_alarm"),
        "composite_alarm": _known(0.50, "composite alarm-month", "Amazon CloudWatch pricing"),
        "dashboard": _read(3.00, "dashboard-month", "infracost golden cloudwatch_dashboard"),
        "metric": Price(0.30, "custom metric-month", "SigNoz, CloudWatch Pricing", "2026-02"),
        "xray": _read(5 / MILLION, "trace recorded", "AWS X-Ray Pricing page"),
        "kms_key": _read(1.00, "customer key-month", "infracost golden kms_key"),
        "kms_request": _read(0.03 / 10_000, "KMS request", "infracost golden kms_key"),
        "secret": _read(0.40, "secret-month", "infracost golden secretsmanager_secret"),
        "fis": _read(0.10, "action-minute of a fault experiment", "AWS FIS Pricing page"),
        # one machine and one database, for the comparison with cron
        "t4g_small": Price(0.0168, "EC2 hour", "several public READMEs", "2026-09"),
        "ebs_gp3": _read(0.08, "GB-month", "a public README (35 GB = $2.80)"),
        "db_t4g_medium": Price(0.065, "RDS PostgreSQL Single-AZ hour", "infratally, AWS RDS Pricing Explained", "2026"),
        "rds_gp3": Price(0.115, "GB-month", "infracost golden db_instance; usage.ai", "2026-06"),
    }
)


def price(name: str, quantity: float = 1.0) -> float:
    """`quantity` units of `name`, in US dollars."""
    return PRICES[name].usd * quantity


def add(*bills: Mapping[str, float]) -> Bill:
    """One bill of several, line by line."""
    together: Bill = {}
    for bill in bills:
        for line, usd in bill.items():
            together[line] = together.get(line, 0.0) + usd
    return together
