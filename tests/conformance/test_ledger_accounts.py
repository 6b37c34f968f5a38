"""Any ledger's accounts, API keys and edges: taken once, kept, switched off and on."""

from __future__ import annotations

import time

import pytest
from msgspec.structs import replace

from openusher.errors import AlreadyExists, NotAuthorised
from openusher.ledger.base import Decide, Issue, Ledger, NewAccount, Revoke
from openusher.model.account import Account, ApiKey, Edge, Secret, token_digest
from tests.conformance.asking import NOON_MS, new_account, request, ticket
from tests.conformance.ledgers import LedgerBench

pytestmark = pytest.mark.anyio


def an_account(*, name: str = "new", cdn: int = 9, api_key: str = "KEY9", token: str = "token of 9") -> NewAccount:
    key = ApiKey(api_key=api_key, cdn=cdn, secret=Secret("s"))
    return NewAccount(name=name, cdn=cdn, key=key, edge_name="default", edge_token_digest=token_digest(token))


async def test_an_account_is_kept_with_its_key_and_its_edge(bench: LedgerBench) -> None:
    ledger = await bench.open()
    made = await ledger.create_account(an_account(name="Straße %_'\"\\ 😀"))
    await ledger.close()
    ledger = await bench.open()
    kept = await ledger.directory()
    await ledger.close()

    now_s = made.created_s
    assert abs(now_s - time.time()) < 60
    assert made == Account(cdn=9, name="Straße %_'\"\\ 😀", created_s=now_s)
    assert kept.accounts == {9: made}
    assert kept.api_keys == {"KEY9": ApiKey(api_key="KEY9", cdn=9, secret=Secret("s"), created_s=now_s)}
    ((number, edge),) = kept.edges.items()
    digest = token_digest("token of 9")
    assert edge == Edge(number=number, cdn=9, name="default", token_digest=digest, created_s=now_s)
    assert number > 0


@pytest.mark.parametrize(
    "taken",
    [an_account(name="account 1"), an_account(cdn=1), an_account(api_key="KEY1"), an_account(token="token of 1")],
    ids=["name", "cdn", "api key", "edge token"],
)
async def test_what_is_taken_is_refused_and_leaves_nothing_behind(ledger: Ledger, taken: NewAccount) -> None:
    before = await ledger.directory()
    with pytest.raises(AlreadyExists):
        await ledger.create_account(taken)

    assert await ledger.directory() == before
    assert (await ledger.create_account(an_account())).cdn == 9


async def test_without_a_number_an_account_gets_one_of_its_own(ledger: Ledger) -> None:
    numbers = []
    for n in range(3):
        made = await ledger.create_account(an_account(name=f"n{n}", cdn=0, api_key=f"K{n}", token=f"t{n}"))
        numbers.append(made.cdn)
    kept = await ledger.directory()

    assert len(set(numbers) | {1, 2}) == 5
    assert [kept.api_keys[f"K{n}"].cdn for n in range(3)] == numbers
    cdn_by_digest = {edge.token_digest: edge.cdn for edge in kept.edges.values()}
    assert [cdn_by_digest[token_digest(f"t{n}")] for n in range(3)] == numbers


async def test_a_number_that_is_drawn_is_free_and_none_above_the_largest_that_may_be_given(ledger: Ledger) -> None:
    largest = 2**31 - 1
    first = await ledger.create_account(an_account(name="first", cdn=0, api_key="K0", token="t0"))
    for n, cdn in enumerate((largest, first.cdn + 1, first.cdn + 3), 1):
        await ledger.create_account(an_account(name=f"n{n}", cdn=cdn, api_key=f"K{n}", token=f"t{n}"))
    drawn = []
    for n in range(4, 7):
        made = await ledger.create_account(an_account(name=f"n{n}", cdn=0, api_key=f"K{n}", token=f"t{n}"))
        drawn.append(made.cdn)

    assert len({largest, first.cdn, first.cdn + 1, first.cdn + 3, *drawn}) == 7
    assert all(0 < cdn < largest for cdn in drawn)


async def test_an_account_is_switched_off_and_on_alone(ledger: Ledger) -> None:
    seen = []
    for active in (False, False, True):
        await ledger.set_account_active(1, active=active)
        seen.append({cdn: account.active for cdn, account in (await ledger.directory()).accounts.items()})

    assert seen == [{1: False, 2: True}, {1: False, 2: True}, {1: True, 2: True}]
    with pytest.raises(NotAuthorised):
        await ledger.set_account_active(3, active=False)


async def test_an_account_may_have_several_keys_but_a_key_one_account(ledger: Ledger) -> None:
    await ledger.add_api_key(ApiKey(api_key="KEY1b", cdn=1, secret=Secret("other")))
    with pytest.raises(AlreadyExists):
        await ledger.add_api_key(ApiKey(api_key="KEY1b", cdn=2, secret=Secret("x")))

    kept = (await ledger.directory()).api_keys
    assert {name: (key.cdn, key.secret.reveal()) for name, key in kept.items()} == {
        "KEY1": (1, "secret of 1"),
        "KEY1b": (1, "other"),
        "KEY2": (2, "secret of 2"),
    }


async def test_a_key_for_nobody_is_refused(ledger: Ledger) -> None:
    with pytest.raises(NotAuthorised):
        await ledger.add_api_key(ApiKey(api_key="KEY7", cdn=7, secret=Secret("x")))

    assert set((await ledger.directory()).api_keys) == {"KEY1", "KEY2"}


async def test_a_refusal_names_what_is_taken_and_shows_no_secret(ledger: Ledger) -> None:
    with pytest.raises(AlreadyExists) as refused:
        await ledger.create_account(new_account(1))

    assert "secret of 1" not in str(refused.value)
    assert token_digest("token of 1") not in str(refused.value)


async def test_a_revoked_key_is_gone_and_no_other(bench: LedgerBench) -> None:
    ledger = await bench.open()
    for cdn in (1, 2):
        await ledger.create_account(new_account(cdn))
    await ledger.revoke_api_key("KEY1")
    with pytest.raises(NotAuthorised):
        await ledger.revoke_api_key("KEY1")
    await ledger.close()
    ledger = await bench.open()
    kept = await ledger.directory()
    await ledger.close()

    assert set(kept.api_keys) == {"KEY2"}


async def test_when_a_key_signed_last_is_kept_and_never_goes_back(ledger: Ledger) -> None:
    for used_s in ({"KEY1": 50, "KEY2": 10}, {"KEY1": 40, "a key that was revoked": 60}):
        await ledger.see_api_keys(used_s)
    kept = (await ledger.directory()).api_keys

    assert {name: key.used_s for name, key in kept.items()} == {"KEY1": 50, "KEY2": 10}


async def test_an_accounts_tickets_are_counted_whatever_became_of_them(ledger: Ledger) -> None:
    issued = [Issue(ticket=ticket(1, f"k{n}")) for n in range(3)] + [Issue(ticket=ticket(2, "k0"))]
    await ledger.commit_batch([*issued, Revoke(cdn=1, key="k0")], now_ms=NOON_MS)

    assert [await ledger.count_tickets(cdn) for cdn in (1, 2, 3)] == [3, 1, 0]


# --- edges ----------------------------------------------------------------------------------------------------------


async def an_edge(ledger: Ledger, name: str, *, cdn: int = 1) -> Edge:
    wanted = Edge(number=0, cdn=cdn, name=name, token_digest=f"digest of {name}", kind="nginx", options={"root": "/a"})
    return await ledger.create_edge(wanted)


async def test_an_edge_is_changed_as_a_whole_and_alone(bench: LedgerBench) -> None:
    ledger = await bench.open()
    await ledger.create_account(new_account(1))
    made, other = await an_edge(ledger, "made"), await an_edge(ledger, "other")
    changed = replace(made, name="changed", options={"root": "/b", "path": "x\ny"})
    await ledger.change_edge(changed, old_until_ms=0)
    await ledger.close()
    ledger = await bench.open()
    kept = await ledger.directory()
    await ledger.close()

    assert (kept.edges[made.number], kept.edges[other.number]) == (changed, other)
    assert kept.old_tokens == []


async def test_a_name_that_another_edge_of_the_account_has_is_refused(ledger: Ledger) -> None:
    made, other, foreign = (
        await an_edge(ledger, "made"),
        await an_edge(ledger, "other"),
        await an_edge(ledger, "foreign", cdn=2),
    )
    before = await ledger.directory()
    with pytest.raises(AlreadyExists, match="name: another edge of this account has it"):
        await ledger.change_edge(replace(made, name=other.name), old_until_ms=0)
    with pytest.raises(NotAuthorised, match="no edge 99"):
        await ledger.change_edge(replace(made, number=99), old_until_ms=0)

    assert await ledger.directory() == before
    await ledger.change_edge(replace(made, name=foreign.name), old_until_ms=0)


async def test_the_name_of_a_revoked_edge_may_be_given_again(ledger: Ledger) -> None:
    made = await an_edge(ledger, "made")
    await ledger.change_edge(replace(made, revoked_s=5), old_until_ms=0)
    again = await ledger.create_edge(replace(made, token_digest="another"))
    kept = (await ledger.directory()).edges

    assert (kept[made.number].revoked_s, kept[again.number].revoked_s) == (5, 0)
    assert again.number > made.number


async def test_old_tokens_are_kept_as_long_as_the_newest_rotation_says_at_most(ledger: Ledger) -> None:
    """A token in wrong hands is rotated at once, whatever grace an earlier rotation gave."""
    await ledger.commit_batch([Decide(request(1))], now_ms=1_000)
    made = await an_edge(ledger, "made")
    kept = []
    for n, until_ms in enumerate((5_000, 9_000, 3_000, 1_000)):
        await ledger.change_edge(replace(made, token_digest=f"token {n}"), old_until_ms=until_ms)
        kept.append({old.digest: old.until_ms for old in (await ledger.directory()).old_tokens})
        assert {old.edge for old in (await ledger.directory()).old_tokens} <= {made.number}

    first = made.token_digest
    assert kept == [
        {first: 5_000},
        {first: 5_000, "token 0": 9_000},
        {first: 3_000, "token 0": 3_000, "token 1": 3_000},
        {},
    ]


async def test_a_revoked_edge_has_no_old_tokens(ledger: Ledger) -> None:
    made = await an_edge(ledger, "made")
    rotated = replace(made, token_digest="new")
    await ledger.change_edge(rotated, old_until_ms=NOON_MS)
    await ledger.change_edge(replace(rotated, revoked_s=5), old_until_ms=0)

    assert (await ledger.directory()).old_tokens == []
