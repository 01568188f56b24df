"""The types that the local AWS knows: one file per module of the Pulumi SDK (`aws:sqs/queue:Queue` is in `sqs.py`).

To support another type, add an entry to its file, or a file with a tuple `RESOURCES`; nothing else changes.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Iterator
from functools import cache

from local.provider.model import Resource


def find(token: str) -> Resource | None:
    """The entry of a type such as `aws:sqs/queue:Queue`, or None. Loads that one file."""
    package = token.removeprefix("aws:").split("/")[0]
    return _entries(package).get(token)


def everything() -> Iterator[Resource]:
    """All entries, for the tests and the docs."""
    for module in pkgutil.iter_modules(__path__):
        yield from importlib.import_module(f"{__name__}.{module.name}").RESOURCES


@cache
def _entries(package: str) -> dict[str, Resource]:
    for name in (package, f"{package}_"):  # `lambda` is a word of Python
        if name.isidentifier() and importlib.util.find_spec(f"{__name__}.{name}"):
            module = importlib.import_module(f"{__name__}.{name}")
            return {resource.type: resource for resource in module.RESOURCES}
    return {}
