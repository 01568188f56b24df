"""Amazon ECR. Images are only named here: there is no Docker to build or to hold them (local/provider/awsx.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local.provider.model import Call, Name, Read, Resource, Tagging

REPOSITORY = {"repositoryName": "{name}"}
OF = {"repositoryName": "{repository}"}


def _encryption(items: list[Mapping[str, Any]]) -> dict[str, Any]:
    return {"encryptionConfiguration": dict(items[0])} if items else {}


RESOURCES = (
    Resource(
        "aws:ecr/repository:Repository",
        "ecr",
        create=Call(
            "create_repository",
            takes=("name", "imageTagMutability", "imageScanningConfiguration", "encryptionConfigurations"),
            rename={"name": "repositoryName"},
            encode={"encryptionConfigurations": _encryption},
        ),
        id="{name}",
        updates=(
            Call("put_image_tag_mutability", takes=("imageTagMutability",), where=REPOSITORY, update_only=True),
            Call(
                "put_image_scanning_configuration",
                takes=("imageScanningConfiguration",),
                where=REPOSITORY,
                update_only=True,
            ),
        ),
        read=Read("describe_repositories", {"repositoryNames": ["{name}"]}, "repositories[0]"),
        delete=Call("delete_repository", where={**REPOSITORY, "force": True}),
        name=Name(prefix="", limit=256, lower=True),
        tagging=Tagging({"resourceArn": "{arn}"}),
        outputs={"arn": "repositoryArn", "repositoryUrl": "repositoryUri", "registryId": "registryId"},
        handled=("forceDelete",),
        drift=False,
        recorded={"imageScanningConfiguration": "no image is built or scanned here"},
    ),
    Resource(
        "aws:ecr/lifecyclePolicy:LifecyclePolicy",
        "ecr",
        create=Call("put_lifecycle_policy", rename={"repository": "repositoryName", "policy": "lifecyclePolicyText"}),
        upsert=True,
        replaces=("repository",),
        id="{repository}",
        read=Read("get_lifecycle_policy", OF, "lifecyclePolicyText"),
        delete=Call("delete_lifecycle_policy", where=OF),
        outputs={"registryId": "{account}"},
        drift=False,
        note="the emulator keeps the rules and expires nothing",
    ),
    Resource(
        "aws:ecr/repositoryPolicy:RepositoryPolicy",
        "ecr",
        create=Call("set_repository_policy", rename={"repository": "repositoryName", "policy": "policyText"}),
        upsert=True,
        replaces=("repository",),
        id="{repository}",
        read=Read("get_repository_policy", OF, "policyText"),
        delete=Call("delete_repository_policy", where=OF),
        outputs={"registryId": "{account}"},
        drift=False,
    ),
)
