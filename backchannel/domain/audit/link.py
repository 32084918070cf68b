"""Links of the chain: each record holds the hash of the one before it, and its own.

A record is one line of canonical JSON. Its ``hash`` is SHA-256 over the canonical form of all its other
fields, among them ``previous``; so nobody can change one record without changing all that follow.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backchannel.domain.canonical import canonical, digest

VERSION = 1
GENESIS = "0" * 64
"""What the first record of a group names as the hash before it."""
FIELDS = frozenset(
    {"v", "group", "position", "previous", "at", "id", "category", "entity", "action", "phase", "of"}
    | {"facts", "source", "hash"}
)


class Damaged(Exception):
    """A record is not what was written. The message says in which way."""


@dataclass(frozen=True, slots=True)
class Link:
    """One record of the trail as it is kept. `position` counts from 1 in each group."""

    position: int
    hash: str
    previous: str
    body: bytes
    fields: Mapping[str, Any]

    @property
    def id(self) -> str:
        return str(self.fields["id"])

    @property
    def subject(self) -> str:
        """Where the primary copy keeps it."""
        found = self.fields
        return f"bc.{found['group']}.audit.{found['category']}.{found['entity']}"


def chained(fields: Mapping[str, Any], position: int, previous: str) -> Link:
    """The next link: these fields, in their place behind the one with the hash `previous`."""
    placed = {**fields, "v": VERSION, "position": position, "previous": previous}
    own = digest(placed)
    whole = {**placed, "hash": own}
    return Link(position, own, previous, canonical(whole), whole)


def read_link(body: bytes) -> Link:
    """A record as it was written.

    Raises:
        Damaged: it is not one, or not as it was written.
    """
    try:
        fields = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):
        raise Damaged("it is not JSON") from None
    if not isinstance(fields, dict) or fields.keys() != FIELDS or not _shaped(fields):
        raise Damaged("it is not a record of the trail")
    own = fields["hash"]
    try:
        if digest({name: value for name, value in fields.items() if name != "hash"}) != own:
            raise Damaged("its content does not have the hash it names")
        if canonical(fields) != body:
            raise Damaged("it is not written in the canonical way")
    except (ValueError, RecursionError):
        raise Damaged("it is not JSON") from None
    return Link(fields["position"], own, fields["previous"], body, fields)


def _shaped(fields: Mapping[str, Any]) -> bool:
    texts = ("group", "previous", "hash", "at", "id", "category", "entity", "action", "phase", "source")
    position = fields["position"]
    return (
        all(isinstance(fields[name], str) for name in texts)
        and isinstance(fields["facts"], dict)
        and type(position) is int
        and position > 0
        and fields["v"] == VERSION
    )
