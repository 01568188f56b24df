"""What an entry of the catalogue says about one type, and what follows from it by itself.

Most of an entry is derived. A property goes to the parameter of the same name (`visibilityTimeout` to
`VisibilityTimeout`), nested ones too; `rename` says otherwise. A property that only the create operation takes
forces replacement, as there is no way to change it. Outputs are the read operation's members of the same name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Scope = Mapping[str, Any]
"""A resource's inputs and outputs by Pulumi name, and `id`, `region`, `account`, `partition`."""

Template = Any
"""A parameter's value: text with `{property}` in it (alone, it keeps the property's type), or lists and maps of it."""

Source = str | Callable[[Any, Scope], Any]
"""Where an output comes from: a JMESPath into the response, a template (has `{`), or a function of both."""

Encoder = Callable[[Any], Mapping[str, Any]]
"""One property's value as parameters, where no rename can say it."""


Composer = Callable[[Mapping[str, Any], Scope], Mapping[str, Any]]
"""All properties of a call, and the scope, as parameters, where they only make sense together."""


@dataclass(frozen=True)
class Call:
    """One operation of AWS.

    `takes` limits which properties it sends (default: all that its input has a parameter for); `rename` maps a
    property, or a nested one as `a.b`, to a parameter path; `where` are parameters that identify the resource.
    `remove` is the operation (with `where`) that undoes it when none of its properties is set any more, `unset`
    the parameters that clear one property; `stays`: where none is set any more, the real provider leaves AWS as it is.
    `update_only` keeps it from running after create, `only_changed` sends
    what differs and no more. `compose` makes the parameters of all of `takes` at once.
    """

    operation: str
    takes: tuple[str, ...] | None = None
    rename: Mapping[str, str] = field(default_factory=dict)
    encode: Mapping[str, Encoder] = field(default_factory=dict)
    compose: Composer | None = None
    where: Mapping[str, Template] = field(default_factory=dict)
    remove: str = ""
    unset: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    stays: bool = False
    update_only: bool = False
    only_changed: bool = False


@dataclass(frozen=True)
class Read:
    """How to see the resource: `root` is the JMESPath of its description; nothing there means that it is gone."""

    operation: str
    where: Mapping[str, Template]
    root: str = "@"
    exists: Callable[[Any, Scope], bool] | None = None


@dataclass(frozen=True)
class Name:
    """The physical name, made from the logical one unless given. `suffix` depends on the inputs (`.fifo`)."""

    property: str = "name"
    prefix: str = "namePrefix"
    limit: int = 64
    lower: bool = False
    start: str = ""
    suffix: Callable[[Scope], str] = lambda _: ""


@dataclass(frozen=True)
class Tagging:
    """Operations that set and remove tags; `where` identifies the resource; `whole` sends the full set each time."""

    where: Mapping[str, Template]
    add: str = "tag_resource"
    remove: str = "untag_resource"
    whole: bool = False


Hook = Callable[[Any, dict[str, Any]], None]
"""Something that operations one by one cannot say; gets the boto3 client and the scope."""


Seen = Callable[[Any, Scope], Mapping[str, Any]]
"""Inputs as AWS has them now, that its description does not show; gets the boto3 client and the scope."""


@dataclass(frozen=True)
class Resource:
    """One type. Without a `service` it is recorded only, that is, kept in the state and told to the user.

    Made by `create`, or taken over where AWS made it already (`adopt`); `upsert`: create also updates. `updates`
    run after create as well, for those of their properties that create does not send. `configure` is a hook over
    the properties in `configures`, after create and when one of them changes.

    `recorded` says why a property has no effect locally, `note` why the whole type has none. `handled` properties
    steer this provider and are never sent. `lookups` are outputs that take a call of their own, `volatile` those
    that a change of certain properties changes. `replaces` force replacement although a call could change them.
    `actual` are inputs whose output may differ from what was asked for, and then counts. `seen` are inputs that take
    calls of their own to be read back.
    """

    type: str
    service: str = ""
    create: Call | None = None
    adopt: Read | None = None
    id: Source = ""
    updates: tuple[Call, ...] = ()
    upsert: bool = False
    configure: Hook | None = None
    configures: tuple[str, ...] = ()
    read: Read | None = None
    delete: Call | None = None
    before_delete: Hook | None = None
    delete_first: bool = False
    name: Name | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    tagging: Tagging | None = None
    tags_on_create: bool = True
    outputs: Mapping[str, Source] = field(default_factory=dict)
    volatile: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    lookups: Mapping[str, Read] = field(default_factory=dict)
    recorded: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    handled: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    actual: tuple[str, ...] = ()
    drift: bool = True
    seen: Seen | None = None
