"""The run as a state machine: a pure function from names to a dict in the Amazon States Language.

    Plan ── AnyWork ── Idle                        (4 transitions with the start)
      ▲        ├────── AlreadyRunning
      │        └────── Confirm ── Report ── MoreWork ── Release
      └───────────────────────────────────────┘      (any error: Abandon ── RunFailed)

Plan takes the run lock, and releases it where nothing is due: Scheduler delivers at least once, and a run may outlast
the schedule's period. A state of its own for that would cost a transition each minute, the whole month. Batches renew
the lock, for a loop may outlast any lease. Who finds it taken looks at what is due all the same: alarms want to hear.

AWS limits that shaped it: 256 KiB of payload per state (rules.py holds the batches under it), 25,000 history
events per Standard execution (MAX_LOOPS), 300 s per Express child, 1 MB of definition, labels up to 40 characters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import pulumi

from components.serverless.rules import EXPRESS_LIMIT
from components.serverless.settings import FunctionSettings, RunSettings
from components.settings import Settings

LOCK_ID = "#run"
"""Id of the run lock in the table; no transaction's id begins with #."""
SHARES_ID = "#shares"
"""Id of the item on which the rate limit's shares are counted."""

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
            # AWS's examples name this one without the ending that its SDK's classes have: both, as neither costs
            "DynamoDB.RequestLimitExceeded",
            "DynamoDB.RequestLimitExceededException",
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
    run = settings.part(RunSettings)
    waves = math.ceil(run.batches_per_plan / run.map_concurrency)
    # Only a stuck run gets there: every batch of every loop at the Express limit.
    longest = MAX_LOOPS * (waves * EXPRESS_LIMIT + 2 * settings.part(FunctionSettings).timeout_seconds)
    return {
        "Comment": "Confirm pending transactions: plan, confirm each once, report, again while work is left",
        "StartAt": "Plan",
        "TimeoutSeconds": longest,
        "States": {
            "Plan": {
                "Type": "Task",
                "Comment": "Take the run lock, read what is due, cut it into batches, write them to S3",
                "Resource": "arn:aws:states:::lambda:invoke",
                "Parameters": {
                    "FunctionName": parts.plan_function,
                    # what the last loop's Report said; before the first, the execution's own input, which is empty
                    "Payload": {"run.$": "$$.Execution.Name", "last.$": "$"},
                },
                "OutputPath": "$.Payload",
                "Retry": RETRY,
                "Catch": _abandon(),
                "Next": "AnyWork",
            },
            "AnyWork": {
                "Type": "Choice",
                "Choices": [
                    {"Variable": "$.batches", "NumericGreaterThan": 0, "Next": "Confirm"},
                    {"Variable": "$.locked_out", "BooleanEquals": True, "Next": "AlreadyRunning"},
                ],
                "Default": "Idle",
            },
            "Idle": {"Type": "Succeed", "Comment": "Nothing is due; Plan has given the lock back"},
            "AlreadyRunning": {"Type": "Succeed", "Comment": "Another run holds the lock; it does the work"},
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
                            "shards.$": "$.shards",
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
