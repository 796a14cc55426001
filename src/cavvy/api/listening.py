"""Where the coordinator listens, with which certificate, and by which names it is reached.

It listens on loopback unless it is told otherwise, and speaks to other machines only with TLS: its own, or that of a
proxy which is named.
"""

from __future__ import annotations

import errno
import re
import socket
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from cavvy import defaults, logs
from cavvy.errors import PortInUse, StartError
from cavvy.protocol.line import authority, is_loopback_host

if TYPE_CHECKING:
    from cavvy.api.certificates import Certificate

__all__ = ["Listen", "Network", "Reach", "bind", "certificate", "reach"]

log = logs.get_logger()

Network = IPv4Network | IPv6Network
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_HTTPS_PORT = 443


class Listen(msgspec.Struct, frozen=True, kw_only=True):
    """What the owner wants. `port` 0 takes a free one.

    `lan`: on every interface, with TLS. `tls_cert` and `tls_key`: with this certificate instead of a self-signed one.
    `behind_proxy`: addresses or networks whose X-Forwarded-* are believed; if one of them is another machine, it and
    this machine are all that may connect without TLS. `hostnames`: what it is called besides the machine's own names
    and addresses, as HOST or HOST:PORT; the first of them is in the lines that are printed for other machines.
    `dispatch`: who comes from this machine needs no key on the routes of Dispatch's clients.

    Raises StartError for what makes no sense together.
    """

    port: int = defaults.PORT
    lan: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None
    behind_proxy: tuple[str, ...] = ()
    hostnames: tuple[str, ...] = ()
    dispatch: bool = False

    def __post_init__(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise StartError("--tls-cert and --tls-key belong together: give both, or neither.")
        if self.dispatch and self.behind_proxy:
            raise StartError(
                "--dispatch lets in without a key who comes from this machine, and --behind-proxy makes that everybody"
                " behind the proxy. Leave one of them out."
            )
        if self.hostnames and not (self.lan or self.behind_proxy):
            raise StartError(
                "--hostname names this coordinator for other machines, but it would listen on this machine only. Add"
                " --lan, or --behind-proxy ADDR if a proxy does the TLS."
            )
        for name in self.hostnames:
            if not re.fullmatch(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?", name):
                raise StartError(f"{name!r} cannot be a --hostname: give HOST or HOST:PORT.")
        _ = self.proxies

    @property
    def tls(self) -> bool:
        return self.lan or self.tls_cert is not None

    @property
    def proxies(self) -> tuple[Network, ...]:
        return tuple(_proxy(text) for text in self.behind_proxy)

    @property
    def public(self) -> bool:
        """Whether other machines can connect."""
        return self.lan or not all(proxy.is_loopback for proxy in self.proxies)


class Reach(NamedTuple):
    """How a coordinator that listens is reached.

    `here` and `there` are HOST:PORT for this machine and for others; `pin_here` and `pin_there` the pins that go with
    them (None: none is needed); `names` what a request's Host may be besides the address it came to. `peers`: who may
    connect apart from this machine, None for everybody.
    """

    here: str
    there: str
    pin_here: str | None
    pin_there: str | None
    names: frozenset[str]
    proxies: tuple[Network, ...] = ()
    peers: tuple[Network, ...] | None = None

    def line(self, secret: str, *, local: bool = False) -> str:
        """The line that hands `secret` (a worker token or an API key) to another machine, or to this one."""
        place, pin = (self.here, self.pin_here) if local else (self.there, self.pin_there)
        return f"cavvy://{place}/{secret}" + (f"#{pin}" if pin else "")


def bind(listen: Listen) -> list[socket.socket]:
    """Listening sockets, all on the same port. Raises PortInUse, StartError."""
    four, six = ("0.0.0.0", "::") if listen.public else ("127.0.0.1", "::1")  # noqa: S104 (with TLS, or a named peer)
    first = _bind(socket.AF_INET, four, listen.port)
    sockets = [first]
    try:
        sockets.append(_bind(socket.AF_INET6, six, first.getsockname()[1]))
    except PortInUse:
        first.close()
        if listen.port == 0:
            return bind(listen)
        raise
    except StartError:
        log.info("no_ipv6", address=six)
    return sockets


def certificate(listen: Listen, directory: Path, now: datetime) -> Certificate | None:
    """The certificate to serve with, None without TLS. Raises StartError when it cannot be used."""
    if not listen.tls:
        return None
    from cavvy.api.certificates import own_certificate, self_signed  # only TLS pays for them

    if listen.tls_cert is not None and listen.tls_key is not None:
        return own_certificate(listen.tls_cert, listen.tls_key, now)
    return self_signed(directory, [*_LOOPBACK, *_machine_names(), *_machine_addresses(), *_hosts(listen)], now)


def reach(listen: Listen, port: int, served: Certificate | None) -> Reach:
    """How a coordinator that listens on `port` is reached."""
    here = authority(defaults.HOST, port)
    there = _told_to_others(listen, port)
    pin = served.pin if served else None
    vouched = served is not None and listen.tls_cert is not None and served.vouched_for(_host(there))
    proxied = bool(listen.behind_proxy) and not listen.lan  # others meet the proxy's certificate
    names = {authority(name, port) for name in _LOOPBACK}
    if listen.public:
        names |= {authority(name, port) for name in _machine_names()}
    for name in listen.hostnames:
        host, given = _split(name)
        names.add(authority(host, given or port))
        if given in (None, 80, _HTTPS_PORT):
            names.add(authority(host, None))
    return Reach(
        here=here,
        there=there,
        pin_here=pin,
        pin_there=None if vouched or proxied else pin,
        names=frozenset(name.lower() for name in names),
        proxies=listen.proxies,
        peers=listen.proxies if listen.public and not listen.tls else None,
    )


def _told_to_others(listen: Listen, port: int) -> str:
    if listen.hostnames:
        host, given = _split(listen.hostnames[0])
        return authority(host, given or (port if listen.lan else _HTTPS_PORT))
    if listen.lan:
        return authority(_lan_address(), port)
    return authority(defaults.HOST, port)


def _hosts(listen: Listen) -> list[str]:
    return [_split(name)[0] for name in listen.hostnames]


def _host(place: str) -> str:
    return _split(place)[0]


def _split(name: str) -> tuple[str, int | None]:
    """HOST and PORT of HOST[:PORT]; brackets around an IPv6 address are taken off."""
    found = re.fullmatch(r"\[?([^\]]*?)\]?(?::(\d+))?", name)
    assert found is not None
    return found[1], int(found[2]) if found[2] else None


def _proxy(text: str) -> Network:
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise StartError(
            f"{text!r} cannot be trusted as a proxy: give --behind-proxy its IP address, or a network like 10.0.0.0/24."
        ) from None
    if network.prefixlen == 0:
        raise StartError(f"--behind-proxy {text} would believe everybody: give the proxy's own address.")
    return network


def _machine_names() -> list[str]:
    name = socket.gethostname().lower()
    if not name or not name.isascii() or is_loopback_host(name):
        return []
    return [name] if "." in name else [name, f"{name}.local"]


def _machine_addresses() -> list[str]:
    """The addresses of all interfaces that another machine may know."""
    import psutil

    found = (each.address for addresses in psutil.net_if_addrs().values() for each in addresses)
    return sorted(address for address in found if _is_told(address))


def _is_told(address: str) -> bool:
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return not parsed.is_loopback and not parsed.is_link_local


def _lan_address() -> str:
    """The address this machine has towards others: that of its default route, else any. Nothing is sent."""
    for family, outside in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((outside, 9))
                address = str(probe.getsockname()[0])
        except OSError:
            continue
        if _is_told(address):
            return address
    return next(iter(_machine_addresses()), defaults.HOST)


def _bind(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    try:
        one = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise StartError(f"This machine has no {host}: {error}") from error
    try:
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind((host, port))
        one.listen(1024)
        one.setblocking(False)
    except OSError as error:
        one.close()
        if error.errno == errno.EADDRINUSE:
            hint = "stop what listens there, or choose another with --port"
            raise PortInUse(f"Port {port} on {host} is in use: {hint}.") from error
        raise StartError(f"Cannot listen on {host}:{port}: {error.strerror}") from error
    return one
