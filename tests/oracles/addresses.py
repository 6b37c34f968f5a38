"""Addresses and the `ip` of a ticket, by the standard library's ipaddress and the rulings."""

from __future__ import annotations

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Net = ipaddress.IPv4Network | ipaddress.IPv6Network


def address(text: str) -> Address:
    """One address; an IPv4-mapped IPv6 address is the IPv4 address."""
    read = ipaddress.ip_address(text)
    if isinstance(read, ipaddress.IPv6Address) and read.ipv4_mapped is not None:
        return read.ipv4_mapped
    return read


def net(text: str) -> Net:
    """One entry with its host bits masked; an IPv4-mapped net is the IPv4 net."""
    read = ipaddress.ip_network(text.strip(), strict=False)
    if isinstance(read, ipaddress.IPv6Network) and read.prefixlen >= 96:
        mapped = read.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.ip_network((mapped, read.prefixlen - 96))
    return read


def holds(entry: str, viewer: str) -> bool:
    """Whether an address or net admits `viewer`. A net of no bits, in either family, means anybody."""
    if entry.strip().endswith("/0"):
        return True
    wanted, who = net(entry), address(viewer)
    return wanted.version == who.version and who in wanted


def viewer_net(text: str) -> Net:
    """What is left of a viewer's address once it is anonymised: /24 of IPv4, /48 of IPv6."""
    who = address(text)
    return ipaddress.ip_network((who, 24 if who.version == 4 else 48), strict=False)


def holds_all_of(entry: str, viewer: str) -> bool:
    """Whether an address or net holds all of the viewer's net."""
    wanted, who = net(entry), viewer_net(viewer)
    if entry.strip().endswith("/0"):
        return True
    return isinstance(wanted, type(who)) and who.subnet_of(wanted)  # type: ignore[arg-type]


def is_slot(entry: str) -> bool:
    return entry.strip().lower().startswith("auto")


def admits(rule: str, viewer: str) -> bool:
    """Whether a concrete entry or a bound slot of a pipe list admits `viewer`."""
    return any(holds(entry, viewer) for entry in rule.split("|") if entry.strip() and not is_slot(entry))


def bound(rule: str, viewer: str) -> str | None:
    """The pipe list with its first free slot bound to `viewer`; None without a free slot."""
    entries = [entry.strip() for entry in rule.split("|") if entry.strip()]
    for place, entry in enumerate(entries):
        if is_slot(entry):
            entries[place] = slot_net(entry, viewer)
            return "|".join(entries)
    return None


def slot_net(slot: str, viewer: str) -> str:
    """What a slot becomes: IPv4 whole or masked by N; IPv6 its /64 or masked by min(64, 2N)."""
    who = address(viewer)
    _, _, bits = slot.partition("/")
    prefix = int(bits or 32)
    if who.version == 6:
        prefix = min(64, 2 * prefix)
    if prefix == 0:
        return "0.0.0.0/0"
    masked = ipaddress.ip_network((who, prefix), strict=False)
    return str(masked.network_address) if prefix == masked.max_prefixlen else str(masked)
