"""The WebSocket handshake: what is checked before a connection is let in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from backchannel.delivery.doors import Check
from backchannel.protocol.claims import Claims
from backchannel.protocol.frame import SUBPROTOCOL
from bridge.crowd import Ticket
from bridge.upgrade import Gate, Head, TurnedAway

RETRY_AFTER = 1
NO_ROOM = {
    "too_many": (503, "The bridge is full; try again in a moment."),
    "too_many_from_address": (429, "There are too many connections from this address."),
    "too_fast_from_address": (429, "Connections from this address come too fast; slow down."),
    "too_many_unauthenticated": (429, "Too many connections have not said who they are yet."),
}


@dataclass(slots=True)
class Knock:
    """Somebody at the door: its request head, and what was found out so far.

    Args:
        local: the address at which the connection came in.
        claims: of its token; None for an allowed page that will send it in ``hello``.
    """

    head: Head
    target: str
    ticket: Ticket
    local: str | None
    token: str | None = None
    from_page: bool = False
    claims: Claims | None = None


class Handshake(ServerProtocol):
    """The WebSocket protocol with our one subprotocol, which a client may leave out."""

    def select_subprotocol(self, subprotocols: Sequence[Subprotocol]) -> Subprotocol | None:
        return Subprotocol(SUBPROTOCOL) if SUBPROTOCOL in subprotocols else None


def checks_of(gate: Gate, clock: Callable[[], float]) -> Mapping[Check, Callable[[Knock], None]]:
    """The steps of an arrival. Each raises TurnedAway. `clock` is the loop's."""

    def host(knock: Knock) -> None:
        gate.check_host(knock.head, knock.local, target=knock.target)

    def origin(knock: Knock) -> None:
        knock.from_page = gate.check_origin(knock.head)
        knock.token = gate.token_in(knock.head)

    def room(knock: Knock) -> None:
        if not knock.ticket.in_time(clock()):
            raise no_room("too_fast_from_address")
        reason = knock.ticket.become_wire(unknown=knock.token is None and knock.from_page)
        if reason is not None:
            raise no_room(reason)

    def identity(knock: Knock) -> None:
        if knock.token is not None or not knock.from_page:
            knock.claims = gate.verified(knock.token)

    def still(knock: Knock) -> None:
        if knock.claims is not None:
            gate.check_still(knock.claims)

    return {
        Check.HOST: host,
        Check.ORIGIN: origin,
        Check.ROOM: room,
        Check.IDENTITY: identity,
        Check.KEY: still,
        Check.REVOCATION: still,
    }


def no_room(reason: str) -> TurnedAway:
    status, message = NO_ROOM[reason]
    return TurnedAway(status, reason, message, retry_after=RETRY_AFTER)
