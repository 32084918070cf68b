"""What the directory says of an agent, after a token was issued to it or it has come."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic_core import to_json

from backchannel.protocol.claims import Claims
from backchannel.protocol.frame import Intake, Quality
from backchannel.protocol.sealed import KEY_FIELD

BLANK: Mapping[str, Any] = {
    "specialties": [],
    "availability": "available",
    "preferred_collaborators": [],
    "quality": None,
    "first_seen": None,
}

PLATFORMS_OWN = {
    *("agent_id", "entity_type", "human_supervisor", "human_partner"),
    *("registered_at", "first_seen", "noted_at"),
}
"""What an agent cannot say of itself."""

SAID = ("availability", "warmup", "status", "current_context", KEY_FIELD)
"""What an agent says of itself in a word,"""

LISTED: Mapping[str, int] = {"specialties": 4_096, "preferred_collaborators": 2_048}
"""and in lists, with the bytes of each that are kept. An entry has 8 KiB at most."""

QUALITY: Mapping[str, int] = {"slow_connection": 64, "mbps": 32, "required_data": 512, "batchable_data": 512}
LONGEST_WORD = 128


def humans_of(entry: Mapping[str, Any]) -> frozenset[str]:
    """Who looks after an agent, by its entry."""
    named = (entry.get("human_supervisor"), entry.get("human_partner"))
    return frozenset(name for name in named if name)


def entry_after_token(former: Mapping[str, Any], claims: Claims, now: str) -> dict[str, Any]:
    """The entry with what a token proves; what the agent said of itself before stays. `now` is RFC 3339."""
    proven = {
        "agent_id": claims.sub,
        "entity_type": claims.entity_type,
        "human_supervisor": claims.human_supervisor,
        "human_partner": claims.human_partner,
    }
    return {**BLANK, **former, **proven, "registered_at": former.get("registered_at") or now}


def entry_after_arrival(
    former: Mapping[str, Any],
    claims: Claims,
    intake: Intake | None,
    now: str,
    quality: Quality | None = None,
) -> dict[str, Any]:
    """The entry with what it says of itself on arrival; the same as before if nothing of that is new."""
    said = intake.model_dump(mode="json", exclude=PLATFORMS_OWN) if intake is not None else {}
    if quality is not None:
        said["quality"] = quality.model_dump(mode="json")
    known = entry_after_token(bounded({**former, **said}), claims, now)
    return {**known, "first_seen": former.get("first_seen") or now}


def said_in(intake: Intake) -> dict[str, Any]:
    """What an agent said of itself that is more than the usual, as far as it is kept."""
    return bounded(intake.model_dump(mode="json", exclude_defaults=True, exclude=PLATFORMS_OWN))


def bounded(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of an entry, and shown of one that was kept before there was a bound: known fields alone,
    and of lists as many members as fit."""
    kept = {name: entry[name] for name in PLATFORMS_OWN & entry.keys()}
    kept |= {name: entry[name] for name in SAID if name in entry and _size(entry[name]) <= LONGEST_WORD}
    kept |= {name: _fitting(entry[name], most) for name, most in LISTED.items() if name in entry}
    if "quality" in entry:
        kept["quality"] = _quality(entry["quality"])
    return kept


def _quality(said: Any) -> dict[str, Any] | None:
    if not isinstance(said, Mapping):
        return None
    known = {name: said[name] for name in QUALITY if name in said}
    return {
        name: _fitting(value, QUALITY[name]) if isinstance(value, list) else value
        for name, value in known.items()
        if isinstance(value, list) or _size(value) <= QUALITY[name]
    }


def _fitting(said: Any, most: int) -> list[str]:
    kept = list[str]()
    for one in said if isinstance(said, Iterable) and not isinstance(said, str) else ():
        most -= _size(one) + 1
        if most < 0 or not isinstance(one, str):
            break
        kept.append(one)
    return kept


def _size(value: Any) -> int:
    return len(to_json(value))
