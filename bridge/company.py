"""The company: who is connected, to this bridge and to the others; what bridges say of it."""

from __future__ import annotations

import secrets
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from backchannel.delivery.seats import PURPOSES, Seat
from backchannel.delivery.session import State, error_frame
from backchannel.jetstream.bucket import Bucket
from backchannel.jetstream.connection import Connection
from backchannel.protocol.claims import Claims
from bridge.neighbours import Neighbours
from bridge.positions import Place, SessionReused, owner_of
from bridge.seats import Seats

if TYPE_CHECKING:
    from bridge.house import House
    from bridge.peer import Peer

ANSWER_SECONDS = 2.0
"""How long a connection may take to show that it is there before it gives way to a newer one."""

WARNING = "Somebody tried to go on with this session by an old or foreign session token, and was refused."


class Company:
    """Connections by id, and the seats of their agents. `name` is this bridge among the others."""

    def __init__(self, house: House, storing: Connection, reading: Connection) -> None:
        self.name = secrets.token_hex(8)
        self.here: dict[str, Peer] = {}
        self.seats = Seats(Bucket(storing, "BC_seats"))
        self.neighbours = Neighbours(reading, self.name, house.config.groups, self)
        self._house = house

    async def open(self) -> None:
        """Raises Unavailable."""
        await self.neighbours.open()
        await self.seats.open(self._changed)

    async def close(self) -> None:
        await self.seats.close()

    def is_ghost(self, seat: Seat) -> bool:
        """A seat of this bridge whose connection has gone, or said goodbye."""
        return seat.bridge == self.name and self._living(seat.connection) is None

    async def there(self, group: str, seat: Seat) -> bool:
        """Whether the connection of a seat shows that it is there, wherever it is."""
        if seat.bridge == self.name:
            return await self.answers(seat.connection)
        return await self.neighbours.there(group, seat.bridge, seat.connection, ANSWER_SECONDS + 1.0)

    async def answers(self, connection_id: str) -> bool:
        """Whether a connection of this bridge is there and shows it."""
        peer = self._living(connection_id)
        return peer is not None and await peer.answers(ANSWER_SECONDS)

    def alarm(self, group: str, agent: str, connection_id: str, *, stolen: bool) -> None:
        """Let the live sessions of an agent know that somebody reached for one of them.

        Where that was by a session token that counts, each gets another one.
        """
        for peer in self._house.roster.of(group, agent):
            if peer.wire.connection_id != connection_id:
                self.warn(peer)
                if stolen:
                    self.errand(peer.change_session())

    def warn(self, peer: Peer) -> None:
        """Say so to one of them; behind its welcome, if that is still to come."""
        peer.alarmed = peer.session.state is State.ARRIVING
        if not peer.alarmed:
            peer.say(error_frame(SessionReused(WARNING)))

    def tell_of_reuse(self, peer: Peer, claims: Claims, session: str) -> None:
        """A session token that is not the current one was shown: the agent is told, at all bridges, and so is
        whoever it was given to, if that is somebody else."""
        self.errand(self.neighbours.alarm(*peer.owner, peer.wire.connection_id))
        owner = owner_of(session)
        if owner is not None and owner != peer.owner:
            self.errand(self._stolen_from(*owner, session, peer, claims))

    async def _stolen_from(self, group: str, agent: str, session: str, by: Peer, claims: Claims) -> None:
        """If it is one of theirs that counts: a name alone proves nothing."""
        positions, house = self._house.positions, self._house
        for purpose in PURPOSES:
            place = Place(group, agent, purpose)
            if positions.recognises(place, await positions.look(place), session):
                house.blotter.warn("session_token_stolen", agent=agent, shown_by=claims.sub)
                house.chronicle.stolen(group, agent, claims, by.wire.remote)
                await self.neighbours.alarm(group, agent, by.wire.connection_id, stolen=True)
                return

    def errand(self, work: Coroutine[Any, Any, None]) -> None:
        self._house.chores.errand(work)

    def _living(self, connection_id: str) -> Peer | None:
        peer = self.here.get(connection_id)
        return None if peer is None or peer.session.state is State.GONE else peer

    def _changed(self, group: str, agent: str, seats: Sequence[Seat], revision: int) -> None:
        """Whoever lost its seat to a newer connection goes, even if nobody could tell it before."""
        kept = {seat.connection for seat in seats}
        for peer in self._house.roster.of(group, agent):
            known = peer.seats.revision if peer.seats is not None else revision
            if revision > known and peer.wire.connection_id not in kept:
                self._house.replace(peer, "a newer connection took its place")
