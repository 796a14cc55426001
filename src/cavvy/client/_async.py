"""The asynchronous client: its jobs, their streams, and the stops."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from cavvy.client import _http
from cavvy.client import _protocol as protocol
from cavvy.client._async_managing import Managing
from cavvy.client._async_wire import Wire
from cavvy.client._events import TenantEvent
from cavvy.client._flow import Emit, Flow, Flows
from cavvy.client._job import Job, JobPage
from cavvy.client._protocol import Lost, Prompt, Reply, Task
from cavvy.client._text import StreamText
from cavvy.client.config import connection
from cavvy.client.receipt import Receipt
from cavvy.errors import ClientError, RequestRefused
from cavvy.protocol.rest_events import Delta
from cavvy.protocol.rest_health import Health
from cavvy.protocol.rest_stop import StopAnswer, StopView, ThreadStopped

__all__ = ["AsyncCavvy", "AsyncJobStream"]


class AsyncCavvy(Managing):
    """A coordinator's client. `timeout` is how many seconds one request may take beyond the time it asks to wait.

    Without arguments it finds coordinator and key as the command line does: CAVVY_URL, CAVVY_API_KEY, CAVVY_PIN,
    cavvy.toml (`config` names it), the credentials file; with `operator` it looks there for the operator's key. With
    `pin` (SHA-256 of the certificate's public key, hex) it speaks only to the coordinator with that key, without one to
    whomever a certificate authority vouches for. Every method may raise NoCoordinator, CertificateRefused or
    RequestRefused. Requests whose answer got lost are repeated; a submit carries an Idempotency-Key, so that it stays
    one job.
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
        self._http = httpx.AsyncClient(**_http.options(place))
        self._flows = Flows(place.url)
        self._timeout_s = timeout

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes the connections; streams still open break."""
        await self._http.aclose()

    async def submit(self, prompt: Prompt, **fields: Any) -> Job:
        """The new job, accepted and safe. `fields` are those of `POST /v1/jobs`: model, max_tokens, temperature, stop,
        metadata, effort, thread_id, timeout_s, deadline (a datetime or ISO 8601) and so on. Raises InvalidInput for
        others."""
        return await self._carry_out(self._flows.submit(prompt, fields))

    async def submit_task(self, task_type: str, text: str, **fields: Any) -> Job:
        """A new TASK job, accepted and safe: summarize, classify or extract_json of `text`. `fields` are those of
        `submit` that are not said to a model."""
        return await self._carry_out(self._flows.submit(Task(task_type, text), fields))

    async def submit_many(
        self, jobs: Iterable[Prompt | Mapping[str, Any]], *, idempotency_key: str | None = None, **fields: Any
    ) -> list[Job | RequestRefused]:
        """At most 1,000 jobs in one commit; for each, in order, the new job or the refusal, which is not raised.

        Each is a prompt, or a mapping with the fields of `POST /v1/jobs`; `fields` are for those that do not say.
        A batch that may have been taken, whose answer you never saw, can be repeated with the same `idempotency_key`
        within 24 hours: it stays the same jobs. Raises RequestRefused for the batch as a whole.
        """
        return await self._carry_out(self._flows.submit_many(jobs, fields, idempotency_key))

    async def run(self, prompt: Prompt, *, wait_s: float | None = None, **fields: Any) -> Job:
        """Submits and waits; the completed job. Raises JobFailed; JobTimeout after `wait_s`: the job goes on."""
        return await self._carry_out(self._flows.run(prompt, fields, wait_s))

    async def run_task(self, task_type: str, text: str, *, wait_s: float | None = None, **fields: Any) -> Job:
        """Submits a task and waits; the completed job, whose `result` is the task's object. Raises as `run`."""
        return await self._carry_out(self._flows.run(Task(task_type, text), fields, wait_s))

    def stream(
        self, prompt: Prompt, *, restart: bool = False, reasoning: bool = False, **fields: Any
    ) -> AsyncJobStream:
        """Submits when iterated over; then gives the answer's deltas as they come. See AsyncJobStream."""
        text = StreamText(restart=restart, reasoning=reasoning)
        return self._stream(self._flows.stream(prompt, fields, text), text)

    def follow(
        self,
        job: Job | str,
        *,
        restart: bool = False,
        reasoning: bool = False,
        on_status: Callable[[Job], None] | None = None,
    ) -> AsyncJobStream:
        """The deltas of a job there is already, from the first on. `on_status` hears of each change of status."""
        text = StreamText(restart=restart, reasoning=reasoning, job=job)
        return self._stream(self._flows.follow(text, on_status), text)

    async def job(self, job_id: str, *, wait: int = 0) -> Job:
        """The job as it is now, or as soon as it has ended within `wait` seconds (at most 60)."""
        return await self._fetch(protocol.job_request(job_id, wait), Job)

    async def jobs(
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
        return await self._fetch(request, JobPage)

    def events(self) -> AsyncGenerator[TenantEvent]:
        """What changes for the tenant, from now on and for ever: EventsCursor, JobChange, WorkerView, StopView.

        There is no replay. Each connection begins with an EventsCursor: from there nothing is left out, and what was
        before is to be listed, after a broken connection again.
        """
        return _emitted(self._flows.events(), Wire(self._http, self._timeout_s))

    async def cancel(self, job_id: str, *, reason: str | None = None) -> Job:
        """The job, ended or with `cancel_requested`. Cancelling twice, or what has ended, changes nothing."""
        return await self._fetch(protocol.cancel_request(job_id, reason), Job)

    async def retry(self, job_id: str) -> Job:
        """Runs a failed or stopped job again; the `Job`, which waits or runs. Never repeated by itself."""
        return await self._fetch(protocol.retry_request(job_id), Job)

    async def erase(self, job_id: str) -> Job:
        """Erases the texts of a job that has ended, for good; hashes and receipt stay. Twice is the same as once."""
        return await self._fetch(protocol.erase_request(job_id), Job)

    async def cancel_thread(self, thread_id: str, *, reason: str | None = None) -> ThreadStopped:
        """Stops every job with this `thread_id` that has not ended; how many were running and waiting."""
        return await self._fetch(protocol.thread_cancel_request(thread_id, reason), ThreadStopped)

    async def stop_all(self, *, reason: str | None = None, latch: bool = True) -> StopAnswer:
        """Stops everything of the tenant. With `latch` new work is refused (409 `stopped`) until it is released."""
        return await self._fetch(protocol.stop_request(reason, latch=latch), StopAnswer)

    async def release_stop(self) -> StopView:
        """New work is accepted again; with an admin's key. What was stopped stays stopped."""
        return await self._fetch(protocol.Request("POST", "/v1/stop/release"), StopView)

    async def stop_state(self) -> StopView:
        """Whether everything is stopped: by whom, why, since when."""
        return await self._fetch(protocol.get("/v1/stop"), StopView)

    async def result(self, job_id: str) -> bytes:
        """The exact bytes that the receipt's `output_hash` is over."""
        return await self._carry_out(self._flows.body(protocol.get(protocol.job_path(job_id, "/result"))))

    async def receipt(self, job_id: str) -> Receipt:
        """The receipt in its exact bytes; `verify` wants the worker's key then, which `job(id).receipt` has with it."""
        envelope = await self._carry_out(self._flows.body(protocol.get(protocol.job_path(job_id, "/receipt"))))
        return Receipt(envelope, job_id=job_id)

    async def health(self) -> Health:
        """Whether the coordinator's process is alive; needs no key."""
        return await self._fetch(protocol.get("/v1/health"), Health)

    def _stream(self, flow: Flow[None], text: StreamText) -> AsyncJobStream:
        return AsyncJobStream(_emitted(flow, Wire(self._http, self._timeout_s)), text)


class AsyncJobStream:
    """The answer of one job, delta by delta: `async for delta in stream: print(delta.text, end="")`.

    Goes on by itself after a broken connection, without gap or repetition; ends only when the answer is whole, and
    raises JobFailed if the job failed. With `reasoning` there are deltas of that `kind` too, of what the model thinks:
    no part of the answer, and not told again after a broken connection. A new attempt after text was shown raises
    AttemptRestarted, or with `restart=True` gives a delta with offset 0: forget the text before. Leaving early stops
    nothing: the job goes on.
    """

    def __init__(self, deltas: AsyncGenerator[Delta], text: StreamText) -> None:
        self._deltas = deltas
        self._text = text

    @property
    def job(self) -> Job | None:
        """The newest snapshot; the ended job once the iteration is over."""
        return self._text.job

    async def result(self) -> Job:
        """Reads what is left and returns the completed job. Raises JobFailed."""
        async for _ in self:
            pass
        if self.job is None or not self.job.terminal:
            raise ClientError("the stream was closed before its end; follow the job again")
        return self.job

    async def aclose(self) -> None:
        """Stops listening."""
        await self._deltas.aclose()

    def __aiter__(self) -> AsyncIterator[Delta]:
        return self._deltas

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


async def _emitted(flow: Flow[None], wire: Wire) -> AsyncGenerator[Any]:
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
                outcome = await wire.perform(step)
    finally:
        await wire.aclose()
