"""The run as a state machine: a pure function from names to a dict in the Amazon States Language.

    Begin ── Plan ── AnyWork ──────────────── Release   (idle: 5 transitions with the start)
      │        ▲        └─ Confirm ─ Report ─ MoreWork
      │        └───────────────────────────────┘
      └─ AlreadyRunning                (any error after Begin: Abandon ─ RunFailed)

AWS limits that shaped it: 256 KiB of payload per state (rules.py holds the batches under it), 25,000 history
events per Standard execution (MAX_LOOPS), 300 s per Express child, 1 MB of definition, labels up to 40 characters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import pulumi

from components.serverless.rules import EXPRESS_LIMIT
from components.settings import Settings

LOCK_ID = "#run"
"""Id of the run lock in the table; no transaction's id begins with #."""

MAX_LOOPS = 200
"""Loops of one run: about 25 history events each, of 25,000 allowed. The next scheduled run goes on from there."""

LABEL = "Confirm"

RETRY = [
    {
        # Faults of Lambda's service, before our code had its say. What our code raises is not retried: leases bring
        # unfinished work back, and a second try within the lease would find nothing to claim.
        "ErrorEquals": [
            "Lambda.ClientExecutionTimeoutException",
            "Lambda.ServiceException",
            "Lambda.AWSLambdaException",
            "Lambda.SdkClientException",
            "Lambda.TooManyRequestsException",
        ],
        "IntervalSeconds": 1,
        "BackoffRate": 2.0,
        "MaxAttempts": 5,
        "MaxDelaySeconds": 16,
        "JitterStrategy": "FULL",
    }
]
DYNAMODB_RETRY = [
    {
        "ErrorEquals": [
            "DynamoDB.InternalServerErrorException",
            "DynamoDB.ProvisionedThroughputExceededException",
            "DynamoDB.RequestLimitExceeded",
            "DynamoDB.SdkClientException",
            "DynamoDB.ThrottlingException",
        ],
        "IntervalSeconds": 1,
        "BackoffRate": 2.0,
        "MaxAttempts": 3,
        "JitterStrategy": "FULL",
    }
]
CONDITION_FAILED = "DynamoDB.ConditionalCheckFailedException"


@dataclass(frozen=True, slots=True)
class Parts:
    """What the run works with: names and ARNs, known or still to come."""

    table_name: pulumi.Input[str]
    plan_function: pulumi.Input[str]
    confirm_function: pulumi.Input[str]
    report_function: pulumi.Input[str]


def definition(parts: Parts, settings: Settings) -> dict[str, object]:
    """The state machine, as a dict that `json.dumps` (or `Output.json_dumps`) turns into its definition."""
    run = settings.run
    waves = math.ceil(run.batches_per_plan / run.map_concurrency)
    # Only a stuck run gets there: every batch of every loop at the Express limit.
    longest = MAX_LOOPS * (waves * EXPRESS_LIMIT + 2 * settings.functions.timeout_seconds)
    return {
        "Comment": "Confirm pending transactions: plan, confirm each once, report, again while work is left",
        "StartAt": "Begin",
        "TimeoutSeconds": longest,
        "States": {
            "Begin": _begin(parts, run.lease_seconds),
            "AlreadyRunning": {"Type": "Succeed", "Comment": "Another run holds the lock; it does the work"},
            "Plan": {
                "Type": "Task",
                "Comment": "Read what is due, cut it into batches, write them to S3, renew the lock",
                "Resource": "arn:aws:states:::lambda:invoke",
                "Parameters": {
                    "FunctionName": parts.plan_function,
                    "Payload": {"run.$": "$.run", "loop.$": "$.loop", "trace.$": "$.trace"},
                },
                "OutputPath": "$.Payload",
                "Retry": RETRY,
                "Catch": _abandon(),
                "Next": "AnyWork",
            },
            "AnyWork": {
                "Type": "Choice",
                "Choices": [{"Variable": "$.batches", "NumericGreaterThan": 0, "Next": "Confirm"}],
                "Default": "Release",
            },
            "Confirm": _confirm(parts, run.map_concurrency),
            "Report": {
                "Type": "Task",
                "Comment": "Add up, emit metrics, say whether more is due",
                "Resource": "arn:aws:states:::lambda:invoke",
                "Parameters": {
                    "FunctionName": parts.report_function,
                    "Payload": {
                        "run.$": "$.run",
                        "trace.$": "$.trace",
                        "started.$": "$$.Execution.StartTime",
                        "plan": {
                            "loop.$": "$.loop",
                            "batches.$": "$.batches",
                            "transactions.$": "$.transactions",
                            "more.$": "$.more",
                        },
                        "results.$": "$.results",
                    },
                },
                "OutputPath": "$.Payload",
                "Retry": RETRY,
                "Catch": _abandon(),
                "Next": "MoreWork",
            },
            "MoreWork": {
                "Type": "Choice",
                "Choices": [
                    {
                        "And": [
                            {"Variable": "$.more", "BooleanEquals": True},
                            {"Variable": "$.loop", "NumericLessThan": MAX_LOOPS},
                        ],
                        "Next": "Plan",
                    }
                ],
                "Default": "Release",
            },
            "Release": {
                **_unlock(parts, "Give the lock back, if it is still ours"),
                "Catch": [
                    {"ErrorEquals": [CONDITION_FAILED], "ResultPath": None, "Next": "LockLost"},
                    {"ErrorEquals": ["States.ALL"], "Next": "RunFailed"},
                ],
                "End": True,
            },
            "LockLost": {"Type": "Succeed", "Comment": "The lock lapsed and another run took it: harmless"},
            "Abandon": {
                **_unlock(parts, "Give the lock back, so that the next run need not wait for its lease to end"),
                "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": None, "Next": "RunFailed"}],
                "Next": "RunFailed",
            },
            "RunFailed": {
                "Type": "Fail",
                "Comment": "An alarm sees it; leases bring unfinished work back in the next run",
                "ErrorPath": "$.Error",
                "CausePath": "$.Cause",
            },
        },
    }


def _begin(parts: Parts, lease_seconds: int) -> dict[str, object]:
    """Take the run lock, or leave: Scheduler delivers at least once, and runs may outlast the schedule's period."""
    now = "$fromMillis($millis())"  # fixed width, so that text order is time order
    until = f"$fromMillis($millis() + {lease_seconds * 1000})"
    return {
        "Type": "Task",
        "QueryLanguage": "JSONata",  # JSONPath cannot add to a time
        "Comment": "Take the run lock",
        "Resource": "arn:aws:states:::dynamodb:updateItem",
        "Arguments": {
            "TableName": parts.table_name,
            "Key": {"id": {"S": LOCK_ID}},
            "UpdateExpression": "SET #run = :run, lease_until = :until",
            "ConditionExpression": "attribute_not_exists(lease_until) OR lease_until < :now",
            "ExpressionAttributeNames": {"#run": "run"},
            "ExpressionAttributeValues": {
                ":run": {"S": "{% $states.context.Execution.Name %}"},
                ":now": {"S": f"{{% {now} %}}"},
                ":until": {"S": f"{{% {until} %}}"},
            },
        },
        "Output": {"run": "{% $states.context.Execution.Name %}", "loop": 0, "trace": ""},
        "Retry": DYNAMODB_RETRY,
        "Catch": [
            {"ErrorEquals": [CONDITION_FAILED], "Next": "AlreadyRunning"},
            {"ErrorEquals": ["States.ALL"], "Output": "{% $states.errorOutput %}", "Next": "RunFailed"},
        ],
        "Next": "Plan",
    }


def _confirm(parts: Parts, concurrency: int) -> dict[str, object]:
    """One Express child per batch. A `Retry` here would run all batches again, so there is none (AWS starts a new
    Map Run over every item): faults of Lambda are retried inside, and a batch that fails all the same is counted."""
    return {
        "Type": "Map",
        "Comment": "Confirm the batches",
        "Label": LABEL,
        "ItemReader": {
            "Resource": "arn:aws:states:::s3:getObject",
            "ReaderConfig": {"InputType": "JSONL"},
            "Parameters": {"Bucket.$": "$.bucket", "Key.$": "$.key"},
        },
        "MaxConcurrency": concurrency,
        "ItemProcessor": {
            "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "EXPRESS"},
            "StartAt": "ConfirmBatch",
            "States": {
                "ConfirmBatch": {
                    "Type": "Task",
                    "Comment": "Claim, confirm, settle; returns counts",
                    "Resource": "arn:aws:states:::lambda:invoke",
                    "Parameters": {"FunctionName": parts.confirm_function, "Payload.$": "$"},
                    "OutputPath": "$.Payload",
                    "Retry": RETRY,
                    # The error takes the ids' place: beside them its text could exceed the payload's limit, and
                    # no Catch sees that (States.DataLimitExceeded).
                    "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.ids", "Next": "BatchFailed"}],
                    "End": True,
                },
                "BatchFailed": {
                    "Type": "Pass",
                    "Comment": "Counted by Report; the others go on, and leases bring this one back",
                    "Parameters": {"failed": 1, "batch.$": "$.batch", "error.$": "$.ids.Error"},
                    "End": True,
                },
            },
        },
        "ResultPath": "$.results",
        "Catch": _abandon(),
        "Next": "Report",
    }


def _abandon() -> list[dict[str, object]]:
    """The error becomes the whole state: beside the results its text could exceed the payload's limit."""
    return [{"ErrorEquals": ["States.ALL"], "Next": "Abandon"}]


def _unlock(parts: Parts, comment: str) -> dict[str, object]:
    return {
        "Type": "Task",
        "Comment": comment,
        "Resource": "arn:aws:states:::dynamodb:updateItem",
        "Parameters": {
            "TableName": parts.table_name,
            "Key": {"id": {"S": LOCK_ID}},
            "UpdateExpression": "REMOVE lease_until",
            "ConditionExpression": "#run = :run",
            "ExpressionAttributeNames": {"#run": "run"},
            "ExpressionAttributeValues": {":run": {"S.$": "$$.Execution.Name"}},
        },
        "ResultPath": None,
        "Retry": DYNAMODB_RETRY,
    }
