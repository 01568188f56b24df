"""Runs the whole program once against mocks and keeps what it registered: for tests, diagrams, prices, linters.

What the engine does with a registration is done here too, as far as a record shows it: the program's transforms run
over it, and the component `awsx:ec2:Vpc` gets its children, those of local/provider/awsx.py.

Asserts inside `.apply` may never run, and undecorated Pulumi tests pass without running anything: so nothing is
asserted while the program runs. `record` waits until every resource is registered, and refuses an empty record.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import logging
import os
import pickle
import runpy
import warnings
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pulumi
import yaml
from pulumi.resource import DependencyProviderResource, DependencyResource
from pulumi.runtime import mocks, settings
from pulumi.runtime.proto.callback_pb2 import Callback
from pulumi.runtime.rpc import deserialize_properties, serialize_properties
from pulumi.runtime.stack import run_in_stack
from pulumi.runtime.sync_await import _ensure_event_loop, _sync_await

from local.provider.awsx import Vpc

ROOT = Path(__file__).resolve().parents[1]
PROJECT = "confirm-transactions"
ACCOUNT = "123456789012"
REGION = "us-east-1"
ARNS = {
    "aws:backup/vault:Vault": ("backup", "backup-vault:{name}"),
    "aws:cloudwatch/eventRule:EventRule": ("events", "rule/{name}"),
    "aws:cloudwatch/logGroup:LogGroup": ("logs", "log-group:{name}"),
    "aws:cloudwatch/compositeAlarm:CompositeAlarm": ("cloudwatch", "alarm:{name}"),
    "aws:cloudwatch/metricAlarm:MetricAlarm": ("cloudwatch", "alarm:{name}"),
    "aws:dynamodb/table:Table": ("dynamodb", "table/{name}"),
    "aws:ecr/repository:Repository": ("ecr", "repository/{name}"),
    "aws:ecs/cluster:Cluster": ("ecs", "cluster/{name}"),
    "aws:rds/cluster:Cluster": ("rds", "cluster:{name}"),
    "aws:rds/clusterInstance:ClusterInstance": ("rds", "db:{name}"),
    "aws:iam/openIdConnectProvider:OpenIdConnectProvider": ("iam", "oidc-provider/{name}"),
    "aws:iam/policy:Policy": ("iam", "policy/{name}"),
    "aws:iam/role:Role": ("iam", "role/{name}"),
    "aws:kms/key:Key": ("kms", "key/{name}"),
    "aws:lambda/function:Function": ("lambda", "function:{name}"),
    "aws:s3/bucket:Bucket": ("s3", "{name}"),
    "aws:scheduler/scheduleGroup:ScheduleGroup": ("scheduler", "schedule-group/{name}"),
    "aws:secretsmanager/secret:Secret": ("secretsmanager", "secret:{name}"),
    "aws:sfn/stateMachine:StateMachine": ("states", "stateMachine:{name}"),
    "aws:sns/topic:Topic": ("sns", "{name}"),
    "aws:sqs/queue:Queue": ("sqs", "{name}"),
}
"""Service and resource of each type's ARN, as AWS writes them: the linter compares them with what actions take."""

NOT_OF_IAM = {
    "aws:cloudwatch/logDataProtectionPolicy:LogDataProtectionPolicy",
    "aws:ecr/lifecyclePolicy:LifecyclePolicy",
}
"""Have policies of another kind."""
PROVIDER = "pulumi:providers:aws"
VPC = "awsx:ec2:Vpc"
KEPT = "CONFIRM_RECORDINGS"
"""Names the folder for recordings that the processes of one test run share. It must not outlive the run: the code that
is recorded may change."""
LEAST = 50
"""Fewer resources than any stack has: then the program did not really run."""


@dataclass(slots=True)
class Recorded:
    """One resource as the engine was asked to make it."""

    type: str
    name: str
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    urn: str
    id: str
    parent: str
    provider: str
    """URN and id of the provider; for components the one of `aws` that children get."""
    dependencies: list[str]
    """URNs of what must be there before."""
    references: dict[str, list[str]]
    """Property -> URNs of the resources whose outputs it holds."""
    protect: bool
    custom: bool
    ignore_changes: list[str]
    replace_on_changes: list[str]
    retain_on_delete: bool
    at_the_top_before: bool
    """Whether the engine takes one that has no parent for this one (an alias)."""

    def __str__(self) -> str:
        return f"{self.type} {self.name}"


@dataclass
class Record:
    """All that a run of the program asked the engine for."""

    resources: list[Recorded] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    deployed: dict[str, Any] = field(default_factory=dict)
    """The outputs that the stack had before."""

    def all(self, type_: str) -> list[Recorded]:
        """Every resource of a type; at least one, for a test over none would pass for nothing."""
        found = [resource for resource in self.resources if resource.type == type_]
        if not found:
            raise LookupError(f"no {type_} was recorded: {sorted({resource.type for resource in self.resources})}")
        return found

    def some(self, type_: str) -> list[Recorded]:
        """Every resource of a type that not every stack has; `test_the_types_are_those` says which has which."""
        return [resource for resource in self.resources if resource.type == type_]

    @property
    def alternative(self) -> str:
        return str(self.outputs["alternative"])

    def one(self, type_: str, name: str) -> Recorded:
        found = [resource for resource in self.all(type_) if resource.name == name]
        if len(found) != 1:
            raise LookupError(f"{len(found)} of {type_} {name}")
        return found[0]

    def policies(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every policy document, with where it stands: identities', resources', keys', endpoints' and trust."""
        keys = ("policy", "policyDocument", "assumeRolePolicy")
        for resource in self.resources:
            for key in keys:
                if isinstance(resource.inputs.get(key), str) and resource.type not in NOT_OF_IAM:
                    yield f"{resource} {key}", json.loads(resource.inputs[key])
            for spec in resource.inputs.get("vpcEndpointSpecs") or ():
                yield f"{resource} endpoint {spec['serviceName']}", json.loads(spec["policy"])


class _Mocks(mocks.Mocks):
    """Answers as AWS would, as far as the program reads answers."""

    def __init__(self, record: Record) -> None:
        self.record = record

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        self.record.calls.append(args.token)
        answers: dict[str, dict[str, Any]] = {
            "aws:index/getCallerIdentity:getCallerIdentity": {
                "accountId": ACCOUNT,
                "id": ACCOUNT,
                "arn": "",
                "userId": "",
            },
            "aws:index/getRegion:getRegion": {"region": REGION, "id": REGION, "name": REGION},
            "aws:index/getPartition:getPartition": {"partition": "aws", "id": "aws"},
            "pulumi:pulumi:readStackOutputs": {"outputs": self.record.deployed},
            "aws:index/getAvailabilityZones:getAvailabilityZones": {"names": [f"{REGION}{zone}" for zone in "abcdef"]},
            "aws:ec2/getPrefixList:getPrefixList": {"id": f"pl-{str(args.args.get('name')).rpartition('.')[2]}"},
        }
        return answers[args.token], []

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        if args.typ == "awsx:ecr:Image":
            return "", {"imageUri": f"{args.inputs['repositoryUrl']}@sha256:{'0' * 64}"}
        if args.typ == VPC:
            zones = range(1, int(args.inputs["numberOfAvailabilityZones"]) + 1)
            return "", {"vpcId": f"{args.name}-id", "privateSubnetIds": [f"{args.name}-private-{n}-id" for n in zones]}
        if args.typ.startswith("aws:ec2/") and args.name.startswith("vpc"):  # as the component above names its children
            return f"{args.name}-id", args.inputs
        # as Pulumi does where the program leaves the name to it: 7 random digits
        name = args.inputs.get("name") or args.inputs.get("alarmName") or f"{args.name}-1234567"
        service, resource = ARNS.get(args.typ, ("none", "none/{name}"))
        where = ":" if service == "s3" else f"{REGION}:{ACCOUNT}" if service != "iam" else f":{ACCOUNT}"
        outputs = {"name": name, "arn": f"arn:aws:{service}:{where}:{resource.format(name=name)}"}
        if args.typ == "aws:ec2/eip:Eip":
            outputs |= {"allocationId": f"eipalloc-{args.name}", "publicIp": f"192.0.2.{args.name[-1]}"}
        elif args.typ == "aws:sqs/queue:Queue":
            outputs |= {"url": f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{name}"}
        elif args.typ == "aws:s3/bucket:Bucket":
            outputs |= {"bucket": name}
        elif args.typ == "aws:kms/key:Key":
            outputs |= {"keyId": args.name}
        elif args.typ == "aws:ecr/repository:Repository":
            outputs |= {"repositoryUrl": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{name}"}
        elif args.typ == "aws:ecs/taskDefinition:TaskDefinition":
            outputs |= {"arn": f"arn:aws:ecs:{REGION}:{ACCOUNT}:task-definition/{args.inputs['family']}:1"}
        elif args.typ == "aws:rds/clusterInstance:ClusterInstance":
            outputs |= {"identifier": name}
        elif args.typ == "aws:rds/cluster:Cluster":
            secret = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:rds!cluster-1-abcdef"
            outputs |= {
                "arn": f"arn:aws:rds:{REGION}:{ACCOUNT}:cluster:{args.inputs['clusterIdentifier']}",
                "endpoint": f"{args.inputs['clusterIdentifier']}.cluster-1.{REGION}.rds.amazonaws.com",
                "clusterResourceId": "cluster-ABCDEFGHIJKLMNOPQRSTUVWXYZ",
                "masterUserSecrets": [{"secretArn": secret, "secretStatus": "active", "kmsKeyId": ""}],
            }
        elif args.typ == "pulumi-python:dynamic/confirm-transactions:Nonce":
            outputs |= {"value": "a-word"}
        return f"{name}-id", {**outputs, **{key: value for key, value in args.inputs.items() if value is not None}}


class _Transforms:
    """Stands in for the SDK's callback server: the engine calls a transform for every resource, whoever makes it."""

    def __init__(self) -> None:
        self._of_the_stack: list[pulumi.ResourceTransform] = []
        self._by_token: dict[str, pulumi.ResourceTransform] = {}
        self._below: dict[str, tuple[pulumi.ResourceTransform, ...]] = {}
        """URN -> those for what is below it, its ancestors' included."""

    def register_stack_transform(self, transform: pulumi.ResourceTransform) -> None:
        self._of_the_stack.append(transform)

    def register_transform(self, transform: pulumi.ResourceTransform) -> Callback:
        """One that stands in the options of a resource: for it, and for what is below it."""
        token = str(len(self._by_token))
        self._by_token[token] = transform
        return Callback(token=token)

    def below(self, urn: str, request: Any) -> None:
        """Keep the transforms of what was just registered, for its children."""
        self._below[urn] = self._own_and_above(request)

    def _own_and_above(self, request: Any) -> tuple[pulumi.ResourceTransform, ...]:
        own = [self._by_token[callback.token] for callback in request.transforms]
        return (*own, *self._below.get(request.parent, ()))

    def apply(self, request: Any) -> None:
        for transform in (*self._own_and_above(request), *self._of_the_stack):
            options = pulumi.ResourceOptions(parent=DependencyResource(request.parent) if request.parent else None)
            args = pulumi.ResourceTransformArgs(
                request.custom, request.type, request.name, deserialize_properties(request.object), options
            )
            result = transform(args)
            if isinstance(result, Awaitable):
                result = _sync_await(result)
            if result is not None:
                request.protect = request.protect or bool(result.opts and result.opts.protect)
                request.object.CopyFrom(_sync_await(serialize_properties(result.props, {})))


class _Monitor(mocks.MockMonitor):
    """Keeps what `Mocks` do not see: parents, providers, protection."""

    def __init__(self, record: Record) -> None:
        super().__init__(_Mocks(record))
        self.record = record
        self.transforms = _Transforms()
        self._constructed: dict[str, Any] = {}

    def make_urn(self, parent: str, type_: str, name: str) -> str:
        """As the engine does, with the types of all ancestors."""
        above = parent.split("::")[2] if parent else ""
        kind = type_ if above in ("", "pulumi:pulumi:Stack") else f"{above}${type_}"
        return f"urn:pulumi:{settings.get_stack()}::{PROJECT}::{kind}::{name}"

    def construct(self) -> None:
        """Register the children of the remote components, as their plugin does."""
        for vpc in self.record.some(VPC):
            options = pulumi.ResourceOptions(
                parent=DependencyResource(vpc.parent),
                providers=[DependencyProviderResource(vpc.provider)],
                protect=vpc.protect,
            )
            Vpc(vpc.name, vpc.inputs, options)

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 - the engine's name
        if request.type == VPC and (known := self._constructed.get(request.name)):
            return known  # the component itself was recorded as the program asked for it
        _ensure_event_loop()  # type: ignore[no-untyped-call]  # this is a thread of its own
        self.transforms.apply(request)
        response = super().RegisterResource(request)  # type: ignore[no-untyped-call]
        self.transforms.below(response.urn, request)
        if request.type == VPC:
            self._constructed[request.name] = response
        inputs = deserialize_properties(request.object)
        providers = dict(request.providers)
        self.record.resources.append(
            Recorded(
                type=request.type,
                name=request.name,
                inputs=inputs,
                outputs=deserialize_properties(response.object),
                urn=response.urn,
                id=response.id,
                parent=request.parent,
                provider=request.provider or providers.get("aws", ""),
                dependencies=list(request.dependencies),
                references={name: list(on.urns) for name, on in request.propertyDependencies.items()},
                protect=request.protect,
                custom=request.custom,
                ignore_changes=list(request.ignoreChanges),
                replace_on_changes=list(request.replaceOnChanges),
                retain_on_delete=request.retainOnDelete,
                at_the_top_before=any(alias.spec.noParent for alias in request.aliases),
            )
        )
        return response

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802
        if "::pulumi:pulumi:Stack::" in request.urn:
            self.record.outputs.update(deserialize_properties(request.outputs))
        return super().RegisterResourceOutputs(request)  # type: ignore[no-untyped-call]


def stack_config(stack: str, folder: Path = ROOT) -> dict[str, str]:
    """The tracked config of a stack over the defaults of Pulumi.yaml, as the engine hands it to the program."""
    project = yaml.safe_load((folder / "Pulumi.yaml").read_text())
    own = yaml.safe_load((folder / f"Pulumi.{stack}.yaml").read_text())["config"]
    defaults = {f"{project['name']}:{key}": row["default"] for key, row in project["config"].items()}
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in (defaults | own).items()}


def record(stack: str, *, as_stack: str | None = None, deployed: Any = None, **changes: str) -> Record:
    """Run `__main__.py` with the config of `stack`, some keys changed, and return what it registered.

    `deployed`: the outputs (name -> value) that the stack has from before.
    """

    def make() -> Record:
        result = Record(deployed=dict(deployed or {}))
        config = stack_config(stack) | {f"{PROJECT}:{key}": value for key, value in changes.items()}
        _run(ROOT, PROJECT, as_stack or stack, config, result)
        if len(result.resources) < LEAST:
            raise LookupError(f"only {len(result.resources)} resources were recorded")
        return result

    return _kept((stack, as_stack, deployed, changes), make) if KEPT in os.environ else make()


def _kept(asked: object, make: Callable[[], Record]) -> Record:
    """What another process, or this one, recorded of the same; whoever comes meanwhile waits for it."""
    file = Path(os.environ[KEPT]) / f"{hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()}.pickle"
    with file.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if file.exists():
            record: Record = pickle.loads(file.read_bytes())  # noqa: S301 - our own
            return record
        record = make()
        file.write_bytes(pickle.dumps(record))
        return record


def record_bootstrap(stack: str = "dev", **changes: str) -> Record:
    """The same of the program in delivery/bootstrap/."""
    result, folder, project = Record(), ROOT / "delivery" / "bootstrap", f"{PROJECT}-bootstrap"
    _run(
        folder, project, stack, stack_config(stack, folder) | {f"{project}:{k}": v for k, v in changes.items()}, result
    )
    return result


def _run(folder: Path, project: str, stack: str, config: dict[str, str], result: Record) -> None:
    """Run the program in a folder with mocks; what it registers is in `result`."""
    monitor = _Monitor(result)
    engine = mocks.MockEngine(logging.getLogger("pulumi.mocks"))
    features = set(monitor.GetDeploymentInfo(None).supportedFeatures)  # type: ignore[no-untyped-call]
    # what set_mocks does, but with a root stack of its own for each run: outputs are registered on it
    settings.configure(
        mocks.MockSettings(  # type: ignore[no-untyped-call]
            monitor=monitor,
            monitor_features=features,
            engine=engine,
            project=project,
            stack=stack,
            dry_run=False,
            organization="organization",
            callbacks=monitor.transforms,
        )
    )
    settings.set_root_resource(None)  # type: ignore[arg-type]
    pulumi.runtime.set_all_config(config)

    async def program() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # pulumi_aws deprecates parts of itself on import
            runpy.run_path(str(folder / "__main__.py"), run_name="__main__")
        await _registered()
        monitor.construct()

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(run_in_stack(program))
    finally:
        settings.set_root_resource(None)  # type: ignore[arg-type]
        pulumi.runtime.set_all_config({})
        asyncio.set_event_loop(None)
        loop.close()


async def _registered() -> None:
    """Wait until all that the program has asked for so far is registered."""
    while pending := [task for task in asyncio.all_tasks() if task.get_coro().__name__ == "rpc_wrapper"]:  # type: ignore[union-attr]
        await asyncio.gather(*pending)
