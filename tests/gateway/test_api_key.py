"""The gateway's API key: found when it comes, followed through its rotation, never shown."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from tests.conftest import AwsAccount
from tests.fakes import START
from workers.gateway.api_key import AGAIN, KEPT, MISSED, ApiKey, KeyUnreadable
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
    assert json.loads(capsys.readouterr().out)["event"] == "gateway key read"
    assert "second" not in repr(key)


def test_a_gateway_that_wants_no_key_is_asked_for_none() -> None:
    assert ApiKey(None, "", TELEMETRY).current(START) == ""


class Secrets:
    """Secrets Manager, as a test has it answer: a text, or the error that it raises."""

    class exceptions:  # noqa: N801 - boto3's name
        class ResourceNotFoundException(Exception):  # noqa: N818
            ...

    def __init__(self, *answers: str | Exception) -> None:
        self.answers = list(answers)
        self.asked = 0

    def get_secret_value(self, **_: str) -> dict[str, str]:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return {"SecretString": answer}


ARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:key"
AWAY = EndpointConnectionError(endpoint_url="https://secretsmanager.us-east-1.amazonaws.com")
FORBIDDEN = ClientError({"Error": {"Code": "AccessDeniedException"}}, "GetSecretValue")


def events(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("trouble", [AWAY, FORBIDDEN, NoCredentialsError(), OSError("no network"), KeyError("odd")])
def test_a_key_that_cannot_be_read_anew_stays_in_use_and_that_is_said_once(
    trouble: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    secrets = Secrets("first", trouble, trouble, trouble, "second")
    key = ApiKey(secrets, ARN, TELEMETRY)
    now = START
    assert key.current(now) == "first"
    now += KEPT
    for _ in range(3):
        assert key.current(now) == "first"
        now += AGAIN
    assert events(capsys) == ["gateway key unreadable"]
    assert key.current(now) == "second"
    assert events(capsys) == ["gateway key read"]
    assert secrets.asked == 5


@pytest.mark.parametrize(
    ("found", "event"),
    [
        ("", "gateway key missing"),
        ("   \n", "gateway key missing"),
        (Secrets.exceptions.ResourceNotFoundException(), "gateway key missing"),
        ("two\nlines", "gateway key unusable"),
        ("clé", "gateway key unusable"),
        ("nul\x00", "gateway key unusable"),
    ],
)
def test_a_valid_key_is_not_thrown_away_for_one_that_is_none(
    found: str | Exception, event: str, capsys: pytest.CaptureFixture[str]
) -> None:
    key = ApiKey(Secrets("first", found), ARN, TELEMETRY)
    assert key.current(START) == "first"
    for n in range(4):
        assert key.current(START + KEPT + n * AGAIN) == "first"
    told = capsys.readouterr().out
    assert [json.loads(line)["event"] for line in told.splitlines()] == [event]
    assert "lines" not in told


def test_a_first_key_that_cannot_be_read_is_an_error_each_time(capsys: pytest.CaptureFixture[str]) -> None:
    key = ApiKey(Secrets(AWAY, FORBIDDEN, "first"), ARN, TELEMETRY)
    for said in ("could not be read from arn:aws", "AccessDenied"):
        with pytest.raises(KeyUnreadable, match=said):
            key.current(START)
    assert key.current(START) == "first"
    assert events(capsys) == []
