"""A random word that is made once and stays: for what one part of the stack is told, and its neighbour is not."""

from __future__ import annotations

import secrets
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, Resource, ResourceProvider

BYTES = 32


class _Provider(ResourceProvider):
    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult("nonce", {**props, "value": secrets.token_urlsafe(BYTES)})


class Nonce(Resource, module="confirm-transactions", name="Nonce"):
    """Makes the word when it is created; another one only when it is replaced."""

    value: pulumi.Output[str]

    def __init__(self, name: str, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(_Provider(), name, {"value": None}, opts)
