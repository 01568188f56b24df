"""The stacks of the sweep alternative that tests and the docs' tables record."""

from __future__ import annotations

from alternatives.descriptor import Config, Stacks

PROD: Config = {"environment": "prod", "alarmEmail": "on-call@example.com"}
STACKS = Stacks(
    tested={"sweep-dev": {}, "sweep-staging": {"environment": "staging"}, "sweep-prod": PROD},
    permissions=(PROD,),
    watched={},
    emitting=("workers/sweep/handler.py", "workers/serverless/handlers.py"),
    operators=(
        *("dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:PartiQLInsert", "dynamodb:PartiQLUpdate"),
        *("dynamodb:Query", "dynamodb:Scan", "kms:Decrypt"),
    ),
)
