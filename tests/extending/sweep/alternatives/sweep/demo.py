"""The sweep alternative in the demo: the Scheduler fires, and one Lambda does all."""

from __future__ import annotations

from alternatives.serverless.demo import Serverless


class Sweep(Serverless):
    alternative = "sweep"
    about = "Scheduler, one Lambda, DynamoDB: no AWS account, no Docker, nothing leaves this machine"
    starts = "the Scheduler starts the Lambda"
    mischief = "the gateway's own faults, and no other"
    better_for = "the smallest volumes, and who wants the fewest parts"

    def do_mischief(self, share: float, seconds: float) -> None:
        return None
