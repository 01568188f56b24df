"""Check, diff, create, read, update and delete of any type, from its entry in the catalogue."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jmespath
from botocore.exceptions import ClientError

from local.provider.model import Call, Hook, Name, Read, Resource, Scope, Source
from local.provider.sdk import declared
from local.provider.session import AwsError, Session, aws_error, input_shape, record
from local.provider.shapes import (
    RefusedError,
    encode_tags,
    fill,
    filled,
    members,
    merge,
    parameters,
    plain,
    scalar,
    shape_at,
    taken,
)
from local.provider.values import UNKNOWN, Props, has_unknown, same, short_hash


@dataclass(frozen=True)
class Change:
    """One property that differs; `path` is nested as in `environment.variables.TABLE`."""

    path: str
    kind: str  # add, delete or update
    replace: bool


@dataclass(frozen=True)
class Lifecycle:
    """One type's life on one provider instance."""

    resource: Resource
    session: Session

    # -- what follows from the entry ----------------------------------------------------------------------

    @property
    def calls(self) -> tuple[Call, ...]:
        create = (self.resource.create,) if self.resource.create else ()
        return create + self.resource.updates

    def client(self, scope: Scope) -> Any:
        return self.session.client(self.resource.service, scope.get("region"))

    def covered(self, call: Call) -> tuple[str, ...]:
        """The properties that a call sends."""
        types = declared(self.resource.type)
        shape = input_shape(self.client({}), call.operation)
        return taken(call, shape, types.inputs if types else ())

    def changeable(self) -> set[str]:
        """The properties that can change without a new resource."""
        resource = self.resource
        result = {"tags", *resource.recorded, *resource.handled, *resource.configures}
        if not resource.service:
            return set(declared(resource.type).inputs) if declared(resource.type) else result  # type: ignore[union-attr]
        calls = self.calls if resource.upsert else resource.updates
        for call in calls:
            result.update(self.covered(call))
        if resource.name:
            result.discard(resource.name.property)
        return result - set(resource.replaces) - {"region"}

    def supported(self) -> set[str]:
        """The properties that the entry knows what to do with."""
        resource = self.resource
        result = {"region", *resource.recorded, *resource.handled, *resource.configures}
        if resource.name:
            result |= {resource.name.property, resource.name.prefix} - {""}
        if resource.tagging or not resource.service:
            result.add("tags")
        if not resource.service:
            return result | set(_types(resource).inputs)
        for call in self.calls:
            result.update(self.covered(call))
        return result

    # -- check ----------------------------------------------------------------------------------------------

    def check(self, urn_name: str, news: Props, olds: Props, seed: bytes) -> tuple[Props, list[tuple[str, str]]]:
        """The inputs with names, defaults and default tags, and what is wrong with them as (property, reason)."""
        resource, types = self.resource, _types(self.resource)
        inputs = {key: value for key, value in news.items() if value is not None and key != "__defaults"}
        for key, value in resource.defaults.items():
            inputs.setdefault(key, value)
        if resource.name:
            inputs = _named(resource.name, urn_name, inputs, olds, seed)
        if "tags" in types.inputs and (tags := {**self.session.default_tags, **(inputs.get("tags") or {})}):
            inputs["tags"] = tags
        if inputs == {key: value for key, value in olds.items() if key != "__defaults"}:
            return inputs, []  # what was accepted once; AWS's service models need not be loaded for it
        return inputs, self._unsupported(inputs) or self._unsendable(inputs)

    def _unsupported(self, inputs: Props) -> list[tuple[str, str]]:
        """Properties that the type lacks, or that the entry does not know."""
        token, types, known = self.resource.type, _types(self.resource), self.supported()
        failures = []
        for key in inputs:
            if key not in types.inputs:
                failures.append((key, f"{token} has no property {key}"))
            elif key not in known:
                failures.append((key, f"the local AWS does not support {key} of {token}"))
        return failures

    def _unsendable(self, inputs: Props) -> list[tuple[str, str]]:
        """Renders every call without making it: a nested property that AWS lacks is refused before anything runs."""
        for call in self.calls if self.resource.service else ():
            try:
                self._parameters(call, {key: value for key, value in inputs.items() if not has_unknown(value)}, {})
            except RefusedError as error:
                return [(error.path, error.reason)]
            except OSError as error:  # an archive that is not there: `up` says so if it still is not
                return [] if isinstance(error, FileNotFoundError) else [("code", str(error))]
        return []

    # -- diff -----------------------------------------------------------------------------------------------

    def diff(self, olds: Props, news: Props, ignored: Sequence[str]) -> list[Change]:
        """What differs between the inputs before and the inputs now."""
        changes: list[Change] = []
        in_place: set[str] | None = None
        for key in sorted({*olds, *news} - {"__defaults"}):
            if same(olds.get(key), news.get(key)):
                continue
            if in_place is None:
                in_place = self.changeable()
            for path, kind in _differences(olds.get(key), news.get(key), key):
                if not any(path == name or path.startswith((name + ".", name + "[")) for name in ignored):
                    changes.append(Change(path, kind, key not in in_place))
        return changes

    # -- create, update, delete -------------------------------------------------------------------------------

    def preview(self, inputs: Props, olds: Props | None = None, old_inputs: Props | None = None) -> Props:
        """The state that is to be expected: what only AWS can tell is unknown, on update what AWS will change."""
        types = _types(self.resource)
        if olds is None:
            state = {key: UNKNOWN for key in types.outputs if key not in types.inputs}
            return {**state, **inputs, **_tags_all(types.outputs, inputs)}
        state = self._expected(inputs, olds, old_inputs or {})
        changed = _changed(old_inputs or {}, inputs)
        return {**state, **{key: UNKNOWN for key, causes in self.resource.volatile.items() if changed & set(causes)}}

    def _expected(self, inputs: Props, olds: Props, old_inputs: Props) -> Props:
        """The state after an update, as far as it can be told: without the inputs that were dropped."""
        state = {key: value for key, value in olds.items() if key in inputs or key not in old_inputs}
        return {**state, **inputs, **_tags_all(_types(self.resource).outputs, inputs)}

    def create(self, name: str, inputs: Props) -> tuple[str, Props]:
        """Makes the resource; returns id and state. On failure nothing of it stays behind."""
        resource = self.resource
        self._record(name, inputs)
        scope = self._scope(inputs)
        if not resource.service:
            scope["id"] = str(self._source(resource.id, {}, scope))
            return scope["id"], {**inputs, **self._outputs(inputs, scope)}
        client = self.client(scope)
        response, sent = self._make(client, inputs, scope)
        scope["id"] = str(self._source(resource.id, response, scope))
        try:
            for call in resource.updates:
                rest = set(self.covered(call)) - sent
                if not call.update_only and rest & inputs.keys():
                    self._run(call, inputs, scope, changed=rest)
            if not self._tagged_on_create(client):
                self._retag({}, inputs.get("tags") or {}, scope)
            if resource.configure:
                self._hook(resource.configure, client, scope)
            return scope["id"], {**inputs, **self._outputs(inputs, scope, response)}
        except Exception:
            self.delete(scope["id"], {**scope})
            raise

    def _make(self, client: Any, inputs: Props, scope: Scope) -> tuple[Any, set[str]]:
        """AWS's answer to the create, or its description of what is adopted; and the properties sent so far."""
        resource = self.resource
        if resource.create is None:
            found = self._describe(scope, resource.adopt)
            if found is None:
                raise RefusedError(resource.type, "there is nothing to adopt")
            return found, set()
        create, given = resource.create, self._parameters(resource.create, inputs, scope)
        if inputs.get("tags") and resource.tagging and self._tagged_on_create(client):
            shape = input_shape(client, create.operation)
            target = members(shape)["tags"]
            given[target] = encode_tags(shape_at(shape, [target]), inputs["tags"])
        response = self.session.patiently(lambda: self.session.call(client, create.operation, given))
        return response, set(self.covered(create))

    def update(self, name: str, identity: str, olds: Props, old_inputs: Props, news: Props) -> Props:
        resource = self.resource
        self._record(name, news)
        scope = self._scope({**olds, **news}, identity)
        if resource.service:
            changed = _changed(old_inputs, news)
            calls = self.calls if resource.upsert else resource.updates
            for call in calls:
                if changed & set(self.covered(call)):
                    self._run(call, news, scope, changed, old_inputs)
            if resource.configure and changed & set(resource.configures):
                self._hook(resource.configure, self.client(scope), scope)
            if "tags" in changed:
                self._retag(old_inputs.get("tags") or {}, news.get("tags") or {}, scope)
        return {**self._expected(news, olds, old_inputs), **self._outputs(news, scope)}

    def delete(self, identity: str, state: Props) -> None:
        """Deletes the resource; one that is gone already is fine."""
        resource, scope = self.resource, self._scope(state, identity)
        if not resource.service or not resource.delete:
            return
        client = self.client(scope)
        try:
            if resource.before_delete:
                self._hook(resource.before_delete, client, scope)
            given = parameters(resource.delete, input_shape(client, resource.delete.operation), {}, scope)
            self.session.patiently(lambda: self.session.call(client, resource.delete.operation, given))  # type: ignore[union-attr]
        except AwsError as error:
            if not error.gone:
                raise

    # -- read -----------------------------------------------------------------------------------------------

    def read(self, identity: str, state: Props, inputs: Props) -> tuple[Props, Props] | None:
        """State and inputs as AWS has them now, or None if the resource is gone."""
        scope = self._scope(state, identity)
        if not self.resource.service or not self.resource.read:
            return state, inputs
        found = self._describe(scope, self.resource.read)
        if found is None:
            return None
        drift = self._drift(found, inputs, scope) if self.resource.drift else {}
        if self.resource.seen:
            drift |= _unlike(inputs, self.resource.seen(self.client(scope), scope))
        outputs = self._outputs(inputs, scope, found=found)
        return {**state, **outputs, **drift}, {**inputs, **drift}

    def _describe(self, scope: Scope, read: Read | None) -> Any:
        """AWS's description, or None if the resource is not there."""
        if read is None:
            return None
        where = filled(read.where, scope)
        if any(value == [None] for value in where.values()):
            return None
        try:
            response = self.session.call(self.client(scope), read.operation, where)
        except AwsError as error:
            if error.gone:
                return None
            raise
        found = jmespath.search(read.root, response)
        if found in (None, [], {}) or (read.exists and not read.exists(found, scope)):
            return None
        return found

    def _drift(self, found: Any, inputs: Props, scope: Scope) -> Props:
        """Inputs that somebody changed behind Pulumi's back. Only plain values: the emulator loses nested ones."""
        kinds, result = _types(self.resource).inputs, {}
        for key, value in inputs.items():
            if kinds.get(key, "other") == "other" or key in self.resource.recorded:
                continue
            now = (
                self._source(self.resource.outputs[key], found, scope)
                if key in self.resource.outputs
                else _member(found, key)
            )
            if now is None or isinstance(now, dict | list):
                continue
            now = scalar(now, kinds[key])
            if not same(value, now) and str(value) != str(now):
                result[key] = now
        return result

    # -- parts ----------------------------------------------------------------------------------------------

    def _scope(self, values: Props, identity: str = "") -> dict[str, Any]:
        scope = {"region": self.session.region, "account": self.session.account, "partition": "aws"}
        if identity:
            scope["id"] = identity
        return {**values, **{key: value for key, value in scope.items() if key != "region" or not values.get("region")}}

    def _parameters(self, call: Call, inputs: Props, scope: Scope, only: Iterable[str] | None = None) -> Props:
        covered = self.covered(call)
        wanted = covered if only is None else [name for name in covered if name in only]
        values = {name: inputs[name] for name in wanted if name in inputs}
        return parameters(call, input_shape(self.client(scope), call.operation), values, scope)

    def _run(
        self, call: Call, inputs: Props, scope: Scope, changed: set[str], olds: Mapping[str, Any] | None = None
    ) -> None:
        covered, client = self.covered(call), self.client(scope)
        if call.stays and not any(name in inputs for name in covered):
            return
        if call.remove and not any(name in inputs for name in covered):
            operation, given = (
                call.remove,
                parameters(Call(call.remove, where=call.where), input_shape(client, call.remove), {}, scope),
            )
        else:
            operation, given = (
                call.operation,
                self._parameters(call, inputs, scope, changed if call.only_changed else None),
            )
            for name, cleared in call.unset.items():
                if name in changed and name not in inputs and name in (olds or {}):
                    merge(given, copy.deepcopy(dict(cleared)))
        self.session.patiently(lambda: self.session.call(client, operation, given))

    def _outputs(self, inputs: Props, scope: Scope, response: Any = None, found: Any = None) -> Props:
        """The computed properties: those of the entry, and the members of AWS's description with the same names."""
        resource, types = self.resource, _types(self.resource)
        if found is None and resource.read:
            found = self._describe(scope, self.resource.read)
        if found is None:
            found = response if response is not None else {}
        result: Props = {}
        for key, kind in types.outputs.items():
            if key in resource.outputs or (key in scope and key in types.inputs):
                continue
            value = _member(found, key)
            if value is not None and kind != "other" and not isinstance(value, dict | list):
                result[key] = scalar(value, kind)
        for key, source in resource.outputs.items():
            if inputs.get(key) is not None and key not in resource.actual:
                continue
            value = self._source(source, found, {**scope, **result})
            if value is not None:
                kind = types.outputs.get(key, "other")
                result[key] = value if kind == "other" else scalar(value, kind)
        for key, lookup in resource.lookups.items():
            if scope.get(key) is None and (value := self._describe(scope, lookup)) is not None:
                result[key] = value
        return {**result, **_tags_all(types.outputs, scope)}

    def _source(self, source: Source, response: Any, scope: Scope) -> Any:
        if callable(source):
            return source(response, scope)
        return fill(source, scope) if "{" in source else jmespath.search(source, response)

    def _record(self, name: str, inputs: Props) -> None:
        resource = self.resource
        if not resource.service or resource.note:
            record(resource.type, name, resource.note or "kept on record only")
        for key, why in resource.recorded.items():
            if inputs.get(key) not in (None, False, [], {}):
                record(resource.type, name, f"{key}: {why}")

    def _tagged_on_create(self, client: Any) -> bool:
        create = self.resource.create
        return bool(
            create and self.resource.tags_on_create and "tags" in members(input_shape(client, create.operation))
        )

    def _hook(self, hook: Hook, client: Any, scope: dict[str, Any]) -> None:
        try:
            hook(client, scope)
        except ClientError as error:
            raise aws_error(hook.__name__.strip("_"), error) from None

    def _retag(self, olds: Mapping[str, str], news: Mapping[str, str], scope: dict[str, Any]) -> None:
        tagging = self.resource.tagging
        if tagging is None or olds == news:
            return
        client = self.client(scope)
        where = filled(tagging.where, scope)
        removed = [key for key in olds if key not in news]
        if removed and not tagging.whole:
            shape = input_shape(client, tagging.remove)
            target = next(name for key, name in members(shape).items() if key in ("tagkeys", "keys", "tags"))
            pairs = shape_at(shape, [target]).member.type_name == "structure"
            keys: Any = [{"Key": key} for key in removed] if pairs else removed
            self.session.call(client, tagging.remove, {**where, target: keys})
        if news or tagging.whole:
            shape = input_shape(client, tagging.add)
            if tagging.whole:  # S3 alone: Tagging={"TagSet": [...]}
                tags = {"Tagging": {"TagSet": [{"Key": key, "Value": value} for key, value in news.items()]}}
            else:
                target = members(shape)["tags"]
                tags = {target: encode_tags(shape_at(shape, [target]), news)}
            self.session.call(client, tagging.add, {**where, **tags})


class _NoTypes:
    inputs: Mapping[str, str] = {}
    outputs: Mapping[str, str] = {}


def _types(resource: Resource) -> Any:
    return declared(resource.type) or _NoTypes


def _tags_all(outputs: Mapping[str, str], inputs: Mapping[str, Any]) -> Props:
    return {"tagsAll": dict(inputs.get("tags") or {})} if "tagsAll" in outputs else {}


def _unlike(inputs: Props, seen: Mapping[str, Any]) -> Props:
    """Of what was asked for, that which is another by now. What nobody asked for may be anything, but for tags."""
    result: Props = {}
    for key, now in seen.items():
        asked = inputs.get(key)
        if isinstance(asked, dict) and any(now.get(name) != value for name, value in asked.items()):
            result[key] = dict(now)
    return result


def _changed(olds: Props, news: Props) -> set[str]:
    return {key for key in {*olds, *news} if not same(olds.get(key), news.get(key))}


def _member(found: Any, key: str) -> Any:
    if not isinstance(found, dict):
        return None
    wanted = plain(key)
    return next((value for name, value in found.items() if plain(name) == wanted), None)


def _named(rule: Name, logical: str, inputs: Props, olds: Props, seed: bytes) -> Props:
    """The inputs with a physical name: the given one, the one it had, or a new one from the engine's random seed."""
    if inputs.get(rule.property) is not None:
        return inputs
    prefix = inputs.get(rule.prefix) if rule.prefix else None
    old = olds.get(rule.property)
    kept = isinstance(old, str) and old != UNKNOWN and olds.get(rule.prefix) == prefix
    if kept:
        return {**inputs, rule.property: old}
    suffix = rule.suffix(inputs)
    if prefix is not None:
        return {**inputs, rule.property: f"{prefix}{short_hash(seed, 26)}{suffix}"}
    ending = f"-{short_hash(seed, 7)}{suffix}"
    base = f"{rule.start}{logical.lower() if rule.lower else logical}"
    return {**inputs, rule.property: base[: rule.limit - len(ending)] + ending}


def _differences(old: Any, new: Any, path: str) -> list[tuple[str, str]]:
    """Paths that differ, as deep as both sides are maps or lists of one length."""
    if same(old, new):
        return []
    if old is None:
        return [(path, "add")]
    if new is None:
        return [(path, "delete")]
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            found
            for key in sorted({*old, *new})
            for found in _differences(old.get(key), new.get(key), f"{path}{_step(key)}")
        ]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [
            found
            for index, (before, now) in enumerate(zip(old, new, strict=True))
            for found in _differences(before, now, f"{path}[{index}]")
        ]
    return [(path, "update")]


def _step(key: str) -> str:
    return f".{key}" if key.replace("_", "a").isalnum() else f"[{json.dumps(key)}]"
