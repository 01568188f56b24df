"""The way of the command `confirm` to the transactions of a serverless stack."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cli.aws import Table
from cli.desk import DeskOf


def _way(outputs: Mapping[str, Any], environment: Mapping[str, str]) -> Table:  # noqa: ARG001 - AWS reads its own
    return Table(
        name=str(outputs["tableName"]),
        index=str(outputs["pendingIndexName"]),
        shards=int(outputs["pendingShards"]),
        state_machine=outputs.get("stateMachineArn"),
    )


DESK = DeskOf(("tableName", "pendingIndexName", "pendingShards"), _way)
