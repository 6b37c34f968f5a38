"""Any ledger's accounts, API keys and edges: taken once, kept, switched off and on."""

from __future__ import annotations

import pytest

from openusher.errors import AlreadyExists, NotAuthorised
from openusher.ledger.base import Ledger, NewAccount
from openusher.model.account import Account, ApiKey, Edge, Secret, token_digest
from tests.conformance.asking import new_account
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

    assert made == Account(cdn=9, name="Straße %_'\"\\ 😀")
    assert kept.accounts == {9: made}
    assert kept.api_keys == {"KEY9": ApiKey(api_key="KEY9", cdn=9, secret=Secret("s"))}
    digest = token_digest("token of 9")
    number = kept.edge_by_digest[digest].number
    assert kept.edge_by_digest == {digest: Edge(number=number, cdn=9, name="default", token_digest=digest)}
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
    assert [kept.edge_by_digest[token_digest(f"t{n}")].cdn for n in range(3)] == numbers


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
