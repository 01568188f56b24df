"""AWS Fault Injection Service: kept on record. The faults have twins among the tests (docs/experiments.md)."""

from __future__ import annotations

from local.provider.model import Resource

RESOURCES = (
    Resource(
        "aws:fis/experimentTemplate:ExperimentTemplate",
        id="EXT-{description}",
        note="the emulator has no fault injection; each experiment has a test that plays it",
    ),
)
