"""Config values by key to settings, for the alternatives that there are; or all that is wrong with them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from components.settings import keys, rules, values
from components.settings.alternative import AlternativeSettings, Part
from components.settings.errors import Problem, SettingsError
from components.settings.reading import Key, Value, Values
from components.settings.showing import is_shown, shown, shown_name
from components.settings.values import Settings

Alternatives = Mapping[str, AlternativeSettings]


def parts(alternatives: Alternatives) -> tuple[Part, ...]:
    """Those of all alternatives; what several share comes once."""
    found: list[Part] = []
    for part in (part for one in alternatives.values() for part in one.parts):
        if not any(part is known for known in found):
            found.append(part)
    return tuple(found)


def all_keys(alternatives: Alternatives) -> tuple[Key, ...]:
    """Every key that a config may have."""
    own = (key for part in parts(alternatives) for key in part.keys)
    return (*keys.choice_of(tuple(alternatives)), *keys.KEYS, *own)


def parse(config: Mapping[str, object], stack: str, alternatives: Alternatives) -> Settings:
    """Config values by key (without the project's prefix, as text or already typed) to settings of the stack so named.

    Raises:
        SettingsError: any key is wrong, unknown, missing, or at odds with another.
    """
    known = all_keys(alternatives)
    problems = [*_unknown(config, known)]
    read: dict[str, Value] = {}
    for key in known:
        raw = config.get(key.name, key.default)
        try:
            read[key.name] = key.read(raw)
        except (ValueError, RecursionError):  # of lists in lists in lists
            problems.append(Problem(key.name, shown(raw, key.name), key.allowed, key.mend))
    if len(read) == len(known):  # rules between keys need all of them
        settings, chosen = _built(stack, Values(read), alternatives)
        problems += [*rules.contradictions(settings), *chosen.contradictions(settings)]
    if problems:
        raise SettingsError(tuple(problems))
    return settings


def _built(stack: str, read: Values, alternatives: Alternatives) -> tuple[Settings, AlternativeSettings]:
    chosen = alternatives[read.text("alternative")]
    common = values.build(stack, read, chosen.lease_seconds)
    return replace(common, parts=tuple(own for part in parts(alternatives) for own in part.read(read, common))), chosen


def _unknown(config: Mapping[str, object], known: Sequence[Key]) -> Iterator[Problem]:
    names = {key.name: key for key in known}
    folded = {name.lower(): name for name in names}
    for name in sorted(set(config) - set(names)):
        near = difflib.get_close_matches(name.lower(), folded, n=1)
        found = f"a key that does not exist (= {shown(config[name], name)})"
        if near:
            meant = folded[near[0]]
            mend = _as_found(names[meant], name, config[name])
            yield Problem(shown_name(name), found, "the keys that Pulumi.yaml lists", mend, meant)
        else:
            yield Problem(shown_name(name), found, "the keys that Pulumi.yaml lists")


def _as_found(key: Key, name: str, raw: object) -> Value:
    """What was set under the wrong name, if it is right there and may be shown."""
    try:
        value = key.read(raw)
    except (ValueError, RecursionError):
        return key.mend
    return value if is_shown(raw, key.name) and is_shown(raw, name) else key.mend
