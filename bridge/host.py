"""What the port needs from the house behind it, and what stands there while the house is being opened."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from backchannel.domain.settings import USUAL
from backchannel.domain.supervision.callback import Leave
from backchannel.errors import Unavailable
from backchannel.protocol.claims import Claims
from bridge import health
from bridge.leave import Shown
from bridge.room import Peer
from bridge.wire import Wire


class StoredAt(NamedTuple):
    """What `POST /store` answers."""

    status: str
    cursor: str
    realtime: str
    duplicate: bool


class Host(Protocol):
    """The part of the bridge that knows the log."""

    @property
    def ready(self) -> bool:
        """Whether connections and requests may come in."""

    @property
    def heartbeat_seconds(self) -> float:
        """Seconds between two pings of a connection, as it is now."""

    def facts(self) -> dict[str, Any]:
        """For /health: ``nats {up}``, ``log {<group>: {live, lag}}``, ``handlers {answering}``, ``ring``."""

    def admit(self, wire: Wire) -> Peer:
        """The owner of a new connection."""

    def charge(self, owner: tuple[str, str], size: int) -> None:
        """Count a request of so many bytes for its sender: group and name. Raises RateLimited."""

    async def fresh(self) -> None:
        """Know all that was decided by now, if the process was stopped for a while. Raises Unavailable."""

    async def spend(self, claims: Claims) -> bool:
        """Use a token that is good for one use; False if it was used before. Raises Unavailable."""

    async def verified(self, shown: Shown) -> Leave:
        """Who answers by such a leave. Raises BackchannelError."""

    async def store(self, claims: Claims, content: dict[str, Any], paid: int) -> tuple[Any, ...]:
        """Store a ``memory_update``. Raises BackchannelError when it was not stored.

        Args:
            paid: bytes of it that its sender was charged with already.

        Returns ``full`` or ``degraded``; its cursor; ``active`` or ``offline`` for the real-time part; and,
        if there is a fourth, whether it had been stored before.
        """

    async def decide(self, claims: Claims | None, group: str, content: dict[str, Any]) -> dict[str, Any]:
        """Have an answer to a request for approval decided; the fields of its result. Raises Unavailable."""


class Absent:
    """Nobody is at home yet."""

    ready = False
    heartbeat_seconds = USUAL.health.check_interval

    def facts(self) -> dict[str, Any]:
        return {}

    def admit(self, wire: Wire) -> Peer:
        raise Unavailable("The bridge is starting; try again in a moment.", retry_after=1.0)

    def charge(self, owner: tuple[str, str], size: int) -> None:
        raise Unavailable("The bridge is starting; try again in a moment.", retry_after=1.0)

    async def fresh(self) -> None:
        raise Unavailable("The bridge is starting; try again in a moment.", retry_after=1.0)

    async def spend(self, claims: Claims) -> bool:
        raise Unavailable("The bridge is starting; try again in a moment.", retry_after=1.0)

    async def verified(self, shown: Shown) -> Leave:
        raise Unavailable("The bridge is starting; try again in a moment.", retry_after=1.0)

    async def store(self, claims: Claims, content: dict[str, Any], paid: int) -> tuple[Any, ...]:
        raise Unavailable("The bridge is starting; try again in a moment.", retry_after=1.0)

    async def decide(self, claims: Claims | None, group: str, content: dict[str, Any]) -> dict[str, Any]:
        raise Unavailable("The bridge is starting; try again in a moment.", retry_after=1.0)


class Site:
    """Who is at home, and whether the doors are open. One for each process."""

    def __init__(self) -> None:
        self.host: Host = Absent()
        self.closing = False

    @property
    def serving(self) -> bool:
        return self.host.ready and not self.closing

    def probe(self, page: str) -> tuple[int, str]:
        """What ``/health/live`` or ``/health/ready`` says: the status, in HTTP and in a word."""
        if page == "live":
            return 200, "live"
        good = health.ready(self.host.facts(), serving=self.serving)
        return (200, "ready") if good else (503, "not_ready")
