"""A copy of the repository with a third alternative beside the two, made as docs/extending.md says."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.docs.markdown import ROOT

SWEEP = Path(__file__).parent / "sweep"
"""All its files, where they will lie; none of them is there in the repository."""
FOLDERS = ("alternatives/sweep", "components/sweep", "workers/sweep")
STACK = "Pulumi.sweep.yaml"
IMPORTS = """\
from components.sweep import DATA_SERVICES as SWEEP_SERVICES
from components.sweep.compute import SweepCompute, SweepComputeArgs
from components.sweep.observability import SweepObservability, SweepObservabilityArgs
"""
SEQUENCE = '''
def sweep_stack() -> Outputs:
    """DynamoDB, and one Lambda on a schedule."""
    encryption = Encryption("encryption", EncryptionArgs.of(base, SWEEP_SERVICES), options)
    datastore = DynamoDbDatastore("datastore", DynamoDbDatastoreArgs.of(base, encryption), options)
    network = Network("network", serverless_network_args(base, encryption, datastore), options)
    compute = SweepCompute("compute", SweepComputeArgs.of(base, encryption, network, datastore), options)
    observability_args = SweepObservabilityArgs.of(base, encryption, compute)
    observability = SweepObservability("observability", observability_args, options)
    return {**datastore.outputs, **network.outputs, **compute.outputs, **observability.outputs}

'''
CHANGES: dict[str, tuple[tuple[str, str], ...]] = {
    # file: what stands there, and what comes before it
    "alternatives/__init__.py": (
        ("from alternatives.descriptor import", "from alternatives import sweep\n"),
        ("}\n", '    "sweep": sweep.ALTERNATIVE,\n'),
    ),
    "__main__.py": (
        ("\nconfig = settings.load()", IMPORTS),
        ("\nmatch config.alternative:", SEQUENCE),
        ("    case other:", '    case "sweep":\n        outputs = sweep_stack()\n'),
    ),
    "azure-pipelines.yml": (("]\n  - name: promoteTo", ", sweep"),),
}
"""All that changes in files that there are."""


def make(to: Path) -> list[str]:
    """Copy the repository, add the alternative, and return which files were there before and differ now."""
    shutil.copytree(ROOT, to, dirs_exist_ok=True, ignore=_not_needed)
    for folder in FOLDERS:
        shutil.copytree(SWEEP / folder, to / folder, ignore=_not_needed)
    shutil.copy(SWEEP / STACK, to / STACK)
    for name, changes in CHANGES.items():
        text = (to / name).read_text()
        for place, what in changes:
            if text.count(place) != 1:
                raise LookupError(f"{name} has {text.count(place)} places like {place!r}, and one is needed")
            text = text.replace(place, what + place)
        (to / name).write_text(text)
    copied = (path for path in to.rglob("*") if path.is_file() and path.suffix != ".pyc")
    there = ((path, ROOT / path.relative_to(to)) for path in copied)
    return sorted(
        str(path.relative_to(to)) for path, old in there if old.is_file() and old.read_bytes() != path.read_bytes()
    )


def _not_needed(folder: str, names: list[str]) -> list[str]:
    """What is made, not written, and git's. What Python compiled goes along: it holds for a file with the same time."""
    return [name for name in names if name.startswith(".") or name.endswith(".egg-info")]
