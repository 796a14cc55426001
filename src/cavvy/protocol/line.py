"""`cavvy://HOST:PORT/SECRET#PIN`: all that another machine needs, in one line to copy.

SECRET is a worker's token or an API key. PIN is there when the coordinator's certificate is one that no authority
vouches for. Without it, this machine's own addresses are spoken to in the clear and all others with TLS that an
authority vouches for.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

from cavvy import defaults
from cavvy.protocol.pinning import valid_pin

__all__ = ["Line", "authority", "is_loopback_host", "parse_line"]

_DEFAULT_PORTS = {"https": 443, "wss": 443, "http": 80, "ws": 80}


class Line(NamedTuple):
    """The line, taken apart."""

    host: str
    port: int
    secret: str
    pin: str | None

    def __repr__(self) -> str:
        return f"Line(host={self.host!r}, port={self.port}, pin={self.pin!r})"

    @property
    def tls(self) -> bool:
        return self.pin is not None or not is_loopback_host(self.host)

    def url(self, plain: str) -> str:
        """The coordinator's URL; `plain` is the scheme without TLS, http or ws. The default port is left out."""
        scheme = plain + "s" if self.tls else plain
        port = None if self.port == _DEFAULT_PORTS[scheme] else self.port
        return f"{scheme}://{authority(self.host, port)}"


def parse_line(text: str) -> Line:
    """Raises ValueError that tells what is wrong with the line."""
    try:
        parts = urlsplit(text.strip())
    except ValueError:
        parts = urlsplit("")
    if parts.scheme != "cavvy" or not parts.hostname:
        raise ValueError("it must look like cavvy://HOST:PORT/…")
    try:
        port = parts.port or defaults.PORT
    except ValueError:
        raise ValueError("its port is not a number") from None
    pin = valid_pin(parts.fragment) if parts.fragment else None
    if parts.fragment and pin is None:
        raise ValueError("the pin behind its # must be 64 hex digits (was it cut off when it was copied?)")
    return Line(parts.hostname, port, parts.path.removeprefix("/"), pin)


def authority(host: str, port: int | None) -> str:
    """HOST or HOST:PORT, an IPv6 address in brackets."""
    shown = f"[{host}]" if ":" in host else host
    return shown if port is None else f"{shown}:{port}"


def is_loopback_host(host: str) -> bool:
    """Whether `host` can only be this machine."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
