"""All diagrams: a module each."""

from __future__ import annotations

from analysis.diagrams import fargate, life, network, pipeline, serverless
from analysis.diagrams.model import Diagram

__all__ = ["all_of_them", "fargate", "life", "network", "pipeline", "serverless"]


def all_of_them() -> tuple[Diagram, ...]:
    return (serverless.DIAGRAM, fargate.DIAGRAM, life.DIAGRAM, network.DIAGRAM, pipeline.DIAGRAM)
