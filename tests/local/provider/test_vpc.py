"""The subnets and checks of awsx.ec2.Vpc as plain functions."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from local.provider.awsx import nat_gateways, plan, zone_count
from local.provider.subnets import LayoutError, gaps, layout

PRIVATE, PUBLIC, ISOLATED = {"type": "Private"}, {"type": "Public"}, {"type": "Isolated"}


def cidrs(*args: Any) -> list[str]:
    return [subnet.cidr for subnet in layout("vpc", *args)]


def test_zones_and_specs_share_evenly() -> None:
    assert cidrs("10.0.0.0/16", 2, [PRIVATE, PUBLIC]) == [
        "10.0.0.0/18",
        "10.0.64.0/18",
        "10.0.128.0/18",
        "10.0.192.0/18",
    ]


def test_three_zones_take_a_quarter_each() -> None:
    found = cidrs("10.0.0.0/16", 3, [PRIVATE, PUBLIC])
    assert found == ["10.0.0.0/19", "10.0.32.0/19", "10.0.64.0/19", "10.0.96.0/19", "10.0.128.0/19", "10.0.160.0/19"]


def test_without_specs_private_is_half_a_zone_and_public_a_quarter() -> None:
    assert cidrs("10.0.0.0/16", 3, None)[:2] == ["10.0.0.0/19", "10.0.32.0/20"]
    assert cidrs("10.0.0.0/8", 1, None) == ["10.0.0.0/17", "10.0.128.0/18"]  # never more than the first /16


def test_subnets_are_aligned_to_their_size() -> None:
    specs = [{**PUBLIC, "cidrMask": 24}, {**PRIVATE, "cidrMask": 20}, {**ISOLATED, "size": 256}]
    assert cidrs("10.0.0.0/16", 2, specs)[:3] == ["10.0.0.0/24", "10.0.16.0/20", "10.0.32.0/24"]


def test_names_are_by_type_or_given_and_by_zone() -> None:
    found = layout("vpc", "10.0.0.0/16", 2, [PRIVATE, {**ISOLATED, "name": "data"}])
    assert [one.name for one in found] == ["vpc-private-1", "vpc-data-1", "vpc-private-2", "vpc-data-2"]


def test_a_zone_can_have_a_fixed_size() -> None:
    assert cidrs("10.0.0.0/16", 2, [PRIVATE], 20) == ["10.0.0.0/20", "10.0.16.0/20"]


def test_explicit_blocks_are_taken() -> None:
    assert cidrs("10.0.0.0/16", 2, [{**PRIVATE, "cidrBlocks": ["10.0.1.0/24", "10.0.2.0/24"]}]) == [
        "10.0.1.0/24",
        "10.0.2.0/24",
    ]


@pytest.mark.parametrize("zones", [1, 2, 3, 4])
@pytest.mark.parametrize("specs", [None, [PRIVATE], [PRIVATE, PUBLIC], [PUBLIC, PRIVATE, ISOLATED]])
def test_subnets_lie_in_the_vpc_and_never_overlap(zones: int, specs: Any) -> None:
    vpc = ipaddress.ip_network("10.7.0.0/16")
    found = [ipaddress.ip_network(cidr) for cidr in cidrs(str(vpc), zones, specs)]
    assert found
    assert all(one.subnet_of(vpc) for one in found)  # type: ignore[arg-type]
    assert not any(a.overlaps(b) for at, a in enumerate(found) for b in found[at + 1 :])


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("10.0.0.0/24", 3, None), None),
        (("10.0.0.0/26", 3, None), "default subnets need a /26"),
        (("10.0.0.0/24", 2, [{**PRIVATE, "cidrMask": 24}]), "need 256 addresses and a zone of 10.0.0.0/24 has 128"),
        (("10.0.0.0/16", 2, []), "subnetSpecs is empty"),
        (("10.0.0.0/16", 2, [{**PRIVATE, "size": 100}]), "no power of two"),
        (("10.0.0.0/16", 2, [{**PRIVATE, "size": 256, "cidrMask": 20}]), "is a /24, not the /20"),
        (("10.0.0.0/16", 2, [{**PRIVATE, "cidrBlocks": ["10.0.0.0/24"]}]), "1 blocks and there are 2 zones"),
        (("10.0.0.0/16", 2, [{**PRIVATE, "cidrBlocks": ["10.0.0.0/24"] * 2}]), "overlap"),
    ],
)
def test_what_does_not_fit_is_refused(args: Any, message: str | None) -> None:
    if message is None:
        assert layout("vpc", *args)
        return
    with pytest.raises(LayoutError, match=message):
        layout("vpc", *args)


def test_exact_wants_no_gaps() -> None:
    assert gaps("10.0.0.0/16", layout("vpc", "10.0.0.0/16", 2, [PRIVATE, PUBLIC])) == []
    assert gaps("10.0.0.0/16", layout("vpc", "10.0.0.0/16", 3, [PRIVATE, PUBLIC]))
    with pytest.raises(LayoutError, match='"Exact" leaves gaps'):
        plan("vpc", {"subnetStrategy": "Exact", "numberOfAvailabilityZones": 3, "subnetSpecs": [PRIVATE, PUBLIC]})


@pytest.mark.parametrize(("strategy", "count"), [("None", 0), ("Single", 1), ("OnePerAz", 3), (None, 3)])
def test_nat_gateways_by_strategy(strategy: str | None, count: int) -> None:
    assert nat_gateways({"natGateways": {"strategy": strategy}}, 3) == count


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"natGateways": {"strategy": "Many"}}, "strategy Many is unknown"),
        (
            {"natGateways": {"strategy": "Single", "elasticIpAllocationIds": ["a", "b"]}},
            "has 2 addresses, Single",
        ),
        ({"natGateways": {"strategy": "None", "elasticIpAllocationIds": ["a"]}}, "has 1 addresses, None needs 0"),
        ({"subnetSpecs": [PRIVATE]}, "NAT gateways need a public subnet"),
        ({"subnetStrategy": "Legacy"}, "subnetStrategy Legacy is not supported"),
        ({"availabilityZoneNames": ["a"], "numberOfAvailabilityZones": 1}, "only one of"),
        ({"ipv4IpamPoolId": "x"}, "ipv4IpamPoolId is not supported"),
    ],
)
def test_contradictions_are_refused_by_name(args: dict[str, Any], message: str) -> None:
    with pytest.raises(LayoutError, match=message):
        plan("vpc", {"subnetStrategy": "Auto", **args})


def test_three_zones_unless_said_otherwise() -> None:
    assert zone_count({}) == 3
    assert zone_count({"numberOfAvailabilityZones": 2.0}) == 2
    assert zone_count({"availabilityZoneNames": ["a", "b"]}) == 2
