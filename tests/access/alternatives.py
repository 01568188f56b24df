"""The two alternatives as worlds: what they are made of beside roles, and what they do."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from analysis.graph import Recorded
from cli import main
from local.processes import HOST
from tests.access.world import OPERATORS, SECRET, World, until
from tests.fakes import run
from tests.service.harness import Harness
from workers.clock import SystemClock
from workers.config import DatabaseConfig
from workers.domain.policy import Policy
from workers.domain.transaction import Transaction, to_text
from workers.migrations.__main__ import run as migrate
from workers.stores.dynamodb import DynamoDbStore

TASK_DEFINITION = "aws:ecs/taskDefinition:TaskDefinition"
CLUSTER = "access"
SHADOW = {"GATEWAY_MODE": "shadow"}


@dataclass
class Serverless(World):
    """The scheduled run."""

    folder: Path = field(default_factory=Path)

    @property
    def machine(self) -> str:
        return str(self.record.outputs["stateMachineArn"])

    def make(self) -> None:
        self._table(self.record.one("aws:dynamodb/table:Table", "transactions"))
        bucket = self.record.one("aws:s3/bucket:Bucket", "plans").outputs["bucket"]
        self.client("s3").create_bucket(Bucket=bucket)
        policy = self.record.one("aws:s3/bucketPolicy:BucketPolicy", "plans").inputs["policy"]
        self.client("s3").put_bucket_policy(Bucket=bucket, Policy=policy)
        super().make()
        machine = self.record.one("aws:sfn/stateMachine:StateMachine", "run").inputs
        self.client("stepfunctions").create_state_machine(
            name=machine["name"], definition=machine["definition"], roleArn=machine["roleArn"]
        )

    def _table(self, table: Recorded) -> None:
        (index,) = table.inputs["globalSecondaryIndexes"]
        self.client("dynamodb").create_table(
            TableName=table.outputs["name"],
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": table.inputs["hashKey"], "KeyType": "HASH"}],
            AttributeDefinitions=[
                {"AttributeName": one["name"], "AttributeType": one["type"]} for one in table.inputs["attributes"]
            ],
            GlobalSecondaryIndexes=[
                {
                    "IndexName": index["name"],
                    "KeySchema": [
                        {"AttributeName": index["hashKey"], "KeyType": "HASH"},
                        {"AttributeName": index["rangeKey"], "KeyType": "RANGE"},
                    ],
                    "Projection": {"ProjectionType": index["projectionType"]},
                }
            ],
        )

    def confirm(self, *arguments: str, role: str = OPERATORS, person: str = "somebody") -> str:
        """What the command prints, when that person types it."""
        outputs = self.folder / "outputs.json"
        outputs.write_text(json.dumps(self.record.outputs))
        out = io.StringIO()
        with (
            self.as_role(role, person) as patch,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(out),
            contextlib.suppress(SystemExit),
        ):
            patch.setenv("CONFIRM_OUTPUTS", str(outputs))
            main.run(arguments)
        return out.getvalue()

    def add(self, *ids: str) -> str:
        """New transactions from an operator's file; what the command said."""
        file = self.folder / "rows.csv"
        file.write_text("id,account,amount_minor,currency\n" + "".join(f"{id_},acct-1,100,USD\n" for id_ in ids))
        return self.confirm("import", str(file))

    def put(self, id_: str) -> None:
        """A new transaction, from the account's root."""
        outputs, now = self.record.outputs, datetime.now(UTC)
        table, index, shards = (outputs[name] for name in ("tableName", "pendingIndexName", "pendingShards"))
        store = DynamoDbStore(self.client("dynamodb"), table, index, int(shards), SystemClock(), Policy())
        run(store.add([Transaction(id_, "acct-1", 100, "USD", now, now + timedelta(hours=2))]))

    def state(self, id_: str) -> str:
        """Of one transaction, for the account's root."""
        table = self.record.outputs["tableName"]
        found = self.client("dynamodb").get_item(TableName=table, Key={"id": {"S": id_}}, ConsistentRead=True)
        return str(found["Item"]["status"]["S"])

    def executions(self) -> list[str]:
        """Their ARNs."""
        found = self.client("stepfunctions").list_executions(stateMachineArn=self.machine)
        return [one["executionArn"] for one in found["executions"]]

    def ended(self, arn: str) -> dict[str, Any]:
        """An execution, at its end."""
        states = self.client("stepfunctions")

        def look() -> dict[str, Any] | None:
            seen: dict[str, Any] = states.describe_execution(executionArn=arn)
            return seen if seen["status"] != "RUNNING" else None

        return until(look)

    def run(self) -> dict[str, Any]:
        """One execution to its end."""
        started = self.client("stepfunctions").start_execution(stateMachineArn=self.machine, input="{}")
        return self.ended(started["executionArn"])

    def batch_of_a_lost_run(self) -> None:
        """Without ids, of a plan so old that the run lock needs to be renewed."""
        name = self.record.one("aws:lambda/function:Function", "confirm").outputs["name"]
        batch = {"run": "lost", "batch": 0, "planned": "2026-01-05T09:00:00.000Z", "mode": "confirm", "ids": []}
        self.client("lambda").invoke(FunctionName=name, Payload=json.dumps(batch).encode())

    def begin_batch(self, *ids: str) -> None:
        """A batch of a plan made just now; its end is not waited for."""
        name = self.record.one("aws:lambda/function:Function", "confirm").outputs["name"]
        batch = {"run": "alone", "batch": 0, "planned": to_text(datetime.now(UTC)), "mode": "confirm", "ids": ids}
        client = self.client("lambda")
        client.invoke(FunctionName=name, InvocationType="Event", Payload=json.dumps(batch).encode())

    def logged(self, function: str) -> int:
        """How many streams its log has: one per invocation here."""
        group = self.record.outputs["logGroups"][function]
        return len(self.client("logs").describe_log_streams(logGroupName=group)["logStreams"])

    @contextlib.contextmanager
    def in_shadow(self) -> Iterator[None]:
        """Plan marks what waits, and what is on a desk; Confirm, which is in no shadow mode, lets its batches be."""
        client, name = self.client("lambda"), self.record.one("aws:lambda/function:Function", "plan").outputs["name"]
        given = client.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        client.update_function_configuration(FunctionName=name, Environment={"Variables": given | SHADOW})
        try:
            yield
        finally:
            client.update_function_configuration(FunctionName=name, Environment={"Variables": given})

    def free(self) -> None:
        """No run holds the lock, whatever became of the last one."""
        table = self.record.outputs["tableName"]
        self.client("dynamodb").delete_item(TableName=table, Key={"id": {"S": "#run"}})

    def remove(self, *ids: str) -> None:
        """These items, by the account's root."""
        table = self.record.outputs["tableName"]
        for id_ in ids:
            self.client("dynamodb").delete_item(TableName=table, Key={"id": {"S": id_}})

    def dead_letters(self) -> list[str]:
        """What the schedule could not start; they are taken out."""
        queue = self.client("sqs").get_queue_url(
            QueueName=self.record.one("aws:sqs/queue:Queue", "dead-letters").outputs["name"]
        )
        found = self.client("sqs").receive_message(QueueUrl=queue["QueueUrl"], MessageAttributeNames=["All"])
        return [one["MessageAttributes"]["ERROR_CODE"]["StringValue"] for one in found.get("Messages", [])]


@dataclass
class Fargate(World):
    """The service's tasks."""

    place: Harness | None = None
    desk_login: tuple[str, str] = ("", "")
    database: str = ""
    """Address of the cluster's own, which the Data API asks, as its master."""

    def make(self) -> None:
        super().make()
        self._cluster()
        self.client("ecs").create_cluster(clusterName=CLUSTER)
        for definition in self.record.all(TASK_DEFINITION):
            self._define(definition)

    def _cluster(self) -> None:
        """The desk's database, migrated, with the login of its functions."""
        declared, name = self.record.one("aws:rds/cluster:Cluster", "database").inputs, self.changes["DATABASE_NAME"]
        cluster = self.client("rds").create_db_cluster(
            DBClusterIdentifier=declared["clusterIdentifier"],
            Engine=declared["engine"],
            EngineVersion=declared["engineVersion"],
            DatabaseName=name,
            MasterUsername=declared["masterUsername"],
            ManageMasterUserPassword=True,
            EnableHttpEndpoint=bool(declared["enableHttpEndpoint"]),
        )["DBCluster"]
        self.client("rds").create_db_instance(
            DBInstanceIdentifier="one",
            DBClusterIdentifier=declared["clusterIdentifier"],
            DBInstanceClass="db.serverless",
            Engine=declared["engine"],
        )
        secrets = self.client("secretsmanager")
        master = json.loads(secrets.get_secret_value(SecretId=cluster["MasterUserSecret"]["SecretArn"])["SecretString"])
        where = DatabaseConfig(HOST, int(cluster["Port"]), name, "confirm_service")
        login = self.here(self.record.one(SECRET, "desk-login").outputs["arn"])

        def keep(text: str) -> None:
            self.desk_login = login, text

        run(migrate(where, master["username"], master["password"], keep_desk=keep))
        user = f"{master['username']}:{quote(master['password'], safe='')}"
        self.database = f"postgresql://{user}@{HOST}:{cluster['Port']}/{name}"

    def let_the_desk_in(self) -> None:
        """Into the cluster's database, whichever the task of the migrations has made a login for."""
        secret, login = self.desk_login
        self.client("secretsmanager").put_secret_value(SecretId=secret, SecretString=login)

    def _define(self, definition: Recorded) -> None:
        containers = json.loads(self.here(definition.inputs["containerDefinitions"]))
        for container in containers:
            own = {one["name"]: one["value"] for one in container["environment"]}
            if own.keys() & self.changes.keys():
                own |= self.changes
            container["environment"] = [{"name": name, "value": value} for name, value in own.items()]
        self.client("ecs").register_task_definition(
            family=definition.inputs["family"],
            containerDefinitions=containers,
            executionRoleArn=definition.inputs["executionRoleArn"],
            requiresCompatibilities=["FARGATE"],
            **({"taskRoleArn": role} if (role := definition.inputs.get("taskRoleArn")) else {}),
        )

    def start(self, name: str) -> str:
        """A task of that definition; its ARN."""
        family = self.record.one(TASK_DEFINITION, name).inputs["family"]
        made = self.client("ecs").run_task(cluster=CLUSTER, taskDefinition=family, launchType="FARGATE")
        return str(made["tasks"][0]["taskArn"])

    def task(self, arn: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client("ecs").describe_tasks(cluster=CLUSTER, tasks=[arn])["tasks"][0]
        return found

    def ended(self, arn: str) -> dict[str, Any]:
        return until(lambda: task if (task := self.task(arn))["lastStatus"] == "STOPPED" else None)

    @contextlib.contextmanager
    def running(self, name: str) -> Iterator[str]:
        """A task for as long as the block lasts."""
        arn = self.start(name)
        try:
            yield arn
        finally:
            self.client("ecs").stop_task(cluster=CLUSTER, task=arn)
            self.ended(arn)
