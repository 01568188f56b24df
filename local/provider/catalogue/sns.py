"""Amazon SNS."""

from __future__ import annotations

import json
from typing import Any

from local.provider.model import Call, Name, Read, Resource, Tagging

TOPIC = {"TopicArn": "{id}"}
SUBSCRIPTION = {"SubscriptionArn": "{id}"}


def _attribute(operation: str, where: dict[str, str], name: str) -> Call:
    """SNS sets one attribute a call."""
    return Call(
        operation,
        takes=(name,),
        rename={name: "AttributeValue"},
        where={**where, "AttributeName": name[0].upper() + name[1:]},
        unset={name: {"AttributeValue": ""}},
        update_only=True,
    )


TOPIC_ATTRIBUTES = ("displayName", "policy", "deliveryPolicy", "kmsMasterKeyId", "signatureVersion", "tracingConfig")
SUBSCRIPTION_ATTRIBUTES = ("deliveryPolicy", "filterPolicy", "filterPolicyScope", "rawMessageDelivery", "redrivePolicy")


def _default_policy(_: Any, scope: dict[str, Any]) -> None:
    """AWS has no topic without a policy: deleting one puts the default back, which lets the owner do everything."""
    statement = {
        "Sid": "__default_statement_ID",
        "Effect": "Allow",
        "Principal": {"AWS": "*"},
        "Action": [
            "SNS:Publish",
            "SNS:Subscribe",
            "SNS:GetTopicAttributes",
            "SNS:SetTopicAttributes",
            "SNS:DeleteTopic",
        ],
        "Resource": scope["arn"],
        "Condition": {"StringEquals": {"AWS:SourceOwner": scope["account"]}},
    }
    scope["defaultPolicy"] = json.dumps(
        {"Version": "2008-10-17", "Id": "__default_policy_ID", "Statement": [statement]}
    )


RESOURCES = (
    Resource(
        "aws:sns/topic:Topic",
        "sns",
        create=Call(
            "create_topic",
            rename={
                **{name: f"Attributes.{name[0].upper()}{name[1:]}" for name in TOPIC_ATTRIBUTES},
                "contentBasedDeduplication": "Attributes.ContentBasedDeduplication",
                "fifoTopic": "Attributes.FifoTopic",
            },
        ),
        id="TopicArn",
        updates=tuple(_attribute("set_topic_attributes", TOPIC, name) for name in TOPIC_ATTRIBUTES),
        read=Read("get_topic_attributes", TOPIC, "Attributes"),
        delete=Call("delete_topic", where=TOPIC),
        name=Name(limit=256, suffix=lambda inputs: ".fifo" if inputs.get("fifoTopic") else ""),
        tagging=Tagging({"ResourceArn": "{id}"}),
        outputs={"arn": "{id}", "owner": "{account}"},
    ),
    Resource(
        "aws:sns/topicPolicy:TopicPolicy",
        "sns",
        create=Call(
            "set_topic_attributes",
            takes=("arn", "policy"),
            rename={"arn": "TopicArn", "policy": "AttributeValue"},
            where={"AttributeName": "Policy"},
        ),
        upsert=True,
        replaces=("arn",),
        id="{arn}",
        read=Read("get_topic_attributes", TOPIC, "Attributes"),
        delete=Call(
            "set_topic_attributes",
            where={
                **TOPIC,
                "AttributeName": "Policy",
                "AttributeValue": "{defaultPolicy}",
            },
        ),
        outputs={"owner": "{account}"},
        before_delete=_default_policy,
        delete_first=True,
    ),
    Resource(
        "aws:sns/topicSubscription:TopicSubscription",
        "sns",
        create=Call(
            "subscribe",
            takes=("topic", "protocol", "endpoint", "subscriptionRoleArn", *SUBSCRIPTION_ATTRIBUTES),
            rename={
                "topic": "TopicArn",
                "subscriptionRoleArn": "Attributes.SubscriptionRoleArn",
                **{name: f"Attributes.{name[0].upper()}{name[1:]}" for name in SUBSCRIPTION_ATTRIBUTES},
            },
        ),
        id="SubscriptionArn",
        updates=tuple(
            _attribute("set_subscription_attributes", SUBSCRIPTION, name) for name in SUBSCRIPTION_ATTRIBUTES
        ),
        read=Read("get_subscription_attributes", SUBSCRIPTION, "Attributes"),
        delete=Call("unsubscribe", where=SUBSCRIPTION),
        outputs={"arn": "{id}", "ownerId": "{account}"},
        handled=("confirmationTimeoutInMinutes", "endpointAutoConfirms"),
        drift=False,
    ),
)
