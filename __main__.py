"""Confirm pending transactions on AWS: settings, keys, the chosen alternative's components, outputs."""

import pulumi

from components import account, alternatives, protection, settings, switching, tags
from components.budget import Budget, BudgetArgs
from components.encryption import Encryption, EncryptionArgs

config = settings.load()
switching.check(config, switching.deployed())
tags.register()
protection.register(config)
provider = account.provider(config)
place = account.place(provider, config)
options = pulumi.ResourceOptions(providers=[provider])
alternative = alternatives.find(config.alternative)  # a package in components/: serverless, fargate

encryption = Encryption("encryption", EncryptionArgs(config, place, alternative.DATA_SERVICES), options)
outputs = alternative.build(alternatives.Foundation(config, place, encryption, options))
if config.alarms.monthly_budget and config.alarms.email:
    Budget("budget", BudgetArgs(config, place, config.alarms.monthly_budget, config.alarms.email), options)

pulumi.export("alternative", config.alternative)
pulumi.export("environment", config.environment.value)
pulumi.export("region", place.region)
pulumi.export("gatewayUrl", config.gateway.url)
pulumi.export("mode", config.gateway.mode)
pulumi.export("reviewHours", config.work.review_seconds // 3_600)
pulumi.export("reviewOwner", config.work.review_owner)
for name, value in outputs.items():
    pulumi.export(name, value)
