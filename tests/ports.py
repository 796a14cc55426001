"""Ports of the loopback that are a test's own, though other tests ask for free ones all the time."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Iterator

__all__ = ["held_port", "hold_port"]


def hold_port() -> socket.socket:
    """A socket bound to a free port, where it does not listen.

    While it is open the kernel gives the port to nobody who asks for any, connections to it are refused, and a server
    that asks for this port gets it, also several times.
    """
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    return holder


@contextlib.contextmanager
def held_port() -> Iterator[int]:
    """The same for as long as a block lasts; where only Linux lets others listen beside it, it is not held."""
    with hold_port() as holder:
        port: int = holder.getsockname()[1]
        if sys.platform != "linux":
            holder.close()
        yield port
