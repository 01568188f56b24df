"""AWS Budgets: kept on record, as nothing is spent locally."""

from __future__ import annotations

from local.provider.model import Name, Resource

RESOURCES = (
    Resource(
        "aws:budgets/budget:Budget",
        id="{account}:{name}",
        name=Name(limit=100),
        outputs={"arn": "arn:aws:budgets::{account}:budget/{name}"},
        note="nothing costs anything on the local AWS",
    ),
)
