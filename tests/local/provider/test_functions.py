"""The functions a program calls; the policy document as the real provider renders it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from local.provider import functions
from local.provider.session import Session
from local.provider.values import UNKNOWN

TOKEN = "aws:iam/getPolicyDocument:getPolicyDocument"


def document(**args: Any) -> dict[str, Any]:
    return functions.invoke(TOKEN, args, Session("us-east-1"))


def rendered(**args: Any) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(document(**args)["json"])
    return result


def test_a_statement() -> None:
    statement = {
        "sid": "Read",
        "actions": ["s3:GetObject"],
        "resources": ["arn:aws:s3:::a", "arn:aws:s3:::b"],
        "principals": [{"type": "AWS", "identifiers": ["1"]}, {"type": "AWS", "identifiers": ["2"]}],
        "conditions": [
            {"test": "StringEquals", "variable": "aws:b", "values": ["x"]},
            {"test": "StringEquals", "variable": "aws:a", "values": ["y", "z"]},
        ],
    }
    assert rendered(statements=[statement]) == {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "Read",
                "Effect": "Allow",
                "Action": "s3:GetObject",
                "Resource": ["arn:aws:s3:::b", "arn:aws:s3:::a"],
                "Principal": {"AWS": ["2", "1"]},
                "Condition": {"StringEquals": {"aws:a": ["y", "z"], "aws:b": "x"}},
            }
        ],
    }


def test_everybody_is_a_star() -> None:
    everybody = [{"type": "*", "identifiers": ["*"]}]
    [statement] = rendered(statements=[{"effect": "Deny", "principals": everybody}])["Statement"]
    assert statement == {"Effect": "Deny", "Principal": "*"}


def test_sources_come_first_and_overrides_take_the_place_of_their_sid() -> None:
    source = json.dumps({"Statement": [{"Sid": "A", "Effect": "Allow"}, {"Sid": "B", "Effect": "Allow"}]})
    override = json.dumps({"Statement": {"Sid": "A", "Effect": "Deny"}})
    found = rendered(sourcePolicyDocuments=[source], statements=[{"sid": "C"}], overridePolicyDocuments=[override])[
        "Statement"
    ]
    assert [(one["Sid"], one["Effect"]) for one in found] == [("A", "Deny"), ("B", "Allow"), ("C", "Allow")]


def test_one_sid_twice_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="two statements with the Sid A"):
        rendered(statements=[{"sid": "A"}, {"sid": "A"}])


def test_unknown_values_make_the_document_unknown() -> None:
    assert document(statements=[{"resources": [UNKNOWN]}])["json"] == UNKNOWN


def test_an_unknown_function_is_refused_by_name() -> None:
    with pytest.raises(RuntimeError, match="aws:ec2/getAmi:getAmi is not supported"):
        functions.invoke("aws:ec2/getAmi:getAmi", {}, Session("us-east-1"))


def test_region_and_partition() -> None:
    session = Session("eu-west-1")
    assert functions.invoke("aws:index/getRegion:getRegion", {}, session)["region"] == "eu-west-1"
    assert functions.invoke("aws:index/getPartition:getPartition", {}, session)["dnsSuffix"] == "amazonaws.com"
