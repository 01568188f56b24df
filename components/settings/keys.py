"""The config keys that every alternative reads; what one alone reads is in the `settings.py` of its package."""

from __future__ import annotations

import ipaddress
import json
import re
from urllib.parse import urlsplit

from components.settings.environments import Environment, FaultExperiments, NatStrategy
from components.settings.reading import BY_ENVIRONMENT, Key, Value, choice, integer, matching

# What CloudWatch Logs accepts as retention.
RETENTION_DAYS: tuple[int, ...] = (
    *(1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731),
    *(1096, 1827, 2192, 2557, 2922, 3288, 3653),
)

# The interface endpoints that our traffic can use, each about 7.3 US$ a month and zone. DynamoDB and S3 have gateways.
INTERFACE_ENDPOINTS = (
    *("ecr.api", "ecr.dkr", "kms", "lambda", "logs", "monitoring", "rds-data", "secretsmanager", "sns", "sqs"),
    *("states", "sts", "xray"),
)


def _retention(raw: object) -> Value:
    number = integer(0, 10_000)(raw)
    if number not in (0, *RETENTION_DAYS):
        raise ValueError
    return number


def _endpoints(raw: object) -> Value:
    names = json.loads(raw) if isinstance(raw, str) else raw
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise ValueError
    if not set(names) <= set(INTERFACE_ENDPOINTS) or len(set(names)) < len(names):
        raise ValueError
    return tuple(names)


def _texts(raw: object, pattern: str) -> tuple[str, ...]:
    texts = json.loads(raw) if isinstance(raw, str) else raw
    if not isinstance(texts, (list, tuple)) or not all(isinstance(one, str) for one in texts):
        raise ValueError
    if not all(re.fullmatch(pattern, one) for one in texts):
        raise ValueError
    return tuple(texts)


def _roles(raw: object) -> Value:
    names = _texts(raw, r"[\w+=.@-]{1,64}")
    if len(set(names)) < len(names) or any(name.startswith("AWSReservedSSO_") for name in names):
        raise ValueError
    return names


def _sums(raw: object) -> Value:
    sums = _texts(raw, r"[A-Z]{3}:\d{1,16}")
    if len({one[:3] for one in sums}) < len(sums):
        raise ValueError
    return sums


def _cidrs(raw: object) -> Value:
    ranges = json.loads(raw) if isinstance(raw, str) else raw
    if not isinstance(ranges, (list, tuple)) or not all(isinstance(one, str) for one in ranges):
        raise ValueError
    networks = tuple(str(ipaddress.IPv4Network(one)) for one in ranges)
    if len(set(networks)) < len(networks) or "0.0.0.0/0" in networks:
        raise ValueError
    return networks


def _cidr(raw: object) -> Value:
    network = ipaddress.IPv4Network(matching(r"[\d./]+")(raw))
    if not 16 <= network.prefixlen <= 28:
        raise ValueError
    return str(network)


def _url(raw: object) -> Value:
    text = str(matching(r"https?://\S+")(raw))
    parts = urlsplit(text)
    parts.port  # noqa: B018 - raises ValueError for a port that is none
    if not parts.hostname or parts.query or parts.fragment or parts.username or parts.password:
        raise ValueError
    return text.rstrip("/")


def choice_of(alternatives: tuple[str, ...]) -> tuple[Key, ...]:
    """The keys by which one of them is chosen."""
    allowed = " or ".join(sorted(alternatives))
    return (
        Key("alternative", "string", "serverless",
            "Which alternative confirms the transactions.",
            allowed, choice(*alternatives)),
        Key("switchFrom", "string", "", "The alternative that this stack may delete to become another.",
            f"{allowed}, or nothing", choice("", *alternatives)),
    )  # fmt: skip


KEYS: tuple[Key, ...] = (
    Key("restoreFrom", "string", "", "Where a new stack's datastore is copied from: docs/restore.md.",
        "a table's name, a cluster's identifier, or the ARN of a backup, or nothing",
        matching(r"([A-Za-z0-9_.:/-]{3,255})?")),
    Key("restoreTime", "string", "", "The moment of the copy or of a restore in place, in UTC; nothing: the latest.",
        "a time like 2026-11-24T09:30:00Z, or nothing", matching(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)?")),
    Key("environment", "string", "dev", "Sizes, protection and retention: dev, staging or prod.",
        "dev, staging or prod", choice(*Environment)),
    Key("owner", "string", "", "Team that answers for the stack; a tag on everything. Required.",
        "1 to 64 letters, digits or . _ @ - (required)", matching(r"[A-Za-z0-9._@-]{1,64}"), "payments-team"),
    Key("costCenter", "string", "", "Whom the stack is charged to; a tag on everything. Required.",
        "1 to 64 letters, digits or . _ @ - (required)", matching(r"[A-Za-z0-9._@-]{1,64}"), "cc-1234"),
    Key("vpcCidr", "string", "10.0.0.0/16", "Address range of the VPC, /16 to /25.",
        "an IPv4 network without host bits, /16 to /28", _cidr),
    Key("availabilityZones", "integer", 0, "Zones to spread over, 2 or 3; 0 for the environment's own.",
        f"2 or 3, or {BY_ENVIRONMENT}", integer(2, 3, special=(0,))),
    Key("natStrategy", "string", "auto", "Way out to the gateway: none, single, one-per-zone; auto by environment.",
        "none, single, one-per-zone or auto", choice("auto", *NatStrategy)),
    Key("interfaceEndpoints", "array", (), "AWS services to reach through interface endpoints instead of NAT.",
        "a list, each once, of " + ", ".join(INTERFACE_ENDPOINTS), _endpoints),
    Key("gatewayCidrs", "array", (), "The gateway's addresses: where named, workers reach these and AWS, nothing else.",
        "a list of IPv4 ranges, each once; nothing in it for any address", _cidrs),
    Key("gatewayUrl", "string", "", "Base address of the payment gateway. Required.",
        "an https address without user, query or fragment (required)", _url, "https://payments.example.com"),
    Key("mode", "string", "confirm", "confirm, or shadow: only ask the gateway what others did, and send nothing.",
        "confirm or shadow", choice("confirm", "shadow")),
    Key("gatewayTimeoutSeconds", "integer", 10, "Longest wait for one call; after it the outcome is unknown.",
        "1 to 60 seconds", integer(1, 60)),
    Key("gatewayConcurrency", "integer", 50, "Calls under way at once, per worker.",
        "1 to 500 calls", integer(1, 500)),
    Key("gatewayRateLimit", "integer", 500, "Calls per second, all workers of the stack together.",
        "1 to 100,000 calls per second", integer(1, 100_000)),
    Key("gatewayGraceSeconds", "integer", 60, "Wait before a resend after the gateway said that it knows nothing.",
        "1 to 86,400 seconds", integer(1, 86_400)),
    Key("gatewayKeyWindowHours", "integer", 24, "How long the gateway remembers an idempotency key.",
        "1 to 8,760 hours", integer(1, 8_760)),
    Key("canaryMinutes", "integer", 0,
        "Minutes between two canaries, payments of ours that show the whole path to work; 0 for none.",
        "5 to 480 minutes, or 0 for none", integer(5, 480, special=(0,))),
    Key("canaryAccount", "string", "", "The gateway's account for tests, to which canaries are really paid.",
        "1 to 128 printable characters without spaces, or nothing", matching(r"[!-~]{0,128}"), "test-account"),
    Key("batchSize", "integer", 100, "Transactions per batch, that is per Lambda call or per claim of a task.",
        "1 to 10,000 transactions", integer(1, 10_000)),
    Key("leaseSeconds", "integer", 0, "How long a claim keeps others away; 0 for the alternative's own (180 and 90).",
        "10 to 3,600 seconds, or 0 for the alternative's own", integer(10, 3_600, special=(0,))),
    Key("maxAttempts", "integer", 8, "Attempts before a person decides.",
        "1 to 100 attempts", integer(1, 100)),
    Key("retryBaseSeconds", "integer", 30, "First wait between attempts; it doubles, with full jitter.",
        "1 to 86,400 seconds", integer(1, 86_400)),
    Key("retryCapSeconds", "integer", 900, "Longest wait between attempts.",
        "1 to 86,400 seconds", integer(1, 86_400)),
    Key("reviewHours", "integer", 24, "How long a person has to decide a transaction in REVIEW.",
        "1 to 720 hours", integer(1, 720)),
    Key("reviewOwner", "string", "payment-operations", "Whose desk the transactions in REVIEW are on.",
        "1 to 64 letters, digits or . _ @ -", matching(r"[A-Za-z0-9._@-]{1,64}")),
    Key("deskRoles", "array", (), "Roles, besides IAM Identity Center's, whose session names are people's.",
        "a list of role names, each once", _roles),
    Key("deskTwoApprovalsFrom", "array", (), "Sums from which on two people approve an exit from REVIEW.",
        "a list of CURRENCY:MINOR_UNITS, each currency once, like EUR:1000000", _sums),
    Key("deskRequestsEndAfterHours", "integer", 24, "How long a request for an exit from REVIEW can be approved.",
        "1 to 168 hours", integer(1, 168)),
    Key("clockSkewSeconds", "integer", 2, "How far the workers' clocks may differ.",
        "0 to 60 seconds", integer(0, 60)),
    Key("logRetentionDays", "integer", 0, "Days that logs are kept; 0 for the environment's own.",
        f"{', '.join(map(str, RETENTION_DAYS))}, or {BY_ENVIRONMENT}", _retention),
    Key("maskLogs", "string", "auto",
        "Whether CloudWatch masks cards, accounts and keys in logs, at 0.12 US$ a GB: on or off; auto by environment.",
        "on, off or auto", choice("auto", "on", "off")),
    Key("traceSampling", "integer", 1,
        "Percent of the transactions whose traces are kept; those that met trouble are kept always.",
        "0 to 100 percent", integer(0, 100)),
    Key("alarmEmail", "string", "", "Who hears the alarms, by e-mail; required in prod.",
        "an e-mail address, or nothing", matching(r"|[^@\s]+@[^@\s]+\.[^@\s]+"), "on-call@example.com"),
    Key("slackWorkspaceId", "string", "",
        "The Slack workspace of slackChannelId, authorized once in Amazon Q Developer in chat applications.",
        "T and 8 to 12 capitals or digits, or nothing", matching(r"|T[A-Z0-9]{8,12}"), "T07EA123LEP"),
    Key("slackChannelId", "string", "", "The Slack channel that hears alarms and pages.",
        "C or G and 8 to 12 capitals or digits, or nothing", matching(r"|[CG][A-Z0-9]{8,12}")),
    Key("pagerDutyIntegrationUrl", "string", "",
        "PagerDuty's CloudWatch integration, which hears the pages; a secret: pulumi config set --secret.",
        "https://events.pagerduty.com/integration/KEY/enqueue, or nothing",
        matching(r"|https://events\.(?:eu\.)?pagerduty\.com/[\w/-]{1,200}")),
    Key("faultExperiments", "string", "off",
        "Templates of fault experiments (FIS): off, on, or even-in-prod, where they strike real payments.",
        "off, on or even-in-prod", choice(*FaultExperiments)),
    Key("permissionsBoundary", "string", "",
        "ARN of the permissions boundary that every role gets; the output permissionsBoundary of delivery/bootstrap/.",
        "the ARN of a policy, or nothing", matching(r"|arn:[a-z-]+:iam::\d{12}:policy/\S+"),
        "arn:aws:iam::123456789012:policy/pipeline-confirm-dev-boundary"),
    Key("monthlyBudget", "integer", 0, "US dollars a month for this stack, with alerts to alarmEmail; 0 for no budget.",
        "1 to 1,000,000 US$, or 0 for none", integer(1, 1_000_000, special=(0,))),
    Key("vaultLockGraceDays", "integer", 0,
        "Days after which a locked backup vault can never be unlocked again, by nobody; 0 leaves it to those who may.",
        "3 to 36,500 days, or 0 for never", integer(3, 36_500, special=(0,))),
    Key("oldestPendingAlarmSeconds", "integer", 900, "Age of the oldest due transaction that raises an alarm.",
        "60 to 604,800 seconds", integer(60, 604_800)),
    Key("pauseRemindsAfterMinutes", "integer", 60, "How long a pause by hand lasts until an alarm reminds of it.",
        "5 to 10,080 minutes", integer(5, 10_080)),
)  # fmt: skip
