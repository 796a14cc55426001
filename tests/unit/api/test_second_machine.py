"""A second machine over TLS, here by the name 127.0.0.2: with the printed line alone, and not without it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import msgspec
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake

from cavvy import AsyncCavvy, defaults
from cavvy.api.certificates import self_signed
from cavvy.api.listening import Listen
from cavvy.errors import StartError, WorkerRefused
from cavvy.protocol.line import parse_line
from cavvy.protocol.pinning import pinned_context
from cavvy.protocol.rest_keys import OwnKey
from cavvy.store.sqlite import SqliteStore
from cavvy.testing import LiveStack, ScriptedProvider, live_stack
from cavvy.worker.agent import Worker
from cavvy.worker.identity import Membership, WorkerHome, parse_join
from tests.certificates import Authority
from tests.ports import held_port

WRONG_PIN = "ab" * 32
LAN = Listen(port=0, lan=True, hostnames=("127.0.0.2",))


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[LiveStack]:
    async with live_stack(tmp_path / "data", SqliteStore(tmp_path / "data"), listen=LAN) as stack:
        yield stack


@pytest.fixture
def home(tmp_path: Path) -> WorkerHome:
    """The second machine's."""
    return WorkerHome(tmp_path / "second")


async def printed_line(stack: LiveStack) -> str:
    answer = await stack.http.post("/v1/worker-tokens")
    return str(answer.json()["join"])


def worker(home: WorkerHome, line: str | None) -> Worker:
    join = parse_join(line) if line else None
    return Worker(home=home, providers=[ScriptedProvider(["far", " away"])], slots=1, name="second", join=join)


@contextlib.asynccontextmanager
async def running(home: WorkerHome, line: str | None) -> AsyncIterator[Worker]:
    """A worker that is connected."""
    one = worker(home, line)
    task = asyncio.create_task(one.run())
    connected = asyncio.create_task(one.wait_connected())
    await asyncio.wait((task, connected), return_when=asyncio.FIRST_COMPLETED)
    connected.cancel()
    try:
        yield one
    finally:
        await one.stop()
        await task


async def refusal(home: WorkerHome, line: str | None) -> str:
    """The sentence a worker ends with."""
    with pytest.raises(WorkerRefused) as refused:
        async with asyncio.timeout(60):
            await worker(home, line).run()
    return str(refused.value)


async def workers(stack: LiveStack) -> list[str]:
    return [one["name"] for one in (await stack.http.get("/v1/workers")).json()["workers"]]


async def test_the_printed_line_alone_lets_a_worker_in_and_its_receipt_verifies(
    stack: LiveStack, home: WorkerHome
) -> None:
    line = await printed_line(stack)
    assert line.startswith("cavvy://127.0.0.2:")
    assert line.endswith(f"#{stack.server.pin}")
    async with running(home, line) as joined, AsyncCavvy(stack.server.url, stack.key, pin=stack.server.pin) as client:
        assert joined.url == line.partition("/cav_wrk")[0].replace("cavvy", "wss")
        job = await client.run("hi")
        assert job.output == "far away"
        receipt = await client.receipt(job.id)
        assert receipt.verify(key=joined.key, result=await client.result(job.id)).provider_pubkey == joined.key


async def test_it_comes_back_with_the_pin_it_kept_and_without_a_line(stack: LiveStack, home: WorkerHome) -> None:
    async with running(home, await printed_line(stack)):
        pass
    kept = home.membership()
    assert kept is not None
    assert (kept.url, kept.pin) == (f"wss://{stack.server.reach.there}", stack.server.pin)
    async with running(home, None):
        await stack.until_online("second")


async def test_it_comes_back_after_the_certificate_was_made_anew(tmp_path: Path, home: WorkerHome) -> None:
    data = tmp_path / "data"
    with held_port() as port:
        listen = msgspec.structs.replace(LAN, port=port)
        async with live_stack(data, SqliteStore(data), listen=listen) as stack:
            pin, key = stack.server.pin, stack.key
            async with running(home, await printed_line(stack)):
                pass
        (data / "tls.crt").unlink()
        async with live_stack(data, SqliteStore(data), listen=listen, key=key) as stack, running(home, None):
            await stack.until_online("second")
            assert stack.server.pin == pin


async def test_a_worker_on_the_coordinators_own_machine_joins_by_loopback(stack: LiveStack) -> None:
    """So it does not depend on the network."""
    joined = await stack.add_worker(ScriptedProvider(["x"]), name="own")
    assert joined.url == f"wss://{stack.server.reach.here}"


async def test_a_wrong_pin_is_refused_and_the_token_stays_unused(stack: LiveStack, home: WorkerHome) -> None:
    line = await printed_line(stack)
    told = await refusal(home, line.partition("#")[0] + "#" + WRONG_PIN)
    assert "its certificate has another key" in told
    assert "Nothing was sent to it" in told
    assert "`cavvy workers token`" in told
    assert (await workers(stack), home.membership()) == ([], None)
    async with running(home, line):
        await stack.until_online("second")


async def test_a_used_token_is_refused(stack: LiveStack, home: WorkerHome, tmp_path: Path) -> None:
    line = await printed_line(stack)
    async with running(home, line):
        told = await refusal(WorkerHome(tmp_path / "third"), line)
    assert "its token is unknown, used up or expired" in told
    assert "join with a new `cavvy workers token` line" in told
    assert await workers(stack) == ["second"]


async def test_an_expired_token_is_refused(stack: LiveStack, home: WorkerHome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "WORKER_TOKEN_TTL_S", 0)
    told = await refusal(home, await printed_line(stack))
    assert "its token is unknown, used up or expired" in told
    assert await workers(stack) == []


async def test_plain_ws_gets_nothing_from_the_port(stack: LiveStack) -> None:
    with pytest.raises((InvalidHandshake, OSError)):
        await connect(f"ws://{stack.server.reach.there}/v1/workers/connect", proxy=None)


async def test_plain_http_gets_nothing_from_the_port(stack: LiveStack) -> None:
    async with httpx.AsyncClient(trust_env=False, timeout=90) as client:
        with pytest.raises(httpx.TransportError):
            await client.get(f"http://{stack.server.reach.there}/v1/health")


async def test_a_worker_never_speaks_to_another_machine_without_tls(home: WorkerHome) -> None:
    home.identity()
    home.remember(Membership(url="ws://192.0.2.1:4010", coordinator_key="00" * 32, name="second"))
    with pytest.raises(WorkerRefused, match="Start the coordinator with --lan"):
        worker(home, None)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_it_speaks_today_s_tls(stack: LiveStack, version: ssl.TLSVersion) -> None:
    assert stack.server.pin is not None
    context = pinned_context(stack.server.pin)
    context.minimum_version = context.maximum_version = version
    async with httpx.AsyncClient(trust_env=False, timeout=90, verify=context) as client:
        assert (await client.get(f"https://{stack.server.reach.there}/v1/health")).status_code == 200


async def test_another_name_is_421_over_tls_too(stack: LiveStack) -> None:
    assert (await stack.http.get("/v1/health", headers={"Host": "evil.example"})).status_code == 421


# The owner's certificate


@pytest.fixture
async def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LiveStack]:
    """A coordinator with a certificate that an authority this machine trusts has signed for 127.0.0.2 and localhost."""
    authority = Authority(tmp_path)
    issued = authority.issue("127.0.0.2", "localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))
    listen = msgspec.structs.replace(LAN, tls_cert=issued.certificate, tls_key=issued.key)
    async with live_stack(tmp_path / "data", SqliteStore(tmp_path / "data"), listen=listen) as stack:
        yield stack


async def test_a_certificate_that_an_authority_vouches_for_needs_no_pin(own: LiveStack) -> None:
    assert "#" not in await printed_line(own)
    assert own.server.pin is not None
    assert not (own.directory / "tls.key").exists()


async def test_without_a_pin_a_worker_asks_the_authorities(
    own: LiveStack, home: WorkerHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a host name that is not this machine's by its looks, so that TLS is needed."""
    line = (await printed_line(own)).replace("127.0.0.2", "second.example.org")
    join = parse_join(line)
    assert join.url.startswith("wss://second.example.org:")
    join = join._replace(url=join.url.replace("second.example.org", "127.0.0.2"))
    one = Worker(home=home, providers=[ScriptedProvider(["x"])], slots=1, name="second", join=join)
    task = asyncio.create_task(one.run())
    await own.until_online("second")
    await one.stop()
    await task
    monkeypatch.delenv("SSL_CERT_FILE")
    told = await refusal(home, None)
    assert "No authority that this machine trusts vouches for the certificate" in told
    assert "also what is behind its #" in told


async def test_a_certificate_that_nobody_vouches_for_is_pinned(tmp_path: Path, home: WorkerHome) -> None:
    issued = Authority(tmp_path).issue("127.0.0.2")
    listen = msgspec.structs.replace(LAN, tls_cert=issued.certificate, tls_key=issued.key)
    async with live_stack(tmp_path / "data", SqliteStore(tmp_path / "data"), listen=listen) as stack:
        line = await printed_line(stack)
        assert line.endswith(f"#{stack.server.pin}")
        async with running(home, line):
            await stack.until_online("second")


async def test_a_key_that_does_not_fit_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, other = Authority(tmp_path / "a").issue("x"), Authority(tmp_path / "b").issue("x")
    listen = msgspec.structs.replace(LAN, tls_cert=one.certificate, tls_key=other.key)
    data = tmp_path / "data"
    with pytest.raises(StartError, match="is not the key of the certificate"):
        async with live_stack(data, SqliteStore(data), listen=listen):
            pass
    async with live_stack(data, SqliteStore(data), listen=Listen(port=0)) as stack:
        assert stack.server.admin_key is not None


# Behind a proxy


class TlsProxy:
    """Ends TLS at 127.0.0.2 and says in its headers what it saw, over what the client may have said."""

    def __init__(self, directory: Path) -> None:
        self._served = self_signed(directory, ["127.0.0.2"], datetime.now(UTC))
        self.pin = self._served.pin
        self.place = ""
        self.target = 0

    async def start(self) -> asyncio.Server:
        server = await asyncio.start_server(self._serve, "127.0.0.2", 0, ssl=self._served.context)
        self.place = f"127.0.0.2:{server.sockets[0].getsockname()[1]}"
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self.target)
        head = (await reader.readuntil(b"\r\n\r\n")).removesuffix(b"\r\n")
        said = f"X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: {self.place}\r\n\r\n"
        back.write(head + said.encode())
        await asyncio.gather(_pipe(reader, back), _pipe(there, writer))


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
    writer.close()


async def test_a_worker_comes_in_through_a_proxy_that_does_the_tls(tmp_path: Path, home: WorkerHome) -> None:
    proxy, data = TlsProxy(tmp_path), tmp_path / "data"
    server = await proxy.start()
    listen = Listen(port=0, behind_proxy=("127.0.0.1",), hostnames=(proxy.place,))
    async with server, live_stack(data, SqliteStore(data), listen=listen) as stack:
        proxy.target = int(stack.server.reach.here.rpartition(":")[2])
        line = await printed_line(stack)
        assert line.startswith(f"cavvy://{proxy.place}/cav_wrk_")
        assert "#" not in line  # whose certificate the proxy has, the coordinator cannot know
        async with running(home, f"{line}#{proxy.pin}") as joined:
            await stack.until_online("second")
            assert joined.url == f"wss://{proxy.place}"


async def test_a_worker_is_not_believed_behind_a_proxy_that_is_not_named(tmp_path: Path, home: WorkerHome) -> None:
    proxy, data = TlsProxy(tmp_path), tmp_path / "data"
    server = await proxy.start()
    listen = Listen(port=0, behind_proxy=("10.0.0.1",), hostnames=(proxy.place,))
    async with server, live_stack(data, SqliteStore(data), listen=listen) as stack:
        proxy.target = int(stack.server.reach.here.rpartition(":")[2])
        told = await refusal(home, f"{await printed_line(stack)}#{proxy.pin}")
        assert "does not believe this worker's key" in told
        assert "--behind-proxy" in told
        assert await workers(stack) == []


# A client there


async def test_a_key_comes_with_the_line_that_logs_another_machine_in(stack: LiveStack) -> None:
    made = (await stack.http.post("/v1/keys", json={"role": "read"})).json()
    assert made["login"] == f"cavvy://{stack.server.reach.there}/{made['key']}#{stack.server.pin}"
    line = parse_line(made["login"])
    async with AsyncCavvy(line.url("http"), line.secret, pin=line.pin) as client:
        own = await client.own_key()
    assert (own.id, own.role, own.tenant, own.user) == (made["id"], "read", "default", "owner")


async def test_the_operators_key_has_no_tenant(stack: LiveStack) -> None:
    async with AsyncCavvy(stack.server.url, stack.server.operator_key, pin=stack.server.pin) as client:
        assert await client.own_key() == OwnKey(
            id=str(stack.server.operator_key).split("_")[2], role="operator", tenant=None, user="owner"
        )
