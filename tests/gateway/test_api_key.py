"""The gateway's API key: found when it comes, followed through its rotation, never shown."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from tests.conftest import AwsAccount
from tests.fakes import START
from workers.gateway.api_key import KEPT, MISSED, ApiKey
from workers.telemetry import Telemetry

TELEMETRY = Telemetry("ConfirmTransactions", "serverless", "serverless", "dev")


def test_the_key_is_found_when_it_comes_and_changes_without_a_deployment(
    aws: AwsAccount, capsys: pytest.CaptureFixture[str]
) -> None:
    client = aws.client("secretsmanager")
    arn = client.create_secret(Name="gateway-key")["ARN"]
    key = ApiKey(client, arn, TELEMETRY)
    assert key.current(START) == ""
    assert json.loads(capsys.readouterr().out)["event"] == "gateway key missing"
    client.put_secret_value(SecretId=arn, SecretString="first")
    assert key.current(START + MISSED) == "first"
    client.put_secret_value(SecretId=arn, SecretString="second")
    later = START + MISSED + KEPT
    assert key.current(later - timedelta(seconds=1)) == "first"
    assert key.current(later) == "second"
    assert capsys.readouterr().out == ""
    assert "second" not in repr(key)


def test_a_gateway_that_wants_no_key_is_asked_for_none() -> None:
    assert ApiKey(None, "", TELEMETRY).current(START) == ""
