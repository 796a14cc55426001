"""Who sends no key: somebody of Dispatch's, on this machine, where the owner allows it; else nobody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from litestar import Request

from cavvy.api.auth import ANONYMOUS, MANAGES, SUBMITS, KeyRing, Role, new_key
from cavvy.api.limits import RateLimits
from cavvy.api.listening import Listen
from cavvy.api.problems import ProblemError
from cavvy.store.sqlite import SqliteStore
from cavvy.testing import LiveStack, live_stack
from cavvy.testing.clock import VirtualClock


def request(peer: str | None = "127.0.0.1", **headers: str) -> Request[Any, Any, Any]:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": raw, "client": (peer, 1) if peer is not None else None})  # type: ignore[arg-type]


def ring(*, dispatch: bool = True, **limits: int) -> KeyRing:
    return KeyRing(VirtualClock(), RateLimits(**limits), dispatch=dispatch)


def refusal(keys: KeyRing, asked: Request[Any, Any, Any]) -> ProblemError:
    with pytest.raises(ProblemError) as found:
        keys.authenticate_or_anonymous(asked, *SUBMITS)
    return found.value


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_who_comes_from_this_machine_needs_no_key(peer: str) -> None:
    assert ring().authenticate_or_anonymous(request(peer), *SUBMITS) is ANONYMOUS


@pytest.mark.parametrize("peer", ["192.168.1.7", "fe80::1", "", None, "0.0.0.0"])
def test_who_comes_from_elsewhere_does(peer: str | None) -> None:
    error = refusal(ring(), request(peer))
    assert error.code == "unauthorized"
    assert "own machine" in error.detail


@pytest.mark.parametrize(
    "header",
    [
        "x_forwarded_for",
        "forwarded",
        "via",
        "x_real_ip",
        "x_forwarded_host",
        "x_forwarded_proto",
        "x_forwarded_server",
        "x_original_forwarded_for",
        "x_client_ip",
        "true_client_ip",
        "cf_connecting_ip",
    ],
)
def test_who_comes_through_a_proxy_that_nobody_named_does(header: str) -> None:
    assert refusal(ring(), request(**{header: "127.0.0.1"})).code == "unauthorized"


def test_without_the_flag_nobody_does_and_the_refusal_names_it() -> None:
    error = refusal(ring(dispatch=False), request())
    assert error.code == "unauthorized"
    assert "--dispatch" in error.detail


def test_a_wrong_key_is_not_better_than_none() -> None:
    assert refusal(ring(), request(authorization="Bearer cav_sub_abc_def")).code == "unauthorized"


def test_a_good_key_counts_on_these_routes_too() -> None:
    keys = ring()
    token, key = new_key(Role.ADMIN, "acme", "ann", 0)
    keys.take(key)
    caller = keys.authenticate_or_anonymous(request(authorization=f"Bearer {token}"), *SUBMITS)
    assert (caller.tenant, caller.user_id) == ("acme", "ann")


def test_who_has_no_key_may_not_ask_more_often_than_who_has_one() -> None:
    keys = ring(key_requests_per_s=1, key_requests_burst=2)
    for _ in range(2):
        keys.authenticate_or_anonymous(request(), *SUBMITS)
    assert refusal(keys, request()).code == "rate_limited"


def test_who_has_no_key_gets_nothing_where_one_is_asked_for() -> None:
    with pytest.raises(ProblemError) as found:
        ring().authenticate(request(), *MANAGES)
    assert found.value.code == "unauthorized"


def test_no_end_of_being_without_a_key_is_known() -> None:
    ring().check(ANONYMOUS)


async def test_the_tenant_of_those_without_a_key_is_made_at_the_first_start_that_needs_it(tmp_path: Path) -> None:
    for _ in range(2):
        async with live_stack(tmp_path, SqliteStore(tmp_path), listen=Listen(port=0, dispatch=True)) as stack:
            store = stack.server._store
            assert [one.id for one in await store.tenants()] == ["default", "dispatch"]


async def test_nobody_else_can_have_the_tenant_of_those_without_a_key(stack: LiveStack) -> None:
    headers = {"Authorization": f"Bearer {stack.server.operator_key}"}
    answer = await stack.http.post("/v1/tenants", json={"id": "dispatch"}, headers=headers)
    assert (answer.status_code, answer.json()["field"]) == (422, "id")
