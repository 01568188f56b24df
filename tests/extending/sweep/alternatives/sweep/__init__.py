"""The descriptor of the sweep alternative."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alternatives.descriptor import Alternative, Datastore, Stacks

if TYPE_CHECKING:
    from analysis.costs.graph import CostModel
    from analysis.diagrams.model import Diagram
    from analysis.watched import Watched
    from cli.desk import DeskOf
    from components.settings import AlternativeSettings
    from demo.scenario import Scenario


def _settings() -> AlternativeSettings:
    from components.sweep.rules import SETTINGS  # type: ignore[import-not-found, import-untyped, unused-ignore]

    settings: AlternativeSettings = SETTINGS
    return settings


def _stacks() -> Stacks:
    from .stacks import STACKS

    return STACKS


def _watched() -> Watched:
    from .watched import table

    return table


def _costs() -> CostModel:
    from .costs import read

    return read


def _diagram() -> Diagram:
    from .diagram import DIAGRAM

    return DIAGRAM


def _desk() -> DeskOf:
    from .desk import DESK

    return DESK


def _scenario() -> type[Scenario]:
    from .demo import Sweep

    return Sweep


ALTERNATIVE = Alternative(
    datastore=Datastore(output="tableName", called="the table"),
    has_image=False,
    settings=_settings,
    stacks=_stacks,
    watched=_watched,
    costs=_costs,
    diagram=_diagram,
    desk=_desk,
    scenario=_scenario,
)
