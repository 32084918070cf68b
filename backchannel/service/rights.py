"""The rights in force, as the bucket BC_rights has them: changed by compare-and-set, and followed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from backchannel.domain.inforce import InForce, effective, why_revoked, why_sent_away
from backchannel.errors import Conflict
from backchannel.jetstream.bucket import Bucket, Value
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.publish import Publisher
from backchannel.jetstream.tail import Tail
from backchannel.logger import Logger
from backchannel.protocol.catalog import bad_message
from backchannel.protocol.claims import Claims
from backchannel.protocol.message import rfc3339

log = Logger(__name__)
BUCKET = "BC_rights"
TRIES = 8
NEVER = 1 << 53
UNREADABLE = InForce(
    level="locked",
    revoked_before=NEVER,
    barred_until=float(NEVER),
    by="the platform",
    at="1970-01-01T00:00:00Z",
    reason="What is in force here cannot be read.",
)
"""What counts where nobody can say what was decided: nothing is let pass until somebody decides anew."""

OnChange = Callable[[str, str], None]
"""Told the group and the entity of a change, or the group and "" when single tokens were revoked."""


class Rights:
    """Reads and changes rights. Every change has a version, an author, a time and a reason."""

    def __init__(self, connection: Connection, publisher: Publisher | None = None) -> None:
        self._bucket = Bucket(connection, BUCKET, publisher)

    async def get(self, group: str, entity: str) -> InForce | None:
        """None: nothing narrows what its tokens say. Raises Unavailable."""
        found = await self._bucket.get(f"{group}.{entity}")
        return None if found is None else _read(found)

    async def put(
        self,
        group: str,
        entity: str,
        *,
        by: str,
        reason: str,
        expected: int | None = None,
        **changes: Any,
    ) -> InForce:
        """Change some fields of `InForce`; the others stay. Revocations never go back in time.

        Args:
            expected: the version that this must follow (0: none yet); None changes whatever is there.

        Raises:
            Conflict: it has another version, or too many change it at once.
            BadMessage: no such rights; ``field`` says what is wrong.
            Unavailable: it cannot be written now.
        """
        key = f"{group}.{entity}"
        for _ in range(TRIES):
            found = await self._bucket.get(key)
            former = None if found is None else _read(found)
            if found is not None and former is None and not changes.get("revoked_before"):
                raise Conflict(f"The rights of {entity} cannot be read; revoke its tokens first, as of now.")
            wanted = _changed(former, {**changes, "by": by, "reason": reason}, expected)
            payload = wanted.model_dump_json().encode()
            try:
                if found is None:
                    await self._bucket.create(key, payload)
                else:
                    await self._bucket.update(key, payload, found.revision)
            except Conflict:
                continue
            return wanted
        raise Conflict(f"The rights of {entity} change too fast just now; try again.", retry_after=1.0)

    async def revoke_token(self, group: str, jti: str, *, by: str, reason: str) -> None:
        """Believe one token no more, whoever bears it. Raises Unavailable."""
        revoked = InForce(by=by, at=rfc3339(datetime.now(UTC)), reason=reason)
        await self._bucket.put(_key_of_token(group, jti), revoked.model_dump_json().encode())

    async def of_token(self, group: str, jti: str) -> InForce | None:
        """Who revoked one token, and why; None if nobody did. Raises Unavailable."""
        found = await self._bucket.get(_key_of_token(group, jti))
        return None if found is None else _read(found)

    async def watch(self, on_value: Callable[[str, Value | None], None]) -> Tail:
        """Every key and what lies there, now and from now on; see `RightsInForce` for a ready view."""
        return await self._bucket.watch(">", on_value)


class RightsInForce:
    """One process's view of all rights in force; complete once it is open, and then milliseconds behind."""

    def __init__(self, on_change: OnChange | None = None) -> None:
        self._on_change = on_change
        self._known: dict[str, InForce] = {}
        self._bucket: Bucket | None = None
        self._tail: Tail | None = None

    @classmethod
    def of_one(
        cls, group: str, entity: str, inforce: InForce | None, token: tuple[str, InForce | None]
    ) -> RightsInForce:
        """A view of what was just read of one entity and one of its tokens, by id."""
        found = cls()
        jti, revoked = token
        known = {f"{group}.{entity}": inforce, _key_of_token(group, jti): revoked}
        found._known = {key: value for key, value in known.items() if value is not None}
        return found

    async def open(self, connection: Connection, on_change: OnChange | None = None) -> None:
        """Returns when everything that was decided is in force here. Raises Unavailable."""
        self._on_change = on_change or self._on_change
        self._bucket = Bucket(connection, BUCKET)
        self._tail = await self._bucket.watch(">", self._take)

    async def close(self) -> None:
        if self._tail is not None:
            await self._tail.stop()

    async def catch_up(self) -> None:
        """Wait until everything that was decided by now is in force here. Raises Unavailable."""
        if self._bucket is not None and self._tail is not None:
            await self._bucket.reached(self._tail)

    def of(self, group: str, entity: str) -> InForce | None:
        return self._known.get(f"{group}.{entity}")

    def effective(self, claims: Claims) -> Claims:
        """What the bearer of this token may do now."""
        return effective(claims, self.of(claims.collaboration_group, claims.sub))

    def why_refused(self, claims: Claims, now: float) -> str | None:
        """Why the token is not believed now, for the log; None if it is."""
        return self.why_revoked(claims, now) or self.why_sent_away(claims, now)

    def why_revoked(self, claims: Claims, now: float) -> str | None:
        """Why this token is not believed any more; None if it is."""
        group = claims.collaboration_group
        if (revoked := self._known.get(_key_of_token(group, claims.jti))) is not None:
            return f"This token of {claims.sub!r} was revoked by {revoked.by}."
        return why_revoked(claims, self.of(group, claims.sub), now)

    def why_sent_away(self, claims: Claims, now: float) -> str | None:
        """Why its bearer is not let in for now; None if it is."""
        return why_sent_away(claims, self.of(claims.collaboration_group, claims.sub), now)

    def _take(self, key: str, value: Value | None) -> None:
        group, _, entity = key.partition(".")
        if value is None:
            self._known.pop(key, None)
        else:
            self._known[key] = _read(value) or UNREADABLE
        if self._on_change is not None:
            self._on_change(group, "" if "." in entity else entity)


def _changed(former: InForce | None, changes: Mapping[str, Any], expected: int | None) -> InForce:
    if unknown := changes.keys() - InForce.model_fields.keys():
        raise TypeError(f"Rights have no {', '.join(sorted(unknown))}.")
    version = former.version if former is not None else 0
    if expected is not None and expected != version:
        raise Conflict(f"The rights are at version {version}, not {expected}; look again.")
    kept = former.model_dump(exclude={"version", "by", "at", "reason"}) if former is not None else {}
    wanted = {**kept, **changes, "version": version + 1, "at": rfc3339(datetime.now(UTC))}
    if former is not None and former.revoked_before is not None:
        wanted["revoked_before"] = max(former.revoked_before, wanted["revoked_before"] or 0)
    try:
        return InForce.model_validate(wanted)
    except ValidationError as error:
        raise bad_message(error) from None


def _read(value: Value) -> InForce | None:
    """None if it cannot be read; the operator is told."""
    try:
        return InForce.model_validate_json(value.payload)
    except ValidationError as error:
        log.error("rights_cannot_be_read", revision=value.revision, problems=error.error_count())
        return None


def _key_of_token(group: str, jti: str) -> str:
    """A token's id may hold anything, so its digest is the key; three parts, where an entity has two."""
    return f"{group}.jti.{hashlib.sha256(jti.encode()).hexdigest()[:32]}"
