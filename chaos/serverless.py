"""The serverless alternative under attack: Lambdas are processes of the emulator, and runs overlap.

Settings see to it that a lease outlives its Lambda and the run lock its run. Here both are made shorter than that, in
the functions' own environment: so a Lambda that stood still wakes up beyond its lease, in the middle of another run.
"""

from __future__ import annotations

import random
import signal
from datetime import timedelta
from typing import ClassVar

from alternatives.serverless.demo import Serverless
from chaos.front import Front, Kind, send
from chaos.proxy import DynamoDbWire, Proxy
from chaos.stage import Config
from chaos.takeover import Takeover, takeovers
from demo import chaos
from demo.scenario import ask_gateway
from local.stack import LocalAws
from workers.domain.transaction import Transaction

LEASE_SECONDS = 10
RUN_LEASE_SECONDS = 5
LAMBDA_SECONDS = 18
"""What settings ask for with batches like these."""
BATCH = 20
SPEED = 12.0
MINUTE = 60 / SPEED


class ServerlessFront(Front):
    """Four Lambdas at a time. There is no SIGTERM for them, and their datastore has no server that we could restart."""

    alternative = "serverless"
    config: ClassVar[Config] = {
        "clockSkewSeconds": 0,
        "leaseSeconds": 20,
        "lambdaTimeoutSeconds": LAMBDA_SECONDS,
        "batchSize": BATCH,
        "mapConcurrency": 4,
        "batchesPerPlan": 16,
        "gatewayConcurrency": BATCH,
        "maxAttempts": 8,
    }
    speed = SPEED
    kinds = frozenset({Kind.KILL, Kind.PAUSE, Kind.CUT, Kind.RESTART, Kind.ROLL})
    lease = timedelta(seconds=LEASE_SECONDS)
    apart = timedelta(milliseconds=100)
    """A claim is dated when it begins to read."""
    ahead = 350
    promise_seconds = MINUTE + LAMBDA_SECONDS + 2.0
    """What a dead Lambda held is planned again by the next run, or the next loop of this one: it waits for the longest
    batch, which is over with its Lambda's time-out, and for the schedule."""

    scenario: Serverless

    def __init__(self, aws: LocalAws, scenario: Serverless) -> None:
        super().__init__(aws, scenario)
        self._chance = random.Random(1)
        self._rolled = 0

    def make_proxy(self) -> Proxy:
        return Proxy(int(self.aws.endpoint_url.rpartition(":")[2]), DynamoDbWire)

    def lead_through_proxy(self) -> None:
        own = {
            "AWS_ENDPOINT_URL_DYNAMODB": f"http://127.0.0.1:{self.proxy.port}",
            "LEASE_SECONDS": str(LEASE_SECONDS),
            "RUN_LEASE_SECONDS": str(RUN_LEASE_SECONDS),
        }
        for function in self.scenario.outputs["functions"].values():
            self._tell(function, own)

    def workers(self) -> list[int]:
        function = f"AWS_LAMBDA_FUNCTION_NAME={self.scenario.outputs['functions']['confirm']}"
        return chaos.below(chaos.emulator(self.aws.folder), function)

    def connections(self) -> int:
        return self.proxy.open

    def takeovers(self, records: list[Transaction]) -> list[Takeover]:
        return takeovers(records, self.lease)

    def strike(self, kind: Kind) -> bool:
        match kind:
            case Kind.CUT:
                return self.cut()
            case Kind.RESTART | Kind.ROLL if self.busy:
                return False
            case Kind.RESTART:
                with self.away():
                    self.aws.restart_emulator()
            case Kind.ROLL:
                self._rolled += 1
                self._tell(self.scenario.outputs["functions"]["confirm"], {"ROLLED": str(self._rolled)})
            case _:
                return self._signal(kind)
        return True

    # --- parts

    def _signal(self, kind: Kind) -> bool:
        """To one of those that are in the middle of their batches, as far as the gateway can tell."""
        at_once = int(ask_gateway(self.aws, "/_stats")["in_flight"])
        pids = [pid for pid in self.workers() if pid not in self._paused and pid not in self.spared] if at_once else []
        if not pids:
            return False
        pid = self._chance.choice(pids)
        return self.pause(pid) if kind is Kind.PAUSE else send(pid, signal.SIGKILL)

    def _tell(self, function: str, variables: dict[str, str]) -> None:
        client = self.aws.client("lambda")
        known = client.get_function_configuration(FunctionName=function)["Environment"]["Variables"]
        client.update_function_configuration(FunctionName=function, Environment={"Variables": known | variables})
