"""The worker's own role: taken by a word, renewed long before its end, kept while STS is away."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from workers.config import RoleConfig
from workers.service.identity import LASTS, RENEWED, TRIED_AGAIN, Identity

START = datetime(2026, 1, 5, 9, tzinfo=UTC)
ROLE = RoleConfig("arn:aws:iam::123456789012:role/worker-1", "a-word")


class Sts:
    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.away: Exception | None = None

    def assume_role(self, **asked: Any) -> dict[str, Any]:
        self.asked.append(asked)
        if self.away:
            raise self.away
        number = len(self.asked)
        return {"Credentials": {"AccessKeyId": f"k{number}", "SecretAccessKey": "s", "SessionToken": f"t{number}"}}


@pytest.fixture
def sts() -> Sts:
    return Sts()


@pytest.fixture
def identity(sts: Sts) -> Identity:
    return Identity(ROLE, sts, "worker-7")


def key(identity: Identity) -> str:
    credentials = identity.session().get_credentials()
    frozen = credentials.get_frozen_credentials()
    assert (frozen.access_key, frozen.token) == (credentials.access_key, credentials.token)
    return str(frozen.access_key)


def test_the_role_is_taken_with_the_word_and_again_long_before_it_ends(identity: Identity, sts: Sts) -> None:
    identity.renew(START)
    assert sts.asked == [
        {"RoleArn": ROLE.arn, "RoleSessionName": "worker-7", "ExternalId": "a-word", "DurationSeconds": 3600}
    ]
    assert key(identity) == "k1"
    identity.renew(START + RENEWED - timedelta(seconds=1))
    assert len(sts.asked) == 1
    identity.renew(START + RENEWED)
    assert key(identity) == "k2"
    assert LASTS >= 4 * RENEWED


def test_clients_that_are_there_sign_with_the_new_ones(identity: Identity) -> None:
    client = identity.session().client("rds", region_name="us-east-1")
    identity.renew(START)
    token = client.generate_db_auth_token(DBHostname="db", Port=5433, DBUsername="confirm_service")
    assert "k1%2F" in token
    identity.renew(START + RENEWED)
    assert "k2%2F" in client.generate_db_auth_token(DBHostname="db", Port=5433, DBUsername="confirm_service")


def test_while_sts_is_away_the_old_ones_serve_and_it_is_tried_again(identity: Identity, sts: Sts) -> None:
    identity.renew(START)
    sts.away = EndpointConnectionError(endpoint_url="https://sts")
    for minutes in range(15, 55):
        with pytest.raises(EndpointConnectionError):  # which the service tells of, once (`Service._aside`)
            identity.renew(START + timedelta(minutes=minutes))
        identity.renew(START + timedelta(minutes=minutes) + TRIED_AGAIN / 2)
    assert key(identity) == "k1"
    assert len(sts.asked) == 41
    sts.away = None
    identity.renew(START + timedelta(minutes=55))
    assert key(identity) == "k42"


def test_who_never_was_the_worker_does_not_begin(identity: Identity, sts: Sts) -> None:
    sts.away = ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "AssumeRole")
    with pytest.raises(ClientError, match="AccessDenied"):
        identity.renew(START)


def test_neither_the_word_nor_the_credentials_are_shown(identity: Identity) -> None:
    identity.renew(START)
    assert "a-word" not in repr(identity)
    assert "k1" not in repr(identity)
