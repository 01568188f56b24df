"""Amazon SQS. A queue's policy and redrive policy are attributes of the queue, and types of their own."""

from __future__ import annotations

from local.provider.model import Call, Name, Read, Resource, Tagging

URL = {"QueueUrl": "{id}"}
ATTRIBUTES = {
    name: f"Attributes.{target}"
    for name, target in {
        "contentBasedDeduplication": "ContentBasedDeduplication",
        "deduplicationScope": "DeduplicationScope",
        "delaySeconds": "DelaySeconds",
        "fifoQueue": "FifoQueue",
        "fifoThroughputLimit": "FifoThroughputLimit",
        "kmsDataKeyReusePeriodSeconds": "KmsDataKeyReusePeriodSeconds",
        "kmsMasterKeyId": "KmsMasterKeyId",
        "maxMessageSize": "MaximumMessageSize",
        "messageRetentionSeconds": "MessageRetentionPeriod",
        "policy": "Policy",
        "receiveWaitTimeSeconds": "ReceiveMessageWaitTimeSeconds",
        "redriveAllowPolicy": "RedriveAllowPolicy",
        "redrivePolicy": "RedrivePolicy",
        "sqsManagedSseEnabled": "SqsManagedSseEnabled",
        "visibilityTimeoutSeconds": "VisibilityTimeout",
    }.items()
}
DEFAULTS = {  # what an attribute goes back to when the program drops it
    "DelaySeconds": "0",
    "KmsMasterKeyId": "",
    "MaximumMessageSize": "262144",
    "MessageRetentionPeriod": "345600",
    "Policy": "",
    "ReceiveMessageWaitTimeSeconds": "0",
    "RedrivePolicy": "",
    "VisibilityTimeout": "30",
}


def _attribute(kind: str, attribute: str) -> Resource:
    """A type that is one attribute of a queue."""
    name = attribute[0].lower() + attribute[1:]
    return Resource(
        f"aws:sqs/{kind[0].lower()}{kind[1:]}:{kind}",
        "sqs",
        create=Call(
            "set_queue_attributes",
            takes=("queueUrl", name),
            rename={"queueUrl": "QueueUrl", name: f"Attributes.{attribute}"},
        ),
        upsert=True,
        replaces=("queueUrl",),
        id="{queueUrl}",
        read=Read(
            "get_queue_attributes",
            {"QueueUrl": "{id}", "AttributeNames": [attribute]},
            "Attributes",
            exists=lambda found, _: bool(found.get(attribute)),
        ),
        delete=Call("set_queue_attributes", where={**URL, f"Attributes.{attribute}": ""}),
    )


RESOURCES = (
    Resource(
        "aws:sqs/queue:Queue",
        "sqs",
        create=Call("create_queue", rename={"name": "QueueName", **ATTRIBUTES}),
        id="QueueUrl",
        updates=(
            Call(
                "set_queue_attributes",
                rename=ATTRIBUTES,
                where=URL,
                update_only=True,
                only_changed=True,
                unset={
                    name: {"Attributes": {target.split(".")[1]: DEFAULTS[target.split(".")[1]]}}
                    for name, target in ATTRIBUTES.items()
                    if target.split(".")[1] in DEFAULTS
                },
            ),
        ),
        replaces=("fifoQueue",),
        read=Read("get_queue_attributes", {**URL, "AttributeNames": ["All"]}, "Attributes"),
        delete=Call("delete_queue", where=URL),
        name=Name(limit=80, suffix=lambda inputs: ".fifo" if inputs.get("fifoQueue") else ""),
        tagging=Tagging(URL, add="tag_queue", remove="untag_queue"),
        outputs={
            "arn": "QueueArn",
            "url": "{id}",
            "maxMessageSize": "MaximumMessageSize",
            "messageRetentionSeconds": "MessageRetentionPeriod",
            "receiveWaitTimeSeconds": "ReceiveMessageWaitTimeSeconds",
            "visibilityTimeoutSeconds": "VisibilityTimeout",
        },
    ),
    _attribute("QueuePolicy", "Policy"),
)
