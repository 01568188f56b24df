"""The gateway's API key, from Secrets Manager, and the client's settings made with it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from workers.config import GatewayConfig
from workers.domain.policy import Policy
from workers.gateway.payments import GatewaySettings
from workers.telemetry import Telemetry, told

KEPT = timedelta(minutes=5)
"""How long a worker goes on with the key that it read ..."""
MISSED = timedelta(seconds=5)
"""... with none, while nobody has put one into the secret ..."""
AGAIN = timedelta(seconds=30)
"""... and with the old one, when it could not read it anew: the question may take seconds that a batch has not got."""
_USABLE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
"""What a header can hold."""


class KeyUnreadable(Exception):  # noqa: N818 - what happened
    """The key could not be read, and there is none to go on with: nothing was claimed, nothing called."""


@dataclass
class ApiKey:
    """Reads the key again from time to time: a rotation needs neither deployment nor restart.

    Once read, a key stays in use until there is another. That it cannot be read, is gone or could not be sent is told
    once, and tried again: Secrets Manager may be away for as long as it likes.
    """

    client: Any
    """boto3's Secrets Manager client."""
    secret_arn: str
    """"" for a gateway that wants no key."""
    telemetry: Telemetry
    _key: str = field(default="", repr=False)
    _until: datetime | None = None
    _trouble: str = ""
    """The event told last; "" while all is well."""

    def current(self, now: datetime) -> str:
        """The key; "" while nobody has put one into the secret: the gateway then refuses us.

        Raises:
            KeyUnreadable: the first time of all only, where Secrets Manager does not answer or refuses us.
        """
        if self.secret_arn and (self._until is None or now >= self._until):
            self._look(now)
        return self._key

    def _look(self, now: datetime) -> None:
        wait, trouble, error = KEPT, "", ""
        try:
            found = self._read()
        except Exception as reason:  # no network, throttled, no credentials, no right: to us all the same
            error = type(reason).__name__
            if self._until is None:
                text = f"the gateway's key could not be read from {self.secret_arn}: {told(reason)}"
                raise KeyUnreadable(text) from reason
            wait, trouble = AGAIN, "gateway key unreadable"
        else:
            if not found:
                wait, trouble = (AGAIN if self._key else MISSED), "gateway key missing"
            elif not _USABLE.fullmatch(found):
                wait, trouble = AGAIN, "gateway key unusable"
            else:
                self._key = found
        self._until = now + wait
        if trouble and trouble != self._trouble:
            self.telemetry.event(trouble, now, secret=self.secret_arn, **({"error": error} if error else {}))
        elif self._trouble and not trouble:
            self.telemetry.event("gateway key read", now, secret=self.secret_arn)
        self._trouble = trouble

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
        api_key=api_key,
    )
