"""Who may make, change and end which key, and when it is refused."""

from __future__ import annotations

from itertools import count

import pytest
from msgspec.structs import replace

from cavvy import defaults
from cavvy.core.commands import CreateApiKey, CreateTenant, RevokeApiKey, RotateApiKey
from cavvy.core.effects import Assign, Effect, KeyChanged, Reply, ReplyCode
from cavvy.core.identity import ApiKey, Role, Tenant
from cavvy.core.writes import AddApiKey, AddTenant, ReplaceApiKey
from cavvy.testing import FakeWorker, Stack

REFS = count(1)
OPERATOR = ApiKey(key_id="op", secret_hash=b"o", role=Role.OPERATOR, tenant="", user_id="owner", created_at_ms=0)
ADMIN = replace(OPERATOR, key_id="adm", secret_hash=b"a", role=Role.ADMIN, tenant="t")
OTHER = replace(ADMIN, key_id="other", tenant="u")
TENANTS = [Tenant(id=name, created_at_ms=0) for name in ("t", "u")]


@pytest.fixture
async def stack() -> Stack:
    stack = Stack()
    await stack.start()
    await stack.know(OPERATOR, ADMIN, OTHER, tenants=TENANTS)
    return stack


def key(key_id: str, role: Role = Role.SUBMIT, tenant: str = "t", expires_at_ms: int | None = None) -> ApiKey:
    return replace(ADMIN, key_id=key_id, role=role, tenant=tenant, expires_at_ms=expires_at_ms)


def create(made: ApiKey, by: str = "adm") -> CreateApiKey:
    return CreateApiKey(ref=next(REFS), by=by, key=made)


def revoke(key_id: str, by: str = "adm", tenant: str = "t") -> RevokeApiKey:
    return RevokeApiKey(ref=next(REFS), by=by, tenant=tenant, key_id=key_id)


def rotate(key_id: str, by: str = "adm", secret_hash: bytes = b"new", grace_s: int = 60) -> RotateApiKey:
    return RotateApiKey(ref=next(REFS), by=by, tenant="t", key_id=key_id, secret_hash=secret_hash, grace_s=grace_s)


def code(effects: list[Effect]) -> ReplyCode:
    return next(one.code for one in reversed(effects) if isinstance(one, Reply))


@pytest.mark.parametrize("role", [Role.ADMIN, Role.SUBMIT, Role.READ, Role.WORKER])
async def test_an_admin_makes_keys_of_every_role_of_its_tenant(stack: Stack, role: Role) -> None:
    made = key("k", role)
    effects = await stack.do(create(made))
    assert effects == [KeyChanged(key=made), Reply(ref=effects[1].ref, code=ReplyCode.OK)]  # type: ignore[union-attr]
    assert stack.writes == [AddApiKey(key=made)]


@pytest.mark.parametrize(
    ("by", "made"),
    [
        pytest.param("adm", key("k", Role.OPERATOR, ""), id="an admin, an operator's key"),
        pytest.param("adm", key("k", Role.OPERATOR), id="an admin, an operator's key in its own tenant"),
        pytest.param("adm", key("k", tenant="u"), id="an admin, a key of another tenant"),
        pytest.param("sub", key("k", Role.READ), id="a submitter"),
        pytest.param("gone", key("k"), id="a key that is not there"),
    ],
)
async def test_nobody_makes_a_key_above_or_beside_their_own(stack: Stack, by: str, made: ApiKey) -> None:
    await stack.do(create(key("sub")))
    stack.writes.clear()
    assert code(await stack.do(create(made, by))) is ReplyCode.FORBIDDEN
    assert stack.writes == []


async def test_the_operator_makes_keys_of_every_tenant_there_is(stack: Stack) -> None:
    assert code(await stack.do(create(key("k", Role.ADMIN, "u"), "op"))) is ReplyCode.OK
    assert code(await stack.do(create(key("l", Role.OPERATOR, ""), "op"))) is ReplyCode.OK
    assert code(await stack.do(create(key("m", Role.ADMIN, "nobody"), "op"))) is ReplyCode.NOT_FOUND


async def test_an_admin_whose_key_was_revoked_a_moment_before_decides_nothing_more(stack: Stack) -> None:
    await stack.do(create(key("second", Role.ADMIN)))
    effects = await stack.do(revoke("second"), create(key("k"), by="second"))
    assert [one.code for one in effects if isinstance(one, Reply)] == [ReplyCode.OK, ReplyCode.FORBIDDEN]


async def test_an_admin_whose_key_has_expired_decides_nothing_more(stack: Stack) -> None:
    await stack.do(create(key("short", Role.ADMIN, expires_at_ms=stack.clock().wall_ms + 1000)))
    assert code(await stack.do(create(key("k"), by="short"))) is ReplyCode.OK
    stack.clock.advance(1.0)
    assert code(await stack.do(create(key("l"), by="short"))) is ReplyCode.FORBIDDEN


async def test_revoking_ends_a_key_once(stack: Stack) -> None:
    made = key("k")
    await stack.do(create(made))
    stack.writes.clear()
    ended = replace(made, revoked_at_ms=stack.clock().wall_ms)
    effects = await stack.do(revoke("k"))
    assert (stack.writes, effects[0]) == (
        [ReplaceApiKey(key=ended, secret_hash_before=made.secret_hash)],
        KeyChanged(key=ended),
    )
    assert code(await stack.do(revoke("k"))) is ReplyCode.NOT_FOUND
    assert code(await stack.do(rotate("k"))) is ReplyCode.NOT_FOUND


async def test_a_key_of_another_tenant_is_not_there(stack: Stack) -> None:
    assert code(await stack.do(revoke("other"))) is ReplyCode.NOT_FOUND
    assert code(await stack.do(revoke("other", tenant="u"))) is ReplyCode.FORBIDDEN
    assert code(await stack.do(rotate("other"))) is ReplyCode.NOT_FOUND


async def test_the_last_admin_key_of_a_tenant_stays(stack: Stack) -> None:
    await stack.do(create(key("sub")))
    assert code(await stack.do(revoke("adm"))) is ReplyCode.LAST_KEY
    assert code(await stack.do(revoke("adm", by="op"))) is ReplyCode.LAST_KEY
    assert code(await stack.do(create(key("second", Role.ADMIN)))) is ReplyCode.OK
    assert code(await stack.do(revoke("adm"))) is ReplyCode.OK
    assert code(await stack.do(revoke("second", by="second"))) is ReplyCode.LAST_KEY


async def test_the_operators_last_key_stays(stack: Stack) -> None:
    assert code(await stack.do(revoke("op", by="op", tenant=""))) is ReplyCode.LAST_KEY
    await stack.do(create(key("second", Role.OPERATOR, ""), "op"))
    assert code(await stack.do(revoke("op", by="second", tenant=""))) is ReplyCode.OK


async def test_two_admins_that_revoke_each_other_at_once_leave_one(stack: Stack) -> None:
    await stack.do(create(key("second", Role.ADMIN)))
    effects = await stack.do(revoke("second", by="adm"), revoke("adm", by="second"))
    assert [one.code for one in effects if isinstance(one, Reply)] == [ReplyCode.OK, ReplyCode.FORBIDDEN]


async def test_an_admin_key_that_ends_sooner_is_no_replacement_for_one_that_lasts(stack: Stack) -> None:
    await stack.do(create(key("short", Role.ADMIN, expires_at_ms=stack.clock().wall_ms + 1000)))
    assert code(await stack.do(revoke("adm"))) is ReplyCode.LAST_KEY
    assert code(await stack.do(revoke("short"))) is ReplyCode.OK


async def test_an_expired_admin_key_can_be_revoked(stack: Stack) -> None:
    await stack.do(create(key("short", Role.ADMIN, expires_at_ms=stack.clock().wall_ms + 1000)))
    stack.clock.advance(2.0)
    assert code(await stack.do(revoke("short"))) is ReplyCode.OK


async def test_rotating_keeps_the_old_secret_for_its_grace_and_only_one_of_them(stack: Stack) -> None:
    first = stack.clock().wall_ms
    (changed, _) = await stack.do(rotate("adm", secret_hash=b"2"))
    assert isinstance(changed, KeyChanged)
    assert (changed.key.secret_hash, changed.key.old_secret_hash) == (b"2", b"a")
    assert changed.key.old_until_ms == first + 60_000
    (changed, _) = await stack.do(rotate("adm", secret_hash=b"3"))
    assert isinstance(changed, KeyChanged)
    assert (changed.key.secret_hash, changed.key.old_secret_hash) == (b"3", b"2")


async def test_rotating_without_grace_ends_the_old_secret_at_once(stack: Stack) -> None:
    (changed, _) = await stack.do(rotate("adm", grace_s=0))
    assert isinstance(changed, KeyChanged)
    assert (changed.key.old_secret_hash, changed.key.old_until_ms) == (None, None)


async def test_a_tenant_comes_with_its_first_key(stack: Stack) -> None:
    tenant = Tenant(id="v", created_at_ms=7)
    first = key("first", Role.ADMIN, "v")
    command = CreateTenant(ref=next(REFS), by="op", tenant=tenant, key=first)
    assert code(await stack.do(command)) is ReplyCode.OK
    assert stack.writes == [AddTenant(tenant=tenant), AddApiKey(key=first)]
    assert code(await stack.do(command)) is ReplyCode.TENANT_TAKEN
    assert code(await stack.do(create(key("k", tenant="v"), by="first"))) is ReplyCode.OK


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_tenants_jobs_are_granted_by_its_weight(stack: Stack, restarted: bool) -> None:
    tenant = Tenant(id="v", created_at_ms=7, weight=3.0)
    await stack.do(CreateTenant(ref=next(REFS), by="op", tenant=tenant, key=key("first", Role.ADMIN, "v")))
    if restarted:
        await stack.restart()
    await stack.do(*(stack.submission(tenant=tenant) for tenant in ("t", "v") for _ in range(20)))
    worker = FakeWorker(stack, slots=20)
    await worker.join(tenant=defaults.SHARED)
    mine = {job.id for job in stack.core._board.jobs.values() if job.needs.tenant == "v"}
    assert len([one for one in stack.all(Assign) if one.job_id in mine]) == 15


async def test_only_the_operator_makes_tenants(stack: Stack) -> None:
    tenant = Tenant(id="v", created_at_ms=7)
    command = CreateTenant(ref=next(REFS), by="adm", tenant=tenant, key=key("first", Role.ADMIN, "v"))
    assert code(await stack.do(command)) is ReplyCode.FORBIDDEN
    assert stack.writes == []


async def test_a_tenant_has_so_many_keys_at_most(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "MAX_KEYS_PER_TENANT", 2)
    assert code(await stack.do(create(key("k")))) is ReplyCode.OK
    assert code(await stack.do(create(key("l")))) is ReplyCode.TOO_MANY_KEYS
    assert code(await stack.do(revoke("k"), create(key("l")))) is ReplyCode.OK


async def test_keys_and_tenants_are_known_after_a_restart(stack: Stack) -> None:
    await stack.do(create(key("k", Role.ADMIN)), rotate("adm", secret_hash=b"2"), revoke("adm", by="op"))
    await stack.restart()
    assert code(await stack.do(create(key("l"), by="adm"))) is ReplyCode.FORBIDDEN
    assert code(await stack.do(create(key("l"), by="k"))) is ReplyCode.OK
