"""What somebody asks for at a desk, as whoever decides it is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request. `message_id` is chosen by the caller, and the same when it asks again."""

    caller: str
    message_id: UUID
    fields: Mapping[str, Any]
