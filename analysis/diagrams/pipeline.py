"""The pipeline: the stages of azure-pipelines.yml, from a commit to prod."""

from __future__ import annotations

from itertools import pairwise

from analysis.diagrams.model import Box, Diagram, Edge, Group

BLUE, SAND, GREEN, LILAC = "#eaf1fb", "#fdf3e1", "#e6f4ea", "#f3e8fb"
ROWS = {"dev": 2.2, "staging": 3.8, "prod": 5.4}
SIZE = (1.5, 0.75)
STAGES = (
    ("Plan", 3.3, "preview, saved;\na summary to read", BLUE),
    ("Approve", 5.3, "a person, and not\nwho started it", LILAC),
    ("Apply", 7.3, "same commit, artifact,\nplan, no drift", SAND),
    ("Verify", 9.3, "code, canary,\nno drift", GREEN),
)


def _environment(name: str, row: float) -> tuple[Box, ...]:
    return tuple(
        Box(f"{stage}_{name}", (column, row), f"{stage} {name}", note, size=SIZE, colour=colour)
        for stage, column, note, colour in STAGES
    )


def _along(name: str) -> tuple[Edge, ...]:
    return tuple(Edge(f"{one[0]}_{name}", f"{other[0]}_{name}") for one, other in pairwise(STAGES))


def _down(upper: str, lower: str) -> Edge:
    """From the end of a row to the start of the next."""
    between = (ROWS[upper] + ROWS[lower]) / 2 - 0.1
    return Edge(f"Verify_{upper}", f"Plan_{lower}", via=[(9.3, between), (1.9, between), (1.9, ROWS[lower])])


DIAGRAM = Diagram(
    name="pipeline",
    title="The pipeline: each environment is planned when the one before it was verified",
    size=(10.6, 6.1),
    nodes=(
        Box("commit", (0.9, 0.75), "Azure Repos", "a commit on main", colour="#ffffff", size=(1.4, 0.7)),
        Box(
            "Build", (3.3, 0.75), "Build", "gates, tests, zip,\nSBOM, licences, secrets", colour=BLUE, size=(1.75, 0.75)
        ),
        Box("Validate", (5.6, 0.75), "Validate", "types, policies,\nconfiguration", colour=BLUE, size=SIZE),
        Box("Image", (7.6, 0.75), "Image", "of fargate: built\nhere, by its digest", colour=BLUE, size=SIZE),
        *(box for name, row in ROWS.items() for box in _environment(name, row)),
    ),
    edges=(
        Edge("commit", "Build", outside=True),
        Edge("Build", "Validate"),
        Edge("Validate", "Image"),
        Edge("Image", "Plan_dev", via=[(7.6, 1.3), (1.9, 1.3), (1.9, ROWS["dev"])]),
        *(edge for name in ROWS for edge in _along(name)),
        _down("dev", "staging"),
        _down("staging", "prod"),
    ),
    groups=tuple(
        Group(
            f"confirm-{name}: its own account, roles, approvals and lock",
            (2.2, row - 0.72),
            (10.4, row + 0.5),
            "#5f6b7a",
            dashed=True,
        )
        for name, row in ROWS.items()
    ),
)
