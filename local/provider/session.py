"""The connection to the emulator: one boto3 client per service and region, shared by all threads."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.model import OperationModel, StructureShape

GONE = (
    "NotFound", "NoSuch", "NonExistent", "DoesNotExist", "ResourceNotFoundException", "NotFoundException",
    "NoneFound", "ParameterNotFound", "AWS.SimpleQueueService.NonExistentQueue",
)  # fmt: skip
IN_USE = (
    "DependencyViolation", "DeleteConflict", "ResourceInUseException", "ResourceConflictException",
    "OperationAborted", "ConcurrentModificationException", "ConflictException", "InvalidIPAddress.InUse",
)  # fmt: skip
RETRY_SECONDS = 20.0  # how long something that is still in use may hold up a change
CONNECTIONS = 32  # as many as the plugin has threads


class AwsError(Exception):
    """A refusal by AWS, in one line: the operation, the code and the message."""

    def __init__(self, operation: str, code: str, message: str) -> None:
        super().__init__(f"{operation}: {code}: {' '.join(message.split())}")
        self.code = code

    @property
    def gone(self) -> bool:
        return any(part in self.code for part in GONE)

    @property
    def in_use(self) -> bool:
        return self.code in IN_USE


def aws_error(operation: str, error: ClientError) -> AwsError:
    found = error.response.get("Error", {})
    return AwsError(operation, str(found.get("Code", "Unknown")), str(found.get("Message", "")))


@dataclass
class Session:
    """Region, account and default tags of one provider instance, and its clients."""

    region: str
    default_tags: Mapping[str, str] = field(default_factory=dict)
    _clients: dict[tuple[str, str], Any] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _account: str = ""

    @staticmethod
    def from_config(config: Mapping[str, Any]) -> Session:
        """From the provider's arguments; those that are no text come JSON-encoded."""
        tags = config.get("defaultTags") or {}
        if isinstance(tags, str):
            tags = json.loads(tags)
        region = config.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        return Session(region or "us-east-1", tags.get("tags") or {})

    def client(self, service: str, region: str | None = None) -> Any:
        key = (service, region or self.region)
        with self._lock:
            if key not in self._clients:
                self._clients[key] = boto3.client(
                    service,
                    region_name=key[1],
                    endpoint_url=_endpoint(),
                    aws_access_key_id=os.environ.get("AWS_ACCESS_KEY_ID", "test"),
                    aws_secret_access_key=os.environ.get("AWS_SECRET_ACCESS_KEY", "test"),
                    config=Config(
                        max_pool_connections=CONNECTIONS,
                        retries={"mode": "standard", "total_max_attempts": 4},
                        s3={"addressing_style": "path"},
                    ),
                )
            return self._clients[key]

    @property
    def account(self) -> str:
        if not self._account:
            self._account = self.call(self.client("sts"), "get_caller_identity", {})["Account"]
        return self._account

    @staticmethod
    def call(client: Any, operation: str, parameters: Mapping[str, Any]) -> Any:
        """One call; a refusal becomes an AwsError in one line."""
        try:
            return getattr(client, operation)(**parameters)
        except ClientError as error:
            raise aws_error(client.meta.method_to_api_mapping.get(operation, operation), error) from None
        except BotoCoreError as error:
            raise AwsError(operation, type(error).__name__, str(error)) from None

    def patiently(self, action: Callable[[], Any]) -> Any:
        """The action, again while something else still holds the resource."""
        deadline, pause = time.monotonic() + RETRY_SECONDS, 0.1
        while True:
            try:
                return action()
            except AwsError as error:
                if not error.in_use or time.monotonic() > deadline:
                    raise
                time.sleep(pause)
                pause = min(pause * 2, 2.0)


def operation_model(client: Any, operation: str) -> OperationModel:
    name = client.meta.method_to_api_mapping.get(operation)
    if name is None:
        raise KeyError(f"{client.meta.service_model.service_name} has no operation {operation}")
    return client.meta.service_model.operation_model(name)


def input_shape(client: Any, operation: str) -> StructureShape:
    """The operation's input; one without any parameters has an empty shape."""
    return operation_model(client, operation).input_shape or StructureShape(
        "Empty", {"type": "structure", "members": {}}
    )


def _endpoint() -> str:
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    if not endpoint:
        # a stand-in that fell through to the real AWS with somebody's credentials would be a disaster
        raise RuntimeError("AWS_ENDPOINT_URL is not set: run Pulumi through `make shell` or `python -m local`")
    return endpoint


def record(token: str, name: str, what: str) -> None:
    """Notes something that the emulator only keeps on record, for the list at the end of `up`."""
    if path := os.environ.get("CONFIRM_RECORDED_ONLY"):
        line = json.dumps({"type": token, "name": name, "what": what}) + "\n"
        with Path(path).open("a", encoding="utf-8") as file:  # one short write: whole lines, whoever else writes
            file.write(line)
