"""What each alternative brings to the rooms around: a facet for each of them.

A facet is a function that imports what it returns: who asks for one loads nothing of the others, so that the operators'
command never loads Pulumi, and a preview no prices. docs/extending.md says how to add an alternative.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analysis.costs.graph import CostModel
    from analysis.diagrams.model import Diagram
    from analysis.watched import Watched
    from cli.desk import DeskOf
    from components.settings import AlternativeSettings
    from demo.scenario import Scenario

Config = Mapping[str, str]
"""Keys of a stack's config that differ from those of `Pulumi.NAME.yaml`."""


@dataclass(frozen=True, slots=True)
class Datastore:
    output: str
    """The stack's output that names what holds transactions."""
    called: str
    """What people call it: "the table"."""


@dataclass(frozen=True, slots=True)
class Stacks:
    """Configs of stacks that are recorded, where none is deployed."""

    tested: Mapping[str, Config]
    """Name -> config: what tests/program holds to what every stack keeps, everything optional among it."""
    permissions: Sequence[Config]
    """Stacks that have, together, all the statements that there are."""
    watched: Mapping[str, object]
    """The config with which the table of what is watched has every row, but for canaries."""
    emitting: Sequence[str]
    """The files of the workers that emit metrics here, beside those that all have."""
    operators: Sequence[str]
    """The actions of AWS that the command `confirm` needs, and no other: its people get these."""


@dataclass(frozen=True, slots=True)
class Alternative:
    datastore: Datastore
    has_image: bool
    """Whether its workers come as a container's image, which the pipeline builds before it plans."""
    settings: Callable[[], AlternativeSettings]
    """Keys, values, and the rules between them (components/settings)."""
    stacks: Callable[[], Stacks]
    """For tests, the policies' and the docs' tables."""
    watched: Callable[[], Watched]
    """The table of what is watched (docs/operations.md)."""
    costs: Callable[[], CostModel]
    """What its use costs (`make cost`)."""
    diagram: Callable[[], Diagram]
    """Its picture (`make diagrams`)."""
    desk: Callable[[], DeskOf]
    """The way of the command `confirm` to its datastore. Never loads Pulumi."""
    scenario: Callable[[], type[Scenario]]
    """Its part in `make demo`."""
