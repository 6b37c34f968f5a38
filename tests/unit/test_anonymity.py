"""What is left of addresses, and which nets can still be asked for, beside the standard library's ipaddress."""

from __future__ import annotations

import pytest

from openusher.model.address import format_address, parse_address, parse_net
from openusher.model.anonymity import is_finer, viewer_net
from tests.conformance.attempts_to_ship import IPS, NETS
from tests.oracles import addresses


@pytest.mark.parametrize("text", [*IPS, "192.0.2.0", "10.255.255.255", "2001:db8:ffff:ffff::1", "::ffff:198.51.100.9"])
def test_of_an_address_its_net_is_left(text: str) -> None:
    assert str(addresses.viewer_net(text).network_address) == format_address(viewer_net(parse_address(text)).low)


@pytest.mark.parametrize(
    "net", [*NETS, "192.0.2.0/25", "192.0.2.0/23", "2001:db8::/48", "2001:db8::/49", "2001:db8::/47", "::/48", "::/49"]
)
def test_a_net_is_finer_that_holds_an_address_and_not_all_of_what_is_left_of_it(net: str) -> None:
    held = [ip for ip in (*IPS, net.split("/", maxsplit=1)[0]) if addresses.holds(net, ip)]
    finer = any(not addresses.holds_all_of(net, ip) for ip in held)

    assert finer == is_finer(parse_net(net))
