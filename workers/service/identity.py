"""Who the worker is to AWS, beside a container that must not be the same.

All containers of an ECS task get the credentials of the task's one role, the collector of traces too. So that role may
nothing but hand in traces and become the worker's role, which has the gateway's key and the database; and that one
opens to a word which ECS tells the worker's container alone (components/fargate/compute.py).

Becoming it is a call to STS. It is made in a thread and long before it is due, so that STS may be away for three
quarters of an hour without a payment noticing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.credentials import ReadOnlyCredentials

from workers.config import RoleConfig

LASTS = timedelta(hours=1)
"""AWS's limit for a role that is taken by a role."""
RENEWED = timedelta(minutes=15)
"""How long credentials are used before others are asked for."""
TRIED_AGAIN = timedelta(seconds=30)
PATIENCE = Config(connect_timeout=5, read_timeout=5, retries={"mode": "standard", "max_attempts": 3})


class _Current:
    """botocore's credentials: exchanged as a whole, and never renewed by the one who signs, in the event loop."""

    method = "assume-role"

    def __init__(self) -> None:
        self.now = ReadOnlyCredentials("", "", None)

    def get_frozen_credentials(self) -> Any:
        return self.now

    def get_deferred_property(self, name: str) -> Callable[[], Any]:
        return lambda: getattr(self.now, name, None)

    def __getattr__(self, name: str) -> Any:
        """access_key, secret_key, token."""
        return getattr(self.now, name)


@dataclass
class Identity:
    """The worker's role, taken and taken again."""

    role: RoleConfig
    client: Any
    """boto3's STS client, as the task's role."""
    name: str
    """Of the session, in CloudTrail."""
    _credentials: _Current = field(default_factory=_Current, repr=False)
    _until: datetime | None = None

    def session(self) -> boto3.Session:
        """For clients that act as the worker's role, once `renew` was called."""
        own = botocore.session.get_session()
        own._credentials = self._credentials
        return boto3.Session(botocore_session=own)

    def renew(self, now: datetime) -> None:
        """Take the role, unless that was done lately. Blocks: for a thread.

        Raises:
            BotoCoreError, ClientError: it cannot be taken. The credentials in hand stay in use, and it is tried again.
        """
        if self._until and now < self._until:
            return
        if self._until:
            self._until = now + TRIED_AGAIN
        made = self.client.assume_role(
            RoleArn=self.role.arn,
            RoleSessionName=self.name,
            ExternalId=self.role.external_id,
            DurationSeconds=int(LASTS.total_seconds()),
        )["Credentials"]
        self._credentials.now = ReadOnlyCredentials(made["AccessKeyId"], made["SecretAccessKey"], made["SessionToken"])
        self._until = now + RENEWED
