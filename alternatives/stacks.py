"""What the recorded stacks of several alternatives share."""

from __future__ import annotations

BOUNDARY = "arn:aws:iam::123456789012:policy/pipeline-confirm-dev-boundary"
CANARY = {"canaryMinutes": "5", "canaryAccount": "test-account"}
EVERYTHING = {"environment": "prod", "alarmEmail": "on-call@example.com", "faultExperiments": "even-in-prod"}
"""Production with all its roles, but for the canaries'."""
