"""The program, recorded once per stack config for all tests of this area."""

from __future__ import annotations

from functools import cache

import pytest

from alternatives import ALTERNATIVES
from analysis.graph import Record, record

SERVERLESS, FARGATE = (ALTERNATIVES[name].stacks().tested for name in ("serverless", "fargate"))
ALTERNATIVE_OF = {stack: name for name, one in ALTERNATIVES.items() for stack in one.stacks().tested}
STACKS = {stack: config for one in ALTERNATIVES.values() for stack, config in one.stacks().tested.items()}


@pytest.fixture(scope="session")
def records() -> dict[str, Record]:
    return recorded_stacks()


@cache
def recorded_stacks() -> dict[str, Record]:
    """Once in each process: other folders of tests import the fixture, which is then one of their own."""
    return {name: record(ALTERNATIVE_OF[name], **changes) for name, changes in STACKS.items()}


@pytest.fixture(params=STACKS)
def recorded(records: dict[str, Record], request: pytest.FixtureRequest) -> Record:
    """Each of the recorded stacks in turn."""
    return records[request.param]


@pytest.fixture(params=SERVERLESS)
def serverless(records: dict[str, Record], request: pytest.FixtureRequest) -> Record:
    """Each of the serverless alternative's."""
    return records[request.param]


@pytest.fixture(params=FARGATE)
def fargate(records: dict[str, Record], request: pytest.FixtureRequest) -> Record:
    """Each of the fargate alternative's."""
    return records[request.param]
