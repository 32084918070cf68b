"""A visit: one HTTP request, and what its door has found out about it so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from starlette.requests import Request

from backchannel.delivery.doors import Door
from backchannel.delivery.hosts import is_loopback
from backchannel.domain.supervision.callback import Leave
from backchannel.protocol.catalog import AnyMessage
from backchannel.protocol.claims import Claims

PROXIED = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")
"""Headers of a request that somebody else passed on: it does not come from this machine."""

Owner: TypeAlias = tuple[str, str]


@dataclass(slots=True)
class Visit:
    """A request on its way through the checks of its door, and what was found out so far.

    Args:
        owner: group and name of whoever sends it; None for a stranger.
        counted: the same, once it counts among the requests of its sender that are under way.
        received: bytes of its body that have come, whatever becomes of them.
    """

    door: Door
    request: Request
    claims: Claims | None = None
    leave: Leave | None = None
    owner: Owner | None = None
    counted: Owner | None = None
    received: int = 0
    body: bytes = b""
    content: dict[str, Any] = field(default_factory=dict)
    message: AnyMessage | None = None

    @property
    def remote(self) -> str:
        client = self.request.client
        return client.host if client is not None else "unknown"

    @property
    def is_here(self) -> bool:
        """It comes from this very machine: over loopback, or from the address to which it went."""
        server = self.request.scope.get("server")
        at_home = is_loopback(self.remote) or (server is not None and server[0] == self.remote)
        at_home = at_home and self.request.scope.get("http_version") != "1.0"  # which proxies speak, unasked
        return at_home and not any(name in self.request.headers for name in PROXIED)

    def comes(self, length: int) -> None:
        self.received += length

    def get_all(self, name: str) -> list[str]:
        """The headers of the request, as the gate reads them."""
        return self.request.headers.getlist(name)
