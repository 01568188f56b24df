"""All diagrams: those of the alternatives, and a module for each other one."""

from __future__ import annotations

from alternatives import ALTERNATIVES
from analysis.diagrams import life, network, pipeline
from analysis.diagrams.model import Diagram

__all__ = ["all_of_them", "architectures", "life", "network", "pipeline"]


def architectures() -> dict[str, Diagram]:
    return {name: alternative.diagram() for name, alternative in ALTERNATIVES.items()}


def all_of_them() -> tuple[Diagram, ...]:
    return (*architectures().values(), life.DIAGRAM, network.DIAGRAM, pipeline.DIAGRAM)
