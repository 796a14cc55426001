"""A short visit to the coordinator: this worker asks for the trust of whoever made a code, whether it works or not."""

from __future__ import annotations

import asyncio
import secrets
import ssl
import time

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, WebSocketException

from cavvy import defaults
from cavvy.errors import NoCoordinator, StartError, WorkerRefused
from cavvy.protocol.messages import Capabilities, TrustClaim, TrustResult, decode_coordinator_message, encode
from cavvy.version import __version__
from cavvy.worker.connecting import CONNECT_PATH, distrust, socket_options, tls_context
from cavvy.worker.identity import Membership, WorkerHome
from cavvy.worker.session import LoginBroken, LoginRequest, login

__all__ = ["claim_trust"]

_REFUSED = {
    "invalid_code": "There is no such code that this worker can claim: it is mistyped, used, expired, or of a user whom"
    " this worker does not serve. Let its user make another with `cavvy trust create`.",
    "too_many_claims": "Too many wrong codes came; none is looked at for up to an hour. Without one, the user pairs"
    " this worker with `cavvy trust pair`.",
    "worker_unknown": "This worker is not enrolled there any more; join with a new `cavvy workers token` line.",
    "worker_revoked": "This worker was revoked there; join anew with another key.",
    "store_unavailable": "The coordinator's store takes no writes now; try again.",
}


async def claim_trust(home: WorkerHome, code: str) -> TrustResult:
    """Claims `code` with the key in `home`; whatever else is connected with that key goes on.

    Raises StartError when it has joined nothing, NoCoordinator, and WorkerRefused when the code is not to be had.
    """
    membership = home.membership()
    if membership is None:
        raise StartError(f"No worker in {home.directory} has joined a coordinator; name its directory with --data-dir.")
    if not 1 <= len(code) <= defaults.MAX_TRUST_CODE_CHARS:
        raise WorkerRefused(_REFUSED["invalid_code"])
    try:
        async with connect(
            membership.url + CONNECT_PATH, **socket_options(tls_context(membership.url, membership.pin))
        ) as socket:
            await login(socket, _request(home, membership), lambda: None)
            result = await _claim(socket, code)
    except ssl.SSLCertVerificationError as error:
        raise distrust(membership.url, error) from error
    except ConnectionClosed as closed:
        reason = closed.rcvd.reason if closed.rcvd else "it closed the connection"
        raise WorkerRefused(f"The coordinator at {membership.url} does not hear this worker: {reason}.") from closed
    except (OSError, TimeoutError, InvalidHandshake, WebSocketException, LoginBroken) as error:
        raise NoCoordinator(f"No coordinator answers at {membership.url} ({type(error).__name__}).") from error
    if result.status == "refused":
        raise WorkerRefused(_REFUSED.get(result.code or "", f"The coordinator refused: {result.code}."))
    return result


async def _claim(socket: ClientConnection, code: str) -> TrustResult:
    await socket.send(encode(TrustClaim(code=code)))
    async with asyncio.timeout(defaults.HANDSHAKE_TIMEOUT_S):
        while True:
            message = _message(await socket.recv(decode=False))
            if isinstance(message, TrustResult):
                return message


def _message(frame: bytes) -> object:
    try:
        return decode_coordinator_message(frame)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _request(home: WorkerHome, membership: Membership) -> LoginRequest:
    offer = Capabilities(
        name=membership.name, slots=1, job_types=("LLM_INFER",), models=(), version=__version__, visits=True
    )
    return LoginRequest(
        url=membership.url,
        identity=home.identity(),
        pinned_key=membership.coordinator_key,
        join=None,
        token=None,
        capabilities=msgspec.json.encode(offer),
        instance=secrets.token_hex(16),
        time_ms=int(time.time() * 1000),
        held=(),
        finished=(),
    )
