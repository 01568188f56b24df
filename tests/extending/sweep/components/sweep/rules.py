"""What the settings of the sweep alternative keep between each other. Its keys are those of the serverless one."""

from __future__ import annotations

from collections.abc import Iterator

from components.serverless.settings import PART, FunctionSettings
from components.settings import AlternativeSettings, FaultExperiments, Problem, Settings

LEASE_SECONDS = 180


def contradictions(s: Settings) -> Iterator[Problem]:
    """The rules, one after the other."""
    timeout = s.part(FunctionSettings).timeout_seconds
    if s.work.lease_seconds <= timeout:
        yield Problem(
            "leaseSeconds",
            f"{s.work.lease_seconds} s",
            f"more than lambdaTimeoutSeconds ({timeout} s): a run must not outlive its leases",
            timeout + 1,
        )
    if s.canary is not None:
        yield Problem("canaryMinutes", f"{s.canary.minutes}", "0: nobody sends canaries here", 0)
    if s.fault_experiments is not FaultExperiments.OFF:
        yield Problem("faultExperiments", str(s.fault_experiments), "off: there are none", "off")


SETTINGS = AlternativeSettings((PART,), LEASE_SECONDS, contradictions, lambda _: iter(()))
