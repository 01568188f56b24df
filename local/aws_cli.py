"""`aws SERVICE OPERATION --flag value ...` as a page shows it, as the call that the AWS CLI makes of it.

The CLI itself pins a botocore of its own. Its words become the same call here by the same rules, from the service's
model, so that an operation, a flag or a value that does not exist fails.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import jmespath
from botocore import xform_name
from botocore.validate import ParamValidator

from local.errors import LocalError

OF_THE_CLI = ("output", "max-items")
"""Flags of the CLI itself: how it shows the answer, and how much of it."""


@dataclass(frozen=True, slots=True)
class Wait:
    """`aws SERVICE wait NAME --flag value ...`"""

    client: Any
    name: str
    look: Call
    """What it asks again and again."""

    def made(self) -> None:
        self.client.get_waiter(self.name).wait(**self.look.arguments, WaiterConfig={"Delay": 1})

    def mistakes(self) -> str:
        return self.look.mistakes()


@dataclass(frozen=True, slots=True)
class Call:
    client: Any
    method: str
    arguments: Mapping[str, Any]
    query: str | None

    def made(self) -> Any:
        answer = getattr(self.client, self.method)(**self.arguments)
        return jmespath.search(self.query, answer) if self.query else answer

    def mistakes(self) -> str:
        """What AWS would say of its words, without being asked; nothing where they are right."""
        model = _model(self.client, self.method)
        tokens = dict.fromkeys(model.idempotent_members, "made by the CLI")
        errors = ParamValidator().validate(tokens | dict(self.arguments), model.input_shape)
        return str(errors.generate_report())


def filled(line: str, outputs: Mapping[str, Any], words: Mapping[str, str]) -> str:
    """With the stack's outputs, and a real value for each `$NAME` and each word in capitals."""
    line = re.sub(r"\$\(pulumi stack output (\w+)\)", lambda found: str(outputs[found[1]]), line)
    for word, value in words.items():
        line = re.sub(rf"\$?\b{word}(?![\w=])", value.replace("\\", r"\\"), line)
    return line


_KEPT = re.compile(r"([A-Z]+)=\$\((aws .*)\)")
_SAID = re.compile(r'test "\$\((aws .*)\)" = (\w+)')


def play(client: Callable[[str], Any], command: str, words: dict[str, str], *, truly: bool = True) -> None:
    """A command that may keep an answer (`NAME=$(aws ...)`) or hold one against a word (`test "$(aws ...)" = WORD`).
    `words` has what `$NAME` stands for, and gets what is kept. Not `truly`: only whether AWS would take the words."""
    kept, said = _KEPT.fullmatch(command), _SAID.fullmatch(command)
    line = str(kept[2] if kept else said[1] if said else command)
    call = call_of(client, re.sub(r"\$([A-Z]+)", lambda found: words[found[1]], line))
    if not truly:
        _must(call.mistakes() == "", command)
        answer: Any = "x"
    else:
        answer = call.made()
        _must(said is None or answer == said[2], command)
    if kept:
        words[kept[1]] = answer


def call_of(client: Callable[[str], Any], line: str) -> Call | Wait:
    """`line` begins with `aws`; `client` makes the client of a service."""
    aws, service, operation, *rest = shlex.split(line)
    _must(aws == "aws", line)
    if operation == "wait":
        name, asked = rest.pop(0).replace("-", "_"), client(service)
        (looks,) = [one for one in asked.waiter_names if one == name]
        operation = xform_name(asked.get_waiter(looks).config.operation, "-")
        look = call_of(client, shlex.join([aws, service, operation, *rest]))
        return Wait(asked, name, cast(Call, look))
    asked, method, query, given = client(service), operation.replace("-", "_"), None, dict[str, Any]()
    members = _model(asked, method).input_shape.members
    flags = {xform_name(name, "-"): (name, shape) for name, shape in members.items()}
    while rest:
        flag = rest.pop(0)
        _must(flag.startswith("--"), f"{flag} stands alone")
        flag, values = flag.removeprefix("--"), []
        while rest and not rest[0].startswith("--"):
            values.append(rest.pop(0))
        if flag == "query":
            jmespath.compile(values[0])
            query = values[0]
        elif flag in OF_THE_CLI:
            known = values[0] in ("text", "table", "json") if flag == "output" else asked.can_paginate(method)
            _must(known, f"--{flag} {values}")
        else:
            off = flag.startswith("no-") and flag.removeprefix("no-") in flags
            name, shape = flags[flag.removeprefix("no-") if off else flag]
            _must(bool(values) != (shape.type_name == "boolean"), f"--{flag} {values}")
            given[name] = not off if shape.type_name == "boolean" else _value(values, shape)
    return Call(asked, method, given, query)


def _must(holds: object, what: str) -> None:
    """Raises LocalError: the CLI would not take these words, or AWS says something else."""
    if not holds:
        raise LocalError(f"The AWS CLI does not take this, or its answer is another: {what}")


def _model(client: Any, method: str) -> Any:
    return client.meta.service_model.operation_model(client.meta.method_to_api_mapping[method])


def _value(values: list[str], shape: Any) -> Any:
    """Of a list all words, its structures written `Key=value,Key=value`; else the one word."""
    if shape.type_name == "list":
        if shape.member.type_name == "structure":
            return [dict(pair.split("=", 1) for pair in value.split(",")) for value in values]
        return values
    (value,) = values
    if shape.type_name == "structure":
        kinds = {"double": float, "integer": int}
        pairs = dict(pair.split("=", 1) for pair in value.split(","))
        return {name: kinds.get(shape.members[name].type_name, str)(one) for name, one in pairs.items()}
    return int(value) if shape.type_name == "integer" else value
