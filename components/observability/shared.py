"""The rows that every alternative's table has: the promise, the desk, the gateway."""

from __future__ import annotations

from components.observability.table import (
    MINUTE,
    Alarm,
    Graph,
    Levels,
    Metric,
    Missing,
    Page,
    Search,
    Signal,
    Statistic,
    ours,
)
from components.settings import Settings

PROMISE = (
    Graph("Backlog"),
    Graph("Age of the oldest due transaction"),
    Graph("From creation to the end"),
    Graph("Waiting for a person"),
    Graph("How long the first has waited"),
    Graph("Money that waits, in minor units, by currency"),
    Graph("Outcomes", width=12),
    Graph("Trouble", width=12),
    Graph("A call to the gateway"),
    Graph("Gateway errors, by kind"),
    Graph("Circuit breaker open"),
    Graph("Paused by hand"),
    Graph("Decided at the desk, by exit"),
    Graph("Refused at the desk"),
)
"""The first rows of every dashboard: is the promise kept, what waits for a person, how is the gateway."""
BILL = Graph("The account's bill this month, estimated", period=360 * MINUTE, region="us-east-1")
"""CloudWatch has it in us-east-1 alone, where the account has switched billing alerts on."""


def promise(settings: Settings) -> tuple[Signal, ...]:
    """Backlog, ages, outcomes, desk."""

    def the(name: str, statistic: Statistic = "Sum", unit: str = "Count") -> Metric:
        return ours(settings, name, statistic, unit)

    late = settings.alarms.oldest_pending_seconds
    return (
        Signal(
            the("OldestPendingAge", "Maximum", "Seconds"),
            "Age of the oldest due transaction",
            Alarm(
                "oldest-pending",
                late,
                MINUTE,
                "A transaction has been due for longer than allowed: the gateway is down or slow, or the backlog grows "
                "faster than it is worked off. Start with: confirm status.",
                "transactions-late",
                periods=5,
            ),
        ),
        Signal(the("TimeToFinal", "p50", "Seconds"), "From creation to the end"),
        Signal(
            the("TimeToFinal", "p90", "Seconds"),
            "From creation to the end",
            Alarm(
                "slow-to-final",
                late,
                15 * MINUTE,
                "One in ten transactions took longer to its end than one may be due. Retries do that, and a backlog: "
                "look at both.",
                "transactions-late",
            ),
        ),
        Signal(the("TimeToFinal", "p99", "Seconds"), "From creation to the end"),
        Signal(
            the("InReview", "Maximum"),
            "Waiting for a person",
            Alarm(
                "in-review",
                1,
                5 * MINUTE,
                "A transaction waits for a person to decide, with its reason and deadline: confirm status.",
                "in-review",
            ),
        ),
        Signal(
            the("OldestReviewAge", "Maximum", "Seconds"),
            "How long the first has waited",
            Alarm(
                "review-overdue",
                settings.work.review_seconds,
                5 * MINUTE,
                f"Nobody has decided a transaction in review within the {settings.work.review_seconds // 3600} hours "
                f"that {settings.work.review_owner} has for it.",
                "desk-overdue",
            ),
        ),
        Signal(
            Search(the("MoneyAtRisk", "Maximum", "None"), "Currency"), "Money that waits, in minor units, by currency"
        ),
        Signal(Search(the("DeskExits"), "Exit"), "Decided at the desk, by exit"),
        Signal(the("DeskRefusals"), "Refused at the desk"),
        Signal(
            the("PausedSeconds", "Maximum", "Seconds"),
            "Paused by hand",
            Alarm(
                "paused",
                settings.alarms.pause_minutes * MINUTE,
                5 * MINUTE,
                f"People have paused the workers for longer than {settings.alarms.pause_minutes} minutes, and "
                "deadlines go on: confirm status says who, why and since when.",
                "paused",
            ),
        ),
        *(Signal(the(name), "Outcomes") for name in ("Confirmed", "Rejected", "Retried", "Review")),
        Signal(the("NotTried"), "Trouble"),
        Signal(
            the("LostFences"),
            "Trouble",
            Alarm(
                "lost-fences",
                Levels(dev=500, staging=100, prod=100),
                15 * MINUTE,
                "Workers lose what they hold to others, often: leases end before the work does. Nothing is done "
                "twice, but much is done in vain. Raise leaseSeconds, or lower batchSize.",
                "lost-fences",
            ),
        ),
    )


def gateway(settings: Settings) -> tuple[Signal, ...]:
    """How the gateway answers."""

    def the(name: str, statistic: Statistic = "Sum", unit: str = "Count") -> Metric:
        return ours(settings, name, statistic, unit)

    return (
        Signal(the("GatewayMs", "p50", "Milliseconds"), "A call to the gateway"),
        Signal(
            the("GatewayMs", "p90", "Milliseconds"),
            "A call to the gateway",
            Alarm(
                "gateway-slow",
                settings.gateway.timeout_seconds * 800,
                5 * MINUTE,
                "One call in ten takes four fifths of its time limit or longer: soon calls end without an answer, and "
                "each of those must be asked about.",
                "gateway-errors",
                periods=3,
            ),
        ),
        Signal(the("GatewayMs", "p99", "Milliseconds"), "A call to the gateway"),
        Signal(Search(the("GatewayErrors"), "Kind"), "Gateway errors, by kind"),
        Signal(
            the("GatewayErrors"),
            "Trouble",
            Alarm(
                "gateway-errors",
                Levels(dev=200, staging=100, prod=50),
                5 * MINUTE,
                "Calls to the gateway go wrong. The graph of errors by kind says how: no answer, a refusal to serve, "
                "throttled, or turned away.",
                "gateway-errors",
                periods=3,
            ),
        ),
        Signal(
            the("BreakerOpen", "Maximum"),
            "Circuit breaker open",
            Alarm(
                "breaker-open",
                1,
                MINUTE,
                "The circuit breaker has been open for 5 minutes: the gateway does not work, or refuses our key.",
                "gateway-down",
                periods=5,
            ),
        ),
    )


CANARIES = "Canaries"


def canary(settings: Settings) -> tuple[Signal, ...]:
    """Whether a payment comes through at all, also at night, when nobody sends one."""
    if settings.canary is None:
        return ()
    minutes = 3 * settings.canary.minutes
    return (
        Signal(ours(settings, "CanarySeconds", "Maximum", "Seconds"), CANARIES),
        Signal(
            ours(settings, "CanaryConfirmed", "Maximum"),
            CANARIES,
            Alarm(
                "canary",
                1,
                minutes * MINUTE,
                f"No canary has been confirmed for {minutes} minutes, or nobody tells of one: a payment may not come "
                "through. After canaries are switched on it rests once the first is confirmed.",
                "nothing-comes-through",
                below=True,
                missing=Missing.ALARMING,
            ),
        ),
    )


def graphs(settings: Settings) -> tuple[Graph, ...]:
    """The first rows of every dashboard."""
    return (*PROMISE, Graph(CANARIES)) if settings.canary else PROMISE


def pages(settings: Settings) -> tuple[Page, ...]:
    """What every alternative gets people up for."""
    return (LATE, DESK_OVERDUE, GATEWAY_DOWN, *([NOTHING_COMES_THROUGH] if settings.canary else []))


def batch_times(settings: Settings) -> tuple[Signal, ...]:
    """Where a worker's time goes."""
    return tuple(
        Signal(ours(settings, name, "p50", "Milliseconds"), "Where a batch's time goes")
        for name in ("ClaimMs", "ConfirmMs", "SettleMs")
    )


LATE = Page(
    "transactions-late",
    ("oldest-pending",),
    "Transactions wait for longer than promised, and it is not the gateway's circuit breaker. Start with: confirm "
    "status.",
    unless="gateway-down",
)
DESK_OVERDUE = Page(
    "desk-overdue",
    ("review-overdue",),
    "A transaction is past the deadline that a person had to decide it. Start with: confirm status --all.",
)
GATEWAY_DOWN = Page(
    "gateway-down",
    ("breaker-open",),
    "The payment gateway has not worked for 5 minutes. No attempt is used up, but transactions wait.",
)

NOTHING_COMES_THROUGH = Page(
    "nothing-comes-through",
    ("canary",),
    "No canary has come through, and it is not the gateway's circuit breaker. Start with: confirm status.",
    unless="gateway-down",
)


def notes(commands: dict[str, str]) -> str:
    """What the dashboard's reader may do next, as Markdown."""
    lines = [f"* {what}: `{command}`" for what, command in commands.items()]
    return "\n".join(["### Where to go on", *lines, "* each alarm's text names its runbook, in `docs/runbooks/`"])
