"""Whom a request is for, whom it comes from, and whose word counts for that."""

from __future__ import annotations

from typing import Any

import pytest
from litestar.types import Receive, Scope, Send

from cavvy.api.addressing import Addressed, audience, client_address
from cavvy.api.listening import Listen, reach
from cavvy.errors import StartError

PROXY, STRANGER = "10.0.0.1", "10.0.0.99"
FORWARDED = {
    "X-Forwarded-For": "203.0.113.7",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "cavvy.example.org",
}
BEHIND = Listen(port=4010, behind_proxy=(PROXY, "10.0.1.0/24", "127.0.0.1"), hostnames=("cavvy.example.org",))
ALONE = Listen(port=4010)
LAN = Listen(port=4010, lan=True, hostnames=("box.example.org:8443",))


class Seen:
    """What came through, as the application behind sees it; `status` and `code` if it was refused."""

    client = url = ""
    status = 0
    body = b""

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.client, self.url = client_address(scope), audience(scope)

    async def send(self, message: Any) -> None:
        self.status = message.get("status", self.status)
        self.body += message.get("body", b"")


async def asked(
    listen: Listen, peer: str, headers: dict[str, str], *, kind: str = "http", server: str = "127.0.0.1"
) -> Seen:
    """One request from `peer`."""
    seen = Seen()
    scope: Any = {
        "type": kind,
        "scheme": "ws" if kind == "websocket" else "http",
        "method": "GET",
        "path": "/",
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "client": (peer, 50000),
        "server": (server, 4010),
    }

    async def receive() -> Any:
        return {"type": f"{kind}.connect"}

    await Addressed(seen.app, reach(listen, 4010, None))(scope, receive, seen.send)
    return seen


async def test_a_named_proxy_is_believed() -> None:
    seen = await asked(BEHIND, PROXY, {"Host": "10.0.0.5:4010", **FORWARDED})
    assert (seen.client, seen.url) == ("203.0.113.7", "https://cavvy.example.org")


async def test_a_workers_audience_behind_a_proxy_is_the_proxys_url() -> None:
    seen = await asked(BEHIND, PROXY, {"Host": "10.0.0.5:4010", **FORWARDED}, kind="websocket")
    assert seen.url == "wss://cavvy.example.org"


async def test_nobody_else_is_believed() -> None:
    seen = await asked(ALONE, "127.0.0.1", {"Host": "127.0.0.1:4010", **FORWARDED})
    assert (seen.client, seen.url) == ("127.0.0.1", "http://127.0.0.1:4010")


async def test_on_the_lan_a_stranger_cannot_say_that_it_is_somebody_else() -> None:
    listen = Listen(port=4010, lan=True, behind_proxy=(PROXY,))
    seen = await asked(listen, STRANGER, {"Host": "10.0.0.5:4010", **FORWARDED}, server="10.0.0.5")
    assert (seen.client, seen.url) == (STRANGER, "http://10.0.0.5:4010")


async def test_without_tls_only_the_proxy_and_this_machine_may_connect() -> None:
    seen = await asked(BEHIND, STRANGER, {"Host": "cavvy.example.org"})
    assert (seen.status, seen.client) == (421, "")
    assert b"talks to its proxy only" in seen.body
    assert (await asked(BEHIND, "127.0.0.1", {"Host": "127.0.0.1:4010"})).client == "127.0.0.1"


async def test_a_forwarded_host_has_to_be_on_the_list_too() -> None:
    seen = await asked(BEHIND, PROXY, {"Host": "x", **FORWARDED, "X-Forwarded-Host": "evil.example"})
    assert (seen.status, seen.client) == (421, "")


@pytest.mark.parametrize(
    ("forwarded_for", "client"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("1.1.1.1, 203.0.113.7", "203.0.113.7"),  # the client wrote 1.1.1.1 itself
        ("1.1.1.1, 203.0.113.7, 10.0.1.9", "203.0.113.7"),
        ("203.0.113.7, unknown", PROXY),
        ("unknown, 203.0.113.7", "203.0.113.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("10.0.1.9", "10.0.1.9"),
        ("", PROXY),
    ],
)
async def test_the_client_is_the_last_address_that_is_no_trusted_proxy(forwarded_for: str, client: str) -> None:
    headers = {"Host": "cavvy.example.org", "X-Forwarded-For": forwarded_for}
    assert (await asked(BEHIND, PROXY, headers)).client == client


async def test_several_headers_of_one_name_are_one_list() -> None:
    seen = Seen()
    headers = [(b"host", b"cavvy.example.org"), (b"x-forwarded-for", b"1.1.1.1"), (b"x-forwarded-for", b"203.0.113.7")]
    scope: Any = {"type": "http", "scheme": "http", "headers": headers, "client": (PROXY, 1), "server": (PROXY, 4010)}
    await Addressed(seen.app, reach(BEHIND, 4010, None))(scope, None, seen.send)  # type: ignore[arg-type]
    assert seen.client == "203.0.113.7"


@pytest.mark.parametrize("proto", ["ftp", "", "https, gopher"])
async def test_a_scheme_nobody_knows_changes_nothing(proto: str) -> None:
    headers = {"Host": "cavvy.example.org", "X-Forwarded-Proto": proto}
    assert (await asked(BEHIND, PROXY, headers)).url == "http://cavvy.example.org"


@pytest.mark.parametrize(
    ("host", "answered"),
    [
        ("127.0.0.1:4010", True),
        ("LOCALHOST:4010", True),
        ("[::1]:4010", True),
        ("192.168.1.7:4010", True),  # the address the connection came to
        ("192.168.1.8:4010", False),
        ("192.168.1.7:4011", False),
        ("box.example.org:8443", True),
        ("box.example.org:4010", False),
        ("evil.example:4010", False),
        ("192.168.1.7.evil.example:4010", False),
        ("", False),
    ],
)
async def test_on_the_lan_it_answers_to_its_names_and_to_the_address_it_was_reached_at(
    host: str, answered: bool
) -> None:
    seen = await asked(LAN, STRANGER, {"Host": host}, server="192.168.1.7")
    assert (seen.client == STRANGER, seen.status) == (answered, 0 if answered else 421)


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:4010", 0),
        ("http://localhost:4010", 403),  # a name of the coordinator's, and yet another origin
        ("http://127.0.0.1:3000", 403),
        ("https://evil.example", 403),
        ("null", 403),
        ("", 403),
    ],
)
async def test_a_web_page_has_to_be_of_the_very_host_it_asks(origin: str, status: int) -> None:
    seen = await asked(ALONE, "127.0.0.1", {"Host": "127.0.0.1:4010", "Origin": origin})
    assert seen.status == status


# What makes no sense


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"tls_cert": "x"}, "belong together"),
        ({"tls_key": "x"}, "belong together"),
        ({"hostnames": ("box",)}, "would listen on this machine only"),
        ({"lan": True, "hostnames": ("a/b",)}, "cannot be a --hostname"),
        ({"behind_proxy": ("proxy.example.org",)}, "give --behind-proxy its IP address"),
        ({"behind_proxy": ("0.0.0.0/0",)}, "would believe everybody"),
        ({"behind_proxy": ("::/0",)}, "would believe everybody"),
    ],
)
def test_what_makes_no_sense_is_refused_at_the_start(wanted: dict[str, Any], words: str) -> None:
    with pytest.raises(StartError, match=words):
        Listen(**wanted)


# What other machines are told


@pytest.mark.parametrize(
    ("listen", "line"),
    [
        (ALONE, "cavvy://127.0.0.1:4010/x"),
        (LAN, "cavvy://box.example.org:8443/x"),
        (Listen(lan=True, hostnames=("[fd00::2]",)), "cavvy://[fd00::2]:4010/x"),
        (BEHIND, "cavvy://cavvy.example.org:443/x"),
        (Listen(behind_proxy=("127.0.0.1",), hostnames=("c.example:8443",)), "cavvy://c.example:8443/x"),
    ],
)
def test_the_line_for_other_machines_names_what_they_can_reach(listen: Listen, line: str) -> None:
    assert reach(listen, 4010, None).line("x") == line


def test_it_listens_on_this_machine_only_unless_it_is_told_otherwise() -> None:
    assert not ALONE.public
    assert not Listen(tls_cert="x", tls_key="y").public  # type: ignore[arg-type]
    assert not Listen(behind_proxy=("127.0.0.1", "::1")).public
    assert BEHIND.public
    assert LAN.public
