"""How many are connected and from where, and whether there is room for one more."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from bridge.config import Config
from bridge.metrics import Metrics
from bridge.paces import Paces

HEADROOM = 256
"""Sockets beyond the limits that may still exist, so that refusals can be said in words."""


class Ticket:
    """One TCP connection, counted until it is gone. It begins as nothing in particular.

    ``since`` is the loop's time at which it came, or None if that says nothing.
    """

    __slots__ = ("_crowd", "_kind", "_place", "_unknown", "since")

    def __init__(self, crowd: Crowd, place: str) -> None:
        self._crowd = crowd
        self._place = place
        self._kind = "arrival"
        self._unknown = False
        self.since: float | None = None

    def in_time(self, now: float) -> bool:
        """Whether handshakes from this address come slowly enough."""
        paces = self._crowd.paces
        return paces is None or paces.of(self._place).take(now) == 0.0

    def begin_handshake(self) -> bool:
        """Count as one that has still to finish its TLS handshake, if there is room for that."""
        under_way = self._crowd.handshakes_from.get(self._place, 0)
        if under_way >= self._crowd.config.max_handshakes:
            return False
        self._kind = "handshake"
        self._crowd.handshakes_from[self._place] = under_way + 1
        return True

    def become_wire(self, *, unknown: bool) -> str | None:
        """Count as a WebSocket from now on; or the reason why there is no room."""
        crowd, config = self._crowd, self._crowd.config
        if crowd.wires >= config.max_connections:
            return "too_many"
        if crowd.wires_from.get(self._place, 0) >= config.max_per_address:
            return "too_many_from_address"
        if unknown and crowd.unknown >= config.max_unauthenticated:
            return "too_many_unauthenticated"
        self.retire()
        self._kind, self._unknown = "wire", unknown
        crowd.wires += 1
        crowd.unknown += unknown
        crowd.wires_from[self._place] = crowd.wires_from.get(self._place, 0) + 1
        return None

    def become_known(self) -> None:
        """The token came after all."""
        self._crowd.unknown -= self._unknown
        self._unknown = False

    def become_request(self) -> bool:
        """Count as an HTTP connection from now on, if there is room."""
        if self._crowd.requests >= self._crowd.config.max_requests:
            return False
        self.retire()
        self._kind = "request"
        self._crowd.requests += 1
        return True

    def retire(self) -> None:
        """Give back what this connection took beyond being a socket."""
        match self._kind:
            case "handshake":
                _less(self._crowd.handshakes_from, self._place)
            case "request":
                self._crowd.requests -= 1
            case "wire":
                self.become_known()
                self._crowd.wires -= 1
                _less(self._crowd.wires_from, self._place)
        self._kind = "arrival"

    def leave(self) -> None:
        """The socket is gone."""
        self.retire()
        self._crowd.forget(self._place)


class Crowd:
    """Every open socket of the port: all, the WebSockets, those without a token, the requests, and those that
    have still to finish a TLS handshake."""

    def __init__(self, config: Config, metrics: Metrics) -> None:
        self.config = config
        self.sockets = 0
        self.wires = 0
        self.unknown = 0
        self.requests = 0
        self.wires_from: dict[str, int] = {}
        self.handshakes_from: dict[str, int] = {}
        rate = config.upgrades_per_second
        self.paces: Paces[str] | None = Paces(rate, burst_seconds=10) if rate else None
        self.on_empty: Callable[[], None] = _nothing
        self._sockets_from: dict[str, int] = {}
        self._gauge = metrics.sockets

    def enter(self, address: str) -> Ticket | None:
        """A ticket for a new socket; None when so many are open that not even a refusal can be said."""
        place = neighbourhood(address)
        from_there = self._sockets_from.get(place, 0)
        if self.sockets >= self.config.max_connections + self.config.max_requests + HEADROOM:
            return None
        if from_there >= self.config.max_per_address + self.config.max_requests + HEADROOM:
            return None
        self.sockets += 1
        self._gauge.inc()
        self._sockets_from[place] = from_there + 1
        return Ticket(self, place)

    def forget(self, place: str) -> None:
        self.sockets -= 1
        self._gauge.dec()
        _less(self._sockets_from, place)
        if not self.sockets:
            self.on_empty()


def neighbourhood(address: str) -> str:
    """What counts as one address: an IPv4 address, or an IPv6 network of 64 bits, which one host may own."""
    if ":" not in address:
        return address
    found = ipaddress.IPv6Address(address.partition("%")[0])
    return str(found.ipv4_mapped or ipaddress.IPv6Network((int(found) >> 64 << 64, 64)))


def _less(counts: dict[str, int], place: str) -> None:
    left = counts[place] - 1
    if left:
        counts[place] = left
    else:
        del counts[place]


def _nothing() -> None:
    return None
