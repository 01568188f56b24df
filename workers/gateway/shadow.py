"""Shadow mode: the workers run beside whatever confirms today, and only ever ask. Nothing is sent, nothing can move.

What the old job confirmed or had refused becomes CONFIRMED or REJECTED here by the gateway's own evidence; what it
missed by the deadline lands on a desk, with that as the reason. It needs the old job to use the transaction's id as
its idempotency key, or an `ask` that finds its payments otherwise.
"""

from __future__ import annotations

from workers.config import GatewayConfig
from workers.domain.outcomes import NotFound, Outcome, Unknown
from workers.domain.policy import Policy
from workers.domain.ports import Clock
from workers.domain.transaction import Transaction
from workers.gateway.api_key import settings_of
from workers.gateway.limits import Limiter
from workers.gateway.payments import PaymentGateway


class ShadowGateway(PaymentGateway):
    """Never sends: in shadow mode (`Policy.only_ask`) a worker only asks, and a call that comes here all the same asks
    once more. No attempt is used up: none is made."""

    async def confirm(self, transaction: Transaction, key: str) -> Outcome:
        outcome = await self.ask(transaction, key)
        return Unknown("shadow: the gateway does not know it yet") if isinstance(outcome, NotFound) else outcome


def gateway_of(
    config: GatewayConfig, policy: Policy, api_key: str, clock: Clock, limiter: Limiter | None = None
) -> PaymentGateway:
    """The gateway's client, as the stack's `mode` has it.

    Raises:
        ValueError: there is a rate limit, and no limiter.
    """
    if config.rate_limit and limiter is None:
        raise ValueError(f"a rate limit of {config.rate_limit:g} calls a second needs a limiter that keeps it")
    kind = ShadowGateway if config.shadow else PaymentGateway
    return kind(settings_of(config, policy, api_key), clock, limiter)
