"""The gateway's API key, from Secrets Manager, and the client's settings made with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from workers.config import GatewayConfig
from workers.domain.policy import Policy
from workers.gateway.payments import GatewaySettings
from workers.telemetry import Telemetry

KEPT = timedelta(minutes=5)
MISSED = timedelta(seconds=5)
"""How long a worker goes on with the key that it read, or did not find."""


@dataclass
class ApiKey:
    """Reads the key again from time to time: a rotation needs neither deployment nor restart."""

    client: Any
    """boto3's Secrets Manager client."""
    secret_arn: str
    """"" for a gateway that wants no key."""
    telemetry: Telemetry
    _key: str = field(default="", repr=False)
    _until: datetime | None = None

    def current(self, now: datetime) -> str:
        """The key; "" while nobody has put it into the secret: the gateway then refuses us, which burns no attempts."""
        if self.secret_arn and (self._until is None or now >= self._until):
            self._key = self._read()
            if not self._key:
                self.telemetry.event("gateway key missing", now, secret=self.secret_arn)
            self._until = now + (KEPT if self._key else MISSED)
        return self._key

    def _read(self) -> str:
        try:
            return str(self.client.get_secret_value(SecretId=self.secret_arn).get("SecretString", "")).strip()
        except self.client.exceptions.ResourceNotFoundException:  # the secret is there, a value is not
            return ""


def settings_of(gateway: GatewayConfig, policy: Policy, api_key: str) -> GatewaySettings:
    """A worker's config as the client's settings."""
    return GatewaySettings(
        url=gateway.url,
        timeout_seconds=policy.call_timeout.total_seconds(),
        concurrency=gateway.concurrency,
        rate_limit_per_second=gateway.rate_limit,
        api_key=api_key,
    )
