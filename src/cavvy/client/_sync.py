"""The synchronous client: carries out the steps of `_flow` with `httpx.Client`."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from cavvy import defaults
from cavvy.client import _http
from cavvy.client import _protocol as protocol
from cavvy.client import _trust as trust
from cavvy.client._events import TenantEvent
from cavvy.client._flow import Close, Emit, Flow, Flows, Open, Pause, Read, Send, Step
from cavvy.client._job import Job, JobPage
from cavvy.client._protocol import Lost, Prompt, Reply, Request, Task
from cavvy.client._text import StreamText
from cavvy.client.config import connection
from cavvy.client.receipt import Receipt
from cavvy.errors import ClientError, RequestRefused
from cavvy.protocol.rest_events import Delta
from cavvy.protocol.rest_health import Health
from cavvy.protocol.rest_keys import KeyBody, KeyList, KeyView, NewKey, OwnKey
from cavvy.protocol.rest_stop import StopAnswer, StopView, ThreadStopped
from cavvy.protocol.rest_tenants import NewTenant, TenantList, TenantView
from cavvy.protocol.rest_trust import NewTrustCode, TrustList, TrustView
from cavvy.protocol.rest_workers import WorkerList, WorkerToken, WorkerView

__all__ = ["Cavvy", "JobStream", "Wire"]

T = TypeVar("T")


class Cavvy:
    """A coordinator's client. `timeout` is how many seconds one request may take beyond the time it asks to wait.

    Without arguments it finds coordinator and key as the command line does: CAVVY_URL, CAVVY_API_KEY, CAVVY_PIN,
    cavvy.toml (`config` names it), the credentials file; with `operator` it looks there for the operator's key. With
    `pin` (SHA-256 of the certificate's public key, hex) it speaks only to the coordinator with that key, without one to
    whomever a certificate authority vouches for. Every method may raise NoCoordinator, CertificateRefused or
    RequestRefused. Requests whose answer got lost are repeated; a submit carries an Idempotency-Key, so that it stays
    one job. Threads may share a client.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        pin: str | None = None,
        config: Path | str | None = None,
        operator: bool = False,
        timeout: float = 30.0,
    ) -> None:
        place = connection(url, api_key, pin=pin, config=config, operator=operator)
        self.url = place.url
        self._http = httpx.Client(**_http.options(place))
        self._flows = Flows(place.url)
        self._timeout_s = timeout

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections; streams still open break."""
        self._http.close()

    def submit(self, prompt: Prompt, **fields: Any) -> Job:
        """The new job, accepted and safe. `fields` are those of `POST /v1/jobs`: model, max_tokens, temperature, stop,
        metadata, effort, thread_id, timeout_s, deadline (a datetime or ISO 8601) and so on. Raises InvalidInput for
        others."""
        return self._carry_out(self._flows.submit(prompt, fields))

    def submit_task(self, task_type: str, text: str, **fields: Any) -> Job:
        """A new TASK job, accepted and safe: summarize, classify or extract_json of `text`. `fields` are those of
        `submit` that are not said to a model."""
        return self._carry_out(self._flows.submit(Task(task_type, text), fields))

    def submit_many(
        self, jobs: Iterable[Prompt | Mapping[str, Any]], *, idempotency_key: str | None = None, **fields: Any
    ) -> list[Job | RequestRefused]:
        """At most 1,000 jobs in one commit; for each, in order, the new job or the refusal, which is not raised.

        Each is a prompt, or a mapping with the fields of `POST /v1/jobs`; `fields` are for those that do not say.
        A batch that may have been taken, whose answer you never saw, can be repeated with the same `idempotency_key`
        within 24 hours: it stays the same jobs. Raises RequestRefused for the batch as a whole.
        """
        return self._carry_out(self._flows.submit_many(jobs, fields, idempotency_key))

    def run(self, prompt: Prompt, *, wait_s: float | None = None, **fields: Any) -> Job:
        """Submits and waits; the completed job. Raises JobFailed; JobTimeout after `wait_s`: the job goes on."""
        return self._carry_out(self._flows.run(prompt, fields, wait_s))

    def run_task(self, task_type: str, text: str, *, wait_s: float | None = None, **fields: Any) -> Job:
        """Submits a task and waits; the completed job, whose `result` is the task's object. Raises as `run`."""
        return self._carry_out(self._flows.run(Task(task_type, text), fields, wait_s))

    def stream(self, prompt: Prompt, *, restart: bool = False, reasoning: bool = False, **fields: Any) -> JobStream:
        """Submits; iterate over the answer's deltas as they come. See JobStream."""
        text = StreamText(restart=restart, reasoning=reasoning, job=self.submit(prompt, **fields))
        return self._stream(self._flows.follow(text, None), text)

    def follow(
        self,
        job: Job | str,
        *,
        restart: bool = False,
        reasoning: bool = False,
        on_status: Callable[[Job], None] | None = None,
    ) -> JobStream:
        """The deltas of a job there is already, from the first on. `on_status` hears of each change of status."""
        text = StreamText(restart=restart, reasoning=reasoning, job=job)
        return self._stream(self._flows.follow(text, on_status), text)

    def job(self, job_id: str, *, wait: int = 0) -> Job:
        """The job as it is now, or as soon as it has ended within `wait` seconds (at most 60)."""
        return self._fetch(protocol.job_request(job_id, wait), Job)

    def jobs(
        self,
        *,
        status: str | None = None,
        worker: str | None = None,
        thread: str | None = None,
        effort: str | None = None,
        q: str | None = None,
        cursor: str | None = None,
        limit: int | None = None,
    ) -> JobPage:
        """A page of jobs without their texts, newest first: those in `status`, given to `worker` (id or key), of
        `thread` or `effort`, with the text `q` in id, model, prompt, messages or metadata. A page may be short, even
        empty, and have a cursor still: go on until it is None.
        """
        request = protocol.jobs_request(
            status=status, worker=worker, thread=thread, effort=effort, q=q, cursor=cursor, limit=limit
        )
        return self._fetch(request, JobPage)

    def events(self) -> Generator[TenantEvent]:
        """What changes for the tenant, from now on and for ever: EventsCursor, JobChange, WorkerView, StopView.

        There is no replay. Each connection begins with an EventsCursor: from there nothing is left out, and what was
        before is to be listed, after a broken connection again.
        """
        return _emitted(self._flows.events(), Wire(self._http, self._timeout_s))

    def cancel(self, job_id: str, *, reason: str | None = None) -> Job:
        """The job, ended or with `cancel_requested`. Cancelling twice, or what has ended, changes nothing."""
        return self._fetch(protocol.cancel_request(job_id, reason), Job)

    def retry(self, job_id: str) -> Job:
        """Runs a failed or stopped job again; the `Job`, which waits or runs. Never repeated by itself."""
        return self._fetch(protocol.retry_request(job_id), Job)

    def erase(self, job_id: str) -> Job:
        """Erases the texts of a job that has ended, for good; hashes and receipt stay. Twice is the same as once."""
        return self._fetch(protocol.erase_request(job_id), Job)

    def cancel_thread(self, thread_id: str, *, reason: str | None = None) -> ThreadStopped:
        """Stops every job with this `thread_id` that has not ended; how many were running and waiting."""
        return self._fetch(protocol.thread_cancel_request(thread_id, reason), ThreadStopped)

    def stop_all(self, *, reason: str | None = None, latch: bool = True) -> StopAnswer:
        """Stops everything of the tenant. With `latch` new work is refused (409 `stopped`) until it is released."""
        return self._fetch(protocol.stop_request(reason, latch=latch), StopAnswer)

    def release_stop(self) -> StopView:
        """New work is accepted again; with an admin's key. What was stopped stays stopped."""
        return self._fetch(protocol.Request("POST", "/v1/stop/release"), StopView)

    def stop_state(self) -> StopView:
        """Whether everything is stopped: by whom, why, since when."""
        return self._fetch(protocol.get("/v1/stop"), StopView)

    def result(self, job_id: str) -> bytes:
        """The exact bytes that the receipt's `output_hash` is over."""
        return self._carry_out(self._flows.body(protocol.get(protocol.job_path(job_id, "/result"))))

    def receipt(self, job_id: str) -> Receipt:
        """The receipt in its exact bytes; `verify` wants the worker's key then, which `job(id).receipt` has with it."""
        envelope = self._carry_out(self._flows.body(protocol.get(protocol.job_path(job_id, "/receipt"))))
        return Receipt(envelope, job_id=job_id)

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

    def health(self) -> Health:
        """Whether the coordinator's process is alive; needs no key."""
        return self._fetch(protocol.get("/v1/health"), Health)

    def _stream(self, flow: Flow[None], text: StreamText) -> JobStream:
        return JobStream(_emitted(flow, Wire(self._http, self._timeout_s)), text)

    def _fetch(self, request: Request, kind: type[T]) -> T:
        return self._carry_out(self._flows.fetch(request, kind))

    def _carry_out(self, flow: Flow[T]) -> T:
        wire = Wire(self._http, self._timeout_s)
        outcome: Reply | Lost | bytes | None = None
        while True:
            try:
                step = flow.send(outcome)
            except StopIteration as stop:
                answer: T = stop.value
                return answer
            outcome = wire.perform(step)


class JobStream:
    """The answer of one job, delta by delta: `for delta in stream: print(delta.text, end="")`.

    Goes on by itself after a broken connection, without gap or repetition; ends only when the answer is whole, and
    raises JobFailed if the job failed. With `reasoning` there are deltas of that `kind` too, of what the model thinks:
    no part of the answer, and not told again after a broken connection. A new attempt after text was shown raises
    AttemptRestarted, or with `restart=True` gives a delta with offset 0: forget the text before. Leaving early stops
    nothing: the job goes on.
    """

    def __init__(self, deltas: Generator[Delta], text: StreamText) -> None:
        self._deltas = deltas
        self._text = text

    @property
    def job(self) -> Job | None:
        """The newest snapshot; the ended job once the iteration is over."""
        return self._text.job

    def result(self) -> Job:
        """Reads what is left and returns the completed job. Raises JobFailed."""
        for _ in self:
            pass
        if self.job is None or not self.job.terminal:
            raise ClientError("the stream was closed before its end; follow the job again")
        return self.job

    def close(self) -> None:
        """Stops listening."""
        self._deltas.close()

    def __iter__(self) -> Iterator[Delta]:
        return self._deltas

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _emitted(flow: Flow[None], wire: Wire) -> Generator[Any]:
    outcome: Reply | Lost | bytes | None = None
    try:
        while True:
            try:
                step = flow.send(outcome)
            except StopIteration:
                return
            outcome = None
            if isinstance(step, Emit):
                yield step.value
            else:
                outcome = wire.perform(step)
    finally:
        wire.close()


class Wire:
    """Carries out steps; holds the stream that is open."""

    def __init__(self, http: httpx.Client, timeout_s: float) -> None:
        self._http = http
        self._timeout_s = timeout_s
        self._response: httpx.Response | None = None
        self._chunks: Iterator[bytes] = iter(())

    def perform(self, step: Step) -> Reply | Lost | bytes | None:
        """Does `step`; its outcome."""
        match step:
            case Send(request):
                return self._send(request, stream=False)
            case Open(request):
                return self._send(request, stream=True)
            case Read():
                return self._read()
            case Pause(seconds):
                time.sleep(seconds)
            case Close():
                self.close()
        return None

    def close(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None

    def _send(self, request: Request, *, stream: bool) -> Reply | Lost:
        prepared = self._http.build_request(**_http.outgoing(request, self._timeout_s, stream=stream))
        try:
            response = self._http.send(prepared, stream=stream)
            if not stream or response.status_code != 200:
                return Reply(response.status_code, response.headers, response.read())
        except httpx.RequestError as error:
            return _http.lost(error, str(self._http.base_url))
        self._response, self._chunks = response, response.iter_bytes()
        return Reply(response.status_code, response.headers, b"")

    def _read(self) -> bytes:
        try:
            return next(self._chunks, b"")
        except (httpx.TransportError, httpx.StreamError):
            return b""
