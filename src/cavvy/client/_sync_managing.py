"""What the synchronous client does besides jobs: workers, trust, keys and tenants."""

from __future__ import annotations

from datetime import datetime

from cavvy import defaults
from cavvy.client import _protocol as protocol
from cavvy.client import _trust as trust
from cavvy.client._sync_wire import Caller
from cavvy.protocol.rest_keys import KeyBody, KeyList, KeyView, NewKey, OwnKey
from cavvy.protocol.rest_tenants import NewTenant, TenantList, TenantView
from cavvy.protocol.rest_trust import NewTrustCode, TrustList, TrustView
from cavvy.protocol.rest_workers import WorkerList, WorkerToken, WorkerView

__all__ = ["Managing"]


class Managing(Caller):
    """The part of `Cavvy` that manages workers, trust, keys and tenants."""

    def workers(self) -> list[WorkerView]:
        """Every worker enrolled, online or not."""
        return self._fetch(protocol.get("/v1/workers"), WorkerList).workers

    def worker(self, worker_id: str) -> WorkerView:
        return self._fetch(protocol.get(protocol.worker_path(worker_id)), WorkerView)

    def create_worker_token(
        self, *, needs_approval: bool = False, shared: bool = False, private: bool = False
    ) -> WorkerToken:
        """A token for one worker; `join` is what goes behind `cavvy worker --join`. Never repeated by itself.

        The worker waits with `needs_approval` until it is approved. A `shared` one serves every tenant and takes an
        operator's key. A `private` one is trusted by the key's user.
        """
        request = protocol.token_request(needs_approval=needs_approval, shared=shared, private=private)
        return self._fetch(request, WorkerToken)

    def approve_worker(self, worker_id: str) -> WorkerView:
        """Gives work to one that waits for approval, at once."""
        return self._fetch(protocol.manage_worker_request(worker_id, "approve"), WorkerView)

    def pause_worker(self, worker_id: str) -> WorkerView:
        """It gets nothing new from now on; what it runs goes on."""
        return self._fetch(protocol.manage_worker_request(worker_id, "pause"), WorkerView)

    def resume_worker(self, worker_id: str) -> WorkerView:
        """It gets work again: ends a pause or a drain."""
        return self._fetch(protocol.manage_worker_request(worker_id, "resume"), WorkerView)

    def drain_worker(self, worker_id: str) -> WorkerView:
        """It gets nothing new, finishes what it runs, and its process ends."""
        return self._fetch(protocol.manage_worker_request(worker_id, "drain"), WorkerView)

    def revoke_worker(self, worker_id: str) -> WorkerView:
        """Shuts it out for good: what it runs is stopped and given to others."""
        return self._fetch(protocol.manage_worker_request(worker_id, "revoke"), WorkerView)

    def create_trust_code(self, *, user: str | None = None) -> NewTrustCode:
        """A code by which one worker may ask for the user's trust, within an hour; `confirm_trust` gives it. `user` is
        whose, for a key that may act for users. Never repeated by itself."""
        return self._fetch(trust.code_request(user), NewTrustCode)

    def trust(self, *, user: str | None = None) -> TrustList:
        """Whom the user trusts with what is PRIVATE (`providers`), and the codes and claims there are (`waiting`)."""
        return self._fetch(trust.list_request(user), TrustList)

    def confirm_trust(self, trust_id: str, fingerprint: str, *, user: str | None = None) -> TrustView:
        """Trusts the worker that has claimed this code. `fingerprint` is what the worker itself shows."""
        return self._fetch(trust.confirm_request(trust_id, fingerprint, user), TrustView)

    def pair_worker(self, worker_id: str, *, user: str | None = None) -> TrustView:
        """Trusts a worker without a code."""
        return self._fetch(trust.pair_request(worker_id, user), TrustView)

    def end_trust(self, trust_id: str, *, user: str | None = None) -> TrustView:
        """Ends a pairing, refuses a claim or withdraws a code, at once: what the worker runs of it is stopped."""
        return self._fetch(trust.end_request(trust_id, user), TrustView)

    def own_key(self) -> OwnKey:
        """What this client's key is: its role, tenant and user."""
        return self._fetch(protocol.get("/v1/key"), OwnKey)

    def keys(self, *, tenant: str | None = None) -> list[KeyView]:
        """Every key of the tenant, without secrets. With the operator's key `tenant` names whose; else the operator's
        own."""
        return self._fetch(protocol.keys_request(tenant), KeyList).keys

    def create_key(
        self,
        role: str,
        *,
        name: str | None = None,
        user: str | None = None,
        act_for_users: bool = False,
        expires_at: datetime | str | None = None,
        tenant: str | None = None,
    ) -> NewKey:
        """A new key; `key` is its secret, shown this once. `role` is admin, submit, read or worker. Never repeated by
        itself."""
        until = expires_at.astimezone().isoformat() if isinstance(expires_at, datetime) else expires_at
        body = KeyBody(role=role, name=name, user=user, act_for_users=act_for_users, expires_at=until)
        return self._fetch(protocol.create_key_request(body, tenant), NewKey)

    def rotate_key(self, key_id: str, *, grace_s: int | None = None, tenant: str | None = None) -> NewKey:
        """The key with a new secret; the old one goes on for `grace_s` (a day, if not given). Never repeated by
        itself."""
        return self._fetch(protocol.rotate_key_request(key_id, grace_s, tenant), NewKey)

    def revoke_key(self, key_id: str, *, tenant: str | None = None) -> KeyView:
        """Ends a key at once, with its streams. Repeating it changes nothing."""
        return self._fetch(protocol.revoke_key_request(key_id, tenant), KeyView)

    def tenants(self) -> list[TenantView]:
        """Every tenant; with the operator's key."""
        return self._fetch(protocol.get("/v1/tenants"), TenantList).tenants

    def create_tenant(self, tenant_id: str, *, weight: float = defaults.TENANT_WEIGHT) -> NewTenant:
        """A new tenant and its first admin key, whose secret is shown this once; with the operator's key.

        `weight` is its share of the workers it has in common with others, relative to theirs.
        """
        return self._fetch(protocol.create_tenant_request(tenant_id, weight), NewTenant)
