"""What scribes enter in the trail: the lives of sidebars, changes of settings, and what was set aside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pydantic_core

from backchannel.domain.audit import Deed
from backchannel.jetstream.record import Record
from backchannel.protocol.subject import DEAD, InContext, events_stream, lives, locate
from backchannel.service.audit.scribe import Source

SETTINGS = "KV_BC_config"
SETTING = "$KV.BC_config."
NOT_FACTS = frozenset({"type", "sender_agent_id", "timestamp"})
AUTHOR = "Bc-Author"


def sources(group: str, *, first: bool) -> list[Source]:
    """What is entered for a group. Settings belong to all groups: they are entered for the first."""
    found = [
        Source(events_stream(group), lives(group), f"bc.{group}.audit.sidebar.*", _life),
        Source(DEAD, f"bc.{group}.dead.*", f"bc.{group}.audit.platform.dead", _set_aside),
    ]
    if first:
        found.append(Source(SETTINGS, f"{SETTING}>", f"bc.{group}.audit.config.*", _setting))
    return found


def _life(group: str, record: Record) -> Deed | None:
    """An event in the life of a sidebar."""
    located, event = locate(record.subject), _content(record)
    if located is None or not isinstance(located.to, InContext):
        return None
    facts = {name: value for name, value in event.items() if name not in NOT_FACTS}
    facts = {"by": event.get("sender_agent_id"), **facts}
    return Deed(group, "sidebar", located.to.context_id, str(event.get("type")), facts)


def _set_aside(group: str, record: Record) -> Deed:
    """A message that no handler could handle. What it says stays where it lies."""
    kept = _content(record)
    names = ("service", "subject", "sequence", "attempts", "reason")
    return Deed(group, "platform", "dead", "set_aside", {name: kept.get(name) for name in names})


def _setting(group: str, record: Record) -> Deed:
    """A setting at another value; None puts its default back."""
    name = record.subject.removeprefix(SETTING)
    headers = record.headers or {}
    gone = "KV-Operation" in headers or "Nats-Marker-Reason" in headers
    facts = {
        "setting": name,
        "value": None if gone else _value(record.payload),
        "by": headers.get(AUTHOR, "operator"),
        "revision": record.sequence,
    }
    return Deed(
        group, "config", name.partition(".")[0], "setting_reset" if gone else "setting_changed", facts
    )


def _content(record: Record) -> Mapping[str, Any]:
    found = _value(record.payload)
    return found if isinstance(found, dict) else {"payload": found}


def _value(payload: bytes) -> Any:
    try:
        return pydantic_core.from_json(payload)
    except ValueError:
        return payload
