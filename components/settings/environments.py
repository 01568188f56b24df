"""What differs by environment, in every alternative; what one alone has is in the `settings.py` of its package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Environment(StrEnum):
    DEV = "dev"
    STAGING = "staging"
    PROD = "prod"


class NatStrategy(StrEnum):
    NONE = "none"
    SINGLE = "single"
    ONE_PER_ZONE = "one-per-zone"


class FaultExperiments(StrEnum):
    """Templates of faults that somebody may start, on AWS."""

    OFF = "off"
    ON = "on"
    EVEN_IN_PROD = "even-in-prod"


@dataclass(frozen=True, slots=True)
class Sizing:
    """What one environment has; a test proves that prod is never weaker than staging, nor staging than dev."""

    availability_zones: int
    nat_strategy: NatStrategy
    """A gateway in each zone costs 36.5 US$ a month each and survives the loss of a zone."""
    reserve_concurrency: bool
    """Reserving fails in accounts whose Lambda quota is still the starter's 10: hence not in dev."""
    log_retention_days: int
    mask_logs: bool
    """CloudWatch's own masking, at 0.12 US$ a GB."""
    deletion_protection: bool
    """AWS's own and Pulumi's `protect`."""
    key_deletion_days: int
    vault_days: int
    """How long the weekly copies stay in the backup vault; 0 for no vault."""
    vault_locked: bool
    """No copy goes before its time, whoever asks."""


ENVIRONMENTS: Mapping[Environment, Sizing] = {
    Environment.DEV: Sizing(
        availability_zones=2,
        nat_strategy=NatStrategy.SINGLE,
        reserve_concurrency=False,
        log_retention_days=30,
        mask_logs=False,
        deletion_protection=False,
        key_deletion_days=7,
        vault_days=0,
        vault_locked=False,
    ),
    Environment.STAGING: Sizing(
        availability_zones=2,
        nat_strategy=NatStrategy.SINGLE,
        reserve_concurrency=True,
        log_retention_days=90,
        mask_logs=True,
        deletion_protection=False,
        key_deletion_days=7,
        vault_days=7,
        vault_locked=False,
    ),
    Environment.PROD: Sizing(
        availability_zones=2,
        nat_strategy=NatStrategy.ONE_PER_ZONE,
        reserve_concurrency=True,
        log_retention_days=365,  # PCI DSS 10.5.1: twelve months of audit trail
        mask_logs=True,
        deletion_protection=True,
        key_deletion_days=30,
        vault_days=14,
        vault_locked=True,
    ),
}
