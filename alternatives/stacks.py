"""What the recorded stacks of several alternatives share."""

from __future__ import annotations

BOUNDARY = "arn:aws:iam::123456789012:policy/pipeline-confirm-dev-boundary"
CANARY = {"canaryMinutes": "5", "canaryAccount": "test-account"}
CHANNELS = {
    "slackWorkspaceId": "T07EA123LEP",
    "slackChannelId": "C07EZ1ABC23",
    "pagerDutyIntegrationUrl": "https://events.pagerduty.com/integration/0123456789abcdef0123456789abcdef/enqueue",
}
EVERYTHING = {
    "environment": "prod",
    "alarmEmail": "on-call@example.com",
    "faultExperiments": "even-in-prod",
    **CHANNELS,
}
"""Production with all its roles, but for the canaries'."""
