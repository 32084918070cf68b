"""The chronicle: who came, who went and who was turned away, as the audit trail keeps it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from backchannel.domain.directory import said_in
from backchannel.protocol.claims import Claims
from backchannel.protocol.frame import Hello
from backchannel.service.trail import Deed, Trail

if TYPE_CHECKING:
    from bridge.peer import Peer

WINDOW = 10.0
"""Seconds in which repetitions of one refusal become a single record."""
MOST_KINDS = 500
MOST_PLACES = 8
TELLING = frozenset({"forbidden", "wrong_sender", "rate_limited", "quarantined", "expired", "too_large"})
"""Refusals of messages that say something about their sender."""


@dataclass(slots=True)
class _Repeated:
    """Refusals of one kind since the last record about it."""

    deed: Deed
    count: int = 0
    places: Counter[str] = field(default_factory=Counter)


class Chronicle:
    """Notes for the trail. Whoever floods the bridge does not flood the trail: the first refusal of a kind is
    a record of its own, and those that follow within a while are one record together, with their number.

    Args:
        group: to which the refusals of strangers belong.
    """

    def __init__(self, trail: Trail, group: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._trail = trail
        self._group = group
        self._clock = clock
        self._repeated: dict[tuple[str, ...], _Repeated] = {}
        self._unsorted = 0

    # ---- who comes and goes

    def connected(self, peer: Peer, hello: Hello, outcome: str) -> None:
        """`taken_over`: it showed the token of the session it goes on with."""
        claims = peer.session.claims
        assert claims is not None
        peer.came = self._clock()
        facts = {
            "connection_id": peer.wire.connection_id,
            "address": peer.wire.remote,
            "permission": peer.session.permission,
            "purpose": peer.purpose,
            "entity_type": claims.entity_type,
            "token_id": claims.jti,
            "outcome": outcome,
            "taken_over": bool(hello.resume and hello.resume.session),
            "intake": said_in(hello.intake) if hello.intake else None,
        }
        self._note("connection", claims, "connected", facts)

    def introduced(self, claims: Claims, entry: Mapping[str, Any]) -> None:
        """It came for the first time, or said something new of itself."""
        self._note("identity", claims, "introduced", entry)

    def parted(self, peer: Peer) -> None:
        """A connection that had been welcomed is gone, or one that had not was sent away."""
        claims, ended = peer.session.claims, peer.ended
        if claims is None or peer.came is None:
            return
        facts = {
            "connection_id": peer.wire.connection_id,
            "code": ended[0],
            "reason": ended[1],
            "seconds": round(self._clock() - peer.came, 1),
        }
        peer.came = None
        self._note("connection", claims, "closed", facts)

    def renewed(self, claims: Claims) -> None:
        self._note("identity", claims, "renewed", {"token_id": claims.jti, "expires": claims.exp})

    # ---- who is refused

    def turned_away(self, reason: str, status: int | None, remote: str | None, detail: str | None) -> None:
        """Before the upgrade, or with a token that came in a frame."""
        facts = {"reason": reason, "status": status, "detail": detail}
        place = (remote or "").rpartition(":")[0] or remote or "a connection"
        deed = Deed(self._group, "security", "unknown", "turned_away", facts | {"address": remote})
        self._gather(("turned_away", reason), deed, place)

    def suspected(self, claims: Claims, what: str, remote: str) -> None:
        """Somebody with a good token does what is not theirs to do."""
        group, agent = claims.collaboration_group, claims.sub
        deed = Deed(group, "security", agent, what, {"address": remote, "token_id": claims.jti})
        self._gather((what, group, agent), deed, remote)

    def stolen(self, group: str, agent: str, by: Claims, remote: str) -> None:
        """Somebody else showed the session token of an agent."""
        facts = {
            "address": remote,
            "shown_by": by.sub,
            "of_group": by.collaboration_group,
            "token_id": by.jti,
        }
        deed = Deed(group, "security", agent, "session_token_stolen", facts)
        self._gather(("session_token_stolen", group, agent), deed, remote)

    def refused(self, claims: Claims, frame: Mapping[str, Any]) -> None:
        """A message was not taken."""
        self.refused_at((claims.collaboration_group, claims.sub), frame, "messages")

    def refused_at(self, owner: tuple[str, str], frame: Mapping[str, Any], where: str) -> None:
        """The same of what came in otherwise, by group and name."""
        if frame["code"] not in TELLING:
            return
        group, agent = owner
        facts = {"code": frame["code"], "reason": frame["message"], "field": frame.get("field")}
        facts["where"] = where
        deed = Deed(group, "security", agent, "refused", facts)
        self._gather(("refused", group, agent, frame["code"]), deed, where)

    async def sweep(self) -> None:
        """Tell of what was repeated; call it every `WINDOW` seconds, and at the end."""
        gathered, self._repeated = self._repeated, {}
        for repeated in gathered.values():
            if repeated.count:
                deed = repeated.deed
                facts = {**deed.facts, "count": repeated.count, "places": len(repeated.places)}
                facts["most_from"] = dict(repeated.places.most_common(3))
                self._trail.note(Deed(deed.group, deed.category, deed.entity, f"{deed.action}_again", facts))
        if self._unsorted:
            count, self._unsorted = self._unsorted, 0
            self._trail.note(Deed(self._group, "security", "unknown", "refused_others", {"count": count}))

    def _gather(self, kind: tuple[str, ...], deed: Deed, place: str) -> None:
        known = self._repeated.get(kind)
        if known is None:
            if len(self._repeated) >= MOST_KINDS:
                self._unsorted += 1
                return
            self._repeated[kind] = _Repeated(deed)
            self._trail.note(deed)
            return
        known.count += 1
        if place in known.places or len(known.places) < MOST_PLACES:
            known.places[place] += 1

    def _note(self, category: Any, claims: Claims, action: str, facts: Mapping[str, Any]) -> None:
        self._trail.note(Deed(claims.collaboration_group, category, claims.sub, action, facts))
