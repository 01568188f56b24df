"""The settings of the fargate alternative alone: keys, sizes by environment, values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from components.settings.alternative import Part
from components.settings.environments import Environment
from components.settings.reading import BY_ENVIRONMENT, Key, Values, integer, matching, one_of
from components.settings.values import Settings

# MB of memory that Fargate has for each CPU (in 1/1024 of a core).
FARGATE_SIZES: Mapping[int, tuple[int, ...]] = {
    256: (512, 1_024, 2_048),
    512: tuple(range(1_024, 4_096 + 1, 1_024)),
    1_024: tuple(range(2_048, 8_192 + 1, 1_024)),
    2_048: tuple(range(4_096, 16_384 + 1, 1_024)),
    4_096: tuple(range(8_192, 30_720 + 1, 1_024)),
    8_192: tuple(range(16_384, 61_440 + 1, 4_096)),
    16_384: tuple(range(32_768, 122_880 + 1, 8_192)),
}
COLLECTOR = (  # v0.48.0, for all platforms
    "public.ecr.aws/aws-observability/aws-otel-collector"
    "@sha256:9b28046359054b414f4ba76056ba4e8cffda2d53fbcee06171d7eeecd71326c3"
)


@dataclass(frozen=True, slots=True)
class ServiceSizing:
    """What one environment has."""

    min_tasks: int
    max_tasks: int
    on_demand_base: int
    """Tasks that no shortage of spot capacity takes away."""
    spot_weight: int
    """Percent of the tasks beyond the base that run on FARGATE_SPOT, at 30 to 50 percent of the price."""


SIZES: Mapping[Environment, ServiceSizing] = {
    Environment.DEV: ServiceSizing(
        min_tasks=1,
        max_tasks=2,
        on_demand_base=0,
        spot_weight=100,
    ),
    Environment.STAGING: ServiceSizing(
        min_tasks=1,
        max_tasks=4,
        on_demand_base=1,
        spot_weight=70,
    ),
    Environment.PROD: ServiceSizing(
        min_tasks=2,
        max_tasks=10,
        on_demand_base=2,
        spot_weight=50,
    ),
}


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """The tasks of the service."""

    cpu: int
    memory_mb: int
    min_tasks: int
    max_tasks: int
    on_demand_base: int
    spot_weight: int
    backlog_per_task: int
    image: str | None
    """None: built from workers/Dockerfile."""
    stop_seconds: int
    collector_image: str

    @property
    def sleeps(self) -> bool:
        """No task need run: then somebody else tells what is due (the publisher)."""
        return self.min_tasks == 0


KEYS: tuple[Key, ...] = (
    Key("taskCpu", "integer", 256, "CPU of a task, in 1/1024 of a core.",
        ", ".join(f"{cpu:,}" for cpu in FARGATE_SIZES), one_of(*FARGATE_SIZES)),
    Key("taskMemoryMb", "integer", 512, "Memory of a task.",
        "512 MB to 122,880 MB, as Fargate has it for taskCpu", integer(512, 122_880)),
    Key("minTasks", "integer", -1, "Tasks that always run; -1 for the environment's own, 0 to sleep without work.",
        "0 to 1,000 tasks, or -1 for the environment's own", integer(0, 1_000, special=(-1,))),
    Key("maxTasks", "integer", 0, "Tasks at the highest backlog; 0 for the environment's own.",
        f"1 to 1,000 tasks, or {BY_ENVIRONMENT}", integer(1, 1_000, special=(0,))),
    Key("onDemandBase", "integer", -1, "Tasks that run on FARGATE, whatever spotWeight; -1 for the environment's own.",
        "0 to 1,000 tasks, or -1 for the environment's own", integer(0, 1_000, special=(-1,))),
    Key("spotWeight", "integer", -1, "Percent of the tasks beyond onDemandBase on FARGATE_SPOT; -1 by environment.",
        "0 to 100 percent, or -1 for the environment's own", integer(0, 100, special=(-1,))),
    Key("backlogPerTask", "integer", 2_000, "Due transactions per task that scaling aims at.",
        "1 to 1,000,000 transactions", integer(1, 1_000_000)),
    Key("imageDigest", "string", "", "The workers' image, repository@sha256:...; nothing to build it from workers/.",
        "repository@sha256: and 64 hexadecimal digits, or nothing",
        matching(r"|[a-z0-9][a-z0-9._:/-]*@sha256:[0-9a-f]{64}")),
    Key("stopTimeoutSeconds", "integer", 120, "Time that a task has to end its work before it is killed.",
        "20 to 120 seconds (Fargate's most)", integer(20, 120)),
    Key("collectorImage", "string", COLLECTOR, "Image of the OpenTelemetry collector beside each worker.",
        "image@sha256: and 64 hexadecimal digits", matching(r"[a-z0-9][a-z0-9._:/-]*@sha256:[0-9a-f]{64}")),
)  # fmt: skip


def _read(values: Values, common: Settings) -> tuple[ServiceSettings]:
    sizing = SIZES[common.environment]
    number, text = values.number, values.text

    def own(key: str, environments: int) -> int:
        value = number(key)
        return environments if value < 0 else value

    service = ServiceSettings(
        cpu=number("taskCpu"),
        memory_mb=number("taskMemoryMb"),
        min_tasks=own("minTasks", sizing.min_tasks),
        max_tasks=number("maxTasks") or sizing.max_tasks,
        on_demand_base=own("onDemandBase", sizing.on_demand_base),
        spot_weight=own("spotWeight", sizing.spot_weight),
        backlog_per_task=number("backlogPerTask"),
        image=text("imageDigest") or None,
        stop_seconds=number("stopTimeoutSeconds"),
        collector_image=text("collectorImage"),
    )
    return (service,)


PART = Part(KEYS, SIZES, _read)
