"""Run in the copy: what the rooms say of the third alternative's recorded stacks, as JSON."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

from rich.console import Console

import alternatives
from alternatives import ALTERNATIVES
from alternatives.settings import NAMES
from analysis import permissions, watched
from analysis.costs import graph as costs
from analysis.costs.__main__ import show
from analysis.costs.models import month
from analysis.costs.prices import MILLION
from analysis.diagrams import draw
from analysis.graph import record
from delivery.pipeline import gates
from delivery.pipeline.stacks import check
from delivery.policies import scan
from delivery.policies.graph import STACKS, findings, views
from delivery.policies.model import Level
from tests.program.test_diagrams import arrows, drawn, links, name_of

NAME = sys.argv[1]
PROD = dict(ALTERNATIVES[NAME].stacks().permissions[0])


def told(stacks: dict[str, costs.Priced]) -> str:
    """What `make cost` prints of them."""
    out = io.StringIO()
    show(Console(file=out, width=160), NAME, stacks, stacks[NAME], 10 * MILLION)
    return out.getvalue()


def main() -> dict[str, object]:
    stacks = {name: record(stack, **changes) for name, (stack, changes) in STACKS.items() if stack == NAME}
    found = {name: list(findings(views(one))) for name, one in stacks.items()}
    prod = stacks[f"{NAME} prod"]
    priced = costs.of(NAME, **PROD)
    bill = month(priced.bill, 10 * MILLION)
    diagram = ALTERNATIVES[NAME].diagram()
    check([NAME])  # raises where the pipeline would refuse its config
    return {
        "here": str(Path(alternatives.__file__).parent.parent),
        "resources": {name: len(one.resources) for name, one in stacks.items()},
        "broken": {name: [str(one) for one in all_ if one.level is Level.MANDATORY] for name, all_ in found.items()},
        "scanned": sorted(name for name, (stack, _) in scan.STACKS.items() if stack == NAME),
        "fixed": bill.fixed,
        "further": bill.further,
        "lines": sorted(bill.bill),
        "not drawn": [name_of(one) for one, node in drawn(prod) if node is None],
        "arrows": {"drawn": sorted(arrows(diagram)), "there": sorted(links(prod))},
        "picture": draw.svg(diagram),
        "alarms": [alarm.name for _, alarm in watched.everything(NAME).alarms],
        "permissions": len(list(permissions.rows(NAME))),
        "costs": told({**{one: costs.of(NAME, **PROD, alternative=one) for one in NAMES if one != NAME}, NAME: priced}),
        "gates": sorted(gates.used(NAME, ["dev"], rollback=False)),
    }


print(json.dumps(main()))
