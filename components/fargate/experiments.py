"""The faults that can be done to the fargate alternative on AWS.

Faults inside a task (`aws:ecs:task-*`) need an agent beside the worker, a shared process namespace and ECS Exec: more
than a worker that handles money should have. Their tests freeze and slow workers instead (docs/experiments.md).
"""

from __future__ import annotations

import pulumi

from components import iam
from components.account import Account
from components.aurora.datastore import AuroraDatastore
from components.experiments import Experiment, cut, network_faults
from components.fargate.compute import FargateCompute
from components.network import Network


def experiments(
    account: Account, network: Network, datastore: AuroraDatastore, compute: FargateCompute
) -> tuple[Experiment, ...]:
    """One row each; a failover needs a second instance."""
    cluster, service = compute.cluster, compute.service
    subnets = network.subnet_ids.apply(lambda ids: [account.arn("ec2", f"subnet/{id_}") for id_ in ids])

    def stopped(name: str, select: str, description: str) -> Experiment:
        return Experiment(
            name=name,
            description=description,
            action="aws:ecs:stop-task",
            target="Tasks",
            target_type="aws:ecs:task",
            target_parameters={"cluster": cluster.name, "service": service.name},
            select=select,
            statements=[
                iam.Statement(
                    sid="StopTasks",
                    actions=("ecs:DescribeTasks", "ecs:StopTask"),
                    resources=(pulumi.Output.concat(account.arn("ecs", "task/"), cluster.name, "/*"),),
                ),
                iam.Statement(
                    sid="FindTasks",
                    actions=("ecs:ListTasks",),
                    resources=("*",),
                    conditions={"ArnEquals": {"ecs:cluster": cluster.arn}},
                    reason="ECS knows the cluster by condition alone",
                ),
            ],
        )

    rows = [
        stopped("task-stopped", "COUNT(1)", "One task is told to stop: a Spot interruption, a host that retires"),
        stopped("all-tasks-stopped", "ALL", "All tasks are told to stop at once: nobody works until ECS has new ones"),
        Experiment(
            name="database-restarted",
            description="The database's instances restart: connections break, the cache is cold",
            action="aws:rds:reboot-db-instances",
            target="DBInstances",
            target_type="aws:rds:db",
            arns=[instance.arn for instance in datastore.instances],
            statements=[
                iam.Statement(
                    sid="Restart",
                    actions=("rds:DescribeDBInstances", "rds:RebootDBInstance"),
                    resources=[instance.arn for instance in datastore.instances],
                )
            ],
        ),
        *network_faults(account, network.vpc_id, network.subnet_ids),
        cut(
            "images-unreachable",
            "No new task gets its image, for five minutes; what runs goes on",
            account,
            network.vpc_id,
            subnets,
            "s3",
        ),
    ]
    if len(datastore.instances) > 1:
        rows.append(
            Experiment(
                name="database-failover",
                description="The reader becomes the writer: connections break, statements under way fail",
                action="aws:rds:failover-db-cluster",
                target="Clusters",
                target_type="aws:rds:cluster",
                arns=[datastore.cluster.arn],
                statements=[
                    iam.Statement(
                        sid="FailOver",
                        actions=("rds:DescribeDBClusters", "rds:FailoverDBCluster"),
                        resources=(datastore.cluster.arn,),
                    )
                ],
            )
        )
    return tuple(rows)
