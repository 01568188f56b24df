"""Every entry of the catalogue agrees with the Python SDK and with botocore's service models."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from pulumi._types import input_type_py_to_pulumi_names, resource_types

from local.provider import catalogue
from local.provider.lifecycle import Lifecycle
from local.provider.model import Call, Resource
from local.provider.sdk import PACKAGES, declared
from local.provider.session import Session, input_shape
from local.provider.shapes import members, plain, shape_at

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the SDK's own, on import
ENTRIES = {resource.type: resource for resource in catalogue.everything()}
SERVED = [resource for resource in ENTRIES.values() if resource.service]


@pytest.fixture(scope="module")
def session() -> Session:
    """Clients that are never called: their service models are what the tests read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        result = Session("us-east-1")
        for resource in SERVED:
            result.client(resource.service)
        return result


def sdk_class(token: str) -> tuple[type, type]:
    module, name = token.removeprefix("aws:").split(":")
    package = module.split("/")[0]
    found = importlib.import_module(f"pulumi_aws.{PACKAGES.get(package, package)}")
    cls = getattr(found, name)
    file = importlib.import_module(cls.__module__)
    args = getattr(file, f"{name}InitArgs", None) or getattr(file, f"{name}Args")  # Init where another has the name
    return cls, args


def test_there_are_the_types_that_the_stacks_need() -> None:
    assert len(ENTRIES) >= 50
    assert {entry.split("/")[0] for entry in ENTRIES} >= {"aws:dynamodb", "aws:lambda", "aws:sfn", "aws:ec2", "aws:s3"}


@pytest.mark.parametrize("token", ENTRIES)
def test_the_properties_read_from_the_source_are_those_of_the_sdk(token: str) -> None:
    cls, args = sdk_class(token)
    found = declared(token)
    assert found is not None
    assert set(found.inputs) == set(input_type_py_to_pulumi_names(args).values())
    assert set(found.outputs) == set(resource_types(cls))


@pytest.mark.parametrize("token", ENTRIES)
def test_each_entry_is_found_by_its_type(token: str) -> None:
    assert catalogue.find(token) is ENTRIES[token]


@pytest.mark.parametrize("resource", SERVED, ids=lambda resource: resource.type)
def test_each_property_sent_exists_in_the_sdk_and_in_aws(resource: Resource, session: Session) -> None:
    types, client = declared(resource.type), session.client(resource.service)
    assert types is not None
    life = Lifecycle(resource, session)
    for call in life.calls:
        shape = input_shape(client, call.operation)
        for name in life.covered(call):
            assert name in types.inputs, f"{call.operation}: the SDK has no input {name}"
            if name in call.encode or call.compose:
                continue
            target = call.rename.get(name) or members(shape).get(plain(name))
            assert target, f"{call.operation} has no parameter for {name}"
            shape_at(shape, target.split("."))
    assert life.supported() - {"tags", "region"} <= set(types.inputs)


@pytest.mark.parametrize("resource", ENTRIES.values(), ids=lambda resource: resource.type)
def test_outputs_and_explanations_name_properties_of_the_type(resource: Resource) -> None:
    types = declared(resource.type)
    assert types is not None
    assert {*resource.outputs, *resource.lookups, *resource.volatile} <= set(types.outputs)
    assert {*resource.recorded, *resource.handled, *resource.replaces, *resource.configures} <= set(types.inputs)
    assert resource.service or resource.note, "what is only recorded says why"


def operations(resource: Resource) -> list[tuple[str, dict[str, Any]]]:
    calls: list[Call] = [call for call in (resource.create, resource.delete, *resource.updates) if call]
    found = [(call.operation, dict(call.where)) for call in calls]
    found += [(call.remove, dict(call.where)) for call in calls if call.remove]
    reads = [read for read in (resource.read, resource.adopt, *resource.lookups.values()) if read]
    found += [(read.operation, dict(read.where)) for read in reads]
    if resource.tagging:
        found.append((resource.tagging.add, dict(resource.tagging.where)))
        if not resource.tagging.whole:
            found.append((resource.tagging.remove, dict(resource.tagging.where)))
    return found


@pytest.mark.parametrize("resource", SERVED, ids=lambda resource: resource.type)
def test_each_operation_exists_and_takes_the_identifying_parameters(resource: Resource, session: Session) -> None:
    client = session.client(resource.service)
    for operation, where in operations(resource):
        shape = input_shape(client, operation)
        for parameter in where:
            shape_at(shape, parameter.split("."))
