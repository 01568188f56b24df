"""What must hold between the keys that every alternative reads."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Iterator
from urllib.parse import urlsplit

from components.settings.environments import Environment, FaultExperiments, NatStrategy
from components.settings.errors import Problem
from components.settings.values import Settings, is_local

CALLS_PER_TRANSACTION = 2  # at worst `ask` and then `confirm`
SMALLEST_SUBNET = 27  # 27 addresses: AWS's own least, /28, leaves 11 for NAT, endpoints and the workers' interfaces


def _is_private(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return is_local(host) or host.endswith(".internal")


def _restore(s: Settings) -> Iterator[Problem]:
    if s.restore is None:
        if s.gateway.restored_to and s.gateway.mode != "shadow":
            yield Problem(
                "restoreTime",
                f'"{s.gateway.restored_to}" without restoreFrom, in mode {s.gateway.mode}',
                "nothing; in mode shadow, the moment that the datastore was set back to in its place",
                "",
            )
        return
    if s.restore.is_backup and s.restore.time:
        yield Problem(
            "restoreTime",
            f'"{s.restore.time}" with the ARN of a backup as restoreFrom',
            "nothing: a backup is of one moment; a table or cluster is restored to any",
            "",
        )
    if s.gateway.mode != "shadow":
        yield Problem(
            "mode",
            f'"{s.gateway.mode}" with restoreFrom',
            "shadow: what was confirmed after the moment of the copy is pending in it again, so first everything is "
            "asked. Once the books agree, take restoreFrom out",
            "shadow",
        )


def _canary(s: Settings) -> Iterator[Problem]:
    if s.canary is None:
        return
    found = f"{s.canary.minutes} with"
    if not s.canary.account:
        yield Problem(
            "canaryAccount",
            f"nothing, and canaryMinutes {s.canary.minutes}",
            "an account that the gateway keeps for tests: a canary is really paid",
            "test-account",
        )
    if s.gateway.mode == "shadow":
        yield Problem(
            "canaryMinutes",
            f"{found} mode shadow",
            "0: nothing is confirmed by us then, and no canary comes through",
            0,
        )


def contradictions(s: Settings) -> Iterator[Problem]:
    """The rules between the keys that every alternative reads, one after the other."""
    gateway = s.gateway
    host = urlsplit(gateway.url).hostname or ""

    if s.work.retry_base_seconds > s.work.retry_cap_seconds:
        yield Problem(
            "retryBaseSeconds",
            f"{s.work.retry_base_seconds} s",
            f"at most retryCapSeconds ({s.work.retry_cap_seconds} s)",
            s.work.retry_cap_seconds,
        )
    lease, window = s.work.lease_seconds, gateway.key_window_seconds
    if gateway.grace_seconds + 2 * lease + gateway.timeout_seconds >= window:
        yield Problem(
            "gatewayGraceSeconds",
            f"{gateway.grace_seconds} s with a lease of {lease} s and a call of {gateway.timeout_seconds} s",
            f"with the call and two leases (one is lost with its worker, one is room for the resend) less than "
            f"gatewayKeyWindowHours ({window:,} s): after it a resend is no longer safe, and every doubt would end in "
            "REVIEW",
            60,
        )
    yield from _restore(s)
    yield from _canary(s)
    zones = s.network.availability_zones
    prefix = int(s.network.vpc_cidr.rpartition("/")[2])
    # awsx halves the range until each zone has its part, and that once more for its private and its public subnet
    widest = SMALLEST_SUBNET - math.ceil(math.log2(zones)) - 1
    if prefix > widest:
        yield Problem(
            "vpcCidr",
            f'"{s.network.vpc_cidr}"',
            f"/{widest} or wider for {zones} zones with a public and a private subnet of /27 or more each",
            f"10.0.0.0/{min(widest, 16)}",
        )
    if s.network.nat_strategy is NatStrategy.NONE and not _is_private(host):
        yield Problem(
            "natStrategy",
            '"none" with a gateway on the internet',
            "single or one-per-zone: the workers need a way out to " + host,
            "single",
        )

    if s.alarms.monthly_budget and s.alarms.email is None:
        yield Problem(
            "alarmEmail", "nothing, with a monthlyBudget", "an address: a budget alerts somebody", "on-call@example.com"
        )
    if s.alarms.slack and not s.alarms.slack.workspace:
        yield Problem(
            "slackWorkspaceId",
            "nothing, with a slackChannelId",
            "the channel's workspace, like T07EA123LEP",
            "T07EA123LEP",
        )
    if s.vault_grace_days and not s.sizing.vault_locked:
        yield Problem(
            "vaultLockGraceDays",
            f"{s.vault_grace_days} in {s.environment}",
            "0: its backup vault is not locked, that of prod is",
            0,
        )
    if gateway.url.startswith("http:") and not is_local(host):
        yield Problem(
            "gatewayUrl", f'"{gateway.url}"', "https (http only to this machine)", "https://" + gateway.url[7:]
        )
    if s.environment is Environment.PROD:
        if s.fault_experiments is FaultExperiments.ON:
            yield Problem(
                "faultExperiments",
                '"on" in prod',
                "off; or even-in-prod, once each has passed in staging: they strike real payments",
                "off",
            )
        if gateway.url.startswith("http:"):
            yield Problem("gatewayUrl", f'"{gateway.url}"', "https in prod", "https://payments.example.com")
        if s.alarms.email is None:
            yield Problem(
                "alarmEmail", "nothing", "an address in prod: an alarm must reach a person", "on-call@example.com"
            )
