"""What a store keeps of trust: codes, claims, pairings, and tokens that pair."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from cavvy.core.trust import Trust
from cavvy.core.writes import DropTrust, PutTrust
from cavvy.errors import Refused
from cavvy.store.base import TokenRecord
from tests.conformance.conftest import OpenStore
from tests.conformance.samples import TENANT, WORKER, token

CODE = Trust(
    id="tru_1", tenant=TENANT, user_id="ünï\0", created_at_ms=1, expires_at_ms=2, code_hash=b"\0hash", keyed=False
)
PAIRING = replace(CODE, code_hash=b"", worker=WORKER, address="::1", paired_at_ms=3)


async def test_a_code_is_kept_as_it_was_written(opened: OpenStore) -> None:
    await opened.commit(PutTrust(trust=CODE))
    assert await opened.loaded() == [CODE]


async def test_a_claim_and_a_pairing_take_the_place_of_the_code(opened: OpenStore) -> None:
    await opened.commit(PutTrust(trust=CODE), PutTrust(trust=replace(CODE, worker=WORKER)))
    await opened.commit(PutTrust(trust=PAIRING))
    assert await opened.loaded() == [PAIRING]


async def test_a_user_sees_his_own_in_order_of_creation(opened: OpenStore) -> None:
    second = replace(PAIRING, id="tru_0")
    others = [replace(CODE, id="tru_3", user_id="other"), replace(CODE, id="tru_4", tenant="elsewhere")]
    await opened.commit(*(PutTrust(trust=one) for one in (PAIRING, second, *others)))
    assert list(await opened.store.trusts(TENANT, CODE.user_id)) == [PAIRING, second]


async def test_what_is_dropped_is_gone(opened: OpenStore) -> None:
    await opened.commit(PutTrust(trust=CODE))
    await opened.commit(DropTrust(id=CODE.id))
    assert await opened.loaded() == []


async def test_what_is_not_there_is_not_dropped(opened: OpenStore) -> None:
    with pytest.raises(Refused):
        await opened.commit(DropTrust(id="tru_9"))


async def test_a_token_says_with_whom_its_worker_is_paired(opened: OpenStore) -> None:
    await opened.commit(token(pairs_with="ünï\0"))
    (record,) = await opened.loaded()
    assert isinstance(record, TokenRecord)
    assert record.pairs_with == "ünï\0"
