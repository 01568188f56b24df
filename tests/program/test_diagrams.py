"""The diagrams are true: what they show is what the program makes, and the files are those of today's data."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import TypeGuard

import pytest
from PIL import Image

from analysis.diagrams import draw, pictures
from analysis.diagrams.model import Box, Diagram, Group, Node
from analysis.graph import Record, Recorded
from local.provider.awsx import nat_gateways, plan, zone_count
from tests.docs.markdown import ROOT
from workers.domain.transaction import Status
from workers.domain.transitions import TABLE

VPC = "awsx:ec2:Vpc"
Shown = Node | Box | Group
ARCHITECTURES = pictures.architectures()
NAMES_ONLY = {"environment"}
"""Properties that let nobody do anything: every function is told all names, what it may use its role says."""


def name_of(resource: Recorded) -> str:
    """As diagrams write it: `lambda/function:Function confirm`."""
    return f"{resource.type.removeprefix('aws:')} {resource.name}"


def node_of(diagram: Diagram, record: Record, resource: Recorded) -> Shown | None:
    """Whom a resource is drawn as: its own node, or the one of what it is a part of."""
    shown = [
        node
        for node in (*diagram.nodes, *diagram.groups)
        if any(fnmatchcase(name_of(resource), one) for one in node.shows)
    ]
    assert len(shown) <= 1, f"{name_of(resource)} is drawn {len(shown)} times in the diagram {diagram.name}"
    if shown:
        return shown[0]
    parent = next((one for one in record.resources if one.urn == resource.parent), None)
    return node_of(diagram, record, parent) if parent is not None else None


def drawn(recorded: Record) -> Iterator[tuple[Recorded, Shown | None]]:
    diagram = ARCHITECTURES[recorded.alternative]
    for resource in recorded.resources:
        if resource.custom and not resource.type.startswith("pulumi:"):
            yield resource, node_of(diagram, recorded, resource)


def test_every_resource_is_drawn(recorded: Record) -> None:
    missing = [name_of(resource) for resource, node in drawn(recorded) if node is None]
    assert not missing, (
        f"not drawn: {missing}. Add each to `shows` of the node in alternatives/{recorded.alternative}/diagram.py (or "
        f"analysis/diagrams/shared.py) that a reader would look for it at, or give it a node; then `make diagrams`"
    )


def links(record: Record) -> dict[tuple[str, str], str]:
    """Which node uses which, as the program has it; with the first pair of resources that shows it."""
    nodes = {resource.urn: node for resource, node in drawn(record)}
    by_urn = {resource.urn: resource for resource in record.resources}
    found: dict[tuple[str, str], str] = {}
    for resource, node in drawn(record):
        named = (urns for key, urns in resource.references.items() if key not in NAMES_ONLY)
        for urn in {urn for urns in named for urn in urns}:
            other = nodes.get(urn)
            if is_apart(node) and is_apart(other) and node is not other:
                found.setdefault((node.id, other.id), f"{name_of(resource)} -> {name_of(by_urn[urn])}")
    return found


def is_apart(node: Shown | None) -> TypeGuard[Node | Box]:
    """Whether it has arrows of its own."""
    return isinstance(node, Box) or (isinstance(node, Node) and not node.everywhere)


def arrows(diagram: Diagram) -> set[tuple[str, str]]:
    everywhere = {node.id for node in diagram.nodes if not is_apart(node)}
    return {
        (edge.end, edge.start) if edge.against else (edge.start, edge.end)
        for edge in diagram.edges
        if not edge.outside and not {edge.start, edge.end} & everywhere
    }


@pytest.mark.parametrize("alternative", ARCHITECTURES)
def test_every_arrow_is_in_the_program_and_every_link_is_an_arrow(alternative: str, records: dict[str, Record]) -> None:
    diagram = ARCHITECTURES[alternative]
    used: dict[tuple[str, str], str] = {}
    for record in records.values():
        if record.alternative == alternative:
            used |= links(record)
    undrawn = {pair: used[pair] for pair in used.keys() - arrows(diagram)}
    assert not undrawn, f"links without an arrow in alternatives/{alternative}/diagram.py: {undrawn}"
    untrue = arrows(diagram) - used.keys()
    assert not untrue, f"arrows in alternatives/{alternative}/diagram.py that the program does not have: {untrue}"


def test_the_life_is_the_table_of_transitions() -> None:
    drawn_moves = [(edge.start, edge.end) for edge in pictures.life.DIAGRAM.edges if not edge.outside]
    assert len(set(drawn_moves)) == len(drawn_moves)
    assert set(drawn_moves) == {(str(before), str(after)) for before, _, after, _ in TABLE}
    begun = {start for start, _ in drawn_moves}
    final = {node.id for node in pictures.life.DIAGRAM.nodes if isinstance(node, Box) and node.note == "final"}
    assert final == {str(status) for status in Status} - begun


def in_the_network(record: Record) -> set[str]:
    """What the network is made of, with what the VPC's component makes inside."""
    vpc = record.one("awsx:ec2:Vpc", "vpc").inputs
    inside = {f"{subnet.type.lower()}-{subnet.zone + 1}" for subnet in plan("vpc", vpc)}
    inside |= {f"endpoint {spec['serviceName'].rpartition('.')[2]}" for spec in vpc["vpcEndpointSpecs"]}
    names = {name_of(one) for one in record.resources if ":network:Network::" in one.parent or one.type == VPC}
    return inside | {name for name in names if name.startswith(("ec2/", VPC))}


@pytest.mark.parametrize("stack", ["prod", "fargate-prod", "extremes"])
def test_the_network_is_that_of_production(stack: str, records: dict[str, Record]) -> None:
    diagram, record = pictures.network.DIAGRAM, records[stack]
    patterns = [pattern for shown in (*diagram.nodes, *diagram.groups) for pattern in shown.shows]
    third = {"private-3", "public-3", "ec2/eip:Eip egress-3"}  # zones beyond two look like the others
    missing = [name for name in in_the_network(record) - third if not any(fnmatchcase(name, one) for one in patterns)]
    assert not missing, f"not in analysis/diagrams/network.py: {missing}"
    vpc = record.one(VPC, "vpc").inputs
    if zone_count(vpc) == len(pictures.network.ZONES):
        assert nat_gateways(vpc, zone_count(vpc)) == sum("NAT" in node.title for node in diagram.nodes)


@pytest.mark.parametrize("diagram", pictures.all_of_them(), ids=lambda one: one.name)
def test_a_diagram_stands_by_itself(diagram: Diagram, records: dict[str, Record]) -> None:
    ids = [node.id for node in diagram.nodes]
    assert len(set(ids)) == len(ids)
    assert {end for edge in diagram.edges for end in (edge.start, edge.end)} <= set(ids)
    names = {name_of(resource) for record in records.values() for resource in record.resources}
    names |= set().union(*(in_the_network(record) for record in records.values()))
    patterns = [pattern for shown in (*diagram.nodes, *diagram.groups) for pattern in shown.shows]
    idle = [one for one in patterns if not any(fnmatchcase(name, one) for name in names)]
    assert not idle, f"the diagram {diagram.name} shows what no stack has: {idle}"
    beyond = {node.id for node in diagram.nodes if not node.shows} | {"nat"}  # an address: the route is awsx's
    inner = [one for one in diagram.edges if one.outside and not {one.start, one.end} & beyond]
    assert not inner, f"arrows that the program could show: {inner}"


@pytest.mark.parametrize("diagram", pictures.all_of_them(), ids=lambda one: one.name)
def test_the_files_are_todays(diagram: Diagram) -> None:
    picture = draw.svg(diagram)
    hint = "run `make diagrams` and commit what it wrote"
    assert (ROOT / f"analysis/diagrams/{diagram.name}.svg").read_text() == picture, hint
    with Image.open(ROOT / f"analysis/diagrams/{diagram.name}.png") as image:
        assert image.info["svg"] == draw.digest(picture), hint
