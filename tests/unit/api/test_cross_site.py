"""What a web page of somebody else's can make a browser send changes nothing: not a row of the store."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from cavvy.store.sqlite import SqliteStore
from cavvy.testing import LiveStack, live_stack

BODY = b'{"prompt": "from another site"}'
JSON = "application/json"


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LiveStack]:
    directory = tmp_path_factory.mktemp("site") / "data"
    async with live_stack(directory, SqliteStore(directory)) as stack:
        await stack.http.post("/v1/jobs", json={"prompt": "mine"})
        yield stack


def rows(stack: LiveStack) -> list[str]:
    """Every row there is."""
    with closing(sqlite3.connect(stack.directory / "cavvy.db")) as database:
        return list(database.iterdump())


def port_of(stack: LiveStack) -> int:
    return httpx.URL(stack.server.url).port or 0


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        pytest.param({"Content-Type": "text/plain"}, 415, "unsupported_media_type", id="text"),
        pytest.param({"Content-Type": "text/plain;a=application/json"}, 415, "unsupported_media_type", id="text, odd"),
        pytest.param({"Content-Type": "multipart/form-data"}, 415, "unsupported_media_type", id="a form"),
        pytest.param({"Origin": "https://evil.example"}, 403, "foreign_origin", id="another site"),
        pytest.param({"Origin": "null"}, 403, "foreign_origin", id="a sandbox or a file"),
        pytest.param({"Origin": ""}, 403, "foreign_origin", id="an empty origin"),
        pytest.param({"Origin": "http://127.0.0.1:1"}, 403, "foreign_origin", id="another program here"),
        pytest.param({"Origin": "http://127.0.0.1"}, 403, "foreign_origin", id="no port"),
        pytest.param({"Origin": "http://127.0.0.1:PORT.evil.example"}, 403, "foreign_origin", id="looks like us"),
        pytest.param({"Origin": "http://127.0.0.1:PORT@evil.example"}, 403, "foreign_origin", id="a user like us"),
        pytest.param({"Host": "evil.example"}, 421, "misdirected_request", id="a rebound name"),
        pytest.param({"Host": "evil.example:PORT"}, 421, "misdirected_request", id="a rebound name and port"),
        pytest.param({"Host": "127.0.0.1.evil.example:PORT"}, 421, "misdirected_request", id="begins like us"),
        pytest.param({"Host": "localhost.:PORT"}, 421, "misdirected_request", id="a dot behind"),
        pytest.param({"Host": "[::ffff:7f00:1]:PORT"}, 421, "misdirected_request", id="another spelling"),
        pytest.param({"Host": "0.0.0.0:PORT"}, 421, "misdirected_request", id="any address"),
        pytest.param({"Host": ""}, 421, "misdirected_request", id="no name"),
    ],
)
async def test_a_request_of_another_site_changes_nothing(
    stack: LiveStack, headers: dict[str, str], status: int, code: str
) -> None:
    before = rows(stack)
    sent = {"Content-Type": JSON} | {name: text.replace("PORT", str(port_of(stack))) for name, text in headers.items()}
    for key in (stack.http.headers["Authorization"], ""):
        answer = await stack.http.post("/v1/jobs", content=BODY, headers=sent | {"Authorization": key})
        assert answer.status_code in ((status,) if key else (status, 401))
        assert answer.json()["code"] in (code, "unauthorized")
    assert rows(stack) == before


@pytest.mark.parametrize("header", ["Host: evil.example", "Host: 127.0.0.1:PORT", "Origin: http://127.0.0.1:PORT"])
async def test_a_header_said_twice_changes_nothing(stack: LiveStack, header: str) -> None:
    before = rows(stack)
    host = f"127.0.0.1:{port_of(stack)}"
    lines = [
        "POST /v1/jobs HTTP/1.1", f"Host: {host}", "Origin: https://evil.example", header.replace("PORT", host[10:]),
        f"Authorization: Bearer {stack.key}", f"Content-Type: {JSON}", f"Content-Length: {len(BODY)}",
    ]  # fmt: skip
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(stack))
    writer.write("\r\n".join([*lines, "\r\n"]).encode() + BODY)
    assert (await reader.readline()).split()[1] in (b"421", b"403", b"400")
    writer.close()
    assert rows(stack) == before


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
async def test_its_own_pages_and_names_may(stack: LiveStack, name: str) -> None:
    host = f"{name}:{port_of(stack)}"
    answer = await stack.http.get("/v1/jobs", headers={"Host": host, "Origin": f"http://{host}"})
    assert answer.status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
async def test_a_socket_with_an_origin_never_hears_a_word(stack: LiveStack, origin: str) -> None:
    before = rows(stack)
    url = stack.server.url.replace("http", "ws") + "/v1/workers/connect"
    with pytest.raises(InvalidStatus) as refused:
        await connect(url, additional_headers={"Origin": origin}).__aenter__()
    assert refused.value.response.status_code == 403
    assert rows(stack) == before


async def test_no_answer_lets_another_site_read_it(stack: LiveStack) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        answer = await stack.http.request(method, "/v1/jobs", headers={"Origin": "https://evil.example"})
        assert not [name for name in answer.headers if name.startswith("access-control")]
