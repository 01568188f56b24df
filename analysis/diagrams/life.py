"""The life of a transaction: the table of workers/domain/transitions.py."""

from __future__ import annotations

from analysis.diagrams.model import Box, Diagram, Edge, Group

DIAGRAM = Diagram(
    name="life",
    title="The life of a transaction: five states, and evidence for every way out",
    size=(8.75, 5.0),
    nodes=(
        Box("producer", (0.75, 1.9), "Producer", "adds it once", colour="#ffffff", size=(1.0, 0.6)),
        Box("PENDING", (2.4, 1.9), "PENDING", "due at a time", colour="#eaf1fb", size=(1.25, 0.7)),
        Box("PROCESSING", (4.9, 1.9), "PROCESSING", "token, lease,\nattempt + 1", colour="#fdf3e1", size=(1.3, 0.85)),
        Box("CONFIRMED", (7.6, 1.0), "CONFIRMED", "final", colour="#e6f4ea", size=(1.25, 0.65)),
        Box("REJECTED", (7.6, 2.8), "REJECTED", "final", colour="#fbe9e7", size=(1.25, 0.65)),
        Box("REVIEW", (4.9, 4.35), "REVIEW", "owner, reason, deadline", colour="#f3e8fb", size=(1.7, 0.7)),
    ),
    edges=(
        Edge("producer", "PENDING", outside=True),
        Edge("PENDING", "PROCESSING", "claim"),
        Edge(
            "PROCESSING",
            "PENDING",
            "no evidence yet:\ntry or ask later",
            at=(3.63, 3.12),
            via=[(4.6, 2.9), (2.65, 2.9)],
        ),
        Edge("PROCESSING", "PROCESSING", "lease expired: taken over", via=[(4.55, 1.0), (5.25, 1.0)], at=(4.9, 0.8)),
        Edge(
            "PROCESSING",
            "CONFIRMED",
            "evidence: done,\nthe right amount",
            via=[(6.2, 1.75), (6.2, 1.0)],
            at=(6.2, 1.35),
        ),
        Edge("PROCESSING", "REJECTED", "evidence: refused", via=[(6.2, 2.05), (6.2, 2.8)], at=(6.2, 2.5)),
        Edge(
            "PROCESSING",
            "REVIEW",
            "no evidence in time,\nattempts used up,\nor another amount",
            via=[(5.15, 3.0)],
            at=(5.85, 3.3),
        ),
        Edge("PENDING", "REVIEW", "deadline passed\nor attempts used up", via=[(2.4, 4.25)], at=(3.05, 3.95)),
        Edge(
            "REVIEW",
            "PENDING",
            "redrive, ask, new key:\none asks, another approves",
            via=[(2.05, 4.5)],
            at=(3.2, 4.75),
            kind="aside",
        ),
        Edge(
            "REVIEW",
            "REJECTED",
            "refused or cancelled",
            via=[(7.35, 4.25)],
            at=(6.7, 4.1),
            kind="aside",
        ),
        Edge(
            "REVIEW",
            "CONFIRMED",
            "done, by evidence:\none asks, another approves",
            via=[(8.5, 4.5), (8.5, 1.0)],
            at=(7.25, 4.75),
            kind="aside",
        ),
    ),
    groups=(Group("never left again", (6.8, 0.35), (8.4, 3.35), "#5f6b7a", dashed=True),),
)
