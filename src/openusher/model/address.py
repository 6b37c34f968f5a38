"""Addresses and nets as numbers of 128 bits; an IPv4 address is its IPv4-mapped IPv6 address (::ffff:a.b.c.d)."""

from __future__ import annotations

import ipaddress
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton

import msgspec

from openusher.errors import InvalidParameter

_MAPPED = 0xFFFF << 32
_ALL = 2**128 - 1
# An IPv6 address with its last four bytes dotted.
ADDRESS_CHARACTERS_MAX = 45
TAKEN = "give an IPv4 or IPv6 address, or a net such as 192.0.2.0/24"


class Net(msgspec.Struct, frozen=True):
    """All addresses from `low` to `high`, both included. `skips_ipv4`: an IPv6 net around the mapped block, which
    as text speaks of IPv6 only (`::/1` is not meant to hold 192.0.2.1)."""

    low: int
    high: int
    skips_ipv4: bool = False

    def holds(self, address: int) -> bool:
        return self.low <= address <= self.high and not (self.skips_ipv4 and is_ipv4(address))


ANY_ADDRESS = Net(0, _ALL)
# The unspecified address, `::`, which no machine has: it stands for a server that was not said.
NOT_SAID = 0


def parse_address(text: str) -> int:
    """Read one address in any spelling, blanks around it aside.

    Raises ValueError, also for zone ids and for what only some parsers take (an octet with a leading zero).
    """
    text = text.strip()
    # The C library's readers take what ipaddress takes, in a tenth of its time; every attempt brings two addresses.
    family = AF_INET6 if ":" in text else AF_INET
    try:
        number = int.from_bytes(inet_pton(family, text), "big")
    except (OSError, ValueError):
        raise ValueError("not an address") from None
    return number if family == AF_INET6 else _MAPPED | number


def is_ipv4(address: int) -> bool:
    return address >> 32 == 0xFFFF


def format_address(address: int) -> str:
    """The usual spelling: dotted for IPv4 (mapped ones too), the shortest form for IPv6."""
    if is_ipv4(address):
        return inet_ntop(AF_INET, (address & 0xFFFFFFFF).to_bytes(4, "big"))
    # As the reader above; but it writes the end of `::102:304` dotted, which ipaddress does not.
    return inet_ntop(AF_INET6, address.to_bytes(16, "big")) if address >> 48 else str(ipaddress.IPv6Address(address))


def parse_net(text: str) -> Net:
    """Read an address or a CIDR net; host bits are masked; `0.0.0.0/0` and `::/0` both hold every address.

    Raises ValueError for anything else.
    """
    head, slash, tail = text.strip().partition("/")
    address = parse_address(head)
    if not slash:
        return Net(address, address)
    if not (tail.isascii() and tail.isdigit() and len(tail) <= 3):
        raise ValueError("not a prefix length")
    prefix = int(tail)
    # The spelling decides what /N counts from: ::ffff:192.0.2.1/120 is an IPv6 net, 192.0.2.1/24 an IPv4 one.
    written_as_ipv4 = ":" not in head
    if prefix > (32 if written_as_ipv4 else 128):
        raise ValueError("prefix too long")
    if prefix == 0:
        return ANY_ADDRESS
    return masked(address, prefix + 96 if written_as_ipv4 else prefix)


def masked(address: int, prefix: int) -> Net:
    """The net of `prefix` bits (of 128) around `address`; every address when it is 0."""
    if prefix == 0:
        return ANY_ADDRESS
    hosts = (1 << (128 - prefix)) - 1
    low, high = address & ~hosts & _ALL, address | hosts
    return Net(low, high, skips_ipv4=prefix < 96 and low <= _MAPPED <= high)


def format_net(net: Net) -> str:
    """The text that `parse_net` reads back as `net`; a single address without a prefix length."""
    if net == ANY_ADDRESS:
        return "0.0.0.0/0"
    prefix = 128 - (net.high - net.low).bit_length()
    if prefix == 128:
        return format_address(net.low)
    # All of IPv4 keeps its IPv6 spelling, since 0.0.0.0/0 means any address of either family.
    if is_ipv4(net.low) and prefix > 96:
        return f"{format_address(net.low)}/{prefix - 96}"
    return f"{ipaddress.IPv6Address(net.low)}/{prefix}"


def parse_filter_net(field: str, text: str) -> Net:
    """As `parse_net`, for a search filter: raises InvalidParameter naming `field`."""
    try:
        return parse_net(text)
    except ValueError:
        raise InvalidParameter(field, f"cannot read the address; {TAKEN}") from None
