"""Confirm pending transactions on AWS: settings, components, outputs."""

import pulumi

from components import account, settings
from components.compute import FUNCTIONS, Compute, ComputeArgs
from components.datastore import INDEX, Datastore, DatastoreArgs
from components.encryption import Encryption, EncryptionArgs
from components.network import Network, NetworkArgs
from components.observability import Observability, ObservabilityArgs, Sources

config = settings.load()
provider = account.provider(config)
place = account.place(provider)
options = pulumi.ResourceOptions(providers=[provider])

encryption = Encryption("encryption", EncryptionArgs(config, place), options)
datastore = Datastore("datastore", DatastoreArgs(config, encryption.data_key.arn), options)
network = Network("network", NetworkArgs(config, place, datastore.table_arn, encryption.log_key.arn), options)
compute = Compute(
    "compute",
    ComputeArgs(
        settings=config,
        place=place,
        table_name=datastore.table_name,
        table_arn=datastore.table_arn,
        index_arn=datastore.index_arn,
        subnet_ids=network.subnet_ids,
        security_group_id=network.security_group_id,
        data_key_arn=encryption.data_key.arn,
        log_key_arn=encryption.log_key.arn,
    ),
    options,
)
observability = Observability(
    "observability",
    ObservabilityArgs(
        settings=config,
        place=place,
        sources=Sources(
            state_machine_arn=compute.machine.arn,
            schedule_group=compute.group.name,
            dead_letter_queue=compute.dead_letters.name,
            table_name=datastore.table_name,
            functions={name: compute.functions[name].name for name in FUNCTIONS},
        ),
        log_key_arn=encryption.log_key.arn,
    ),
    options,
)

pulumi.export("alternative", config.alternative.value)
pulumi.export("environment", config.environment.value)
pulumi.export("region", place.region)
pulumi.export("tableName", datastore.table_name)
pulumi.export("pendingIndexName", INDEX)
pulumi.export("pendingShards", config.work.pending_shards)
pulumi.export("planBucket", compute.bucket.bucket)
pulumi.export("stateMachineArn", compute.machine.arn)
pulumi.export("scheduleName", compute.schedule.name)
pulumi.export("scheduleGroup", compute.group.name)
pulumi.export("deadLetterQueueUrl", compute.dead_letters.url)
pulumi.export("alarmTopicArn", observability.topic.arn)
pulumi.export("dashboardName", observability.dashboard.dashboard_name)
pulumi.export("logGroups", {name: group.name for name, group in compute.log_groups.items()})
pulumi.export("functions", {name: function.name for name, function in compute.functions.items()})
pulumi.export("vpcId", network.vpc_id)
pulumi.export("egressAddresses", network.egress_addresses)
pulumi.export("gatewayUrl", config.gateway.url)
pulumi.export("gatewayKeySecretArn", compute.secret.arn)
pulumi.export("reviewHours", config.work.review_seconds // 3_600)
pulumi.export("reviewOwner", config.work.review_owner)
