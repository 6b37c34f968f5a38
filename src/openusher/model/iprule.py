"""The `ip` of a ticket: a pipe list of addresses, nets and `auto[/N]` slots, and how a slot binds."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from openusher.errors import InvalidParameter
from openusher.model.address import (
    ADDRESS_CHARACTERS_MAX,
    ANY_ADDRESS,
    Net,
    format_net,
    is_ipv4,
    masked,
    parse_address,
    parse_net,
)
from openusher.model.limits import IP_RULE_BYTES_MAX, checked_text
from openusher.model.pattern import ALTERNATIVES_MAX

TAKEN = "give addresses, nets, auto or auto/N with N from 0 to 32, joined by |; 0.0.0.0/0 for any address"


class IpRule(msgspec.Struct, frozen=True):
    """What the text of a ticket's `ip` means. `slots` holds, in order, the place among the entries and N of each
    `auto` that no address has bound yet (None: a plain `auto`)."""

    entries: tuple[str, ...]
    nets: tuple[Net, ...]
    slots: tuple[tuple[int, int | None], ...]

    def admits(self, address: int) -> bool:
        """Say whether a concrete entry or a bound slot holds `address`."""
        for net in self.nets:  # noqa: SIM110 (a generator here costs half a microsecond of two)
            if net.holds(address):
                return True
        return False

    def bound(self, address: int) -> str | None:
        """The rule's new text once its first free slot is bound to `address`; None when no slot is free.

        Only for an address that the rule does not admit: an `auto` is not spent on a viewer who may play anyway.
        """
        if not self.slots:
            return None
        place, bits = self.slots[0]
        entries = list(self.entries)
        entries[place] = format_net(_slot_net(address, bits))
        return "|".join(entries)


def _slot_net(address: int, bits: int | None) -> Net:
    """IPv4: `auto` is the address, `auto/N` its /N. IPv6: `auto` is the /64, since mobile and privacy addresses move
    inside it, `auto/N` the /2N, which N <= 32 keeps at most a /64 (SEVU rulings, "auto slots")."""
    if bits == 0:
        return ANY_ADDRESS
    if is_ipv4(address):
        return masked(address, 128 if bits is None else 96 + bits)
    return masked(address, 64 if bits is None else 2 * bits)


def parse_ip_rule(text: str) -> IpRule:
    """Read a ticket's `ip`. Blank entries in a list are dropped. Raises InvalidParameter("ip", …)."""
    # Tickets often name their viewer's own address: no two alike, so that a cache is no help, and read in an eighth of
    # the time that the general way takes.
    if len(text) <= ADDRESS_CHARACTERS_MAX:
        try:
            address = parse_address(text)
        except ValueError:
            return _parse_list(text)
        return IpRule((text.strip(),), (Net(address, address),), ())
    return _parse_list(text)


# A rule of 64 entries takes some 15 kB.
@lru_cache(maxsize=4096)
def _parse_list(text: str) -> IpRule:
    checked_text("ip", text, bytes_max=IP_RULE_BYTES_MAX)
    entries = tuple(part.strip() for part in text.split("|") if part.strip())
    if not entries:
        raise InvalidParameter("ip", f"is blank; {TAKEN}")
    if len(entries) > ALTERNATIVES_MAX:
        raise InvalidParameter("ip", f"has more than {ALTERNATIVES_MAX} entries")
    nets: list[Net] = []
    slots: list[tuple[int, int | None]] = []
    for place, entry in enumerate(entries):
        if entry.lower().startswith("auto"):
            slots.append((place, _slot_bits(entry)))
            continue
        try:
            nets.append(parse_net(entry))
        except ValueError:
            raise InvalidParameter("ip", f"cannot read entry {place + 1}; {TAKEN}") from None
    # Without blanks, which may stand around a slash: a rule of the full length stays in it when its slots are bound.
    return IpRule(tuple("".join(entry.split()) for entry in entries), tuple(nets), tuple(slots))


def _slot_bits(entry: str) -> int | None:
    if entry.lower() == "auto":
        return None
    head, slash, tail = entry.partition("/")
    if head.lower() == "auto" and slash and tail.isascii() and tail.isdigit() and len(tail) <= 2 and int(tail) <= 32:
        return int(tail)
    raise InvalidParameter("ip", f"cannot read an auto entry; {TAKEN}")
