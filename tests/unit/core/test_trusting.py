"""Codes, claims, confirmations and pairings: who gets whose trust, and how often somebody may guess."""

from __future__ import annotations

import pytest

from cavvy import defaults
from cavvy.core.commands import ClaimTrust, ConfirmTrust, CreateTrustCode, EndTrust, PairWorker
from cavvy.core.effects import Reply, ReplyCode, TrustAnswered
from cavvy.core.trust import Trust, TrustStatus
from cavvy.core.worker_status import WorkerAction
from cavvy.testing import FakeWorker, Stack

HOUR_S = 3600
OTHERS_KEY = "ee" * 32


@pytest.fixture
async def worker(stack: Stack) -> FakeWorker:
    return await joined(stack)


async def joined(stack: Stack, name: str = "worker", tenant: str = defaults.TENANT) -> FakeWorker:
    worker = FakeWorker(stack, name)
    await worker.join(tenant=tenant)
    return worker


async def create(
    stack: Stack, code: str = "C0FFEE", *, user: str = "owner", tenant: str = defaults.TENANT, keyed: bool = True
) -> Trust:
    """A code of this user; the code is its own hash here."""
    command = CreateTrustCode(
        ref=stack.next_ref(), id=f"tru_{code}", tenant=tenant, user_id=user, code_hash=code.encode(), keyed=keyed
    )
    await stack.do(command)
    found = stack.last(Reply).trust
    assert found is not None
    return found


def claiming(stack: Stack, worker: FakeWorker, code: str, address: str = "10.0.0.1") -> ClaimTrust:
    return ClaimTrust(
        ref=stack.next_ref(), code_hash=code.encode(), worker=worker.key, address=address, session=worker.session
    )


async def claim(stack: Stack, worker: FakeWorker, code: str, address: str = "10.0.0.1") -> ReplyCode:
    """What the worker is told, which has proven its key."""
    await stack.do(claiming(stack, worker, code, address))
    return stack.last(TrustAnswered).code


async def told(stack: Stack, command: ClaimTrust | ConfirmTrust | PairWorker | EndTrust) -> ReplyCode:
    """What comes back over HTTP."""
    (code,) = (one.code for one in await stack.do(command) if isinstance(one, Reply) and one.ref == command.ref)
    return code


async def claim_unproven(stack: Stack, code: str, key: str = OTHERS_KEY, address: str = "127.0.0.1") -> ReplyCode:
    command = ClaimTrust(ref=stack.next_ref(), code_hash=code.encode(), worker=key, address=address)
    return await told(stack, command)


async def confirm(stack: Stack, trust: Trust, key: str, user: str = "owner") -> ReplyCode:
    command = ConfirmTrust(ref=stack.next_ref(), id=trust.id, tenant=trust.tenant, user_id=user, worker=key)
    return await told(stack, command)


async def pair(stack: Stack, key: str, user: str = "owner", tenant: str = defaults.TENANT) -> ReplyCode:
    command = PairWorker(ref=stack.next_ref(), id=f"tru_{user}", tenant=tenant, user_id=user, worker=key)
    return await told(stack, command)


async def end(stack: Stack, trust: Trust, user: str = "owner") -> ReplyCode:
    return await told(stack, EndTrust(ref=stack.next_ref(), id=trust.id, tenant=trust.tenant, user_id=user))


async def trusts(stack: Stack, user: str = "owner", tenant: str = defaults.TENANT) -> list[tuple[str, str | None]]:
    """What the store holds: status and worker."""
    return [(one.status.value, one.worker) for one in await stack.store.trusts(tenant, user)]


# -- from the code to the pairing


async def test_a_code_becomes_a_claim_and_with_the_users_confirmation_a_pairing(
    stack: Stack, worker: FakeWorker
) -> None:
    code = await create(stack)
    assert await trusts(stack) == [("open", None)]
    assert await claim(stack, worker, "C0FFEE") is ReplyCode.OK
    assert await trusts(stack) == [("awaiting_confirmation", worker.key)]
    assert await confirm(stack, code, worker.key) is ReplyCode.OK
    assert await trusts(stack) == [("paired", worker.key)]


async def test_a_claim_tells_where_it_came_from(stack: Stack, worker: FakeWorker) -> None:
    await create(stack)
    await claim(stack, worker, "C0FFEE", "192.0.2.7")
    (trust,) = await stack.store.trusts(defaults.TENANT, "owner")
    assert trust.address == "192.0.2.7"


async def test_a_code_is_claimed_once(stack: Stack, worker: FakeWorker) -> None:
    await create(stack)
    await claim(stack, worker, "C0FFEE")
    assert await claim(stack, await joined(stack, "second"), "C0FFEE") is ReplyCode.CODE_REFUSED
    assert await trusts(stack) == [("awaiting_confirmation", worker.key)]


async def test_a_claim_whose_answer_was_lost_is_answered_the_same_again_and_is_no_guess(
    stack: Stack, worker: FakeWorker
) -> None:
    await create(stack)
    for _ in range(2 * defaults.WRONG_CLAIMS_PER_KEY):
        assert await claim(stack, worker, "C0FFEE") is ReplyCode.OK
    assert await trusts(stack) == [("awaiting_confirmation", worker.key)]


async def test_a_confirmation_whose_answer_was_lost_is_answered_the_same_again(
    stack: Stack, worker: FakeWorker
) -> None:
    code = await create(stack)
    await claim(stack, worker, "C0FFEE")
    assert await confirm(stack, code, worker.key) is ReplyCode.OK
    first = stack.last(Reply).trust
    assert await confirm(stack, code, worker.key) is ReplyCode.OK
    assert stack.last(Reply).trust == first


async def test_a_code_is_claimed_once_when_two_come_in_one_batch(stack: Stack, worker: FakeWorker) -> None:
    second = await joined(stack, "second")
    await create(stack)
    await stack.do(claiming(stack, worker, "C0FFEE"), claiming(stack, second, "C0FFEE"))
    assert await trusts(stack) == [("awaiting_confirmation", worker.key)]


async def test_a_code_that_was_confirmed_is_used_up(stack: Stack, worker: FakeWorker) -> None:
    code = await create(stack)
    await claim(stack, worker, "C0FFEE")
    await confirm(stack, code, worker.key)
    assert await claim(stack, worker, "C0FFEE") is ReplyCode.CODE_REFUSED


async def test_a_code_lasts_an_hour(stack: Stack, worker: FakeWorker) -> None:
    await create(stack)
    stack.clock.advance(HOUR_S)
    await worker.connect()
    assert await claim(stack, worker, "C0FFEE") is ReplyCode.CODE_REFUSED
    await stack.later(2)
    assert await trusts(stack) == []


async def test_a_claim_that_nobody_confirmed_in_time_is_not_confirmed(stack: Stack, worker: FakeWorker) -> None:
    code = await create(stack)
    await claim(stack, worker, "C0FFEE")
    stack.clock.advance(HOUR_S)
    assert await confirm(stack, code, worker.key) in (ReplyCode.NOT_CLAIMED, ReplyCode.NOT_FOUND)


async def test_a_claim_is_not_said_again_when_its_hour_is_over(stack: Stack, worker: FakeWorker) -> None:
    await create(stack)
    await claim(stack, worker, "C0FFEE")
    stack.clock.advance(HOUR_S)
    await worker.connect()
    assert await claim(stack, worker, "C0FFEE") is ReplyCode.CODE_REFUSED


async def test_a_worker_that_was_revoked_after_its_claim_is_not_confirmed(stack: Stack, worker: FakeWorker) -> None:
    code = await create(stack)
    await claim(stack, worker, "C0FFEE")
    await stack.do(stack.management(worker.key, WorkerAction.REVOKE))
    assert await confirm(stack, code, worker.key) is ReplyCode.WORKER_REVOKED
    assert await trusts(stack) == [("awaiting_confirmation", worker.key)]


async def test_a_pairing_does_not_expire(stack: Stack, worker: FakeWorker) -> None:
    await pair(stack, worker.key)
    stack.clock.advance(1000 * HOUR_S)
    await stack.later(2)
    assert await trusts(stack) == [("paired", worker.key)]


async def test_a_pairing_that_came_from_a_code_does_not_expire_with_it(stack: Stack, worker: FakeWorker) -> None:
    code = await create(stack)
    await claim(stack, worker, "C0FFEE")
    await confirm(stack, code, worker.key)
    stack.clock.advance(2 * HOUR_S)
    await stack.later(2)
    assert await trusts(stack) == [("paired", worker.key)]


@pytest.mark.parametrize("ends", ["refused by its user", "with its time"])
async def test_the_end_of_a_claim_ends_no_pairing_of_the_same_two(stack: Stack, worker: FakeWorker, ends: str) -> None:
    await pair(stack, worker.key)
    code = await create(stack)
    await claim(stack, worker, "C0FFEE")
    if ends == "with its time":
        stack.clock.advance(HOUR_S)
        await stack.do(worker.beat())
    else:
        await end(stack, code)
    assert await trusts(stack) == [("paired", worker.key)]
    assert stack.core._board.pairings.of(worker.key) == {(defaults.TENANT, "owner")}


async def test_a_code_that_another_user_has_is_not_made_twice(stack: Stack) -> None:
    await create(stack)
    command = CreateTrustCode(
        ref=stack.next_ref(), id="tru_2", tenant="other", user_id="eve", code_hash=b"C0FFEE", keyed=True
    )
    await stack.do(command)
    assert stack.last(Reply).code is ReplyCode.CODE_CLAIMED
    assert (await trusts(stack), await trusts(stack, "eve", "other")) == ([("open", None)], [])


async def test_another_worker_than_the_one_that_claimed_is_not_confirmed(stack: Stack, worker: FakeWorker) -> None:
    code = await create(stack)
    await claim(stack, worker, "C0FFEE")
    assert await confirm(stack, code, OTHERS_KEY) is ReplyCode.NOT_CLAIMED


async def test_what_nobody_has_claimed_is_not_confirmed(stack: Stack) -> None:
    assert await confirm(stack, await create(stack), OTHERS_KEY) is ReplyCode.NOT_CLAIMED


async def test_only_its_user_confirms_or_ends_it(stack: Stack, worker: FakeWorker) -> None:
    code = await create(stack)
    await claim(stack, worker, "C0FFEE")
    assert await confirm(stack, code, worker.key, user="other") is ReplyCode.NOT_FOUND
    assert await end(stack, code, user="other") is ReplyCode.NOT_FOUND
    assert await trusts(stack) == [("awaiting_confirmation", worker.key)]


async def test_a_fourth_code_takes_the_place_of_the_oldest(stack: Stack, worker: FakeWorker) -> None:
    for code in ("A", "B", "C", "D"):
        await create(stack, code)
    assert [one.id for one in await stack.store.trusts(defaults.TENANT, "owner")] == ["tru_B", "tru_C", "tru_D"]
    assert await claim(stack, worker, "A") is ReplyCode.CODE_REFUSED
    assert await claim(stack, worker, "D") is ReplyCode.OK


async def test_a_new_code_takes_the_place_of_no_claim_and_of_no_pairing(stack: Stack, worker: FakeWorker) -> None:
    await create(stack, "A")
    await claim(stack, worker, "A")
    await pair(stack, worker.key)
    for code in ("B", "C", "D", "E"):
        await create(stack, code)
    assert [status for status, _ in await trusts(stack)].count("open") == 3
    assert len(await trusts(stack)) == 5


async def test_codes_and_claims_of_a_tenant_are_bounded_and_its_pairings_stay(
    stack: Stack, worker: FakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defaults, "MAX_UNPAIRED_TRUSTS", 5)
    await pair(stack, worker.key, "first")
    for number in range(8):
        await create(stack, f"{number}", user=f"user {number}")
    elsewhere = await create(stack, "X", tenant="elsewhere")
    held = [number for number in range(8) if await trusts(stack, f"user {number}")]
    assert held == [3, 4, 5, 6, 7]
    assert await trusts(stack, "first") == [("paired", worker.key)]
    assert await trusts(stack, tenant="elsewhere") == [(elsewhere.status.value, None)]


async def test_codes_claims_and_pairings_outlast_a_restart(stack: Stack, worker: FakeWorker) -> None:
    code = await create(stack)
    await create(stack, "OTHER")
    await claim(stack, worker, "C0FFEE")
    await stack.restart()
    await worker.connect()
    assert await confirm(stack, code, worker.key) is ReplyCode.OK
    assert await claim(stack, worker, "OTHER") is ReplyCode.OK


# -- who may claim


async def test_a_code_made_with_a_key_is_not_claimed_without_a_proof(stack: Stack, worker: FakeWorker) -> None:
    await create(stack)
    assert await claim_unproven(stack, "C0FFEE", worker.key) is ReplyCode.CODE_REFUSED
    assert await trusts(stack) == [("open", None)]


async def test_a_code_made_without_a_key_is_claimed_without_a_proof_and_waits_for_its_user(stack: Stack) -> None:
    code = await create(stack, tenant=defaults.DISPATCH_TENANT, user="alice", keyed=False)
    assert await claim_unproven(stack, "C0FFEE") is ReplyCode.OK
    assert await trusts(stack, "alice", defaults.DISPATCH_TENANT) == [("awaiting_confirmation", OTHERS_KEY)]
    assert await confirm(stack, code, OTHERS_KEY, user="alice") is ReplyCode.OK


async def test_who_claims_a_code_made_without_a_key_learns_what_is_wrong_with_it(stack: Stack) -> None:
    await create(stack, tenant=defaults.DISPATCH_TENANT, user="alice", keyed=False)
    await claim_unproven(stack, "C0FFEE")
    assert await claim_unproven(stack, "C0FFEE") is ReplyCode.CODE_CLAIMED
    await create(stack, "LATE", tenant=defaults.DISPATCH_TENANT, user="alice", keyed=False)
    stack.clock.advance(HOUR_S)
    assert await claim_unproven(stack, "LATE") is ReplyCode.CODE_EXPIRED


async def test_a_worker_of_the_first_tenant_claims_a_code_made_without_a_key(stack: Stack, worker: FakeWorker) -> None:
    await create(stack, tenant=defaults.DISPATCH_TENANT, user="alice", keyed=False)
    assert await claim(stack, worker, "C0FFEE") is ReplyCode.OK


async def test_a_worker_of_another_tenant_learns_nothing(stack: Stack) -> None:
    stranger = await joined(stack, "stranger", tenant="elsewhere")
    await create(stack)
    assert await claim(stack, stranger, "C0FFEE") is ReplyCode.CODE_REFUSED
    assert await trusts(stack) == [("open", None)]


async def test_a_shared_worker_may_claim(stack: Stack) -> None:
    shared = await joined(stack, "shared", tenant=defaults.SHARED)
    await create(stack)
    assert await claim(stack, shared, "C0FFEE") is ReplyCode.OK


async def test_who_is_not_enrolled_is_told_so_and_counts_as_no_guess(stack: Stack, worker: FakeWorker) -> None:
    await create(stack)
    unknown = FakeWorker(stack, "unknown")
    for number in range(2 * defaults.WRONG_CLAIMS):
        assert await claim(stack, unknown, f"{number}") is ReplyCode.WORKER_UNKNOWN
    assert await claim(stack, unknown, "C0FFEE") is ReplyCode.WORKER_UNKNOWN
    assert await claim(stack, worker, "C0FFEE") is ReplyCode.OK


async def test_a_revoked_worker_claims_nothing(stack: Stack, worker: FakeWorker) -> None:
    await create(stack)
    await stack.do(stack.management(worker.key, WorkerAction.REVOKE))
    assert await claim(stack, worker, "C0FFEE") is ReplyCode.WORKER_REVOKED


# -- guesses


async def test_a_key_that_guessed_too_often_is_refused_even_with_the_right_code(
    stack: Stack, worker: FakeWorker
) -> None:
    await create(stack)
    for number in range(defaults.WRONG_CLAIMS_PER_KEY):
        assert await claim(stack, worker, f"{number}", f"10.0.0.{number}") is ReplyCode.CODE_REFUSED
    assert await claim(stack, worker, "C0FFEE", "10.0.1.1") is ReplyCode.TOO_MANY_CLAIMS
    assert await trusts(stack) == [("open", None)]


async def test_an_address_that_guessed_too_often_is_refused_with_every_key(stack: Stack) -> None:
    guessers = [await joined(stack, f"guesser {number}") for number in range(3)]
    await create(stack)
    for number in range(defaults.WRONG_CLAIMS_PER_ADDRESS):
        assert await claim(stack, guessers[number % 2], f"{number}") is ReplyCode.CODE_REFUSED
    assert await claim(stack, guessers[2], "C0FFEE") is ReplyCode.TOO_MANY_CLAIMS
    assert await claim(stack, guessers[2], "C0FFEE", "10.9.9.9") is ReplyCode.OK


async def test_guesses_are_forgotten_after_an_hour(stack: Stack, worker: FakeWorker) -> None:
    for number in range(defaults.WRONG_CLAIMS_PER_KEY):
        await claim(stack, worker, f"{number}")
    stack.clock.advance(defaults.WRONG_CLAIMS_WINDOW_S)
    await worker.connect()
    await create(stack)
    assert await claim(stack, worker, "C0FFEE") is ReplyCode.OK


async def test_a_thousand_wrong_codes_from_fifty_keys_lock_guessing_out_and_pairing_and_confirming_go_on(
    stack: Stack, worker: FakeWorker
) -> None:
    code = await create(stack)
    await claim(stack, worker, "C0FFEE", "10.1.1.1")
    await create(stack, "LIVE", user="other")
    guessers = [await joined(stack, f"guesser {number}") for number in range(50)]
    answers = [
        await claim(stack, guessers[number % 50], f"{number}", f"10.2.0.{number % 50}") for number in range(1000)
    ]
    assert answers.count(ReplyCode.CODE_REFUSED) == defaults.WRONG_CLAIMS
    assert answers.count(ReplyCode.TOO_MANY_CLAIMS) == 1000 - defaults.WRONG_CLAIMS
    assert await claim(stack, guessers[0], "LIVE", "10.3.0.1") is ReplyCode.TOO_MANY_CLAIMS
    assert await confirm(stack, code, worker.key) is ReplyCode.OK
    assert await pair(stack, guessers[0].key, "third") is ReplyCode.OK


async def test_who_has_proven_no_key_locks_out_nobody_who_has(stack: Stack, worker: FakeWorker) -> None:
    await create(stack)
    for number in range(2 * defaults.WRONG_CLAIMS):
        await claim_unproven(stack, f"{number}", worker.key, f"127.0.0.{number}")
    assert await claim_unproven(stack, "X", OTHERS_KEY, "127.9.9.9") is ReplyCode.TOO_MANY_CLAIMS
    assert await claim(stack, worker, "C0FFEE", "127.0.0.1") is ReplyCode.OK


async def test_guesses_count_anew_in_the_next_hour(stack: Stack, worker: FakeWorker) -> None:
    for _ in range(2):
        stack.clock.advance(defaults.WRONG_CLAIMS_WINDOW_S)
        await worker.connect()
        for number in range(defaults.WRONG_CLAIMS_PER_KEY):
            assert await claim(stack, worker, f"{number}") is ReplyCode.CODE_REFUSED
        assert await claim(stack, worker, "X") is ReplyCode.TOO_MANY_CLAIMS


async def test_nothing_is_kept_of_guesses_that_do_not_count_any_more(stack: Stack, worker: FakeWorker) -> None:
    await claim(stack, worker, "A")
    await claim_unproven(stack, "B")
    assert len(stack.core._trusting._guesses._wrong) == 5
    stack.clock.advance(defaults.WRONG_CLAIMS_WINDOW_S)
    await stack.do()
    assert stack.core._trusting._guesses._wrong == {}


# -- pairing without a code, and its end


async def test_a_worker_that_serves_the_user_is_paired_without_a_code(stack: Stack, worker: FakeWorker) -> None:
    assert await pair(stack, worker.key) is ReplyCode.OK
    assert await trusts(stack) == [("paired", worker.key)]


async def test_the_second_pairing_of_the_same_two_is_the_first(stack: Stack, worker: FakeWorker) -> None:
    await pair(stack, worker.key)
    first = stack.last(Reply).trust
    code = await create(stack)
    await claim(stack, worker, "C0FFEE")
    assert await confirm(stack, code, worker.key) is ReplyCode.OK
    assert stack.last(Reply).trust == first
    assert await trusts(stack) == [("paired", worker.key)]


async def test_a_pairing_that_is_asked_for_again_under_its_own_id_stays(stack: Stack, worker: FakeWorker) -> None:
    for _ in range(2):
        assert await pair(stack, worker.key) is ReplyCode.OK
    assert await trusts(stack) == [("paired", worker.key)]


async def test_a_worker_of_another_tenant_is_not_found(stack: Stack) -> None:
    assert await pair(stack, (await joined(stack, "stranger", "elsewhere")).key) is ReplyCode.NOT_FOUND
    assert await pair(stack, OTHERS_KEY) is ReplyCode.NOT_FOUND


async def test_who_sends_no_key_may_have_a_worker_of_the_first_tenant_paired(stack: Stack, worker: FakeWorker) -> None:
    assert await pair(stack, worker.key, "alice", defaults.DISPATCH_TENANT) is ReplyCode.OK


async def test_a_worker_that_waits_for_approval_is_not_paired(stack: Stack) -> None:
    waiting = FakeWorker(stack, "waiting")
    await waiting.join(needs_approval=True)
    assert await pair(stack, waiting.key) is ReplyCode.WORKER_WAITS
    await stack.do(stack.management(waiting.key, WorkerAction.REVOKE))
    assert await pair(stack, waiting.key) is ReplyCode.WORKER_REVOKED
    assert await trusts(stack) == []


async def test_a_token_that_pairs_enrols_a_worker_its_user_trusts_from_its_first_moment(stack: Stack) -> None:
    worker = FakeWorker(stack, "mine")
    await worker.join(pairs_with="owner")
    assert await trusts(stack) == [("paired", worker.key)]
    (offer,) = stack.core.offers()
    assert offer.profile.pairs == {(defaults.TENANT, "owner")}


async def test_a_token_that_pairs_does_so_after_a_restart(stack: Stack) -> None:
    token = await stack.token(pairs_with="owner")
    await stack.restart()
    worker = FakeWorker(stack, "mine")
    await worker.connect(token_hash=token)
    assert await trusts(stack) == [("paired", worker.key)]


async def test_a_pairing_that_was_ended_is_not_made_again_when_its_worker_comes_back(stack: Stack) -> None:
    worker = FakeWorker(stack, "mine")
    await worker.join(pairs_with="owner")
    (trust,) = await stack.store.trusts(defaults.TENANT, "owner")
    assert await end(stack, trust) is ReplyCode.OK
    await worker.connect(token_hash=await stack.token(pairs_with="owner"))
    assert await trusts(stack) == []


async def test_an_open_code_that_was_ended_is_worth_nothing(stack: Stack, worker: FakeWorker) -> None:
    code = await create(stack)
    assert await end(stack, code) is ReplyCode.OK
    assert await claim(stack, worker, "C0FFEE") is ReplyCode.CODE_REFUSED
    assert code.status is TrustStatus.OPEN
