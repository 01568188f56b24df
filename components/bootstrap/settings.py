"""The configuration of delivery/bootstrap/: checked together, before anything is made."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi

PROJECT = "confirm-transactions-bootstrap"
AUDIENCE = "api://AzureADTokenExchange"

ENVIRONMENTS = ("dev", "staging", "prod")
ROLES = ("plan", "apply", "verify")
"""Those of each environment."""
REVIEW, REVIEWED = "review", "dev"
"""The role of the pull requests' pipeline, and the one environment that has it."""


@dataclass(frozen=True, slots=True)
class Key:
    name: str
    pattern: str
    allowed: str
    example: str


KEYS = (
    Key("environment", "|".join(ENVIRONMENTS), "dev, staging or prod", "dev"),
    Key("owner", r".{1,128}", "the team that answers for it", "payments"),
    Key("costCenter", r".{1,128}", "whom it is charged to", "payments-dev"),
    Key("azureOrganization", r"[A-Za-z0-9-]{1,50}", "the name in dev.azure.com/NAME", "contoso"),
    Key("azureProject", r"[^/]{1,64}", "the project's name", "payments"),
    Key(
        "oidcIssuer",
        r"https://[a-z0-9.-]+/[A-Za-z0-9./-]+",
        "an https address without a query: https://vstoken.dev.azure.com/ORGANIZATION-ID, as the service connection "
        "shows it",
        "https://vstoken.dev.azure.com/00000000-0000-0000-0000-000000000000",
    ),
    Key("oidcAudience", r"\S+", "the audience that the service connection shows", AUDIENCE),
    Key(
        "oidcProviderArn",
        r"|arn:[a-z-]+:iam::\d{12}:oidc-provider/\S+",
        "nothing, or an ARN (an account has one)",
        '""',
    ),
    Key("images", "true|false", "true in the one account that keeps the images", "true"),
    Key("imageReaders", r"\[\]|\[(\"\d{12}\",? ?)+\]", "account ids that run these images", '["123456789012"]'),
)


@dataclass(frozen=True, slots=True)
class Bootstrap:
    environment: str
    owner: str
    cost_center: str
    organization: str
    project: str
    issuer: str
    audience: str
    provider_arn: str
    images: bool
    image_readers: Sequence[str]

    @property
    def tags(self) -> dict[str, str]:
        """Not those of the stacks: what may change these may not change the pipeline's own roles and state."""
        return {
            "Project": PROJECT,
            "Environment": self.environment,
            "Owner": self.owner,
            "CostCenter": self.cost_center,
        }

    def subject(self, role: str) -> str:
        """Who a token of the service connection for a role is about."""
        return f"sc://{self.organization}/{self.project}/{connection(self.environment, role)}"


def connections() -> tuple[str, ...]:
    """All of them."""
    own = (connection(environment, role) for environment in ENVIRONMENTS for role in ROLES)
    return (connection("", "build"), *own, connection(REVIEWED, REVIEW))


def connection(environment: str, role: str) -> str:
    """The service connection of a role; images are built once, for all environments."""
    return "confirm-build" if role == "build" else f"confirm-{environment}-{role}"


def parse(config: Mapping[str, str]) -> Bootstrap:
    """Raises pulumi.RunError with every mistake."""
    known = {key.name: key for key in KEYS}
    mistakes = [
        f"  {name}: found a key that does not exist; allowed: {', '.join(known)}"
        for name in config
        if name not in known
    ]
    for key in KEYS:
        found = config.get(key.name, "")
        if not re.fullmatch(key.pattern, found):
            mistakes.append(
                f"  {key.name}: found {json.dumps(found) if found else 'nothing'}; allowed: {key.allowed}\n"
                f"      pulumi config set {key.name} {key.example}"
            )
    if mistakes:
        raise pulumi.RunError("\n".join(["mistakes in the stack's config, and what mends them:", *mistakes]))
    return Bootstrap(
        environment=config["environment"],
        owner=config["owner"],
        cost_center=config["costCenter"],
        organization=config["azureOrganization"],
        project=config["azureProject"],
        issuer=config["oidcIssuer"].rstrip("/"),
        audience=config["oidcAudience"],
        provider_arn=config["oidcProviderArn"],
        images=config["images"] == "true",
        image_readers=tuple(json.loads(config["imageReaders"])),
    )


def load() -> Bootstrap:
    """From the stack's config. Raises as `parse`."""
    config = pulumi.Config()
    return parse({key.name: value for key in KEYS if (value := config.get(key.name)) is not None})
