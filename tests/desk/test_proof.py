"""Who calls is what STS says of a signature for this very order; nothing else is believed, or sent elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.httpsession import URLLib3Session

from cli import orders
from tests.desk.people import ACCOUNT, ENDPOINT, REGION, SSO, STACK, FakeSts, Identity, proof, session, user
from tests.fakes import FakeClock
from workers.desk import handlers
from workers.desk.proof import BODY, MOST_ANSWER, People, Signature, StsReply, Unproven, order_digest, prove
from workers.domain.desk import Role

ANA = session(SSO[0], "ana@example.com")
PAYLOAD = {"id": "0" * 32}


@dataclass
class Place:
    clock: FakeClock = field(default_factory=FakeClock)
    vouched: tuple[str, ...] = ()
    sts: FakeSts = field(init=False)

    def __post_init__(self) -> None:
        self.sts = FakeSts(self.clock)
        self.sts.knows(ANA)

    def person(self, given: Any, role: Role = Role.MAKER, payload: Mapping[str, Any] = PAYLOAD) -> str:
        """Who comes to the function of that role with an order to ask."""
        digest = order_digest(STACK, REGION, role, "ask", payload)
        people = People(ACCOUNT, self.vouched, lambda name: name in SSO)
        return prove(Signature.of(given), digest, REGION, self.clock.now(), self.sts, people)

    def signed(self, who: Identity = ANA, **changes: Any) -> dict[str, str | None]:
        self.sts.knows(who)
        return proof(who, "ask", PAYLOAD, self.clock.now(), **changes)


@pytest.fixture
def place() -> Place:
    return Place()


def test_a_person_is_who_identity_center_says(place: Place) -> None:
    assert place.person(place.signed()) == "ana@example.com"
    assert place.person(place.signed(session(SSO[1], "ana@example.com"))) == "ana@example.com"
    assert place.person(place.signed(user("ops/ben"))) == "ben"


@pytest.mark.parametrize(
    "changes",
    [
        {"role": Role.CHECKER},
        {"stack": "staging"},
        {"region": "us-east-1"},
        {"endpoint": "https://sts.us-east-1.amazonaws.com/"},
        {"endpoint": "https://sts.eu-central-1.amazonaws.com.evil.example/"},
        {"endpoint": ENDPOINT + "?Action=GetCallerIdentity"},
        {"body": "Action=AssumeRole&Version=2011-06-15"},
        {"body": BODY + "&x=y"},
        {"method": "GET"},
        {"service": "iam"},
        {"more": {"X-Forwarded-Host": "evil.example"}},
        {"more": {"X-Amz-Target": "other"}},
    ],
)
def test_a_proof_for_anything_else_is_none(place: Place, changes: dict[str, Any]) -> None:
    given = place.signed(**changes)
    with pytest.raises(Unproven):
        place.person(given)


def test_a_proof_for_another_order_is_none(place: Place) -> None:
    with pytest.raises(Unproven, match="STS does not know this signature for this order"):
        place.person(place.signed(), payload={"id": "1" * 32})


@pytest.mark.parametrize("seconds", [-301, 301, 3600, -3600])
def test_a_proof_of_another_time_is_none_and_nobody_is_asked(place: Place, seconds: int) -> None:
    given = place.signed()
    place.clock.advance(seconds)
    with pytest.raises(Unproven, match="another time"):
        place.person(given)
    assert place.sts.calls == 0


@pytest.mark.parametrize(
    "who",
    [
        session("Developers", "ana@example.com"),
        session("AWSReservedSSO_Forged_0123456789abcdef", "ana@example.com"),
        session(SSO[0], "ana@example.com", account="999988887777"),
        user("ana", account="999988887777"),
        Identity(f"arn:aws:iam::{ACCOUNT}:root", "AKIAROOTROOTROOTROOT", None),
        Identity(f"arn:aws:sts::{ACCOUNT}:federated-user/ana", "ASIAFEDERATED0000000"),
        Identity(f"arn:aws:sts::{ACCOUNT}:assumed-role/{SSO[0]}/ana/ben", "ASIATWONAMES00000000"),
        Identity("", "ASIANOBODY0000000000"),
    ],
)
def test_who_is_no_person_of_ours_is_nobody(place: Place, who: Identity) -> None:
    with pytest.raises(Unproven):
        place.person(place.signed(who))


def test_a_role_counts_where_the_company_vouches_for_its_names(place: Place) -> None:
    given = place.signed(session("Payments", "ana"))
    with pytest.raises(Unproven, match="deskRoles"):
        place.person(given)
    place.vouched = ("Payments",)
    assert place.person(given) == "ana"


@pytest.mark.parametrize(
    "broken",
    [
        None,
        "text",
        {},
        {"authorization": 1, "date": "20260105T090000Z"},
        {"authorization": "x", "date": "20260105T090000Z", "token": None},
        {"date": "20261305T090000Z"},
        {"date": "2026-01-05"},
        {"token": "T" * 5_000},
        {"token": "T" * 20 + "\r\nHost: evil.example"},
        {"token": 7},
        {"host": "evil.example"},
        {"url": "https://evil.example"},
    ],
)
def test_what_has_not_the_form_of_a_proof_is_sent_nowhere(place: Place, broken: Any) -> None:
    given = {**place.signed(), **broken} if isinstance(broken, dict) and broken else broken
    with pytest.raises(Unproven):
        place.person(given)
    assert place.sts.calls == 0


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("host;", ""),
        ("x-confirm-order", "x-other"),
        ("x-amz-date;", ""),
        ("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"),
        ("/sts/", "/iam/"),
        (f"/{REGION}/", "/us-east-1/"),
        ("aws4_request, ", "aws4_request,\r\nX-Evil: 1, "),
        ("Signature=", "Signature=0"),
    ],
)
def test_a_signature_that_was_tampered_with_is_sent_nowhere(place: Place, old: str, new: str) -> None:
    given = place.signed()
    text = str(given["authorization"])
    assert old in text
    with pytest.raises(Unproven):
        place.person({**given, "authorization": text.replace(old, new)})
    assert place.sts.calls == 0


@pytest.mark.parametrize(
    "answer",
    [
        StsReply(302, b"<Arn>arn:aws:iam::111122223333:user/ana</Arn>"),
        StsReply(500, b""),
        StsReply(200, b""),
        StsReply(200, b"<Arn>arn:aws:iam::111122223333:user/ana</Arn>" * 2),
        StsReply(200, b"<Arn>arn:aws:iam::111122223333:user/ana</Arn>" + b" " * MOST_ANSWER),
        StsReply(200, b"<Arn>ana</Arn>"),
    ],
)
def test_an_answer_that_is_not_sts_own_names_nobody(place: Place, answer: StsReply) -> None:
    place.sts.answer = answer
    with pytest.raises(Unproven):
        place.person(place.signed())


def test_the_command_signs_what_the_function_checks(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way: credentials of the environment, the proof of the command, and STS's check of what arrives."""
    for name, value in (
        ("AWS_ACCESS_KEY_ID", ANA.key),
        ("AWS_SECRET_ACCESS_KEY", f"secret-of-{ANA.key}"),
        ("AWS_SESSION_TOKEN", ANA.token or ""),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    from datetime import UTC, datetime

    place.clock.time = datetime.now(UTC).replace(microsecond=0)
    given = orders.proof(REGION, order_digest(STACK, REGION, Role.MAKER, "ask", PAYLOAD))
    assert place.person(given) == "ana@example.com"
    assert "secret-of" not in str(given)


def test_the_question_goes_to_our_own_endpoint_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []

    def send(_: URLLib3Session, request: Any) -> Any:
        sent.append(request)
        return type("Response", (), {"status_code": 200, "content": b"<x/>"})

    monkeypatch.setattr(URLLib3Session, "send", send)
    assert handlers.asked(ENDPOINT, {"X-Amz-Date": "20260105T090000Z"}, BODY) == StsReply(200, b"<x/>")
    (request,) = sent
    assert isinstance(AWSRequest("POST", request.url).prepare().url, str)
    assert (request.method, request.url, request.body) == ("POST", ENDPOINT, BODY.encode())
    assert request.headers["Host"] == f"sts.{REGION}.amazonaws.com"


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"Role": {"Path": "/aws-reserved/sso.amazonaws.com/eu-central-1/"}}, True),
        ({"Role": {"Path": "/"}}, False),
        (ClientError({"Error": {"Code": "AccessDenied"}}, "GetRole"), False),
        (ClientError({"Error": {"Code": "NoSuchEntity"}}, "GetRole"), False),
        (ClientError({"Error": {"Code": "Throttling"}}, "GetRole"), ClientError),
        (EndpointConnectionError(endpoint_url="https://iam.amazonaws.com"), Unproven),
    ],
)
def test_a_role_is_identity_centers_where_iam_says_so(
    monkeypatch: pytest.MonkeyPatch, found: Any, expected: Any
) -> None:
    class Iam:
        def get_role(self, RoleName: str) -> Any:  # noqa: N803 - AWS's own word
            assert RoleName == SSO[0]
            if isinstance(found, Exception):
                raise found
            return found

    monkeypatch.setattr(handlers, "_iam", Iam)
    if isinstance(expected, bool):
        assert handlers._is_identity_center(SSO[0]) is expected
    else:
        with pytest.raises(expected):
            handlers._is_identity_center(SSO[0])


def test_a_person_is_the_same_by_whatever_letters_and_window(place: Place) -> None:
    place.clock.advance(0)
    given = place.signed()
    place.clock.advance(timedelta(minutes=4, seconds=59).total_seconds())
    assert place.person(given) == "ana@example.com"
