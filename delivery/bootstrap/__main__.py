"""What an account needs before the pipeline can deploy to it: the state's backend, and who the pipeline is to AWS."""

import pulumi
import pulumi_aws as aws

from components.account import Account
from components.bootstrap.backend import Backend
from components.bootstrap.identity import Identity
from components.bootstrap.settings import load

settings = load()
provider = aws.Provider(
    "aws",
    region=pulumi.Config("aws").require("region"),
    default_tags=aws.ProviderDefaultTagsArgs(tags=settings.tags),
)
ask = pulumi.InvokeOptions(provider=provider)
account = Account(
    id=aws.get_caller_identity(opts=ask).account_id,
    region=aws.get_region(opts=ask).region,
    partition=aws.get_partition(opts=ask).partition,
    prefix=f"pipeline-confirm-{settings.environment}",
)
options = pulumi.ResourceOptions(providers=[provider])
backend = Backend("backend", account, options)
identity = Identity("identity", settings, account, backend, options)

pulumi.export("stateBackend", backend.bucket.bucket.apply(lambda name: f"s3://{name}?region={account.region}"))
pulumi.export("secretsProvider", backend.alias.name.apply(lambda name: f"awskms:///{name}?region={account.region}"))
pulumi.export("permissionsBoundary", identity.boundary.arn)
pulumi.export("serviceConnections", {name: role.arn for name, role in identity.roles.items()})
if identity.repository:
    pulumi.export("imageRepository", identity.repository.repository_url)
