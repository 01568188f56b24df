"""The tables of what is watched: nothing in them waits for what never comes, and everything is worried about."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from alternatives.stacks import CHANNELS
from analysis.graph import ROOT, Record, Recorded
from analysis.watched import CANARY, metrics_of, settings, table
from components.fargate import observability as of_fargate
from components.observability.table import Alarm, Graph, Missing, Page, Search, Signal, Table, TableError
from components.serverless import observability as of_serverless
from components.settings import Environment
from components.worker import METRIC_NAMESPACE
from tests.program.observed import AWS, emitted

SECRET, IS_SECRET = "4dabf18193072939515e22adb298388d", "1b47061264138c4ac30d75fd1eb44270"
"""As Pulumi's engine marks what it has to encrypt in the state."""
ALARM = "aws:cloudwatch/metricAlarm:MetricAlarm"
COMPOSITE = "aws:cloudwatch/compositeAlarm:CompositeAlarm"
BOARD = "aws:cloudwatch/dashboard:Dashboard"
TABLES: dict[str, dict[str, Any]] = {
    "serverless": CANARY,
    "fargate": {"databaseInstances": 2, "databaseInsights": "standard", "minCapacityUnits": "2", **CANARY},
    "fargate-asleep": {"minTasks": 0},
}
"""With every row that there is, between them."""


def each_table() -> Iterator[tuple[str, Table]]:
    for name, changes in TABLES.items():
        yield name, table(name.removesuffix("-asleep"), **changes)


def board_of(recorded: Record) -> list[dict[str, Any]]:
    (board,) = recorded.all(BOARD)
    widgets: list[dict[str, Any]] = json.loads(board.inputs["dashboardBody"])["widgets"]
    return widgets


# -- nothing waits for what never comes


def nobody_emits(table: Table, alternative: str) -> list[str]:
    """The rows whose metric nobody emits, or in another unit."""
    ours = emitted(alternative)
    return [
        f"{metric.namespace} {metric.name} in {metric.unit} ({row.graph})"
        for row in table.rows
        for metric in metrics_of(row)
        if (
            ours.get(metric.name) != metric.unit
            if metric.namespace == METRIC_NAMESPACE
            else AWS.get(metric.namespace, {}).get(metric.name) != metric.unit
        )
    ]


def test_no_row_has_a_metric_that_nobody_emits() -> None:
    for name, one in each_table():
        assert nobody_emits(one, name.removesuffix("-asleep")) == []


@pytest.mark.parametrize("change", [{"name": "OldestPendingAgo"}, {"unit": "Milliseconds"}, {"namespace": "AWS/No"}])
def test_a_metric_that_nobody_emits_is_named(change: dict[str, Any]) -> None:
    good = table("serverless")
    row = good.rows[0]
    wrong = replace(good, rows=(replace(row, metric=replace(metrics_of(row)[0], **change)), *good.rows[1:]))
    (found,) = nobody_emits(wrong, "serverless")
    assert next(iter(change.values())) in found


def test_one_deadlock_in_a_minute_is_enough() -> None:
    """Aurora's figure is an average per second, and CloudWatch's point that of a minute."""
    (row,) = (row for row, alarm in table("fargate").alarms if alarm.name == "deadlocks")
    assert row.alarm is not None
    assert row.alarm.level(Environment.PROD) <= 1 / 60
    wrong = replace(row, metric=replace(metrics_of(row)[0], unit="Count"))
    (found,) = nobody_emits(replace(table("fargate"), graphs=(Graph(row.graph),), rows=(wrong,), pages=()), "fargate")
    assert "Deadlocks in Count" in found


def test_what_workers_emit_is_drawn() -> None:
    """What nobody looks at need not be paid for: each custom metric is 0.30 US$ a month."""
    for alternative in ("serverless", "fargate"):
        drawn = {m.name for row in table(alternative, **TABLES[alternative]).rows for m in metrics_of(row)}
        assert set(emitted(alternative)) - drawn == set()


def test_every_widget_has_data(recorded: Record) -> None:
    """The deployed dashboard, not the table: each line of each graph names a metric that somebody emits."""
    ours = emitted(recorded.alternative)
    for widget in board_of(recorded):
        properties = widget["properties"]
        if widget["type"] == "metric":
            assert properties["metrics"], properties["title"]
            for line in properties["metrics"]:
                if isinstance(line[0], dict):
                    (name,) = re.findall(r'MetricName="(\w+)"', line[0]["expression"])
                    namespace = METRIC_NAMESPACE
                else:
                    namespace, name = line[:2]
                assert name in (ours if namespace == METRIC_NAMESPACE else AWS[namespace]), properties["title"]
        elif widget["type"] == "alarm":
            arns = [alarm.outputs["arn"] for kind in (COMPOSITE, ALARM) for alarm in recorded.all(kind)]
            assert set(properties["alarms"]) == {arn for arn in arns if not arn.endswith("scale-out")}
        else:
            assert "confirm status" in properties["markdown"]


def test_the_dashboard_tiles_without_overlap(recorded: Record) -> None:
    cells = [
        (x, y)
        for widget in board_of(recorded)
        for x in range(widget["x"], widget["x"] + widget["width"])
        for y in range(widget["y"], widget["y"] + widget["height"])
    ]
    assert len(cells) == len(set(cells))
    assert set(cells) == {(x, y) for x in range(24) for y in range(max(y for _, y in cells) + 1)}, "no hole either"
    (board,) = recorded.all(BOARD)
    assert "unknown" not in board.inputs["dashboardBody"].lower()
    assert "Output object" not in board.inputs["dashboardBody"]


def test_thresholds_are_drawn(recorded: Record) -> None:
    limits = {
        limit["label"]: limit["value"]
        for widget in board_of(recorded)
        for limit in widget["properties"].get("annotations", {}).get("horizontal", ())
    }
    assert limits["oldest-pending"] == recorded.one(ALARM, "oldest-pending").inputs["threshold"]
    assert len(limits) >= 10


# -- each row leads somewhere


def without_runbook(recorded: Record) -> list[str]:
    missing = []
    for alarm in (*recorded.all(COMPOSITE), *recorded.all(ALARM)):
        if alarm.name != "scale-out":
            found = re.search(r"Runbook: (docs/runbooks/[a-z-]+\.md)$", alarm.inputs["alarmDescription"])
            if found is None or not (ROOT / found[1]).is_file():
                missing.append(alarm.name)
    return missing


def test_every_alarm_has_its_runbook(recorded: Record) -> None:
    assert without_runbook(recorded) == []


def test_an_alarm_without_a_runbook_is_named(records: dict[str, Record]) -> None:
    alarm = records["dev"].one(ALARM, "silence")
    text = alarm.inputs["alarmDescription"]
    try:
        alarm.inputs["alarmDescription"] = text.replace("work-stands-still", "nobody-wrote-it")
        assert without_runbook(records["dev"]) == ["silence"]
    finally:
        alarm.inputs["alarmDescription"] = text


def test_every_runbook_is_of_an_alarm(records: dict[str, Record]) -> None:
    texts = [a.inputs["alarmDescription"] for r in records.values() for k in (COMPOSITE, ALARM) for a in r.all(k)]
    named = {path for text in texts for path in re.findall(r"docs/runbooks/([a-z-]+)\.md", text)}
    assert {path.stem for path in (ROOT / "docs/runbooks").glob("*.md")} == named


LATE = Alarm("late", 1, 60, "It is late.", "late")


def a_table(**changes: Any) -> Table:
    backlog = metrics_of(table("serverless").rows[0])[0]
    good: dict[str, Any] = {
        "graphs": (Graph("Backlog"),),
        "rows": (Signal(backlog, "Backlog", LATE),),
        "pages": (Page("all-late", ("late",), "Everything is late."),),
    }
    return Table(**good | changes)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (lambda t: {"graphs": ()}, "row late: there is no graph 'Backlog'"),
        (lambda t: {"graphs": (*t.graphs, Graph("Empty"))}, "graph 'Empty': has no data, for no row is placed there"),
        (lambda t: {"rows": (*t.rows, t.rows[0])}, "alarm late: the name is taken twice"),
        (lambda t: {"rows": (replace(t.rows[0], alarm=None),)}, "page all-late: there is no alarm late"),
        (
            lambda t: {"rows": (replace(t.rows[0], alarm=replace(LATE, runbook="")),)},
            "alarm late: has no runbook",
        ),
        (
            lambda t: {"rows": (replace(t.rows[0], metric=Search(t.rows[0].metric, "Kind")),)},
            "alarm late: CloudWatch takes no alarm on a search",
        ),
        (lambda t: {"pages": (replace(t.pages[0], any_of=()),)}, "page all-late: has no alarm, so it never fires"),
        (lambda t: {"pages": (replace(t.pages[0], unless="nobody"),)}, "page all-late: there is no page nobody"),
        (
            lambda t: {"pages": (replace(t.pages[0], unless="all-late"),)},
            "page all-late: waits for itself, so it never fires",
        ),
    ],
)
def test_a_table_that_contradicts_itself_is_refused_by_name(changes: Any, says: str) -> None:
    with pytest.raises(TableError, match=re.escape(says)):
        a_table(**changes(a_table()))


# -- who is told


def rule_of(recorded: Record, name: str) -> str:
    prefix = f"{recorded.outputs['dashboardName']}-"
    return str(recorded.one(COMPOSITE, name).inputs["alarmRule"]).replace(prefix, "")


def test_pages_are_made_of_alarms_that_there_are(recorded: Record) -> None:
    there = {alarm.inputs["name"]: alarm.urn for alarm in recorded.all(ALARM)}
    for page in recorded.all(COMPOSITE):
        names = re.findall(r'ALARM\("([^"]+)"\)', page.inputs["alarmRule"])
        assert names
        assert set(names) <= set(there)
        assert {there[name] for name in names} <= set(page.dependencies), "made before what it names"
        left = re.sub(r'ALARM\("[^"]+"\)|AND|OR|NOT|[() ]', "", page.inputs["alarmRule"])
        assert left == ""


def test_what_risks_the_promise_pages(records: dict[str, Record]) -> None:
    assert rule_of(records["prod"], "work-stands-still") == " OR ".join(
        f'ALARM("{name}")' for name in ("silence", "no-report", "dead-letters", "run-failed", "run-timed-out")
    )
    assert rule_of(records["fargate-prod"], "work-stands-still") == 'ALARM("silence")'
    assert rule_of(records["fargate-asleep"], "work-stands-still") == " OR ".join(
        f'ALARM("{name}")' for name in ("silence", "publisher-failed", "dead-letters")
    )
    for name in ("prod", "fargate-prod"):
        late = rule_of(records[name], "transactions-late")
        assert late == '(ALARM("oldest-pending")) AND NOT (ALARM("breaker-open"))'
        assert rule_of(records[name], "gateway-down") == 'ALARM("breaker-open")'
        assert rule_of(records[name], "desk-overdue") == 'ALARM("review-overdue")'
    assert rule_of(records["fargate-prod"], "database-in-danger") == 'ALARM("transaction-ids")'
    for name in ("staging", "fargate-staging"):
        nothing = rule_of(records[name], "nothing-comes-through")
        assert nothing == '(ALARM("canary")) AND NOT (ALARM("breaker-open"))'
    assert {page.name for page in records["prod"].all(COMPOSITE)} == {
        *("work-stands-still", "transactions-late", "desk-overdue", "gateway-down")
    }


def test_mail_goes_out_where_settings_have_an_address(records: dict[str, Record]) -> None:
    mails = records["prod"].all("aws:sns/topicSubscription:TopicSubscription")
    assert {mail.name for mail in mails} == {"alarms", "notices"}
    assert {(mail.inputs["protocol"], mail.inputs["endpoint"]) for mail in mails} == {("email", "on-call@example.com")}
    assert not records["dev"].some("aws:sns/topicSubscription:TopicSubscription")


def test_slack_and_pager_duty_hear_where_settings_name_them(records: dict[str, Record]) -> None:
    for name in ("extremes", "fargate-extremes"):
        made = records[name]
        pages, notices = (made.one("aws:sns/topic:Topic", topic).outputs["arn"] for topic in ("alarms", "notices"))
        slack = made.one("aws:chatbot/slackChannelConfiguration:SlackChannelConfiguration", "slack").inputs
        assert slack["snsTopicArns"] == [pages, notices]
        assert (slack["slackTeamId"], slack["slackChannelId"]) == ("T07EA123LEP", "C07EZ1ABC23")
        assert slack["guardrailPolicyArns"] == ["arn:aws:iam::aws:policy/CloudWatchReadOnlyAccess"]
        pager = made.one("aws:sns/topicSubscription:TopicSubscription", "pager-duty").inputs
        assert (pager["topic"], pager["protocol"]) == (pages, "https"), "pages alone: they get somebody up"
        assert pager["endpoint"] == {SECRET: IS_SECRET, "value": CHANNELS["pagerDutyIntegrationUrl"]}
    assert not records["prod"].some("aws:chatbot/slackChannelConfiguration:SlackChannelConfiguration")
    assert "pager-duty" not in {one.name for one in records["prod"].all("aws:sns/topicSubscription:TopicSubscription")}


def test_the_key_of_pager_duty_is_shown_nowhere() -> None:
    shown = settings("serverless", **CHANNELS)
    assert CHANNELS["pagerDutyIntegrationUrl"] not in repr(shown)


# -- each worry has its alarm


def seen(alarm: Recorded) -> tuple[object, ...]:
    inputs = alarm.inputs
    metric = f"{inputs.get('namespace')} {inputs.get('metricName')}"
    if queries := inputs.get("metricQueries") or []:
        metric = " ".join(sorted({q["metric"]["metricName"] for q in queries if "metric" in q}))
    sign = "<" if inputs["comparisonOperator"] == "LessThanThreshold" else ">="
    minutes = inputs.get("period") or next(q["metric"]["period"] for q in queries if "metric" in q)
    missing = {"breaching": " or nothing", "notBreaching": ""}[inputs["treatMissingData"]]
    what = f"{inputs.get('statistic') or inputs.get('extendedStatistic') or 'math'} {sign} {inputs['threshold']:g}"
    return metric, f"{what}{missing}", f"{inputs['evaluationPeriods']:g} x {minutes / 60:g} min"


COMMON = {
    "oldest-pending": ("ConfirmTransactions OldestPendingAge", "Maximum >= 900", "5 x 1 min"),
    "slow-to-final": ("ConfirmTransactions TimeToFinal", "p90 >= 900", "1 x 15 min"),
    "in-review": ("ConfirmTransactions InReview", "Maximum >= 1", "1 x 5 min"),
    "review-overdue": ("ConfirmTransactions OldestReviewAge", "Maximum >= 86400", "1 x 5 min"),
    "paused": ("ConfirmTransactions PausedSeconds", "Maximum >= 3600", "1 x 5 min"),
    "lost-fences": ("ConfirmTransactions LostFences", "Sum >= 100", "1 x 15 min"),
    "gateway-slow": ("ConfirmTransactions GatewayMs", "p90 >= 8000", "3 x 5 min"),
    "gateway-errors": ("ConfirmTransactions GatewayErrors", "Sum >= 50", "3 x 5 min"),
    "breaker-open": ("ConfirmTransactions BreakerOpen", "Maximum >= 1", "5 x 1 min"),
}
WORRIES = {
    "prod": {
        **COMMON,
        "silence": ("AWS/States ExecutionsStarted", "Sum < 1 or nothing", "1 x 5 min"),
        "no-report": ("ConfirmTransactions Backlog", "SampleCount < 1 or nothing", "1 x 5 min"),
        "batches-failed": ("ConfirmTransactions BatchesFailed", "Sum >= 1", "1 x 5 min"),
        "run-failed": ("AWS/States ExecutionsFailed", "Sum >= 1", "1 x 5 min"),
        "run-timed-out": ("AWS/States ExecutionsTimedOut", "Sum >= 1", "1 x 5 min"),
        "run-aborted": ("AWS/States ExecutionsAborted", "Sum >= 1", "1 x 5 min"),
        "runs-throttled": ("AWS/States ExecutionThrottled", "Sum >= 1", "1 x 5 min"),
        "run-slow": ("AWS/States ExecutionTime", "Maximum >= 900000", "1 x 15 min"),
        "starts-dropped": ("AWS/Scheduler InvocationDroppedCount", "Sum >= 1", "1 x 5 min"),
        "dead-letters": ("AWS/SQS ApproximateNumberOfMessagesVisible", "Maximum >= 1", "1 x 1 min"),
        "function-errors": ("Errors", "math >= 1", "1 x 5 min"),
        "function-slow": ("AWS/Lambda Duration", "Maximum >= 108000", "1 x 5 min"),
        "functions-throttled": ("AWS/Lambda Throttles", "Sum >= 1", "1 x 5 min"),
        "table-throttled": ("ReadThrottleEvents WriteThrottleEvents", "math >= 10", "1 x 5 min"),
        "table-errors": ("SystemErrors", "math >= 5", "1 x 5 min"),
    },
    "fargate-prod": {
        **COMMON,
        "silence": ("ConfirmTransactions Backlog", "SampleCount < 1 or nothing", "1 x 5 min"),
        "database-lost": ("ConfirmTransactions DatabaseLosses", "Sum >= 10", "1 x 5 min"),
        "tasks-missing": ("DesiredTaskCount RunningTaskCount", "math >= 1", "15 x 1 min"),
        "task-cpu": ("AWS/ECS CPUUtilization", "Maximum >= 95", "6 x 5 min"),
        "task-memory": ("AWS/ECS MemoryUtilization", "Maximum >= 85", "3 x 5 min"),
        "deployment-failed": ("AWS/Events TriggeredRules", "Sum >= 1", "1 x 5 min"),
        "database-at-its-limit": ("AWS/RDS ACUUtilization", "Average >= 90", "3 x 5 min"),
        "connections": ("AWS/RDS DatabaseConnections", "Maximum >= 92", "3 x 5 min"),
        "deadlocks": ("AWS/RDS Deadlocks", "Maximum >= 0.001", "1 x 5 min"),
        "transaction-ids": ("AWS/RDS MaximumUsedTransactionIDs", "Maximum >= 1e+09", "1 x 60 min"),
        "replica-lag": ("AWS/RDS AuroraReplicaLag", "Maximum >= 2000", "5 x 1 min"),
        "database-load": ("DBLoad", "math >= 8", "3 x 5 min"),
        "scale-out": ("ConfirmTransactions OldestPendingAge", "Maximum >= 180", "1 x 1 min"),
    },
}


@pytest.mark.parametrize("stack", WORRIES)
def test_each_worry_has_its_alarm(stack: str, records: dict[str, Record]) -> None:
    assert {alarm.name: seen(alarm) for alarm in records[stack].all(ALARM)} == WORRIES[stack]
    assert records["prod"].one(ALARM, "oldest-pending").inputs["dimensions"] == {
        "Stack": "serverless",
        "Alternative": "serverless",
        "Environment": "prod",
    }


def test_a_stack_that_may_sleep_watches_the_one_who_looks(records: dict[str, Record]) -> None:
    names = {stack: {alarm.name for alarm in records[stack].all(ALARM)} for stack in ("fargate-dev", "fargate-asleep")}
    assert names["fargate-asleep"] - names["fargate-dev"] == {"publisher-failed", "dead-letters", "starts-dropped"}


def test_a_canary_that_is_late_or_silent_raises_its_alarm(records: dict[str, Record]) -> None:
    for stack in ("staging", "fargate-staging"):
        alarm = ("ConfirmTransactions CanaryConfirmed", "Maximum < 1 or nothing", "1 x 15 min")
        assert seen(records[stack].one(ALARM, "canary")) == alarm
    assert not [alarm for alarm in records["prod"].all(ALARM) if alarm.name == "canary"]


def test_prod_is_never_warned_later() -> None:
    """The same settings, another environment: a threshold that is reached sooner or at the same value."""
    for alternative in ("serverless", "fargate"):
        for _, alarm in table(alternative, **TABLES[alternative]).alarms:
            dev, staging, prod = (alarm.level(environment) for environment in Environment)
            assert (dev <= staging <= prod) if alarm.below else (dev >= staging >= prod), alarm.name


def test_missing_tasks_are_those_wanted_and_not_running(fargate: Record) -> None:
    queries = {q["id"]: q for q in fargate.one(ALARM, "tasks-missing").inputs["metricQueries"]}
    assert queries["result"]["expression"] == "FILL(wanted, 0) - FILL(running, 0)"
    assert [name for name, query in queries.items() if query.get("returnData")] == ["result"]
    assert queries["wanted"]["metric"]["metricName"] == "DesiredTaskCount"
    assert queries["running"]["metric"]["metricName"] == "RunningTaskCount"


# -- silence


def test_silence_follows_the_schedule() -> None:
    def silence(**changes: object) -> Alarm | None:
        watched = table("serverless", oldestPendingAlarmSeconds=604_800, **changes)
        return next((alarm for _, alarm in watched.alarms if alarm.name == "silence"), None)

    for schedule, seconds in (("rate(1 minute)", 300), ("rate(5 minutes)", 900), ("cron(0 * * * ? *)", 86_400)):
        alarm = silence(schedule=schedule)
        assert alarm is not None
        assert (alarm.period, alarm.below, alarm.missing) == (seconds, True, Missing.ALARMING)
    assert silence(schedule="rate(1 day)") is None  # CloudWatch cannot look back that far
    assert of_serverless.silence_seconds(settings("serverless", schedule="rate(2 minutes)")) == 360


def test_silence_outlasts_three_reports() -> None:
    assert [of_fargate.silence_seconds(seconds) for seconds in (15, 60, 900, 901)] == [300, 300, 2_700, 2_760]
    silence = next(alarm for _, alarm in table("fargate").alarms if alarm.name == "silence")
    assert (silence.below, silence.missing, silence.period) == (True, Missing.ALARMING, 300)


def test_deployments_are_rolled_back_by_an_alarm_that_there_is() -> None:
    assert set(of_fargate.DEPLOYMENT_ALARMS) <= {alarm.name for _, alarm in table("fargate").alarms}


def test_what_is_throttled_says_why() -> None:
    """Contributor Insights' rules can't be named beforehand: these say that it is worth a look, of table and index."""
    (throttled,) = (row for row in table("serverless").rows if row.alarm and row.alarm.name == "table-throttled")
    drawn = [m for row in table("serverless").rows if row.graph == throttled.graph for m in metrics_of(row)]
    hot = [set(m.dimensions) for m in drawn if m.name == "WriteKeyRangeThroughputThrottleEvents"]
    assert hot == [{"TableName"}, {"TableName", "GlobalSecondaryIndexName"}]
    assert "WriteAccountLimitThrottleEvents" in {metric.name for metric in drawn}


@pytest.mark.parametrize(
    ("title", "names"),
    [
        (of_serverless.UNITS, ("ConsumedReadCapacityUnits", "ConsumedWriteCapacityUnits")),
        (of_serverless.THROTTLES, ("ReadThrottleEvents", "WriteThrottleEvents")),
    ],
)
def test_the_index_is_drawn_beside_its_table(title: str, names: tuple[str, ...]) -> None:
    """An index has figures of its own, which DynamoDB does not add to the table's."""
    drawn = [metric for row in table("serverless").rows if row.graph == title for metric in metrics_of(row)]
    for name in names:
        found = [metric for metric in drawn if metric.name == name]
        assert sorted(len(metric.dimensions) for metric in found) == [1, 2]
        assert len({metric.label for metric in found}) == 2, "and one knows which is which"
