"""What a stack consists of: its components, and what each hands to the next; one sequence for each alternative."""

import pulumi

from alternatives import settings
from components import account, fargate, protection, serverless, switching, tags
from components.aurora.datastore import AuroraDatastore, AuroraDatastoreArgs
from components.budget import Budget, BudgetArgs
from components.encryption import Encryption, EncryptionArgs
from components.experiments import Experiments, ExperimentsArgs
from components.fargate.compute import FargateCompute, FargateComputeArgs
from components.fargate.experiments import experiments as fargate_experiments
from components.fargate.network import network_args as fargate_network_args
from components.fargate.observability import FargateObservability, FargateObservabilityArgs
from components.foundation import Foundation, Outputs
from components.network import Network
from components.serverless.compute import ServerlessCompute, ServerlessComputeArgs
from components.serverless.datastore import DynamoDbDatastore, DynamoDbDatastoreArgs
from components.serverless.experiments import experiments as serverless_experiments
from components.serverless.network import network_args as serverless_network_args
from components.serverless.observability import ServerlessObservability, ServerlessObservabilityArgs
from components.serverless.rules import check_region
from components.settings import FaultExperiments

config = settings.load()
switching.check(config, switching.deployed(), settings.DATASTORES)
tags.register()
protection.register(config)
provider = account.provider(config)
base = Foundation(config, account.find(provider, config))
options = pulumi.ResourceOptions(providers=[provider])  # of every component: the provider that tags


def serverless_stack() -> Outputs:
    """DynamoDB, and a scheduled run of Step Functions and Lambda over what is due."""
    check_region(config, base.account.region)
    encryption = Encryption("encryption", EncryptionArgs.of(base, serverless.DATA_SERVICES), options)
    datastore = DynamoDbDatastore("datastore", DynamoDbDatastoreArgs.of(base, encryption), options)
    # the network's way to DynamoDB leads to this table alone
    network = Network("network", serverless_network_args(base, encryption, datastore), options)
    compute_args = ServerlessComputeArgs.of(base, encryption, network, datastore)
    compute = ServerlessCompute("compute", compute_args, options)
    observability_args = ServerlessObservabilityArgs.of(base, encryption, datastore, compute)
    observability = ServerlessObservability("observability", observability_args, options)
    if config.fault_experiments is not FaultExperiments.OFF:
        faults = serverless_experiments(base.account, network)
        Experiments("experiments", ExperimentsArgs.of(base, encryption, observability, faults), options)
    return {**datastore.outputs, **network.outputs, **compute.outputs, **observability.outputs}


def fargate_stack() -> Outputs:
    """Aurora PostgreSQL, and a service on ECS Fargate that claims as transactions arrive."""
    encryption = Encryption("encryption", EncryptionArgs.of(base, fargate.DATA_SERVICES), options)
    network = Network("network", fargate_network_args(base, encryption), options)
    datastore_args = AuroraDatastoreArgs.of(base, encryption, network)
    datastore = AuroraDatastore("datastore", datastore_args, options)
    # before the service, whose deployments wait for the alarms
    observability_args = FargateObservabilityArgs.of(base, encryption, network, datastore)
    observability = FargateObservability("observability", observability_args, options)
    compute_args = FargateComputeArgs.of(base, encryption, network, datastore, observability)
    compute = FargateCompute("compute", compute_args, options)
    if config.fault_experiments is not FaultExperiments.OFF:
        faults = fargate_experiments(base.account, network, datastore, compute)
        Experiments("experiments", ExperimentsArgs.of(base, encryption, observability, faults), options)
    return {**datastore.outputs, **network.outputs, **compute.outputs, **observability.outputs}


match config.alternative:
    case "serverless":
        outputs = serverless_stack()
    case "fargate":
        outputs = fargate_stack()
    case other:
        raise pulumi.RunError(f"alternative {other} is composed nowhere in __main__.py")
if config.alarms.monthly_budget and config.alarms.email:
    Budget("budget", BudgetArgs.of(base, config.alarms.monthly_budget, config.alarms.email), options)

pulumi.export("alternative", config.alternative)
pulumi.export("environment", config.environment.value)
pulumi.export("region", base.account.region)
pulumi.export("gatewayUrl", config.gateway.url)
pulumi.export("mode", config.gateway.mode)
pulumi.export("reviewHours", config.work.review_seconds // 3_600)
pulumi.export("reviewOwner", config.work.review_owner)
for name, value in outputs.items():
    pulumi.export(name, value)
