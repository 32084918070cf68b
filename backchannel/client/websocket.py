"""Links over WebSocket, through the bridge."""

from __future__ import annotations

import ipaddress
import ssl as tls
from collections.abc import Callable
from contextlib import suppress
from typing import Literal
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.http11 import Response
from websockets.typing import Subprotocol

from backchannel.client.closing import Closed
from backchannel.client.link import Link, LinkLost, TokenRefused
from backchannel.errors import BackchannelError, Forbidden, NotFound, RateLimited, Unavailable
from backchannel.protocol.frame import SUBPROTOCOL

MAX_FRAME = 32 << 20
"""Bytes of the largest frame taken; a frame of the bridge may hold many events."""
FRAMES_AHEAD = 16
OPEN_TIMEOUT = 10.0
CLOSE_TIMEOUT = 2.0
PING_INTERVAL = 20.0
Trust = tls.SSLContext | Callable[[], tls.SSLContext | None] | None


class WebSocketLink:
    """A link over one WebSocket."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def send(self, frame: str) -> None:
        try:
            await self._socket.send(frame)
        except ConnectionClosed as lost:
            raise LinkLost(_closed(lost)) from None

    async def receive(self) -> str | bytes:
        try:
            return await self._socket.recv()
        except ConnectionClosed as lost:
            raise LinkLost(_closed(lost)) from None

    async def close(self) -> None:
        with suppress(ConnectionClosed):
            await self._socket.close()


DEFLATE = ClientPerMessageDeflateFactory(
    server_no_context_takeover=True, client_no_context_takeover=True, client_max_window_bits=True
)


async def dial(url: str, token: str, *, ssl: Trust = None, compress: bool = False) -> Link:
    """Open a WebSocket to `url` and offer `token` in the Authorization header, never in the URL.

    Args:
        ssl: whose certificates to believe; without it, those that the system believes.
        compress: offer to compress large frames: for slow lines; on a fast one it costs more than it gives.
    """
    try:
        socket = await connect(
            url,
            additional_headers={"Authorization": f"Bearer {token}"},
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,
            extensions=[DEFLATE] if compress else None,
            max_size=MAX_FRAME,
            max_queue=FRAMES_AHEAD,
            open_timeout=OPEN_TIMEOUT,
            close_timeout=CLOSE_TIMEOUT,
            ping_interval=PING_INTERVAL,
            proxy=_proxy(url),
            ssl=_trust(url, ssl),
        )
    except InvalidStatus as refused:
        raise _refusal(url, refused.response) from None
    except tls.SSLCertVerificationError as stranger:
        raise Unavailable(
            f"The certificate at {url} is not one to trust ({stranger.verify_message}). "
            "If it is the right one, name its file in SSL_CERT_FILE, or give ssl=."
        ) from stranger
    except (InvalidURI, ValueError) as wrong:
        raise NotFound(
            f"{url!r} is not an address of a platform: it looks like ws://host:8002/ws."
        ) from wrong
    except (OSError, TimeoutError, EOFError, InvalidHandshake) as problem:
        raise Unavailable(
            f"No platform answers at {url} ({_why(problem)}). Start one with: backchannel up"
        ) from problem
    return WebSocketLink(socket)


def _trust(url: str, ssl: Trust) -> tls.SSLContext | Literal[True] | None:
    """True: whatever the system believes."""
    given = ssl() if callable(ssl) else ssl
    return given or (True if url.lower().startswith("wss:") else None)


def _proxy(url: str) -> Literal[True] | None:
    """The environment's proxy, except on the way to this machine itself."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return None
    try:
        return None if ipaddress.ip_address(host).is_loopback else True
    except ValueError:
        return True


def _refusal(url: str, response: Response) -> BackchannelError:
    said = (response.body or b"")[:400].decode("utf-8", "replace").strip()
    why = f"HTTP {response.status_code}" + (f": {said}" if said else "")
    later = _seconds(response.headers.get("Retry-After"))
    match response.status_code:
        case 401:
            return TokenRefused(f"The platform at {url} does not accept the token ({why}).")
        case 403:
            return Forbidden(f"The platform at {url} does not let this agent in ({why}).")
        case 404:
            return NotFound(f"There is no platform at {url} ({why}); the address ends in /ws.")
        case 429:
            return RateLimited(f"The platform at {url} has too many connections ({why}).", retry_after=later)
    return Unavailable(f"The platform at {url} is not ready ({why}).", retry_after=later)


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isascii() and text.isdigit() else None


def _closed(lost: ConnectionClosed) -> Closed:
    """What the other side said; a close that only we sent counts as 1006, the connection simply broke."""
    if lost.rcvd is None:
        return Closed(1006, "the connection broke")
    return Closed(lost.rcvd.code, lost.rcvd.reason)


def _why(problem: Exception) -> str:
    if isinstance(problem, OSError) and problem.strerror:
        return problem.strerror.lower()
    return str(problem) or type(problem).__name__
