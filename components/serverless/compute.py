"""The serverless run: Scheduler, state machine and three Lambdas, each with a role of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components import iam, worker
from components.account import Account
from components.bucket import seal
from components.desk import CHECKER, MAKER, DeskArgs, DeskFunctions
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

PLANS = "plans/"
"""Where in the bucket the plans lie."""
PLAN_DAYS = 7  # long enough to look into a failed run
COLLECTOR = "http://127.0.0.1:4318"
"""Where the layer's own configuration takes OTLP; it hands it to X-Ray by the role of the function."""
FUNCTIONS = ("plan", "confirm", "report")
SINGLE_RUN = 2  # Plan and Report work once at a time behind the run lock; one more for a run that finds it taken


@dataclass(frozen=True, slots=True)
class ServerlessComputeArgs:
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
    ) -> ServerlessComputeArgs:
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


class ServerlessCompute(pulumi.ComponentResource):
    """What runs.

    Creates: the bucket for plans, the secret for the gateway's API key (its value is put there by hand, never by
    Pulumi), three Lambdas with log groups and the saved queries over these, the state machine with its log group, the
    schedule with its dead-letter queue, a role for each, and the policy of the operators.
    """

    functions: Mapping[str, aws.lambda_.Function]
    log_groups: Mapping[str, aws.cloudwatch.LogGroup]
    bucket: aws.s3.Bucket
    gateway_key: aws.secretsmanager.Secret
    machine: aws.sfn.StateMachine
    group: aws.scheduler.ScheduleGroup
    schedule: aws.scheduler.Schedule
    desk: DeskFunctions
    dead_letters: aws.sqs.Queue

    def __init__(self, name: str, args: ServerlessComputeArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("confirm-transactions:compute:Compute", name, {}, opts)
        self._args = args
        self._account = args.account
        self._settings = args.settings
        self._mine = pulumi.ResourceOptions(parent=self)
        self.bucket = self._plan_bucket()
        self.gateway_key = worker.gateway_key(args.settings, args.data_key_arn, self)
        self.log_groups = {
            function: self._log_group(function, f"/{args.account.prefix}/{function}") for function in FUNCTIONS
        } | {
            # under this prefix AWS does not spend its 5,120 characters of log resource policy on each group
            "stateMachine": self._log_group("state-machine", f"/aws/vendedlogs/states/{args.account.prefix}/runs")
        }
        self.functions = {
            "plan": self._function("plan", "Reads what is due and cuts it into batches", self._plan_may()),
            "confirm": self._function("confirm", "Claims, confirms and settles one batch", self._confirm_may()),
            "report": self._function("report", "Adds a loop's results up", self._report_may()),
        }
        self.machine = self._state_machine()
        self.dead_letters = worker.dead_letter_queue(self)
        self.group, self.schedule = self._schedule()
        operators = Operators("operators", OperatorsArgs(self._operators_may()), inside(self))
        self.desk = DeskFunctions("desk", self._desk_args(), inside(self))
        groups = {function: self.log_groups[function] for function in FUNCTIONS}
        Queries("queries", QueriesArgs(args.account, groups), inside(self))
        self.outputs: Outputs = {
            "planBucket": self.bucket.bucket,
            "stateMachineArn": self.machine.arn,
            "scheduleName": self.schedule.name,
            "scheduleGroup": self.group.name,
            "deadLetterQueueUrl": self.dead_letters.url,
            "operatorPolicyArn": operators.policy.arn,
            **self.desk.outputs,
            "logGroups": {name: group.name for name, group in {**self.log_groups, "desk": self.desk.log_group}.items()},
            "functions": {name: function.name for name, function in self.functions.items()},
            "gatewayKeySecretArn": self.gateway_key.arn,
        }
        self.register_outputs({"stateMachineArn": self.machine.arn, "bucket": self.bucket.bucket})

    # -- storage and logs

    def _plan_bucket(self) -> aws.s3.Bucket:
        bucket = aws.s3.Bucket("plans", force_destroy=True, opts=self._mine)  # plans are worth nothing afterwards
        seal("plans", bucket, self._args.data_key_arn)
        aws.s3.BucketLifecycleConfiguration(
            "plans",
            bucket=bucket.bucket,
            rules=[
                aws.s3.BucketLifecycleConfigurationRuleArgs(
                    id="expire",
                    status="Enabled",
                    filter=aws.s3.BucketLifecycleConfigurationRuleFilterArgs(prefix=""),
                    expiration=aws.s3.BucketLifecycleConfigurationRuleExpirationArgs(days=PLAN_DAYS),
                    abort_incomplete_multipart_upload=aws.s3.BucketLifecycleConfigurationRuleAbortIncompleteMultipartUploadArgs(
                        days_after_initiation=1
                    ),
                )
            ],
            opts=pulumi.ResourceOptions(parent=bucket),
        )
        return bucket

    def _log_group(self, name: str, path: str) -> aws.cloudwatch.LogGroup:
        return worker.log_group(name, path, self._settings, self._args.account, self._args.log_key_arn, self)

    # -- what each function may do

    def _use_key(self, sid: str, service: str, *actions: str) -> Statement:
        return Statement(
            sid=sid,
            actions=actions,
            resources=(self._args.data_key_arn,),
            conditions=iam.through(service, self._account),
        )

    def _lock(self) -> Statement:
        return Statement(
            sid="RunLock",
            actions=("dynamodb:UpdateItem",),
            resources=(self._args.table_arn,),
            conditions={"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": [state_machine.LOCK_ID]}},
        )

    def _read_index(self) -> Statement:
        return Statement(sid="ReadTheIndex", actions=("dynamodb:Query",), resources=(self._args.index_arn,))

    def _plan_may(self) -> list[Statement]:
        return [
            self._read_index(),
            Statement(sid="ReadTheDesk", actions=("dynamodb:BatchGetItem",), resources=(self._args.table_arn,)),
            self._lock(),
            self._use_key("OpenTheTable", "dynamodb", "kms:Decrypt"),
            Statement(
                sid="WritePlans",
                actions=("s3:PutObject",),
                resources=(pulumi.Output.concat(self.bucket.arn, "/", PLANS, "*"),),
            ),
            self._use_key("SealPlans", "s3", "kms:GenerateDataKey"),
            *([self._send_canaries()] if self._settings.canary else []),
            # that others may have sent what waits: in shadow mode (DynamoDbStore.doubt)
            Statement(sid="MarkAsPossiblySent", actions=("dynamodb:PartiQLUpdate",), resources=(self._args.table_arn,)),
        ]

    def _send_canaries(self) -> Statement:
        """Inserts and, if it forgot its condition, overwrites: but ids of canaries alone."""
        return Statement(
            sid="SendCanaries",
            actions=("dynamodb:PutItem",),
            resources=(self._args.table_arn,),
            conditions={"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["canary-*"]}},
        )

    def _confirm_may(self) -> list[Statement]:
        return [
            Statement(
                sid="ClaimAndSettle",
                actions=("dynamodb:BatchGetItem", "dynamodb:PartiQLUpdate"),
                resources=(self._args.table_arn,),
            ),
            self._lock(),
            Statement(
                sid="ShareTheRateLimit",
                actions=("dynamodb:UpdateItem",),
                resources=(self._args.table_arn,),
                conditions={"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": [state_machine.SHARES_ID]}},
            ),
            self._use_key("OpenTheTable", "dynamodb", "kms:Decrypt"),
            *worker.may_read_gateway_key(self.gateway_key, self._args.data_key_arn, self._account),
        ]

    def _report_may(self) -> list[Statement]:
        return [self._read_index(), self._lock(), self._use_key("OpenTheTable", "dynamodb", "kms:Decrypt")]

    # -- what people may do

    def _desk_args(self) -> DeskArgs:
        """Both functions read the table and keep requests in it; the checker's alone writes transactions."""
        table, key = self._args.table_arn, self._use_key("OpenTheTable", "dynamodb", "kms:Decrypt")
        keep = [
            Statement(sid="ReadTheTable", actions=("dynamodb:BatchGetItem",), resources=(table,)),
            Statement(
                sid="KeepRequests",
                actions=("dynamodb:PutItem",),
                resources=(table,),
                conditions={"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["#request#*"]}},
            ),
            key,
        ]
        exits = Statement(sid="MakeExits", actions=("dynamodb:PartiQLUpdate",), resources=(table,))
        return DeskArgs(
            settings=self._settings,
            around=self._around,
            log_key_arn=self._args.log_key_arn,
            environment={
                "TABLE_NAME": self._args.table_name,
                "INDEX_NAME": INDEX,
                "PENDING_SHARDS": str(self._settings.part(TableSettings).pending_shards),
            },
            may={MAKER: [*keep, self._read_index()], CHECKER: [*keep, exits]},
            viewers_may=self._viewers_may(),
        )

    @property
    def _around(self) -> Surroundings:
        args = self._args
        return Surroundings(self._account, args.subnet_ids, args.security_group_id, args.data_key_arn)

    def _operators_may(self) -> list[Statement]:
        """What the command `confirm` calls to look, and to bring in. No right to change what is there: IAM could not
        tell a redrive from any other change."""
        return [
            *self._viewers_may(),
            Statement(sid="Import", actions=("dynamodb:PartiQLInsert",), resources=(self._args.table_arn,)),
            # canaries are in no book, the run lock is no transaction, and requests are the desk's: whatever else a
            # person's role may
            Statement(
                sid="NotTheSystemsOwn",
                actions=("dynamodb:PartiQLInsert",),
                resources=(self._args.table_arn,),
                conditions={"ForAnyValue:StringLike": {"dynamodb:LeadingKeys": ["canary-*", "#*"]}},
                effect="Deny",
            ),
        ]

    def _viewers_may(self) -> list[Statement]:
        executions = self.machine.name.apply(lambda name: self._account.arn("states", f"execution:{name}:*"))
        return [
            Statement(
                sid="ReadTransactions",
                actions=("dynamodb:BatchGetItem", "dynamodb:DescribeTable", "dynamodb:GetItem", "dynamodb:Scan"),
                resources=(self._args.table_arn,),
            ),
            Statement(sid="ReadTheIndex", actions=("dynamodb:Query",), resources=(self._args.index_arn,)),
            Statement(
                sid="OpenTheTable",
                actions=("kms:Decrypt",),
                resources=(self._args.data_key_arn,),
                conditions=iam.through("dynamodb", self._account),
            ),
            Statement(sid="FindTheLastRun", actions=("states:ListExecutions",), resources=(self.machine.arn,)),
            Statement(
                sid="ReadRuns",
                actions=("states:DescribeExecution", "states:GetExecutionHistory"),
                resources=(executions,),
            ),
        ]

    # -- functions

    def _function(self, name: str, description: str, may: Sequence[Statement]) -> aws.lambda_.Function:
        settings = self._settings.part(FunctionSettings)
        reserved = settings.reserved_concurrency
        if reserved is not None and name != "confirm":
            reserved = SINGLE_RUN
        return function(
            name,
            FunctionArgs(
                description=description,
                handler=f"workers.serverless.handlers.{name}",
                may=may,
                log_group=self.log_groups[name],
                environment=self._environment(name),
                memory_mb=settings.memory_mb,
                timeout_seconds=settings.timeout_seconds,
                reserved_concurrency=reserved,
                layer=settings.collector_layer,
            ),
            self._around,
            self,
        )

    def _environment(self, function: str) -> dict[str, pulumi.Input[str]]:
        """What `workers/config.py` reads."""
        settings, run = self._settings, self._settings.part(RunSettings)
        collector = {"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR, "OPENTELEMETRY_EXTENSION_LOG_LEVEL": "warn"}
        return {
            **(collector if settings.part(FunctionSettings).collector_layer else {}),
            **worker.environment(settings, self.gateway_key),
            **(worker.canary(settings) if function == "plan" else worker.canary_account(settings)),
            "OTEL_SERVICE_NAME": self._account.prefix,
            "TABLE_NAME": self._args.table_name,
            "INDEX_NAME": INDEX,
            "PENDING_SHARDS": str(settings.part(TableSettings).pending_shards),
            "PLAN_BUCKET": self.bucket.bucket,
            "BATCHES_PER_PLAN": str(run.batches_per_plan),
            "RUN_LEASE_SECONDS": str(run.lease_seconds),
        }

    # -- the run

    def _state_machine(self) -> aws.sfn.StateMachine:
        account, logs = self._account, self.log_groups["stateMachine"]
        # The machine's policy names the machine: so its name is chosen here, not by Pulumi.
        name = f"{account.prefix}-run"
        itself = account.arn("states", f"stateMachine:{name}")
        functions = [self.functions[function].arn for function in FUNCTIONS]
        role, grant = iam.role(
            "state-machine",
            "states.amazonaws.com",
            [
                Statement(sid="CallFunctions", actions=("lambda:InvokeFunction",), resources=functions),
                self._lock(),
                self._use_key("OpenTheTable", "dynamodb", "kms:Decrypt"),
                Statement(
                    sid="ReadPlans",
                    actions=("s3:GetObject",),
                    resources=(pulumi.Output.concat(self.bucket.arn, "/", PLANS, "*"),),
                ),
                self._use_key("OpenPlans", "s3", "kms:Decrypt"),
                # Distributed Map: a run starts, watches and redrives children of itself
                Statement(sid="StartBatches", actions=("states:StartExecution",), resources=(itself,)),
                Statement(
                    sid="WatchBatches",
                    actions=("states:DescribeExecution", "states:StopExecution"),
                    resources=(account.arn("states", f"execution:{name}:*"),),
                ),
                Statement(
                    sid="RedriveBatches",
                    actions=("states:RedriveExecution",),
                    resources=(account.arn("states", f"execution:{name}/{state_machine.LABEL}:*"),),
                ),
                Statement(
                    sid="DeliverLogs",
                    actions=(
                        "logs:CreateLogDelivery",
                        "logs:DeleteLogDelivery",
                        "logs:DescribeLogGroups",
                        "logs:DescribeResourcePolicies",
                        "logs:GetLogDelivery",
                        "logs:ListLogDeliveries",
                        "logs:PutResourcePolicy",
                        "logs:UpdateLogDelivery",
                    ),
                    resources=("*",),
                    reason="log deliveries have no resource to name (AWS: Logging in CloudWatch Logs, Step Functions)",
                ),
                Statement(
                    sid="Trace",
                    actions=(*iam.TRACE.actions, "xray:GetSamplingRules", "xray:GetSamplingTargets"),
                    resources=iam.TRACE.resources,
                    reason=iam.TRACE.reason,
                ),
            ],
            account=account,
            description="The run: calls the functions, gives the run lock back",
            parent=self,
            source_arns=[itself, f"{itself}/{state_machine.LABEL}"],  # the machine, and its Map's children
        )
        definition = state_machine.definition(
            state_machine.Parts(
                table_name=self._args.table_name,
                plan_function=self.functions["plan"].arn,
                confirm_function=self.functions["confirm"].arn,
                report_function=self.functions["report"].arn,
            ),
            self._settings,
        )
        return aws.sfn.StateMachine(
            "run",
            name=name,
            type="STANDARD",  # Distributed Map runs in no other
            role_arn=role.arn,
            definition=pulumi.Output.json_dumps(definition),
            logging_configuration=aws.sfn.StateMachineLoggingConfigurationArgs(
                level="ERROR",  # ALL costs 3.18 US$ per million transactions, ERROR nothing while all is well
                include_execution_data=False,  # ids stay out of the logs' metadata
                log_destination=pulumi.Output.concat(logs.arn, ":*"),
            ),
            tracing_configuration=aws.sfn.StateMachineTracingConfigurationArgs(enabled=True),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[grant]),
        )

    def _schedule(self) -> tuple[aws.scheduler.ScheduleGroup, aws.scheduler.Schedule]:
        return schedule(
            "run",
            ScheduleArgs(
                group="schedules",
                description="Starts a run; one that finds another under way ends at once",
                role_description="Starts the run on schedule",
                expression=self._settings.part(RunSettings).schedule,
                start=Statement(sid="StartRun", actions=("states:StartExecution",), resources=(self.machine.arn,)),
                target_arn=self.machine.arn,
                retries=3,
                retry_seconds=300,
                dead_letters=self.dead_letters,
            ),
            self._account,
            self,
        )
