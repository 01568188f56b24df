"""What runs in the sweep alternative: a schedule, and the Lambda that it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi

from components import iam, worker
from components.account import Account
from components.encryption import Encryption
from components.foundation import Foundation, Outputs, inside
from components.iam import Statement
from components.network import Network
from components.operators import Operators, OperatorsArgs
from components.queries import Queries, QueriesArgs
from components.scheduled_function import FunctionArgs, ScheduleArgs, Surroundings, function, schedule
from components.serverless import state_machine
from components.serverless.datastore import INDEX, DynamoDbDatastore
from components.serverless.settings import FunctionSettings, RunSettings, TableSettings
from components.settings import Settings

AT_ONCE = 2  # a run, and one that finds its lock taken


@dataclass(frozen=True, slots=True)
class SweepComputeArgs:
    settings: Settings
    account: Account
    table_name: pulumi.Input[str]
    table_arn: pulumi.Input[str]
    index_arn: pulumi.Input[str]
    subnet_ids: pulumi.Input[Sequence[str]]
    security_group_id: pulumi.Input[str]
    data_key_arn: pulumi.Input[str]
    log_key_arn: pulumi.Input[str]

    @classmethod
    def of(
        cls, base: Foundation, encryption: Encryption, network: Network, datastore: DynamoDbDatastore
    ) -> SweepComputeArgs:
        return cls(
            settings=base.settings,
            account=base.account,
            table_name=datastore.table_name,
            table_arn=datastore.table_arn,
            index_arn=datastore.index_arn,
            subnet_ids=network.subnet_ids,
            security_group_id=network.security_group_id,
            data_key_arn=encryption.data_key.arn,
            log_key_arn=encryption.log_key.arn,
        )


class SweepCompute(pulumi.ComponentResource):
    """Creates: the secret for the gateway's API key, the Lambda with its log group and the saved queries over it, the
    schedule with its dead-letter queue, a role for each, and the policy of the operators."""

    outputs: Outputs

    def __init__(self, name: str, args: SweepComputeArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("confirm-transactions:compute:Compute", name, {}, opts)
        self._args = args
        account, settings = args.account, args.settings
        own, run = settings.part(FunctionSettings), settings.part(RunSettings)
        self.gateway_key = worker.gateway_key(settings, args.data_key_arn, self)
        logs = worker.log_group("confirm", f"/{account.prefix}/confirm", settings, account, args.log_key_arn, self)
        self.function = function(
            "confirm",
            FunctionArgs(
                description="Looks what is due, claims, confirms and settles it",
                handler="workers.sweep.handler.sweep",
                may=self._may(),
                log_group=logs,
                environment=self._environment(),
                memory_mb=own.memory_mb,
                timeout_seconds=own.timeout_seconds,
                reserved_concurrency=own.reserved_concurrency and AT_ONCE,
            ),
            Surroundings(account, args.subnet_ids, args.security_group_id, args.data_key_arn),
            self,
        )
        self.dead_letters = worker.dead_letter_queue(self)
        self.group, self.schedule = schedule(
            "run",
            ScheduleArgs(
                group="schedules",
                description="Starts a run; one that finds another under way ends at once",
                role_description="Starts the function on schedule",
                expression=run.schedule,
                start=Statement(sid="StartRun", actions=("lambda:InvokeFunction",), resources=(self.function.arn,)),
                target_arn=self.function.arn,
                retries=3,
                retry_seconds=300,
                dead_letters=self.dead_letters,
            ),
            account,
            self,
        )
        operators = Operators("operators", OperatorsArgs(self._operators_may()), inside(self))
        Queries("queries", QueriesArgs(account, {"confirm": logs}), inside(self))
        self.outputs = {
            "scheduleName": self.schedule.name,
            "scheduleGroup": self.group.name,
            "deadLetterQueueUrl": self.dead_letters.url,
            "operatorPolicyArn": operators.policy.arn,
            "logGroups": {"confirm": logs.name},
            "functions": {"confirm": self.function.name},
            "gatewayKeySecretArn": self.gateway_key.arn,
        }
        self.register_outputs({"functionArn": self.function.arn})

    def _table(self, sid: str, *actions: str, keys: Sequence[str] = ()) -> Statement:
        only = {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": list(keys)}} if keys else {}
        named = tuple(f"dynamodb:{action}" for action in actions)
        return Statement(sid=sid, actions=named, resources=(self._args.table_arn,), conditions=only)

    def _open(self) -> Statement:
        conditions = iam.through("dynamodb", self._args.account)
        key = (self._args.data_key_arn,)
        return Statement(sid="OpenTheTable", actions=("kms:Decrypt",), resources=key, conditions=conditions)

    def _read_index(self) -> Statement:
        return Statement(sid="ReadTheIndex", actions=("dynamodb:Query",), resources=(self._args.index_arn,))

    def _may(self) -> list[Statement]:
        own = (state_machine.LOCK_ID, state_machine.SHARES_ID)
        return [
            self._read_index(),
            self._table("ClaimAndSettle", "BatchGetItem", "PartiQLUpdate"),
            self._table("RunLockAndShares", "UpdateItem", keys=own),
            self._open(),
            *worker.may_read_gateway_key(self.gateway_key, self._args.data_key_arn, self._args.account),
        ]

    def _operators_may(self) -> list[Statement]:
        return [
            self._table("ReadTransactions", "BatchGetItem", "GetItem", "Scan"),
            self._read_index(),
            self._table("ImportAndRedrive", "PartiQLInsert", "PartiQLUpdate"),
            self._open(),
        ]

    def _environment(self) -> dict[str, pulumi.Input[str]]:
        settings = self._args.settings
        return {
            **worker.environment(settings, self.gateway_key),
            "OTEL_SERVICE_NAME": self._args.account.prefix,
            "TABLE_NAME": self._args.table_name,
            "INDEX_NAME": INDEX,
            "PENDING_SHARDS": str(settings.part(TableSettings).pending_shards),
            "PLAN_BUCKET": "none",
            "BATCHES_PER_PLAN": "1",
            "RUN_LEASE_SECONDS": str(settings.part(FunctionSettings).timeout_seconds),
        }
