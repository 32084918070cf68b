"""How many are connected and from where, and who gives way when there is no room for one more."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable

from bridge.config import Config
from bridge.metrics import Metrics
from bridge.paces import Paces
from bridge.yielding import Yielding

HEADROOM = 256
"""Sockets beyond the limits that may still exist, so that refusals can be said in words."""

GRACE = 2.0
"""Seconds for which whoever has still to shake hands, or to say who it is, gives way to no newcomer."""


class Ticket:
    """One TCP connection, counted until it is gone. It begins as nothing in particular.

    ``since`` is the loop's time at which it came, or None if that says nothing.
    """

    __slots__ = ("_crowd", "_kind", "_place", "_unknown", "_yields", "since")

    def __init__(self, crowd: Crowd, place: str) -> None:
        self._crowd = crowd
        self._place = place
        self._kind = "arrival"
        self._unknown = False
        self._yields: Yielding | None = None
        self.since: float | None = None

    def in_time(self, now: float) -> bool:
        """Whether handshakes from this address come slowly enough."""
        paces = self._crowd.paces
        return paces is None or paces.of(self._place).take(now) == 0.0

    def begin_handshake(self) -> bool:
        """Count as one that has still to finish its TLS handshake, if there is room for that."""
        if not self._crowd.admits_handshake(self._place):
            return False
        self._kind = "handshake"
        _more(self._crowd.handshakes_from, self._place)
        return True

    def become_wire(self, *, unknown: bool) -> str | None:
        """Count as a WebSocket from now on; or the reason why there is no room."""
        crowd, config = self._crowd, self._crowd.config
        if crowd.wires >= config.max_connections:
            return "too_many"
        if crowd.wires_from.get(self._place, 0) >= config.max_per_address:
            return "too_many_from_address"
        if unknown and not crowd.admits_unknown(self._place):
            return "too_many_unauthenticated"
        self.retire()
        self._kind, self._unknown = "wire", unknown
        crowd.wires += 1
        _more(crowd.wires_from, self._place)
        if unknown:
            crowd.unknown += 1
            _more(crowd.unknown_from, self._place)
        return None

    def become_known(self) -> None:
        """The token came after all."""
        if self._unknown:
            self._unknown = False
            self._crowd.unknown -= 1
            _less(self._crowd.unknown_from, self._place)
            self.stays()

    def become_request(self) -> bool:
        """Count as an HTTP connection from now on, if there is room, or somebody gives way."""
        if not self._crowd.admits_request(self._place):
            return False
        self.retire()
        self._kind = "request"
        self._crowd.requests += 1
        _more(self._crowd.requests_from, self._place)
        return True

    def may_give_way(self, go: Callable[[], object]) -> None:
        """From now on this one goes when there is no room for a newcomer and no other has waited longer.

        Args:
            go: ends the connection.
        """
        if self._yields is None:
            self._yields = self._crowd.yielding["unknown" if self._unknown else self._kind]
            self._yields.add(self._place, self, go, self._crowd.now())

    def stays(self) -> None:
        """It is being served: it gives way to nobody."""
        if self._yields is not None:
            self._yields.discard(self._place, self)
            self._yields = None

    def retire(self) -> None:
        """Give back what this connection took beyond being a socket."""
        self.stays()
        match self._kind:
            case "handshake":
                _less(self._crowd.handshakes_from, self._place)
            case "request":
                self._crowd.requests -= 1
                _less(self._crowd.requests_from, self._place)
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
    have still to finish a TLS handshake. Nobody who is served gives way; whoever only waits does.

    Args:
        most: sockets that there may be, if the process may have fewer than the limits come to.
    """

    def __init__(
        self,
        config: Config,
        metrics: Metrics,
        now: Callable[[], float] = time.monotonic,
        most: int | None = None,
    ) -> None:
        self.config = config
        self.now = now
        limits = config.max_connections + config.max_requests + HEADROOM
        self.most = limits if most is None else min(limits, most)
        self.sockets = 0
        self.wires = 0
        self.unknown = 0
        self.requests = 0
        self.wires_from: dict[str, int] = {}
        self.unknown_from: dict[str, int] = {}
        self.requests_from: dict[str, int] = {}
        self.handshakes_from: dict[str, int] = {}
        gave_way = metrics.turned_away.labels("gave_way")
        kinds = ("arrival", "handshake", "request", "unknown", "wire")
        self.yielding = {kind: Yielding(gave_way.inc) for kind in kinds}
        rate = config.upgrades_per_second
        self.paces: Paces[str] | None = Paces(rate, burst_seconds=10) if rate else None
        self.on_empty: Callable[[], None] = _nothing
        self._sockets_from: dict[str, int] = {}
        self._gauge = metrics.sockets

    def enter(self, address: str) -> Ticket | None:
        """A ticket for a new socket; None when so many are open that not even a refusal can be said."""
        place = neighbourhood(address)
        from_there = self._sockets_from.get(place, 0)
        most_from_there = self.config.max_per_address + self.config.max_requests + HEADROOM
        if from_there >= most_from_there and not self.yielding["arrival"].one_from(place):
            return None
        if self.sockets >= self.most and not any(
            self.yielding[kind].one() for kind in ("arrival", "request")
        ):
            return None
        self.sockets += 1
        self._gauge.inc()
        _more(self._sockets_from, place)
        return Ticket(self, place)

    def admits_request(self, place: str) -> bool:
        """Whether there is room for one more HTTP connection, if need be in the place of one that waits."""
        waiting = self.yielding["request"]
        if self.requests_from.get(place, 0) >= self.config.max_requests_per_address:
            return waiting.one_from(place)
        return self.requests < self.config.max_requests or waiting.one()

    def admits_unknown(self, place: str) -> bool:
        """The same for one that has still to say who it is; others may have had their time for that."""
        waiting, before = self.yielding["unknown"], self.now() - GRACE
        if self.unknown_from.get(place, 0) >= self.config.max_unauthenticated_per_address:
            return waiting.one_from(place, before)
        return self.unknown < self.config.max_unauthenticated or waiting.one(before)

    def admits_handshake(self, place: str) -> bool:
        """The same for one that has still to finish its TLS handshake."""
        if self.handshakes_from.get(place, 0) < self.config.max_handshakes:
            return True
        return self.yielding["handshake"].one_from(place, self.now() - GRACE)

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


def _more(counts: dict[str, int], place: str) -> None:
    counts[place] = counts.get(place, 0) + 1


def _less(counts: dict[str, int], place: str) -> None:
    left = counts[place] - 1
    if left:
        counts[place] = left
    else:
        del counts[place]


def _nothing() -> None:
    return None
