"""Saved folds of sidebars, so that a start need not read the whole log. They bind nobody."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import pydantic_core
from pydantic import TypeAdapter, ValidationError

from backchannel.domain.sidebar import Sidebar
from backchannel.errors import Conflict, Unavailable
from backchannel.jetstream.bucket import Bucket, Value, value_in
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.entry import MSG_ID
from backchannel.jetstream.read import Record, StreamFacts, last, read_one
from backchannel.logger import Logger
from backchannel.protocol.subject import events_stream

log = Logger(__name__)

FOLD = 3
"""To be raised whenever `evolve` makes something else of the same events: older snapshots are void then."""
AT_ONCE = 32
LARGEST = 1_000_000
"""Bytes of one saved fold; of a larger one only its place in the log is kept."""
TRIES = 5
PAUSE = 0.2
GONE = -1
"""In place of a revision: something was there and was deleted."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything in the life of sidebars up to and including `sequence` is in the folds that are saved.

    `form` and `epoch` say which rules made them and of which log, `mark` is the id of the message at
    `sequence`, and `sidebars` how many sidebars there were.
    """

    form: str
    epoch: str
    sequence: int
    mark: str
    sidebars: int


@dataclass(frozen=True, slots=True)
class Saved:
    """One fold as it is kept under its sidebar's name; None in place of one that is too large."""

    form: str
    epoch: str
    sequence: int
    sidebar: Sidebar | None


@dataclass(frozen=True, slots=True)
class Loaded:
    """What could be trusted: folds up to `sequence`, and names of sidebars that must be read from the log.

    `count` is how many sidebars there must be in all.
    """

    sidebars: dict[str, Sidebar] = field(default_factory=dict)
    sequence: int = 0
    wanting: tuple[str, ...] = ()
    count: int = 0


_CHECKPOINT = TypeAdapter(Checkpoint)
_SAVED = TypeAdapter(Saved)


@cache
def form() -> str:
    """Eight hexadecimal digits for the shape of a fold and the rules that make it."""
    shape = pydantic_core.to_json(_SAVED.json_schema(mode="serialization"))
    return hashlib.sha256(shape + b"%d" % FOLD).hexdigest()[:8]


class Snapshots:
    """The folds of one group's sidebars in BC_sidebars.

    Any number of processes save into it: whoever comes with something older than what is there leaves it.
    """

    def __init__(self, connection: Connection, group: str) -> None:
        self._connection = connection
        self._group = group
        self._bucket = Bucket(connection, "BC_sidebars")
        self._revisions: dict[str, int] = {}
        self._void = False

    async def load(self, facts: StreamFacts) -> Loaded:
        """What was saved of the log that `facts` describe; nothing, with a line in our log, if that is void.

        Raises:
            Unavailable: no answer.
        """
        point = await self._checkpoint()
        if point is None:
            return Loaded()
        if (reason := await self._fault(point, facts)) is not None:
            return self._ignored(reason)
        found: dict[str, Sidebar] = {}
        wanting: dict[str, str] = {}
        for key, value in await self._entries():
            name = key.partition(".")[2]
            self._revisions[name] = value.revision
            outcome = _judged(value.payload, name, point)
            if isinstance(outcome, Sidebar):
                found[name] = outcome
            else:
                wanting[name] = outcome
        if len(found) + len(wanting) < point.sidebars:
            return self._ignored(f"{point.sidebars} were saved and {len(found) + len(wanting)} are there")
        if odd := {name: why for name, why in wanting.items() if why}:
            few = dict(list(odd.items())[:5])
            log.warning("snapshots_ignored", group=self._group, count=len(odd), reason=str(few))
        return Loaded(found, point.sequence, tuple(wanting), point.sidebars)

    async def save(
        self, sidebars: Mapping[str, Sidebar], epoch: str, newest: Record, mended: Sequence[Sidebar] = ()
    ) -> None:
        """Save what is newer than what is saved, and `mended`; then say that all up to `newest` is.

        Raises:
            Unavailable: not all of it is known to be saved; nothing false has been said.
        """
        mark = (newest.headers or {}).get(MSG_ID, "")
        point = Checkpoint(form(), epoch, newest.sequence, mark, len(sidebars))
        whole = list(sidebars.values())
        known = await self._checkpoint()
        if known is not None and not self._void and (known.form, known.epoch) == (point.form, point.epoch):
            if known.sequence >= point.sequence and not mended:
                return
            whole = [found for found in whole if found.sequence > known.sequence]
        for part in _parts([*whole, *mended]):
            await asyncio.gather(*(self._keep(sidebar, epoch) for sidebar in part))
        await self._advance(point)
        self._void = False

    def _ignored(self, reason: str) -> Loaded:
        log.warning("snapshots_ignored", group=self._group, reason=reason)
        self._void = True
        return Loaded()

    async def _checkpoint(self) -> Checkpoint | None:
        value = await self._bucket.get(self._group)
        if value is None:
            return None
        point = _checkpoint_in(value)
        if point is None:
            self._ignored("the checkpoint cannot be read")
        return point

    async def _fault(self, point: Checkpoint, facts: StreamFacts) -> str | None:
        """Why the folds of a checkpoint are not of this log and these rules; None if they are."""
        if point.epoch != facts.epoch:
            return f"they are of the log {point.epoch}, and this one is {facts.epoch}"
        if point.form != form():
            return "they were made by other rules"
        if point.sequence > facts.last:
            return f"they reach to {point.sequence}, and the log ends at {facts.last}"
        record = await read_one(self._connection, events_stream(self._group), point.sequence)
        if record is None and point.sequence < facts.first:
            return None
        if record is None or (record.headers or {}).get(MSG_ID, "") != point.mark:
            return f"another message lies at {point.sequence} in the log now"
        return None

    async def _entries(self) -> list[tuple[str, Value]]:
        """All that is saved, as new as the leader has it: pages may come from somebody who lags.

        Raises:
            Unavailable: they still lag after some tries.
        """
        newest = await last(self._connection, "KV_BC_sidebars", f"$KV.BC_sidebars.{self._group}.*")
        if newest is not None and value_in(newest) is None:
            return []  # somebody has deleted folds; what is left is not all
        for _ in range(TRIES):
            entries = await self._bucket.entries(f"{self._group}.*")
            if newest is None or any(value.revision >= newest.sequence for _, value in entries):
                return entries
            await asyncio.sleep(PAUSE)
        raise Unavailable("The saved folds of sidebars could not be read whole.", retry_after=1.0)

    async def _keep(self, sidebar: Sidebar, epoch: str) -> None:
        """Save one fold, unless what is there is as new."""
        name = sidebar.sidebar_id
        payload = _written(Saved(form(), epoch, sidebar.sequence, sidebar))
        for _ in range(TRIES):
            try:
                self._revisions[name] = await self._write(name, payload)
                return
            except Conflict:
                there = await self._bucket.get(self._key(name))
                self._revisions[name] = there.revision if there else GONE
                if there is not None and _as_new(there.payload, sidebar.sequence, epoch):
                    return
        raise Unavailable(f"The fold of {name} could not be saved: others write it all the time.")

    async def _write(self, name: str, payload: bytes) -> int:
        revision = self._revisions.get(name, 0)
        if revision == GONE:
            return await self._bucket.create(self._key(name), payload)
        return await self._bucket.update(self._key(name), payload, revision)

    async def _advance(self, point: Checkpoint) -> None:
        """Put the checkpoint forward, never back."""
        payload = _CHECKPOINT.dump_json(point)
        for _ in range(TRIES):
            there = await self._bucket.get(self._group)
            known = _checkpoint_in(there) if there else None
            same = known is not None and (known.form, known.epoch) == (point.form, point.epoch)
            if known is not None and same and known.sequence >= point.sequence:
                return
            try:
                if there is None:
                    await self._bucket.create(self._group, payload)
                else:
                    await self._bucket.update(self._group, payload, there.revision)
                return
            except Conflict:
                continue

    def _key(self, name: str) -> str:
        return f"{self._group}.{name}"


def _written(saved: Saved) -> bytes:
    payload = _SAVED.dump_json(saved, by_alias=True)
    if len(payload) <= LARGEST:
        return payload
    return _SAVED.dump_json(Saved(saved.form, saved.epoch, saved.sequence, None))


def _checkpoint_in(value: Value) -> Checkpoint | None:
    try:
        return _CHECKPOINT.validate_json(value.payload)
    except ValidationError:
        return None


def _judged(payload: bytes, name: str, point: Checkpoint) -> Sidebar | str:
    """The fold, or why it must be read from the log; an empty reason is nothing to talk about."""
    try:
        saved = _SAVED.validate_json(payload)
    except ValidationError:
        return "it cannot be read"
    if (saved.form, saved.epoch) != (point.form, point.epoch):
        return "it is of another log, or was made by other rules"
    if saved.sidebar is None or saved.sequence > point.sequence:
        return ""  # too large to keep, or saved after the checkpoint, which vouches for nothing behind it
    if (saved.sidebar.sidebar_id, saved.sidebar.sequence) != (name, saved.sequence):
        return "it is of another sidebar"
    return saved.sidebar


def _as_new(payload: bytes, sequence: int, epoch: str) -> bool:
    """Whether what is saved already need not give way to a fold of this place in this log."""
    try:
        saved = _SAVED.validate_json(payload)
    except ValidationError:
        return False
    if saved.epoch != epoch:
        return False
    return saved.sequence > sequence or (saved.sequence == sequence and saved.form == form())


def _parts(sidebars: Sequence[Sidebar]) -> Iterator[Sequence[Sidebar]]:
    return (sidebars[start : start + AT_ONCE] for start in range(0, len(sidebars), AT_ONCE))
