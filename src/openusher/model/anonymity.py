"""What is left of an attempt once it is anonymised: of the viewer's address its net, of player and pages nothing."""

from __future__ import annotations

from msgspec.structs import replace

from openusher.model.address import Net, is_ipv4, masked
from openusher.model.attempt import Attempt

# Of 128 bits: /24 of IPv4, whose addresses are mapped into IPv6, and /48 of IPv6.
IPV4_BITS, IPV6_BITS = 120, 48
# These are then empty.
DROPPED = ("pageurl", "refurl", "user_agent")


def viewer_net(address: int) -> Net:
    """The net that stands for a viewer's address, by the first address in it."""
    return masked(address, IPV4_BITS if is_ipv4(address) else IPV6_BITS)


def is_finer(net: Net) -> bool:
    """Whether `net` holds part of such a net only, so that nobody can say which of its attempts are meant."""
    return viewer_net(net.low).low < net.low or viewer_net(net.high).high > net.high


def anonymised(attempt: Attempt) -> Attempt:
    return replace(attempt, ip=viewer_net(attempt.ip).low, **dict.fromkeys(DROPPED, ""))
