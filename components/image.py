"""The workers' image: its repository, how it is built, and who may pull it."""

from __future__ import annotations

import json
import re

import pulumi
import pulumi_aws as aws
import pulumi_awsx as awsx

from components import artifact
from components.account import Account
from components.iam import Statement

KEPT_IMAGES = 20  # enough to go back to


class WorkersImage:
    """The repository, and the image in it, unless another is named.

    Creates, below `parent`: the repository with its lifecycle; the image, where it is built here.
    """

    repository: aws.ecr.Repository
    uri: pulumi.Input[str]

    def __init__(
        self,
        named: str | None,
        *,
        account: Account,
        key_arn: pulumi.Input[str],
        keep: bool,
        parent: pulumi.Resource,
    ) -> None:
        """`keep`: the repository is not deleted with images in it."""
        self._account, self._named = account, named
        self._mine = pulumi.ResourceOptions(parent=parent)
        self.repository = self._repository(key_arn, keep)
        self.uri = named or self._built()

    def _repository(self, key_arn: pulumi.Input[str], keep: bool) -> aws.ecr.Repository:
        repository = aws.ecr.Repository(
            "workers",
            image_tag_mutability="IMMUTABLE",  # a tag means one image for ever
            image_scanning_configuration=aws.ecr.RepositoryImageScanningConfigurationArgs(scan_on_push=True),
            encryption_configurations=[
                aws.ecr.RepositoryEncryptionConfigurationArgs(encryption_type="KMS", kms_key=key_arn)
            ],
            force_delete=not keep,
            opts=self._mine,
        )
        aws.ecr.LifecyclePolicy(
            "workers",
            repository=repository.name,
            policy=json.dumps(
                {
                    "rules": [
                        {
                            "rulePriority": 1,
                            "description": "The newest stay",
                            "selection": {
                                "tagStatus": "any",
                                "countType": "imageCountMoreThan",
                                "countNumber": KEPT_IMAGES,
                            },
                            "action": {"type": "expire"},
                        }
                    ]
                }
            ),
            opts=pulumi.ResourceOptions(parent=repository),
        )
        return repository

    def _built(self) -> pulumi.Output[str]:
        return awsx.ecr.Image(
            "workers",
            repository_url=self.repository.repository_url,
            context="./workers",  # as seen from the project, so that the state is the same on every machine
            dockerfile="./workers/Dockerfile",
            platform="linux/arm64",
            image_tag=artifact.image_tag(),  # by content: an immutable tag is pushed once
            opts=self._mine,
        ).image_uri

    def may_pull(self, *more: str) -> list[Statement]:
        """What an execution role needs for the image, and for others that are in a registry of ECR."""
        account = self._account
        images = [repository_arn(self._named, account) or self.repository.arn]
        images += [arn for image in more if (arn := repository_arn(image, account))]
        return [
            Statement(
                sid="LogInToTheRegistry",
                actions=("ecr:GetAuthorizationToken",),
                resources=("*",),
                reason="a login is for the registry; AWS knows no resource for it",
            ),
            Statement(
                sid="PullTheImage",
                actions=("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"),
                resources=images,
            ),
        ]


def repository_arn(image: str | None, account: Account) -> str | None:
    """The ARN of the ECR repository that an image comes from; None for no image and for other registries."""
    match = re.fullmatch(r"(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/([^@:]+)@.*", image or "")
    return f"arn:{account.partition}:ecr:{match[2]}:{match[1]}:repository/{match[3]}" if match else None
