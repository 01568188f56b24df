"""Saved Logs Insights queries: what operators ask, a click away in the console (CloudWatch, Logs Insights, Queries).

They read the workers' lines (docs/log.schema.json), the same in both alternatives. The time range is the console's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.account import Account

NOT_TRIED = (
    '["breaker-open", "rate-limited", "key-missing", "lease-short", "time-short", "too-late", "no-attempt-left", '
    '"stopping", "suspected", "paused"]'
)
TROUBLES = '["not-done", "throttled", "key-refused", "not-sent", "unknown-outcome", "amount-mismatch"]'
"""Terms of workers/domain/causes.py, whose code this program never runs: a test holds them to it."""
TRANSACTION = "TRANSACTION-ID"
"""Stands in a query for what its reader fills in."""


@dataclass(frozen=True, slots=True)
class Query:
    """One question, by the name that the console shows."""

    name: str
    question: str
    commands: Sequence[str]

    @property
    def text(self) -> str:
        """As Logs Insights reads it: the question as a comment, then one command a line."""
        return "\n| ".join([f"# {self.question}\n{self.commands[0]}", *self.commands[1:]])


QUERIES: tuple[Query, ...] = (
    Query(
        "transaction",
        "What happened to one transaction? Put its id in the place of TRANSACTION-ID.",
        (
            "fields at, event, status, attempt, cause, why, run, ms, trace",
            f'filter tx = "{TRANSACTION}"',
            "sort at asc",
            "limit 200",
        ),
    ),
    Query(
        "failures",
        "What failed in the chosen time (an hour, unless changed), and why?",
        (
            f'filter status in ["PENDING", "REJECTED", "REVIEW"] and cause not in {NOT_TRIED}',
            "stats count(*) as times, count_distinct(tx) as transactions, max(at) as last by status, cause, why",
            "sort times desc",
            "limit 50",
        ),
    ),
    Query(
        "gateway-errors",
        "Which errors does the gateway make, by kind? A transaction's last one before a desk is in `desk`.",
        (
            f"filter cause in {TROUBLES}",
            (
                "stats count(*) as times, count_distinct(tx) as transactions, min(at) as first, max(at) as last "
                "by cause, why"
            ),
            "sort times desc",
            "limit 50",
        ),
    ),
    Query(
        "slowest",
        "Which confirms took longest, from the claim to the answer? Lines say it from half a second on.",
        ("fields ms, tx, status, attempt, cause, why, at, run", "filter ispresent(ms)", "sort ms desc", "limit 20"),
    ),
    Query(
        "desk",
        "Which transactions wait on a desk, and why? Their deadlines: confirm review.",
        (
            "filter ispresent(tx) and ispresent(status)",
            # `now` is a function
            "stats latest(status) as state, latest(cause) as cause, latest(why) as reason, max(at) as since by tx",
            'filter state = "REVIEW"',
            "sort since asc",
            "limit 1000",
        ),
    ),
    Query(
        "lost-fences",
        "What was taken over while its worker still had it? Many of them: leases are too short.",
        ("fields at, tx, attempt, run, trace", 'filter event = "lost fence"', "sort at desc", "limit 200"),
    ),
    Query(
        "worker-errors",
        "What went wrong in the workers themselves?",
        (
            (
                'filter event in ["failed", "logged", "database lost", '
                '"gateway key missing", "gateway key unreadable", "gateway key unusable"]'
            ),
            "stats count(*) as times, max(at) as last by event, error, why",
            "sort times desc",
            "limit 50",
        ),
    ),
    Query(
        "throughput",
        "How much was done, five minutes at a time?",
        (
            "filter ispresent(Confirmed) or ispresent(Rejected) or ispresent(Retried)",
            "stats sum(Confirmed) as confirmed, sum(Rejected) as rejected, sum(Retried) as retried by bin(5m) as at",
            "sort at asc",
            "limit 1000",
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class QueriesArgs:
    account: Account
    log_groups: Mapping[str, aws.cloudwatch.LogGroup]
    """Of the workers."""


class Queries(pulumi.ComponentResource):
    """Creates: a saved query per row of QUERIES, in the console's folder of the stack, over the workers' log groups."""

    def __init__(self, name: str, args: QueriesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("confirm-transactions:queries:Queries", name, {}, opts)
        for query in QUERIES:
            aws.cloudwatch.QueryDefinition(
                query.name,
                name=f"{args.account.prefix}/{query.name}",
                query_string=query.text,
                log_group_names=[group.name for group in args.log_groups.values()],
                opts=pulumi.ResourceOptions(parent=self),
            )
        self.register_outputs({})
