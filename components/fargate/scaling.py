"""How many tasks run: by the backlog per task, and faster by the age of the oldest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from components.account import Account
from components.fargate.observability import Metrics
from components.fargate.settings import ServiceSettings
from components.observability.table import MINUTE, Metric
from components.settings import Settings

DIMENSION = "ecs:service:DesiredCount"
OUT_COOLDOWN = 60  # seconds: a task starts within one, and its effect shows in the next
IN_COOLDOWN = 300  # seconds: a lull is not the end


@dataclass(frozen=True, slots=True)
class ScalingArgs:
    settings: Settings
    account: Account
    metrics: Metrics
    service: aws.ecs.Service


class Scaling(pulumi.ComponentResource):
    """The service's autoscaling.

    Creates: the scalable target, target tracking on the backlog per task, step scaling on the age of the oldest due
    transaction with its alarm.
    """

    target: aws.appautoscaling.Target

    def __init__(self, name: str, args: ScalingArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("confirm-transactions:scaling:Scaling", name, {}, opts)
        self._args = args
        service, sources = args.settings.part(ServiceSettings), args.metrics.sources
        self.target = aws.appautoscaling.Target(
            "worker",
            service_namespace="ecs",
            scalable_dimension=DIMENSION,
            resource_id=pulumi.Output.concat("service/", sources.cluster, "/", args.service.name),
            min_capacity=service.min_tasks,
            max_capacity=service.max_tasks,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self._backlog_per_task()
        self._oldest_due()
        self.register_outputs({"resourceId": self.target.resource_id})

    def _backlog_per_task(self) -> None:
        metrics, service = self._args.metrics, self._args.settings.part(ServiceSettings)
        terms: list[Any] = [
            _term("backlog", metrics.ours("Backlog", "Maximum")),
            _term("running", metrics.tasks("RunningTaskCount")),
            {
                "id": "per_task",
                "label": "Due transactions per task",
                "expression": per_task(service.min_tasks, service.backlog_per_task),
                "return_data": True,
            },
        ]
        aws.appautoscaling.Policy(
            "backlog-per-task",
            policy_type="TargetTrackingScaling",
            service_namespace="ecs",
            scalable_dimension=DIMENSION,
            resource_id=self.target.resource_id,
            target_tracking_scaling_policy_configuration={
                "target_value": service.backlog_per_task,
                "scale_out_cooldown": OUT_COOLDOWN,
                "scale_in_cooldown": IN_COOLDOWN,
                "customized_metric_specification": {"metrics": terms},
            },
            opts=pulumi.ResourceOptions(parent=self.target),
        )

    def _oldest_due(self) -> None:
        """A few transactions that nobody gets to are a small backlog and a broken promise all the same."""
        settings, account = self._args.settings, self._args.account
        policy = aws.appautoscaling.Policy(
            "oldest-due",
            policy_type="StepScaling",
            service_namespace="ecs",
            scalable_dimension=DIMENSION,
            resource_id=self.target.resource_id,
            step_scaling_policy_configuration={
                "adjustment_type": "PercentChangeInCapacity",
                "min_adjustment_magnitude": 1,  # of none, too: the first task
                "cooldown": OUT_COOLDOWN,
                "metric_aggregation_type": "Maximum",
                "step_adjustments": [
                    # seconds over the alarm's threshold: half as many more, then twice as many
                    {
                        "metric_interval_lower_bound": "0",
                        "metric_interval_upper_bound": str(scale_out_seconds(settings)),
                        "scaling_adjustment": 50,
                    },
                    {"metric_interval_lower_bound": str(scale_out_seconds(settings)), "scaling_adjustment": 100},
                ],
            },
            opts=pulumi.ResourceOptions(parent=self.target),
        )
        age = self._args.metrics.ours("OldestPendingAge", "Maximum", "Seconds")
        aws.cloudwatch.MetricAlarm(
            "scale-out",
            name=f"{account.prefix}-scale-out",
            alarm_description="[scaling] Starts more tasks while the oldest due transaction waits for too long; nobody "
            "needs to do anything.",
            namespace=age.namespace,
            metric_name=age.name,
            dimensions=age.dimensions,
            statistic=age.statistic,
            period=MINUTE,
            evaluation_periods=1,
            threshold=scale_out_seconds(settings),
            comparison_operator="GreaterThanOrEqualToThreshold",
            treat_missing_data="notBreaching",
            alarm_actions=[policy.arn],
            opts=pulumi.ResourceOptions(parent=policy),
        )


def _term(name: str, metric: Metric) -> dict[str, Any]:
    return {
        "id": name,
        "return_data": False,
        "metric_stat": {
            "stat": metric.statistic,
            "metric": {
                "namespace": metric.namespace,
                "metric_name": metric.name,
                "dimensions": [{"name": key, "value": value} for key, value in metric.dimensions.items()],
            },
        },
    }


def per_task(min_tasks: int, target: int) -> str:
    """Due transactions per task, as metric math of `backlog` and `running`.

    No task counts as one, or nothing would ever start the first. Where none need run, something due is worth the target
    to the last one, which neither adds nor takes: or a night of zeros would put a service that was just woken to sleep
    in its first minute with nothing due. So it is a quarter of an hour, as after any lull.
    """
    running = "FILL(running, 0)"
    shared = f"backlog / IF({running} < 1, 1, {running})"
    if min_tasks:
        return shared
    return f"IF({running} < 2 AND backlog > 0 AND backlog < {target}, {target}, {shared})"


def scale_out_seconds(settings: Settings) -> int:
    """The age that starts more tasks: a fifth of what raises the alarm, at least a minute; a minute from zero."""
    if settings.part(ServiceSettings).min_tasks == 0:
        return MINUTE
    return max(MINUTE, settings.alarms.oldest_pending_seconds // 5)
