"""The composition root: picks store, provider and worker, and runs them until a signal ends them in order."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import platform
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from cavvy import defaults, logs
from cavvy.cli import _output
from cavvy.cli._config import CoordinatorPlan, WorkerPlan
from cavvy.cli._limits import raise_file_limit
from cavvy.client import config
from cavvy.client.config import Credentials
from cavvy.client.configfile import ConfigFile
from cavvy.core.job import TaskType, WorkerStatus
from cavvy.errors import CavvyError, StartError, WorkerRefused

# A worker's half and a coordinator's half take long to import: each only where it runs.
if TYPE_CHECKING:
    from cavvy.api.server import CoordinatorServer
    from cavvy.providers.base import Provider
    from cavvy.worker.agent import Worker

__all__ = ["coordinator", "run", "up", "worker"]


def run(main: Coroutine[Any, Any, int]) -> int:
    """Runs a server to its end on the fastest event loop there is; its exit code."""
    logs.configure()
    raise_file_limit()
    sys.setswitchinterval(defaults.THREAD_SWITCH_S)
    gc.set_threshold(*defaults.GC_THRESHOLDS)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(main)


async def coordinator(plan: CoordinatorPlan, file: ConfigFile, *, as_json: bool) -> int:
    """Serves until TERM, INT or the coordinator's own end."""
    _say_settings(file)
    async with _signalled() as told, _running_coordinator(plan) as server:
        if as_json:
            _output.print_json({"url": server.url, "pid": os.getpid()}, line=True)
        else:
            _say_where(server, plan)
            _output.note("add a worker: `cavvy workers token` prints the line to type")
        return await _first_end(told, server.wait_closed())


async def worker(plan: WorkerPlan, file: ConfigFile, join: str | None) -> int:
    """Works until TERM or INT lets it end what it runs, or a second one does not. Raises StartError, WorkerRefused."""
    _say_settings(file)
    providers = await _providers(plan)
    home = plan.data_dir.value / "worker"
    again = asyncio.Event()
    async with _signalled(again) as told, _running_worker(home, join, plan, providers) as (agent, work):
        return await _leaves(agent, work, (told, plan.drain_timeout_s.value), (again, 0.0))


async def _leaves(agent: Worker, work: asyncio.Task[None], *signals: tuple[asyncio.Event, float]) -> int:
    """Waits for the worker's end; each signal gives what it runs so many seconds to end. Raises what it ends with."""
    for told, within_s in signals:
        signalled = asyncio.create_task(told.wait())
        await asyncio.wait((work, signalled), return_when=asyncio.FIRST_COMPLETED)
        signalled.cancel()
        if work.done():
            break
        agent.leave(within_s)
    await asyncio.wait((work,))
    work.result()
    return 0


async def up(where: CoordinatorPlan, plan: WorkerPlan, file: ConfigFile, *, as_json: bool) -> int:
    """A coordinator and its worker in one process; at the end the worker goes first."""
    from cavvy.worker.identity import WorkerHome

    _say_settings(file)
    providers = await _providers(plan)
    home = where.data_dir.value / "worker"
    again = asyncio.Event()
    async with _signalled(again) as told, _running_coordinator(where) as server:
        join = await server.own_worker_line(WorkerHome(home).identity().key)
        async with _running_worker(home, join, plan, providers) as (agent, work):
            if not await _comes_online(agent, work, told) and not await _was_sent_away(server, agent, work):
                return await _first_end(told, work)
            if as_json:
                _output.print_json({"url": server.url, "pid": os.getpid()}, line=True)
            else:
                _say_models(providers)
                _say_where(server, where)
                _output.note(f"in another terminal: cavvy run {_example(plan)}")
            code = await _first_end(told, server.wait_closed(), _outlived(server, agent, work))
            if told.is_set() and not work.done():
                await _leaves(agent, work, (told, plan.drain_timeout_s.value), (again, 0.0))
            return code


async def _outlived(server: CoordinatorServer, agent: Worker, work: asyncio.Task[None]) -> int:
    """A worker that was sent away leaves the coordinator running. Raises what else the worker ends with."""
    await asyncio.wait((work,))
    if not await _was_sent_away(server, agent, work):
        work.result()
    _output.note(f"the worker {agent.name} was drained or revoked; the coordinator goes on without it")
    await asyncio.Event().wait()
    raise AssertionError("nobody sets it")


async def _was_sent_away(server: CoordinatorServer, agent: Worker, work: asyncio.Task[None]) -> bool:
    """Whether it has ended because somebody drained or revoked it."""
    if not work.done() or work.cancelled():
        return False
    error = work.exception()
    revoked = isinstance(error, WorkerRefused) and await server.worker_status(agent.key) is WorkerStatus.REVOKED
    return error is None or revoked


async def _providers(plan: WorkerPlan) -> list[Provider]:
    """What there is to run prompts on, if it shall; says what, and which cloud keys lie idle. Raises StartError."""
    from cavvy.providers.build import discover

    if not plan.models.value:
        _output.note(f"runs tasks only, no prompts ({plan.models.origin}): {', '.join(TaskType)}")
        return []

    found = await discover(plan.providers, cloud=plan.cloud, environ=os.environ)
    for line in found.notes:
        _output.note(line)
    for cloud in found.unused_cloud:
        _output.note(f"not used: {cloud.name} ({cloud.env} is set; {cloud.price}); --cloud uses it")
    return found.providers


async def _comes_online(agent: Worker, work: asyncio.Task[None], told: asyncio.Event) -> bool:
    """Waits until the worker is connected, so its model is loaded; False when it ends or is told to before."""
    online, stop = asyncio.create_task(agent.wait_connected()), asyncio.create_task(told.wait())
    done, pending = await asyncio.wait((online, stop, work), return_when=asyncio.FIRST_COMPLETED)
    for task in pending - {work}:
        task.cancel()
    return online in done


def _say_models(providers: Sequence[Provider]) -> None:
    for provider in providers:
        _output.note(f"serves: {', '.join(provider.models)} ({provider.name})")


def _example(plan: WorkerPlan) -> str:
    return '"What is the capital of France?"' if plan.models.value else '--task classify "What a lovely day!"'


def _say_settings(file: ConfigFile) -> None:
    if file.path is not None:
        _output.note(f"settings: {file.path}")


def _say_where(server: CoordinatorServer, plan: CoordinatorPlan) -> None:
    _output.note(f"coordinator: {server.url}")
    if server.reach.there != server.reach.here:
        _output.note(f"other machines reach it at {server.reach.there}")
    if plan.listen.dispatch:
        _output.note("Dispatch's clients need no key on this machine; their jobs are of the tenant `dispatch`")
    _output.note(f"data: {plan.data_dir.value}")
    _output.note(f"credentials: {config.credentials_path()}")


@contextlib.asynccontextmanager
async def _running_coordinator(plan: CoordinatorPlan) -> AsyncIterator[CoordinatorServer]:
    from cavvy.api.server import CoordinatorServer
    from cavvy.store.sqlite import SqliteStore

    data_dir = plan.data_dir.value
    server = CoordinatorServer(
        data_dir,
        SqliteStore(data_dir),
        listen=plan.listen,
        limits={**plan.limits, **plan.clocks, **plan.dialect},
        keep_keys=_keep_keys,
    )
    await server.start()
    try:
        if server.admin_key is None:
            await _follow(server)
        yield server
    finally:
        await server.stop()


@contextlib.asynccontextmanager
async def _running_worker(
    directory: Path, join: str | None, plan: WorkerPlan, providers: Sequence[Provider]
) -> AsyncIterator[tuple[Worker, asyncio.Task[None]]]:
    from cavvy.providers.tasks import BuiltInTasks
    from cavvy.worker.agent import Worker
    from cavvy.worker.identity import WorkerHome, parse_join

    home = WorkerHome(directory)
    agent = Worker(
        home=home,
        providers=providers,
        # Unsaid, it is as many as the providers serve at once.
        slots=plan.slots.value if plan.slots.origin != "default" else None,
        name=plan.name.value or (None if home.membership() else platform.node() or None),
        join=parse_join(join) if join else None,
        tasks=BuiltInTasks() if plan.tasks.value else None,
    )
    work = asyncio.create_task(agent.run())
    try:
        yield agent, work
    finally:
        await agent.stop()
        await asyncio.gather(work, return_exceptions=True)  # whoever waited for it has heard of its end


def _keep_keys(server: CoordinatorServer) -> None:
    """Writes the keys of a new coordinator down for this account; those of an earlier one are put aside, not lost."""
    try:
        aside = config.put_credentials_aside()
        if aside is not None:
            _output.note(f"the credentials of an earlier coordinator are now in {aside}")
        keys = Credentials(key=server.admin_key, operator_key=server.operator_key)
        config.write_credentials(msgspec.structs.replace(keys, url=server.url, pin=server.pin))
    except OSError as error:
        raise StartError(
            f"cannot write {config.credentials_path()}: {error.strerror}; without the keys in it nobody could use this"
            " coordinator. Check the disk and who owns it, or name another directory in CAVVY_CONFIG_DIR."
        ) from error


async def _follow(server: CoordinatorServer) -> None:
    """Corrects URL and pin in the credentials file if its key opens this coordinator."""
    stored = config.read_credentials()
    if stored.key is None or (stored.url, stored.pin) == (server.url, server.pin):
        return
    from cavvy.client import AsyncCavvy

    async with AsyncCavvy(server.url, stored.key, pin=server.pin) as client:
        with contextlib.suppress(CavvyError):
            await client.workers()
            config.write_credentials(msgspec.structs.replace(stored, url=server.url, pin=server.pin))


@contextlib.asynccontextmanager
async def _signalled(*more: asyncio.Event) -> AsyncIterator[asyncio.Event]:
    """An event that the first TERM or INT sets; each further one sets one of `more`, then one ends the process.

    A terminal that is closed is as good as one of them; of its HUPs, the kernel's and the shell's, the first counts.
    """
    told = asyncio.Event()
    unset = [told, *more]
    loop = asyncio.get_running_loop()

    def heard() -> None:
        unset.pop(0).set()
        if unset:
            return
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(each)
            signal.signal(each, signal.SIG_DFL)

    def hung_up() -> None:
        loop.remove_signal_handler(signal.SIGHUP)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        if unset:
            heard()

    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, heard)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # which is what `nohup` makes it
        loop.add_signal_handler(signal.SIGHUP, hung_up)
    yield told


async def _first_end(told: asyncio.Event, *ends: Coroutine[Any, Any, int] | asyncio.Task[None]) -> int:
    """Waits for a signal or for whichever ends first; its exit code, 0 if it has none. Raises what that raised."""
    tasks: list[asyncio.Future[Any]] = [asyncio.ensure_future(end) for end in ends]
    signalled = asyncio.create_task(told.wait())
    try:
        await asyncio.wait((signalled, *tasks), return_when=asyncio.FIRST_COMPLETED)
        ended = next((task for task in tasks if task.done()), None)
        return (ended.result() or 0) if ended is not None else 0
    finally:
        signalled.cancel()
        for task, end in zip(tasks, ends, strict=True):
            if task is not end:  # a task of the caller's is the caller's to stop
                task.cancel()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # Windows
        return None
    return uvloop.new_event_loop
