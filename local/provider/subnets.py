"""How awsx 3.11 lays subnets into a VPC by its strategies "Auto" and "Exact", as plain functions."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

DEFAULT_CIDR = "10.0.0.0/16"
DEFAULT_ZONES = 3
SMALLEST_DEFAULT = 26  # below a /26 per zone the default subnets would be smaller than AWS's /28
LARGEST_DEFAULT = 16  # of larger zones the default subnets use the first /16


class LayoutError(ValueError):
    """The subnets asked for do not fit; the text is for the user."""


@dataclass(frozen=True)
class Subnet:
    """One subnet in one zone: `zone` counts from 0, `name` is the logical name."""

    name: str
    type: str  # Public, Private, Isolated or Unused
    zone: int
    cidr: str
    tags: Any = None
    assign_ipv6: bool | None = None


def layout(
    vpc: str, cidr: str, zones: int, specs: Sequence[Mapping[str, Any]] | None, zone_mask: int | None = None
) -> list[Subnet]:
    """The subnets of all zones. The range is cut evenly by zone; in each, the specs follow one another aligned.

    Raises:
        LayoutError: the specs contradict each other, or need more than the zone has.
    """
    network = ipaddress.ip_network(cidr)
    mask = zone_mask or network.prefixlen + _bits(zones)
    if specs is None:
        specs = _defaults(mask)
    if not specs:
        raise LayoutError("subnetSpecs is empty: a VPC needs at least one subnet")
    if any(spec.get("cidrBlocks") is not None for spec in specs):
        return _explicit(vpc, zones, specs)
    masks = [_mask(spec) or mask + _bits(len(specs)) for spec in specs]
    needed, available = sum(2 ** (32 - one) for one in masks), 2 ** (32 - mask)
    if needed > available:
        raise LayoutError(
            f"the subnets of one zone need {needed} addresses and a zone of {cidr} has {available}: "
            "use a larger cidrBlock, fewer zones or smaller subnets"
        )
    result = []
    for zone in range(zones):
        start = int(network.network_address) + zone * available
        for spec, one in zip(specs, masks, strict=True):
            size = 2 ** (32 - one)
            start = -(-start // size) * size  # aligned to the subnet's own size
            result.append(_subnet(vpc, spec, zone, f"{ipaddress.IPv4Address(start)}/{one}"))
            start += size
    if int(ipaddress.ip_network(result[-1].cidr).broadcast_address) > int(network.broadcast_address):
        raise LayoutError(f"aligned to their sizes, the subnets exceed {cidr}: order them from large to small")
    _no_overlap(result)
    return result


def gaps(cidr: str, subnets: Sequence[Subnet]) -> list[str]:
    """Where the subnets leave room: the strategy "Exact" wants every address accounted for."""
    network, found = ipaddress.ip_network(cidr), []
    expected = int(network.network_address)
    for subnet in sorted(subnets, key=lambda one: int(ipaddress.ip_network(one.cidr).network_address)):
        here = ipaddress.ip_network(subnet.cidr)
        if int(here.network_address) != expected:
            found.append(f"before {subnet.name} ({subnet.cidr})")
        expected = int(here.broadcast_address) + 1
    if expected != int(network.broadcast_address) + 1:
        found.append(f"after {subnets[-1].name} ({subnets[-1].cidr})")
    return found


def _defaults(mask: int) -> list[dict[str, Any]]:
    if mask > SMALLEST_DEFAULT:
        raise LayoutError(f"a zone has a /{mask}, and default subnets need a /{SMALLEST_DEFAULT}: give subnetSpecs")
    first = max(mask, LARGEST_DEFAULT)
    return [{"type": "Private", "cidrMask": first + 1}, {"type": "Public", "cidrMask": first + 2}]


def _explicit(vpc: str, zones: int, specs: Sequence[Mapping[str, Any]]) -> list[Subnet]:
    for index, spec in enumerate(specs):
        count = len(spec.get("cidrBlocks") or ())
        if count != zones:
            raise LayoutError(f"subnetSpecs[{index}].cidrBlocks has {count} blocks and there are {zones} zones")
    result = [_subnet(vpc, spec, zone, spec["cidrBlocks"][zone]) for zone in range(zones) for spec in specs]
    _no_overlap(result)
    return result


def _subnet(vpc: str, spec: Mapping[str, Any], zone: int, cidr: str) -> Subnet:
    name = spec.get("name") or spec["type"].lower()
    ipv6 = spec.get("assignIpv6AddressOnCreation")
    return Subnet(f"{vpc}-{name}-{zone + 1}", spec["type"], zone, cidr, spec.get("tags"), ipv6)


def _mask(spec: Mapping[str, Any]) -> int | None:
    mask, size = spec.get("cidrMask"), spec.get("size")
    if size is None:
        return int(mask) if mask is not None else None
    by_size = 32 - (int(size).bit_length() - 1)
    if 2 ** (32 - by_size) != int(size):
        raise LayoutError(f"the subnet size {int(size)} is no power of two")
    if mask is not None and int(mask) != by_size:
        raise LayoutError(f"a subnet of size {int(size)} is a /{by_size}, not the /{int(mask)} of its cidrMask")
    return by_size


def _no_overlap(subnets: Sequence[Subnet]) -> None:
    taken: list[tuple[Any, Subnet]] = []
    for subnet in subnets:
        network = ipaddress.ip_network(subnet.cidr)
        for other, owner in taken:
            if network.overlaps(other):
                raise LayoutError(f"the subnets {owner.name} ({owner.cidr}) and {subnet.name} ({subnet.cidr}) overlap")
        taken.append((network, subnet))


def _bits(count: int) -> int:
    """The bits that tell `count` things apart."""
    return max(count - 1, 0).bit_length()
