"""A stack whose datastore begins as a copy (docs/restore.md): what AWS is asked for, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from analysis.graph import record
from components.aurora.datastore import RESTORED_BY as OF_CLUSTER
from components.serverless.datastore import RESTORED_BY as OF_TABLE
from components.settings import SettingsError

TABLE, CLUSTER = "aws:dynamodb/table:Table", "aws:rds/cluster:Cluster"
TYPE = {"serverless": TABLE, "fargate": CLUSTER}
BY = {"serverless": OF_TABLE, "fargate": OF_CLUSTER}
BACKUP = "arn:aws:dynamodb:eu-west-1:210987654321:table/transactions-1/backup/01-abc"
SNAPSHOT = "arn:aws:rds:eu-west-1:210987654321:cluster-snapshot:confirm-final-1"
GONE = "cluster-FT2Y56NA7X7JDBKX7GNV5WX3FX"
AT = "2026-11-24T09:30:00Z"


@pytest.mark.parametrize(
    ("alternative", "config", "wanted"),
    [
        (
            "serverless",
            {"restoreFrom": "transactions-1"},
            {"restoreSourceName": "transactions-1", "restoreToLatestTime": True},
        ),
        (
            "serverless",
            {"restoreFrom": "transactions-1", "restoreTime": AT},
            {"restoreSourceName": "transactions-1", "restoreDateTime": AT},
        ),
        ("serverless", {"restoreFrom": BACKUP}, {"restoreBackupArn": BACKUP}),
        (
            "fargate",
            {"restoreFrom": "confirm-prod"},
            {
                "restoreToPointInTime": {
                    "sourceClusterIdentifier": "confirm-prod",
                    "useLatestRestorableTime": True,
                }
            },
        ),
        (
            "fargate",
            {"restoreFrom": GONE, "restoreTime": AT},
            {"restoreToPointInTime": {"sourceClusterResourceId": GONE, "restoreToTime": AT}},
        ),
        ("fargate", {"restoreFrom": SNAPSHOT}, {"snapshotIdentifier": SNAPSHOT}),
    ],
)
def test_a_datastore_begins_as_a_copy(alternative: str, config: dict[str, str], wanted: dict[str, Any]) -> None:
    (datastore,) = record(alternative, mode="shadow", **config).all(TYPE[alternative])
    found = {name: value for name, value in datastore.inputs.items() if name in BY[alternative] and value is not None}
    assert found == wanted


@pytest.mark.parametrize("alternative", TYPE)
def test_taking_the_key_out_again_changes_nothing(alternative: str) -> None:
    (datastore,) = record(alternative).all(TYPE[alternative])
    assert set(BY[alternative]) <= set(datastore.ignore_changes)
    assert not set(BY[alternative]) & set(datastore.inputs)


@pytest.mark.parametrize(
    ("config", "key", "says"),
    [
        ({"restoreFrom": "transactions-1"}, "mode", "first everything is asked"),
        ({"restoreTime": AT, "mode": "confirm"}, "restoreTime", "without restoreFrom, in mode confirm"),
        ({"restoreFrom": BACKUP, "restoreTime": AT, "mode": "shadow"}, "restoreTime", "a backup is of one moment"),
    ],
)
def test_what_makes_no_sense_is_refused_and_the_mend_mends(config: dict[str, str], key: str, says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        record("serverless", **config)
    (problem,) = caught.value.problems
    assert problem.key == key
    assert says in f"{problem.found} {problem.allowed}"
    assert record("serverless", **(config | {key: str(problem.mend)}))
