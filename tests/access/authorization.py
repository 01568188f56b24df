"""Whether IAM lets a call pass: a simulator of policies, for tests that have no AWS to ask.

The decision is ministack's (identity policies, what limits them, resource policies, conditions), the same that the
emulator enforces (local/overlay/access.py). Added here is what a call brings along. AWS sends a condition key only with
the actions that know it, as the Service Authorization Reference says (parliament keeps a copy): a statement that asks
for another key never matches. And a resource must be of a type that the action takes.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, lru_cache
from typing import Any

from analysis.graph import ACCOUNT, REGION

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it imports pkg_resources, which setuptools deprecates
    from parliament import iam_definition

Document = Mapping[str, Any]
"""A policy, as JSON says it."""

GLOBAL = {
    # keys that come with every request, whatever the action
    "aws:currenttime", "aws:principalaccount", "aws:principalarn", "aws:principaltype", "aws:requestedregion",
    "aws:resourceaccount", "aws:securetransport", "aws:sourceip", "aws:viaawsservice",
}  # fmt: skip
KEY_POLICY_REQUIRED = ("kms",)
"""Services whose resources' own policy must allow even what the caller's policies allow."""


class Unanswerable(Exception):  # noqa: N818 - what the question is
    """AWS would not ask this: no such action, or a resource that the action does not take."""


@dataclass(frozen=True)
class Question:
    """What AWS asks IAM before it does something: one action on one resource, with what the call carries."""

    action: str
    resource: str
    context: Mapping[str, Any] = field(default_factory=dict)
    """Condition keys and their values; a list where a key has many."""

    def __str__(self) -> str:
        return f"{self.action} on {self.resource} with {json.dumps(dict(self.context), sort_keys=True)}"


@dataclass(frozen=True)
class Principal:
    """Who asks: a role, with all that says what it may."""

    role: str
    policies: Sequence[Document]
    """Its own and those attached to it."""
    limits: Sequence[Sequence[Document]] = ()
    """Permissions boundary, session policies: each of them must allow too."""

    @cached_property
    def _parsed(self) -> list[list[list[Any]]]:
        from ministack.core.iam_evaluator import parse_policy_document

        return [[parse_policy_document(dict(one)) for one in layer] for layer in (self.policies, *self.limits)]

    @cached_property
    def _about(self) -> dict[str, list[list[list[Any]]]]:
        return {}

    def about(self, action: str) -> list[list[list[Any]]]:
        """The statements about that action, as the evaluator takes them: policies, then each limit. Looked for once,
        as ReadOnlyAccess names two thousand."""
        from ministack.core.iam_evaluator import _action_matches

        if action not in self._about:
            self._about[action] = [
                [
                    [
                        replace(one, actions=[action], not_actions=[])
                        for one in document
                        if _action_matches(action, one.actions, one.not_actions)
                    ]
                    for document in layer
                ]
                for layer in self._parsed
            ]
        return self._about[action]


@dataclass(frozen=True)
class Answer:
    decision: str
    """Allow, Deny (a statement says so) or ImplicitDeny (none allows)."""
    sid: str
    """Of the statement that decided."""

    @property
    def allowed(self) -> bool:
        return self.decision == "Allow"


def ask(principal: Principal, question: Question, policy: Document | None = None) -> Answer:
    """What IAM says; `policy` is the resource's own.

    Raises:
        Unanswerable: AWS would not ask this.
    """
    from ministack.core.iam_evaluator import EvalContext, combine_resource_policy, evaluate

    service = question.action.partition(":")[0]
    kind(question.action, question.resource)
    carried = {key.lower(): value for key, value in question.context.items() if knows(question, key)}
    asked = EvalContext(
        principal_arn=f"arn:aws:sts::{ACCOUNT}:assumed-role/{principal.role}/session",
        principal_type="AssumedRole",
        principal_account=ACCOUNT,
        action=question.action,
        resource_arn=question.resource,
        region=REGION,
        source_ip="192.0.2.1",
        secure_transport=True,
        service_context={"aws:tagkeys": None} | carried,
    )
    own, *limits = principal.about(question.action)
    decided = evaluate(asked, own, *limits)
    required = service in KEY_POLICY_REQUIRED and question.resource.startswith(f"arn:aws:{service}:")
    if policy is not None:
        decided = combine_resource_policy(
            decided, asked, dict(policy), ACCOUNT, required=required, limits=tuple(limits)
        )
    return Answer(decided.decision, decided.matched_sid)


# --- what the Service Authorization Reference says


@cache
def _reference() -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """Actions in small letters, and types of resources by `service:type`."""
    actions, types = {}, {}
    for service in iam_definition:
        for one in service["privileges"]:
            actions[f"{service['prefix']}:{one['privilege']}".lower()] = one
        for one in service["resources"]:
            types[f"{service['prefix']}:{one['resource']}"] = one
    return actions, types


def takes(action: str) -> list[str]:
    """The types of resources that the action is asked for on; with a * those without which it never is.

    Raises:
        Unanswerable: there is no such action.
    """
    found = _reference()[0].get(action.lower())
    if found is None:
        raise Unanswerable(f"AWS knows no action {action}")
    return [one["resource_type"] for one in found["resource_types"] if one["resource_type"]]


def level(action: str) -> str:
    """Read, List, Write, Tagging or Permissions management."""
    return str(_reference()[0][action.lower()]["access_level"])


@lru_cache(100_000)
def kind(action: str, resource: str) -> str:
    """The type of the resource, without a *; "" where the action takes none and the resource is `*`.

    Raises:
        Unanswerable: the action takes no such resource.
    """
    service, types = action.partition(":")[0], takes(action)
    if resource == "*" and not types:
        return ""
    for one in types:
        known = _reference()[1].get(f"{service}:{one.rstrip('*')}")
        if known and _shape(known["arn"]).fullmatch(resource):
            return one.rstrip("*")
    raise Unanswerable(f"{action} takes {types or '*'}, not {resource}")


def knows(question: Question, key: str) -> bool:
    """Whether AWS sends that condition key with that action on that resource."""
    if key.lower() in GLOBAL:
        return True
    known = _keys(question.action, kind(question.action, question.resource))
    return any(shape.fullmatch(key.lower()) for shape in known)


@cache
def _keys(action: str, type_: str) -> tuple[re.Pattern[str], ...]:
    actions, types = _reference()
    service = action.partition(":")[0]
    found = [
        key
        for one in actions[action.lower()]["resource_types"]
        if one["resource_type"].rstrip("*") in ("", type_)
        for key in one["condition_keys"]
    ]
    # EC2 lists with each action what comes with each resource: a new one has no tags to look at yet
    if type_ and service != "ec2":
        found += types[f"{service}:{type_}"]["condition_keys"]
    return tuple(_shape(key.lower()) for key in found)


@cache
def _shape(text: str) -> re.Pattern[str]:
    """An ARN or a key of the reference (`arn:${Partition}:s3:::${BucketName}`) as a pattern."""
    return re.compile(".*".join(re.escape(part) for part in re.split(r"\$\{[^}]*\}|\*", text)))


# --- policies that AWS keeps


@cache
def managed(arn: str) -> Document:
    """A policy of AWS's own, as it stood when ministack was released. Raises LookupError."""
    from ministack.services import iam

    found = iam._lookup_policy(arn)
    if not found:
        raise LookupError(f"no policy {arn}")
    document: Document = json.loads(found["Versions"][found["DefaultVersionId"]]["Document"])
    return document
