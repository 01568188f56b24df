"""Who calls: proven by AWS's own STS, for one order, and never said by the caller.

The caller signs a request `sts:GetCallerIdentity` with his own credentials (SigV4) and hands in the signature, not the
request: where it goes, what it asks and every header of it is written here. One header, which the signature covers, is
the digest of what he orders (action, payload, stack, role); so STS confirms in one answer who he is and that he has
ordered exactly this. A proof for another order, stack, role, host or action has another signature,
and STS itself refuses it.

As HashiCorp Vault's and EKS' logins by IAM do; they take more of the request from the caller, and have to check it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from workers.domain.desk import digest_of

BODY = "Action=GetCallerIdentity&Version=2011-06-15"
CONTENT_TYPE = "application/x-www-form-urlencoded; charset=utf-8"
ORDER_HEADER = "X-Confirm-Order"
WINDOW = timedelta(minutes=5)
"""A proof is good for so long: AWS, too, takes no signature that is older."""
MOST_ANSWER = 16_384
"""Bytes of STS's answer; a true one has some 600."""
SSO_PATH = "/aws-reserved/sso.amazonaws.com/"
"""Roles of IAM Identity Center: nobody else can make one in this path."""
_SSO = "AWSReservedSSO_"
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=[A-Z0-9]{16,128}/(?P<day>\d{8})/(?P<region>[a-z0-9-]{4,25})/sts/aws4_request, "
    r"SignedHeaders=(?P<headers>[a-z0-9;-]{1,200}), Signature=[0-9a-f]{64}"
)
_DATE = re.compile(r"\d{8}T\d{6}Z")
_TOKEN = re.compile(r"[A-Za-z0-9+/=_-]{16,4096}")
_SIGNED = ("content-type", "host", "x-amz-date", "x-confirm-order")
_ARN = re.compile(r"<Arn>\s*([A-Za-z0-9+=,.@:/_-]{20,2048})\s*</Arn>")
_ASSUMED = re.compile(r"arn:aws[a-z-]*:sts::(\d{12}):assumed-role/([\w+=,.@-]{1,64})/([\w+=,.@-]{2,64})")
_USER = re.compile(r"arn:aws[a-z-]*:iam::(\d{12}):user/(?:[\x21-\x7e]{1,510}/)?([\w+=,.@-]{1,64})")


class Unproven(Exception):  # noqa: N818 - what the caller is
    """The caller has not proven to be a person of whom we know; says what to do."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What the caller hands in: the parts of a signature."""

    authorization: str
    date: str
    token: str | None

    @classmethod
    def of(cls, given: Any) -> Signature:
        """Raises Unproven: not of the form that we sign in."""
        names = {"authorization", "date", "token"}
        if not isinstance(given, dict) or set(given) - names:
            raise Unproven("the proof is not of its form: authorization, date and token")
        found = {name: given.get(name) for name in names}
        if not all(isinstance(found[name], str) for name in ("authorization", "date")):
            raise Unproven("the proof is not of its form: authorization, date and token")
        authorization = _AUTHORIZATION.fullmatch(found["authorization"] or "")
        token = found["token"]
        if authorization is None or not _DATE.fullmatch(found["date"] or ""):
            raise Unproven("the proof is no signature (SigV4) of a question to STS")
        if token is not None and (not isinstance(token, str) or not _TOKEN.fullmatch(token)):
            raise Unproven("the proof's session token is none")
        signed = {*_SIGNED, *(("x-amz-security-token",) if token else ())}
        if authorization["headers"].split(";") != sorted(signed):
            raise Unproven(f"the proof signs other headers than {', '.join(sorted(signed))}")
        return cls(str(found["authorization"]), str(found["date"]), token)

    @property
    def signed_at(self) -> datetime:
        """Raises Unproven: a day that there is not."""
        try:
            return datetime.strptime(self.date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        except ValueError:
            raise Unproven("the proof's date is none") from None

    def headers(self, order: str) -> dict[str, str]:
        """Of the request that STS is asked: all of them."""
        session = {"X-Amz-Security-Token": self.token} if self.token else {}
        return {
            "Content-Type": CONTENT_TYPE,
            "X-Amz-Date": self.date,
            ORDER_HEADER: order,
            "Authorization": self.authorization,
            **session,
        }


def order_digest(stack: str, region: str, role: str, action: str, payload: Mapping[str, Any]) -> str:
    """What a proof is for: whoever signs it and whoever checks it write it so."""
    where = {"stack": stack, "region": region, "role": role}
    return digest_of({**where, "action": action, "payload": payload})


@dataclass(frozen=True, slots=True)
class StsReply:
    status: int
    body: bytes


class Sts(Protocol):
    """STS as we know where it is: POST to its own regional endpoint, no redirect followed."""

    def __call__(self, headers: Mapping[str, str], body: str) -> StsReply: ...


@dataclass(frozen=True, slots=True)
class People:
    """Who counts as a person."""

    account: str
    vouched: tuple[str, ...]
    """Names of roles whose session names the company vouches for (`deskRoles`)."""
    is_identity_center: Callable[[str], bool]
    """Whether IAM has the role of that name under the path of Identity Center."""

    def person(self, arn: str) -> str:
        """The person behind that identity.

        Raises:
            Unproven: it is none.
        """
        if found := _ASSUMED.fullmatch(arn):
            account, role, session = found.groups()
            self._own(account)
            if role in self.vouched:
                return session
            if not role.startswith(_SSO):
                raise Unproven(
                    f"sessions of the role {role} can bear any name: come by IAM Identity Center, or name the role in "
                    "deskRoles if its trust policy forces the session's name to be the person's"
                )
            if not self.is_identity_center(role):
                raise Unproven(f"the role {role} is none of IAM Identity Center's")
            return session
        if found := _USER.fullmatch(arn):
            account, name = found.groups()
            self._own(account)
            return name
        raise Unproven("the caller is neither a session of a role nor an IAM user: the account's root is no person")

    def _own(self, account: str) -> None:
        if account != self.account:
            raise Unproven(f"the caller is of the account {account}, and the stack of another")


def prove(proof: Signature, order: str, region: str, now: datetime, sts: Sts, people: People) -> str:
    """The person who signed `proof` for `order` (`order_digest`).

    Raises:
        Unproven: nobody whom STS and we know, or not for this order, or not now.
    """
    if abs(now - proof.signed_at) > WINDOW:
        raise Unproven(f"the proof is of another time: it is good for {WINDOW.seconds // 60} minutes; see your clock")
    authorization = _AUTHORIZATION.fullmatch(proof.authorization)
    if authorization is None or authorization["region"] != region or authorization["day"] != proof.date[:8]:
        raise Unproven(f"the proof is for another region than {region}, or another day")
    answer = sts(proof.headers(order), BODY)
    if answer.status != 200:
        raise Unproven(f"STS does not know this signature for this order (HTTP {answer.status}): sign in to AWS again")
    if len(answer.body) > MOST_ANSWER:
        raise Unproven("STS's answer is longer than any that it gives")
    arns = _ARN.findall(answer.body.decode("utf-8", "replace"))
    if len(arns) != 1:
        raise Unproven("STS's answer names nobody")
    return people.person(arns[0])
