"""The descriptor of the serverless alternative."""

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
    from components.serverless.rules import SETTINGS

    return SETTINGS


def _stacks() -> Stacks:
    from alternatives.serverless.stacks import STACKS

    return STACKS


def _watched() -> Watched:
    from alternatives.serverless.watched import table

    return table


def _costs() -> CostModel:
    from alternatives.serverless.costs import read

    return read


def _diagram() -> Diagram:
    from alternatives.serverless.diagram import DIAGRAM

    return DIAGRAM


def _desk() -> DeskOf:
    from alternatives.serverless.desk import DESK

    return DESK


def _scenario() -> type[Scenario]:
    from alternatives.serverless.demo import Serverless

    return Serverless


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
