"""What an agent has acknowledged, as the bridges keep it in BC_sessions."""

from __future__ import annotations

import sys
from typing import Any

from pydantic_core import from_json

from backchannel.domain.curator import Received
from backchannel.logger import Logger
from backchannel.protocol.message import one_form
from backchannel.service.house import House

log = Logger(__name__)


async def received(house: House, group: str, epoch: str, agent: str = "*") -> dict[str, Received]:
    """By agent; all, or one. Of this life of the log: what was acknowledged of another one says nothing."""
    positions: dict[str, dict[str, int]] = {}
    named: dict[str, set[str]] = {}
    since: dict[str, int] = {}
    for key, value in await house.sessions.entries(f"{group}.{agent}.*"):
        _, name, purpose = key.split(".")
        kept = _read(key, value.payload)
        if kept.get("epoch") != epoch:
            continue
        positions.setdefault(name, {})[purpose] = int(kept.get("acked") or 0)
        since[name] = min(int(kept.get("since") or 0), since.get(name, sys.maxsize))
        if purpose != "observer":
            named.setdefault(name, set()).update(one_form(str(one)) for one in kept.get("named") or ())
    return {name: Received(at, frozenset(named.get(name, ())), since[name]) for name, at in positions.items()}


async def received_by(house: House, group: str, agent: str, epoch: str) -> Received:
    return (await received(house, group, epoch, agent)).get(agent, Received())


def _read(key: str, payload: bytes) -> dict[str, Any]:
    try:
        kept = from_json(payload)
    except ValueError:
        log.warning("position_unreadable", key=key)
        return {}
    return kept if isinstance(kept, dict) else {}
